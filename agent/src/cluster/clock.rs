//! Time that goes on while the machine sleeps, and times as Kubernetes writes them.

use std::time::Duration;

use lineside_core::UnixNanos;
use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, with the time in which it slept (`CLOCK_BOOTTIME`): a machine
/// that wakes up knows that its Lease is old.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // The kernel counts from zero and below a billion nanoseconds.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// `metav1.Time`: RFC 3339 in UTC with whole seconds.
pub fn time(at: UnixNanos) -> String {
    format!("{}Z", cut(at, "2026-01-02T15:04:05".len()))
}

/// `metav1.MicroTime`: RFC 3339 in UTC with exactly six digits of the second; the API server
/// takes no other number of them.
pub fn micro_time(at: UnixNanos) -> String {
    format!("{}Z", cut(at, "2026-01-02T15:04:05.123456".len()))
}

fn cut(at: UnixNanos, length: usize) -> String {
    let mut text = Vec::with_capacity(30);
    lineside_core::encode::write_rfc3339(at, &mut text);
    text.truncate(length);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_kubernetes_wants() {
        let at = 1_764_236_096_123_456_789;
        assert_eq!(time(at), "2025-11-27T09:34:56Z");
        assert_eq!(micro_time(at), "2025-11-27T09:34:56.123456Z");
        assert_eq!(micro_time(1_764_236_096_000_000_000), "2025-11-27T09:34:56.000000Z");
    }

    #[test]
    fn the_time_since_boot_goes_on() {
        let first = since_boot();
        assert!(!first.is_zero() && since_boot() >= first);
    }
}
