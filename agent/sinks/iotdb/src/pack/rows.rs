//! The samples of a record that are written, in the order of their ticks. This and what works on
//! it sees every value that goes to a server, so it goes over them few times and in their order.

use lineside_core::sink::Record;
use lineside_core::{Batch, StatusCode, Value};

/// See the module. The ticks of every point rise.
pub(super) struct Rows {
    /// Indexes of the samples; `None` = all, as they stand.
    picked: Option<Vec<u32>>,
    /// One for each tick.
    runs: Vec<Run>,
}

/// Samples of one tick.
#[derive(Clone, Copy)]
struct Run {
    tick: i64,
    /// Behind its last sample.
    end: usize,
}

impl Rows {
    /// Samples that are whole and stand in order, added one by one with [`Rows::extend`].
    pub(super) fn whole() -> Self {
        Self { picked: None, runs: Vec::new() }
    }

    /// Of ticks and indexes, sorted by tick.
    pub(super) fn picked(samples: &[(i64, u32)]) -> Self {
        let mut rows = Self::whole();
        samples.iter().for_each(|(tick, _)| rows.extend(*tick));
        rows.picked = Some(samples.iter().map(|(_, index)| *index).collect());
        rows
    }

    /// Adds the next sample.
    #[inline]
    pub(super) fn extend(&mut self, tick: i64) {
        match self.runs.last_mut() {
            Some(run) if run.tick == tick => run.end += 1,
            last => {
                let end = last.map_or(0, |run| run.end) + 1;
                self.runs.push(Run { tick, end });
            }
        }
    }

    /// Earliest tick.
    pub(super) fn first(&self) -> Option<i64> {
        self.runs.first().map(|run| run.tick)
    }

    /// Latest tick.
    pub(super) fn last(&self) -> Option<i64> {
        self.runs.last().map(|run| run.tick)
    }

    /// Indexes of the samples; `None` = all, as they stand.
    pub(super) fn indexes(&self) -> Option<&[u32]> {
        self.picked.as_deref()
    }

    /// Whether there is no sample.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The whole record as rows of the same points, when it is such: what a driver makes that reads
    /// all its points at once.
    pub(super) fn block<'a>(&self, record: &'a Record) -> Option<Block<'a>> {
        let batch = &*record.batch;
        let width = self.runs.first().filter(|_| self.picked.is_none())?.end;
        let points = batch.points().get(..width)?;
        let even = self.runs.iter().enumerate().all(|(i, run)| run.end == (i + 1) * width);
        let same = || batch.points().chunks_exact(width).all(|row| row == points);
        (self.runs.len() > 1 && even && same()).then_some(Block { batch, width })
    }

    /// Their ticks.
    pub(super) fn ticks(&self) -> impl Iterator<Item = i64> {
        self.runs.iter().map(|run| run.tick)
    }

    /// One for each tick.
    pub(super) fn iter<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = Row<'a>> {
        let mut from = 0;
        self.runs.iter().map(move |run| {
            let start = std::mem::replace(&mut from, run.end);
            Row { record, picked: self.indexes(), tick: run.tick, from: start, to: run.end }
        })
    }
}

/// See [`Rows::block`].
pub(super) struct Block<'a> {
    batch: &'a Batch,
    width: usize,
}

impl<'a> Block<'a> {
    /// The values, row by row.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'a [Value]> + use<'a> {
        self.batch.values().chunks_exact(self.width)
    }

    /// The values of a column.
    pub(super) fn values(&self, column: usize) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.rows().map(move |row| row.get(column).unwrap_or(&Value::Null))
    }

    /// The qualities of a column.
    pub(super) fn statuses(&self, column: usize) -> impl Iterator<Item = StatusCode> + use<'a> {
        let rows = self.batch.statuses().chunks_exact(self.width);
        rows.map(move |row| row.get(column).copied().unwrap_or_default())
    }
}

/// Samples of a record that fall on one tick.
pub(super) struct Row<'a> {
    pub(super) record: &'a Record,
    picked: Option<&'a [u32]>,
    pub(super) tick: i64,
    from: usize,
    to: usize,
}

impl<'a> Row<'a> {
    /// Number of samples.
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    /// Indexes of its samples.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u32> + use<'a> {
        let picked = self.picked;
        (self.from..self.to).filter_map(move |at| match picked {
            None => u32::try_from(at).ok(),
            Some(picked) => picked.get(at).copied(),
        })
    }

    /// Its samples.
    #[inline]
    pub(super) fn cells(&self) -> Cells<'a> {
        let batch: &Batch = &self.record.batch;
        Cells { batch, picked: self.picked, at: self.from, end: self.to }
    }
}

/// See [`Row::cells`].
pub(super) struct Cells<'a> {
    batch: &'a Batch,
    picked: Option<&'a [u32]>,
    at: usize,
    end: usize,
}

/// What is written of a sample.
pub(super) struct Cell<'a> {
    pub(super) point: u32,
    pub(super) value: &'a Value,
    pub(super) status: StatusCode,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        if self.at >= self.end {
            return None;
        }
        let at = match self.picked {
            None => self.at,
            Some(picked) => *picked.get(self.at)? as usize,
        };
        self.at += 1;
        Some(Cell {
            point: *self.batch.points().get(at)?,
            value: self.batch.values().get(at)?,
            status: *self.batch.statuses().get(at)?,
        })
    }
}
