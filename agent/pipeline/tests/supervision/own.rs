//! The agent's own metrics as samples of a pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lineside_core::{StatusCode, Value};
use lineside_crds::model::{Mode, ObjectKey, Pipeline};
use lineside_crds::yaml::{Object, load_text};
use lineside_pipeline::Desired;
use lineside_pipeline::health::Health;
use lineside_pipeline::own::{OwnNumbers, POINTS_MOST};
use lineside_pipeline::snapshot::PipelineSnapshot;

use super::{Plant, Play, STALL, TOLD, Told, device, got};

/// A pipeline of these sources and further lines of the spec.
fn pipeline(name: &str, sources: &str, more: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  \
         sources: [{sources}]\n  sinks: [{{name: s, mqtt: {{url: \"mqtt://h\"}}}}]\n{more}"
    );
    match load_text("test", &yaml).remove(0).object {
        Some(Object::Pipeline(pipeline)) => pipeline,
        other => panic!("{other:?}"),
    }
}

const MEMORY: &str = "  store: {durability: Memory}\n";
const SELF: &str = "{name: self, agentMetrics: {intervalMillis: 10000}}";

async fn run(plant: &mut Plant, devices: &[&str], pipelines: &[Pipeline], draining: bool) {
    let devices = devices.iter().map(|name| Arc::new(device(name))).collect();
    let pipelines = pipelines.iter().cloned().map(Arc::new).collect();
    plant.engine.apply(Desired { devices, pipelines, draining, ..Desired::default() }).await;
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// What was told since the last call.
fn told() -> Vec<Told> {
    TOLD.with(|told| std::mem::take(&mut *told.lock().unwrap()))
}

fn seen(plant: &Plant, name: &str) -> PipelineSnapshot {
    let all = plant.engine.view().snapshot().pipelines;
    all.into_iter().find(|p| &*p.pipeline.key.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_tells_its_metrics_as_good_samples_of_a_device_of_its_name() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    let others = pipeline("others", "{name: all, devices: {}}", MEMORY);
    run(&mut plant, &["good"], &[pipeline("p", SELF, MEMORY), others], false).await;
    pass(25).await;
    let batches = told();
    assert_eq!(batches.len(), 3, "after a second, and then each ten");
    let last = batches.last().unwrap();
    assert_eq!(last["device_health/good"], Value::String("Healthy".into()));
    assert_eq!(last["device_points/good/Good"], Value::U64(1));
    assert_eq!(last["agent_clock_synced"], Value::Bool(true));
    assert!(matches!(last["agent_uptime_seconds"], Value::F64(_)), "{last:?}");
    // Its own samples are in the books as they were before this batch.
    let before: usize = batches[..2].iter().map(Told::len).sum();
    assert_eq!(last["sink_delivered_samples_total/p/s"], Value::U64(before as u64));
    assert!(got("agent").iter().all(|g| g.2 == StatusCode::GOOD));
    let shown = seen(&plant, "p");
    assert_eq!((shown.verdict.health, shown.verdict.reason), (Health::Healthy, "Delivering"));
    assert_eq!(shown.own, Some(OwnNumbers::default()));
    assert_eq!(seen(&plant, "others").own, None);
    let all = batches.iter().map(Told::len).sum::<usize>() as u64;
    assert_eq!(
        shown.store.captured, all,
        "a source of devices does not take them, nor this one devices"
    );
}

#[tokio::test(start_paused = true)]
async fn points_come_and_go_with_devices() {
    let mut plant = Plant::new(&[("a", Play::Good), ("b", Play::Fail)]);
    let p = [pipeline("p", SELF, MEMORY)];
    run(&mut plant, &["a", "b"], &p, false).await;
    pass(12).await;
    let both = told().pop().unwrap();
    assert_eq!(both["device_health/b"], Value::String("Unavailable".into()));
    assert_eq!(both["device_code/b"], Value::U64(2001));
    run(&mut plant, &["a"], &p, false).await;
    pass(12).await;
    let one = told().pop().unwrap();
    assert!(one.contains_key("device_health/a"));
    assert!(one.keys().all(|name| !name.contains("/b")), "{one:?}");
}

#[tokio::test(start_paused = true)]
async fn each_source_has_its_own_points_and_interval() {
    let mut plant = Plant::new(&[]);
    let sources = "{name: quick, agentMetrics: {intervalMillis: 1000}, include: [agent_uptime_seconds]}, \
                   {name: slow, agentMetrics: {intervalMillis: 60000}, include: [agent_*], \
                   exclude: [agent_info]}";
    run(&mut plant, &[], &[pipeline("p", sources, MEMORY)], false).await;
    tokio::time::sleep(Duration::from_millis(124_500)).await;
    let batches = told();
    let slow: Vec<_> = batches.iter().filter(|b| b.len() > 1).collect();
    assert_eq!((batches.len(), slow.len()), (124, 3));
    assert!(slow.iter().all(|b| b.contains_key("agent_clock_steps_total")), "{slow:?}");
    assert!(batches.iter().all(|b| b.contains_key("agent_uptime_seconds")));
    assert!(batches.iter().all(|b| !b.contains_key("agent_info")));
}

#[tokio::test(start_paused = true)]
async fn transforms_work_on_what_an_agent_tells_and_let_out_the_rest_at_the_end() {
    let mut plant = Plant::new(&[]);
    let window = "  transforms:\n  - {name: mean, points: [agent_uptime_seconds], window: \
                  {everyMillis: 60000, functions: [Count]}}\n";
    let source =
        "{name: self, agentMetrics: {intervalMillis: 10000}, include: [agent_uptime_seconds]}";
    let p = pipeline("p", source, &format!("{window}{MEMORY}"));
    run(&mut plant, &[], std::slice::from_ref(&p), false).await;
    pass(130).await;
    let whole = told();
    assert!(!whole.is_empty(), "a minute is over");
    assert!(
        whole
            .iter()
            .all(|b| b.len() == 1 && b.keys().all(|k| k.starts_with("agent_uptime_seconds.")))
    );
    // Without the source nothing is told any more, and what waited is not lost.
    run(&mut plant, &[], &[pipeline("p", "{name: all, devices: {}}", MEMORY)], false).await;
    pass(5).await;
    assert_eq!(told().len(), 1);
    pass(60).await;
    assert_eq!(told().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_pipeline_leaves_times_out_and_holds_up_nobody() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    let small = "  store: {durability: Memory, maxSize: 1Mi, overflow: Backpressure}\n";
    let often = "{name: self, agentMetrics: {intervalMillis: 1000}}";
    let mut own = pipeline("own", often, small);
    // Room for a dozen batches.
    own.store.max_bytes = 20_000;
    let devices = pipeline("devices", "{name: all, devices: {}}", MEMORY);
    STALL.with(|stall| stall.store(true, Ordering::Relaxed));
    run(&mut plant, &["good"], &[own, devices], false).await;
    pass(300).await;
    let shown = seen(&plant, "own");
    let skipped = shown.own.unwrap().skipped;
    assert!(skipped >= 250, "{skipped} times were left out");
    assert!(shown.sinks[0].numbers.ledger.dropped.is_empty(), "nothing gives way: {shown:?}");
    let captured = seen(&plant, "devices").store.captured;
    assert!(captured >= 290, "the device is read on, {captured} samples");
    // Once there is room it goes on, and says how often it was silent.
    STALL.with(|stall| stall.store(false, Ordering::Relaxed));
    pass(30).await;
    let last = told().pop().unwrap();
    let Value::U64(said) = last["pipeline_agent_metrics_skipped_total/own"] else {
        panic!("{last:?}")
    };
    assert!((skipped..skipped + 5).contains(&said), "{skipped}, and then {said}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_and_a_suspended_pipeline_tell_nothing() {
    let mut plant = Plant::new(&[]);
    let p = pipeline("p", SELF, MEMORY);
    let mut suspended = p.clone();
    suspended.mode = Mode::Suspended;
    for (p, draining) in [(&p, true), (&suspended, false)] {
        run(&mut plant, &[], std::slice::from_ref(p), false).await;
        pass(60).await;
        let before = told().len();
        run(&mut plant, &[], std::slice::from_ref(p), draining).await;
        pass(60).await;
        assert_eq!(told().len(), 0, "after {before}");
    }
    run(&mut plant, &[], std::slice::from_ref(&p), false).await;
    pass(5).await;
    assert_eq!(told().len(), 1, "it goes on soon after");
}

#[tokio::test(start_paused = true)]
async fn of_too_many_points_a_device_has_no_more_than_any_other_and_the_rest_is_counted() {
    let names: Vec<String> = (0..300).map(|i| format!("d{i:03}")).collect();
    let plays: Vec<(&str, Play)> = names.iter().map(|n| (n.as_str(), Play::Hang)).collect();
    let mut plant = Plant::new(&plays);
    let devices: Vec<&str> = names.iter().map(String::as_str).collect();
    run(&mut plant, &devices, &[pipeline("p", SELF, MEMORY)], false).await;
    pass(12).await;
    let last = told().pop().unwrap();
    assert_eq!(last.len(), POINTS_MOST);
    assert!(names.iter().all(|n| last.contains_key(&format!("device_health/{n}"))));
    let left_out = seen(&plant, "p").own.unwrap().left_out;
    assert!(left_out > 1000, "{left_out}");
    assert_eq!(last["pipeline_agent_metrics_left_out/p"], Value::U64(left_out as u64));
}

#[tokio::test]
async fn telling_goes_on_while_its_pipeline_moves_between_disk_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut plant = Plant::with_store(&[], Some(dir.path().join("store")));
    let often = "{name: self, agentMetrics: {intervalMillis: 1000}}";
    let mut all = Vec::new();
    for durability in ["Durable", "Memory", "Durable"] {
        let store = format!("  store: {{durability: {durability}}}\n");
        run(&mut plant, &[], &[pipeline("p", often, &store)], false).await;
        let begun = Instant::now();
        let until = all.len() + 3;
        let is_there = |plant: &Plant| {
            let log = plant.engine.view().log(&ObjectKey::new("default", "p")).unwrap();
            log.is_some() == (durability == "Durable")
        };
        while all.len() < until || !is_there(&plant) {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing more with {durability}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            plant.engine.tidy().await;
            all.extend(told());
        }
    }
    let uptime = |told: &Told| match told["agent_uptime_seconds"] {
        Value::F64(seconds) => seconds,
        ref other => panic!("{other:?}"),
    };
    assert!(all.is_sorted_by(|a, b| uptime(a) < uptime(b)), "in order, and none twice");
    assert_eq!(seen(&plant, "p").own, Some(OwnNumbers::default()), "no time was left out");
}
