use std::sync::Arc;
use std::time::Duration;

use lineside_core::clock::SystemClock;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::secret::Secrets;
use lineside_crds::delivery::Document;
use lineside_pipeline::{Engine, Parts};
use serde_json::json;

use super::*;
use crate::cluster::source::tests::{device, pipeline, pod, set};
use crate::cluster::source::{Running, Trouble, accept, narrow};
use crate::config::book::Book;

const NOW: UnixNanos = 1_764_236_096_000_000_000;
const SECOND: UnixNanos = 1_000_000_000;

/// What a test may change before the status is made.
struct Scene {
    now: UnixNanos,
    standing: Standing,
    problems: Vec<Problem>,
    snapshot: Snapshot,
    observed: Option<(i64, String)>,
}

impl Scene {
    /// The engine's real snapshot of these documents, of which `before` ran first.
    async fn of(before: &[Document], documents: &[Document], draining: bool) -> Self {
        let mut engine = Engine::new(Parts {
            clock: Arc::new(SystemClock),
            secrets: Secrets::default(),
            drivers: Vec::new(),
            make_sink: |_| {
                Err(Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, "connect to broker"))
            },
            agent_uid: "u1".into(),
            agent: "lsa-a".into(),
            counts: Arc::default(),
            store: None,
        });
        let mut book = Book::default();
        let mut scene = None;
        for documents in [before, documents] {
            let files = set(documents, |facts| facts.draining = draining);
            let accepted = accept(&files, &pod(), Origin::Mount).unwrap_or_else(|e| panic!("{e}"));
            let mut verdict = book.turn(&accepted.files);
            narrow(&mut verdict, &accepted.running.manifest);
            engine.apply(verdict.desired).await;
            scene = Some((accepted.running, verdict.problems));
        }
        let (running, problems) = scene.unwrap();
        let standing = Standing { running: Some(running), trouble: None };
        let snapshot = engine.view().snapshot();
        Self { now: NOW, standing, problems, snapshot, observed: None }
    }

    async fn new(documents: &[Document]) -> Self {
        Self::of(&[], documents, false).await
    }

    fn status(&self) -> AgentStatus {
        report(&Facts {
            now: self.now,
            started: NOW - 60 * SECOND,
            pod: &pod(),
            drivers: vec!["ModbusTCP"],
            standing: &self.standing,
            problems: &self.problems,
            snapshot: &self.snapshot,
            observed: self.observed.as_ref().map(|(g, h)| (*g, h.as_str())),
        })
    }

    fn well(&mut self, reason: &'static str) {
        let verdict =
            Verdict { health: health::Health::Healthy, reason, code: None, message: String::new() };
        for device in &mut self.snapshot.devices {
            device.verdict = verdict.clone();
            (device.good, device.bad, device.waiting) = (device.device.points.len(), 0, 0);
        }
    }
}

fn ill(code: Code, message: &str) -> Verdict {
    let (reason, message) = (code.reason(), message.to_owned());
    Verdict { health: health::Health::Unavailable, reason, code: Some(code), message }
}

fn condition<'a>(status: &'a AgentStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.kind == kind)
}

#[tokio::test]
async fn a_healthy_device_is_told_with_what_runs_and_without_words() {
    let mut scene = Scene::new(&[device("b", "h"), device("a", "h2:1502"), pipeline("p")]).await;
    scene.well("Receiving");
    scene.snapshot.devices[0].since = Duration::from_secs(30);
    let status = scene.status();
    let names: Vec<_> = status.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let a = &status.devices[0];
    assert_eq!((a.uid.as_deref(), a.generation, a.epoch), (Some("uid-a"), 3, 7));
    assert_eq!((a.health, a.reason.as_str(), &a.code), (Health::Healthy, "Receiving", &None));
    assert_eq!((a.message.as_ref(), a.endpoint.as_deref()), (None, Some("h2:1502")));
    assert_eq!(a.points, PointCounts { total: 1, good: 1, bad: 0 });
    assert_eq!(a.since, "2025-11-27T09:34:26Z");
    assert_eq!(status.started_at.as_deref(), Some("2025-11-27T09:33:56Z"));
    assert_eq!(status.durability, Some(Durability::Full));
    let hash = scene.standing.running.as_ref().map(|r| r.manifest.hash.clone());
    assert_eq!(status.config_hash, hash);
    let kinds: Vec<_> = status.conditions.iter().map(|c| (c.kind.as_str(), c.status)).collect();
    let yes = ConditionStatus::True;
    assert_eq!(kinds, [("Ready", yes), ("ConfigApplied", yes)]);
}

#[tokio::test]
async fn a_pipeline_is_told_with_the_trouble_of_its_sink() {
    let mut scene = Scene::new(&[device("a", "h"), pipeline("p")]).await;
    scene.well("Receiving");
    let status = scene.status();
    let p = &status.pipelines[0];
    assert_eq!((p.name.as_str(), p.generation, p.health), ("p", 3, Health::Unavailable));
    assert_eq!(p.code.as_deref(), Some("LNS-3001"));
    assert!(p.message.as_deref().unwrap().contains("connect to broker"));
    assert_eq!(p.sinks[0].name, "broker");
    assert_eq!((p.sinks[0].health, p.sinks[0].code.as_deref()), (p.health, Some("LNS-3001")));
}

#[tokio::test]
async fn a_refused_edit_is_told_beside_the_generation_that_runs_on() {
    let mut broken = Document { generation: 4, ..device("a", "h") };
    broken.spec["points"] = json!([{"name": "p", "address": "nonsense"}]);
    let mut worn = Document { generation: 4, ..pipeline("p") };
    worn.spec["sinks"] = json!([]);
    let before = [device("a", "h"), pipeline("p")];
    let mut scene = Scene::of(&before, &[broken.clone(), worn], false).await;
    scene.well("Receiving");
    let status = scene.status();
    let a = &status.devices[0];
    assert_eq!((a.generation, a.health), (3, Health::Degraded));
    assert_eq!((a.reason.as_str(), a.code.as_deref()), ("ConfigRejected", Some("LNS-1090")));
    let message = a.message.as_deref().unwrap();
    assert!(message.contains("spec.points[0].address") && message.contains("LNS-10"), "{message}");
    let p = &status.pipelines[0];
    assert_eq!((p.generation, p.reason.as_str()), (3, "ConfigRejected"));
    let applied = condition(&status, "ConfigApplied").unwrap();
    assert_eq!(
        (applied.status, applied.reason.as_str()),
        (ConditionStatus::False, "ConfigRejected")
    );
    // The hash is that of the set, so that the operator knows that it was looked at.
    assert!(status.config_hash.is_some());
    // Never ran before: it is told all the same, as one that does not run.
    let status = Scene::new(&[broken]).await.status();
    let a = &status.devices[0];
    assert_eq!((a.generation, a.health, a.epoch), (-1, Health::Unavailable, 7));
    assert_eq!((a.reason.as_str(), a.uid.as_deref()), ("ConfigRejected", Some("uid-a")));
}

#[tokio::test]
async fn what_only_ticks_is_no_news() {
    let mut scene = Scene::new(&[device("a", "h"), pipeline("p")]).await;
    let device = &mut scene.snapshot.devices[0];
    device.verdict = ill(Code::SomePointsBad, "3 of 10 points are bad");
    (device.good, device.bad) = (7, 3);
    let first = settle(scene.status(), None);
    scene.now += 90 * SECOND;
    let device = &mut scene.snapshot.devices[0];
    device.verdict.message = "4 of 10 points are bad".into();
    (device.good, device.bad, device.since) = (6, 4, Duration::from_secs(89));
    scene.snapshot.pipelines[0].store.captured += 1000;
    assert_eq!(settle(scene.status(), Some(&first)), first);
    // Another cause is news, with the counts of now; the time of the verdict is the old one.
    scene.snapshot.devices[0].verdict.message = "the unit does not answer".into();
    let told = settle(scene.status(), Some(&first));
    assert_eq!(told.devices[0].message.as_deref(), Some("the unit does not answer"));
    assert_eq!((told.devices[0].points.bad, &told.devices[0].since), (4, &first.devices[0].since));
    // Another verdict begins anew.
    scene.snapshot.devices[0].since = Duration::ZERO;
    scene.well("Receiving");
    let told = settle(scene.status(), Some(&told));
    assert_eq!(told.devices[0].since, "2025-11-27T09:36:26Z");
}

#[tokio::test]
async fn the_time_of_a_condition_changes_with_its_status_only() {
    let mut scene = Scene::new(&[device("a", "h")]).await;
    let first = settle(scene.status(), None);
    scene.now += 60 * SECOND;
    let trouble =
        |message: &str| Some(Trouble { code: Code::ConfigIncomplete, message: message.to_owned() });
    scene.standing.trouble = trouble("shard-1.yaml is not there");
    let second = settle(scene.status(), Some(&first));
    let at = |s: &AgentStatus, kind| condition(s, kind).unwrap().last_transition_time.clone();
    assert_eq!(at(&second, "Ready"), at(&first, "Ready"));
    assert_eq!(at(&second, "ConfigApplied"), "2025-11-27T09:35:56Z");
    let applied = condition(&second, "ConfigApplied").unwrap();
    assert_eq!(applied.reason, "ConfigIncomplete");
    assert!(applied.message.contains("LNS-5022") && applied.message.contains("shard-1.yaml"));
    assert!(applied.message.contains("-n plant -l lineside.dev/agent=lsa-a`"), "{applied:?}");
    scene.now += 60 * SECOND;
    scene.standing.trouble = trouble("shard-2.yaml is not there");
    let third = settle(scene.status(), Some(&second));
    assert_eq!(at(&third, "ConfigApplied"), at(&second, "ConfigApplied"));
}

#[tokio::test]
async fn running_the_kept_copy_is_a_condition_while_it_lasts() {
    let mut scene = Scene::new(&[device("a", "h")]).await;
    assert!(condition(&scene.status(), "LastGood").is_none());
    let manifest = scene.standing.running.as_ref().unwrap().manifest.clone();
    scene.standing.running = Some(Running { manifest, origin: Origin::LastGood });
    let status = scene.status();
    assert_eq!(condition(&status, "LastGood").unwrap().status, ConditionStatus::True);
    assert_eq!(condition(&status, "Ready").unwrap().status, ConditionStatus::True);
}

#[tokio::test]
async fn an_agent_without_configuration_says_so() {
    let mut scene = Scene::new(&[]).await;
    scene.standing = Standing::default();
    let status = scene.status();
    assert_eq!(condition(&status, "Ready").unwrap().reason, "ConfigPending");
    assert_eq!((status.config_hash, status.devices.len()), (None, 0));
}

#[tokio::test]
async fn drained_is_true_only_once_nothing_is_held() {
    let documents = [device("a", "h"), pipeline("p"), pipeline("q")];
    let mut scene = Scene::of(&documents, &documents, true).await;
    scene.snapshot.pipelines[1].sinks[0].numbers.ledger.buffered = 5;
    let status = scene.status();
    assert!(status.devices.is_empty());
    assert_eq!(condition(&status, "Ready").unwrap().status, ConditionStatus::False);
    let drained = condition(&status, "Drained").unwrap();
    assert_eq!(drained.status, ConditionStatus::False);
    assert!(drained.message.ends_with(" q"), "{}", drained.message);
    // That it has no device any more is not what is wrong with a pipeline.
    let reasons: Vec<_> = status.pipelines.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(reasons, ["AgentDraining", "SinkUnavailable"]);
    scene.snapshot.pipelines[1].sinks[0].numbers.ledger.buffered = 0;
    assert_eq!(condition(&scene.status(), "Drained").unwrap().status, ConditionStatus::True);
}

#[tokio::test]
async fn a_generation_counts_as_observed_once_its_configuration_runs() {
    let mut scene = Scene::new(&[device("a", "h")]).await;
    assert_eq!(scene.status().observed_generation, -1);
    scene.observed = Some((9, "0".repeat(64)));
    assert_eq!(scene.status().observed_generation, -1, "the operator has moved on already");
    let hash = scene.standing.running.as_ref().unwrap().manifest.hash.clone();
    scene.observed = Some((9, hash));
    let status = scene.status();
    assert_eq!(status.observed_generation, 9);
    assert!(status.conditions.iter().all(|c| c.observed_generation == 9));
    scene.observed = None;
    let later = settle(scene.status(), Some(&status));
    assert_eq!(later.observed_generation, 9, "it never goes back");
    assert!(later.conditions.iter().all(|c| c.observed_generation == 9));
}

#[tokio::test]
async fn texts_of_the_world_are_cut_to_what_the_schema_takes() {
    let mut scene = Scene::new(&[device("a", "h")]).await;
    scene.snapshot.devices[0].verdict = ill(Code::Unreachable, &"é".repeat(5000));
    scene.snapshot.devices[0].endpoint = "x".repeat(5000);
    let a = &scene.status().devices[0];
    assert_eq!(a.message.as_deref().unwrap().chars().count(), MESSAGE_MOST);
    assert_eq!(a.endpoint.as_deref().unwrap().chars().count(), ENDPOINT_MOST);
}

/// A pipeline that names a Sink, and the Sink.
fn by_name() -> [Document; 2] {
    let mut by_name = pipeline("p");
    by_name.spec["sinks"] = json!([{"name": "broker", "sinkRef": {"name": "shared"}}]);
    let spec = json!({"mqtt": {"url": "mqtt://h"}});
    let (kind, name, generation) = (Kind::Sink, "shared".to_owned(), 5);
    let sink = Document { kind, name, generation, spec, ..by_name.clone() };
    [by_name, sink]
}

#[tokio::test]
async fn a_sink_of_a_pipeline_is_told_with_the_generation_of_the_sink_that_it_was_made_from() {
    let [by_name, sink] = by_name();
    let status = Scene::new(&[by_name, sink, pipeline("q")]).await.status();
    let generations: Vec<_> = status.pipelines.iter().map(|p| p.sinks[0].sink_generation).collect();
    assert_eq!(generations, [Some(5), None]);
}

#[tokio::test]
async fn a_pipeline_without_its_sink_waits_for_it_and_goes_on_as_it_was() {
    let [by_name, sink] = by_name();
    let never = Scene::new(std::slice::from_ref(&by_name)).await.status();
    let p = &never.pipelines[0];
    assert_eq!((p.health, p.reason.as_str()), (Health::Unavailable, "ReferenceNotFound"));
    assert_eq!((p.code.as_deref(), p.generation), (Some("LNS-5010"), UNOBSERVED));
    let documents = [by_name, sink];
    let gone = Scene::of(&documents, &documents[..1], false).await.status();
    let p = &gone.pipelines[0];
    assert_eq!(p.reason, "ReferenceNotFound");
    assert_eq!((p.sinks.len(), p.sinks[0].sink_generation), (1, Some(5)), "it runs as it was");
}
