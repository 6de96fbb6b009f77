//! What a remote has accepted in the session of a sink and may still lose: by the mark that will
//! say that it is safe, as runs of records without a hole between them. Pure.

use std::collections::BTreeMap;

use lineside_core::sink::Outcome;

use crate::settled::Place;

/// Records next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: Place,
    pub(super) end: Place,
    /// Samples that the remote has.
    pub(super) delivered: u64,
    /// Samples without a place in the sink's encoding.
    pub(super) skipped: u64,
    /// Samples that a later one replaced.
    pub(super) merged: u64,
}

impl Run {
    /// What the sink said of all of them.
    pub(super) fn said(&self) -> Outcome {
        let Self { delivered, skipped, merged, .. } = *self;
        Outcome { delivered, skipped, merged, ..Outcome::nothing() }
    }

    /// Both as one; the second begins where the first ends.
    fn with(self, behind: Self) -> Self {
        Self {
            start: self.start,
            end: behind.end,
            delivered: self.delivered + behind.delivered,
            skipped: self.skipped + behind.skipped,
            merged: self.merged + behind.merged,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// By mark, then by the offset of the start.
    marks: BTreeMap<u64, BTreeMap<u64, Run>>,
}

impl Accepted {
    /// Adds a record. A million of them in a row take no more room than one.
    pub(super) fn add(&mut self, mark: u64, record: Run) {
        let runs = self.marks.entry(mark).or_default();
        let mut run = record;
        if let Some((&offset, &before)) = runs.range(..run.start.offset).next_back()
            && before.end.offset == run.start.offset
        {
            runs.remove(&offset);
            run = before.with(run);
        }
        if let Some(behind) = runs.remove(&run.end.offset) {
            run = run.with(behind);
        }
        runs.insert(run.start.offset, run);
    }

    /// Takes what has this mark or a lower one, lowest mark and offset first.
    pub(super) fn confirm(&mut self, mark: u64) -> impl Iterator<Item = Run> + use<> {
        let later = mark.checked_add(1).map(|next| self.marks.split_off(&next));
        let confirmed = std::mem::replace(&mut self.marks, later.unwrap_or_default());
        confirmed.into_values().flat_map(BTreeMap::into_values)
    }

    /// Samples in all of it.
    pub(super) fn samples(&self) -> u64 {
        let runs = self.marks.values().flat_map(BTreeMap::values);
        runs.map(|run| run.end.number - run.start.number).sum()
    }

    /// Where the run that contains `offset` ends.
    pub(super) fn end_of(&self, offset: u64) -> Option<u64> {
        self.marks.values().find_map(|runs| {
            let (_, run) = runs.range(..=offset).next_back()?;
            (offset < run.end.offset).then_some(run.end.offset)
        })
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64) -> Run {
        let start = Place { offset, number: offset * 10 };
        Run { start, end: start.after(10), delivered: 9, skipped: 1, merged: 0 }
    }

    #[test]
    fn records_in_any_order_become_runs_that_hold_all_of_their_samples() {
        let mut accepted = Accepted::default();
        for offset in [5, 7, 6, 1, 3, 2, 0] {
            accepted.add(4, record(offset));
        }
        accepted.add(5, record(4));
        assert_eq!(accepted.samples(), 80);
        assert_eq!([0, 4, 7, 8].map(|at| accepted.end_of(at)), [Some(4), Some(5), Some(8), None]);
        let runs: Vec<_> = accepted.confirm(4).collect();
        let ends: Vec<_> = runs.iter().map(|r| (r.start.number, r.end.number)).collect();
        assert_eq!(ends, [(0, 40), (50, 80)]);
        assert_eq!(
            runs.iter().map(|r| (r.delivered, r.skipped)).collect::<Vec<_>>(),
            [(36, 4), (27, 3)]
        );
        assert_eq!(accepted.confirm(4).count(), 0);
        assert_eq!(accepted.confirm(u64::MAX).collect::<Vec<_>>(), [record(4)]);
    }
}
