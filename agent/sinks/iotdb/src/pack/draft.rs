//! One request in the making.

use lineside_core::sink::Record;

use super::cells::{Names, extend, push, put, type_of};
use super::rows::{Block, Cell, Row, Rows};
use super::{Known, Layout};
use crate::wire::{self, Category, Column, DataType, Tablet};

/// A request is full beyond this: enough for the server to work on, small enough to be sent again.
const FULL_BYTES: usize = 1024 * 1024;
/// As many records as one request may have to be cut into when the server refuses it.
const FULL_RECORDS: usize = 256;

/// Samples of a record that are in a call.
#[derive(Clone, Debug)]
pub struct Share {
    /// The record.
    pub record: Record,
    /// Which of its samples; `None` = all.
    pub samples: Option<Vec<u32>>,
}

impl Share {
    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.samples.as_ref().map_or(self.record.batch.len(), Vec::len) as u64
    }

    /// Indexes of the samples.
    pub fn indexes(&self) -> Vec<u32> {
        let all = || (0..u32::try_from(self.record.batch.len()).unwrap_or(u32::MAX)).collect();
        self.samples.clone().unwrap_or_else(all)
    }
}

/// What one request to the server holds.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its tablets; one in the table model.
    pub tablets: Vec<Tablet>,
    /// Whose samples they are.
    pub shares: Vec<Share>,
}

/// See the module.
pub struct Draft {
    /// Each tablet is a call of its own: the table model has no request for several.
    apart: bool,
    tablets: Vec<Open>,
    /// Of the records that are in the draft, for a call with all tablets.
    shares: Vec<Share>,
    records: usize,
    bytes: usize,
}

/// A tablet that rows are added to.
struct Open {
    tablet: Tablet,
    /// The points of its rows, in their order.
    points: Vec<u32>,
    slots: Vec<Slot>,
    /// Of the records in it, for a call of its own.
    shares: Vec<Share>,
}

/// Columns of a point.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// With its type. None while it was Bad in all rows: then nobody knows its type.
    value: Option<(usize, DataType)>,
    quality: Option<usize>,
}

impl Draft {
    pub(super) fn new(apart: bool) -> Self {
        Self { apart, tablets: Vec::new(), shares: Vec::new(), records: 0, bytes: 0 }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.tablets.is_empty()
    }

    /// Whether it should be sent before anything is added.
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || self.records >= FULL_RECORDS
    }

    /// The requests.
    pub fn into_calls(self) -> Vec<Call> {
        if self.tablets.is_empty() {
            return Vec::new();
        }
        if self.apart {
            let call = |open: Open| Call { tablets: vec![open.tablet], shares: open.shares };
            return self.tablets.into_iter().map(call).collect();
        }
        let tablets = self.tablets.into_iter().map(|open| open.tablet).collect();
        vec![Call { tablets, shares: self.shares }]
    }

    /// Notes whose samples were added.
    pub(super) fn share(&mut self, record: &Record, rows: &Rows) {
        self.records += 1;
        if self.apart || rows.is_empty() {
            return;
        }
        let some = rows.indexes().filter(|indexes| indexes.len() < record.batch.len());
        let samples = some.map(<[u32]>::to_vec);
        self.shares.push(Share { record: record.clone(), samples });
    }
}

impl Known {
    /// Adds a row to a tablet of the draft that has its points and types, first of all to the one
    /// that the row before went into, or to a new one; which it is.
    pub(super) fn add(
        &mut self,
        draft: &mut Draft,
        row: &Row<'_>,
        last: Option<usize>,
        layout: &Layout,
    ) -> Option<usize> {
        let takes = |index: usize| {
            draft.tablets.get(index).is_some_and(|open| open.takes(row, layout.blobs))
        };
        let index = match last.filter(|index| takes(*index)) {
            Some(index) => index,
            None => self.find(draft, row, layout)?,
        };
        let open = draft.tablets.get_mut(index)?;
        draft.bytes += open.add(row, &self.names, layout.blobs);
        if draft.apart {
            open.share(row);
        }
        Some(index)
    }

    /// Adds all rows at once, column by column, if they have the same points and types; whether
    /// they were added.
    pub(super) fn add_block(
        &mut self,
        draft: &mut Draft,
        record: &Record,
        rows: &Rows,
        layout: &Layout,
    ) -> bool {
        let (Some(block), Some(row)) = (rows.block(record), rows.iter(record).next()) else {
            return false;
        };
        let Some(index) = self.find(draft, &row, layout) else { return false };
        let Some(open) = draft.tablets.get_mut(index) else { return false };
        if !open.takes_block(&block, layout.blobs) {
            return false;
        }
        draft.bytes += open.add_block(&block, rows, &self.names);
        if draft.apart {
            rows.iter(record).for_each(|row| open.share(&row));
        }
        true
    }

    fn find(&mut self, draft: &mut Draft, row: &Row<'_>, layout: &Layout) -> Option<usize> {
        let candidates = self.tablets.entry(row.cells().next()?.point).or_default();
        // Live samples and a backlog may take turns: each goes on in its own tablet.
        let fitting = candidates
            .iter()
            .filter_map(|index| Some((*index, draft.tablets.get(*index)?)))
            .filter(|(_, open)| open.takes(row, layout.blobs))
            .max_by_key(|(_, open)| open.tablet.times.last().copied());
        Some(fitting.map(|(index, _)| index).unwrap_or_else(|| {
            candidates.push(draft.tablets.len());
            draft.tablets.push(Open::new(row, &self.names, layout));
            draft.tablets.len() - 1
        }))
    }
}

impl Open {
    fn new(row: &Row<'_>, names: &Names, layout: &Layout) -> Self {
        let mut columns = match layout.is_table() {
            true => names.tag_columns(),
            false => Vec::with_capacity(2 * row.len()),
        };
        let mut slot = |sample: Cell<'_>| {
            let mut slot = Slot::default();
            if let (Some(of), Some(name)) =
                (type_of(sample.value, layout.blobs), names.value(sample.point))
            {
                slot.value = Some((columns.len(), of));
                columns.push(Column::new(name.clone(), of, Category::Field));
            }
            if let (true, Some(name)) = (layout.quality, names.quality(sample.point)) {
                slot.quality = Some(columns.len());
                columns.push(Column::new(name.clone(), DataType::Int32, Category::Field));
            }
            slot
        };
        let slots = row.cells().map(&mut slot).collect();
        let points = row.cells().map(|sample| sample.point).collect();
        let tablet = Tablet { target: names.target.clone(), times: Vec::new(), columns };
        Self { tablet, points, slots, shares: Vec::new() }
    }

    /// Whether the row has the same points, values of the same types, and a later tick.
    fn takes(&self, row: &Row<'_>, blobs: bool) -> bool {
        self.points.len() == row.len()
            && self.tablet.times.last().is_none_or(|last| *last < row.tick)
            && row.cells().zip(&self.points).zip(&self.slots).all(|((sample, point), slot)| {
                let of = type_of(sample.value, blobs);
                let fits = slot.value.is_none_or(|(_, column)| of.is_none_or(|of| of == column));
                sample.point == *point && fits
            })
    }

    /// Adds a row that it takes; by how many bytes it grows.
    fn add(&mut self, row: &Row<'_>, names: &Names, blobs: bool) -> usize {
        let before = self.tablet.rows();
        let Tablet { times, columns, .. } = &mut self.tablet;
        times.push(row.tick);
        let mut grown = 8;
        let tags = columns.iter_mut().take_while(|column| column.category == Category::Tag);
        for (column, tag) in tags.zip(names.tags()) {
            grown += put(column, wire::Cell::String(tag));
        }
        for (sample, slot) in row.cells().zip(&mut self.slots) {
            if slot.value.is_none()
                && let (Some(of), Some(name)) =
                    (type_of(sample.value, blobs), names.value(sample.point))
            {
                let mut column = Column::new(name.clone(), of, Category::Field);
                (0..before).for_each(|_| column.push_null());
                slot.value = Some((columns.len(), of));
                columns.push(column);
            }
            if let Some(column) = slot.value.and_then(|(index, _)| columns.get_mut(index)) {
                grown += push(column, sample.value);
            }
            if let Some(column) = slot.quality.and_then(|index| columns.get_mut(index)) {
                grown += put(column, wire::Cell::Int32(sample.status.0.cast_signed()));
            }
        }
        grown
    }

    /// Whether it takes all rows of a block whose first one it takes.
    fn takes_block(&self, block: &Block<'_>, blobs: bool) -> bool {
        block.rows().all(|row| {
            row.iter().zip(&self.slots).all(|(value, slot)| {
                match (type_of(value, blobs), slot.value) {
                    (None, _) => true,
                    (Some(of), Some((_, column))) => of == column,
                    (Some(_), None) => false,
                }
            })
        })
    }

    /// Adds a block that it takes; by how many bytes it grows.
    fn add_block(&mut self, block: &Block<'_>, rows: &Rows, names: &Names) -> usize {
        let before = self.tablet.bytes();
        let Tablet { times, columns, .. } = &mut self.tablet;
        times.extend(rows.ticks());
        let tags = columns.iter_mut().take_while(|column| column.category == Category::Tag);
        for (column, tag) in tags.zip(names.tags()) {
            for _ in rows.ticks() {
                put(column, wire::Cell::String(tag));
            }
        }
        for (i, slot) in self.slots.iter().enumerate() {
            if let Some(column) = slot.value.and_then(|(index, _)| columns.get_mut(index)) {
                extend(column, block.values(i));
            }
            if let Some(column) = slot.quality.and_then(|index| columns.get_mut(index)) {
                column.extend(block.statuses(i).map(|status| Some(status.0.to_be_bytes())));
            }
        }
        self.tablet.bytes() - before
    }

    /// Notes whose samples were added.
    fn share(&mut self, row: &Row<'_>) {
        let indexes = row.indexes();
        match self.shares.last_mut() {
            Some(Share { record, samples: Some(samples) }) if record.id == row.record.id => {
                samples.extend(indexes);
            }
            _ => {
                let samples = Some(indexes.collect());
                self.shares.push(Share { record: row.record.clone(), samples });
            }
        }
    }
}
