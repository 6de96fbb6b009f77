//! Taking a batch in: an offset at once, the disk later.

use std::collections::VecDeque;
use std::sync::Arc;

use lineside_core::{Batch, TimeQuality, UnixNanos};
use lineside_crds::model::Overflow;

use super::{Log, State, segment};
use crate::codec::{self, MAX_SAMPLES, Preamble};
use crate::definition::DefinitionId;
use crate::entry::{Content, Entry, Pending, Receipt};
use crate::frame::{self, Kind, MAX_PAYLOAD, Packed};
use crate::ledger::DropReason;
use crate::meta::{Correction, Gap};
use crate::settled::Place;
use crate::volume::Wanted;

/// Memory of a pending record besides its payload and its batch.
const OVERHEAD: usize = 256;

/// Most bytes that are kept free for devices that passed at once.
const MOST_SPARE: u64 = 256 * 1024;

/// Room in a new segment that its head and the last frame that does not fit leave unused.
const HEAD_ROOM: u64 = 1024;

/// Times that belong to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was taken in, ns since 1970.
    pub captured_at: UnixNanos,
    /// Start of the oldest request of the pipeline that has no answer yet, or whose answer is not
    /// yet committed; `None` when there is none.
    pub gap_from: Option<UnixNanos>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log at this offset. A batch that is too large for one record has several;
    /// this is the last.
    Taken(u64),
    /// There is no room and nothing was taken (`overflow: Backpressure`); try again when
    /// something was delivered.
    Full,
    /// There is no room, and it was dropped and counted (`overflow: DropNewest`).
    DroppedNewest,
}

/// A receipt and its answer.
type Decided = (Receipt, bool);

/// A part of a batch, encoded.
struct Part {
    batch: Arc<Batch>,
    definition: DefinitionId,
    payload: Packed,
}

impl Part {
    fn memory(&self) -> usize {
        OVERHEAD + self.payload.len() + self.batch.memory_bytes()
    }
}

impl Log {
    /// Takes a batch. The receipt is called at most once: with `true` when the batch is on disk (or
    /// when every sink has it from memory), with `false` when it was given up before. It is not
    /// called after [`Appended::Full`], nor when the log ends with the batch still in memory. What
    /// is said of [`Log::on_change`] goes for it, too.
    pub fn append(&self, batch: Arc<Batch>, stamp: Stamp, receipt: Option<Receipt>) -> Appended {
        let (definition, era) = {
            let mut state = self.state();
            (state.definitions.name(batch.origin()), state.meta.era)
        };
        let preamble = Preamble { definition, era };
        let (mut parts, mut unfit) = (Vec::new(), 0);
        encode_parts(batch, preamble, &mut parts, &mut unfit);
        let mut state = self.state();
        let (appended, decided) = self.push(&mut state, parts, unfit, stamp, receipt);
        let wanted = state.wanted(self.shared.options.pending_bytes);
        drop(state);
        for (receipt, stays) in decided {
            receipt(stays);
        }
        if appended != Appended::Full {
            self.shared.wake(wanted);
        }
        appended
    }

    fn push(
        &self,
        state: &mut State,
        parts: Vec<Part>,
        unfit: u64,
        stamp: Stamp,
        receipt: Option<Receipt>,
    ) -> (Appended, Vec<Decided>) {
        let mut decided = Vec::new();
        let memory: usize = parts.iter().map(Part::memory).sum();
        let frames: usize = parts.iter().map(|p| frame::size(p.payload.len())).sum();
        let samples = parts.iter().map(|p| p.batch.len() as u64).sum::<u64>() + unfit;
        let crowded = state.pending_bytes + memory > self.shared.options.pending_bytes
            && !state.pending.is_empty();
        let refuses =
            matches!(state.settings.overflow, Overflow::Backpressure | Overflow::DropNewest)
                && (crowded || !state.has_room_for(frames as u64));
        match state.settings.overflow {
            Overflow::Backpressure if refuses => return (Appended::Full, decided),
            Overflow::DropNewest if refuses => {
                state.captured += samples;
                state.drop_next(samples, stamp.captured_at, DropReason::StoreFull);
                decided.extend(receipt.map(|r| (r, false)));
                return (Appended::DroppedNewest, decided);
            }
            _ if crowded => {
                let over = (state.pending_bytes + memory)
                    .saturating_sub(self.shared.options.pending_bytes);
                state.drop_oldest_pending(over, &mut decided);
            }
            _ => {}
        }
        state.captured += samples;
        state.begin_after_open(&parts, stamp);
        if unfit > 0 {
            state.drop_next(unfit, stamp.captured_at, DropReason::NotEncodable);
        }
        let last = parts.len().saturating_sub(1);
        let mut receipt = receipt;
        let nothing_to_write = parts.is_empty();
        for (i, part) in parts.into_iter().enumerate() {
            let receipt = if i == last { receipt.take() } else { None };
            state.push_batch(part, stamp, receipt);
        }
        if nothing_to_write {
            decided.extend(receipt.map(|r| (r, false)));
        }
        (Appended::Taken(state.next.offset.saturating_sub(1)), decided)
    }

    /// Whether the devices have to wait (`overflow: Backpressure`): there is hardly room left.
    /// Many devices may pass at once, so it is said before the last byte.
    pub fn presses(&self) -> bool {
        let state = self.state();
        if state.settings.overflow != Overflow::Backpressure {
            return false;
        }
        let spare = (state.settings.max_bytes / 16).min(MOST_SPARE);
        state.pending_bytes > self.shared.options.pending_bytes / 2 || !state.has_room_for(spare)
    }

    /// Counts samples that the caller could not wait with after [`Appended::Full`] as dropped.
    pub fn refuse(&self, samples: u64, captured_at: UnixNanos) {
        let mut state = self.state();
        state.captured += samples;
        state.drop_next(samples, captured_at, DropReason::StoreFull);
        drop(state);
        self.shared.wake(Wanted::Something);
    }

    /// Notes that the times taken so far by a clock that was not set are wrong: `delta`
    /// nanoseconds are to be added. Records of such times that are read from now on have them
    /// right.
    pub fn correct_clock(&self, delta: i64, now: UnixNanos) {
        let mut state = self.state();
        let era = state.meta.era;
        let mut payload = era.to_le_bytes().to_vec();
        payload.extend_from_slice(&delta.to_le_bytes());
        state.push_mark(Kind::ClockCorrection, payload, now, None);
        state.meta.add_correction(Correction { era, delta });
        if let Some((_, to)) = state.gap_to.take_if(|(of, _)| *of == era) {
            state.meta.end_gap(to.saturating_add(delta));
        }
        state.meta.era += 1;
        drop(state);
        self.shared.wake(Wanted::Something);
    }
}

/// Encodes `batch` as one record, or as several when it is too large for one.
fn encode_parts(batch: Arc<Batch>, preamble: Preamble, parts: &mut Vec<Part>, unfit: &mut u64) {
    if batch.is_empty() {
        return;
    }
    if batch.len() <= MAX_SAMPLES {
        let mut payload = Vec::with_capacity(64 + batch.len() * 5);
        codec::encode(&batch, preamble, &mut payload);
        if payload.len() <= MAX_PAYLOAD {
            let definition = preamble.definition;
            return parts.push(Part { batch, definition, payload: Packed::new(payload) });
        }
        if batch.len() == 1 {
            *unfit += 1;
            return;
        }
    }
    let half = batch.len() / 2;
    for second in [false, true] {
        let mut index = 0;
        let part = batch.select(|_| {
            index += 1;
            (index > half) == second
        });
        encode_parts(Arc::new(part), preamble, parts, unfit);
    }
}

impl State {
    /// How urgent a commit is.
    fn wanted(&self, pending_bytes: usize) -> Wanted {
        // Where writing fails a commit that comes earlier helps nobody.
        if self.pending_bytes >= pending_bytes / 4 && !self.degraded {
            Wanted::Much
        } else {
            Wanted::Something
        }
    }

    /// Whether a record of `frames` bytes finds room within the bounds of log and volume without
    /// anything giving way. On the safe side: what a segment leaves unused at its end is counted as used.
    pub(super) fn has_room_for(&self, frames: u64) -> bool {
        let size = segment::size_for(self.settings.max_bytes);
        let wanted = self.pending_frames + frames;
        if wanted <= self.room {
            return true;
        }
        let longest = frames.max(self.longest_pending as u64) + HEAD_ROOM;
        let each = size.max(longest);
        let usable = (each - longest).max(longest - HEAD_ROOM);
        let bound = self.settings.max_bytes.min(self.share);
        let more = bound.saturating_sub(self.disk_bytes()) / each;
        wanted.saturating_sub(self.room.saturating_sub(longest)) <= more * usable
    }

    /// Before the first record after a start: the gap that lies before it.
    fn begin_after_open(&mut self, parts: &[Part], stamp: Stamp) {
        let Some(from) = self.gap_from.take() else { return };
        // Not the time of its samples: what waited before the end may come out first.
        let first = stamp.captured_at;
        let unsynced = parts.first().is_some_and(|p| p.batch.time_quality == TimeQuality::Unsynced);
        self.gap_to = unsynced.then_some((self.meta.era, first));
        let to = first.max(from);
        self.meta.add_gap(Gap { from, to });
        let mut payload = from.to_le_bytes().to_vec();
        payload.extend_from_slice(&to.to_le_bytes());
        // If it is all that survives, the gap goes on.
        self.push_mark(Kind::Gap, payload, to, Some(from));
    }

    fn push_mark(
        &mut self,
        kind: Kind,
        payload: Vec<u8>,
        captured_at: UnixNanos,
        gap_from: Option<UnixNanos>,
    ) {
        let bytes = OVERHEAD + payload.len();
        let content = Content::Mark;
        let entry = Entry { place: self.next, samples: 0, captured_at, content, bytes };
        self.push_pending(Pending {
            entry,
            kind,
            flags: 0,
            payload: Arc::new(Packed::new(payload)),
            definition: DefinitionId::default(),
            gap_from,
            receipt: None,
        });
    }

    fn push_batch(&mut self, part: Part, stamp: Stamp, receipt: Option<Receipt>) {
        let entry = Entry {
            place: self.next,
            samples: part.batch.len() as u64,
            captured_at: stamp.captured_at,
            bytes: part.memory(),
            content: Content::Batch(part.batch),
        };
        self.push_pending(Pending {
            entry,
            kind: Kind::Batch,
            flags: 0,
            payload: Arc::new(part.payload),
            definition: part.definition,
            gap_from: stamp.gap_from,
            receipt,
        });
    }

    pub(super) fn push_pending(&mut self, pending: Pending) {
        self.next = pending.entry.end();
        self.pending_bytes += pending.entry.bytes;
        self.pending_frames += pending.frame_bytes() as u64;
        self.longest_pending = self.longest_pending.max(pending.frame_bytes());
        self.pending.push_back(pending);
    }

    /// Counts samples that are never written, for every sink, and leaves a mark of them.
    fn drop_next(&mut self, samples: u64, captured_at: UnixNanos, reason: DropReason) {
        let start = self.next;
        match self.pending.back_mut() {
            Some(last) if last.is_mark_of(reason, self.writing, samples) => {
                // One mark for all in a row; each keeps an offset of its own.
                last.entry.samples += samples;
                self.next = start.after(samples);
            }
            _ => self.push_pending(dropped(start, samples, captured_at, reason)),
        }
        let end = self.next;
        for sink in self.sinks.values_mut() {
            sink.drop_unwritten(start, end, reason);
        }
    }

    /// Gives up the oldest pending records that nobody may have, until `over` bytes are free.
    fn drop_oldest_pending(&mut self, over: usize, decided: &mut Vec<Decided>) {
        let mut freed = 0;
        for i in 0..self.pending.len() {
            if freed >= over {
                break;
            }
            let Some(pending) = self.pending.get_mut(i) else { break };
            let (start, end) = (pending.entry.place, pending.entry.end());
            let is_batch = matches!(pending.entry.content, Content::Batch(_));
            if !is_batch
                || start.offset < self.writing
                || self.sinks.values().any(|s| s.may_have(start.offset))
            {
                continue;
            }
            // Every sink may have it already, from memory.
            let arrived = self.sinks.values().all(|s| s.cursor.settled.contains(start.offset));
            decided.extend(pending.receipt.take().map(|r| (r, arrived && !self.sinks.is_empty())));
            let (samples, at) = (pending.entry.samples, pending.entry.captured_at);
            let (before, frame) = (pending.entry.bytes, pending.frame_bytes() as u64);
            *pending = dropped(start, samples, at, DropReason::StoreFull);
            freed += before.saturating_sub(pending.entry.bytes);
            self.pending_frames = self.pending_frames + pending.frame_bytes() as u64 - frame;
            for sink in self.sinks.values_mut() {
                sink.drop_unwritten(start, end, DropReason::StoreFull);
            }
        }
        self.pending_bytes = self.pending_bytes.saturating_sub(freed);
        self.merge_dropped();
    }

    /// Neighbouring marks of dropped samples become one, so that their number stays bounded.
    fn merge_dropped(&mut self) {
        let mut merged: VecDeque<Pending> = VecDeque::with_capacity(self.pending.len());
        for next in std::mem::take(&mut self.pending) {
            let samples = next.entry.samples;
            match (merged.back_mut(), &next.entry.content) {
                (Some(last), Content::Dropped(reason))
                    if last.is_mark_of(*reason, self.writing, samples) =>
                {
                    last.entry.samples += samples;
                    self.pending_bytes = self.pending_bytes.saturating_sub(next.entry.bytes);
                    self.pending_frames -= next.frame_bytes() as u64;
                }
                _ => merged.push_back(next),
            }
        }
        self.pending = merged;
    }
}

impl Pending {
    /// Whether this marks dropped samples, is not being written, and takes so many more.
    fn is_mark_of(&self, reason: DropReason, writing: u64, more: u64) -> bool {
        matches!(self.entry.content, Content::Dropped(own) if own == reason)
            && self.entry.place.offset >= writing
            && self.entry.samples + more <= u64::from(u32::MAX)
    }
}

/// The mark of samples that are not written.
fn dropped(place: Place, samples: u64, captured_at: UnixNanos, reason: DropReason) -> Pending {
    let content = Content::Dropped(reason);
    Pending {
        entry: Entry { place, samples, captured_at, content, bytes: OVERHEAD },
        kind: Kind::Dropped,
        flags: reason.to_disk(),
        payload: Arc::default(),
        definition: DefinitionId::default(),
        gap_from: None,
        receipt: None,
    }
}
