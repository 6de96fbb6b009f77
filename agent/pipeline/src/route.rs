//! Which points of which device go into which pipeline: a pure decision, taken when the
//! configuration changes, not per sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::{Batch, Origin, UnixNanos};
use lineside_crds::model::{Mode, ObjectKey, Pipeline};

use crate::stream::{Asking, Part, Stream};

/// One way out of a device: a pipeline and its store.
#[derive(Clone)]
pub struct Route {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Its store.
    pub stream: Stream,
    /// What is being asked of all devices of the pipeline: where a gap in its data would begin.
    pub asking: Arc<[Arc<Asking>]>,
}

/// The points that a pipeline takes of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// None.
    Nothing,
    /// All.
    All,
    /// Those whose index is true.
    Some(Arc<[bool]>),
}

/// The points of `origin` that `pipeline` takes; `labels` are the device's.
pub fn select(
    pipeline: &Pipeline,
    labels: &BTreeMap<String, String>,
    origin: &Origin,
) -> Selection {
    let ObjectKey { namespace, name } = &origin.device;
    if pipeline.mode == Mode::Suspended || pipeline.key.namespace != *namespace {
        return Selection::Nothing;
    }
    let sources: Vec<_> =
        pipeline.sources.iter().filter(|s| s.selects_device(name, labels)).collect();
    let wanted: Vec<bool> =
        origin.points.iter().map(|p| sources.iter().any(|s| s.selects_point(p))).collect();
    match (wanted.iter().any(|w| *w), wanted.iter().all(|w| *w)) {
        (false, _) => Selection::Nothing,
        (true, true) => Selection::All,
        (true, false) => Selection::Some(wanted.into()),
    }
}

impl Route {
    /// Hands a batch that was taken at `captured_at` to the pipeline; the batch is shared where
    /// the pipeline takes all of it. The store has its part of the receipt.
    pub fn deliver(
        &self,
        batch: &Arc<Batch>,
        selection: &Selection,
        captured_at: UnixNanos,
        receipt: &Part,
    ) {
        let batch = match selection {
            Selection::Nothing => return,
            Selection::All => batch.clone(),
            Selection::Some(wanted) => Arc::new(
                batch.select(|s| wanted.get(s.point as usize).copied().unwrap_or_default()),
            ),
        };
        let gap_from = || Asking::earliest(self.asking.iter().map(|asking| &**asking));
        self.stream.append(batch, captured_at, gap_from, || receipt.split());
    }
}
