//! A store as the agent opens it, and the threads around it.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use lineside_core::sink::{Outcome, Record};
use lineside_core::{Batch, Clock as _, Origin, SystemClock, TimeQuality, Value};
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
use lineside_store::{Appended, Log, Now, Options, Stamp, Take, Volume};

use crate::Result;
use crate::counted::{CountedFs, Counts};

pub const SINK: &str = "bench";

/// Longest wait for a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// A volume with one log and one sink.
pub struct Bench {
    pub volume: Arc<Volume>,
    pub log: Arc<Log>,
    pub counts: Arc<Counts>,
    pub bell: Arc<Bell>,
}

impl Bench {
    pub fn open(dir: &Path, options: Options, drain: Drain) -> Result<Self> {
        let counts = Arc::<Counts>::default();
        let (volume, _) = Volume::open(Arc::new(CountedFs(counts.clone())), dir, options)?;
        let settings = Store {
            durability: Durability::Durable,
            max_bytes: 4 << 30,
            max_age: None,
            overflow: Overflow::Backpressure,
        };
        let log = volume.open_log(&ObjectKey::new("bench", "bench"), settings)?;
        log.add_sink(&SINK.into(), b"", drain)?;
        let bell = Arc::<Bell>::default();
        log.on_change({
            let bell = bell.clone();
            Arc::new(move || bell.ring())
        });
        Ok(Self { volume, log, counts, bell })
    }

    /// Appends as a device does that waits while the store is short of room.
    pub fn append(&self, batch: &Arc<Batch>) {
        loop {
            let seen = self.bell.seen();
            if !self.log.presses()
                && self.log.append(batch.clone(), stamp(), None) != Appended::Full
            {
                return;
            }
            self.bell.wait(seen, PATIENCE);
        }
    }

    /// Takes and settles records until `enough` are, or none is left; gives how many.
    pub fn drain(&self, enough: usize) -> usize {
        let mut records = 0;
        while records < enough {
            let seen = self.bell.seen();
            match self.log.take(SINK, now()) {
                Take::Record { record, .. } => {
                    self.deliver(&record);
                    records += 1;
                }
                Take::Read(reading) => reading.run(),
                Take::Wait | Take::WaitUntil(_) if enough == usize::MAX => return records,
                Take::Wait | Take::WaitUntil(_) => self.bell.wait(seen, PATIENCE),
            }
        }
        records
    }

    pub fn deliver(&self, record: &Record) {
        self.log.settle(SINK, record.id.offset, &Outcome::delivered(record.batch.len()));
    }
}

/// Rings when the log has changed.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.heard.notify_all();
    }

    pub fn seen(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait(&self, seen: u64, most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.heard.wait_timeout_while(rung, most, |rung| *rung == seen);
    }
}

pub fn now() -> Now {
    Now { unix: SystemClock.now() }
}

pub fn stamp() -> Stamp {
    Stamp { captured_at: SystemClock.now(), gap_from: None }
}

/// A device with so many points.
pub fn origin(name: &str, points: usize) -> Arc<Origin> {
    let names: Vec<Arc<str>> = (0..points).map(|p| format!("point-{p}").into()).collect();
    let key = ObjectKey::new("bench", name);
    Arc::new(Origin::new(key, None, names.into(), Vec::new().into()))
}

/// One float32 for every point of a device.
pub fn batch(origin: &Arc<Origin>, n: usize) -> Arc<Batch> {
    let points = origin.points.len();
    let mut batch = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, points);
    let at = SystemClock.now();
    for point in 0..points {
        batch.push_good(point as u32, Value::F32(n as f32 + point as f32 / 7.0), at);
    }
    Arc::new(batch)
}
