//! The agent's heartbeat: when its Lease is renewed, and with what. Pure; time is given in,
//! counted on the clock that goes on while the machine sleeps.

use std::time::Duration;

use lineside_core::UnixNanos;
use serde::Deserialize;
use serde_json::json;

use super::clock::micro_time;

/// When the Lease is renewed: every period counted from the **sending** of a renewal, so that a
/// slow answer does not stretch it; sooner after a failure, but never in a rush.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    period: Duration,
    due: Duration,
}

impl Heartbeat {
    /// The first renewal is due at once.
    pub fn new(period: Duration, now: Duration) -> Self {
        Self { period, due: now }
    }

    /// Another period; a shorter one counts at once.
    pub fn set_period(&mut self, period: Duration) {
        if period < self.period {
            self.due = self.due.saturating_sub(self.period - period);
        }
        self.period = period;
    }

    /// How long until the next renewal.
    pub fn wait(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// A renewal goes out now.
    pub fn sent(&mut self, now: Duration) {
        self.due = now + self.period;
    }

    /// The renewal that went out at `sent` failed at `now`; tried again after `wait`, at the
    /// latest when the next one would have been due.
    pub fn failed(&mut self, sent: Duration, now: Duration, wait: Duration) {
        self.due = (now + wait).min((sent + self.period).max(now));
    }

    /// Longest wait for an answer: the next renewal is due then.
    pub fn deadline(&self) -> Duration {
        self.period
    }
}

/// The Lease as far as the agent looks at it.
#[derive(Debug, Deserialize)]
pub struct Lease {
    metadata: Meta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    uid: String,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    uid: String,
}

impl Lease {
    /// The uid of the Lease, when it belongs to the Agent object `agent_uid`. A Lease of the same
    /// name that belongs to another incarnation of the Agent is not ours to renew.
    pub fn uid_if_of(&self, agent_uid: &str) -> Option<String> {
        let ours = self.metadata.owner_references.iter().any(|o| o.uid == agent_uid);
        ours.then(|| self.metadata.uid.clone())
    }
}

/// The renewal: a JSON patch (RFC 6902) that is refused as a whole when the Lease is another one.
pub fn renewal(lease_uid: &str, holder: &str, now: UnixNanos) -> String {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": lease_uid},
        {"op": "add", "path": "/spec/holderIdentity", "value": holder},
        {"op": "add", "path": "/spec/renewTime", "value": micro_time(now)},
    ])
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn renewals_keep_their_period_from_sending_to_sending() {
        let mut beat = Heartbeat::new(10 * S, 100 * S);
        assert_eq!(beat.wait(100 * S), Duration::ZERO);
        beat.sent(100 * S);
        // The answer took four seconds: the next one is due ten after the sending.
        assert_eq!(beat.wait(104 * S), 6 * S);
        // The machine slept for an hour: due at once.
        assert_eq!(beat.wait(3700 * S), Duration::ZERO);
    }

    #[test]
    fn a_failed_renewal_is_tried_again_sooner_but_not_in_a_rush() {
        let mut beat = Heartbeat::new(10 * S, Duration::ZERO);
        beat.sent(Duration::ZERO);
        beat.failed(Duration::ZERO, 2 * S, S);
        assert_eq!(beat.wait(2 * S), S);
        // A long wait is cut at the next renewal.
        beat.failed(Duration::ZERO, 2 * S, 60 * S);
        assert_eq!(beat.wait(2 * S), 8 * S);
        // An answer that came to nothing for the whole period: at once, as it is due.
        beat.failed(Duration::ZERO, 10 * S, S);
        assert_eq!(beat.wait(10 * S), Duration::ZERO);
    }

    #[test]
    fn a_shorter_period_counts_at_once() {
        let mut beat = Heartbeat::new(60 * S, Duration::ZERO);
        beat.sent(Duration::ZERO);
        beat.set_period(10 * S);
        assert_eq!(beat.wait(Duration::ZERO), 10 * S);
        beat.set_period(60 * S);
        assert_eq!(beat.wait(Duration::ZERO), 10 * S);
        beat.sent(10 * S);
        assert_eq!(beat.wait(10 * S), 60 * S);
    }

    #[test]
    fn a_lease_of_another_incarnation_is_not_renewed() {
        let text = r#"{"metadata": {"uid": "l1", "ownerReferences": [{"uid": "a1"}]}, "spec": {}}"#;
        let lease: Lease = serde_json::from_str(text).unwrap();
        assert_eq!(lease.uid_if_of("a1").as_deref(), Some("l1"));
        assert_eq!(lease.uid_if_of("a2"), None);
        let orphan: Lease = serde_json::from_str(r#"{"metadata": {"uid": "l1"}}"#).unwrap();
        assert_eq!(orphan.uid_if_of("a1"), None);
    }

    #[test]
    fn a_renewal_tests_the_lease_and_names_the_holder() {
        let patch: serde_json::Value =
            serde_json::from_str(&renewal("l1", "lsa-0", 1_764_236_096_000_000_000)).unwrap();
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/uid", "value": "l1"}));
        assert_eq!(patch[1]["value"], "lsa-0");
        assert_eq!(patch[2]["value"], "2025-11-27T09:34:56.000000Z");
    }
}
