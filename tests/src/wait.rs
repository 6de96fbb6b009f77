//! Polling with a deadline, the only way a test here waits.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// Looks until `look` gives a value; `what` names it in the error after `deadline`.
///
/// # Errors
/// The deadline passed.
pub fn until_some<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if started.elapsed() >= deadline {
            bail!("not within {:.1} s: {what}", deadline.as_secs_f64());
        }
        thread::sleep(PERIOD);
    }
}

/// Looks until `look` is true.
///
/// # Errors
/// The deadline passed.
pub fn until(what: &str, deadline: Duration, mut look: impl FnMut() -> bool) -> Result<()> {
    until_some(what, deadline, || look().then_some(()))
}

/// Looks for all of `time` and fails as soon as `look` is false: something must not happen.
///
/// # Errors
/// It happened.
pub fn while_true(what: &str, time: Duration, mut look: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < time {
        if !look() {
            bail!("after {:.1} s no longer: {what}", started.elapsed().as_secs_f64());
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}
