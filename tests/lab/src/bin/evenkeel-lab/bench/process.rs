//! What the kernel says of a process.

use std::{fs, str::FromStr};

use anyhow::{Context, ensure};

/// A value of `/proc/PID/status` or of a thread's; sizes are in kB.
fn status_value(path: &str, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("{key} in {path}"))
}

/// Resident memory in kB.
pub(super) fn resident(pid: u32) -> anyhow::Result<u64> {
    status_value(&format!("/proc/{pid}/status"), "VmRSS")
}

/// How often its threads have gone to sleep so far, which is how often they were woken.
pub(super) fn sleeps(pid: u32) -> anyhow::Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let status = task.context("a thread")?.path().join("status");
        total += status_value(&status.display().to_string(), "voluntary_ctxt_switches")?;
    }
    Ok(total)
}

/// Whether the process has started any other since it began: one that lives or has not been waited for shows as its child,
/// one that was waited for has left its page faults in the parent's account, and every program has some.
pub(super) fn has_spawned(pid: u32) -> anyhow::Result<bool> {
    const SIGCHLD: u32 = 17;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the daemon's status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("ignored signals")?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).context("ignored signals")?;
    // proc(5): children are not accounted for then, so that this would see nothing.
    ensure!(ignored & (1 << (SIGCHLD - 1)) == 0, "the daemon ignores SIGCHLD");
    if stat::<u64>(pid, 11)? > 0 {
        return Ok(true);
    }
    let processes = fs::read_dir("/proc").context("reading /proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that ends while we look has no parent any more.
    Ok(pids.filter_map(|other| stat::<u32>(other, 4).ok()).any(|parent| parent == pid))
}

/// A field of `/proc/PID/stat`, numbered as in proc(5).
fn stat<T: FromStr>(pid: u32, number: usize) -> anyhow::Result<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading stat")?;
    // The second field is a name in parentheses that may hold anything.
    let (_name, rest) = stat.rsplit_once(") ").context("a process's name")?;
    let field = rest.split_whitespace().nth(number - 3).context("a field of stat")?;
    field.parse().ok().with_context(|| format!("field {number} of stat: {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_seen_while_it_lives_and_after_it_was_waited_for() {
        // Other tests of this program start none.
        let us = std::process::id();
        assert!(!has_spawned(us).unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(has_spawned(us).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_spawned(us).unwrap());
    }
}
