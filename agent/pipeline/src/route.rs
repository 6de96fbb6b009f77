//! Which points of which device go into which pipeline: a pure decision, taken when the
//! configuration changes, not per sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::{Batch, Origin};
use lineside_crds::model::{Mode, ObjectKey, Pipeline};

use crate::stream::Stream;

/// One way out of a device: a pipeline's store and what of the device it takes.
#[derive(Clone)]
pub struct Route {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Its store.
    pub stream: Stream,
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

/// Hands a batch to one pipeline; the batch is shared where the pipeline takes all of it.
pub fn deliver(batch: &Arc<Batch>, selection: &Selection, stream: &Stream) {
    match selection {
        Selection::Nothing => {}
        Selection::All => stream.append(batch.clone()),
        Selection::Some(wanted) => {
            let part = batch.select(|s| wanted.get(s.point as usize).copied().unwrap_or_default());
            stream.append(Arc::new(part));
        }
    }
}
