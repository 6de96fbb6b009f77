//! A directory with the logs of all pipelines of an agent, and the commit that they share.
//!
//! Locks, in the order in which they are taken; those in one line are never held together.
//!
//! ```text
//! round (one commit at a time, also while a log is removed; held over disk accesses)
//!   logs (which there are), writer of a log (held over disk accesses), reserve
//!     identity (below logs), state of a log (below logs or its writer)
//!       bytes, limit, wanted, buffer, state of the volume, callback of a log
//! ```

mod committer;
mod identity;
mod reserve;
mod retry;
mod round;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lineside_core::UnixNanos;
use lineside_crds::model::{ObjectKey, Store};

pub use committer::{Committer, spawn};
pub use round::Committed;

pub(crate) use identity::Identity;
use reserve::Reserve;
use retry::Part;
use round::Round;

use crate::error::{StoreError, Trouble};
use crate::frame::Seal;
use crate::fs::Fs;
use crate::ledger::Ledger;
use crate::log::{self, GATHER, Log, SinkInfo};

/// What a volume can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the first record of an idle store waits for others before all are synced; less
    /// when a log has a quarter of its `pending_bytes` by then.
    pub commit_window: Duration,
    /// Most memory of records of a log that are not on disk; beyond it the log's overflow policy
    /// decides.
    pub pending_bytes: usize,
    /// Memory for a log's newest records, so that a sink that keeps up does not read the disk.
    pub tail_bytes: usize,
    /// The same for what the last two commits wrote, where that is more.
    pub burst_bytes: usize,
    /// How much is read from disk at once for a sink.
    pub read_ahead_bytes: usize,
    /// The identity of a store that is made; random when there is none.
    pub identity: Option<[u8; 16]>,
    /// Ignores checksums: a mutation that the model test has to notice.
    #[doc(hidden)]
    pub blind: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit_window: Duration::from_millis(50),
            pending_bytes: 8 * 1024 * 1024,
            tail_bytes: 1024 * 1024,
            burst_bytes: 8 * 1024 * 1024,
            read_ahead_bytes: 256 * 1024,
            identity: None,
            blind: false,
        }
    }
}

/// Whether what is captured reaches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// It does.
    Full,
    /// It does not: the newest records are in memory alone until this ends, which it does by
    /// itself, unless the message says otherwise.
    Degraded {
        /// The kind of trouble.
        trouble: Trouble,
        /// What the operating system said.
        message: String,
        /// Since when, ns since 1970.
        since: UnixNanos,
    },
}

/// What opening a volume found that a person may want to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Path and finding.
    pub entries: Vec<(PathBuf, String)>,
}

impl Report {
    pub(crate) fn note(&mut self, path: &Path, what: String) {
        self.entries.push((path.to_owned(), what));
    }
}

/// A log as it lies in the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogInfo {
    /// The pipeline.
    pub key: ObjectKey,
    /// Number of the log in record identities.
    pub stream: u32,
    /// Its sinks.
    pub sinks: Vec<SinkInfo>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What the logs of a volume share.
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) id: Arc<str>,
    pub(crate) id_bytes: [u8; 16],
    pub(crate) options: Options,
    /// Bytes of each log, for the bound that all share.
    bytes: Mutex<HashMap<u32, u64>>,
    /// Nine tenths of the volume, as of the last commit.
    limit: Mutex<u64>,
    wanted: Mutex<Wanted>,
    woken: Condvar,
    /// Where commits gather what they write: one at a time, and always the same memory.
    buffer: Mutex<Vec<u8>>,
}

/// How much waits to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    #[default]
    Nothing,
    Something,
    /// It is not worth while to wait for more.
    Much,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is right after every single step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Says that something waits to be committed.
    pub(crate) fn wake(&self, more: Wanted) {
        let mut wanted = lock(&self.wanted);
        if *wanted < more {
            *wanted = more;
            self.woken.notify_all();
        }
    }

    pub(crate) fn seal(&self, stream: u32) -> Seal {
        Seal::new(&self.id_bytes, stream, self.options.blind)
    }

    /// An empty buffer, perhaps with memory of its last use.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.buffer))
    }

    /// Keeps the memory of a buffer for the next use, unless a long record has made it large.
    pub(crate) fn keep_buffer(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= 2 * GATHER {
            buffer.clear();
            *lock(&self.buffer) = buffer;
        }
    }

    /// Most bytes that the volume has for this log beside the others.
    pub(crate) fn share(&self, stream: u32) -> u64 {
        let others: u64 =
            lock(&self.bytes).iter().filter(|(s, _)| **s != stream).map(|(_, bytes)| bytes).sum();
        lock(&self.limit).saturating_sub(others)
    }
}

/// See the module.
pub struct Volume {
    shared: Arc<Shared>,
    logs: Mutex<BTreeMap<ObjectKey, Arc<Log>>>,
    identity: Mutex<Identity>,
    state: Mutex<VolumeState>,
    /// A commit panicked.
    fallen: AtomicBool,
    round: Mutex<Round>,
    reserve: Mutex<Reserve>,
    /// Held as long as the volume is.
    _lock: Arc<dyn Send + Sync>,
}

impl Volume {
    /// Opens the store in `dir`, or makes one; the directory's parent exists. Reads what it
    /// needs and writes nothing to a store that is there.
    ///
    /// # Errors
    /// Another process has it, its identity is damaged, or the disk cannot be read.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: Options,
    ) -> Result<(Arc<Self>, Report), StoreError> {
        fs.create_dir(dir).map_err(StoreError::io("make", dir))?;
        let path = dir.join("lock");
        let lock = fs.lock(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::InUse(dir.to_owned()),
            _ => StoreError::io("lock", &path)(error),
        })?;
        let identity = Identity::read_or_make(&*fs, dir, options.identity)?;
        let shared = Arc::new(Shared {
            fs,
            dir: dir.to_owned(),
            id: identity.text(),
            id_bytes: identity.id,
            options,
            bytes: Mutex::default(),
            limit: Mutex::new(u64::MAX),
            wanted: Mutex::default(),
            woken: Condvar::new(),
            buffer: Mutex::default(),
        });
        let mut report = Report::default();
        let logs = recover_logs(&shared, &mut report)?;
        let reserve = Reserve::find(&*shared.fs, dir);
        let volume = Self {
            shared,
            logs: Mutex::new(logs),
            identity: Mutex::new(identity),
            state: Mutex::new(VolumeState::Full),
            fallen: AtomicBool::new(false),
            round: Mutex::new(Round::default()),
            reserve: Mutex::new(reserve),
            _lock: lock,
        };
        Ok((Arc::new(volume), report))
    }

    /// Identity of the store: 32 hexadecimal digits, the first part of every record's identity.
    pub fn id(&self) -> &Arc<str> {
        &self.shared.id
    }

    /// Whether what is captured reaches the disk.
    pub fn state(&self) -> VolumeState {
        lock(&self.state).clone()
    }

    /// The log of a pipeline with these bounds: the one that is there, with all its sinks, or a
    /// new one.
    ///
    /// # Errors
    /// There is none and it cannot be made.
    pub fn open_log(&self, key: &ObjectKey, settings: Store) -> Result<Arc<Log>, StoreError> {
        let mut logs = lock(&self.logs);
        if let Some(log) = logs.get(key).cloned() {
            // It calls back, which is not to be done under a lock.
            drop(logs);
            log.set_settings(settings);
            return Ok(log);
        }
        let shared = &self.shared;
        let mut identity = lock(&self.identity);
        let stream = identity.next_stream(&*shared.fs, &shared.dir)?;
        let dir = shared.dir.join(format!("log-{stream}"));
        let made = log::create(shared, stream, dir.clone(), key.clone());
        let recovered = made.map_err(StoreError::io("make", &dir))?;
        shared.fs.sync_dir(&shared.dir).map_err(StoreError::io("sync", &shared.dir))?;
        let log = Arc::new(Log::new(shared.clone(), recovered));
        log.set_settings(settings);
        // Nobody has set a callback on a log that is new.
        logs.insert(key.clone(), log.clone());
        Ok(log)
    }

    /// All logs, by pipeline. Those that the caller does not open are orphans.
    pub fn logs(&self) -> Vec<LogInfo> {
        let info = |log: &Arc<Log>| LogInfo {
            key: log.key().clone(),
            stream: log.stream(),
            sinks: log.sinks(),
            bytes: log.usage().bytes,
        };
        lock(&self.logs).values().map(info).collect()
    }

    /// Gives up a log with all that waits in it; tells the last books of its sinks.
    ///
    /// # Errors
    /// There is no such log, or its files cannot be removed; what is left of them is a log
    /// without sinks at the next start.
    pub fn remove_log(&self, key: &ObjectKey) -> Result<Vec<(Arc<str>, Ledger)>, StoreError> {
        // A commit that runs has the log still, and would write files that are to go.
        let mut round = lock(&self.round);
        let removed = lock(&self.logs).remove(key);
        let log = removed.ok_or_else(|| StoreError::Unknown(format!("log of pipeline {key}")))?;
        lock(&self.shared.bytes).remove(&log.stream());
        round.retries.forget(Part::Log(log.stream()));
        let ledgers = log.discard_all();
        log.remove_files().map_err(StoreError::io("remove", log.dir()))?;
        let dir = &self.shared.dir;
        self.shared.fs.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        Ok(ledgers)
    }

    fn all_logs(&self) -> Vec<Arc<Log>> {
        lock(&self.logs).values().cloned().collect()
    }
}

fn recover_logs(
    shared: &Arc<Shared>,
    report: &mut Report,
) -> Result<BTreeMap<ObjectKey, Arc<Log>>, StoreError> {
    let names = shared.fs.list(&shared.dir).map_err(StoreError::io("list", &shared.dir))?;
    let mut logs = BTreeMap::new();
    for name in names {
        let number = name.to_str().and_then(|n| n.strip_prefix("log-")?.parse::<u32>().ok());
        let Some(stream) = number else { continue };
        let dir = shared.dir.join(&name);
        match log::recover(shared, stream, dir.clone(), report) {
            Ok(recovered) => {
                let log = Arc::new(Log::new(shared.clone(), recovered));
                lock(&shared.bytes).insert(stream, log.usage().bytes);
                logs.insert(log.key().clone(), log);
            }
            // Cut off while it was made or removed, or beyond help: it is left as it is.
            Err(StoreError::Unreadable(path)) => {
                report.note(&path, "nothing says whose log this is".to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}
