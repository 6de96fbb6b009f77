//! A chain where the data path runs through it: shared, counted, and heard when a name does not
//! allow what a transform asks for.

use std::sync::{Arc, Mutex, PoisonError};

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::{ObjectKey, Pipeline, Transform};

use super::{Chain, Numbers};

/// Totals of the transforms of one pipeline, over all devices and all edits of it.
#[derive(Debug, Default)]
pub struct Totals(Mutex<Numbers>);

impl Totals {
    /// The totals at this moment.
    pub fn numbers(&self) -> Numbers {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, before: Numbers, after: Numbers) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.received += after.received - before.received;
        all.derived += after.derived - before.derived;
        all.absorbed += after.absorbed - before.absorbed;
        all.passed += after.passed - before.passed;
        all.unanswered += after.unanswered - before.unanswered;
    }
}

/// The transforms of one pipeline at one device.
pub struct Transformer {
    pipeline: ObjectKey,
    chain: Mutex<Chain>,
    totals: Arc<Totals>,
}

impl Transformer {
    /// The transforms of `pipeline`, which remember nothing yet; `None` if there are none.
    pub fn new(pipeline: &Pipeline, totals: &Arc<Totals>) -> Option<Arc<Self>> {
        if pipeline.transforms.is_empty() {
            return None;
        }
        let chain = Mutex::new(Chain::new(&pipeline.transforms));
        Some(Arc::new(Self { pipeline: pipeline.key.clone(), chain, totals: totals.clone() }))
    }

    /// Whether it does what these transforms say.
    pub fn does(&self, transforms: &[Transform]) -> bool {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).transforms() == transforms
    }

    /// See [`Chain::apply`].
    pub fn apply(&self, batch: &Arc<Batch>) -> Vec<Arc<Batch>> {
        self.run(|chain| chain.apply(batch))
    }

    /// See [`Chain::tick`].
    pub fn tick(&self, now: UnixNanos) -> Vec<Arc<Batch>> {
        self.run(|chain| chain.tick(now))
    }

    /// See [`Chain::close`].
    pub fn close(&self) -> Vec<Arc<Batch>> {
        self.run(Chain::close)
    }

    fn run(&self, work: impl FnOnce(&mut Chain) -> Vec<Arc<Batch>>) -> Vec<Arc<Batch>> {
        // A panic inside would be a fault of a transform; its memory is used on.
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let before = chain.numbers();
        let out = work(&mut chain);
        self.totals.add(before, chain.numbers());
        for problem in chain.take_problems() {
            let pipeline = &self.pipeline;
            tracing::warn!(%pipeline, problem, "Transform leaves a point as it is");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_over_a_change_of_the_transforms() {
        let totals = Totals::default();
        let first = Numbers { received: 5, passed: 2, absorbed: 2, ..Numbers::default() };
        totals.add(Numbers::default(), first);
        assert_eq!(totals.numbers().held(), 1);
        totals.add(first, Numbers { passed: 3, ..first });
        totals.add(Numbers::default(), Numbers { received: 1, passed: 1, ..Numbers::default() });
        assert_eq!((totals.numbers().received, totals.numbers().held()), (6, 0));
    }
}
