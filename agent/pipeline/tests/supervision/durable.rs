//! Pipelines whose samples are on disk, in real time: over restarts, after they were removed, and
//! while the store cannot be opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lineside_core::Value;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::ObjectKey;
use lineside_pipeline::Desired;
use lineside_pipeline::engine::GivenUp;
use lineside_pipeline::snapshot::PipelineSnapshot;
use lineside_store::fs::RealFs;
use lineside_store::{Options, Volume};

use super::{Plant, Play, STALL, device, got, pipeline_with};

const PATIENCE: Duration = Duration::from_secs(20);

async fn run(plant: &mut Plant, annotations: Option<&str>) {
    let devices = vec![Arc::new(device("good"))];
    let pipelines = annotations.map(|a| Arc::new(pipeline_with(a, "Durable")));
    let pipelines = pipelines.into_iter().collect();
    plant.engine.apply(Desired { devices, pipelines, ..Desired::default() }).await;
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
