//! The position of one sink in its log, with its books. Pure.
//!
//! Position and totals are one body in one slot, so that after every kill they speak of the same
//! moment: `joined + delivered + dead_lettered + dropped` is the number of samples settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fields::{BadField, Reader, put_block, put_varint};
use crate::ledger::{DropReason, Ledger};
use crate::settled::{Place, Settled};

/// Most ranges above the floor. A sink that would need more gets no record until the floor moves.
pub(crate) const MAX_RANGES: usize = 1024;

/// Most begun thinned segments that are remembered.
const MAX_THINNED: usize = 96;

/// Most dead letters that can go between two writes of the cursor.
pub(crate) const MAX_GONE: usize = 64;

/// Longest configuration of a sink that is kept with its cursor, in bytes.
pub const MAX_CONFIGURATION: usize = 16 * 1024;

/// Longest name of a sink, in bytes.
pub const MAX_NAME: usize = 1024;

/// What is known of records that seem to end their sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    /// Most records that a session is handed at once; `None` = any number.
    pub(crate) at_once: Option<u32>,
    /// A record that was alone when sessions ended, and how often.
    pub(crate) alone: Option<(u64, u32)>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) name: Arc<str>,
    pub(crate) configuration: Arc<[u8]>,
    /// Samples of the log before the sink joined.
    pub(crate) joined: u64,
    pub(crate) settled: Settled,
    pub(crate) delivered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    pub(crate) suspects: Suspects,
    /// For each thinned segment that was begun, by its first offset, the thinned samples that
    /// are in the totals.
    pub(crate) thinned_passed: BTreeMap<u64, u64>,
    /// Where the sink was taken out of its pipeline: nothing from there on is for it.
    pub(crate) frozen_at: Option<Place>,
    /// Dead letters, by offset and part, that the totals no longer count and whose file may
    /// still have them.
    pub(crate) gone: Vec<(u64, Option<u32>)>,
}

impl Cursor {
    /// A sink that joins at `place`.
    pub(crate) fn new(name: Arc<str>, configuration: Arc<[u8]>, place: Place) -> Self {
        Self {
            name,
            configuration,
            joined: place.number,
            settled: Settled::below(place),
            delivered: 0,
            dead_lettered: 0,
            dropped: BTreeMap::new(),
            suspects: Suspects::default(),
            thinned_passed: BTreeMap::new(),
            frozen_at: None,
            gone: Vec::new(),
        }
    }

    /// Nothing from `place` on is for the sink.
    pub(crate) fn freeze(&mut self, place: Place) {
        self.frozen_at.get_or_insert(place);
    }

    /// Whether the sink has only joined so far: such a position knows nothing of the log.
    pub(crate) fn is_untouched(&self) -> bool {
        let floor = self.settled.floor();
        self.accounted() == 0 && self.settled.top() == floor && floor.number == self.joined
    }

    /// The log ends at `end`: a sink that joined behind what was never written joins there.
    /// Whether it did.
    pub(crate) fn not_joined_behind(&mut self, end: Place) -> bool {
        let moves = self.is_untouched() && is_behind(self.settled.floor(), end);
        if moves {
            (self.joined, self.settled) = (end.number, Settled::below(end));
        }
        moves
    }

    /// The log ends at `end`: what the sink was taken out behind was never written. Whether it
    /// was.
    pub(crate) fn not_frozen_behind(&mut self, end: Place) -> bool {
        match &mut self.frozen_at {
            Some(frozen) if is_behind(*frozen, end) => {
                *frozen = end;
                true
            }
            _ => false,
        }
    }

    /// From `place` on everything is for the sink again; what came in between never was.
    pub(crate) fn thaw(&mut self, place: Place) {
        if let Some(frozen) = self.frozen_at.take() {
            self.joined += self.settled.settle(frozen, place);
        }
    }

    /// Whether everything that is for the sink is settled.
    pub(crate) fn is_done(&self) -> bool {
        self.frozen_at.is_some_and(|frozen| self.settled.floor().offset >= frozen.offset)
    }

    /// Settles a part of the log as far as it is for the sink; gives the samples that were not
    /// settled before. They are the caller's to count.
    pub(crate) fn settle(&mut self, start: Place, end: Place) -> u64 {
        match self.frozen_at {
            Some(frozen) if start.offset >= frozen.offset => 0,
            Some(frozen) if end.offset > frozen.offset => self.settled.settle(start, frozen),
            _ => self.settled.settle(start, end),
        }
    }

    /// Settles a part of the log; what of it was not settled is dropped.
    pub(crate) fn drop_part(&mut self, start: Place, end: Place, reason: DropReason) -> u64 {
        let samples = self.settle(start, end);
        self.count_dropped(reason, samples);
        samples
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason, samples: u64) {
        if samples > 0 {
            *self.dropped.entry(reason).or_default() += samples;
        }
    }

    fn accounted(&self) -> u64 {
        self.delivered + self.dead_lettered + self.dropped.values().sum::<u64>()
    }

    /// Whether the totals and the position agree.
    pub(crate) fn balances(&self) -> bool {
        let settled = self.settled.floor().number + self.settled.samples_above_floor();
        self.joined + self.accounted() == settled
    }

    /// The books, when the log's next record has `next` samples before it.
    pub(crate) fn ledger(&self, next: u64) -> Ledger {
        let end = self.frozen_at.map_or(next, |frozen| frozen.number.min(next));
        let captured = end.saturating_sub(self.joined);
        Ledger {
            captured,
            delivered: self.delivered,
            buffered: captured.saturating_sub(self.accounted()),
            dead_lettered: self.dead_lettered,
            dropped: self.dropped.clone(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_block(&mut out, self.name.as_bytes());
        put_block(&mut out, &self.configuration);
        for number in [self.joined, self.delivered, self.dead_lettered] {
            put_varint(&mut out, number);
        }
        put_varint(&mut out, self.dropped.len() as u64);
        for (reason, samples) in &self.dropped {
            put_block(&mut out, reason.label().as_bytes());
            put_varint(&mut out, *samples);
        }
        put_varint(&mut out, self.suspects.at_once.map_or(0, u64::from));
        let (offset, times) = self.suspects.alone.unwrap_or_default();
        put_varint(&mut out, u64::from(times));
        put_varint(&mut out, offset);
        put_varint(&mut out, self.thinned_passed.len().min(MAX_THINNED) as u64);
        for (segment, samples) in self.thinned_passed.iter().rev().take(MAX_THINNED) {
            put_varint(&mut out, *segment);
            put_varint(&mut out, *samples);
        }
        out.push(u8::from(self.frozen_at.is_some()));
        let frozen = self.frozen_at.unwrap_or_default();
        put_varint(&mut out, frozen.offset);
        put_varint(&mut out, frozen.number);
        put_varint(&mut out, self.gone.len() as u64);
        for (offset, part) in &self.gone {
            put_varint(&mut out, *offset);
            put_varint(&mut out, part.map_or(0, |p| u64::from(p) + 1));
        }
        // Places as distances, so that a thousand ranges fit a slot.
        let mut before = Place::default();
        put_place(&mut out, &mut before, self.settled.floor());
        put_varint(&mut out, self.settled.ranges().len() as u64);
        for (start, end) in self.settled.ranges() {
            put_place(&mut out, &mut before, start);
            put_place(&mut out, &mut before, end);
        }
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, BadField> {
        let mut reader = Reader(body);
        let name = Arc::from(reader.text("name")?);
        let configuration = Arc::from(reader.block("configuration")?);
        let joined = reader.varint("joined")?;
        let delivered = reader.varint("delivered")?;
        let dead_lettered = reader.varint("dead lettered")?;
        let mut dropped = BTreeMap::new();
        for _ in 0..reader.varint("dropped")? {
            let reason = DropReason::of(reader.text("reason")?).ok_or(BadField("reason"))?;
            dropped.insert(reason, reader.varint("dropped")?);
        }
        let at_once = Some(reader.small("at once")?).filter(|n| *n > 0);
        let times = reader.small("times")?;
        let alone = Some((reader.varint("alone")?, times)).filter(|_| times > 0);
        let mut thinned_passed = BTreeMap::new();
        for _ in 0..reader.varint("thinned")? {
            thinned_passed.insert(reader.varint("thinned")?, reader.varint("thinned")?);
        }
        let frozen = reader.u8("frozen")? == 1;
        let at = Place { offset: reader.varint("frozen")?, number: reader.varint("frozen")? };
        let frozen_at = Some(at).filter(|_| frozen);
        let mut gone = Vec::new();
        for _ in 0..reader.varint("gone")? {
            let (offset, part) = (reader.varint("gone")?, reader.varint("gone")?);
            let part = part.checked_sub(1).map(u32::try_from);
            gone.push((offset, part.transpose().map_err(|_| BadField("gone"))?));
        }
        let mut before = Place::default();
        let floor = place(&mut reader, &mut before)?;
        let mut ranges = Vec::new();
        for _ in 0..reader.varint("ranges")? {
            ranges.push((place(&mut reader, &mut before)?, place(&mut reader, &mut before)?));
        }
        let settled = Settled::from_parts(floor, ranges).ok_or(BadField("ranges"))?;
        let suspects = Suspects { at_once, alone };
        Ok(Self {
            name,
            configuration,
            joined,
            settled,
            delivered,
            dead_lettered,
            dropped,
            suspects,
            thinned_passed,
            frozen_at,
            gone,
        })
    }
}

fn is_behind(place: Place, end: Place) -> bool {
    place.offset > end.offset || place.number > end.number
}

fn put_place(out: &mut Vec<u8>, before: &mut Place, place: Place) {
    put_varint(out, place.offset - before.offset);
    put_varint(out, place.number - before.number);
    *before = place;
}

fn place(reader: &mut Reader<'_>, before: &mut Place) -> Result<Place, BadField> {
    let bad = BadField("place");
    let offset = before.offset.checked_add(reader.varint("place")?).ok_or(bad)?;
    let number = before.number.checked_add(reader.varint("place")?).ok_or(bad)?;
    *before = Place { offset, number };
    Ok(*before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealed::MAX_BODY;

    fn at(offset: u64) -> Place {
        Place { offset, number: offset * 1_000_003 }
    }

    #[test]
    fn the_largest_cursor_fits_a_slot_and_comes_back() {
        let name = "n".repeat(MAX_NAME);
        let start = Place { offset: 1 << 62, number: 1 << 61 };
        let mut cursor = Cursor::new(name.into(), vec![7; MAX_CONFIGURATION].into(), start);
        for reason in DropReason::ALL {
            cursor.count_dropped(reason, u64::MAX >> 8);
        }
        cursor.suspects = Suspects { at_once: Some(1), alone: Some((u64::MAX, 2)) };
        for segment in 0..MAX_THINNED as u64 {
            cursor.thinned_passed.insert(u64::MAX - segment, u64::MAX);
        }
        cursor.freeze(Place { offset: u64::MAX, number: u64::MAX });
        cursor.gone = vec![(u64::MAX, Some(u32::MAX)); MAX_GONE];
        for range in 1..=MAX_RANGES as u64 {
            let step = |by: u64| Place {
                offset: start.offset + by * 40_000,
                number: start.number + by * 40_000_000,
            };
            cursor.settled.settle(step(range * 2), step(range * 2 + 1));
        }
        let body = cursor.encode();
        println!("{} bytes of {MAX_BODY}", body.len());
        assert!(body.len() <= MAX_BODY);
        assert_eq!(Cursor::decode(&body), Ok(cursor));
    }

    #[test]
    fn totals_and_position_speak_of_the_same_samples() {
        let mut cursor = Cursor::new("a".into(), Vec::new().into(), at(1));
        assert!(cursor.balances());
        assert_eq!(cursor.drop_part(at(3), at(4), DropReason::StoreFull), 1_000_003);
        assert_eq!(cursor.drop_part(at(1), at(5), DropReason::Corrupt), 3_000_009);
        assert!(cursor.balances());
        let ledger = cursor.ledger(at(10).number);
        assert_eq!(ledger.buffered, 5 * 1_000_003);
        assert!(ledger.balances());
        cursor.delivered += 1;
        assert!(!cursor.balances());
    }

    #[test]
    fn a_frozen_sink_gets_nothing_newer_and_later_what_is_new_then() {
        let place = |offset: u64| Place { offset, number: offset * 10 };
        let mut cursor = Cursor::new("a".into(), Vec::new().into(), place(0));
        cursor.freeze(place(5));
        assert_eq!(cursor.ledger(90).captured, 50);
        assert_eq!(cursor.drop_part(place(3), place(9), DropReason::StoreFull), 20);
        assert!(!cursor.is_done());
        assert_eq!(cursor.drop_part(place(0), place(3), DropReason::StoreFull), 30);
        assert!(cursor.is_done() && cursor.ledger(90).buffered == 0);
        cursor.thaw(place(9));
        assert!(cursor.balances());
        assert_eq!((cursor.ledger(120).captured, cursor.ledger(120).buffered), (80, 30));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cursor::decode(&bytes);
        }
    }
}
