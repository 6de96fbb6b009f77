//! What a process uses, from /proc.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Ticks per second of /proc/PID/stat: USER_HZ, 100 on every Linux.
const TICKS: f64 = 100.0;

/// CPU time and memory of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds by the tick-based account, with threads that ended.
    ticks: f64,
    /// CPU seconds of the living threads, to the nanosecond.
    exact: f64,
    /// Resident memory in MiB.
    pub rss: f64,
    /// Its peak since the start.
    pub peak: f64,
}

impl Usage {
    /// The usage of a process now.
    ///
    /// # Errors
    /// It has ended.
    pub fn of(pid: u32) -> Result<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(dir.join("stat")).context("the process has ended")?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number =
            |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
        let mut exact = 0.0;
        for task in fs::read_dir(dir.join("task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ns = text.split_whitespace().next().and_then(|t| t.parse::<f64>().ok());
            exact += ns.unwrap_or_default() / 1e9;
        }
        let status = fs::read_to_string(dir.join("status"))?;
        let mib = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or_default()
                / 1024.0
        };
        Ok(Self {
            ticks: (number(11) + number(12)) / TICKS,
            exact,
            rss: mib("VmRSS:"),
            peak: mib("VmHWM:"),
        })
    }

    /// CPU seconds from `before` to here.
    pub fn cpu_since(&self, before: &Self) -> f64 {
        let (ticks, exact) = (self.ticks - before.ticks, self.exact - before.exact);
        // The exact account forgets threads that ended in between.
        if ticks - exact > 2.0 / TICKS { ticks } else { exact }
    }
}

/// CPU seconds that the whole machine has been busy.
pub fn machine_busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|f| f.parse().ok())
        .collect();
    let idle = fields.get(3).unwrap_or(&0.0) + fields.get(4).unwrap_or(&0.0);
    (fields.iter().sum::<f64>() - idle) / TICKS
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn this_process_uses_memory_and_time() {
        let before = Usage::of(std::process::id()).unwrap();
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 50 {
            std::hint::black_box(started);
        }
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.rss > 0.5 && after.peak >= after.rss * 0.5, "{after:?}");
        assert!(after.cpu_since(&before) > 0.005, "{before:?} {after:?}");
    }
}
