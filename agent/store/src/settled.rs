//! What a sink has settled: ranges of the log on two axes, offsets and sample numbers. Pure.
//!
//! Both ends of a range are known on both axes, so that the samples inside any part of the log
//! whose ends are known can be counted exactly, also when some of its records are unreadable.

use std::collections::BTreeMap;

/// A place between two records: the offset of the next one, and the samples before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) number: u64,
}

impl Place {
    /// The further of two on each axis.
    pub(crate) fn furthest(self, other: Self) -> Self {
        let (offset, number) = (self.offset.max(other.offset), self.number.max(other.number));
        Self { offset, number }
    }

    /// The place behind a record at this one.
    pub(crate) fn after(self, samples: u64) -> Self {
        Self { offset: self.offset + 1, number: self.number + samples }
    }
}

/// Everything below a floor, and ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    floor: Place,
    /// Disjoint ranges that do not touch each other nor the floor; by the offset of the start.
    ranges: BTreeMap<u64, (u64, Place)>,
}

impl Settled {
    pub(crate) fn below(floor: Place) -> Self {
        Self { floor, ranges: BTreeMap::new() }
    }

    /// From stored parts; `None` when they contradict each other.
    pub(crate) fn from_parts(
        floor: Place,
        ranges: impl IntoIterator<Item = (Place, Place)>,
    ) -> Option<Self> {
        let mut settled = Self::below(floor);
        let mut before = floor;
        for (start, end) in ranges {
            let ordered = start.offset > before.offset
                && start.number >= before.number
                && end.offset > start.offset
                && end.number >= start.number;
            if !ordered {
                return None;
            }
            settled.ranges.insert(start.offset, (start.number, end));
            before = end;
        }
        Some(settled)
    }

    pub(crate) fn floor(&self) -> Place {
        self.floor
    }

    /// The ranges above the floor, in order.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = (Place, Place)> + '_ {
        self.ranges.iter().map(|(&offset, &(number, end))| (Place { offset, number }, end))
    }

    /// The end of everything settled.
    pub(crate) fn top(&self) -> Place {
        self.ranges.last_key_value().map_or(self.floor, |(_, (_, end))| *end)
    }

    /// Samples in all ranges above the floor.
    pub(crate) fn samples_above_floor(&self) -> u64 {
        self.ranges().map(|(start, end)| end.number - start.number).sum()
    }

    /// Where the settled range that contains `offset` ends; `None` when it is not settled.
    pub(crate) fn end_of(&self, offset: u64) -> Option<Place> {
        if offset < self.floor.offset {
            return Some(self.floor);
        }
        let (_, (_, end)) = self.ranges.range(..=offset).next_back()?;
        (offset < end.offset).then_some(*end)
    }

    /// Where the first settled range above `offset` begins.
    pub(crate) fn next_start(&self, offset: u64) -> Option<u64> {
        self.ranges.range(offset + 1..).next().map(|(start, _)| *start)
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.end_of(offset).is_some()
    }

    /// The place with a number that what is settled below and above it allows. The heads of a
    /// damaged log may claim another one; the books have to balance all the same.
    fn fitted(&self, place: Place) -> Place {
        let before = self.ranges.range(..=place.offset).next_back();
        let (least, most) = match before {
            Some((&start, &(number, _))) if start == place.offset => (number, Some(number)),
            Some((_, &(number, end))) if end.offset > place.offset => (number, Some(end.number)),
            other => {
                let below = other.map_or(self.floor, |(_, &(_, end))| end);
                if below.offset == place.offset {
                    return below;
                }
                let least = below.number;
                let behind = self.ranges.range(place.offset..).next();
                (least, behind.map(|(_, &(number, _))| number))
            }
        };
        Place { number: place.number.max(least).min(most.unwrap_or(u64::MAX)), ..place }
    }

    /// Settles everything from `start` to `end`; gives the samples of it that were not settled.
    pub(crate) fn settle(&mut self, start: Place, end: Place) -> u64 {
        let mut start = if start.offset < self.floor.offset { self.floor } else { start };
        if end.offset <= start.offset {
            return 0;
        }
        start = self.fitted(start);
        let mut end = self.fitted(Place { number: end.number.max(start.number), ..end });
        let mut known = 0;
        // Ranges that overlap or touch become part of the new one.
        let touching: Vec<(Place, Place)> = self
            .ranges
            .range(..=end.offset)
            .rev()
            .map(|(&offset, &(number, end))| (Place { offset, number }, end))
            .take_while(|(_, e)| e.offset >= start.offset)
            .collect();
        let (wanted_start, wanted_end) = (start, end);
        for (s, e) in touching {
            let (from, to) = (s.number.max(wanted_start.number), e.number.min(wanted_end.number));
            known += to.saturating_sub(from);
            self.ranges.remove(&s.offset);
            if s.offset < start.offset {
                start = s;
            }
            if e.offset > end.offset {
                end = e;
            }
        }
        if start.offset == self.floor.offset {
            self.floor = end;
        } else {
            self.ranges.insert(start.offset, (start.number, end));
        }
        (wanted_end.number.saturating_sub(wanted_start.number)).saturating_sub(known)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Records of 0 to 3 samples; `number[o]` is the samples before record `o`.
    fn numbers(samples: &[u64]) -> Vec<u64> {
        let mut number = vec![0];
        for s in samples {
            number.push(number[number.len() - 1] + s);
        }
        number
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_records_and_counts_their_samples(
            samples in prop::collection::vec(0..4u64, 60),
            steps in prop::collection::vec((0..60u64, 1..6u64), 0..80),
        ) {
            let number = numbers(&samples);
            let place = |offset: u64| Place { offset, number: number[offset as usize] };
            let (mut settled, mut model) = (Settled::below(place(0)), BTreeSet::new());
            for (from, length) in steps {
                let to = (from + length).min(60);
                let fresh: u64 =
                    (from..to).filter(|o| model.insert(*o)).map(|o| samples[o as usize]).sum();
                prop_assert_eq!(settled.settle(place(from), place(to)), fresh);
                let all: u64 = model.iter().map(|o| samples[*o as usize]).sum();
                prop_assert_eq!(settled.floor().number + settled.samples_above_floor(), all);
                for offset in 0..60 {
                    prop_assert_eq!(settled.contains(offset), model.contains(&offset));
                }
                let again = Settled::from_parts(settled.floor(), settled.ranges());
                prop_assert_eq!(again.as_ref(), Some(&settled));
            }
        }
    }

    proptest! {
        #[test]
        fn places_that_contradict_each_other_leave_the_books_balanced(
            steps in prop::collection::vec(((0..60u64, 0..400u64), (1..9u64, 0..400u64)), 0..80),
        ) {
            let mut settled = Settled::below(Place { offset: 0, number: 7 });
            let mut counted = 7;
            for ((offset, number), (length, other)) in steps {
                let end = Place { offset: offset + length, number: other };
                counted += settled.settle(Place { offset, number }, end);
                prop_assert_eq!(settled.floor().number + settled.samples_above_floor(), counted);
                let again = Settled::from_parts(settled.floor(), settled.ranges());
                prop_assert_eq!(again.as_ref(), Some(&settled));
            }
        }
    }

    #[test]
    fn neighbours_merge_and_the_floor_follows() {
        let place = |offset| Place { offset, number: offset * 10 };
        let mut settled = Settled::below(place(0));
        for offset in [5, 3, 4] {
            assert_eq!(settled.settle(place(offset), place(offset + 1)), 10);
        }
        assert_eq!(settled.ranges().len(), 1);
        assert_eq!(settled.settle(place(0), place(6)), 30, "only what was not settled counts");
        assert_eq!((settled.floor(), settled.ranges().len()), (place(6), 0));
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let place = |offset| Place { offset, number: offset };
        let parts = |ranges: &[(u64, u64)]| {
            Settled::from_parts(place(5), ranges.iter().map(|(s, e)| (place(*s), place(*e))))
        };
        assert!(parts(&[(6, 7), (9, 12)]).is_some());
        for bad in [&[(5, 6)][..], &[(7, 7)], &[(8, 9), (6, 7)], &[(6, 9), (8, 10)]] {
            assert!(parts(bad).is_none(), "{bad:?}");
        }
    }
}
