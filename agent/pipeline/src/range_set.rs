//! A set of log positions as disjoint half-open ranges: what was settled out of order.

use std::collections::BTreeMap;

/// Disjoint, non-adjacent ranges `start..end`, by start.
#[derive(Clone, Debug, Default)]
pub struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Whether `at` is in the set.
    pub fn contains(&self, at: u64) -> bool {
        self.ranges.range(..=at).next_back().is_some_and(|(_, end)| at < *end)
    }

    /// Adds one position; false when it was there already.
    pub fn insert(&mut self, at: u64) -> bool {
        if self.contains(at) {
            return false;
        }
        let end = self.ranges.remove(&(at + 1)).unwrap_or(at + 1);
        match self.ranges.range_mut(..at).next_back() {
            Some((_, before)) if *before == at => *before = end,
            _ => {
                self.ranges.insert(at, end);
            }
        }
        true
    }

    /// The first position at or after `at` that is not in the set.
    pub fn first_gap(&self, at: u64) -> u64 {
        match self.ranges.range(..=at).next_back() {
            Some((_, end)) if at < *end => *end,
            _ => at,
        }
    }

    /// Forgets everything below `floor`.
    pub fn forget_below(&mut self, floor: u64) {
        while let Some((&start, &end)) = self.ranges.first_key_value() {
            if start >= floor {
                return;
            }
            self.ranges.remove(&start);
            if end > floor {
                self.ranges.insert(floor, end);
            }
        }
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_like_a_set_of_positions_and_merges_neighbours() {
        let mut state = 7u64;
        let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) % 300;
            assert_eq!(set.insert(at), model.insert(at));
        }
        for at in 0..300 {
            assert_eq!(set.contains(at), model.contains(&at));
            assert_eq!(set.first_gap(at), (at..).find(|x| !model.contains(x)).unwrap());
        }
        set.forget_below(150);
        assert!((0..150).all(|x| !set.contains(x)));
        assert!((150..300).all(|x| set.contains(x) == model.contains(&x)));
        let mut dense = RangeSet::default();
        for at in (0..100).rev() {
            dense.insert(at);
        }
        assert_eq!(dense.len(), 1);
    }
}
