//! What is learned when a block is refused whole although both of its halves are read: a hole
//! between them (a barrier), or a device that takes only shorter requests (a cap).
//!
//! A few such cuts in one space, none of them shorter than what was ever read, speak for a cap;
//! it is found by halving between the longest request read and the shortest one cut. A longer
//! success, or a shorter cut, proves it wrong, and the barriers alone hold again. Both are put
//! to the test again with growing back-off, so that nothing wrongly learned stays for ever.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::barrier::{Barrier, Barriers};
use crate::span::SpaceId;

use super::backoff::Backoff;

/// Cuts in one space that make a cap likelier than holes.
const CUTS: u32 = 3;
/// Longest wait before a barrier is tested again, in units of the first one.
const LONGEST: u32 = 144;

/// One barrier.
#[derive(Clone, Copy, Debug)]
struct Wall {
    /// Shortest request that was refused across it.
    refused: u32,
    backoff: Backoff,
    /// Whether it holds; else it is being tested.
    up: bool,
}

/// What is known about lengths in one space.
#[derive(Clone, Copy, Debug)]
struct Size {
    longest_read: u32,
    shortest_cut: u32,
    cuts: u32,
    backoff: Option<Backoff>,
}

impl Size {
    fn cap(&self) -> Option<u32> {
        let likely = self.cuts >= CUTS && self.longest_read < self.shortest_cut;
        likely.then(|| self.longest_read.midpoint(self.shortest_cut))
    }
}

/// Barriers and caps of all spaces.
#[derive(Clone, Debug)]
pub(super) struct Walls {
    known: BTreeMap<Barrier, Wall>,
    sizes: BTreeMap<SpaceId, Size>,
    /// First wait before a test.
    wait: Duration,
    /// When the next test is due.
    next: Option<Instant>,
}

impl Walls {
    pub(super) fn new(wait: Duration) -> Self {
        Self { known: BTreeMap::new(), sizes: BTreeMap::new(), wait, next: None }
    }

    /// The longest request that the space is thought to take.
    pub(super) fn cap(&self, space: SpaceId) -> Option<u32> {
        self.sizes.get(&space)?.cap()
    }

    /// The barriers that hold. Those of requests longer than a cap are explained by the cap.
    pub(super) fn barriers(&self) -> Barriers {
        let mut all = Barriers::new();
        for (barrier, wall) in self.known.iter().filter(|(_, w)| w.up) {
            if self.cap(barrier.space).is_none_or(|cap| wall.refused <= cap) {
                all.insert(*barrier);
            }
        }
        all
    }

    fn size(&mut self, space: SpaceId) -> &mut Size {
        let nothing = Size { longest_read: 0, shortest_cut: u32::MAX, cuts: 0, backoff: None };
        self.sizes.entry(space).or_insert(nothing)
    }

    /// A request of this length was read. Returns whether plans change.
    pub(super) fn read(&mut self, space: SpaceId, len: u32) -> bool {
        let size = self.size(space);
        if len <= size.longest_read {
            return false;
        }
        let before = size.cap();
        size.longest_read = len;
        size.cap() != before
    }

    /// A request of length `refused` was refused, its two halves were read. Returns whether plans
    /// change.
    pub(super) fn cut(
        &mut self,
        barrier: Barrier,
        refused: u32,
        now: Instant,
        jitter: u64,
    ) -> bool {
        let (first, longest) = (self.wait, self.wait.saturating_mul(LONGEST));
        let backoff = |before| Backoff::next(before, first, longest, now, jitter);
        let known = self.known.get(&barrier).copied();
        let was_up = known.is_some_and(|w| w.up);
        let wall = match known {
            Some(w) if w.up => Wall { refused: w.refused.min(refused), ..w },
            Some(w) => Wall { refused, backoff: backoff(Some(w.backoff.wait)), up: true },
            None => Wall { refused, backoff: backoff(None), up: true },
        };
        self.known.insert(barrier, wall);
        let size = self.size(barrier.space);
        let before = size.cap();
        size.cuts = size.cuts.saturating_add(1);
        size.shortest_cut = size.shortest_cut.min(refused);
        let after = size.cap();
        if before.is_none() && after.is_some() {
            size.backoff = Some(backoff(size.backoff.map(|b| b.wait)));
        }
        self.set_next();
        !was_up || before != after
    }

    /// Puts one barrier or cap to the test when its time has come. Returns whether plans change.
    pub(super) fn test_one(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|at| at > now) {
            return false;
        }
        let capped = |s: &&mut Size| s.cap().is_some() && s.backoff.is_some_and(|b| b.until <= now);
        if let Some(size) = self.sizes.values_mut().find(capped) {
            (size.cuts, size.shortest_cut) = (0, u32::MAX);
        } else {
            let due = self.known.values_mut().filter(|w| w.up && w.backoff.until <= now);
            if let Some(wall) = due.min_by_key(|w| w.backoff.until) {
                wall.up = false;
            }
        }
        self.set_next();
        true
    }

    fn set_next(&mut self) {
        let walls = self.known.values().filter(|w| w.up).map(|w| w.backoff.until);
        let caps = self.sizes.values().filter(|s| s.cap().is_some()).filter_map(|s| s.backoff);
        self.next = walls.chain(caps.map(|b| b.until)).min();
    }

    /// Forgets the spaces that are not wanted any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(SpaceId) -> bool) {
        self.known.retain(|b, _| wanted(b.space));
        self.sizes.retain(|space, _| wanted(*space));
        self.set_next();
    }
}
