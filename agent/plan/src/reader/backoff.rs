//! Exponential back-off of one refused thing.

use std::time::{Duration, Instant};

use super::schedule::after;

/// When something refused is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    /// The wait that ends at `until`, without jitter.
    pub(super) wait: Duration,
    /// Not before.
    pub(super) until: Instant,
}

impl Backoff {
    /// The wait after `before` (none: the first), doubling from `min` to `max`. `jitter` (any
    /// number) takes up to an eighth off, so that what was refused together is not tried together.
    pub(super) fn next(
        before: Option<Duration>,
        min: Duration,
        max: Duration,
        now: Instant,
        jitter: u64,
    ) -> Self {
        let wait = before.map_or(min, |w| w.saturating_mul(2)).clamp(min.min(max), max);
        let off = wait.mul_f64((jitter % 1024) as f64 / 8192.0);
        Self { wait, until: after(now, wait.saturating_sub(off)) }
    }
}

/// The next number of a small generator (splitmix64), for jitter only.
pub(super) fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
