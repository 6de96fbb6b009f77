//! What a log says of itself beside its segments: whose it is, how it was closed, its clock, and
//! its newest gaps. Pure.

use std::collections::VecDeque;

use lineside_core::UnixNanos;
use lineside_crds::model::ObjectKey;

use crate::fields::{BadField, Reader, put_block, put_signed, put_varint};
use crate::settled::Place;

/// Most gaps and most clock corrections that are kept.
pub(crate) const KEPT: usize = 64;

/// Nothing was captured in between: the agent did not run, or what it captured was not yet on
/// disk when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Start, ns since 1970.
    pub from: UnixNanos,
    /// End, ns since 1970.
    pub to: UnixNanos,
}

/// The times of an era are to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    pub(crate) era: u32,
    pub(crate) delta: i64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) key: ObjectKey,
    /// The place of the next record, if the log was closed and nothing was written since.
    pub(crate) closed_at: Option<Place>,
    /// Offsets at and above were not handed out before they were on disk.
    pub(crate) reserved: u64,
    /// The clock that times are of; a new one at every start and every correction.
    pub(crate) era: u32,
    pub(crate) corrections: VecDeque<Correction>,
    pub(crate) gaps: VecDeque<Gap>,
}

impl Meta {
    pub(crate) fn new(key: ObjectKey) -> Self {
        let (corrections, gaps) = (VecDeque::new(), VecDeque::new());
        Self { key, closed_at: None, reserved: 0, era: 0, corrections, gaps }
    }

    pub(crate) fn add_gap(&mut self, gap: Gap) {
        // A start that ended before its first record was on disk left a part of this one.
        if self.gaps.back().is_some_and(|last| last.from == gap.from) {
            self.gaps.pop_back();
        }
        self.gaps.push_back(gap);
        if self.gaps.len() > KEPT {
            self.gaps.pop_front();
        }
    }

    /// The end of the newest gap, by a clock that is right now.
    pub(crate) fn end_gap(&mut self, to: UnixNanos) {
        if let Some(gap) = self.gaps.back_mut() {
            gap.to = to.max(gap.from);
        }
    }

    pub(crate) fn add_correction(&mut self, correction: Correction) {
        self.corrections.push_back(correction);
        if self.corrections.len() > KEPT {
            self.corrections.pop_front();
        }
    }

    /// By how much the times of an era are to be moved, if that is known.
    pub(crate) fn correction_of(&self, era: u32) -> Option<i64> {
        self.corrections.iter().find(|c| c.era == era).map(|c| c.delta)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_block(&mut out, self.key.namespace.as_bytes());
        put_block(&mut out, self.key.name.as_bytes());
        out.push(u8::from(self.closed_at.is_some()));
        let place = self.closed_at.unwrap_or_default();
        put_varint(&mut out, place.offset);
        put_varint(&mut out, place.number);
        put_varint(&mut out, self.reserved);
        put_varint(&mut out, u64::from(self.era));
        put_varint(&mut out, self.corrections.len() as u64);
        for Correction { era, delta } in &self.corrections {
            put_varint(&mut out, u64::from(*era));
            put_signed(&mut out, *delta);
        }
        put_varint(&mut out, self.gaps.len() as u64);
        for Gap { from, to } in &self.gaps {
            put_signed(&mut out, *from);
            put_signed(&mut out, *to);
        }
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, BadField> {
        let mut reader = Reader(body);
        let key = ObjectKey::new(reader.text("namespace")?, reader.text("name")?);
        let closed = reader.u8("closed")? == 1;
        let place = Place { offset: reader.varint("offset")?, number: reader.varint("number")? };
        let reserved = reader.varint("reserved")?;
        let era = reader.small("era")?;
        let mut corrections = VecDeque::new();
        for _ in 0..reader.varint("corrections")?.min(KEPT as u64) {
            let era = reader.small("era")?;
            corrections.push_back(Correction { era, delta: reader.signed("delta")? });
        }
        let mut gaps = VecDeque::new();
        for _ in 0..reader.varint("gaps")?.min(KEPT as u64) {
            gaps.push_back(Gap { from: reader.signed("from")?, to: reader.signed("to")? });
        }
        let closed_at = closed.then_some(place);
        Ok(Self { key, closed_at, reserved, era, corrections, gaps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_s_own_file_comes_back_and_keeps_the_newest() {
        let mut meta = Meta::new(ObjectKey::new("plant", "main"));
        meta.closed_at = Some(Place { offset: 7, number: 9 });
        for i in 0..100 {
            meta.add_gap(Gap { from: i, to: i + 1 });
            meta.add_correction(Correction { era: i as u32, delta: -i });
        }
        assert_eq!((meta.gaps.len(), meta.gaps[0].from), (KEPT, 36));
        assert_eq!((meta.correction_of(99), meta.correction_of(3)), (Some(-99), None));
        assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
    }

    #[test]
    fn a_start_without_a_record_leaves_one_gap() {
        let mut meta = Meta::new(ObjectKey::new("plant", "main"));
        meta.add_gap(Gap { from: 5, to: 8 });
        meta.add_gap(Gap { from: 5, to: 9 });
        assert_eq!(meta.gaps, [Gap { from: 5, to: 9 }]);
    }
}
