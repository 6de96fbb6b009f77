//! What is said of a Sink: it is as ready as for the worst of the pipelines that deliver through it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lineside_crds::api::agent::SinkReport;
use lineside_crds::api::sink::{SinkPipelines, SinkStatus};
use lineside_crds::api::status::{Condition, ConditionStatus, Health};
use lineside_crds::diagnostics::conditions::Word;

use super::pipeline::rank;
use super::report::Said;
use super::words::Names;
use super::{AgentView, Claim, Findings, Judgement, conditions};

/// Most pipelines that a message names.
const NAMED_MOST: usize = 10;

/// Everything that decides what is said of a Sink.
#[derive(Clone, Debug)]
pub struct SinkFacts<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its conditions so far.
    pub previous: &'a [Condition],
    /// What is wrong with its spec.
    pub findings: &'a Findings,
    /// How many pipelines name it.
    pub pipelines: usize,
    /// What agents say of sinks that were made from it.
    pub uses: Vec<SinkUse<'a>>,
    /// Now.
    pub now: Timestamp,
}

/// A sink of a pipeline on one agent, made from the Sink.
#[derive(Clone, Debug)]
pub struct SinkUse<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The agent.
    pub agent: AgentView<'a>,
    /// What the agent says of it.
    pub report: &'a SinkReport,
}

/// The status of a Sink.
pub fn status(facts: &SinkFacts<'_>) -> SinkStatus {
    let used: Vec<Used<'_>> = facts.uses.iter().map(|one| used(facts, one)).collect();
    let judgement = judge(facts, &used);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut delivering: BTreeMap<&str, bool> = BTreeMap::new();
    for one in &used {
        *delivering.entry(one.pipeline).or_insert(true) &= one.delivers();
    }
    SinkStatus {
        observed_generation: facts.generation,
        conditions: conditions(&judgement, facts.previous, facts.generation, facts.now),
        health: Some(judgement.health),
        code: judgement.code,
        pipelines: Some(SinkPipelines {
            total: count(facts.pipelines),
            delivering: count(delivering.values().filter(|all| **all).count()),
        }),
    }
}

/// What is said of the Sink for one pipeline on one agent.
struct Used<'a> {
    pipeline: &'a str,
    judgement: Judgement,
    suspended: bool,
}

impl Used<'_> {
    fn is_ready(&self) -> bool {
        self.judgement.ready.status == ConditionStatus::True
    }

    fn delivers(&self) -> bool {
        self.is_ready() && !self.suspended
    }
}

fn used<'a>(facts: &SinkFacts<'a>, one: &SinkUse<'a>) -> Used<'a> {
    let SinkUse { pipeline, agent, report } = one;
    let names = agent.names(facts.namespace);
    let about = format!("pipeline {pipeline} on agent {}, node {}", agent.name, agent.node);
    let said = Said {
        generation: report.sink_generation.unwrap_or_default(),
        health: report.health,
        code: report.code.as_deref(),
        reason: &report.reason,
        message: None,
    };
    let judgement = match agent.word(facts.namespace, &about) {
        Err(trouble) => Judgement::troubled(trouble),
        Ok(_) => {
            let ready = said.ready(false, &about, names);
            said.judge(facts.generation, ready, None, &about, names)
        }
    };
    Used { pipeline, suspended: said.is_suspended(), judgement }
}

fn judge(facts: &SinkFacts<'_>, used: &[Used<'_>]) -> Judgement {
    let judgement = judge_programmed(facts, used);
    // No agent runs a Sink; pipelines that do not have its last version say so beside.
    Judgement { programmed: None, ..judgement }
}

fn judge_programmed(facts: &SinkFacts<'_>, used: &[Used<'_>]) -> Judgement {
    if let Some((refusal, code)) = facts.findings.refusal(facts.namespace) {
        let works = |one: &Used<'_>| one.judgement.health != Health::Unavailable;
        return Judgement::refused(&refusal, code, used.iter().any(works), None);
    }
    if facts.pipelines == 0 {
        return Judgement::well(Word::Unused, Health::Unknown);
    }
    // One that rests says nothing of it, unless all do.
    let Some(worst) = used.iter().max_by_key(|one| (!one.suspended, rank(&one.judgement))) else {
        let names = Names { namespace: facts.namespace, ..Names::default() };
        return Judgement::pending("no agent runs a pipeline that names it", names);
    };
    let mut judgement = worst.judgement.clone();
    // The Sink itself is accepted, also where a pipeline waits for a Secret.
    judgement.accepted = Claim::holds(Word::Valid);
    if worst.is_ready() && judgement.beside.is_none() {
        return match worst.suspended {
            false => Judgement::well(Word::Delivering, judgement.health),
            true => Judgement::well(Word::Suspended, Health::Unknown),
        };
    }
    let ill: BTreeSet<&str> =
        used.iter().filter(|one| !one.is_ready()).map(|one| one.pipeline).collect();
    if facts.pipelines > 1 && !ill.is_empty() {
        let named = ill.iter().take(NAMED_MOST).copied().collect::<Vec<_>>().join(", ");
        let count = format!("for {} of {} pipelines ({named})", ill.len(), facts.pipelines);
        let ready = &mut judgement.ready;
        let what = if ready.message.is_empty() { &ready.reason } else { &ready.message };
        ready.message = format!("{count}: {what}");
    }
    if judgement.health == Health::Unavailable && used.iter().any(Used::delivers) {
        judgement.health = Health::Degraded;
    }
    judgement
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lineside_crds::api::agent::AgentStatus;
    use lineside_crds::api::status::ConditionStatus::{False, True};
    use lineside_crds::api::status::Health::{Degraded, Healthy, Unavailable};
    use lineside_crds::api::status::condition;
    use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};

    use super::super::PodState;
    use super::super::kstatus::{self, Kstatus};
    use super::*;

    fn says(word: &str, health: Health, code: Option<Code>) -> SinkReport {
        SinkReport {
            name: "a".into(),
            sink_generation: Some(2),
            health,
            code: code.map(Code::id),
            reason: word.into(),
        }
    }

    fn delivers() -> SinkReport {
        says("Delivering", Healthy, None)
    }

    fn fails() -> SinkReport {
        says("SinkAuth", Unavailable, Some(Code::SinkAuth))
    }

    /// Pipelines with what the agent says, a second after its last sign of life or later.
    fn given(pipelines: &[(&str, SinkReport)], named: usize, age: u64) -> SinkStatus {
        let (agent_status, findings) = (AgentStatus::default(), Findings::default());
        let one = |(pipeline, report)| SinkUse {
            pipeline,
            report,
            agent: AgentView {
                name: "lsa-a",
                node: "n1",
                status: Some(&agent_status),
                pod: PodState::Running { since: None },
                lease_age: Some(Duration::from_secs(age)),
                heartbeat: Duration::from_secs(10),
            },
        };
        status(&SinkFacts {
            namespace: "plant",
            generation: 2,
            previous: &[],
            findings: &findings,
            pipelines: named,
            uses: pipelines.iter().map(|(name, report)| one((*name, report))).collect(),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
        })
    }

    #[track_caller]
    fn is(status: &SinkStatus, ready: ConditionStatus, reason: &str, health: Health, k: Kstatus) {
        let found = condition(&status.conditions, "Ready").unwrap();
        let kstatus = kstatus::of(2, status.observed_generation, &status.conditions);
        let seen = (found.status, found.reason.as_str(), status.health, kstatus);
        assert_eq!(seen, (ready, reason, Some(health), k), "{status:#?}");
        assert!(condition(&status.conditions, "Accepted").is_some());
        assert!(condition(&status.conditions, "Programmed").is_none(), "no agent runs a Sink");
        assert!(ready == True || found.message.contains("Next: "), "{}", found.message);
    }

    fn counts(status: &SinkStatus) -> (i64, i64) {
        let pipelines = status.pipelines.unwrap();
        (pipelines.total, pipelines.delivering)
    }

    #[test]
    fn a_sink_that_nobody_names_is_settled() {
        let status = given(&[], 0, 1);
        is(&status, True, "Unused", Health::Unknown, Kstatus::Current);
        assert_eq!(counts(&status), (0, 0));
    }

    #[test]
    fn a_sink_is_ready_when_all_that_run_deliver_through_it() {
        let status = given(&[("p", delivers()), ("q", delivers())], 3, 1);
        is(&status, True, "Delivering", Healthy, Kstatus::Current);
        assert_eq!(counts(&status), (3, 2));
    }

    #[test]
    fn a_sink_through_which_one_does_not_deliver_names_it_and_what_is_wrong() {
        let status = given(&[("p", delivers()), ("q", fails()), ("q", delivers())], 2, 1);
        is(&status, False, "SinkAuth", Degraded, Kstatus::InProgress);
        assert_eq!((counts(&status), status.code), ((2, 1), Some("LNS-3003".into())));
        let message = &condition(&status.conditions, "Ready").unwrap().message;
        let wanted = "for 1 of 2 pipelines (q): LNS-3003: SinkAuth (pipeline q on agent lsa-a, node \
                      n1). Next: ";
        assert!(message.starts_with(wanted), "{message}");
        let status = given(&[("p", fails()), ("q", fails())], 2, 1);
        is(&status, False, "SinkAuth", Unavailable, Kstatus::InProgress);
    }

    #[test]
    fn an_edit_is_in_progress_until_every_agent_delivers_by_it() {
        let former = SinkReport { sink_generation: Some(1), ..delivers() };
        let status = given(&[("p", delivers()), ("q", former)], 2, 1);
        is(&status, True, "Delivering", Healthy, Kstatus::InProgress);
        is(&given(&[], 2, 1), False, "ConfigPending", Health::Unknown, Kstatus::InProgress);
    }

    #[test]
    fn pipelines_that_are_suspended_say_nothing_of_a_sink() {
        let rests = || says("Suspended", Health::Unknown, None);
        let status = given(&[("p", rests())], 1, 1);
        is(&status, True, "Suspended", Health::Unknown, Kstatus::Current);
        assert_eq!(counts(&status), (1, 0));
        let status = given(&[("p", rests()), ("q", delivers())], 2, 1);
        is(&status, True, "Delivering", Healthy, Kstatus::Current);
        assert_eq!(counts(&status), (2, 1));
    }

    #[test]
    fn what_a_silent_agent_said_is_not_repeated() {
        let status = given(&[("p", delivers())], 1, 31);
        is(&status, ConditionStatus::Unknown, "AgentSilent", Health::Unknown, Kstatus::InProgress);
        assert_eq!(counts(&status), (1, 0));
    }

    #[test]
    fn a_refused_edit_fails_while_pipelines_deliver_by_the_version_before() {
        let field = FieldPath::spec().key("mqtt").key("url");
        let errors = vec![Diagnostic::new(Code::SinkUrlInvalid, field, "no host")];
        let report = delivers();
        let facts = SinkFacts {
            namespace: "plant",
            generation: 2,
            previous: &[],
            findings: &Findings { errors },
            pipelines: 1,
            uses: Vec::new(),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
        };
        is(&status(&facts), False, "SinkUrlInvalid", Unavailable, Kstatus::Failed);
        let agent_status = AgentStatus::default();
        let agent = AgentView {
            name: "lsa-a",
            node: "n1",
            status: Some(&agent_status),
            pod: PodState::Running { since: None },
            lease_age: Some(Duration::from_secs(1)),
            heartbeat: Duration::from_secs(10),
        };
        let uses = vec![SinkUse { pipeline: "p", agent, report: &report }];
        let status = status(&SinkFacts { uses, ..facts });
        is(&status, False, "ConfigRejected", Degraded, Kstatus::Failed);
    }
}
