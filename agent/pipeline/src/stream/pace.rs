//! How fast a backlog grows or goes, and when it will be gone or the store full: what a person
//! wants to know in an outage. Rates are means over about half a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Forecast, SinkNumbers, StoreNumbers};

/// Time over which rates are smoothed.
const MEMORY: Duration = Duration::from_secs(30);
/// Further away than this nothing is foreseen.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The rate of one running total, per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    last: Option<(Instant, u64)>,
    per_second: Option<f64>,
}

impl Rate {
    /// Takes the total as it is now. A total that went back begins anew.
    fn look(&mut self, now: Instant, total: u64) {
        let Some((then, before)) = self.last.replace((now, total)) else { return };
        let seconds = (now - then).as_secs_f64();
        let Some(passed) = total.checked_sub(before).filter(|_| seconds > 0.0) else {
            self.per_second = None;
            return;
        };
        let (fresh, weight) = (passed as f64 / seconds, (seconds / MEMORY.as_secs_f64()).min(1.0));
        self.per_second = Some(self.per_second.map_or(fresh, |old| old + (fresh - old) * weight));
    }

    /// Per second; zero before the second look.
    fn per_second(&self) -> f64 {
        self.per_second.unwrap_or_default()
    }
}

/// The rates of one store.
#[derive(Debug, Default)]
pub(super) struct Paces {
    bytes: Growth,
    sinks: HashMap<Arc<str>, Sink>,
}

#[derive(Debug, Default)]
struct Sink {
    captured: Rate,
    /// Delivered or given up: what no longer waits.
    settled: Rate,
}

/// How fast a size changes, which goes up and down.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    last: Option<(Instant, u64)>,
    per_second: f64,
}

impl Growth {
    fn look(&mut self, now: Instant, size: u64) {
        let Some((then, before)) = self.last.replace((now, size)) else { return };
        let seconds = (now - then).as_secs_f64();
        if seconds > 0.0 {
            let fresh = (size as f64 - before as f64) / seconds;
            let weight = (seconds / MEMORY.as_secs_f64()).min(1.0);
            self.per_second += (fresh - self.per_second) * weight;
        }
    }
}

impl Paces {
    pub(super) fn look(
        &mut self,
        now: Instant,
        store: &StoreNumbers,
        sinks: &[(Arc<str>, SinkNumbers)],
    ) {
        self.bytes.look(now, store.bytes);
        self.sinks.retain(|name, _| sinks.iter().any(|(known, _)| known == name));
        for (name, numbers) in sinks {
            let captured = numbers.ledger.captured;
            let sink = self.sinks.entry(name.clone()).or_default();
            sink.captured.look(now, captured);
            sink.settled.look(now, captured.saturating_sub(numbers.waiting()));
        }
    }

    pub(super) fn forecast(
        &self,
        store: &StoreNumbers,
        sinks: &[(Arc<str>, SinkNumbers)],
    ) -> Forecast {
        let room = store.limit.saturating_sub(store.bytes);
        let caught_up_in = |(name, numbers): &(Arc<str>, SinkNumbers)| {
            let (out, more) = self
                .sinks
                .get(name)
                .map_or((0.0, 0.0), |sink| (sink.settled.per_second(), sink.captured.per_second()));
            gone_in(numbers.waiting(), out, more)
        };
        Forecast {
            full_in: gone_in(room, self.bytes.per_second, 0.0),
            caught_up_in: sinks.iter().map(caught_up_in).collect(),
        }
    }
}

/// When `amount` is gone at `out` per second while `more` per second are added; `None` when it
/// never is, or not within a month.
fn gone_in(amount: u64, out: f64, more: f64) -> Option<Duration> {
    if amount == 0 {
        return Some(Duration::ZERO);
    }
    let net = out - more;
    let seconds = amount as f64 / net;
    (net > 0.0 && seconds < HORIZON.as_secs_f64()).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_goes_faster_than_it_grows_has_an_end() {
        assert_eq!(gone_in(0, 0.0, 5.0), Some(Duration::ZERO));
        assert_eq!(gone_in(1000, 30.0, 10.0), Some(Duration::from_secs(50)));
        assert_eq!(gone_in(1000, 10.0, 10.0), None);
        assert_eq!(gone_in(u64::MAX, 1.0, 0.0), None);
    }

    #[test]
    fn a_rate_follows_a_change_within_a_minute_and_a_restart_begins_anew() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut rate = Rate::default();
        rate.look(at(0), 0);
        assert_eq!(rate.per_second(), 0.0);
        for s in 1..=60 {
            rate.look(at(s), s * 100);
        }
        assert!((rate.per_second() - 100.0).abs() < 1e-6);
        for s in 61..=120 {
            rate.look(at(s), 6000);
        }
        assert!(rate.per_second() < 15.0, "{}", rate.per_second());
        rate.look(at(121), 5);
        assert_eq!(rate.per_second(), 0.0);
    }
}
