//! Wall-clock time and whether it can be trusted. Intervals and deadlines never use it: they
//! count on the monotonic clock (`tokio::time::Instant`).

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01T00:00:00Z; covers the years 1678 to 2262.
pub type UnixNanos = i64;

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
        // A clock before this software was written has certainly not been set.
        const WRITTEN: UnixNanos = 1_764_000_000_000_000_000;
        if self.now() < WRITTEN { TimeQuality::Unsynced } else { TimeQuality::Synced }
    }
}

/// The machine's clock.
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
