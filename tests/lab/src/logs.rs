//! What is left of a failed test: its logs, outside the sandbox.

use std::{fs, io, path::Path};

/// Copies the logs of every host to `target/lab-logs/TEST`, and says so.
#[expect(clippy::print_stderr, reason = "the report of a failing test")]
pub fn keep(test: &str) {
    let target =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/lab-logs").join(test.replace("::", "."));
    let copied =
        fs::create_dir_all(&target).and_then(|()| copy_logs(Path::new(crate::sandbox::STATE), &target));
    match copied {
        Ok(()) => eprintln!("logs kept in {}", target.display()),
        Err(error) => eprintln!("could not keep the logs in {}: {error}", target.display()),
    }
}

/// Copies `STATE/HOST/*.log` and `*.conf` to `target/HOST.NAME`.
fn copy_logs(from: &Path, target: &Path) -> io::Result<()> {
    for host in fs::read_dir(from)? {
        let host = host?;
        let name = host.file_name().display().to_string();
        if !host.file_type()?.is_dir() || name.starts_with('.') {
            continue;
        }
        for file in fs::read_dir(host.path())? {
            let file = file?.path();
            let kept = file.extension().is_some_and(|kind| kind == "log" || kind == "conf" || kind == "toml");
            if let (true, Some(last)) = (kept, file.file_name()) {
                fs::copy(&file, target.join(format!("{name}.{}", last.display())))?;
            }
        }
    }
    Ok(())
}
