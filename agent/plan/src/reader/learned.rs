//! What outlives a connection: the same device is reached again, with the same requests.

use std::collections::{BTreeMap, HashMap};

use crate::span::{SpaceId, Span};

use super::silence::Unit;
use super::walls::Walls;
use super::{Reader, Record, Space};

/// Space, first address and length: what was said about an address holds for whoever reads it.
type Place = (SpaceId, u32, u32);

fn place(span: &Span) -> Place {
    (span.space, span.start, span.len)
}

/// What a [`Reader`] has learned about a device: refused addresses with their back-off, holes,
/// caps, refused spaces, and which units answer. As large as the set of points at most.
#[derive(Clone, Debug)]
pub struct Learned {
    records: HashMap<Place, Record>,
    walls: Walls,
    spaces: BTreeMap<SpaceId, Space>,
    units: BTreeMap<u16, Unit>,
}

impl Reader {
    /// What was learned so far, for the reader of the next connection to the same device.
    pub fn learned(&self) -> Learned {
        let record = |p: &super::Point| Some((place(&p.spec.span), **p.record.as_ref()?));
        Learned {
            records: self.points.iter().filter_map(record).collect(),
            walls: self.walls.clone(),
            spaces: self.spaces.clone(),
            units: self.units.for_another_connection(),
        }
    }

    /// This reader, new, with what another one has learned about the same device with the same
    /// limits and times; what belongs to points that are not here is dropped. Units that were
    /// silent are asked again in the first cycle, behind the others and with little patience.
    #[must_use]
    pub fn with(mut self, learned: Learned) -> Self {
        for point in &mut self.points {
            point.record = learned.records.get(&place(&point.spec.span)).map(|r| Box::new(*r));
        }
        (self.walls, self.spaces) = (learned.walls, learned.spaces);
        let mut units = learned.units;
        for (id, unit) in &mut self.units.all {
            if let Some(mut known) = units.remove(id) {
                known.interval = unit.interval;
                *unit = known;
            }
        }
        self.forget_strangers();
        self.replan();
        self
    }
}
