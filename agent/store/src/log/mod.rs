//! The log of one pipeline.
//!
//! ```text
//! append -> pending --commit--> segments + tail (newest, in memory)
//!                                  |          |
//!                                  v          v
//!                    take <- read ahead <- head of a sink -> settle -> cursor --commit--> disk
//! ```
//!
//! Two locks: the state is what appending and feeds need and is never held over a disk access;
//! the writer belongs to whoever writes the log's files. Who needs both takes the writer first;
//! where they stand among the locks of the volume is said in `volume`. Callbacks are called under
//! neither.

mod accepted;
mod append;
mod bounds;
mod checkpoint;
mod decode;
mod feed;
pub(crate) mod files;
mod letters;
mod open;
mod persist;
mod reading;
mod segment;
mod session;
mod sinks;
mod thin;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_core::UnixNanos;
use lineside_crds::model::{ObjectKey, Store};

pub use append::{Appended, Stamp};
pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::read_checkpoint;
pub use feed::Take;
pub use letters::{DeadLetter, Handled};
pub use reading::Reading;

pub use sinks::SinkInfo;

pub(crate) use decode::{decode_entry, load_definitions, load_mirrors};
use letters::Letters;
pub(crate) use open::{Recovered, create, recover};
use segment::Segment;
use session::SinkState;
pub(crate) use write::GATHER;
use write::Writer;

use crate::definition::Definitions;
use crate::entry::{Entry, Pending};
use crate::frame::Seal;
use crate::ledger::Ledger;
use crate::meta::{Gap, Meta};
use crate::settled::Place;
use crate::volume::Shared;

/// The wall clock at a call; the store itself never looks at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since 1970.
    pub unix: UnixNanos,
}

/// Called when a feed that waits may find something.
pub(crate) type OnChange = Arc<dyn Fn() + Send + Sync>;

/// Bytes of a log on disk and their bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What its files take, with those of its orphans.
    pub bytes: u64,
    /// What waits in memory to be written.
    pub pending_bytes: u64,
    /// `maxSize`.
    pub limit: u64,
}

/// See the module.
pub struct Log {
    shared: Arc<Shared>,
    key: ObjectKey,
    stream: u32,
    dir: PathBuf,
    seal: Seal,
    state: Mutex<State>,
    writer: Mutex<Writer>,
    on_change: Mutex<Option<OnChange>>,
}

struct State {
    settings: Store,
    /// Of the next record.
    next: Place,
    /// Feeds see what lies below.
    visible: Place,
    /// Not on disk yet, oldest first.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// Bytes that they will take on disk.
    pending_frames: u64,
    /// The longest frame among them.
    longest_pending: usize,
    /// What lies below is being written and stays as it is.
    writing: u64,
    /// Writing fails: what is pending may be read.
    degraded: bool,
    /// After an unclean end new offsets start so far behind the last one known: what lies within
    /// may be handed out before it is on disk.
    handed_limit: u64,
    /// The newest records on disk, in memory: all from `tail_from` on.
    tail: VecDeque<Entry>,
    tail_from: u64,
    tail_bytes: usize,
    /// What the last commit brought to it.
    last_burst: usize,
    /// Something came to it since the last look.
    tail_grew: bool,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// What the files take besides the segments.
    other_bytes: u64,
    /// First offset of the segment that is being written again: nobody begins with it.
    thinning: Option<u64>,
    /// Most bytes that the volume leaves to this log, as of the last commit.
    share: u64,
    /// Bytes that the newest segment still takes.
    room: u64,
    sinks: BTreeMap<Arc<str>, SinkState>,
    /// Cursor files that are damaged, by number, with the letters of their sinks: an unknown sink
    /// is taken for one of these. Until then nothing says what it has settled.
    lost_cursors: BTreeMap<u32, Letters>,
    /// Numbers of sinks whose files are to be removed.
    discarded: Vec<u32>,
    definitions: Definitions,
    meta: Meta,
    /// From when on data is missing, until the first record after a start says up to when.
    gap_from: Option<UnixNanos>,
    /// A former process may have left a checkpoint that nobody took yet.
    former_checkpoint: bool,
    /// Where the gap of this start ends by a clock that was not set, and the era of that clock.
    gap_to: Option<(u32, UnixNanos)>,
    /// Samples taken since the process started.
    captured: u64,
    /// Samples per second, as of late.
    live_rate: u64,
    /// The clock as of the last call that told it.
    seen_at: UnixNanos,
    rated: Option<(UnixNanos, u64)>,
}

impl State {
    /// Bytes on disk.
    fn disk_bytes(&self) -> u64 {
        let letters: u64 = self.sinks.values().map(|s| s.letters.bytes()).sum();
        self.other_bytes + letters + self.segments.iter().map(|s| s.bytes).sum::<u64>()
    }

    /// The sink of this name, unless it was given up and is another one now.
    fn sink_numbered(&mut self, name: &str, number: u32) -> Option<&mut SinkState> {
        self.sinks.get_mut(name).filter(|sink| sink.number == number)
    }

    /// The place where what segment `index` holds ends.
    fn end_of_segment(&self, index: usize) -> Place {
        self.segments.get(index + 1).map_or(self.visible, |next| next.first)
    }
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, recovered: Recovered) -> Self {
        let Recovered { stream, dir, seal, state, writer } = recovered;
        let key = state.meta.key.clone();
        let (state, writer) = (Mutex::new(state), Mutex::new(writer));
        Self { shared, key, stream, dir, seal, state, writer, on_change: Mutex::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every step under the lock leaves the books balanced, so a poisoned lock is used on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Number of the log in record identities; never given twice in a store.
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// New bounds for the same records. What no longer fits gives way at the next commit that
    /// needs room.
    pub fn set_settings(&self, settings: Store) {
        self.state().settings = settings;
        self.changed();
    }

    /// Sets what is called whenever a feed may find something that was not there, or a device
    /// that waits may find room: after commits, readings, deletions and settlements, and now and
    /// then without need. Appending, taking and settling are allowed in it. It may be called in the
    /// middle of a commit: it must not commit, close the volume or remove a log.
    pub fn on_change(&self, callback: Arc<dyn Fn() + Send + Sync>) {
        *self.on_change.lock().unwrap_or_else(PoisonError::into_inner) = Some(callback);
    }

    fn changed(&self) {
        let callback = self.on_change.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(callback) = callback {
            callback();
        }
    }

    /// Most bytes that the other logs of the volume leave to this one. Policies that let the
    /// oldest give way look at the volume when they need room; the others have to know before
    /// they take a batch.
    pub(crate) fn set_share(&self, bytes: u64) {
        self.state().share = bytes;
    }

    /// Nothing fails any more, though nothing may have been there to be written: what comes now is
    /// on disk before it is handed out.
    pub(crate) fn write_again(&self) {
        self.state().degraded = false;
    }

    /// Nothing is written any more: what is pending may be read from memory.
    pub(crate) fn write_no_more(&self) {
        self.state().degraded = true;
    }

    /// Tells whoever waits for a record to look again.
    pub(crate) fn notify(&self) {
        self.changed();
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// The books of every sink, by name, with those that were removed and still have a backlog.
    pub fn ledgers(&self) -> Vec<(Arc<str>, Ledger)> {
        let state = self.state();
        state.sinks.iter().map(|(name, sink)| (name.clone(), state.ledger(sink))).collect()
    }

    /// When the oldest record that waits for a sink was captured; `None` when none waits or it
    /// is not in memory.
    pub fn oldest_waiting(&self, sink: &str) -> Option<UnixNanos> {
        self.state().oldest_waiting(sink)
    }

    /// The newest gaps, oldest first.
    pub fn gaps(&self) -> Vec<Gap> {
        self.state().meta.gaps.iter().copied().collect()
    }

    /// Samples taken since the process started.
    pub fn captured(&self) -> u64 {
        self.state().captured
    }

    /// Bytes on disk and in memory.
    pub fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            bytes: state.disk_bytes(),
            pending_bytes: state.pending_bytes as u64,
            limit: state.settings.max_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
