//! How an agent stands: whether what it says of its devices can be taken as true now.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lineside_crds::api::agent::AgentStatus;
use lineside_crds::api::status::{ConditionStatus, Health};
use lineside_crds::diagnostics::Code;

use super::words::{self, Names};
use super::{Claim, PodState};

/// Heartbeats without a sign of life after which an agent counts as silent (contracts 3).
const SILENT_HEARTBEATS: u32 = 3;
/// A process starts this much before or after its container, by the same node's clock in whole
/// seconds.
const SAME_START: SignedDuration = SignedDuration::from_secs(2);

/// What the operator knows of one agent.
#[derive(Clone, Debug)]
pub struct AgentView<'a> {
    /// Name of the Agent.
    pub name: &'a str,
    /// Its node.
    pub node: &'a str,
    /// What it said last.
    pub status: Option<&'a AgentStatus>,
    /// Its pod.
    pub pod: PodState,
    /// Time since its Lease changed, by the operator's own clock; `None` when it has never
    /// renewed it.
    pub lease_age: Option<Duration>,
    /// Time between two renewals.
    pub heartbeat: Duration,
}

/// How an agent stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing<'a> {
    /// It runs, and this is what it says.
    Speaks(&'a AgentStatus),
    /// Its pod does not run, or has only just started; why.
    NotRunning(String),
    /// Its pod runs as far as anybody knows, but there is no sign of life.
    Silent(Duration),
}

/// Why nothing that an agent said can be taken as true now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What it makes of Ready.
    pub ready: Claim,
    /// What it makes of health.
    pub health: Health,
    /// Its code.
    pub code: Code,
}

impl<'a> AgentView<'a> {
    /// The names that stand in a message about it.
    pub(super) fn names(&self, namespace: &'a str) -> Names<'a> {
        Names { namespace, agent: self.name, node: self.node }
    }

    /// What it said last, if that counts, or what is wrong with it; `about` is what a message
    /// says of it.
    pub(super) fn word(&self, namespace: &str, about: &str) -> Result<&'a AgentStatus, Trouble> {
        let (status, code, health, what) = match self.standing() {
            Standing::Speaks(status) => return Ok(status),
            Standing::NotRunning(why) => {
                (ConditionStatus::False, Code::AgentNotRunning, Health::Unavailable, why)
            }
            Standing::Silent(_) => {
                // Without the age, which would make a change of every look.
                let what = "no sign of life for three heartbeats".to_owned();
                (ConditionStatus::Unknown, Code::AgentSilent, Health::Unknown, what)
            }
        };
        let names = Names { namespace, agent: self.name, node: self.node };
        let text = words::message(code, &format!("{what} ({about})"), names);
        Err(Trouble { ready: Claim::explained(status, code, text), health, code })
    }

    /// How it stands.
    pub fn standing(&self) -> Standing<'a> {
        let started = match &self.pod {
            PodState::NotRunning(why) => return Standing::NotRunning(why.clone()),
            PodState::Running { since } => *since,
        };
        match self.lease_age {
            Some(age) if age > self.heartbeat * SILENT_HEARTBEATS => Standing::Silent(age),
            Some(_) => match self.status.filter(|status| is_of(status, started)) {
                Some(status) => Standing::Speaks(status),
                None => Standing::NotRunning("the agent starts".to_owned()),
            },
            None => Standing::NotRunning("the agent starts".to_owned()),
        }
    }

    /// When the answer of [`Self::standing`] may change by time alone.
    pub fn silent_in(&self) -> Option<Duration> {
        let age = self.lease_age?;
        (self.heartbeat * SILENT_HEARTBEATS).checked_sub(age)
    }
}

/// Whether a status was written by the process of the container that runs, not by one before.
fn is_of(status: &AgentStatus, container: Option<Timestamp>) -> bool {
    let process = status.started_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    match (process, container) {
        (Some(process), Some(container)) => process + SAME_START >= container,
        // A foreign or older agent that does not say when it started.
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(status: Option<&AgentStatus>, age: Option<u64>) -> AgentView<'_> {
        AgentView {
            name: "lsa-a",
            node: "n1",
            status,
            pod: PodState::Running { since: Some("2026-01-01T00:01:00Z".parse().unwrap()) },
            lease_age: age.map(Duration::from_secs),
            heartbeat: Duration::from_secs(10),
        }
    }

    fn started(at: &str) -> AgentStatus {
        AgentStatus { started_at: Some(at.to_owned()), ..AgentStatus::default() }
    }

    #[test]
    fn what_an_agent_says_counts_for_three_heartbeats() {
        let status = started("2026-01-01T00:01:01Z");
        assert_eq!(view(Some(&status), Some(30)).standing(), Standing::Speaks(&status));
        let silent = view(Some(&status), Some(31)).standing();
        assert_eq!(silent, Standing::Silent(Duration::from_secs(31)));
    }

    #[test]
    fn what_the_process_before_said_does_not_count() {
        let status = started("2026-01-01T00:00:30Z");
        assert!(matches!(view(Some(&status), Some(1)).standing(), Standing::NotRunning(_)));
    }

    #[test]
    fn a_pod_that_does_not_run_is_that_however_fresh_its_lease_is() {
        let status = started("2026-01-01T00:01:01Z");
        let pod = PodState::NotRunning("kubelet: ErrImagePull".into());
        let view = AgentView { pod, ..view(Some(&status), Some(1)) };
        assert_eq!(view.standing(), Standing::NotRunning("kubelet: ErrImagePull".into()));
    }

    #[test]
    fn an_agent_that_never_renewed_its_lease_starts() {
        assert!(matches!(view(None, None).standing(), Standing::NotRunning(_)));
    }
}
