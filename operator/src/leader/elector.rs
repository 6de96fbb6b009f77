//! Who leads, decided from what was seen of the Lease and when. No clock, no request.

use std::time::{Duration, Instant};

/// The times of the election.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a Lease that does not change is respected; written into it.
    pub lease: Duration,
    /// How long after sending its last acknowledged renewal a leader may write. Shorter than
    /// `lease`, so that it has stopped before anybody else starts.
    pub renew_deadline: Duration,
    /// How often the Lease is looked at and renewed.
    pub retry: Duration,
    /// Longest time of one request.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            request: Duration::from_secs(5),
        }
    }
}

/// What the Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The leader's identity; empty after a release.
    pub holder: String,
    /// How long the holder wants to be respected without a change.
    pub duration: Duration,
    /// Changes with every renewal; compared, never read as a time.
    pub version: String,
    /// How often the holder changed so far.
    pub transitions: i32,
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is free or its holder is gone: take it, if it is still as it was seen.
    Take,
    /// Somebody leads.
    Wait,
}

/// The candidate's memory.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    /// Earlier processes of the same pod have identities that start like this. They are gone
    /// when this process runs, so their Lease needs no waiting for.
    predecessor_prefix: Option<String>,
    seen: Option<(Record, Instant)>,
}

impl Elector {
    /// A candidate that has seen nothing yet. `pod` is the name of its pod, if it has one of
    /// its own; `nonce` tells apart the processes of one pod or host.
    pub fn new(pod: Option<&str>, host: &str, nonce: &str) -> Self {
        Self {
            identity: format!("{}_{nonce}", pod.unwrap_or(host)),
            predecessor_prefix: pod.map(|pod| format!("{pod}_")),
            seen: None,
        }
    }

    /// The name written into the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The Lease as it is now, or that there is none.
    pub fn observe(&mut self, record: Option<Record>, now: Instant) -> Verdict {
        let Some(record) = record else {
            self.seen = None;
            return Verdict::Create;
        };
        let since = match &self.seen {
            Some((before, since)) if *before == record => *since,
            _ => now,
        };
        let verdict = self.verdict(&record, since, now);
        self.seen = Some((record, since));
        verdict
    }

    fn verdict(&self, record: &Record, since: Instant, now: Instant) -> Verdict {
        let holder = record.holder.as_str();
        let predecessor =
            self.predecessor_prefix.as_deref().is_some_and(|prefix| holder.starts_with(prefix));
        if holder == self.identity {
            Verdict::Renew
        } else if holder.is_empty() || predecessor || now >= since + record.duration {
            Verdict::Take
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> Record {
        Record {
            holder: holder.into(),
            duration: Duration::from_secs(15),
            version: version.into(),
            transitions: 0,
        }
    }

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_keeps_changing_is_respected_for_ever() {
        let start = Instant::now();
        let mut elector = Elector::new(None, "host", "b");
        for second in 0..100 {
            let seen = record("host_a", &second.to_string());
            assert_eq!(elector.observe(Some(seen), seconds(start, second * 14)), Verdict::Wait);
        }
    }

    #[test]
    fn a_lease_that_did_not_change_for_its_duration_is_taken_and_no_sooner() {
        let start = Instant::now();
        let mut elector = Elector::new(None, "host", "b");
        assert_eq!(elector.observe(Some(record("host_a", "1")), start), Verdict::Wait);
        let same = || Some(record("host_a", "1"));
        assert_eq!(elector.observe(same(), seconds(start, 14)), Verdict::Wait);
        assert_eq!(elector.observe(same(), seconds(start, 15)), Verdict::Take);
        let renewed = Some(record("host_a", "2"));
        assert_eq!(elector.observe(renewed, seconds(start, 16)), Verdict::Wait);
    }

    #[test]
    fn a_released_or_absent_lease_is_free_at_once() {
        let start = Instant::now();
        let mut elector = Elector::new(Some("pod-1"), "host", "x");
        assert_eq!(elector.observe(None, start), Verdict::Create);
        assert_eq!(elector.observe(Some(record("", "1")), start), Verdict::Take);
        assert_eq!(elector.observe(Some(record("pod-1_x", "2")), start), Verdict::Renew);
    }

    #[test]
    fn the_lease_of_an_earlier_process_of_the_same_pod_needs_no_waiting() {
        let start = Instant::now();
        let mut elector = Elector::new(Some("pod-1"), "host", "new");
        assert_eq!(elector.observe(Some(record("pod-1_old", "1")), start), Verdict::Take);
        assert_eq!(elector.observe(Some(record("pod-10_old", "1")), start), Verdict::Wait);
        let mut outside = Elector::new(None, "host", "new");
        assert_eq!(outside.observe(Some(record("host_old", "1")), start), Verdict::Wait);
    }

    #[test]
    fn a_leader_stops_before_anybody_may_take_over() {
        let timing = Timing::default();
        assert!(timing.renew_deadline + timing.retry < timing.lease);
    }
}
