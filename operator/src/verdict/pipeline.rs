//! What is said of a Pipeline: over all its agents it is as ready as on its worst one.

use jiff::Timestamp;
use lineside_crds::api::agent::PipelineReport;
use lineside_crds::api::pipeline::{PipelineAgents, PipelineStatus};
use lineside_crds::api::status::{Condition, ConditionStatus, Health};
use lineside_crds::diagnostics::Code;

use super::report::Said;
use super::words::{self, Names};
use super::{AgentView, Beside, Claim, Findings, Judgement, conditions};
use crate::placement::Unplaced;

/// Most agents that status names.
const NAMED_MOST: usize = 10;

/// Everything that decides what is said of a pipeline.
#[derive(Clone, Debug)]
pub struct PipelineFacts<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its conditions so far.
    pub previous: &'a [Condition],
    /// What is wrong with its spec, Sinks that are not there and Secrets that no pool mounts among
    /// it.
    pub findings: &'a Findings,
    /// How many devices its sources select.
    pub devices: usize,
    /// Whether it takes the agents' own metrics, so that it runs on all of them.
    pub agent_metrics: bool,
    /// Of these, one that nobody owns, with why.
    pub unplaced: Option<(&'a str, &'a Unplaced)>,
    /// The agents that own selected devices, or all when it takes their metrics, by name.
    pub agents: Vec<AgentView<'a>>,
    /// Now.
    pub now: Timestamp,
}

/// The status of a pipeline.
pub fn status(facts: &PipelineFacts<'_>) -> PipelineStatus {
    let on_agents: Vec<OnAgent<'_>> = facts.agents.iter().map(|a| on_agent(facts, a)).collect();
    let judgement = judge(facts, &on_agents);
    let not_ready: Vec<&OnAgent<'_>> = on_agents.iter().filter(|on| !on.is_ready()).collect();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    PipelineStatus {
        observed_generation: facts.generation,
        conditions: conditions(&judgement, facts.previous, facts.generation, facts.now),
        health: Some(judgement.health),
        code: judgement.code,
        agents: (!on_agents.is_empty()).then(|| PipelineAgents {
            total: count(on_agents.len()),
            ready: count(on_agents.len() - not_ready.len()),
            not_ready: not_ready.iter().take(NAMED_MOST).map(|on| on.agent.to_owned()).collect(),
        }),
    }
}

/// What is said of a pipeline on one agent.
struct OnAgent<'a> {
    agent: &'a str,
    judgement: Judgement,
    /// It runs there, be it an earlier generation.
    runs: bool,
}

impl OnAgent<'_> {
    fn is_ready(&self) -> bool {
        self.judgement.ready.status == ConditionStatus::True
    }
}

fn judge(facts: &PipelineFacts<'_>, on_agents: &[OnAgent<'_>]) -> Judgement {
    if let Some((refusal, code)) = facts.findings.refusal(facts.namespace) {
        let works = |on: &OnAgent<'_>| on.runs && on.judgement.health != Health::Unavailable;
        return Judgement::refused(&refusal, code, on_agents.iter().any(works), None);
    }
    if let Some(worst) = on_agents.iter().max_by_key(|on| rank(&on.judgement)) {
        return over_all(worst, on_agents);
    }
    let names = Names { namespace: facts.namespace, ..Names::default() };
    match facts.unplaced {
        _ if facts.devices == 0 => {
            let text = match facts.agent_metrics {
                true => {
                    "it takes the metrics of agents, and the namespace has no agent; agents \
                         come with devices"
                }
                false => "its sources select no device of the namespace",
            };
            let text = words::message(Code::NoDevices, text, names);
            let claim = Claim::explained(ConditionStatus::False, Code::NoDevices, text);
            Judgement::nowhere(claim, Code::NoDevices, Health::Unknown, false)
        }
        Some((device, why)) => {
            let what = format!("no agent has its devices; {device}: {why}");
            let text = words::message(why.code(), &what, names);
            let claim = Claim::explained(ConditionStatus::False, Code::AgentNotRunning, text);
            Judgement::nowhere(claim, why.code(), Health::Unavailable, false)
        }
        None => Judgement::pending("its agents are being made", names),
    }
}

/// How bad a judgement is: what a person must mend first, then what does not work, then what
/// nobody knows.
pub(super) fn rank(judgement: &Judgement) -> (u8, Health) {
    let what = match (&judgement.beside, judgement.ready.status) {
        (Some(Beside::Stalled(_)), _) => 5,
        (None, ConditionStatus::False) => 4,
        (Some(Beside::Reconciling(_)), ConditionStatus::False) => 3,
        (_, ConditionStatus::Unknown) => 2,
        (Some(Beside::Reconciling(_)), ConditionStatus::True) => 1,
        (None, ConditionStatus::True) => 0,
    };
    (what, judgement.health)
}

fn over_all(worst: &OnAgent<'_>, on_agents: &[OnAgent<'_>]) -> Judgement {
    let mut judgement = worst.judgement.clone();
    let ill: Vec<&str> = on_agents.iter().filter(|on| !on.is_ready()).map(|on| on.agent).collect();
    if on_agents.len() > 1 && !ill.is_empty() {
        let named = ill.iter().take(NAMED_MOST).copied().collect::<Vec<_>>().join(", ");
        let count = format!("on {} of {} agents ({named})", ill.len(), on_agents.len());
        judgement.ready.message = format!("{count}: {}", judgement.ready.message);
    }
    // It delivers in part when it delivers somewhere.
    if judgement.health == Health::Unavailable && on_agents.iter().any(OnAgent::is_ready) {
        judgement.health = Health::Degraded;
    }
    judgement
}

fn on_agent<'a>(facts: &PipelineFacts<'a>, agent: &AgentView<'a>) -> OnAgent<'a> {
    let names = agent.names(facts.namespace);
    let about = format!("agent {} on node {}", agent.name, agent.node);
    let of = |r: &&PipelineReport| {
        r.name == facts.name && r.uid.as_deref().is_none_or(|uid| uid == facts.uid)
    };
    let found = agent.word(facts.namespace, &about).map(|said| said.pipelines.iter().find(of));
    let (judgement, runs) = match found {
        Err(trouble) => (Judgement::troubled(trouble), false),
        Ok(None) => {
            let what = format!("the agent has not got it yet ({about})");
            (Judgement::pending(&what, names), false)
        }
        Ok(Some(report)) => {
            let said = Said {
                generation: report.generation,
                health: report.health,
                code: report.code.as_deref(),
                reason: &report.reason,
                message: report.message.as_deref(),
            };
            let ready = said.ready(false, &about, names);
            let judgement = said.judge(facts.generation, ready, None, &about, names);
            (judgement, report.generation > 0)
        }
    };
    OnAgent { agent: agent.name, judgement, runs }
}
