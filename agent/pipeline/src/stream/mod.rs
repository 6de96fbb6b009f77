//! The store of one pipeline, in memory or on disk: what the rest of the data path sees of it.

mod asking;
mod receipt;

use std::sync::Arc;
use std::time::Duration;

use lineside_core::Batch;
use lineside_core::sink::Feed;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{self, Store};
use lineside_store::{DropReason, Ledger};
use tokio::time::Instant;

use crate::ring::Ring;

pub use asking::Asking;
pub use receipt::Gate;

/// See the module.
#[derive(Clone)]
pub enum Stream {
    /// A ring in memory.
    Memory(Arc<Ring>),
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
    /// Age of the oldest waiting record.
    pub lag: Duration,
    /// The last drop that has a code.
    pub last_drop: Option<LastDrop>,
}

impl Stream {
    /// Takes a batch in, without waiting; what does not fit gives way as the overflow policy says.
    pub fn append(&self, batch: Arc<Batch>) {
        match self {
            Self::Memory(ring) => ring.append(batch),
        }
    }

    /// Whether the devices have to wait (`overflow: Backpressure`).
    pub fn presses(&self) -> bool {
        match self {
            Self::Memory(ring) => ring.presses(),
        }
    }

    /// Completes when there is room, at once under any policy but Backpressure. Cancel-safe.
    pub async fn room(&self) {
        match self {
            Self::Memory(ring) => ring.room().await,
        }
    }

    /// New bounds for the same records; what no longer fits gives way at the next append.
    pub fn set_settings(&self, settings: Store) {
        match self {
            Self::Memory(ring) => ring.set_settings(settings),
        }
    }

    /// Adds a sink at the live end; a sink that is there already keeps its position.
    pub fn add_sink(&self, sink: &model::Sink) {
        match self {
            Self::Memory(ring) => ring.add_sink(&sink.name),
        }
    }

    /// Removes a sink and gives back its books; what it had not delivered is given up.
    pub fn remove_sink(&self, name: &str) -> Option<Ledger> {
        match self {
            Self::Memory(ring) => ring.remove_sink(name),
        }
    }

    /// The records for one session of a sink: first what was handed out and not settled, then on.
    pub fn feed(&self, sink: &Arc<str>) -> Box<dyn Feed> {
        match self {
            Self::Memory(ring) => ring.feed(sink),
        }
    }

    /// The numbers of every sink, by name.
    pub fn numbers(&self) -> Vec<(Arc<str>, SinkNumbers)> {
        match self {
            Self::Memory(ring) => ring.numbers(),
        }
    }

    /// Samples that some sink has not delivered yet.
    pub fn buffered(&self) -> u64 {
        self.numbers().iter().map(|(_, numbers)| numbers.ledger.buffered).sum()
    }

    /// Bytes held and bound in bytes.
    pub fn usage(&self) -> (u64, u64) {
        match self {
            Self::Memory(ring) => ring.usage(),
        }
    }

    /// Samples taken in.
    pub fn captured(&self) -> u64 {
        match self {
            Self::Memory(ring) => ring.captured(),
        }
    }
}
