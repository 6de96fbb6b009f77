//! How late messages are: against the steadiest grid that each topic itself shows.
//!
//! Peers choose the phase of their ticks, so the due time of a message is not known from outside.
//! A topic's messages lie on a grid of the polling period; its earliest message (modulo the
//! period) gives the phase, and every other one is later than that by some milliseconds. A
//! constant delay is invisible to this; jitter, pile-ups and skipped cycles are not.

use std::collections::BTreeMap;

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lateness {
    /// Half of the messages are at most this late.
    pub p50: f64,
    /// All but one in a hundred.
    pub p99: f64,
}

/// The lateness of `arrivals` (topic number, seconds); `None` for too few of them.
pub fn lateness(arrivals: &[(u32, f64)], interval: f64) -> Option<Lateness> {
    let mut topics: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (topic, time) in arrivals {
        topics.entry(*topic).or_default().push(*time);
    }
    let mut late = Vec::new();
    for times in topics.values() {
        let Some(first) = times.first().filter(|_| times.len() >= 3) else { continue };
        let off = |t: &f64| (t - first) - ((t - first) / interval).round() * interval;
        let phase = times.iter().map(off).fold(f64::INFINITY, f64::min);
        late.extend(times.iter().map(|t| (off(t) - phase) * 1000.0));
    }
    late.sort_by(f64::total_cmp);
    let at = |share: f64| late.get(((late.len() as f64 - 1.0) * share).round() as usize).copied();
    Some(Lateness { p50: at(0.5)?, p99: at(0.99)? })
}

#[cfg(test)]
mod tests {
    use super::lateness;

    #[test]
    fn a_steady_topic_is_not_late_and_a_delayed_message_is() {
        let steady: Vec<(u32, f64)> = (0..10).map(|k| (1, 5.25 + f64::from(k))).collect();
        assert!(lateness(&steady, 1.0).unwrap().p99 < 0.001);
        let mut delayed = steady.clone();
        delayed[4].1 += 0.2;
        let late = lateness(&delayed, 1.0).unwrap();
        assert!(late.p50 < 0.001 && (late.p99 - 200.0).abs() < 0.001, "{late:?}");
        assert_eq!(lateness(&steady[..2], 1.0), None);
    }
}
