//! The distribution's second Rust, and standard libraries that it builds for other systems.
//!
//! rustup's toolchain has the standard library of this machine alone and no other can be fetched where only package
//! registries are reached. Debian's packages for building browsers bring a newer compiler with the library's sources.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use crate::{
    packages::{self, Need, What},
    process::Step,
    tools, workspace,
};

const NEEDS: &[Need] = &[
    Need {
        what: What::File("/usr/bin/cargo-clippy"),
        packages: &["rustc-web", "cargo-web", "rust-web-clippy", "rust-web-llvm"],
        why: "a Rust that can be given other systems' standard libraries",
    },
    Need {
        what: What::File("/usr/lib/rustlib/src/rust/library/std/Cargo.toml"),
        packages: &["rust-web-src"],
        why: "the sources of the standard library, to build it for other systems",
    },
];

/// Everything by full path: rustup's shims must not be taken for it.
const BIN: &str = "/usr/bin";
const LIB: &str = "/usr/lib/rustlib";
const PATH: &str = "/usr/bin:/usr/sbin:/bin:/sbin";

/// The second Rust, ready to build for one target.
pub(super) struct Toolchain {
    target: &'static str,
    sysroot: PathBuf,
}

/// How much of the standard library is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// Code to link: things will run.
    Linked,
    /// Its interface alone, for `cargo check`.
    Checked,
}

impl Toolchain {
    /// Installs what is missing and builds the standard library for `target` unless it is cached.
    pub(super) fn prepare(target: &'static str, library: Library) -> anyhow::Result<Self> {
        packages::ensure(NEEDS)?;
        let version = Step::new(format!("{BIN}/rustc")).args(["-vV"]).output()?;
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:").context("rustc names no release")?;
        ensure!(is_new_enough(release), "{BIN}/rustc is {release}, older than the workspace needs");
        let commit = field("commit-hash:").unwrap_or("unknown");
        let kind = if library == Library::Linked { "linked" } else { "checked" };
        let key = format!("{target}-{kind}-{release}-{}", commit.get(..12).unwrap_or(commit));
        let sysroot = cache()?.join("sysroot").join(key);
        if !sysroot.exists() {
            println!("building the standard library for {target} once, into {}", sysroot.display());
            build(target, library, &sysroot)?;
        }
        Ok(Self { target, sysroot })
    }

    /// `cargo COMMAND` for the target, in a target directory of its own.
    pub(super) fn cargo(&self, command: &str) -> Step {
        let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", self.target.to_uppercase().replace('-', "_"));
        let step = if command == "clippy" {
            // `cargo clippy` would look into rustup's folder first.
            Step::new(format!("{BIN}/cargo-clippy"))
        } else {
            Step::new(format!("{BIN}/cargo"))
        };
        second_rust(step)
            .args([command, "--locked"])
            .env("CARGO", format!("{BIN}/cargo"))
            .env("CARGO_BUILD_TARGET", self.target)
            .env(&flags, format!("--sysroot={}", self.sysroot.display()))
            .env("CARGO_TARGET_DIR", target_dir())
            // Nothing here is built twice.
            .env("CARGO_INCREMENTAL", "0")
    }
}

/// Where this task builds and keeps its Wine prefix.
pub(super) fn target_dir() -> PathBuf {
    workspace::target_dir().join("cross")
}

/// Where what it makes for all clones is kept.
pub(super) fn cache() -> anyhow::Result<PathBuf> {
    Ok(tools::cache()?.join("cross"))
}

/// Takes whatever told cargo which Rust to use (a rustup shim did) out of the environment.
fn second_rust(step: Step) -> Step {
    step.env("PATH", PATH)
        .env("RUSTC", format!("{BIN}/rustc"))
        .env("RUSTDOC", format!("{BIN}/rustdoc"))
        .without(&["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"])
        // rustup's cargo adds its own toolchain's libraries.
        .without(&["LD_LIBRARY_PATH"])
}

/// Whether a release is at least the `rust-version` of the workspace.
fn is_new_enough(release: &str) -> bool {
    let parts = |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.parse().ok()).collect() };
    parts(release) >= parts(env!("CARGO_PKG_RUST_VERSION"))
}

/// Builds an empty crate with `-Zbuild-std` and lays out what came of it like a compiler's own folder. It appears
/// under its final name in one step, so that an interrupted build leaves nothing that looks done.
fn build(target: &str, library: Library, sysroot: &Path) -> anyhow::Result<()> {
    let work = cache()?.join(format!("build-{target}-{}", std::process::id()));
    let made = build_in(target, library, &work).and_then(|staged| {
        let parent = sysroot.parent().context("the cache has a root")?;
        fs::create_dir_all(parent)?;
        match fs::rename(&staged, sysroot) {
            // Another run was faster.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            renamed => renamed.context("keeping the standard library"),
        }
    });
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    made
}

fn build_in(target: &str, library: Library, work: &Path) -> anyhow::Result<PathBuf> {
    let source = work.join("src");
    fs::create_dir_all(&source).with_context(|| format!("creating {}", source.display()))?;
    let manifest = work.join("Cargo.toml");
    fs::write(&manifest, "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n")?;
    fs::write(source.join("lib.rs"), "")?;
    let (command, suffix) = match library {
        Library::Linked => ("build", "rlib"),
        Library::Checked => ("check", "rmeta"),
    };
    second_rust(Step::new(format!("{BIN}/cargo")))
        .args([command, "--quiet", "--release", "--target", target, "--manifest-path"])
        .args([&manifest])
        .args(["-Zbuild-std=core,alloc,std,panic_unwind,panic_abort,proc_macro,test"])
        // Lets a stable compiler take `-Z` flags: for the standard library itself, never for our code.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .run()?;

    let staged = work.join("sysroot");
    let libraries = staged.join("lib/rustlib").join(target).join("lib");
    fs::create_dir_all(&libraries)?;
    let mut copied = 0;
    for entry in fs::read_dir(work.join("target").join(target).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let ours = name.to_string_lossy().starts_with("libempty-");
        if !ours && path.extension().is_some_and(|extension| extension == suffix) {
            fs::copy(&path, libraries.join(name))?;
            copied += 1;
        }
    }
    if copied == 0 {
        bail!("building the standard library for {target} made nothing");
    }
    // Build scripts and macros run here: they need this machine's own library.
    let host = Path::new(LIB).join("x86_64-unknown-linux-gnu");
    for (original, name) in [(host, "x86_64-unknown-linux-gnu"), (Path::new(LIB).join("src"), "src")] {
        let link = staged.join("lib/rustlib").join(name);
        Step::new("ln").args(["-s".as_ref(), original.as_os_str(), link.as_os_str()]).run()?;
    }
    Ok(staged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_numbers() {
        assert!(is_new_enough("1.100.0"));
        assert!(is_new_enough("2.0.0-nightly"));
        assert!(!is_new_enough("1.63.0"));
    }
}
