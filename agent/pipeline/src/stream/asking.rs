//! Since when a device is being asked for samples that have not come out yet.

use std::sync::atomic::{AtomicI64, Ordering};

use lineside_core::UnixNanos;

/// Nothing is asked for.
const NOTHING: UnixNanos = UnixNanos::MAX;

/// Start of the oldest open request of one device; written by its session, read with every
/// record, so it costs no lock.
#[derive(Debug)]
pub struct Asking(AtomicI64);

impl Default for Asking {
    fn default() -> Self {
        Self(AtomicI64::new(NOTHING))
    }
}

impl Asking {
    /// A session says since when it asks; `None` = it does not.
    pub fn set(&self, since: Option<UnixNanos>) {
        self.0.store(since.unwrap_or(NOTHING), Ordering::Relaxed);
    }

    /// The earliest of many; `None` when none asks.
    pub fn earliest<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<UnixNanos> {
        let since = all.into_iter().map(|a| a.0.load(Ordering::Relaxed)).min()?;
        (since != NOTHING).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_that_asks_longest_decides() {
        let (a, b) = (Asking::default(), Asking::default());
        assert_eq!(Asking::earliest([&a, &b]), None);
        a.set(Some(20));
        b.set(Some(10));
        assert_eq!(Asking::earliest([&a, &b]), Some(10));
        b.set(None);
        assert_eq!(Asking::earliest([&a, &b]), Some(20));
    }
}
