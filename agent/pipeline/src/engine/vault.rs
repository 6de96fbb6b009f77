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
use crate::ring::Ring;
use crate::stream::{Disk, Stream, Trouble};

/// Time between two attempts to open the store.
const RETRY: Duration = Duration::from_secs(5);
/// Bound in memory of a pipeline that shall be on disk and cannot.
const STANDBY_BYTES: u64 = 16 << 20;

/// See the module.
pub(super) struct Vault {
    dir: Option<PathBuf>,
    open: Option<(Arc<Volume>, Committer)>,
    trouble: Trouble,
    next: Instant,
    clock: Arc<dyn Clock>,
    windows: Arc<Windows>,
}

impl Vault {
    /// The store below `dir`; without one, every pipeline is in memory.
    pub(super) fn new(dir: Option<PathBuf>, clock: Arc<dyn Clock>, windows: Arc<Windows>) -> Self {
        let message = "the agent runs without a state directory".to_owned();
        let trouble = Trouble { code: Code::StoreUnavailable, message };
        let mut vault = Self { dir, open: None, trouble, next: Instant::now(), clock, windows };
        vault.retry();
        vault
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

    /// The store of a pipeline, and why it is not on disk although it shall be.
    pub(super) fn stream(&self, pipeline: &Pipeline) -> (Stream, Option<Trouble>) {
        let (key, settings) = (pipeline.key.clone(), pipeline.store);
        let memory =
            |settings| Stream::memory(Ring::new(key.clone(), settings, self.windows.clone()));
        if settings.durability == Durability::Memory {
            return (memory(settings), None);
        }
        let trouble = match self.on_disk(key.clone(), settings) {
            Ok(stream) => return (stream, None),
            Err(trouble) => trouble,
        };
        let max_bytes = settings.max_bytes.min(STANDBY_BYTES);
        (memory(Store { max_bytes, ..settings }), Some(trouble))
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
    recall_sink(std::str::from_utf8(&sink.configuration).ok()?)
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
