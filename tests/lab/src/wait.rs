//! Polling with a bound, the only way this crate waits.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(30);

/// Looks until `look` is true; the error names `what`.
pub(crate) fn until(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        if look()? {
            return Ok(());
        }
        if started.elapsed() >= bound {
            bail!("not within {} s: {what}", bound.as_secs());
        }
        thread::sleep(PERIOD);
    }
}

/// Adds the name of a log file and its last lines to an error.
pub(crate) fn with_log<T>(result: Result<T>, log: &Path) -> Result<T> {
    result.with_context(|| {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines: Vec<_> = text.lines().rev().take(15).collect();
        lines.reverse();
        format!("see {}, which ends with\n{}\n", log.display(), lines.join("\n"))
    })
}
