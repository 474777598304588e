//! Processes of the measurement: pinned when they start, ended when they are dropped, and what they use.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where the proxies run, one at a time.
pub const PROXY_CORE: usize = 0;
/// Where load and origin run.
pub const LOAD_CORE: usize = 1;

/// A child that does not outlive us.
pub struct Pinned(pub Child);

impl Pinned {
    /// Starts a program on one core, with its output piped.
    pub fn start(core: usize, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().expect("taskset, of util-linux"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, name: &str) {
        signal(name, self.id());
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        // In order, so that masters end their workers.
        self.signal("TERM");
        for _ in 0..100 {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for id in tree(self.id()) {
            signal("KILL", id);
        }
        let _ = self.0.wait();
    }
}

/// Sends a signal by its name.
pub fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).stderr(Stdio::null()).status();
}

/// Pins this process, so that what it does is not done on the proxies' core; with `priority`, it and all that it
/// starts go before everything else on the machine, which lets others work there without being measured.
pub fn settle(priority: bool) {
    let us = std::process::id().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).arg(&us).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?} {us}");
    };
    run("taskset", &["-cp", &LOAD_CORE.to_string()]);
    if priority {
        run("chrt", &["-f", "-p", "1"]);
    }
}

/// A process and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name stands in parentheses and may hold anything; state and parent come behind it.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(id, _)| *id));
        next += 1;
    }
    tree
}

/// CPU-µs that these processes have spent, user and system. `schedstat` counts nanoseconds where `stat` counts
/// ticks, but only of threads that live: for proxies, whose workers do.
pub fn cpu_micros(processes: &[u32]) -> f64 {
    let nanos = |task: &Path| -> Option<f64> {
        fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let tasks = processes.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok()).flatten().flatten();
    tasks.filter_map(|task| nanos(&task.path())).sum::<f64>() / 1000.0
}

/// The same of one process and of threads of it that have ended, in steps of ten milliseconds.
pub fn cpu_micros_by_ticks(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name: utime and stime are fields 14 and 15 of all (proc_pid_stat(5)), in hundredths of a second.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}

/// Resident memory of these processes, KiB.
pub fn resident_kib(processes: &[u32]) -> f64 {
    let status = processes.iter().filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
    let resident = |status: String| -> Option<f64> {
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
    };
    status.filter_map(resident).sum()
}
