//! What is said of a DeviceConnection.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lineside_crds::api::agent::DeviceReport;
use lineside_crds::api::device::{DeviceAgent, DeviceConnectionStatus};
use lineside_crds::api::status::{Condition, ConditionStatus, Health};
use lineside_crds::diagnostics::Code;
use lineside_crds::diagnostics::conditions::Word;

use super::report::Said;
use super::words::{self, Names};
use super::{AgentView, Claim, Findings, Judgement, Standing, conditions};
use crate::placement::{Outcome, Unplaced};

/// Everything that decides what is said of a device.
#[derive(Clone, Debug)]
pub struct DeviceFacts<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid: what is said of an earlier device of this name does not count.
    pub uid: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its conditions so far.
    pub previous: &'a [Condition],
    /// The agent that status names so far.
    pub previous_agent: Option<&'a DeviceAgent>,
    /// What is wrong with its spec.
    pub findings: &'a Findings,
    /// `placement.nodeSelector`.
    pub node_selector: &'a BTreeMap<String, String>,
    /// What placement decided; `None` before it has.
    pub placement: Option<&'a Outcome>,
    /// The agent that owns it, if one does.
    pub agent: Option<AgentView<'a>>,
    /// Where it is, e.g. `10.20.0.11:502`.
    pub endpoint: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// The status of a device.
pub fn status(facts: &DeviceFacts<'_>) -> DeviceConnectionStatus {
    let judgement = judge(facts);
    let report = facts.report();
    let agent = match facts.placement {
        Some(Outcome::Assigned { agent, node, epoch } | Outcome::Moving { agent, node, epoch }) => {
            Some(DeviceAgent { name: agent.clone(), node: node.clone(), epoch: *epoch })
        }
        // Where it was last, and how often it has moved: the next owner counts on from there.
        Some(Outcome::Unplaced(_)) | None => facts.previous_agent.cloned(),
    };
    DeviceConnectionStatus {
        observed_generation: facts.generation,
        conditions: conditions(&judgement, facts.previous, facts.generation, facts.now),
        health: Some(judgement.health),
        code: judgement.code,
        agent,
        endpoint: report
            .and_then(|r| r.endpoint.clone())
            .or_else(|| facts.endpoint.map(str::to_owned)),
        points: report.map(|r| r.points),
    }
}

impl<'a> DeviceFacts<'a> {
    /// What its agent says of it, if that can be taken as true now.
    fn report(&self) -> Option<&'a DeviceReport> {
        let Standing::Speaks(status) = self.agent.as_ref()?.standing() else { return None };
        let is_it = |d: &&DeviceReport| {
            d.name == self.name && d.uid.as_deref().is_none_or(|uid| uid == self.uid)
        };
        status.devices.iter().find(is_it)
    }

    fn names(&self) -> Names<'a> {
        let nobody = Names { namespace: self.namespace, ..Names::default() };
        self.agent.as_ref().map_or(nobody, |agent| agent.names(self.namespace))
    }

    /// Who reads it, and from where.
    fn about(&self) -> String {
        let Some(agent) = &self.agent else { return String::new() };
        let asked = match self.node_selector.is_empty() {
            true => "placement.nodeSelector is empty".to_owned(),
            false => {
                let pairs: Vec<_> =
                    self.node_selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("placement.nodeSelector {}", pairs.join(","))
            }
        };
        format!("agent {} on node {}; {asked}", agent.name, agent.node)
    }
}

/// What is said of a device.
pub fn judge(facts: &DeviceFacts<'_>) -> Judgement {
    let report = facts.report();
    let connected = Some(report.map_or_else(unknown, connected));
    if let Some((refusal, code)) = facts.findings.refusal(facts.namespace) {
        let runs = report.is_some_and(|r| r.generation > 0 && r.health != Health::Unavailable);
        return Judgement::refused(&refusal, code, runs, connected);
    }
    match facts.placement {
        None => nothing_yet(),
        Some(Outcome::Unplaced(why)) => unplaced(facts, why),
        Some(Outcome::Moving { agent, node, .. }) => {
            let what = format!("it leaves agent {agent} on node {node}, which has not confirmed");
            let leaving = Judgement { connected, ..Judgement::pending(&what, facts.names()) };
            match report.map(|report| facts.reported(report)) {
                // What it does there is true until it is gone.
                Some(Judgement { ready, health, code, .. }) => {
                    Judgement { ready, health, code, ..leaving }
                }
                None => leaving,
            }
        }
        Some(Outcome::Assigned { .. }) => facts.assigned(),
    }
}

impl DeviceFacts<'_> {
    fn assigned(&self) -> Judgement {
        let connected = Some(unknown());
        let Some(agent) = &self.agent else {
            let pending = Judgement::pending("its agent is being made", self.names());
            return Judgement { connected, ..pending };
        };
        if let Err(trouble) = agent.word(self.namespace, &self.about()) {
            let connected = Some(trouble.ready.but(ConditionStatus::Unknown));
            return Judgement { connected, ..Judgement::troubled(trouble) };
        }
        match self.report() {
            Some(report) => self.reported(report),
            None => {
                let pending = Judgement::pending("the agent has not got it yet", self.names());
                Judgement { connected, ..pending }
            }
        }
    }

    fn reported(&self, report: &DeviceReport) -> Judgement {
        let said = Said {
            generation: report.generation,
            health: report.health,
            code: report.code.as_deref(),
            reason: &report.reason,
            message: report.message.as_deref(),
        };
        let (about, names) = (self.about(), self.names());
        let ready = said.ready(report.points.good > 0, &about, names);
        said.judge(self.generation, ready, Some(connected(report)), &about, names)
    }
}

fn unknown() -> Claim {
    Claim::plain(ConditionStatus::Unknown, Word::Pending)
}

fn nothing_yet() -> Judgement {
    Judgement {
        accepted: Claim::holds(Word::Valid),
        programmed: Some(unknown()),
        connected: Some(unknown()),
        ready: unknown(),
        beside: None,
        health: Health::Unknown,
        code: None,
    }
}

fn unplaced(facts: &DeviceFacts<'_>, why: &Unplaced) -> Judgement {
    let code = why.code();
    let names = facts.names();
    let text = words::message(code, &why.to_string(), names);
    let claim = match why {
        // The scheduler of agents is ours; people look for one reason whoever found no node.
        Unplaced::NoNode(_) => {
            Claim::explained(ConditionStatus::False, Code::AgentNotRunning, text)
        }
        _ => Claim::explained(ConditionStatus::False, code, text),
    };
    let missing = matches!(why, Unplaced::PoolNotFound { .. } | Unplaced::PoolRefused { .. });
    let waits = missing || matches!(why, Unplaced::AgentGoes { .. });
    let mut judgement = Judgement::nowhere(claim, code, Health::Unavailable, waits);
    judgement.connected = Some(unknown());
    if missing {
        judgement.accepted = judgement.ready.clone();
    }
    judgement
}

/// Whether there is a connection, by what the agent says.
fn connected(report: &DeviceReport) -> Claim {
    let answers = [
        Word::Receiving.name(),
        "Listening",
        Code::SomePointsBad.reason(),
        Code::AllPointsBad.reason(),
    ];
    if answers.contains(&report.reason.as_str()) {
        return Claim::holds(Word::Connected);
    }
    let status = match report.health {
        Health::Unavailable => ConditionStatus::False,
        Health::Healthy | Health::Degraded | Health::Unknown => ConditionStatus::Unknown,
    };
    Claim { status, reason: report.reason.clone(), message: String::new() }
}
