//! Wall-clock time and whether it can be trusted. Intervals and deadlines never use it: they
//! count on the monotonic clock (`tokio::time::Instant`).

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01T00:00:00Z; covers the years 1678 to 2262.
pub type UnixNanos = i64;

/// When this software was written: a clock before that has certainly not been set.
pub const WRITTEN: UnixNanos = 1_764_000_000_000_000_000;

/// Whether the wall clock was synchronised when a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeQuality {
    /// The clock is plausible.
    Synced,
    /// The clock has not been set since the machine started.
    Unsynced,
}

/// Source of wall-clock time; injected everywhere so that tests own it.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixNanos;

    /// Whether [`Clock::now`] can be trusted.
    fn quality(&self) -> TimeQuality {
        if self.now() < WRITTEN { TimeQuality::Unsynced } else { TimeQuality::Synced }
    }

    /// How often the wall clock was set while the process ran, as far as it was noticed.
    fn steps(&self) -> u64 {
        0
    }

    /// Nanoseconds to be added to the times that this clock gave while it was
    /// [`TimeQuality::Unsynced`], now that it is set. Given once, to whoever keeps such times.
    fn take_correction(&self) -> Option<i64> {
        None
    }
}

/// The machine's wall clock as it is. Whatever keeps times takes a clock that is steadied (in
/// `lineside-pipeline`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixNanos {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        }
    }
}
