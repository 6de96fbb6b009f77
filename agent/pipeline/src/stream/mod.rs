//! The store of one pipeline, in memory or on disk: what the rest of the data path sees of it.

mod asking;
mod disk;
mod pace;
mod receipt;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lineside_core::sink::Feed;
use lineside_core::{Batch, UnixNanos};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{self, Store};
use lineside_store::{DropReason, Gap, Ledger, Log};
use tokio::time::Instant;

use crate::ring::Ring;

pub use asking::Asking;
pub use disk::Disk;
pub(crate) use disk::trouble_of;
pub use receipt::{Gate, Part};

use pace::Paces;

/// Longest time in which a store on disk takes over what is in memory at the disk's own speed.
const LONGEST_TAKE_OVER: Duration = Duration::from_secs(20);

/// See the module. Cheap to clone: all clones are one store.
#[derive(Clone)]
pub struct Stream {
    place: Place,
    paces: Arc<Mutex<Paces>>,
}

#[derive(Clone)]
enum Place {
    Memory(Arc<Ring>),
    Disk(Arc<Disk>),
}

/// The last drop that its sink's state does not tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDrop {
    /// Why.
    pub code: Code,
    /// When.
    pub at: Instant,
}

impl LastDrop {
    /// A drop that happens now; `None` when its sink's state tells of it.
    pub(crate) fn of(reason: DropReason) -> Option<Self> {
        reason.code().map(|code| Self { code, at: Instant::now() })
    }
}

/// The numbers of one sink.
#[derive(Clone, Debug, Default)]
pub struct SinkNumbers {
    /// Its books.
    pub ledger: Ledger,
    /// Of what its books call buffered: samples that the remote has accepted and may still lose.
    /// They are kept, and sent again when the connection is lost.
    pub unconfirmed: u64,
    /// Age of the oldest waiting record.
    pub lag: Duration,
    /// The last drop that has a code.
    pub last_drop: Option<LastDrop>,
}

impl SinkNumbers {
    /// Samples that the remote has not accepted yet.
    pub fn waiting(&self) -> u64 {
        self.ledger.buffered.saturating_sub(self.unconfirmed)
    }
}

/// The numbers of the store itself.
#[derive(Clone, Debug, Default)]
pub struct StoreNumbers {
    /// The first two parts of the identity of its records.
    pub id: String,
    /// Why what is captured cannot be written to the disk now, if it cannot.
    pub trouble: Option<Trouble>,
    /// Samples taken in since the start.
    pub captured: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Bound in bytes.
    pub limit: u64,
    /// Times of which nothing was captured because the agent did not run, oldest first.
    pub gaps: Vec<Gap>,
}

/// Why the disk takes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `StoreDiskFull`, `StoreReadOnly` or `StoreDiskFailed`.
    pub code: Code,
    /// What the system says.
    pub message: String,
}

/// When things will be, at the present rates.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// The bound is reached; `None` when that is not foreseen.
    pub full_in: Option<Duration>,
    /// A sink has nothing left that waits, by the order of [`Stream::numbers`].
    pub caught_up_in: Vec<Option<Duration>>,
}

impl Stream {
    /// A store in memory.
    pub fn memory(ring: Arc<Ring>) -> Self {
        Self { place: Place::Memory(ring), paces: Arc::default() }
    }

    /// A store on disk.
    pub fn disk(disk: Arc<Disk>) -> Self {
        Self { place: Place::Disk(disk), paces: Arc::default() }
    }

    /// Whether what it holds survives the process.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.place, Place::Disk(_))
    }

    /// The log, when it is on disk.
    pub fn log(&self) -> Option<&Arc<Log>> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Disk(disk) => Some(disk.log()),
        }
    }

    /// Takes a batch in that was captured at `captured_at`, without waiting; what does not fit
    /// gives way as the overflow policy says. A store on disk asks where a gap behind this batch
    /// would begin, and for a part of the receipt, which it completes once the batch is synced.
    pub fn append(
        &self,
        batch: Arc<Batch>,
        captured_at: UnixNanos,
        gap_from: impl FnOnce() -> Option<UnixNanos>,
        receipt: impl FnOnce() -> Part,
    ) {
        match &self.place {
            Place::Memory(ring) => ring.append(batch),
            Place::Disk(disk) => disk.append(batch, captured_at, gap_from(), receipt()),
        }
    }

    /// Takes over what another one in memory still holds for its sinks, oldest first and under new
    /// identities. What some of the sinks had delivered already comes to them again.
    pub async fn take_over(&self, former: &Self, now: UnixNanos) {
        let Place::Memory(ring) = &former.place else { return };
        // Not for ever: then the policy of the store decides what gives way, and counts it.
        let until = Instant::now() + LONGEST_TAKE_OVER;
        for batch in ring.take_all() {
            if let Place::Disk(disk) = &self.place {
                disk.breathe(until).await;
            }
            self.append(batch, now, || None, || Gate::open().0);
        }
    }

    /// The same for what little came in meanwhile, at once.
    pub fn take_rest(&self, former: &Self, now: UnixNanos) {
        let Place::Memory(ring) = &former.place else { return };
        for batch in ring.take_all() {
            self.append(batch, now, || None, || Gate::open().0);
        }
    }

    /// Whether the devices have to wait (`overflow: Backpressure`).
    pub fn presses(&self) -> bool {
        match &self.place {
            Place::Memory(ring) => ring.presses(),
            Place::Disk(disk) => disk.presses(),
        }
    }

    /// Completes when there is room, at once under any policy but Backpressure. Cancel-safe.
    pub async fn room(&self) {
        match &self.place {
            Place::Memory(ring) => ring.room().await,
            Place::Disk(disk) => disk.room().await,
        }
    }

    /// Times taken so far by a clock that was not set are wrong by `delta` nanoseconds. What is on
    /// disk is delivered with the right ones; what is in memory stays Unsynced, as it says.
    pub fn correct_clock(&self, delta: i64, now: UnixNanos) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Disk(disk) => disk.log().correct_clock(delta, now),
        }
    }

    /// New bounds for the same records; what no longer fits gives way at the next append.
    pub fn set_settings(&self, settings: Store) {
        match &self.place {
            Place::Memory(ring) => ring.set_settings(settings),
            Place::Disk(disk) => disk.set_settings(settings),
        }
    }

    /// Adds a sink at the live end. One that is there already, or was and left a backlog, goes on
    /// from its position.
    pub fn add_sink(&self, sink: &model::Sink) {
        match &self.place {
            Place::Memory(ring) => ring.add_sink(&sink.name),
            Place::Disk(disk) => disk.add_sink(sink),
        }
    }

    /// The sink gets nothing new any more, and goes on to deliver what it has. In memory it
    /// stays as it is, for it is to be removed at once.
    pub fn end_sink(&self, name: &str) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Disk(disk) => disk.end_sink(name),
        }
    }

    /// Removes a sink and gives back its books; what it had not delivered is given up.
    pub fn remove_sink(&self, name: &str) -> Option<Ledger> {
        match &self.place {
            Place::Memory(ring) => ring.remove_sink(name),
            Place::Disk(disk) => disk.remove_sink(name),
        }
    }

    /// The records for one session of a sink: first what was handed out and not settled, then on.
    pub fn feed(&self, sink: &Arc<str>) -> Box<dyn Feed> {
        match &self.place {
            Place::Memory(ring) => ring.feed(sink),
            Place::Disk(disk) => disk.feed(sink),
        }
    }

    /// A session ended. `accused`: the remote had accepted it and then broke the protocol or
    /// closed, so that one of the records on their way may be the reason.
    pub fn session_ended(&self, sink: &str, accused: bool) {
        match &self.place {
            Place::Memory(_) => {}
            Place::Disk(disk) => disk.session_ended(sink, accused),
        }
    }

    /// The numbers of every sink, by name.
    pub fn numbers(&self) -> Vec<(Arc<str>, SinkNumbers)> {
        match &self.place {
            Place::Memory(ring) => ring.numbers(),
            Place::Disk(disk) => disk.numbers(),
        }
    }

    /// Samples that wait for some sink.
    pub fn waiting(&self) -> u64 {
        self.numbers().iter().map(|(_, numbers)| numbers.waiting()).sum()
    }

    /// What the remote has accepted counts, although it may still lose it: its session is going to
    /// end, and there will be no other one.
    pub fn trust(&self, sink: &Arc<str>) {
        match &self.place {
            Place::Memory(ring) => ring.confirmed(sink, u64::MAX),
            Place::Disk(disk) => disk.log().confirmed(sink, u64::MAX),
        }
    }

    /// The numbers of the store itself.
    pub fn store(&self) -> StoreNumbers {
        match &self.place {
            Place::Memory(ring) => ring.store(),
            Place::Disk(disk) => disk.store(),
        }
    }

    /// Takes the numbers of this moment for the rates; to be called from time to time.
    pub fn look(&self) {
        self.paces().look(Instant::now(), &self.store(), &self.numbers());
    }

    /// When things will be.
    pub fn forecast(&self, store: &StoreNumbers, sinks: &[(Arc<str>, SinkNumbers)]) -> Forecast {
        self.paces().forecast(store, sinks)
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
