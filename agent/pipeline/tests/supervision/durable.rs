//! Pipelines whose samples are on disk, in real time: over restarts, after they were removed, and
//! while the store cannot be opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lineside_core::Value;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{
    ObjectKey, Overflow, Pipeline, Transform, TransformKind, WindowFunction,
};
use lineside_pipeline::Desired;
use lineside_pipeline::engine::GivenUp;
use lineside_pipeline::snapshot::PipelineSnapshot;
use lineside_store::fs::RealFs;
use lineside_store::{Options, Volume};

use super::{Plant, Play, STALL, device, got, pipeline_with};

const PATIENCE: Duration = Duration::from_secs(20);

async fn run(plant: &mut Plant, annotations: Option<&str>) {
    let pipeline = annotations.map(|a| pipeline_with(a, "Durable"));
    apply(plant, pipeline).await;
}

async fn apply(plant: &mut Plant, pipeline: Option<Pipeline>) {
    let (devices, linger) = (vec![Arc::new(device("good"))], plant.linger);
    let pipelines = pipeline.into_iter().map(Arc::new).collect();
    plant.engine.apply(Desired { devices, pipelines, linger, ..Desired::default() }).await;
}

/// The pipeline with another sink beside its own.
fn with_another_sink() -> Pipeline {
    let mut pipeline = pipeline_with("", "Durable");
    let mut other = pipeline.sinks[0].clone();
    other.name = "t".into();
    other.written = other.written.replace("\"name\":\"s\"", "\"name\":\"t\"").into();
    pipeline.sinks.push(other);
    pipeline
}

/// The counters that arrived, in their order.
fn counters() -> Vec<u32> {
    let number = |value| match value {
        Value::U32(number) => number,
        other => panic!("{other:?} is no counter"),
    };
    got("good").into_iter().map(|g| number(g.3)).collect()
}

fn plant(dir: &Path) -> Plant {
    Plant::with_store(&[("good", Play::Good)], Some(dir.join("store")))
}

fn seen(plant: &Plant) -> PipelineSnapshot {
    plant.engine.view().snapshot().pipelines.remove(0)
}

fn stall(on: bool) {
    STALL.with(|stall| stall.store(on, Ordering::Relaxed));
}

async fn until(plant: &mut Plant, what: &str, is: impl Fn(&Plant) -> bool) {
    let begun = Instant::now();
    while !is(plant) {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        plant.engine.tidy().await;
    }
}

fn buffered(plant: &Plant) -> u64 {
    plant
        .engine
        .view()
        .snapshot()
        .pipelines
        .iter()
        .map(|p| p.sinks[0].numbers.ledger.buffered)
        .sum()
}

#[tokio::test]
async fn what_waited_is_delivered_after_a_restart_and_the_time_between_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut first = plant(dir.path());
    run(&mut first, Some("")).await;
    until(&mut first, "three samples wait", |p| buffered(p) >= 3).await;
    let captured = seen(&first).sinks[0].numbers.ledger.captured;
    let id = seen(&first).store.id;
    assert_eq!(first.engine.shutdown(Duration::ZERO).await, 0, "nothing is given up");
    assert!(got("good").is_empty());

    stall(false);
    let mut second = plant(dir.path());
    run(&mut second, Some("")).await;
    let all = usize::try_from(captured).unwrap() + 1;
    until(&mut second, "all and a new one", |_| got("good").len() >= all).await;
    let values: Vec<Value> = got("good").into_iter().map(|g| g.3).collect();
    assert_eq!(values[..3], [Value::U32(1), Value::U32(2), Value::U32(3)], "oldest first");
    until(&mut second, "it is on disk", |p| seen(p).store.gaps.len() == 1).await;
    let now = seen(&second);
    assert_eq!(now.store.id, id);
    let ledger = &now.sinks[0].numbers.ledger;
    assert!(ledger.balances() && ledger.captured > captured, "{ledger:?}");
}

#[tokio::test]
async fn a_restart_within_a_window_makes_one_result_of_both_halves() {
    let dir = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline_with("", "Durable");
    let functions = vec![WindowFunction::Count];
    let kind = TransformKind::Window { every: Duration::from_secs(5), functions };
    pipeline.transforms = vec![Transform { name: "w".into(), points: Vec::new(), kind }];
    let mut first = plant(dir.path());
    apply(&mut first, Some(pipeline.clone())).await;
    until(&mut first, "four samples came", |p| seen(p).transforms.received >= 4).await;
    assert_eq!(first.engine.shutdown(Duration::ZERO).await, 0);
    assert!(got("good").is_empty(), "nothing went out half done");

    // The clock of a plant begins where that of the one before began: the same window once more.
    let mut second = plant(dir.path());
    apply(&mut second, Some(pipeline)).await;
    until(&mut second, "two results", |_| got("good").len() >= 2).await;
    let results: Vec<_> = got("good").into_iter().map(|g| (g.3, g.2.is_good())).collect();
    assert!(matches!(results[0], (Value::I64(9..), false)), "four and five: {results:?}");
    assert!(matches!(results[1], (Value::I64(..6), true)), "of one process: {results:?}");
}

#[tokio::test]
async fn a_pipeline_that_is_removed_delivers_what_it_has_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut first = plant(dir.path());
    run(&mut first, Some("")).await;
    until(&mut first, "two samples wait", |p| buffered(p) >= 2).await;
    run(&mut first, None).await;
    let left = buffered(&first);
    assert!(left >= 2, "it is still there");
    first.engine.shutdown(Duration::ZERO).await;

    stall(false);
    let mut second = plant(dir.path());
    run(&mut second, None).await;
    until(&mut second, "it is gone", |p| p.engine.view().snapshot().pipelines.is_empty()).await;
    assert_eq!(got("good").len() as u64, left);
    assert_eq!(second.engine.view().snapshot().given_up[GivenUp::PipelineRemoved.label()], 0);
}

#[tokio::test]
async fn a_pipeline_that_may_discard_its_backlog_does_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut plant = plant(dir.path());
    run(&mut plant, Some("lineside.dev/discard-backlog: 'true'")).await;
    until(&mut plant, "two samples wait", |p| buffered(p) >= 2).await;
    run(&mut plant, None).await;
    let snapshot = plant.engine.view().snapshot();
    assert!(snapshot.pipelines.is_empty());
    assert!(snapshot.given_up[GivenUp::PipelineRemoved.label()] >= 2);
}

#[tokio::test]
async fn while_the_store_cannot_be_opened_samples_flow_and_the_pipeline_says_why() {
    let dir = tempfile::tempdir().unwrap();
    stall(false);
    let store = dir.path().join("store");
    let other = Volume::open(Arc::new(RealFs), &store, Options::default()).unwrap();
    let mut plant = plant(dir.path());
    run(&mut plant, Some("")).await;
    until(&mut plant, "a sample", |_| !got("good").is_empty()).await;
    let code = |p: &Plant| seen(p).verdict.code;
    until(&mut plant, "it says why", |p| code(p) == Some(Code::StoreUnavailable)).await;
    let key = ObjectKey::new("default", "p");
    assert!(plant.engine.view().log(&key).unwrap().is_none());

    drop(other);
    until(&mut plant, "it is at home", |p| p.engine.view().log(&key).unwrap().is_some()).await;
    let before = got("good").len();
    until(&mut plant, "a new sample", |_| got("good").len() > before).await;
    assert_eq!(code(&plant), None);
}

#[tokio::test]
async fn what_waited_in_memory_for_the_store_comes_before_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let store = dir.path().join("store");
    let other = Volume::open(Arc::new(RealFs), &store, Options::default()).unwrap();
    let mut plant = plant(dir.path());
    run(&mut plant, Some("")).await;
    until(&mut plant, "three samples wait", |p| buffered(p) >= 3).await;
    drop(other);
    let key = ObjectKey::new("default", "p");
    until(&mut plant, "it is at home", |p| p.engine.view().log(&key).unwrap().is_some()).await;
    stall(false);
    until(&mut plant, "all arrived", |p| buffered(p) == 0 && got("good").len() >= 4).await;
    let all = counters();
    assert_eq!(all, (1..=all.len() as u32).collect::<Vec<_>>(), "each once, in order");
}

#[tokio::test]
async fn an_edit_of_the_durability_keeps_what_waits_its_order_and_one_session_for_each_sink() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut plant = plant(dir.path());
    apply(&mut plant, Some(pipeline_with("", "Memory"))).await;
    until(&mut plant, "two samples wait", |p| buffered(p) >= 2).await;
    let key = ObjectKey::new("default", "p");
    let on_disk = |p: &Plant| p.engine.view().log(&key).unwrap().is_some();
    run(&mut plant, Some("")).await;
    until(&mut plant, "it is on disk", on_disk).await;
    // Back, while something waits: it stays until that is delivered.
    apply(&mut plant, Some(pipeline_with("", "Memory"))).await;
    until(&mut plant, "two more wait", |p| buffered(p) >= 4).await;
    assert!(on_disk(&plant));
    assert_eq!(plant.engine.view().snapshot().pipelines.len(), 1, "there is one of the name");
    stall(false);
    until(&mut plant, "it is in memory", |p| !on_disk(p)).await;
    let before = got("good").len();
    until(&mut plant, "new samples", |_| got("good").len() > before + 1).await;
    let all = counters();
    assert_eq!(all, (1..=all.len() as u32).collect::<Vec<_>>(), "each once, in order");
    let given_up = plant.engine.view().snapshot().given_up;
    assert!(given_up.values().all(|n| *n == 0), "{given_up:?}");
}

#[tokio::test]
async fn a_backlog_on_disk_is_delivered_though_its_pipeline_was_moved_to_memory_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut first = plant(dir.path());
    run(&mut first, Some("")).await;
    until(&mut first, "three samples wait", |p| buffered(p) >= 3).await;
    let left = buffered(&first) as usize;
    first.engine.shutdown(Duration::ZERO).await;

    stall(false);
    let mut second = plant(dir.path());
    apply(&mut second, Some(pipeline_with("", "Memory"))).await;
    let key = ObjectKey::new("default", "p");
    until(&mut second, "it is in memory", |p| p.engine.view().log(&key).unwrap().is_none()).await;
    until(&mut second, "a new sample", |_| got("good").len() > left + 1).await;
    assert_eq!(counters()[..3], [1, 2, 3], "the backlog first");
}

#[tokio::test]
async fn a_sink_that_was_removed_while_no_agent_ran_gets_what_it_had_and_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut first = plant(dir.path());
    apply(&mut first, Some(with_another_sink())).await;
    until(&mut first, "two samples wait", |p| buffered(p) >= 2).await;
    first.engine.shutdown(Duration::ZERO).await;

    let mut second = plant(dir.path());
    run(&mut second, Some("")).await;
    let of_t = |p: &Plant| {
        let sinks = seen(p).sinks;
        sinks.into_iter().find(|s| &*s.name == "t").map(|s| s.numbers.ledger)
    };
    let captured = of_t(&second).unwrap().captured;
    until(&mut second, "two more for the other", |p| buffered(p) >= captured + 2).await;
    assert_eq!(of_t(&second).unwrap().captured, captured, "nothing new for it");
    stall(false);
    until(&mut second, "it is gone", |p| of_t(p).is_none()).await;
    assert_eq!(second.engine.view().snapshot().given_up[GivenUp::SinkRemoved.label()], 0);
}

#[tokio::test]
async fn a_drain_time_of_zero_gives_up_at_once_also_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut plant = plant(dir.path());
    plant.linger = Some(Duration::ZERO);
    run(&mut plant, Some("")).await;
    until(&mut plant, "two samples wait", |p| buffered(p) >= 2).await;
    run(&mut plant, None).await;
    assert!(plant.engine.view().snapshot().pipelines.is_empty());
    assert!(plant.engine.view().snapshot().given_up[GivenUp::PipelineRemoved.label()] >= 2);
}

#[tokio::test]
async fn a_device_that_waits_for_a_store_goes_on_when_that_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    stall(true);
    let mut plant = plant(dir.path());
    let mut full = pipeline_with("", "Memory");
    (full.store.overflow, full.store.max_bytes) = (Overflow::Backpressure, 1024);
    apply(&mut plant, Some(full)).await;
    let held = |p: &Plant| p.engine.view().snapshot().devices[0].verdict.code;
    until(&mut plant, "it waits", |p| held(p) == Some(Code::StoreFull)).await;
    apply(&mut plant, None).await;
    until(&mut plant, "it is read again", |p| held(p).is_none()).await;
}
