//! Every row of the table in contracts, section 2, and what holds for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lineside_crds::api::agent::{AgentStatus, DeviceReport, PipelineReport};
use lineside_crds::api::device::DeviceAgent;
use lineside_crds::api::status::{Condition, ConditionStatus, Health, PointCounts, condition};
use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};
use proptest::prelude::*;

use super::device::{self, DeviceFacts};
use super::kstatus::{self, Kstatus};
use super::pipeline::{self, PipelineFacts};
use super::{AgentView, Findings, PodState};
use crate::placement::{Outcome, Search, Unplaced};

const NOW: &str = "2026-03-01T12:00:00Z";
const UID: &str = "u1";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The agent's words, and everything around them.
#[derive(Clone, Debug)]
struct Given {
    findings: Findings,
    placement: Option<Outcome>,
    pod: PodState,
    age: Option<Duration>,
    status: Option<AgentStatus>,
    generation: i64,
    previous: Vec<Condition>,
    agent_metrics: bool,
}

fn assigned() -> Option<Outcome> {
    Some(Outcome::Assigned { agent: "lsa-a".into(), node: "n1".into(), epoch: 1 })
}

fn running() -> Given {
    Given {
        findings: Findings::default(),
        placement: assigned(),
        pod: PodState::Running { since: None },
        age: Some(Duration::from_secs(1)),
        status: Some(AgentStatus::default()),
        generation: 2,
        previous: Vec::new(),
        agent_metrics: false,
    }
}

fn says(reason: &str, health: Health, code: Option<Code>) -> Given {
    let mut given = running();
    let status = given.status.as_mut().unwrap();
    let message = code.map(|c| format!("it is {}", c.reason()));
    status.devices = vec![DeviceReport {
        name: "furnace".into(),
        uid: Some(UID.into()),
        generation: 2,
        epoch: 1,
        health,
        code: code.map(Code::id),
        reason: reason.into(),
        message: message.clone(),
        since: NOW.into(),
        endpoint: Some("10.0.0.1:502".into()),
        points: PointCounts { total: 2, good: 1, bad: 1 },
    }];
    status.pipelines = vec![PipelineReport {
        name: "pipe".into(),
        uid: Some(UID.into()),
        generation: 2,
        health,
        code: code.map(Code::id),
        reason: reason.into(),
        message,
        since: NOW.into(),
        sinks: Vec::new(),
    }];
    given
}

fn ill(code: Code, health: Health) -> Given {
    says(code.reason(), health, Some(code))
}

fn invalid() -> Findings {
    let field = FieldPath::spec().key("points").index(0).key("address");
    Findings { errors: vec![Diagnostic::new(Code::WrongType, field, "text, not a number")] }
}

impl Given {
    fn agent(&self) -> AgentView<'_> {
        AgentView {
            name: "lsa-a",
            node: "n1",
            status: self.status.as_ref(),
            pod: self.pod.clone(),
            lease_age: self.age,
            heartbeat: Duration::from_secs(10),
        }
    }

    fn device_facts<'a>(&'a self, selector: &'a BTreeMap<String, String>) -> DeviceFacts<'a> {
        let owned =
            matches!(self.placement, Some(Outcome::Assigned { .. } | Outcome::Moving { .. }));
        DeviceFacts {
            namespace: "plant",
            name: "furnace",
            uid: UID,
            generation: self.generation,
            previous: &self.previous,
            previous_agent: None,
            findings: &self.findings,
            node_selector: selector,
            placement: self.placement.as_ref(),
            agent: owned.then(|| self.agent()),
            endpoint: None,
            now: now(),
        }
    }

    fn device(&self) -> Shown {
        let selector = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let status = device::status(&self.device_facts(&selector));
        Shown {
            generation: self.generation,
            observed: status.observed_generation,
            conditions: status.conditions,
            health: status.health.unwrap_or_default(),
            code: status.code,
        }
    }

    fn pipeline(&self, devices: usize) -> Shown {
        let unplaced = match &self.placement {
            Some(Outcome::Unplaced(why)) => Some(("furnace", why)),
            _ => None,
        };
        let owned = matches!(self.placement, Some(Outcome::Assigned { .. })) && devices > 0;
        let status = pipeline::status(&PipelineFacts {
            namespace: "plant",
            name: "pipe",
            uid: UID,
            generation: self.generation,
            previous: &self.previous,
            findings: &self.findings,
            devices,
            agent_metrics: self.agent_metrics,
            unplaced,
            agents: if owned { vec![self.agent()] } else { Vec::new() },
            now: now(),
        });
        Shown {
            generation: self.generation,
            observed: status.observed_generation,
            conditions: status.conditions,
            health: status.health.unwrap_or_default(),
            code: status.code,
        }
    }
}

/// What people and tools see.
#[derive(Debug)]
struct Shown {
    generation: i64,
    observed: i64,
    conditions: Vec<Condition>,
    health: Health,
    code: Option<String>,
}

impl Shown {
    fn ready(&self) -> &Condition {
        condition(&self.conditions, "Ready").unwrap()
    }

    fn kstatus(&self) -> Kstatus {
        kstatus::of(self.generation, self.observed, &self.conditions)
    }

    #[track_caller]
    fn is(&self, ready: ConditionStatus, reason: &str, health: Health, kstatus: Kstatus) {
        let seen = (self.ready().status, self.ready().reason.as_str(), self.health, self.kstatus());
        assert_eq!(seen, (ready, reason, health, kstatus), "{self:#?}");
        if let Some(code) = &self.code {
            assert!(self.ready().message.contains(code.as_str()), "{self:#?}");
            assert!(self.ready().message.contains("Next: "), "{self:#?}");
        }
    }
}

use ConditionStatus::{False, True, Unknown};
use Health::{Degraded, Healthy, Unavailable};
use Kstatus::{Current, Failed, InProgress};

#[test]
fn a_device_that_gives_data_is_ready() {
    says("Receiving", Healthy, None).device().is(True, "Receiving", Healthy, Current);
    says("Listening", Healthy, None).device().is(True, "Listening", Healthy, Current);
    ill(Code::SomePointsBad, Degraded).device().is(True, "SomePointsBad", Degraded, Current);
}

#[test]
fn a_device_that_gives_none_is_not() {
    ill(Code::AllPointsBad, Degraded).device().is(False, "AllPointsBad", Degraded, InProgress);
    ill(Code::NoData, Unavailable).device().is(False, "NoData", Unavailable, InProgress);
    let shown = ill(Code::Unreachable, Unavailable).device();
    shown.is(False, "Unreachable", Unavailable, InProgress);
    for part in ["lsa-a", "n1", "placement.nodeSelector zone=a", "LNS-2001"] {
        assert!(shown.ready().message.contains(part), "{part}: {}", shown.ready().message);
    }
    says("Connecting", Health::Unknown, None).device().is(
        False,
        "Connecting",
        Health::Unknown,
        InProgress,
    );
}

#[test]
fn a_device_that_may_be_off_and_one_that_nobody_wants_are_settled() {
    ill(Code::DeviceOff, Unavailable).device().is(True, "DeviceOff", Unavailable, Current);
    let suspended = says("Suspended", Health::Unknown, None);
    suspended.device().is(True, "Suspended", Health::Unknown, Current);
    suspended.pipeline(1).is(True, "Suspended", Health::Unknown, Current);
}

#[test]
fn a_pipeline_is_ready_when_it_delivers() {
    says("Delivering", Healthy, None).pipeline(1).is(True, "Delivering", Healthy, Current);
    let none = ill(Code::SinkUnavailable, Unavailable).pipeline(1);
    none.is(False, "SinkUnavailable", Unavailable, InProgress);
    let one = ill(Code::SinkUnavailable, Degraded).pipeline(1);
    one.is(False, "SinkUnavailable", Degraded, InProgress);
    let connected = says("Connected", Healthy, None).pipeline(1);
    connected.is(False, "Connected", Healthy, InProgress);
}

#[test]
fn a_pipeline_whose_sources_select_nothing_waits() {
    running().pipeline(0).is(False, "NoDevices", Health::Unknown, InProgress);
    // The metrics of agents are told by agents, which come with devices.
    let mut told = running();
    told.agent_metrics = true;
    let shown = told.pipeline(0);
    shown.is(False, "NoDevices", Health::Unknown, InProgress);
    assert!(shown.ready().message.contains("has no agent"), "{}", shown.ready().message);
}

#[test]
fn what_is_not_there_yet_is_awaited() {
    let secret = ill(Code::SecretNotFound, Unavailable).pipeline(1);
    secret.is(False, "ReferenceNotFound", Unavailable, InProgress);
    assert_eq!(condition(&secret.conditions, "Reconciling").unwrap().status, True);
    assert!(secret.ready().message.contains("LNS-6001"));
    let mut no_pool = running();
    let pool = "other".to_owned();
    no_pool.placement = Some(Outcome::Unplaced(Unplaced::PoolNotFound { pool }));
    no_pool.device().is(False, "AgentPoolNotFound", Unavailable, InProgress);
}

#[test]
fn an_invalid_spec_fails_with_code_and_field() {
    let mut given = running();
    (given.findings, given.placement) = (invalid(), None);
    for shown in [given.device(), given.pipeline(1)] {
        shown.is(False, "WrongType", Unavailable, Failed);
        let message = &shown.ready().message;
        assert!(message.contains("LNS-1007 spec.points[0].address: text"), "{message}");
    }
}

#[test]
fn an_invalid_edit_fails_while_the_former_version_runs_on() {
    let mut by_operator = says("Receiving", Healthy, None);
    (by_operator.findings, by_operator.generation) = (invalid(), 3);
    by_operator.device().is(False, "ConfigRejected", Degraded, Failed);
    by_operator.pipeline(1).is(False, "ConfigRejected", Degraded, Failed);
    let by_agent = ill(Code::ConfigRejected, Degraded);
    by_agent.device().is(False, "ConfigRejected", Degraded, Failed);
    by_agent.pipeline(1).is(False, "ConfigRejected", Degraded, Failed);
}

fn no_such_sink() -> Diagnostic {
    let field = FieldPath::spec().key("sinks").index(0).key("sinkRef").key("name");
    Diagnostic::new(Code::ReferenceNotFound, field, "no Sink tsdb in namespace plant")
}

#[test]
fn a_pipeline_waits_for_a_sink_that_is_not_there() {
    let mut given = running();
    given.findings = Findings { errors: vec![no_such_sink()] };
    let shown = given.pipeline(1);
    shown.is(False, "ReferenceNotFound", Unavailable, InProgress);
    let accepted = condition(&shown.conditions, "Accepted").unwrap();
    assert_eq!((accepted.status, accepted.reason.as_str()), (False, "ReferenceNotFound"));
    assert_eq!(condition(&shown.conditions, "Reconciling").unwrap().status, True);
    for part in ["no Sink tsdb in namespace plant", "kubectl get sinks.lineside.dev -n plant"] {
        assert!(shown.ready().message.contains(part), "{}", shown.ready().message);
    }
    // It had one, and delivers there still.
    let mut given = says("Delivering", Healthy, None);
    given.findings = Findings { errors: vec![no_such_sink()] };
    given.pipeline(1).is(False, "ReferenceNotFound", Degraded, InProgress);
}

#[test]
fn what_a_person_must_mend_is_said_before_what_may_come_by_itself() {
    let mut given = running();
    given.findings = Findings { errors: [vec![no_such_sink()], invalid().errors].concat() };
    given.pipeline(1).is(False, "WrongType", Unavailable, Failed);
}

#[test]
fn an_edit_is_in_progress_until_the_agent_runs_it() {
    let mut given = says("Receiving", Healthy, None);
    given.generation = 3;
    given.device().is(True, "Receiving", Healthy, InProgress);
    let programmed = condition(&given.device().conditions, "Programmed").cloned().unwrap();
    assert_eq!((programmed.status, programmed.reason.as_str()), (False, "ConfigPending"));
    let connected = condition(&given.device().conditions, "Connected").cloned().unwrap();
    assert_eq!(connected.status, True, "an edit cuts no connection");
    running().device().is(False, "ConfigPending", Health::Unknown, InProgress);
    running().pipeline(1).is(False, "ConfigPending", Health::Unknown, InProgress);
}

#[test]
fn a_device_that_nobody_owns_keeps_its_last_agent_and_epoch_in_its_status() {
    let last = DeviceAgent { name: "lsa-b".into(), node: "n2".into(), epoch: 7 };
    let (given, anywhere) = (running(), BTreeMap::new());
    for placement in [None, Some(Outcome::Unplaced(Unplaced::Refused))] {
        let status = device::status(&DeviceFacts {
            placement: placement.as_ref(),
            previous_agent: Some(&last),
            agent: None,
            ..given.device_facts(&anywhere)
        });
        assert_eq!(status.agent.as_ref(), Some(&last), "{placement:?}");
    }
    let owned = DeviceFacts { previous_agent: Some(&last), ..given.device_facts(&anywhere) };
    assert_eq!(device::status(&owned).agent.unwrap().name, "lsa-a");
}

#[test]
fn a_device_of_the_same_name_that_was_deleted_says_nothing() {
    let mut given = says("Receiving", Healthy, None);
    given.status.as_mut().unwrap().devices[0].uid = Some("another".into());
    given.device().is(False, "ConfigPending", Health::Unknown, InProgress);
}

#[test]
fn a_pod_that_cannot_run_is_told_with_the_reason_and_the_next_command() {
    let mut given = says("Receiving", Healthy, None);
    given.pod = PodState::NotRunning("kubelet: ErrImagePull: no such image".into());
    for shown in [given.device(), given.pipeline(1)] {
        shown.is(False, "AgentNotRunning", Unavailable, InProgress);
        let message = &shown.ready().message;
        assert!(message.contains("ErrImagePull"), "{message}");
        assert!(message.contains("kubectl describe pod -n plant"), "{message}");
    }
}

#[test]
fn a_device_that_no_node_can_take_is_told_with_the_search() {
    let mut given = running();
    let selector = BTreeMap::from([("zone".to_owned(), "mars".to_owned())]);
    let search = Search { pool: "default".into(), selector, nodes: 2, ..Search::default() };
    given.placement = Some(Outcome::Unplaced(Unplaced::NoNode(search)));
    for shown in [given.device(), given.pipeline(1)] {
        shown.is(False, "AgentNotRunning", Unavailable, InProgress);
        let message = &shown.ready().message;
        assert!(message.contains("0 of 2 nodes carry zone=mars"), "{message}");
    }
}

#[test]
fn nobody_knows_about_an_agent_without_a_sign_of_life() {
    let mut given = says("Receiving", Healthy, None);
    given.age = Some(Duration::from_secs(31));
    given.device().is(Unknown, "AgentSilent", Health::Unknown, InProgress);
    given.pipeline(1).is(Unknown, "AgentSilent", Health::Unknown, InProgress);
}

#[test]
fn a_time_changes_only_when_a_status_flips() {
    let mut given = says("Receiving", Healthy, None);
    let first = given.device().conditions;
    let old = "2020-01-01T00:00:00Z";
    given.previous =
        first.into_iter().map(|c| Condition { last_transition_time: old.into(), ..c }).collect();
    assert!(given.device().conditions.iter().all(|c| c.last_transition_time == old));
    let report = &mut given.status.as_mut().unwrap().devices[0];
    (report.reason, report.code) = ("NoData".into(), Some(Code::NoData.id()));
    let shown = given.device();
    assert_eq!(shown.ready().last_transition_time, NOW);
    let accepted = condition(&shown.conditions, "Accepted").unwrap();
    assert_eq!(accepted.last_transition_time, old);
}

#[test]
fn over_many_agents_a_pipeline_is_as_ready_as_its_worst_and_names_at_most_ten() {
    let (good, bad) = (says("Delivering", Healthy, None), ill(Code::SinkUnavailable, Unavailable));
    let names: Vec<String> = (0..15).map(|n| format!("lsa-{n:02}")).collect();
    let view = |(n, name): (usize, &'_ String)| {
        let given = if n == 0 { &good } else { &bad };
        let status = given.status.clone();
        (name.clone(), status)
    };
    let owned: Vec<(String, Option<AgentStatus>)> = names.iter().enumerate().map(view).collect();
    let findings = Findings::default();
    let status = pipeline::status(&PipelineFacts {
        namespace: "plant",
        name: "pipe",
        uid: UID,
        generation: 2,
        previous: &[],
        findings: &findings,
        devices: 15,
        agent_metrics: false,
        unplaced: None,
        agents: owned
            .iter()
            .map(|(name, status)| AgentView { name, status: status.as_ref(), ..good.agent() })
            .collect(),
        now: now(),
    });
    let agents = status.agents.unwrap();
    assert_eq!((agents.total, agents.ready, agents.not_ready.len()), (15, 1, 10));
    assert_eq!(status.health, Some(Degraded), "it delivers on one");
    let ready = condition(&status.conditions, "Ready").unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (False, "SinkUnavailable"));
    assert!(ready.message.starts_with("on 14 of 15 agents (lsa-01, "), "{}", ready.message);
}

fn any_given() -> impl Strategy<Value = Given> {
    let code = prop::sample::select(Code::ALL.to_vec());
    let health = prop::sample::select(vec![Healthy, Degraded, Unavailable, Health::Unknown]);
    let word = prop::sample::select(vec![
        "Receiving",
        "Delivering",
        "Suspended",
        "Connecting",
        "FromTheFuture",
    ]);
    let report = (any::<bool>(), code, word, health, 0i64..4).prop_map(
        |(coded, code, word, health, generation)| {
            let mut given = if coded { ill(code, health) } else { says(word, health, None) };
            given.generation = generation;
            given
        },
    );
    let placement = prop_oneof![
        Just(None),
        Just(assigned()),
        Just(Some(Outcome::Moving { agent: "lsa-a".into(), node: "n1".into(), epoch: 1 })),
        Just(Some(Outcome::Unplaced(Unplaced::NoNode(Search::default())))),
        Just(Some(Outcome::Unplaced(Unplaced::PoolNotFound { pool: "p".into() }))),
        Just(Some(Outcome::Unplaced(Unplaced::Refused))),
    ];
    (report, placement, any::<bool>(), any::<bool>(), prop::option::of(0u64..60)).prop_map(
        |(given, placement, valid, pod, age)| Given {
            findings: if valid { Findings::default() } else { invalid() },
            placement,
            pod: match pod {
                true => PodState::Running { since: None },
                false => PodState::NotRunning("kubelet: x".into()),
            },
            age: age.map(Duration::from_secs),
            ..given
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_known_the_status_is_one_that_tools_understand(given in any_given()) {
        for (shown, wanted) in [
            (given.device(), vec!["Accepted", "Programmed", "Connected", "Ready"]),
            (given.pipeline(1), vec!["Accepted", "Programmed", "Ready"]),
        ] {
            let kinds: Vec<&str> = shown.conditions.iter().map(|c| c.kind.as_str()).collect();
            for kind in &wanted {
                prop_assert!(kinds.contains(kind), "{kind} is missing: {shown:#?}");
            }
            let beside: Vec<&Condition> =
                shown.conditions.iter().filter(|c| !wanted.contains(&c.kind.as_str())).collect();
            prop_assert!(beside.len() <= 1, "{shown:#?}");
            for c in &beside {
                prop_assert!(c.kind == "Reconciling" || c.kind == "Stalled");
                prop_assert_eq!(c.status, True);
            }
            for c in &shown.conditions {
                prop_assert!(!c.reason.is_empty() && c.message.chars().count() <= 4096, "{c:?}");
                prop_assert_eq!(c.observed_generation, shown.generation);
            }
            // Ready is never claimed for what nobody could know.
            if shown.kstatus() == Current {
                prop_assert!(given.findings.errors.is_empty());
                let runs = matches!(given.pod, PodState::Running { .. });
                prop_assert!(runs);
                prop_assert!(given.age.is_some_and(|age| age.as_secs() <= 30));
            }
            let stalled = beside.iter().any(|c| c.kind == "Stalled");
            prop_assert_eq!(shown.kstatus() == Failed, stalled);
        }
    }
}
