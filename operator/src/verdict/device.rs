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
use super::{AgentView, Beside, Claim, Findings, Judgement, Standing, conditions};
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
        Some(Outcome::Unplaced(_)) | None => None,
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
        match self.agent.as_ref()?.standing() {
            Standing::Speaks(status) => status.devices.iter().find(|d| {
                d.name == self.name && d.uid.as_deref().is_none_or(|uid| uid == self.uid)
            }),
            Standing::NotRunning(_) | Standing::Silent(_) => None,
        }
    }

    fn names(&self) -> Names<'a> {
        let (agent, node) = self.agent.as_ref().map_or(("", ""), |a| (a.name, a.node));
        Names { namespace: self.namespace, agent, node }
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
    if let Some((refusal, code)) = facts.findings.refusal() {
        return refused(&refusal, code, report);
    }
    let accepted = Claim::holds(Word::Valid);
    match facts.placement {
        None => nothing_yet(accepted),
        Some(Outcome::Unplaced(why)) => unplaced(facts, why),
        Some(Outcome::Moving { agent, node, .. }) => {
            let text = format!("it leaves agent {agent} on node {node}, which has not confirmed");
            pending(accepted, &text, facts.names(), report.map(|r| facts.ready(r)))
        }
        Some(Outcome::Assigned { .. }) => assigned(facts, accepted),
    }
}

impl DeviceFacts<'_> {
    fn ready(&self, report: &DeviceReport) -> (Claim, Health, Option<String>) {
        let said = said(report);
        let claim = said.ready(report.points.good > 0, &self.about(), self.names());
        (claim, report.health, report.code.clone())
    }
}

fn said(report: &DeviceReport) -> Said<'_> {
    Said {
        generation: report.generation,
        health: report.health,
        code: report.code.as_deref(),
        reason: &report.reason,
        message: report.message.as_deref(),
    }
}

/// The operator refuses the spec. What the agent still runs is the former one.
fn refused(refusal: &Claim, code: Code, report: Option<&DeviceReport>) -> Judgement {
    let runs = report.is_some_and(|r| r.generation > 0 && r.health != Health::Unavailable);
    let ready = match runs {
        true => Claim { reason: Code::ConfigRejected.reason().to_owned(), ..refusal.clone() },
        false => refusal.clone(),
    };
    Judgement {
        accepted: refusal.clone(),
        programmed: Some(refusal.clone()),
        connected: Some(report.map_or_else(unknown, connected)),
        beside: Some(Beside::Stalled(refusal.but(ConditionStatus::True))),
        ready,
        health: if runs { Health::Degraded } else { Health::Unavailable },
        code: Some(code.id()),
    }
}

fn unknown() -> Claim {
    Claim::plain(ConditionStatus::Unknown, Word::Pending)
}

fn nothing_yet(accepted: Claim) -> Judgement {
    Judgement {
        accepted,
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
    Judgement {
        accepted: if missing { claim.clone() } else { Claim::holds(Word::Valid) },
        programmed: Some(claim.clone()),
        connected: Some(unknown()),
        beside: waits.then(|| Beside::Reconciling(claim.but(ConditionStatus::True))),
        ready: claim,
        health: Health::Unavailable,
        code: Some(code.id()),
    }
}

/// The agent does not run this generation yet. What it does with the former one is still true.
fn pending(
    accepted: Claim,
    what: &str,
    names: Names<'_>,
    former: Option<(Claim, Health, Option<String>)>,
) -> Judgement {
    let text = words::message(Code::ConfigPending, what, names);
    let claim = Claim::explained(ConditionStatus::False, Code::ConfigPending, text);
    let beside = Some(Beside::Reconciling(claim.but(ConditionStatus::True)));
    let (ready, health, code) =
        former.unwrap_or_else(|| (claim.clone(), Health::Unknown, Some(Code::ConfigPending.id())));
    Judgement {
        accepted,
        programmed: Some(claim),
        connected: Some(unknown()),
        ready,
        beside,
        health,
        code,
    }
}

fn assigned(facts: &DeviceFacts<'_>, accepted: Claim) -> Judgement {
    let names = facts.names();
    let stopped = |status, code, what: &str, health| {
        let text = words::message(code, &format!("{what} ({})", facts.about()), names);
        let claim = Claim::explained(status, code, text);
        Judgement {
            accepted: Claim::holds(Word::Valid),
            programmed: Some(claim.but(ConditionStatus::Unknown)),
            connected: Some(claim.but(ConditionStatus::Unknown)),
            ready: claim,
            beside: None,
            health,
            code: Some(code.id()),
        }
    };
    let Some(agent) = &facts.agent else {
        return pending(accepted, "its agent is being made", names, None);
    };
    match agent.standing() {
        Standing::NotRunning(why) => {
            stopped(ConditionStatus::False, Code::AgentNotRunning, &why, Health::Unavailable)
        }
        Standing::Silent(_) => {
            // Without the age, which would make a change of every look.
            let what = "no sign of life for three heartbeats";
            stopped(ConditionStatus::Unknown, Code::AgentSilent, what, Health::Unknown)
        }
        Standing::Speaks(_) => match facts.report() {
            None => pending(accepted, "the agent has not got it yet", names, None),
            Some(report) => reported(facts, accepted, report),
        },
    }
}

fn reported(facts: &DeviceFacts<'_>, accepted: Claim, report: &DeviceReport) -> Judgement {
    let said = said(report);
    let (ready, health, code) = facts.ready(report);
    if said.is_rejected() {
        return Judgement {
            accepted: ready.clone(),
            programmed: Some(ready.clone()),
            connected: Some(unknown()),
            beside: Some(Beside::Stalled(ready.but(ConditionStatus::True))),
            ready,
            health,
            code,
        };
    }
    if said.generation != facts.generation {
        let what = match said.generation {
            running if running > 0 => {
                format!("the agent runs generation {running} of it, not yet {}", facts.generation)
            }
            _ => "the agent has not got it yet".to_owned(),
        };
        return pending(accepted, &what, facts.names(), Some((ready, health, code)));
    }
    let waits = said.waits_for_reference();
    Judgement {
        accepted: if waits { ready.clone() } else { accepted },
        programmed: Some(Claim::holds(Word::Applied)),
        connected: Some(connected(report)),
        beside: waits.then(|| Beside::Reconciling(ready.but(ConditionStatus::True))),
        ready,
        health,
        code,
    }
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
