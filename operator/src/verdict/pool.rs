//! What is said of an AgentPool.

use jiff::Timestamp;
use lineside_crds::api::agent_pool::{AgentCounts, AgentPoolStatus};
use lineside_crds::api::status::{Condition, ConditionStatus, Health};
use lineside_crds::diagnostics::Code;
use lineside_crds::diagnostics::conditions::Word;

use super::words::{self, Names};
use super::{AgentView, Beside, Claim, Findings, Judgement, Standing, conditions};

/// Everything that decides what is said of a pool.
#[derive(Clone, Debug)]
pub struct PoolFacts<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its conditions so far.
    pub previous: &'a [Condition],
    /// What is wrong with its spec.
    pub findings: &'a Findings,
    /// Its agents, by name.
    pub agents: Vec<AgentView<'a>>,
    /// An agent whose pod still has an earlier template, if there is one.
    pub outdated: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// The status of a pool.
pub fn status(facts: &PoolFacts<'_>) -> AgentPoolStatus {
    let judgement = judge(facts);
    let speaks = |a: &&AgentView<'_>| matches!(a.standing(), Standing::Speaks(_));
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    AgentPoolStatus {
        observed_generation: facts.generation,
        conditions: conditions(&judgement, facts.previous, facts.generation, facts.now),
        agents: Some(AgentCounts {
            total: count(facts.agents.len()),
            ready: count(facts.agents.iter().filter(speaks).count()),
        }),
    }
}

fn judge(facts: &PoolFacts<'_>) -> Judgement {
    let judgement = |accepted: Claim, ready: Claim, beside, health, code: Option<Code>| Judgement {
        accepted,
        programmed: None,
        connected: None,
        ready,
        beside,
        health,
        code: code.map(Code::id),
    };
    if let Some((refusal, code)) = facts.findings.refusal(facts.namespace) {
        let beside = Some(Beside::Stalled(refusal.but(ConditionStatus::True)));
        let accepted = refusal.clone();
        return judgement(accepted, refusal, beside, Health::Unavailable, Some(code));
    }
    let valid = Claim::holds(Word::Valid);
    for agent in &facts.agents {
        let about = format!("agent {} on node {}", agent.name, agent.node);
        if let Err(trouble) = agent.word(facts.namespace, &about) {
            let (ready, code) = (trouble.ready, Some(trouble.code));
            return judgement(valid, ready, None, Health::Degraded, code);
        }
    }
    if let Some(agent) = facts.outdated {
        let names = Names { namespace: facts.namespace, agent, node: "" };
        let what = format!("agents are restarted one after the other; {agent} has its turn");
        let text = words::message(Code::ConfigPending, &what, names);
        let claim = Claim::explained(ConditionStatus::True, Code::ConfigPending, text);
        let running = Claim::holds(Word::Running);
        return judgement(valid, running, Some(Beside::Reconciling(claim)), Health::Healthy, None);
    }
    judgement(valid, Claim::holds(Word::Running), None, Health::Healthy, None)
}
