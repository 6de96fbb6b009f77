//! The sink as a peer of `cargo xtask bench iotdb`: its real session behind a feed that hands out
//! records which are there already. Started with the server's port; takes requests on standard
//! input, answers each with one line.
//!
//! ```text
//! build PATH DEVICES POINTS ROWS QUALITY CYCLES FIRST   built
//! go                                                    done SECONDS
//! ```
//! A cycle has for each device `ROWS` rows of `POINTS` points, a millisecond apart from `FIRST` on,
//! with quality columns if `QUALITY` is 1, in records of at most a thousand samples: no device of an
//! agent makes larger ones. `go` lasts until the server has acknowledged all of them.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::secret::Secrets;
use lineside_core::sink::{
    Feed, Outcome, Record, RecordId, Sink as _, SinkContext, SinkIdentity, SinkState,
};
use lineside_core::{Batch, Origin, SystemClock, TimeQuality, Value};
use lineside_crds::model::{IotdbModel, IotdbSettings, Node, ObjectKey};
use lineside_sink_iotdb::build;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a pipeline has that says nothing about it.
const RESEND: Duration = Duration::from_secs(5);
/// Most samples of a record.
const LARGEST: i64 = 1000;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// What the feed and the program share.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There are records.
    filled: Notify,
    /// One was acknowledged.
    acknowledged: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Record>,
    open: usize,
    delivered: u64,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        f(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Prebuilt(Arc<Shared>);

impl Feed for Prebuilt {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        Box::pin(async {
            loop {
                let filled = self.0.filled.notified();
                if let Some(record) = self.0.with(|queue| queue.waiting.pop_front()) {
                    return record;
                }
                filled.await;
            }
        })
    }

    fn settle(&mut self, _: &RecordId, outcome: Outcome) {
        self.0.with(|queue| {
            queue.open -= 1;
            queue.delivered += outcome.delivered;
        });
        self.0.acknowledged.notify_one();
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, _: u64) {
        // The other clients know nothing of what comes after an acknowledgement either.
        self.settle(id, outcome);
    }

    fn confirmed(&mut self, _: u64) {}
}

struct Quiet;

impl SinkState for Quiet {
    fn connected(&self, _: &str) {}
}

/// A session of one prefix, with or without quality.
struct Running {
    prefix: String,
    quality: bool,
    shared: Arc<Shared>,
    task: JoinHandle<Ended>,
    cancel: CancellationToken,
}

impl Running {
    fn start(runtime: &Runtime, port: u16, prefix: &str, quality: bool) -> Self {
        let settings = IotdbSettings {
            nodes: vec![Node { host: "127.0.0.1".to_owned(), port }],
            tls: None,
            credentials: None,
            model: IotdbModel::Tree { prefix: prefix.to_owned() },
            quality,
            resend: RESEND,
        };
        let (shared, cancel) = (Arc::new(Shared::default()), CancellationToken::new());
        let context = SinkContext {
            identity: SinkIdentity {
                agent_uid: "bench".into(),
                agent: "bench".into(),
                pipeline: ObjectKey::new("default", "bench"),
                sink: "tsdb".into(),
            },
            clock: Arc::new(SystemClock),
            secrets: Secrets::default(),
            feed: Box::new(Prebuilt(shared.clone())),
            state: Arc::new(Quiet),
            cancel: cancel.clone(),
        };
        let task = runtime.spawn(build(settings).session(context));
        Self { prefix: prefix.to_owned(), quality, shared, task, cancel }
    }
}

/// What `build` asks for.
struct Plan {
    prefix: String,
    namespace: String,
    devices: usize,
    points: u32,
    rows: i64,
    quality: bool,
    cycles: i64,
    first: i64,
}

impl Plan {
    fn read(words: &[&str]) -> Result<Self> {
        let [path, devices, points, rows, quality, cycles, first] = words else {
            return Err("build wants seven words".into());
        };
        let (prefix, namespace) = path.rsplit_once('.').ok_or("a path has two nodes at least")?;
        Ok(Self {
            prefix: prefix.to_owned(),
            namespace: namespace.to_owned(),
            devices: devices.parse()?,
            points: points.parse()?,
            rows: rows.parse()?,
            quality: *quality == "1",
            cycles: cycles.parse()?,
            first: first.parse()?,
        })
    }

    fn records(&self) -> VecDeque<Record> {
        let points: Arc<[Arc<str>]> = (0..self.points).map(|p| format!("p{p}").into()).collect();
        let origin = |device| {
            let device = ObjectKey::new(&*self.namespace, format!("d{device}"));
            Arc::new(Origin::new(device, None, points.clone(), Vec::new().into()))
        };
        let origins: Vec<_> = (0..self.devices).map(origin).collect();
        let store: Arc<str> = "bench".into();
        let mut records = VecDeque::new();
        for cycle in 0..self.cycles {
            let first = self.first + cycle * self.rows;
            let end = first + self.rows;
            for origin in &origins {
                let mut from = first;
                while from < end {
                    let to = end.min(from + (LARGEST / i64::from(self.points)).max(1));
                    let offset = records.len() as u64;
                    let id = RecordId { store: store.clone(), stream: 1, offset, part: None };
                    records.push_back(Record { id, batch: Arc::new(self.batch(origin, from..to)) });
                    from = to;
                }
            }
        }
        records
    }

    fn batch(&self, origin: &Arc<Origin>, times: Range<i64>) -> Batch {
        let room = times.clone().count() * self.points as usize;
        let mut batch = Batch::with_capacity(origin.clone(), 1, TimeQuality::Synced, room);
        for time in times {
            for point in 0..self.points {
                batch.push_good(point, value(time, point), time * 1_000_000);
            }
        }
        batch
    }
}

/// The same in every peer.
fn value(time: i64, point: u32) -> Value {
    let number = (time * 31 + i64::from(point) * 7) % 1000;
    let small = i16::try_from(number).unwrap_or(0);
    match point % 5 {
        0 => Value::F32(f32::from(small) / 10.0),
        1 => Value::F64(f64::from(small) / 10.0),
        2 => Value::I32(small.into()),
        3 => Value::I64(number * 1_000_000),
        _ => Value::Bool(number % 2 == 1),
    }
}

fn main() -> Result {
    let port = std::env::args().nth(1).ok_or("the server's port is missing")?.parse()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut running: Option<Running> = None;
    let mut built = VecDeque::new();
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["build", rest @ ..] => {
                let plan = Plan::read(rest)?;
                let same = |r: &Running| r.prefix == plan.prefix && r.quality == plan.quality;
                if !running.as_ref().is_some_and(same) {
                    if let Some(old) = running.take() {
                        old.cancel.cancel();
                        runtime.block_on(old.task)?;
                    }
                    running = Some(Running::start(&runtime, port, &plan.prefix, plan.quality));
                }
                built = plan.records();
                println!("built");
            }
            ["go"] => {
                let running = running.as_mut().ok_or("nothing is built")?;
                let records = std::mem::take(&mut built);
                println!("done {:.6}", runtime.block_on(insert(running, records))?);
            }
            _ => return Err(format!("no such request: {line}").into()),
        }
        stdout().flush()?;
    }
    Ok(())
}

/// Seconds until everything was acknowledged.
async fn insert(running: &mut Running, records: VecDeque<Record>) -> Result<f64> {
    let samples: u64 = records.iter().map(|record| record.batch.len() as u64).sum();
    let started = Instant::now();
    running.shared.with(|queue| {
        (queue.open, queue.delivered) = (records.len(), 0);
        queue.waiting = records;
    });
    running.shared.filled.notify_one();
    while running.shared.with(|queue| queue.open) > 0 {
        tokio::select! {
            () = running.shared.acknowledged.notified() => {}
            ended = &mut running.task => return Err(format!("the session ended: {ended:?}").into()),
        }
    }
    let took = started.elapsed().as_secs_f64();
    match running.shared.with(|queue| queue.delivered) {
        delivered if delivered == samples => Ok(took),
        delivered => Err(format!("{delivered} of {samples} samples were delivered").into()),
    }
}
