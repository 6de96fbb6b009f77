//! When each agent last showed a sign of life, on the operator's own clock.
//!
//! An agent renews its Lease every few seconds. Only *that* the Lease changed counts, and when
//! this process saw it: the time written in it comes from another machine's clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use super::table::Id;

/// The age of a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Since its last change, or since it was first seen.
    pub age: Duration,
    /// Whether it was ever renewed by its agent.
    pub renewed: bool,
    /// Whether this process saw it change, or knows it only as it found it.
    pub witnessed: bool,
    /// The age from which the agent counts as silent.
    pub limit: Duration,
}

impl Beat {
    /// Whether the agent is silent.
    pub fn is_silent(&self) -> bool {
        self.age >= self.limit
    }
}

/// The signs of life of all agents.
#[derive(Debug, Default)]
pub struct Pulse {
    seen: Mutex<BTreeMap<Id, Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// Holder and time of renewal; compared only.
    mark: (Option<String>, Option<String>),
    at: Instant,
    witnessed: bool,
    limit: Duration,
    /// As last told by [`Pulse::tick`].
    silent: bool,
}

impl Pulse {
    /// The Lease was seen like this. True when the agent was silent and is no more.
    pub fn observe(&self, lease: &Lease, now: Instant) -> bool {
        let spec = lease.spec.as_ref();
        let mark = (
            spec.and_then(|s| s.holder_identity.clone()),
            spec.and_then(|s| s.renew_time.as_ref()).map(|t| t.0.to_string()),
        );
        let seconds = spec.and_then(|s| s.lease_duration_seconds).unwrap_or(30).max(1);
        let limit = Duration::from_secs(u64::from(seconds.unsigned_abs()));
        let id = (lease.namespace().unwrap_or_default(), lease.name_any());
        let mut seen = self.lock();
        match seen.get_mut(&id) {
            None => {
                seen.insert(id, Seen { mark, at: now, witnessed: false, limit, silent: false });
                false
            }
            Some(seen) => {
                seen.limit = limit;
                if seen.mark == mark {
                    return false;
                }
                seen.mark = mark;
                seen.at = now;
                seen.witnessed = true;
                std::mem::take(&mut seen.silent)
            }
        }
    }

    /// The Lease is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The age of the Lease of this agent; `None` when there is no such Lease.
    pub fn beat(&self, namespace: &str, name: &str, now: Instant) -> Option<Beat> {
        let seen = self.lock();
        let seen = seen.get(&(namespace.to_owned(), name.to_owned()))?;
        Some(Beat {
            age: now.saturating_duration_since(seen.at),
            renewed: seen.mark.1.is_some(),
            witnessed: seen.witnessed,
            limit: seen.limit,
        })
    }

    /// Agents that have become silent since the last call.
    pub fn tick(&self, now: Instant) -> Vec<Id> {
        let mut fallen = Vec::new();
        for (id, seen) in self.lock().iter_mut() {
            // One that never renewed it has not started; that is no silence.
            if !seen.silent
                && seen.mark.1.is_some()
                && now.saturating_duration_since(seen.at) >= seen.limit
            {
                seen.silent = true;
                fallen.push(id.clone());
            }
        }
        fallen
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Seen>> {
        // Single assignments only; a panic elsewhere does not spoil the map.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(second: u32) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "a"},
            "spec": {
                "holderIdentity": "a-0", "leaseDurationSeconds": 30,
                "renewTime": format!("2026-01-01T00:00:{second:02}.000000Z"),
            }
        }))
        .unwrap()
    }

    #[test]
    fn only_a_change_counts_not_the_time_written_in_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::default();
        assert!(!pulse.observe(&lease(1), at(0)));
        let first = pulse.beat("ns", "a", at(5)).unwrap();
        assert_eq!((first.age.as_secs(), first.witnessed, first.renewed), (5, false, true));
        pulse.observe(&lease(1), at(10));
        assert_eq!(pulse.beat("ns", "a", at(10)).unwrap().age.as_secs(), 10);
        // The other machine's clock may even run backwards.
        pulse.observe(&lease(0), at(12));
        let beat = pulse.beat("ns", "a", at(13)).unwrap();
        assert_eq!((beat.age.as_secs(), beat.witnessed), (1, true));
    }

    #[test]
    fn silence_and_its_end_are_told_once_each() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pulse = Pulse::default();
        pulse.observe(&lease(1), at(0));
        assert!(pulse.tick(at(29)).is_empty());
        assert_eq!(pulse.tick(at(30)), [("ns".to_owned(), "a".to_owned())]);
        assert!(pulse.tick(at(31)).is_empty());
        assert!(pulse.beat("ns", "a", at(31)).unwrap().is_silent());
        assert!(pulse.observe(&lease(2), at(40)), "the end of the silence");
        assert!(!pulse.observe(&lease(3), at(41)));
        pulse.forget("ns", "a");
        assert_eq!(pulse.beat("ns", "a", at(41)), None);
        assert!(pulse.tick(at(99)).is_empty());
    }
}
