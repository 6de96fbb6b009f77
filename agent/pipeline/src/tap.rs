//! What flows, for somebody who looks (`lineside tap`): raw bytes, decoded samples, deliveries.
//! Costs one atomic read per batch while nobody looks; a slow looker loses, the data path never
//! waits.

use std::sync::Arc;

use lineside_core::sink::RecordId;
use lineside_core::{Batch, Origin, UnixNanos};
use lineside_crds::model::ObjectKey;
use tokio::sync::broadcast;

/// Events that a looker may fall behind before it loses the oldest.
const DEPTH: usize = 4096;

/// One thing seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The bytes that carried a value, as received.
    Raw {
        /// The device.
        origin: Arc<Origin>,
        /// Index of the point.
        point: u32,
        /// The bytes.
        bytes: Arc<[u8]>,
        /// When.
        time: UnixNanos,
    },
    /// Samples as they enter the pipelines.
    Decoded(Arc<Batch>),
    /// A record that a remote accepted.
    Delivered {
        /// The pipeline.
        pipeline: ObjectKey,
        /// The sink.
        sink: Arc<str>,
        /// The record.
        id: RecordId,
        /// Its samples.
        batch: Arc<Batch>,
    },
}

/// The place where lookers subscribe.
#[derive(Debug)]
pub struct Tap {
    sender: broadcast::Sender<Seen>,
}

impl Default for Tap {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(DEPTH) }
    }
}

impl Tap {
    /// Whether anybody looks.
    pub fn wanted(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Starts to look.
    pub fn look(&self) -> broadcast::Receiver<Seen> {
        self.sender.subscribe()
    }

    /// Shows something, when anybody looks.
    pub(crate) fn show(&self, seen: impl FnOnce() -> Seen) {
        if self.wanted() {
            // Nobody looks any more: nothing to do.
            let _ = self.sender.send(seen());
        }
    }
}
