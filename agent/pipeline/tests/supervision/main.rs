//! What the engine does with drivers and sinks that misbehave in ways no real peer can be made
//! to: in virtual time, with small drivers and sinks of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test code, also the functions the tests share"
)]

mod durable;
mod own;

use std::collections::BTreeMap;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::clock::{Clock, UnixNanos};
use lineside_core::driver::{Driver, Ended, Reading, SessionContext};
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::secret::Secrets;
use lineside_core::sink::{Guarantee, Outcome, Sink, SinkContext};
use lineside_core::{Batch, StatusCode, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, ObjectKey, Pipeline, Point, SinkKind};
use lineside_crds::yaml::{Object, load_text};
use lineside_pipeline::engine::GivenUp;
use lineside_pipeline::health::Health;
use lineside_pipeline::{Desired, Engine, Parts};
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(1);
/// max(3 x 1 s, 2 x 2 s + 5 s), contracts section 2.
const DEADLINE: Duration = Duration::from_secs(9);

struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> UnixNanos {
        1_800_000_000_000_000_000 + self.0.elapsed().as_nanos() as i64
    }
}

/// What a session of the scripted driver does.
#[derive(Clone, Copy, PartialEq)]
enum Play {
    /// Emits a good value each second.
    Good,
    /// Emits the same Bad status each second.
    Bad,
    /// Emits one good value and says nothing any more.
    Hang,
    Panic,
    Fail,
    /// Emits a good value, and closes eight seconds later.
    Close,
    /// Ignores its cancellation.
    Deaf,
}

/// Plays by the device's name.
#[derive(Default)]
struct Scripted {
    sessions: Mutex<BTreeMap<String, usize>>,
    plays: Mutex<BTreeMap<String, Play>>,
}

impl Driver for Scripted {
    fn protocol(&self) -> &'static str {
        "ModbusTCP"
    }

    fn session(&self, device: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended> {
        let name = device.key.name.to_string();
        *self.sessions.lock().unwrap().entry(name.clone()).or_default() += 1;
        let play = self.plays.lock().unwrap()[&name];
        Box::pin(async move {
            if play == Play::Fail {
                let fault = Fault::new(FaultClass::Unreachable, Code::Unreachable, "refused");
                return Ended::Failed(fault);
            }
            context.emit.connected("scripted");
            let mut number = 0;
            loop {
                let origin = context.origin.clone();
                let quality = context.clock.quality();
                let mut batch = Batch::with_capacity(origin, context.epoch, quality, 1);
                number += 1;
                match play {
                    Play::Panic => panic!("as asked"),
                    Play::Bad => {
                        batch.push_bad(0, StatusCode::BAD_DEVICE_FAILURE, context.clock.now());
                    }
                    _ => batch.push_good(0, Value::U32(number), context.clock.now()),
                }
                context.emit.emit(batch).await.await.unwrap();
                if play == Play::Close {
                    tokio::time::sleep(Duration::from_secs(8)).await;
                    let code = Code::ConnectionLost;
                    return Ended::Failed(Fault::new(FaultClass::Unreachable, code, "closed"));
                }
                tokio::select! {
                    () = context.cancel.cancelled(), if play != Play::Deaf => {
                        return Ended::Cancelled;
                    }
                    () = tokio::time::sleep(INTERVAL), if play != Play::Hang => {}
                    else => std::future::pending().await,
                }
            }
        })
    }

    fn read_once(
        &self,
        _: Arc<Device>,
        _: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Vec<Reading>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn wire_address(&self, _: &Device, _: &Point) -> String {
        String::new()
    }
}

/// Device, time, quality, value, epoch.
type Got = (String, UnixNanos, StatusCode, Value, u64);

/// A batch of the agent's own metrics: points by name.
type Told = BTreeMap<String, Value>;

struct Collector {
    got: Arc<Mutex<Vec<Got>>>,
    told: Arc<Mutex<Vec<Told>>>,
    refuse: Arc<AtomicBool>,
    stall: Arc<AtomicBool>,
    read_only: Arc<AtomicBool>,
}

impl Sink for Collector {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn ordered(&self) -> bool {
        true
    }

    fn session(&self, mut context: SinkContext) -> BoxFuture<'static, Ended> {
        let (got, refuse) = (self.got.clone(), self.refuse.clone());
        let (stall, told) = (self.stall.clone(), self.told.clone());
        let read_only = self.read_only.clone();
        Box::pin(async move {
            context.state.connected("collector");
            loop {
                let record = tokio::select! {
                    record = context.feed.next() => record,
                    () = context.cancel.cancelled() => return Ended::Cancelled,
                };
                while stall.load(Ordering::Relaxed) {
                    tokio::select! {
                        () = context.cancel.cancelled() => return Ended::Cancelled,
                        () = tokio::time::sleep(INTERVAL / 10) => {}
                    }
                }
                if read_only.load(Ordering::Relaxed) {
                    let (class, code) = (FaultClass::Overload, Code::SinkReadOnly);
                    return Ended::Failed(Fault::new(class, code, "read-only"));
                }
                if refuse.load(Ordering::Relaxed) {
                    let n = record.batch.len();
                    let refused = Outcome::rejected(n, Code::RecordRejected, "not allowed");
                    context.feed.settle(&record.id, refused);
                    continue;
                }
                let device = record.batch.origin().device.name.to_string();
                if device == "agent" {
                    let name = |point| record.batch.origin().point(point).unwrap().to_string();
                    let points = record.batch.iter().map(|s| (name(s.point), s.value.clone()));
                    told.lock().unwrap().push(points.collect());
                }
                for s in record.batch.iter() {
                    let epoch = record.batch.epoch;
                    let sample = (device.clone(), s.time(), s.status, s.value.clone(), epoch);
                    got.lock().unwrap().push(sample);
                }
                context.feed.settle(&record.id, Outcome::delivered(record.batch.len()));
            }
        })
    }
}

thread_local! {
    static GOT: Arc<Mutex<Vec<Got>>> = Arc::default();
    static TOLD: Arc<Mutex<Vec<Told>>> = Arc::default();
    static REFUSE: Arc<AtomicBool> = Arc::default();
    static STALL: Arc<AtomicBool> = Arc::default();
    static READ_ONLY: Arc<AtomicBool> = Arc::default();
}

fn collector(_: &SinkKind) -> Result<Arc<dyn Sink>, Fault> {
    Ok(Arc::new(Collector {
        got: GOT.with(Clone::clone),
        told: TOLD.with(Clone::clone),
        refuse: REFUSE.with(Clone::clone),
        stall: STALL.with(Clone::clone),
        read_only: READ_ONLY.with(Clone::clone),
    }))
}

struct Plant {
    driver: Arc<Scripted>,
    engine: Engine,
    linger: Option<Duration>,
}

impl Plant {
    fn new(plays: &[(&str, Play)]) -> Self {
        Self::with_store(plays, None)
    }

    fn with_store(plays: &[(&str, Play)], store: Option<PathBuf>) -> Self {
        let driver = Arc::new(Scripted::default());
        for (name, play) in plays {
            driver.plays.lock().unwrap().insert((*name).into(), *play);
        }
        let engine = Engine::new(Parts {
            clock: Arc::new(VirtualClock(Instant::now())),
            secrets: Secrets::default(),
            drivers: vec![driver.clone()],
            make_sink: collector,
            agent_uid: "uid".into(),
            agent: "agent".into(),
            counts: Arc::default(),
            store,
        });
        Self { driver, engine, linger: None }
    }

    async fn run(&mut self, names: &[&str]) {
        let devices = names.iter().map(|n| Arc::new(device(n))).collect();
        let pipelines = vec![Arc::new(pipeline())];
        let linger = self.linger;
        self.engine.apply(Desired { devices, pipelines, linger, ..Desired::default() }).await;
    }

    fn sessions(&self, name: &str) -> usize {
        self.driver.sessions.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

fn device(name: &str) -> Device {
    let yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata: {{name: {name}}}\n\
         spec:\n  url: modbus-tcp://h\n  intervalMillis: {}\n  points: [{{name: p, address: \"coil:1\"}}]\n",
        if name == "idle" { 15_000 } else { 1000 }
    );
    match load_text("test", &yaml).remove(0).object {
        Some(Object::Device(device)) => device,
        other => panic!("{other:?}"),
    }
}

fn pipeline() -> Pipeline {
    pipeline_with("", "Memory")
}

fn pipeline_with(annotations: &str, durability: &str) -> Pipeline {
    let yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p, annotations: \
         {{{annotations}}}}}\nspec:\n  sources: [{{name: all, devices: {{}}}}]\n  sinks: [{{name: s, \
         mqtt: {{url: \"mqtt://h\"}}}}]\n  store: {{durability: {durability}}}\n"
    );
    match load_text("test", &yaml).remove(0).object {
        Some(Object::Pipeline(pipeline)) => pipeline,
        other => panic!("{other:?}"),
    }
}

fn got(device: &str) -> Vec<Got> {
    let all = GOT.with(|g| g.lock().unwrap().clone());
    all.into_iter().filter(|g| g.0 == device).collect()
}

fn seconds(from: UnixNanos, to: UnixNanos) -> Duration {
    Duration::from_nanos((to - from) as u64)
}

#[tokio::test(start_paused = true)]
async fn a_connected_driver_that_falls_silent_turns_its_points_bad_within_the_deadline() {
    let mut plant = Plant::new(&[("hung", Play::Hang), ("good", Play::Good)]);
    plant.run(&["hung", "good"]).await;
    tokio::time::sleep(DEADLINE * 2).await;
    let hung = got("hung");
    let statuses: Vec<_> = hung.iter().map(|g| g.2).collect();
    assert_eq!(statuses, [StatusCode::GOOD, StatusCode::BAD_TIMEOUT]);
    let after = seconds(hung[0].1, hung[1].1);
    assert!(after > DEADLINE && after < DEADLINE + Duration::from_secs(2), "{after:?}");
    assert!(got("good").iter().all(|g| g.2.is_good()));
    assert!(got("good").len() >= 17);
}

#[tokio::test(start_paused = true)]
async fn a_point_that_stays_bad_is_told_once_a_minute() {
    let mut plant = Plant::new(&[("bad", Play::Bad)]);
    plant.run(&["bad"]).await;
    tokio::time::sleep(Duration::from_secs(190)).await;
    let times: Vec<_> = got("bad").iter().map(|g| g.1).collect();
    assert_eq!(times.len(), 4, "at 0, 60, 120 and 180 s: {times:?}");
    let gaps = times.windows(2).map(|w| seconds(w[0], w[1]));
    assert!(gaps.into_iter().all(|g| g >= Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_harms_nobody_else_and_is_tried_again() {
    let mut plant = Plant::new(&[("panics", Play::Panic), ("good", Play::Good)]);
    plant.run(&["panics", "good"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sessions = plant.sessions("panics");
    assert!((4..=14).contains(&sessions), "backs off: {sessions} sessions in a minute");
    let snapshot = plant.engine.view().snapshot();
    let shown = snapshot.devices.iter().find(|d| &*d.device.key.name == "panics").unwrap();
    assert_eq!(shown.verdict.code, Some(Code::DriverPanicked));
    assert!(got("panics").iter().all(|g| g.2 == StatusCode::BAD_INTERNAL_ERROR));
    assert!(!got("panics").is_empty(), "its points are told Bad");
    assert!(got("good").len() >= 55);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_device_is_told_bad_when_its_points_are_due() {
    let mut plant = Plant::new(&[("off", Play::Fail)]);
    plant.run(&["off"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let off = got("off");
    assert_eq!(off.len(), 1, "{off:?}");
    assert_eq!((off[0].2, &off[0].3), (StatusCode::BAD_NO_COMMUNICATION, &Value::Null));
    let snapshot = plant.engine.view().snapshot();
    assert_eq!(snapshot.devices[0].verdict.code, Some(Code::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_whose_devices_are_all_silent_is_not_said_to_deliver() {
    let mut plant = Plant::new(&[("dead", Play::Fail), ("good", Play::Good)]);
    let shown = |plant: &Plant| {
        let verdict = plant.engine.view().snapshot().pipelines.remove(0).verdict;
        (verdict.health, verdict.code)
    };
    plant.run(&["dead"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shown(&plant), (Health::Unavailable, Some(Code::DevicesSilent)));
    plant.run(&["dead", "good"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shown(&plant), (Health::Healthy, None), "one device is enough");
}

#[tokio::test(start_paused = true)]
async fn a_device_without_a_driver_says_so_and_harms_nobody() {
    let mut engine = Engine::new(Parts {
        clock: Arc::new(VirtualClock(Instant::now())),
        secrets: Secrets::default(),
        drivers: Vec::new(),
        make_sink: collector,
        agent_uid: "uid".into(),
        agent: "agent".into(),
        counts: Arc::default(),
        store: None,
    });
    let desired = Desired { devices: vec![Arc::new(device("d"))], ..Desired::default() };
    engine.apply(desired).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (snapshot, points) = engine.view().device(&ObjectKey::new("default", "d")).unwrap();
    assert_eq!(snapshot.verdict.code, Some(Code::NotInThisBuild));
    assert!(points.points[0].status.is_some_and(StatusCode::is_bad));
    assert!(engine.view().device(&ObjectKey::new("default", "e")).is_none());
}

#[tokio::test(start_paused = true)]
async fn samples_dropped_for_a_connected_sink_degrade_its_pipeline_for_a_minute() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    let mut small = pipeline();
    // A few records: a sink that stalls has them full at once.
    small.store.max_bytes = 2_000;
    STALL.with(|stall| stall.store(true, Ordering::Relaxed));
    let devices = vec![Arc::new(device("good"))];
    let pipelines = vec![Arc::new(small)];
    plant.engine.apply(Desired { devices, pipelines, ..Desired::default() }).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let shown = |plant: &Plant| plant.engine.view().snapshot().pipelines.remove(0);
    let full = shown(&plant);
    let sink = &full.sinks[0];
    assert!(sink.station.connected && sink.numbers.last_drop.is_some(), "{full:?}");
    assert_eq!(full.verdict.health, Health::Degraded);
    assert_eq!(full.verdict.code, Some(Code::StoreFull));
    // A store that is large enough drops nothing more.
    plant.run(&["good"]).await;
    tokio::time::sleep(Duration::from_secs(75)).await;
    let well = shown(&plant).verdict;
    assert_eq!((well.health, well.code), (Health::Healthy, None));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ignores_its_cancellation_is_ended_all_the_same() {
    let mut plant = Plant::new(&[("deaf", Play::Deaf), ("good", Play::Good)]);
    plant.run(&["deaf", "good"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let started = Instant::now();
    plant.run(&["good"]).await;
    assert!(started.elapsed() <= Duration::from_secs(2), "{:?}", started.elapsed());
    let before = got("deaf").len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(got("deaf").len(), before, "it is really over");
    assert_eq!(plant.sessions("good"), 1, "the other one was not touched");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_configuration_touches_nothing() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    for _ in 0..5 {
        plant.run(&["good"]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(plant.sessions("good"), 1);
    let sinks = plant.engine.view().snapshot().pipelines.remove(0).sinks;
    assert_eq!(sinks[0].station.sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_never_to_run_is_suspended_and_not_connecting() {
    let mut plant = Plant::new(&[]);
    let mut idle = device("idle");
    idle.mode = lineside_crds::model::Mode::Suspended;
    let (devices, pipelines) = (vec![Arc::new(idle)], vec![Arc::new(pipeline())]);
    plant.engine.apply(Desired { devices, pipelines, ..Desired::default() }).await;
    let snapshot = plant.engine.view().snapshot();
    assert_eq!(snapshot.devices[0].verdict.reason, "Suspended");
    assert_eq!(snapshot.pipelines[0].verdict.reason, "Suspended", "nothing is to come");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_device_gives_nothing_and_says_so() {
    let mut plant = Plant::new(&[("d", Play::Good)]);
    plant.run(&["d"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut suspended = device("d");
    suspended.mode = lineside_crds::model::Mode::Suspended;
    let (devices, pipelines) = (vec![Arc::new(suspended)], vec![Arc::new(pipeline())]);
    let desired = Desired { devices, pipelines, ..Desired::default() };
    plant.engine.apply(desired).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let before = got("d").len();
    let told = got("d").iter().filter(|g| g.2 == StatusCode::BAD_OUT_OF_SERVICE).count();
    assert_eq!(told, 1, "out of service is told once");
    assert_eq!(got("d")[before - 1].2, StatusCode::BAD_OUT_OF_SERVICE);
    let snapshot = plant.engine.view().snapshot();
    assert_eq!(snapshot.devices[0].verdict.reason, "Suspended");
    assert_eq!(snapshot.devices[0].device.key, ObjectKey::new("default", "d"));
    plant.run(&["d"]).await;
    let resumed = plant.engine.view().snapshot().devices.remove(0).verdict;
    assert_eq!((resumed.health, resumed.code), (Health::Unknown, None), "no false alarm");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = got("d").split_off(before);
    assert!(after.len() >= 2 && after.iter().all(|g| g.2.is_good()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_closes_idle_connections_keeps_its_values_good() {
    let mut plant = Plant::new(&[("idle", Play::Close)]);
    plant.run(&["idle"]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(got("idle").iter().all(|g| g.2.is_good()), "{:?}", got("idle"));
    assert!(plant.sessions("idle") > 20);
}

#[tokio::test(start_paused = true)]
async fn values_of_another_host_are_not_taken_for_the_new_ones() {
    let mut plant = Plant::new(&[("d", Play::Hang)]);
    plant.run(&["d"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let good = |p: &Plant| p.engine.view().snapshot().devices[0].good;
    assert_eq!(good(&plant), 1);
    let mut moved = device("d");
    moved.protocol = match moved.protocol {
        lineside_crds::model::Protocol::ModbusTcp(mut s) => {
            s.host = "elsewhere".into();
            lineside_crds::model::Protocol::ModbusTcp(s)
        }
        other => other,
    };
    let (devices, pipelines) = (vec![Arc::new(moved)], vec![Arc::new(pipeline())]);
    let desired = Desired { devices, pipelines, ..Desired::default() };
    plant.engine.apply(desired).await;
    assert_eq!(good(&plant), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sink_whose_every_record_is_refused_is_not_called_delivering() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    REFUSE.with(|r| r.store(true, Ordering::Relaxed));
    plant.run(&["good"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let verdict =
        |p: &Plant| p.engine.view().snapshot().pipelines.remove(0).sinks.remove(0).station.verdict;
    let refused = verdict(&plant);
    assert_eq!((refused.health, refused.code), (Health::Unavailable, Some(Code::RecordRejected)));
    assert!(refused.message.contains("not allowed"), "{refused:?}");
    REFUSE.with(|r| r.store(false, Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let both = verdict(&plant);
    assert_eq!((both.health, both.code), (Health::Degraded, Some(Code::RecordRejected)));
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(verdict(&plant).reason, "Delivering");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_connections_and_no_records_goes_on_saying_why() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    READ_ONLY.with(|r| r.store(true, Ordering::Relaxed));
    plant.run(&["good"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sink = |p: &Plant| p.engine.view().snapshot().pipelines.remove(0).sinks.remove(0).station;
    for second in 0..90 {
        let verdict = sink(&plant).verdict;
        let told = (verdict.health, verdict.code);
        assert_eq!(told, (Health::Unavailable, Some(Code::SinkReadOnly)), "{second} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(sink(&plant).sessions > 6, "it was connected again and again");
    READ_ONLY.with(|r| r.store(false, Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(sink(&plant).verdict.reason, "Delivering");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_selects_no_device_says_so_and_what_is_given_up_is_counted() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    plant.run(&[]).await;
    let shown = plant.engine.view().snapshot();
    let verdict = &shown.pipelines[0].verdict;
    assert_eq!((verdict.health, verdict.code), (Health::Unknown, Some(Code::NoDevices)));
    plant.run(&["good"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(plant.engine.view().snapshot().pipelines[0].verdict.health, Health::Healthy);
    STALL.with(|r| r.store(true, Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let buffered = plant.engine.view().snapshot().pipelines[0].sinks[0].numbers.ledger.buffered;
    assert!(buffered > 5);
    plant.engine.apply(Desired::default()).await;
    let given_up = plant.engine.view().snapshot().given_up;
    assert!(given_up[GivenUp::PipelineRemoved.label()] >= buffered, "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_delivers_what_is_held_and_gives_up_nothing() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    plant.run(&["good"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let view = plant.engine.view();
    assert_eq!(plant.engine.shutdown(Duration::from_secs(5)).await, 0);
    let captured = view.snapshot().pipelines[0].store.captured;
    assert_eq!(got("good").len() as u64, captured);
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_starts_a_new_session_and_reaches_every_sample_also_those_of_silence() {
    let mut plant = Plant::new(&[("good", Play::Good), ("hang", Play::Hang)]);
    for epoch in [3, 4] {
        let devices = ["good", "hang"].map(|n| Arc::new(device(n))).into();
        let epochs = ["good", "hang"].map(|n| (ObjectKey::new("default", n), epoch)).into();
        let pipelines = vec![Arc::new(pipeline())];
        plant.engine.apply(Desired { devices, pipelines, epochs, ..Desired::default() }).await;
        let before = (got("good").len(), got("hang").len());
        tokio::time::sleep(2 * DEADLINE).await;
        for (name, before) in [("good", before.0), ("hang", before.1)] {
            let new = got(name).split_off(before);
            assert!(new.len() >= 2, "{name}: {new:?}");
            assert!(new.iter().all(|g| g.4 == epoch), "{name}: {new:?}");
        }
        assert!(got("hang").last().unwrap().2.is_bad(), "silence is told under the epoch too");
    }
    assert_eq!((plant.sessions("good"), plant.sessions("hang")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_removed_pipeline_delivers_what_it_holds_or_gives_it_up_when_its_time_is_over() {
    let mut plant = Plant::new(&[("d", Play::Good)]);
    plant.linger = Some(Duration::from_secs(60));
    let stall = |on| STALL.with(|stall| stall.store(on, Ordering::Relaxed));
    let seconds = |n| tokio::time::sleep(Duration::from_secs(n));
    let held = |plant: &Plant| -> Vec<u64> {
        let pipelines = plant.engine.view().snapshot().pipelines;
        pipelines.iter().map(|p| p.sinks[0].numbers.ledger.buffered).collect()
    };
    let given_up = |plant: &Plant| plant.engine.view().snapshot().given_up["PipelineRemoved"];
    let without = || {
        let devices = vec![Arc::new(device("d"))];
        Desired { devices, linger: Some(Duration::from_secs(60)), ..Desired::default() }
    };
    stall(true);
    plant.run(&["d"]).await;
    seconds(5).await;
    plant.engine.apply(without()).await;
    let before = held(&plant);
    assert!(before[0] >= 4, "{before:?}");
    assert_eq!(plant.engine.view().snapshot().pipelines[0].verdict.reason, "Draining");
    seconds(5).await;
    plant.engine.tidy().await;
    assert_eq!(held(&plant), before, "nothing new gets in, and nothing is given up");
    stall(false);
    seconds(1).await;
    plant.engine.tidy().await;
    assert_eq!((held(&plant), given_up(&plant)), (vec![], 0));
    assert_eq!(got("d").len() as u64, before[0], "all of it has arrived");
    // Again; made again before it had gone it goes on with what it holds.
    stall(true);
    plant.run(&["d"]).await;
    seconds(5).await;
    let before = held(&plant)[0];
    plant.engine.apply(without()).await;
    plant.run(&["d"]).await;
    seconds(5).await;
    let held_now = held(&plant);
    assert!(held_now.len() == 1 && held_now[0] >= before + 4, "{before} {held_now:?}");
    // And when its time is over, what it holds is given up and counted.
    plant.engine.apply(without()).await;
    let left = held(&plant)[0];
    seconds(59).await;
    plant.engine.tidy().await;
    assert_eq!((held(&plant), given_up(&plant)), (vec![left], 0));
    seconds(2).await;
    plant.engine.tidy().await;
    assert_eq!((held(&plant), given_up(&plant)), (vec![], left));
}

/// The pipeline with transforms.
fn transformed(transforms: &str) -> Arc<Pipeline> {
    let yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  \
         sources: [{{name: all, devices: {{}}}}]\n  sinks: [{{name: s, mqtt: {{url: \"mqtt://h\"}}}}]\n  \
         store: {{durability: Memory}}\n  transforms: [{transforms}]\n"
    );
    match load_text("test", &yaml).remove(0).object {
        Some(Object::Pipeline(pipeline)) => Arc::new(pipeline),
        other => panic!("{other:?}"),
    }
}

async fn apply(plant: &mut Plant, names: &[&str], pipelines: Vec<Arc<Pipeline>>) {
    let devices = names.iter().map(|n| Arc::new(device(n))).collect();
    plant.engine.apply(Desired { devices, pipelines, ..Desired::default() }).await;
}

/// The numbers of the transforms of the only pipeline, which balance.
fn transforms(plant: &Plant) -> lineside_pipeline::transform::Numbers {
    let snapshot = plant.engine.view().snapshot();
    let (numbers, captured) =
        (snapshot.pipelines[0].transforms, snapshot.pipelines[0].store.captured);
    assert_eq!(numbers.received + numbers.derived, numbers.absorbed + captured + numbers.held());
    numbers
}

fn values(device: &str) -> Vec<Value> {
    got(device).into_iter().map(|g| g.3).collect()
}

#[tokio::test(start_paused = true)]
async fn transforms_thin_out_what_is_kept_and_the_end_lets_out_what_waits() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    let door = transformed("{name: d, swingingDoor: {deviation: \"0\"}}");
    apply(&mut plant, &["good"], vec![door]).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    // One line so far: its beginning is kept, its end waits.
    assert_eq!(values("good"), [Value::U32(1)]);
    let numbers = transforms(&plant);
    assert!(numbers.received >= 29, "{numbers:?}");
    assert_eq!((numbers.held(), numbers.absorbed), (1, numbers.received - 2));
    assert_eq!(plant.engine.shutdown(Duration::from_secs(5)).await, 0);
    let end = u32::try_from(numbers.received).unwrap();
    assert_eq!(values("good"), [Value::U32(1), Value::U32(end)]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_lets_out_what_waits_and_touches_nothing_that_stays() {
    let mut plant = Plant::new(&[("good", Play::Good)]);
    let door = || transformed("{name: d, swingingDoor: {deviation: \"0\"}}");
    apply(&mut plant, &["good"], vec![door()]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The same again: the line goes on.
    apply(&mut plant, &["good"], vec![door()]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((values("good"), transforms(&plant).held()), (vec![Value::U32(1)], 1));
    let last = u32::try_from(transforms(&plant).received).unwrap();
    // Without transforms: what waited is out, and everything after it.
    apply(&mut plant, &["good"], vec![transformed("")]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let all = values("good");
    assert_eq!(all[..3], [Value::U32(1), Value::U32(last), Value::U32(last + 1)]);
    assert_eq!(transforms(&plant).held(), 0);
    // The device goes: what waits of it is out.
    apply(&mut plant, &["good"], vec![door()]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = transforms(&plant);
    assert_eq!(before.held(), 1);
    apply(&mut plant, &[], vec![door()]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(transforms(&plant).held(), 0);
}

#[tokio::test(start_paused = true)]
async fn time_closes_a_window_when_its_device_says_nothing() {
    let mut plant = Plant::new(&[("hung", Play::Hang)]);
    let count = transformed("{name: w, window: {everyMillis: 2000, functions: [Count]}}");
    apply(&mut plant, &["hung"], vec![count]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(values("hung"), [Value::I64(1)]);
    let numbers = transforms(&plant);
    assert_eq!((numbers.received, numbers.derived, numbers.absorbed), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_turns_bad_through_transforms_that_absorb() {
    let mut plant = Plant::new(&[("hung", Play::Hang)]);
    let chain = "{name: c, onChange: {}}, {name: d, swingingDoor: {deviation: \"0\"}}";
    apply(&mut plant, &["hung"], vec![transformed(chain)]).await;
    tokio::time::sleep(DEADLINE * 2).await;
    let statuses: Vec<_> = got("hung").iter().map(|g| g.2).collect();
    assert_eq!(statuses, [StatusCode::GOOD, StatusCode::BAD_TIMEOUT]);
    transforms(&plant);
}
