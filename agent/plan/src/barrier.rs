//! Learned positions that no block may be read across.

use std::collections::BTreeMap;

use crate::span::SpaceId;

/// A learned position: a block that starts before `left` and ends behind `right` is refused.
///
/// For a hole `[a, b)` between two neighbours `left = a` and `right = b`: every block that reads
/// the whole hole and something on both sides of it. For a guilty address `x`: `left = x + 1`,
/// `right = x`, every block that contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Barrier {
    /// The space it lies in.
    pub space: SpaceId,
    /// Blocks that start below this address ...
    pub left: u32,
    /// ... and end (exclusive) above this one are not made.
    pub right: u32,
}

impl Barrier {
    /// The hole between a neighbour that ends at `left_end` (exclusive) and one that starts at
    /// `right_start`; neighbours that overlap are allowed.
    pub fn between(space: SpaceId, left_end: u32, right_start: u32) -> Self {
        Self { space, left: left_end.min(right_start), right: left_end.max(right_start) }
    }

    /// Every block that contains all of `[start, end)`.
    pub fn covering(space: SpaceId, start: u32, end: u32) -> Self {
        Self { space, left: start.saturating_add(1), right: end.saturating_sub(1) }
    }

    /// Whether a block `[start, end)` of this space would be read across it.
    pub fn bars(&self, start: u32, end: u32) -> bool {
        start < self.left && end > self.right
    }
}

/// All learned barriers, by space.
#[derive(Clone, Debug, Default)]
pub struct Barriers {
    /// Per space, sorted by `left`.
    spaces: BTreeMap<SpaceId, Vec<Barrier>>,
}

impl Barriers {
    /// No barriers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; `false` when it was there already.
    pub fn insert(&mut self, barrier: Barrier) -> bool {
        let list = self.spaces.entry(barrier.space).or_default();
        match list.binary_search(&barrier) {
            Ok(_) => false,
            Err(at) => {
                list.insert(at, barrier);
                true
            }
        }
    }

    /// All of them, by space and position.
    pub fn iter(&self) -> impl Iterator<Item = &Barrier> {
        self.spaces.values().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// Prepared for many questions about one space.
    pub(crate) fn fences(&self, space: SpaceId) -> Fences {
        let list = self.spaces.get(&space).map(Vec::as_slice).unwrap_or_default();
        let mut ends: Vec<(u32, u32)> = list.iter().map(|b| (b.left, b.right)).collect();
        let mut least = u32::MAX;
        for (_, right) in ends.iter_mut().rev() {
            least = least.min(*right);
            *right = least;
        }
        Fences(ends)
    }
}

/// The barriers of one space as (left, least right of this and all later ones).
pub(crate) struct Fences(Vec<(u32, u32)>);

impl Fences {
    /// The largest end (exclusive) of a block that starts at `start`.
    pub(crate) fn reach(&self, start: u32) -> u32 {
        let at = self.0.partition_point(|(left, _)| *left <= start);
        self.0.get(at).map_or(u32::MAX, |(_, right)| *right)
    }
}
