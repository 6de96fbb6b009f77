//! The words of the planner: spaces, spans, limits, blocks.

/// One address space of one unit: what a single request can read from. Modbus: the unit
/// identifier and the function code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId {
    /// The target behind the connection; a unit that stops answering is handled as one.
    pub unit: u16,
    /// The table inside the unit.
    pub table: u8,
}

impl SpaceId {
    /// A space from its two parts.
    pub fn new(unit: u16, table: u8) -> Self {
        Self { unit, table }
    }
}

/// The units (registers, bits, bytes) that one point occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The caller's index of the point; comes back in blocks and events.
    pub id: usize,
    /// Where it lies.
    pub space: SpaceId,
    /// First address.
    pub start: u32,
    /// Number of units; 0 counts as 1.
    pub len: u32,
    /// Spans of one group and one space are read with one request.
    pub group: Option<u32>,
}

impl Span {
    /// First address behind the span.
    pub fn end(&self) -> u32 {
        self.start.saturating_add(self.len.max(1))
    }
}

/// What one request of a space may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most units in one request.
    pub max_len: u32,
    /// Longest run of unasked units that is read along to save a request.
    pub max_gap: u32,
}

/// One request: a run of units and the spans that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The space that is read.
    pub space: SpaceId,
    /// First address.
    pub start: u32,
    /// Number of units.
    pub len: u32,
    /// Ids of the covered spans, by start address (a group's spans lie together).
    pub members: Vec<usize>,
}
