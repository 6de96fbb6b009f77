//! The store on disk that durable pipelines share. While it cannot be opened they hold their
//! samples in memory, and it is tried again: a full or read-only disk must not keep an agent from
//! reading its devices.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lineside_core::clock::Clock;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{self, Durability, Mode, ObjectKey, Overflow, Pipeline, Store};
use lineside_crds::validate::recall_sink;
use lineside_store::fs::RealFs;
use lineside_store::{Committer, LogInfo, Options, SinkInfo, Volume};
use tokio::time::Instant;

use crate::Windows;
use crate::health::{Health, Verdict};
use crate::ring::Ring;
use crate::stream::{Disk, Stream, Trouble, trouble_of};

/// Time between two attempts to open the store.
const RETRY: Duration = Duration::from_secs(5);
/// Bound in memory of a pipeline that shall be on disk and cannot.
const STANDBY_BYTES: u64 = 16 << 20;

/// See the module.
pub(super) struct Vault {
    dir: Option<PathBuf>,
    open: Option<(Arc<Volume>, Committer)>,
    /// Why it is not open.
    trouble: Trouble,
    /// Why it cannot be written to now, although it is open.
    failing: Option<Trouble>,
    next: Instant,
    clock: Arc<dyn Clock>,
    windows: Arc<Windows>,
}

impl Vault {
    /// The store below `dir`; without one, every pipeline is in memory.
    pub(super) fn new(dir: Option<PathBuf>, clock: Arc<dyn Clock>, windows: Arc<Windows>) -> Self {
        let message = "the agent runs without a state directory".to_owned();
        let trouble = Trouble { code: Code::StoreUnavailable, message };
        let (open, failing, next) = (None, None, Instant::now());
        let mut vault = Self { dir, open, trouble, failing, next, clock, windows };
        vault.retry();
        vault
    }

    /// Whether the disk took nothing at the last look.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Says when the disk begins or ends to fail; whether it begins.
    pub(super) fn watch(&mut self) -> bool {
        let Some((volume, _)) = &self.open else { return false };
        let trouble = trouble_of(volume);
        if trouble == self.failing {
            return false;
        }
        let verdict = match &trouble {
            Some(Trouble { code, message }) => {
                tracing::error!(%code, error = message, "Disk takes nothing; samples are in memory");
                Verdict::ill(Health::Degraded, *code, message.clone())
            }
            None => {
                tracing::info!("Disk takes what is captured again");
                Verdict::well(Health::Healthy, "Corrected")
            }
        };
        self.windows.journal.note(self.clock.now(), "store".to_owned(), &verdict);
        let begins = trouble.is_some() && self.failing.is_none();
        self.failing = trouble;
        begins
    }

    /// Tries to open it when it is time to; whether it is open.
    pub(super) fn retry(&mut self) -> bool {
        let Some(dir) = self.dir.as_ref().filter(|_| self.open.is_none()) else {
            return self.open.is_some();
        };
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + RETRY;
        match Self::open(dir) {
            Ok(open) => self.open = Some(open),
            Err(trouble) => self.refuse(trouble),
        }
        self.open.is_some()
    }

    fn open(dir: &Path) -> Result<(Arc<Volume>, Committer), Trouble> {
        let options = Options::default();
        let opened = Volume::open(Arc::new(RealFs), dir, options).map_err(|e| unavailable(&e))?;
        let (volume, report) = opened;
        for (path, finding) in &report.entries {
            tracing::warn!(file = %path.display(), code = %Code::StoreCorrupt, "{finding}");
        }
        let committer = lineside_store::spawn(volume.clone()).map_err(|e| unavailable(&e))?;
        tracing::info!(store = %dir.display(), id = &**volume.id(), "Store is open");
        Ok((volume, committer))
    }

    fn refuse(&mut self, trouble: Trouble) {
        if self.trouble != trouble {
            tracing::error!(
                code = %trouble.code, error = trouble.message,
                "Store cannot be opened; durable pipelines hold their samples in memory"
            );
        }
        self.trouble = trouble;
    }

    /// The store of a pipeline that begins, and why it is not on disk although it shall be. One
    /// that shall be in memory begins on the disk as long as something waits for it there.
    pub(super) fn stream(&self, pipeline: &Pipeline) -> (Stream, Option<Trouble>) {
        let shall = pipeline.store.durability != Durability::Memory;
        if !shall && !self.has_backlog(&pipeline.key) {
            return (self.memory(pipeline), None);
        }
        match self.on_disk(pipeline.key.clone(), bounds(pipeline.store, true)) {
            Ok(stream) => (stream, None),
            Err(trouble) => (self.memory(pipeline), Some(trouble).filter(|_| shall)),
        }
    }

    /// A store in memory.
    pub(super) fn memory(&self, pipeline: &Pipeline) -> Stream {
        let settings = bounds(pipeline.store, false);
        Stream::memory(Ring::new(pipeline.key.clone(), settings, self.windows.clone()))
    }

    /// Whether something waits on the disk for a sink of the pipeline.
    pub(super) fn has_backlog(&self, key: &ObjectKey) -> bool {
        let log = self.logs().into_iter().find(|log| log.key == *key);
        log.is_some_and(|log| log.sinks.iter().any(|sink| sink.ledger.buffered > 0))
    }

    /// The log of a pipeline.
    pub(super) fn on_disk(&self, key: ObjectKey, settings: Store) -> Result<Stream, Trouble> {
        let Some((volume, _)) = &self.open else { return Err(self.trouble.clone()) };
        let (clock, windows) = (self.clock.clone(), self.windows.clone());
        match Disk::open(volume.clone(), key, settings, clock, windows) {
            Ok(disk) => Ok(Stream::disk(disk)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Logs that hold something, of this process and of former ones.
    pub(super) fn logs(&self) -> Vec<LogInfo> {
        self.open.as_ref().map(|(volume, _)| volume.logs()).unwrap_or_default()
    }

    /// Forgets a log and all that is in it.
    pub(super) fn remove(&self, key: &ObjectKey) {
        let Some((volume, _)) = &self.open else { return };
        if let Err(error) = volume.remove_log(key) {
            tracing::warn!(pipeline = %key, error = chain(&error), "Log cannot be removed");
        }
    }

    /// Ends it: what is captured is on disk, and closed.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

/// The bounds of a pipeline's store where it is now. One that waits in memory for the disk is
/// small; one that only delivers what is on the disk, before it goes to memory, drops nothing of
/// that.
pub(super) fn bounds(store: Store, on_disk: bool) -> Store {
    match (store.durability, on_disk) {
        (Durability::Memory, true) => {
            Store { durability: Durability::Durable, max_bytes: u64::MAX, ..store }
        }
        (Durability::Durable | Durability::Relaxed, false) => {
            Store { max_bytes: store.max_bytes.min(STANDBY_BYTES), ..store }
        }
        _ => store,
    }
}

/// A pipeline whose YAML is gone, from what its log says: it takes nothing and delivers what it
/// has. Sinks that this release does not understand are left to a later one.
pub(super) fn orphan(log: &LogInfo) -> Pipeline {
    Pipeline {
        key: log.key.clone(),
        uid: None,
        generation: None,
        mode: Mode::Running,
        sources: Vec::new(),
        transforms: Vec::new(),
        sinks: log.sinks.iter().filter_map(recalled).collect(),
        store: Store {
            durability: Durability::Durable,
            max_bytes: u64::MAX,
            max_age: None,
            overflow: Overflow::DropNewest,
        },
        discard_backlog: false,
    }
}

/// The sink that a log remembers.
pub(super) fn recalled(sink: &SinkInfo) -> Option<model::Sink> {
    let recalled = std::str::from_utf8(&sink.configuration).ok().and_then(recall_sink);
    if recalled.is_none() {
        tracing::warn!(
            sink = &*sink.name,
            samples = sink.ledger.buffered,
            "What waits for a sink that this release does not understand stays for a later one"
        );
    }
    recalled
}

fn unavailable(error: &dyn Error) -> Trouble {
    Trouble { code: Code::StoreUnavailable, message: chain(error) }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
