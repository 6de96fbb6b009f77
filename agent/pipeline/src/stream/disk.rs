//! A pipeline's log in the agent's volume, for the asynchronous world around it: feeds that wait,
//! readings on threads that may wait for a disk, receipts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::clock::Clock;
use lineside_core::sink::{Feed, Outcome, Record, RecordId};
use lineside_core::{Batch, UnixNanos};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{self, ObjectKey, Store};
use lineside_store::{
    Appended, DropReason, Ledger, Log, Now, Stamp, StoreError, Take, Volume, VolumeState,
};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{LastDrop, Part, SinkNumbers, StoreNumbers, Trouble};
use crate::Windows;
use crate::tap::Seen;

/// See the module.
pub struct Disk {
    volume: Arc<Volume>,
    log: Arc<Log>,
    pipeline: ObjectKey,
    clock: Arc<dyn Clock>,
    windows: Arc<Windows>,
    /// Something was committed, settled or given up.
    changed: Arc<Notify>,
    drops: Mutex<BTreeMap<Arc<str>, Drops>>,
}

/// What was last seen of the drops of a sink.
#[derive(Default)]
struct Drops {
    /// `None` before the first look.
    seen: Option<BTreeMap<DropReason, u64>>,
    last: Option<LastDrop>,
}

impl Disk {
    /// Opens the log of a pipeline, or makes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(
        volume: Arc<Volume>,
        pipeline: ObjectKey,
        settings: Store,
        clock: Arc<dyn Clock>,
        windows: Arc<Windows>,
    ) -> Result<Arc<Self>, StoreError> {
        let log = volume.open_log(&pipeline, settings)?;
        let changed = Arc::new(Notify::new());
        log.on_change({
            let changed = changed.clone();
            Arc::new(move || changed.notify_waiters())
        });
        let drops = Mutex::default();
        Ok(Arc::new(Self { volume, log, pipeline, clock, windows, changed, drops }))
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    fn now(&self) -> Now {
        Now { unix: self.clock.now() }
    }

    pub(super) fn append(
        &self,
        batch: Arc<Batch>,
        captured_at: UnixNanos,
        gap_from: Option<UnixNanos>,
        receipt: Part,
    ) {
        if batch.is_empty() {
            return receipt.done(true);
        }
        let samples = batch.len() as u64;
        let stamp = Stamp { captured_at, gap_from };
        let done = Box::new(move |captured| receipt.done(captured));
        if let Appended::Full = self.log.append(batch, stamp, Some(done)) {
            // Devices wait before it comes to this; what the supervisor says of them does not.
            self.log.refuse(samples, captured_at);
        }
    }

    /// Waits until what is on its way to the disk leaves room for more at once, or until then.
    pub(super) async fn breathe(&self, until: Instant) {
        while self.log.usage().pending_bytes > MOST_ON_ITS_WAY && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn presses(&self) -> bool {
        self.log.presses()
    }

    pub(super) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a delivery in between is not missed.
            changed.as_mut().enable();
            if !self.presses() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn set_settings(&self, settings: Store) {
        self.log.set_settings(settings);
    }

    pub(super) fn add_sink(&self, sink: &model::Sink) {
        if let Err(error) = self.log.add_sink(&sink.name, sink.written.as_bytes(), sink.drain) {
            // The schema bounds names and sinks far below what the log takes.
            tracing::error!(pipeline = %self.pipeline, sink = &*sink.name, %error, "No such sink");
        }
    }

    pub(super) fn end_sink(&self, name: &str) {
        self.log.remove_sink(name);
    }

    /// The books as they were before the rest was given up.
    pub(super) fn remove_sink(&self, name: &str) -> Option<Ledger> {
        let books = self.log.ledgers().into_iter().find(|(n, _)| &**n == name);
        self.log.discard_sink(name)?;
        books.map(|(_, ledger)| ledger)
    }

    pub(super) fn feed(self: &Arc<Self>, sink: &Arc<str>) -> Box<dyn Feed> {
        self.log.start_session(sink);
        Box::new(DiskFeed { disk: self.clone(), sink: sink.clone(), taken: BTreeMap::new() })
    }

    pub(super) fn session_ended(&self, sink: &str, accused: bool) {
        self.log.session_ended(sink, accused);
    }

    pub(super) fn numbers(&self) -> Vec<(Arc<str>, SinkNumbers)> {
        let now = self.clock.now();
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = |(name, ledger): (Arc<str>, Ledger)| {
            let lag = self.log.oldest_waiting(&name).map_or(0, |then| now.saturating_sub(then));
            let lag = Duration::from_nanos(u64::try_from(lag).unwrap_or_default());
            let unconfirmed = self.log.unconfirmed(&name);
            let last_drop = drops.entry(name.clone()).or_default().look(&ledger);
            (name, SinkNumbers { ledger, unconfirmed, lag, last_drop })
        };
        self.log.ledgers().into_iter().map(numbers).collect()
    }

    pub(super) fn store(&self) -> StoreNumbers {
        let usage = self.log.usage();
        StoreNumbers {
            id: format!("{}/{}", self.volume.id(), self.log.stream()),
            trouble: trouble_of(&self.volume),
            captured: self.log.captured(),
            bytes: usage.bytes + usage.pending_bytes,
            limit: usage.limit,
            gaps: self.log.gaps(),
        }
    }
}

/// Why a volume takes nothing now, if it does not.
pub(crate) fn trouble_of(volume: &Volume) -> Option<Trouble> {
    let VolumeState::Degraded { trouble, message, .. } = volume.state() else { return None };
    let code = match trouble {
        lineside_store::Trouble::DiskFull => Code::StoreDiskFull,
        lineside_store::Trouble::ReadOnly => Code::StoreReadOnly,
        lineside_store::Trouble::Io => Code::StoreDiskFailed,
    };
    Some(Trouble { code, message })
}

impl Drops {
    /// A drop that was not seen before happened just now, for this is asked again and again. What
    /// happened before the start is no news.
    fn look(&mut self, ledger: &Ledger) -> Option<LastDrop> {
        if let Some(seen) = &self.seen {
            for (reason, samples) in &ledger.dropped {
                if *samples > seen.get(reason).copied().unwrap_or_default() {
                    self.last = LastDrop::of(*reason).or(self.last);
                }
            }
        }
        self.seen = Some(ledger.dropped.clone());
        self.last
    }
}

/// One session's view of the log.
struct DiskFeed {
    disk: Arc<Disk>,
    sink: Arc<str>,
    /// Handed out and not answered, for whoever looks at what is delivered.
    taken: BTreeMap<u64, Record>,
}

impl Feed for DiskFeed {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        Box::pin(async move {
            let disk = self.disk.clone();
            loop {
                let changed = disk.changed.notified();
                tokio::pin!(changed);
                // Registered before looking, so that a commit in between is not missed.
                changed.as_mut().enable();
                match disk.log.take(&self.sink, disk.now()) {
                    Take::Record { record, .. } => {
                        self.taken.insert(record.id.offset, record.clone());
                        return record;
                    }
                    // Dropped half-way, it still ends, and what it read is there for the next.
                    Take::Read(reading) => {
                        let _ = spawn_blocking(move || reading.run()).await;
                    }
                    Take::Wait => changed.await,
                    Take::WaitUntil(at) => {
                        let wait = at.saturating_sub(disk.clock.now());
                        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or_default());
                        // A step of the clock does not make it wait for long.
                        let _ = tokio::time::timeout(wait.min(MOST_WAIT), changed).await;
                    }
                }
            }
        })
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        self.disk.log.settle(&self.sink, id.offset, &outcome);
        self.show(id, &outcome);
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64) {
        self.show(id, &outcome);
        self.disk.log.accepted(&self.sink, id.offset, outcome, mark);
    }

    fn confirmed(&mut self, mark: u64) {
        self.disk.log.confirmed(&self.sink, mark);
    }
}

impl DiskFeed {
    /// Shows a record that was delivered to whoever looks.
    fn show(&mut self, id: &RecordId, outcome: &Outcome) {
        let Some(record) = self.taken.remove(&id.offset) else { return };
        // Which samples of a partly accepted record went is not shown.
        if outcome.delivered >= record.batch.len() as u64 {
            self.disk.windows.tap.show(|| Seen::Delivered {
                pipeline: self.disk.pipeline.clone(),
                sink: self.sink.clone(),
                id: record.id.clone(),
                batch: record.batch.clone(),
            });
        }
    }
}

/// Bytes on their way to the disk, above which a take-over pauses.
const MOST_ON_ITS_WAY: u64 = 2 << 20;
/// Longest wait for a rate limit before it is looked at again.
const MOST_WAIT: Duration = Duration::from_secs(1);
