//! A chain where the data path runs through it: shared, counted, heard when a name does not allow
//! what a transform asks for, and remembered over restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::{ObjectKey, Pipeline, Transform};

use super::former::{self, Former, Memory};
use super::{Chain, Numbers};

/// Totals of the transforms of one pipeline, over all devices and all edits of it.
#[derive(Default)]
pub struct Totals(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    numbers: Numbers,
    /// Since when something waits, by the place of the transformer.
    waiting: BTreeMap<u64, UnixNanos>,
    transformers: BTreeMap<u64, Weak<Transformer>>,
    places: u64,
    former: Former,
    /// What is kept has something of transforms that are no more.
    is_stale: bool,
}

impl Totals {
    /// The totals at this moment.
    pub fn numbers(&self) -> Numbers {
        self.sums().numbers
    }

    /// When the oldest sample came of which something waits at any device and is in no memory that
    /// was kept: a gap would begin there, for the store has not seen it.
    pub fn waiting_since(&self) -> Option<UnixNanos> {
        self.sums().waiting.values().min().copied()
    }

    /// What a former process remembered: devices go on with it when they come.
    pub fn go_on_with(&self, former: Former) {
        let mut sums = self.sums();
        (sums.former, sums.is_stale) = (former, true);
    }

    /// Gives up what a former process remembered of devices that have not come. When the oldest
    /// sample came of which something is lost with it.
    pub fn give_up_former(&self) -> Option<UnixNanos> {
        self.sums().former.give_up()
    }

    /// What is remembered at all devices, to be kept, and the position of their log, which is asked
    /// for before: what is let out meanwhile counts as let out after it. `None` if nothing has
    /// changed since it was kept last.
    pub fn cut(&self, position: impl FnOnce() -> u64) -> Option<(u64, Vec<u8>)> {
        let transformers = self.transformers();
        transformers.iter().for_each(|t| t.begin_cut());
        let position = position();
        if !self.sums().is_stale && !transformers.iter().any(|t| t.is_changed()) {
            return None;
        }
        self.sums().is_stale = false;
        let memories = transformers.iter().map(|t| (t.device.clone(), t.cut()));
        Some((position, former::write(&memories.collect())))
    }

    /// What the last [`Self::cut`] gave is kept.
    pub fn kept(&self) {
        self.transformers().iter().for_each(|t| t.kept());
    }

    /// Nothing is kept any more: the store is another one.
    pub fn begin_anew(&self) {
        self.transformers().iter().for_each(|t| t.work().kept = None);
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        // Each change leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transformers(&self) -> Vec<Arc<Transformer>> {
        self.sums().transformers.values().filter_map(Weak::upgrade).collect()
    }

    fn add(&self, before: Numbers, after: Numbers) {
        let all = &mut self.sums().numbers;
        all.received += after.received - before.received;
        all.derived += after.derived - before.derived;
        all.absorbed += after.absorbed - before.absorbed;
        all.passed += after.passed - before.passed;
        all.unanswered += after.unanswered - before.unanswered;
        all.released += after.released - before.released;
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
    device: ObjectKey,
    work: Mutex<Work>,
    totals: Arc<Totals>,
    /// Its own among those of the pipeline.
    place: u64,
}

struct Work {
    chain: Chain,
    /// Of the memory that was kept last; `None` = none was.
    kept: Option<Mark>,
    /// Of the memory that is being kept.
    cut: Mark,
}

/// What happened since a memory was taken.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// [`Numbers::released`] when it was taken.
    released: u64,
    /// When the first sample after it came.
    since: Option<UnixNanos>,
}

impl Drop for Transformer {
    fn drop(&mut self) {
        let was_kept = self.work().kept.is_some();
        let mut sums = self.totals.sums();
        sums.waiting.remove(&self.place);
        sums.transformers.remove(&self.place);
        sums.is_stale |= was_kept;
    }
}

impl Transformer {
    /// The transforms of `pipeline` at a device, which remember what those of a former process did
    /// there, or nothing yet; `None` if there are none.
    pub fn new(pipeline: &Pipeline, device: &ObjectKey, totals: &Arc<Totals>) -> Option<Arc<Self>> {
        if pipeline.transforms.is_empty() {
            return None;
        }
        let mut sums = totals.sums();
        let former = sums.former.take(device, &pipeline.transforms);
        let kept = former.is_some().then(Mark::default);
        let chain = former.unwrap_or_else(|| Chain::new(&pipeline.transforms));
        sums.places += 1;
        let (place, restored) = (sums.places, chain.numbers());
        let made = Arc::new(Self {
            pipeline: pipeline.key.clone(),
            device: device.clone(),
            work: Mutex::new(Work { chain, kept, cut: Mark::default() }),
            totals: totals.clone(),
            place,
        });
        sums.transformers.insert(place, Arc::downgrade(&made));
        drop(sums);
        totals.add(Numbers::default(), restored);
        Some(made)
    }

    /// Whether it does what these transforms say.
    pub fn does(&self, transforms: &[Transform]) -> bool {
        self.work().chain.transforms() == transforms
    }

    /// See [`Chain::apply`].
    pub fn apply(&self, batch: &Arc<Batch>) -> Vec<Arc<Batch>> {
        self.run(batch.iter().map(|sample| sample.agent_time).min(), |chain| chain.apply(batch))
    }

    /// See [`Chain::tick`].
    pub fn tick(&self, now: UnixNanos) -> Vec<Arc<Batch>> {
        self.run(None, |chain| chain.tick(now))
    }

    /// See [`Chain::close`].
    pub fn close(&self) -> Vec<Arc<Batch>> {
        self.run(None, Chain::close)
    }

    fn run(
        &self,
        came: Option<UnixNanos>,
        run: impl FnOnce(&mut Chain) -> Vec<Arc<Batch>>,
    ) -> Vec<Arc<Batch>> {
        let mut work = self.work();
        let before = work.chain.numbers();
        let out = run(&mut work.chain);
        work.came(came);
        self.totals.add(before, work.chain.numbers());
        self.totals.wait(self.place, work.waiting_since());
        for problem in work.chain.take_problems() {
            let pipeline = &self.pipeline;
            tracing::warn!(%pipeline, problem, "Transform leaves a point as it is");
        }
        out
    }

    fn is_changed(&self) -> bool {
        let work = self.work();
        let released = work.chain.numbers().released;
        work.kept.is_none_or(|kept| kept.since.is_some() || kept.released != released)
    }

    fn begin_cut(&self) {
        let mut work = self.work();
        work.cut.released = work.chain.numbers().released;
    }

    fn cut(&self) -> Memory {
        let mut work = self.work();
        let (released, waiting) = (work.chain.numbers().released, work.chain.waiting_since());
        // What was let out since the position counts as let out after the cut: then the next
        // process drops what its points remember.
        let since = waiting.filter(|_| released != work.cut.released);
        work.cut = Mark { released, since };
        Memory { since: waiting, state: work.chain.state() }
    }

    fn kept(&self) {
        let mut work = self.work();
        work.kept = Some(work.cut);
        self.totals.wait(self.place, work.waiting_since());
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // A panic inside would be a fault of a transform; its memory is used on.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn came(&mut self, at: Option<UnixNanos>) {
        for mark in self.kept.iter_mut().chain([&mut self.cut]) {
            mark.since = mark.since.or(at);
        }
    }

    /// When the oldest sample came of which something would be lost with the process. As long as
    /// nothing has been let out that the kept memory holds, that memory is whole.
    fn waiting_since(&self) -> Option<UnixNanos> {
        let all = self.chain.waiting_since()?;
        match self.kept {
            Some(kept) if kept.released == self.chain.numbers().released => {
                kept.since.map(|since| since.max(all))
            }
            _ => Some(all),
        }
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
        let (a, b) = (1, 2);
        assert_eq!(totals.waiting_since(), None);
        totals.wait(a, Some(7));
        totals.wait(b, Some(5));
        assert_eq!(totals.waiting_since(), Some(5));
        totals.wait(b, None);
        assert_eq!(totals.waiting_since(), Some(7));
    }

    const SECOND: i64 = 1_000_000_000;

    fn pipeline() -> Pipeline {
        let text = "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  \
             sources: [{name: all, devices: {}}]\n  sinks: [{name: s, mqtt: {url: \"mqtt://h\"}}]\n  \
             transforms: [{name: w, window: {everyMillis: 60000, functions: [Count]}}]\n";
        match lineside_crds::yaml::load_text("test", text).remove(0).object {
            Some(lineside_crds::yaml::Object::Pipeline(pipeline)) => pipeline,
            other => panic!("{other:?}"),
        }
    }

    fn sample(second: i64) -> Arc<Batch> {
        let key = ObjectKey::new("default", "d");
        let points = vec!["t".into()].into();
        let origin = lineside_core::Origin::new(key, None, points, Vec::new().into());
        let quality = lineside_core::TimeQuality::Synced;
        let mut batch = Batch::with_capacity(Arc::new(origin), 0, quality, 1);
        batch.push_good(0, lineside_core::Value::I32(1), second * SECOND);
        Arc::new(batch)
    }

    #[test]
    fn a_gap_begins_behind_what_is_kept_and_the_next_process_goes_on_with_it() {
        let (pipeline, device) = (pipeline(), ObjectKey::new("default", "d"));
        let totals = Arc::<Totals>::default();
        let transformer = Transformer::new(&pipeline, &device, &totals).unwrap();
        transformer.apply(&sample(60));
        assert_eq!(totals.waiting_since(), Some(60 * SECOND));
        let (position, body) = totals.cut(|| 7).unwrap();
        assert_eq!(position, 7);
        transformer.apply(&sample(70));
        assert_eq!(totals.waiting_since(), Some(60 * SECOND), "it is not kept yet");
        totals.kept();
        assert_eq!(totals.waiting_since(), Some(70 * SECOND));
        // The result went out, and of it nothing can be taken back.
        transformer.apply(&sample(120));
        assert_eq!(totals.waiting_since(), Some(120 * SECOND));
        assert!(totals.cut(|| 8).is_some());
        totals.kept();
        assert_eq!((totals.waiting_since(), totals.cut(|| 8)), (None, None));

        let totals = Arc::<Totals>::default();
        totals.go_on_with(Former::read(&body).unwrap());
        let transformer = Transformer::new(&pipeline, &device, &totals).unwrap();
        assert_eq!(totals.give_up_former(), None);
        let out = transformer.apply(&sample(130));
        assert_eq!(*out[0].get(0).unwrap().value, lineside_core::Value::I64(1));
        // Without its device, what waited is missing from its beginning on.
        let totals = Arc::<Totals>::default();
        totals.go_on_with(Former::read(&body).unwrap());
        assert_eq!(totals.give_up_former(), Some(60 * SECOND));
        // What is kept is of nobody, and is kept no longer.
        assert!(totals.cut(|| 8).is_some());
    }
}
