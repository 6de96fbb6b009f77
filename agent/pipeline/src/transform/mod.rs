//! Transforms: what happens to the samples of a pipeline before they are kept. Pure: times come
//! with the samples and with [`Chain::tick`], so what is replayed gives what it gave live.
//!
//! ```text
//! Batch --Chain--> per origin: Lane --> Step (touched points, memory) --> Step --> ... --> Batch
//!                                 \--- Plan (names, derived points), made once
//! ```
//!
//! Nothing is made up: a Bad sample passes every step that absorbs (a window counts it), no old
//! value is repeated as new, and of every sample it is known where it went:
//! `received + derived = absorbed + passed + held`.

mod bytes;
mod door;
mod former;
mod formula;
mod gate;
mod lane;
mod number;
mod plan;
mod resume;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod transformer;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::Transform;

use lane::Lane;

pub use former::{Former, nothing_remembered};
pub use state::StateError;
pub use transformer::{Totals, Transformer};

/// Most origins that one chain remembers. A DeviceConnection behind which devices are learned
/// has one for each; the one that was silent for longest gives way.
const MOST_LANES: usize = 1024;

/// Running totals in samples: `received + derived = absorbed + passed + held`, where held are
/// those that wait in a swinging door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Came in.
    pub received: u64,
    /// Were made: results of windows, and of maps to further points.
    pub derived: u64,
    /// Ended here: absorbed, filtered out, or taken into a window.
    pub absorbed: u64,
    /// Went out.
    pub passed: u64,
    /// Of all, how often an expression had no value for a sample.
    pub unanswered: u64,
    /// How often a swinging door or a window let something out.
    pub released: u64,
}

impl Numbers {
    /// Samples that wait.
    pub fn held(&self) -> u64 {
        let gone = self.absorbed.saturating_add(self.passed);
        self.received.saturating_add(self.derived).saturating_sub(gone)
    }
}

/// The transforms of one pipeline at work on the samples of one device.
pub struct Chain {
    transforms: Arc<[Transform]>,
    /// By the path of the origin.
    lanes: BTreeMap<Arc<str>, Lane>,
    numbers: Numbers,
    problems: Vec<String>,
    /// Counts batches, to know which lane was silent for longest.
    turn: u64,
}

impl Chain {
    /// A chain that remembers nothing yet.
    pub fn new(transforms: &[Transform]) -> Self {
        Self {
            transforms: transforms.into(),
            lanes: BTreeMap::new(),
            numbers: Numbers::default(),
            problems: Vec::new(),
            turn: 0,
        }
    }

    /// The transforms that it was made of.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// Takes a batch through; what comes out is not empty. A batch that no transform touches
    /// comes out as it is, shared.
    pub fn apply(&mut self, batch: &Arc<Batch>) -> Vec<Arc<Batch>> {
        let mut out = Vec::new();
        self.turn += 1;
        self.numbers.received += batch.len() as u64;
        if !self.lanes.contains_key(&batch.origin().path) {
            self.make_room(&mut out);
            let lane = Lane::new(&self.transforms, batch);
            self.problems.extend(lane.problems().iter().cloned());
            self.lanes.insert(batch.origin().path.clone(), lane);
        }
        if let Some(lane) = self.lanes.get_mut(&batch.origin().path) {
            lane.used = self.turn;
            if lane.follow(&self.transforms, batch, &mut self.numbers, &mut out) {
                self.problems.extend(lane.problems().iter().cloned());
            }
            lane.apply(batch, &mut self.numbers, &mut out);
        }
        out
    }

    /// Lets out what has waited long enough at `now`: a window whose time is over although
    /// nothing newer came, and a sample that a swinging door has held for a whole line.
    pub fn tick(&mut self, now: UnixNanos) -> Vec<Arc<Batch>> {
        let mut out = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.tick(now, &mut self.numbers, &mut out);
        }
        out
    }

    /// Lets out everything that waits and forgets the rest: its pipeline or its device ends or
    /// changes. Windows that are not over are Uncertain.
    pub fn close(&mut self) -> Vec<Arc<Batch>> {
        let mut out = Vec::new();
        for mut lane in std::mem::take(&mut self.lanes).into_values() {
            lane.end(&mut self.numbers, &mut out);
        }
        out
    }

    /// Running totals since it was made.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Samples that wait in swinging doors.
    pub fn held(&self) -> u64 {
        self.lanes.values().map(Lane::held).sum()
    }

    /// When the oldest sample came of which something waits: held, or in an open window. It would
    /// be lost with the process.
    pub fn waiting_since(&self) -> Option<UnixNanos> {
        self.lanes.values().filter_map(Lane::waiting_since).min()
    }

    /// What the transforms leave as it is because names do not allow it, for people; each is
    /// given once.
    pub fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    fn make_room(&mut self, out: &mut Vec<Arc<Batch>>) {
        if self.lanes.len() < MOST_LANES {
            return;
        }
        let oldest = self.lanes.iter().min_by_key(|(_, lane)| lane.used);
        let Some(path) = oldest.map(|(path, _)| path.clone()) else { return };
        if let Some(mut lane) = self.lanes.remove(&path) {
            lane.end(&mut self.numbers, out);
        }
    }
}
