//! From records to tablets. Pure: it knows the server's unit of time and names, no connection.
//!
//! The samples of a record that fall on one tick are a row; the rows of a device with the same
//! points are a tablet, over all records of a request. So a tablet is dense, although one device
//! has points with different intervals and a cycle has a time for each request of the driver.
//!
//! ```text
//! record: a@1 b@1 c@2 | a@5 b@5 c@6      tablet {a, b}: rows 1, 5      tablet {c}: rows 2, 6
//! ```
//!
//! Within a request the ticks of every point rise, so a tablet is sorted and holds no two values
//! for one place, and what a server does with such is never asked.

mod cells;
mod draft;
mod layout;
mod order;
mod refusals;
mod rows;
mod schema;

pub use draft::{Call, Draft, Share};
pub use layout::{Layout, Precision};
pub use order::Excluded;
pub use refusals::Refusals;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use lineside_core::Origin;
use lineside_core::sink::Record;

use cells::{Names, type_of};
use order::{Newest, Ordered};
use schema::Tried;

use crate::verdict::{Reach, Refused};

/// Most origins that are known at a time; beyond it all are forgotten, which costs their names.
const MAX_ORIGINS: usize = 8192;

/// What became of a record that was to be packed.
#[derive(Debug)]
pub enum Packed {
    /// It is in the draft, but for what is excluded.
    Taken(Excluded),
    /// It has a value for a place that the draft has a value for: it goes into the next one.
    Collides,
}

/// See the module. Lives as long as a session.
pub struct Packer {
    layout: Layout,
    origins: HashMap<usize, Known>,
    /// Columns that the server does not take.
    pub refusals: Refusals,
    /// Number of the present draft.
    draft: u64,
    /// Schemas that were tried to make.
    tried: Tried,
}

/// One origin with what the session knows of it.
struct Known {
    /// Kept, so that no other origin takes its address.
    _origin: Arc<Origin>,
    names: Names,
    /// Newest value of each point that was packed, over the whole session.
    newest: Vec<Newest>,
    /// Latest tick of all points.
    latest: i64,
    /// Tablets of the present draft by their first point.
    tablets: HashMap<u32, Vec<usize>>,
    tablets_of: u64,
}

impl Packer {
    /// A packer for the names, the unit and the types of one server.
    pub fn new(layout: Layout) -> Self {
        let (refusals, tried) = (Refusals::default(), Tried::default());
        Self { layout, origins: HashMap::new(), refusals, draft: 0, tried }
    }

    /// Starts a request.
    pub fn draft(&mut self, now: Instant) -> Draft {
        self.draft += 1;
        if self.origins.len() > MAX_ORIGINS {
            self.origins.clear();
        }
        self.refusals.forget(now);
        Draft::new(self.layout.is_table())
    }

    /// Adds a record to the draft.
    pub fn add(&mut self, draft: &mut Draft, record: &Record) -> Packed {
        self.pack(draft, record, None)
    }

    /// Adds some samples of a record that was sent before.
    pub fn add_again(&mut self, draft: &mut Draft, record: &Record, samples: &[u32]) -> Excluded {
        match self.pack(draft, record, Some(samples)) {
            Packed::Taken(excluded) => excluded,
            // Only a first time is held against the draft.
            Packed::Collides => Excluded::default(),
        }
    }

    /// Remembers that the server refused these samples, which are of one point and one type.
    pub fn note_refused(&mut self, share: &Share, refused: &Refused, now: Instant) {
        let batch = &share.record.batch;
        let known = self.origins.get(&(Arc::as_ptr(batch.origin()) as usize));
        let first = share.indexes().first().and_then(|index| batch.get(*index as usize));
        if let (Some(known), Some(sample), Reach::Column) = (known, first, refused.reach)
            && let Some(name) = known.names.value(sample.point)
        {
            let of = type_of(sample.value, self.layout.blobs);
            self.refusals.note((&known.names.target, name, of), refused.clone(), now);
        }
    }

    fn pack(&mut self, draft: &mut Draft, record: &Record, again: Option<&[u32]>) -> Packed {
        let Self { layout, origins, refusals, draft: number, .. } = self;
        let origin = record.batch.origin();
        let address = Arc::as_ptr(origin) as usize;
        let known = origins.entry(address).or_insert_with(|| Known::new(origin, layout));
        known.enter(*number);

        let Ordered { rows, excluded } =
            order::order(&record.batch, again, layout, &known.names, refusals);
        let mut excluded = excluded;
        if again.is_none() {
            if known.collides(record, &rows, *number) {
                return Packed::Collides;
            }
            excluded.replacing += known.note(record, &rows, *number);
        }
        if !known.add_block(draft, record, &rows, layout) {
            let mut last = None;
            for row in rows.iter(record) {
                last = known.add(draft, &row, last, layout);
            }
        }
        draft.share(record, &rows);
        Packed::Taken(excluded)
    }
}

impl Known {
    fn new(origin: &Arc<Origin>, layout: &Layout) -> Self {
        let points = origin.points.len();
        Self {
            _origin: origin.clone(),
            names: Names::new(origin, layout),
            newest: vec![Newest::NONE; points],
            latest: i64::MIN,
            tablets: HashMap::new(),
            tablets_of: 0,
        }
    }

    fn enter(&mut self, draft: u64) {
        if self.tablets_of != draft {
            self.tablets.clear();
            self.tablets_of = draft;
        }
    }
}

#[cfg(test)]
mod tests;
