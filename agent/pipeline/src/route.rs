//! Which points of which device go into which pipeline: a pure decision, taken when the
//! configuration changes, not per sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::{Batch, Origin, UnixNanos};
use lineside_crds::model::{Mode, ObjectKey, Pipeline};

use crate::stream::{Asking, Gate, Part, Stream};
use crate::transform::{Totals, Transformer};

/// One way out of a device: a pipeline and its store.
#[derive(Clone)]
pub struct Route {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Its store.
    pub stream: Stream,
    /// What is being asked of all devices of the pipeline: where a gap in its data would begin.
    pub asking: Arc<[Arc<Asking>]>,
    /// What its transforms did so far, at all devices.
    pub totals: Arc<Totals>,
    /// Its transforms at this device; see [`Route::at_device`].
    pub transforms: Option<Arc<Transformer>>,
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
    /// The same route at one device, with transforms of its own: those of `former`, which was
    /// its way into this pipeline until now, where they are still asked for.
    pub fn at_device(&self, device: &ObjectKey, former: Option<&Self>) -> Self {
        let former = former.and_then(|route| route.transforms.clone());
        let transforms = match former.filter(|t| t.does(&self.pipeline.transforms)) {
            Some(transforms) => Some(transforms),
            None => Transformer::new(&self.pipeline, device, &self.totals),
        };
        Self { transforms, ..self.clone() }
    }

    /// Hands a batch that was taken at `captured_at` to the pipeline; the batch is shared where
    /// the pipeline takes all of it as it is. The store has its part of the receipt.
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
        match &self.transforms {
            None => self.capture(batch, captured_at, || receipt.split()),
            Some(transforms) => {
                for batch in transforms.apply(&batch) {
                    self.capture(batch, captured_at, || receipt.split());
                }
            }
        }
    }

    /// Keeps what has waited long enough in the transforms.
    pub fn tick(&self, now: UnixNanos) {
        let over = self.transforms.iter().flat_map(|transforms| transforms.tick(now));
        over.for_each(|batch| self.capture(batch, now, || Gate::open().0));
    }

    /// Keeps everything that waits in the transforms: this way ends, or they do.
    pub fn close(&self, now: UnixNanos) {
        let rest = self.transforms.iter().flat_map(|transforms| transforms.close());
        rest.for_each(|batch| self.capture(batch, now, || Gate::open().0));
    }

    /// Whether both have the same transforms with the same memory.
    pub fn goes_on_with(&self, former: &Self) -> bool {
        match (&self.transforms, &former.transforms) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    fn capture(&self, batch: Arc<Batch>, captured_at: UnixNanos, receipt: impl FnOnce() -> Part) {
        let gap_from = || {
            let asked = Asking::earliest(self.asking.iter().map(|asking| &**asking));
            asked.into_iter().chain(self.totals.waiting_since()).min()
        };
        self.stream.append(batch, captured_at, gap_from, receipt);
    }
}
