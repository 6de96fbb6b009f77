//! Records as they are held in memory: on their way to the disk, fresh from there, or read ahead.

use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};

use crate::definition::DefinitionId;
use crate::frame::{self, Kind, Packed};
use crate::ledger::DropReason;
use crate::settled::Place;

/// What a record holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Samples.
    Batch(Arc<Batch>),
    /// A gap or a clock correction: a place in the log, nothing for a sink.
    Mark,
    /// Samples that are no longer there, and why.
    Dropped(DropReason),
    /// Nothing readable lies between the entry before and this place.
    End,
}

/// One record of a log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) samples: u64,
    pub(crate) captured_at: UnixNanos,
    pub(crate) content: Content,
    /// Memory that it holds.
    pub(crate) bytes: usize,
}

impl Entry {
    /// The place behind it.
    pub(crate) fn end(&self) -> Place {
        match self.content {
            Content::End => self.place,
            _ => self.place.after(self.samples),
        }
    }
}

/// Called once, when it is decided whether a batch stays: `true` when it is on disk.
pub type Receipt = Box<dyn FnOnce(bool) + Send>;

/// A record that is not on disk yet.
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) payload: Arc<Packed>,
    /// The origin of a batch.
    pub(crate) definition: DefinitionId,
    /// Start of the oldest request without an answer; `None` = that of the commit.
    pub(crate) gap_from: Option<UnixNanos>,
    pub(crate) receipt: Option<Receipt>,
}

impl Pending {
    /// Bytes that it will take on disk.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame::size(self.payload.len())
    }
}
