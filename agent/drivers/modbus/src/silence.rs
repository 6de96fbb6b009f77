//! Whether a connection on which nobody answers is taken for half-open.
//!
//! A peer that vanished without a word looks like one whose units are all off; only a new
//! connection tells them apart. Units that answered lately and have not been asked since say
//! nothing, so the verdict waits until each unit was asked in vain.

use std::time::{Duration, Instant};

/// Unanswered requests in a row, and request timeouts that they take at least.
const REQUESTS: u32 = 3;
const TIMEOUTS: u32 = 2;

/// The requests in a row that nobody answered.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    requests: u32,
    /// When the first of them was sent.
    since: Option<Instant>,
    /// The units that were asked.
    units: Vec<u8>,
}

impl Silence {
    /// Something came from the peer.
    pub fn broken(&mut self) {
        self.requests = 0;
        self.since = None;
        self.units.clear();
    }

    /// A request to `unit` that was sent at `sent` was not answered.
    pub fn lasts(&mut self, unit: u8, sent: Instant) {
        self.requests = self.requests.saturating_add(1);
        self.since.get_or_insert(sent);
        if !self.units.contains(&unit) {
            self.units.push(unit);
        }
    }

    /// The number of requests in vain, once they are enough at `now` to give the connection up;
    /// `all` are the units behind it, `timeout` is that of a request.
    pub fn verdict(&self, all: &[u8], timeout: Duration, now: Instant) -> Option<u32> {
        let long_enough =
            self.since.is_some_and(|at| now.saturating_duration_since(at) >= timeout * TIMEOUTS);
        let everybody = all.iter().all(|unit| self.units.contains(unit));
        (self.requests >= REQUESTS && long_enough && everybody).then_some(self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_requests_and_two_timeouts_are_needed() {
        let start = Instant::now();
        let mut silence = Silence::default();
        for request in 0..3u32 {
            assert_eq!(silence.verdict(&[1], SECOND, start + SECOND * 10), None);
            silence.lasts(1, start + SECOND * request);
        }
        assert_eq!(silence.verdict(&[1], SECOND, start + SECOND), None);
        assert_eq!(silence.verdict(&[1], SECOND, start + SECOND * 2), Some(3));
        silence.broken();
        assert_eq!(silence.verdict(&[1], SECOND, start + SECOND * 10), None);
    }

    #[test]
    fn a_unit_that_was_not_asked_keeps_the_connection() {
        let start = Instant::now();
        let mut silence = Silence::default();
        for _ in 0..9 {
            silence.lasts(2, start);
        }
        assert_eq!(silence.verdict(&[1, 2], SECOND, start + SECOND * 10), None);
        silence.lasts(1, start + SECOND * 10);
        assert_eq!(silence.verdict(&[1, 2], SECOND, start + SECOND * 11), Some(10));
    }
}
