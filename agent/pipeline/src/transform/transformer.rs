//! A chain where the data path runs through it: shared, counted, and heard when a name does not
//! allow what a transform asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::{ObjectKey, Pipeline, Transform};

use super::{Chain, Numbers};

/// Totals of the transforms of one pipeline, over all devices and all edits of it.
#[derive(Debug, Default)]
pub struct Totals(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    numbers: Numbers,
    /// Since when something waits, by the place of the transformer.
    waiting: BTreeMap<u64, UnixNanos>,
    places: u64,
}

impl Totals {
    /// The totals at this moment.
    pub fn numbers(&self) -> Numbers {
        self.sums().numbers
    }

    /// When the oldest sample came of which something waits at any device: a gap would begin
    /// there, for the store has not seen it.
    pub fn waiting_since(&self) -> Option<UnixNanos> {
        self.sums().waiting.values().min().copied()
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        // Each change leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> u64 {
        let mut sums = self.sums();
        sums.places += 1;
        sums.places
    }

    fn add(&self, before: Numbers, after: Numbers) {
        let all = &mut self.sums().numbers;
        all.received += after.received - before.received;
        all.derived += after.derived - before.derived;
        all.absorbed += after.absorbed - before.absorbed;
        all.passed += after.passed - before.passed;
        all.unanswered += after.unanswered - before.unanswered;
    }

    fn wait(&self, place: u64, since: Option<UnixNanos>) {
        let waiting = &mut self.sums().waiting;
        match since {
            Some(since) => drop(waiting.insert(place, since)),
            None => drop(waiting.remove(&place)),
        }
    }
}

/// The transforms of one pipeline at one device.
pub struct Transformer {
    pipeline: ObjectKey,
    chain: Mutex<Chain>,
    totals: Arc<Totals>,
    /// Its own among those of the pipeline.
    place: u64,
}

impl Drop for Transformer {
    fn drop(&mut self) {
        self.totals.wait(self.place, None);
    }
}

impl Transformer {
    /// The transforms of `pipeline`, which remember nothing yet; `None` if there are none.
    pub fn new(pipeline: &Pipeline, totals: &Arc<Totals>) -> Option<Arc<Self>> {
        if pipeline.transforms.is_empty() {
            return None;
        }
        let chain = Mutex::new(Chain::new(&pipeline.transforms));
        let (place, totals) = (totals.place(), totals.clone());
        Some(Arc::new(Self { pipeline: pipeline.key.clone(), chain, totals, place }))
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
        self.totals.wait(self.place, chain.waiting_since());
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

    #[test]
    fn the_device_that_waits_longest_decides_where_a_gap_would_begin() {
        let totals = Totals::default();
        let (a, b) = (totals.place(), totals.place());
        assert_eq!(totals.waiting_since(), None);
        totals.wait(a, Some(7));
        totals.wait(b, Some(5));
        assert_eq!(totals.waiting_since(), Some(5));
        totals.wait(b, None);
        assert_eq!(totals.waiting_since(), Some(7));
    }
}
