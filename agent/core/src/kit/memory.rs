//! Resident memory of the test process: the only measure that needs no allocator of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Watches the resident memory of this process until it is dropped.
pub(super) struct PeakWatch {
    before: Option<u64>,
    peak: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl PeakWatch {
    /// Starts watching.
    pub(super) fn start() -> Self {
        let before = resident_bytes();
        let peak = Arc::new(AtomicU64::new(0));
        let seen = peak.clone();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            loop {
                tick.tick().await;
                seen.fetch_max(resident_bytes().unwrap_or(0), Ordering::SeqCst);
            }
        });
        Self { before, peak, task }
    }

    /// By how many bytes the process was larger than at the start, at most so far; `None` where
    /// the system does not tell.
    pub(super) fn growth(&self) -> Option<u64> {
        let now = resident_bytes()?;
        Some(self.peak.load(Ordering::SeqCst).max(now).saturating_sub(self.before?))
    }
}

impl Drop for PeakWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resident bytes of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
