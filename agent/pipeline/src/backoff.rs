//! When to try again: exponential back-off with jitter, and jitter for first starts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First wait after a failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait. Short enough that a device that comes back is read again while somebody still
/// stands beside it; one connection attempt per 15 s harms no device.
const LONGEST: Duration = Duration::from_secs(15);
/// A session that did its work and lasted this long was a success, whatever ended it.
pub const STABLE: Duration = Duration::from_secs(5);

/// Exponential back-off with full jitter in the upper half.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: `FIRST * 2^n`, at most `LONGEST`, of which a random
    /// 50 to 100 % is taken, so that a site that powers up does not dial in step.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(LONGEST);
        whole / 2 + random_below(whole / 2)
    }

    /// The next failure counts as the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random duration in `0..limit`. Not for secrets: it only spreads starts.
pub fn random_below(limit: Duration) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return Duration::ZERO;
    }
    // RandomState is seeded by the operating system and differs on each call.
    Duration::from_nanos(RandomState::new().hash_one(0u8) % nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_success() {
        let mut b = Backoff::default();
        for n in 0..20 {
            let whole = FIRST.saturating_mul(1 << n.min(10)).min(LONGEST);
            let wait = b.next_wait();
            assert!(wait >= whole / 2 && wait <= whole, "{n}: {wait:?} of {whole:?}");
        }
        b.reset();
        assert!(b.next_wait() <= FIRST);
    }
}
