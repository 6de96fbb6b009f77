//! What the way from a driver to a sink costs without either: a driver that makes batches of
//! float32 as fast as they are taken, and a sink that takes everything at once. Prints points per
//! second and per CPU second, in memory and on disk.
//!
//! `cargo run --release -p lineside-pipeline --example null_sink [DIR]`

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Ended, Reading, SessionContext};
use lineside_core::secret::Secrets;
use lineside_core::sink::{Guarantee, Outcome, Sink, SinkContext};
use lineside_core::{Batch, Clock, Fault, SystemClock, Value};
use lineside_crds::model::{Device, Pipeline, Point, SinkKind};
use lineside_crds::yaml::{Object, load_text};
use lineside_pipeline::{Desired, Engine, Parts};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Points of the device, all in each batch.
const POINTS: u16 = 1_000;
/// Batches under way to the store; a driver asks on when they are captured.
const UNDER_WAY: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(5);

static DELIVERED: AtomicU64 = AtomicU64::new(0);

struct Flood;

impl Driver for Flood {
    fn protocol(&self) -> &'static str {
        "ModbusTCP"
    }

    fn session(&self, _: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            context.emit.connected("nowhere");
            let mut under_way = VecDeque::new();
            for cycle in 0_u32.. {
                if context.cancel.is_cancelled() {
                    break;
                }
                let (origin, quality) = (context.origin.clone(), context.clock.quality());
                let mut batch = Batch::with_capacity(origin, context.epoch, quality, POINTS.into());
                let at = context.clock.now();
                for point in 0..u32::from(POINTS) {
                    batch.push_good(point, Value::F32((cycle ^ point) as f32 / 7.0), at);
                }
                under_way.push_back(context.emit.emit(batch).await);
                if under_way.len() > UNDER_WAY
                    && let Some(oldest) = under_way.pop_front()
                {
                    // One that was given up is not delivered, and so not counted.
                    let _ = oldest.await;
                }
                tokio::task::yield_now().await;
            }
            Ended::Cancelled
        })
    }

    fn read_once(
        &self,
        _: Arc<Device>,
        _: Arc<dyn Clock>,
    ) -> BoxFuture<'static, std::result::Result<Vec<Reading>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn wire_address(&self, _: &Device, _: &Point) -> String {
        String::new()
    }
}

struct Null;

impl Sink for Null {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn ordered(&self) -> bool {
        true
    }

    fn session(&self, mut context: SinkContext) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            context.state.connected("nowhere");
            loop {
                let record = tokio::select! {
                    record = context.feed.next() => record,
                    () = context.cancel.cancelled() => return Ended::Cancelled,
                };
                let samples = record.batch.len();
                DELIVERED.fetch_add(samples as u64, Ordering::Relaxed);
                context.feed.settle(&record.id, Outcome::delivered(samples));
            }
        })
    }
}

fn null(_: &SinkKind) -> std::result::Result<Arc<dyn Sink>, Fault> {
    Ok(Arc::new(Null))
}

fn main() -> Result {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for durability in ["Memory", "Durable"] {
        let store = dir.join(format!("null-sink-{}-{durability}", std::process::id()));
        std::fs::create_dir(&store)?;
        let measured = runtime.block_on(measure(durability, store.join("store")));
        std::fs::remove_dir_all(&store)?;
        let (points, time, cpu) = measured?;
        println!(
            "{durability:<8} {:>12.0} points/s {:>12.0} points per CPU second",
            points / time,
            points / cpu
        );
    }
    Ok(())
}

/// Points, seconds and CPU seconds of a while.
async fn measure(durability: &str, store: PathBuf) -> Result<(f64, f64, f64)> {
    let (device, pipeline) = objects(durability)?;
    let mut engine = Engine::new(Parts {
        clock: Arc::new(SystemClock),
        secrets: Secrets::default(),
        drivers: vec![Arc::new(Flood)],
        make_sink: null,
        agent_uid: "bench".into(),
        agent: "bench".into(),
        counts: Arc::default(),
        store: Some(store),
    });
    let (devices, pipelines) = (vec![Arc::new(device)], vec![Arc::new(pipeline)]);
    engine.apply(Desired { devices, pipelines, ..Desired::default() }).await;
    tokio::time::sleep(WARM_UP).await;
    let (before, cpu, begun) = (DELIVERED.load(Ordering::Relaxed), cpu_seconds()?, Instant::now());
    tokio::time::sleep(MEASURED).await;
    let points = DELIVERED.load(Ordering::Relaxed) - before;
    let (time, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    engine.shutdown(Duration::from_secs(5)).await;
    Ok((points as f64, time, cpu))
}

/// User and system time of the process, from `/proc` in hundredths of a second.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? / 100.0)
}

fn objects(durability: &str) -> Result<(Device, Pipeline)> {
    let points: String = (1..=POINTS)
        .map(|n| format!("\n  - {{name: p{n}, address: 'holding-register:{}:REAL'}}", 2 * n - 1))
        .collect();
    let text = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata: {{name: d}}\nspec:\n  \
         url: modbus-tcp://h\n  points:{points}\n---\napiVersion: lineside.dev/v1alpha1\nkind: \
         Pipeline\nmetadata: {{name: p}}\nspec:\n  sources: [{{name: all, devices: {{}}}}]\n  sinks: \
         [{{name: s, mqtt: {{url: 'mqtt://h'}}}}]\n  store: {{durability: {durability}, maxSize: \
         256Mi}}\n"
    );
    let mut objects = load_text("bench", &text).into_iter().filter_map(|d| d.object);
    match (objects.next(), objects.next()) {
        (Some(Object::Device(device)), Some(Object::Pipeline(pipeline))) => Ok((device, pipeline)),
        other => Err(format!("{other:?}").into()),
    }
}
