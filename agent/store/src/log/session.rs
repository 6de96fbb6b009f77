//! One sink of a log: its cursor, what it was handed, and its heads. A head is a place up to
//! which a session has been handed everything that the sink has not settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lineside_core::sink::{Counts, Outcome};
use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::Drain;

use super::accepted::{Accepted, Run};
use super::letters::{Letters, Retried};
use super::segment::Segment;
use crate::cursor::{Cursor, MAX_GONE, MAX_RANGES};
use crate::entry::{Content, Entry, Pending};
use crate::ledger::DropReason;
use crate::letter::Key;
use crate::rate::Rate;
use crate::settled::{Place, Settled};

/// Most records that a session was handed and that are kept in memory, with and without an answer.
const MOST_HANDED: usize = 4 * MAX_RANGES;

/// A record that this session was handed and that is not settled: it may have arrived.
#[derive(Debug)]
pub(super) struct HandedOut {
    pub(super) place: Place,
    pub(super) samples: u64,
    pub(super) batch: Arc<Batch>,
    /// It is a dead letter that is sent again.
    pub(super) letter: Option<Key>,
    /// The remote's answer, which counts when this mark is confirmed.
    pub(super) accepted: Option<(u64, Outcome)>,
}

/// Where the next reading of a head goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// First offset of the segment.
    pub(super) segment: u64,
    /// Position in its file.
    pub(super) position: u64,
    /// No record below this one lies behind that position.
    pub(super) offset: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) at: Place,
    /// Where it stops.
    pub(super) until: Option<u64>,
    /// Read from disk, not handed out.
    pub(super) ahead: VecDeque<Entry>,
    /// A reading is under way.
    pub(super) reading: bool,
    pub(super) resume: Option<Resume>,
    /// Readings in a row that failed, and when to try again.
    pub(super) failed: u32,
    pub(super) not_before: Option<UnixNanos>,
}

impl Head {
    pub(super) fn new(at: Place, until: Option<u64>) -> Self {
        Self { at, until, ..Self::default() }
    }
}

/// Which head of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// New records; for [`Drain::InOrder`] all of them.
    Live,
    /// What waited when the session began, for [`Drain::LiveFirst`].
    Backlog,
}

/// See the module.
#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) cursor: Cursor,
    /// Of its files.
    pub(super) number: u32,
    pub(super) drain: Drain,
    /// Part of the pipeline as it is now; an orphan else.
    pub(super) attached: bool,
    /// Counts sessions; what belongs to an older one is ignored.
    pub(super) session: u64,
    pub(super) live: Head,
    pub(super) backlog: Option<Head>,
    pub(super) rate: Rate,
    pub(super) handed: BTreeMap<u64, HandedOut>,
    /// Those of them that have no answer.
    pub(super) unanswered: BTreeSet<u64>,
    /// What this session was handed and the remote has accepted whole, but may still lose.
    pub(super) accepted: Accepted,
    /// What may have arrived although it is not settled, besides what is handed out now. Of what
    /// is settled it may say anything.
    perhaps: Settled,
    /// The cursor is not on disk as it is.
    pub(super) dirty: bool,
    /// There is no cursor on disk: it has to be there before anything more is committed.
    pub(super) is_new: bool,
    /// The cursor on disk does not fit the log: as before.
    pub(super) is_amended: bool,
    /// Floor of the cursor on disk.
    pub(super) persisted_floor: u64,
    pub(super) letters: Letters,
    /// A record that is suspected to end sessions, put off to see how another one fares.
    pub(super) put_off: Option<(Which, Entry)>,
    /// What heads have read ahead, or are reading, is of this round; it changes when records on
    /// disk do.
    pub(super) round: u64,
    /// A feed was told to wait for a settlement.
    pub(super) waits_for_room: bool,
}

impl SinkState {
    pub(super) fn new(cursor: Cursor, number: u32) -> Self {
        let (floor, done) = (cursor.settled.floor(), cursor.is_done());
        Self {
            cursor,
            number,
            drain: Drain::InOrder,
            attached: false,
            session: 0,
            live: Head::new(floor, None),
            backlog: None,
            rate: Rate::default(),
            handed: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            accepted: Accepted::default(),
            perhaps: Settled::default(),
            dirty: false,
            is_new: false,
            is_amended: false,
            persisted_floor: if done { u64::MAX } else { floor.offset },
            letters: Letters::default(),
            put_off: None,
            round: 0,
            waits_for_room: false,
        }
    }

    /// Whether the record may have arrived although it is not settled.
    pub(super) fn may_have(&self, offset: u64) -> bool {
        self.handed.contains_key(&offset) || self.perhaps.contains(offset)
    }

    /// Whether it may have a record of this part of the log that is not settled.
    pub(super) fn may_have_some(&self, start: Place, end: Place) -> bool {
        if self.handed.range(start.offset..end.offset).next().is_some() {
            return true;
        }
        // Where what is settled ends, and begins again, decides: the rest is not to be had.
        let mut at = start.offset;
        while at < end.offset {
            if let Some(to) = self.cursor.settled.end_of(at) {
                at = to.offset;
            } else if self.perhaps.contains(at) {
                return true;
            } else {
                let edge = |settled: &Settled| settled.next_start(at);
                let next = [edge(&self.cursor.settled), edge(&self.perhaps)];
                at = next.into_iter().flatten().min().unwrap_or(u64::MAX);
            }
        }
        false
    }

    /// Notes what may have arrived, and forgets what is settled.
    fn note_perhaps(&mut self, start: Place, end: Place) {
        self.perhaps.settle(start, end);
        let floor = self.cursor.settled.floor();
        self.perhaps.settle(self.perhaps.floor(), floor);
        if self.perhaps.ranges().len() > MOST_HANDED {
            // To say it of more than it is true of costs room, and is safe.
            self.perhaps = Settled::below(self.perhaps.top());
        }
    }

    /// Gives up what it has not settled of a part of the log.
    pub(super) fn drop_part(&mut self, start: Place, end: Place, reason: DropReason) -> u64 {
        if end.offset <= self.cursor.settled.floor().offset {
            return 0;
        }
        self.dirty = true;
        self.cursor.drop_part(start, end, reason)
    }

    /// Gives up what was dropped before it was written. Each such part may be a range of its own in
    /// the cursor; when there are many, the sink counts it when it comes to the mark that stands
    /// for it.
    pub(super) fn drop_unwritten(&mut self, start: Place, end: Place, reason: DropReason) {
        let settled = &self.cursor.settled;
        let touches = start.offset.checked_sub(1).is_some_and(|before| settled.contains(before));
        if touches || settled.ranges().len() < MAX_RANGES / 2 {
            self.drop_part(start, end, reason);
        }
    }

    /// Whether it has settled all of a segment, or was never handed anything of it.
    pub(super) fn has_all_or_nothing(&self, segment: &Segment, end: Place) -> bool {
        let settled = &self.cursor.settled;
        let start = segment.first.offset;
        if settled.end_of(start).is_some_and(|to| to.offset >= end.offset) {
            return true;
        }
        let frozen_inside =
            self.cursor.frozen_at.is_some_and(|f| (start + 1..end.offset).contains(&f.offset));
        let untouched = !settled.contains(start)
            && settled.ranges().all(|(s, e)| e.offset <= start || s.offset >= end.offset);
        untouched && !frozen_inside && !self.may_have_some(segment.first, end)
    }

    /// What was read ahead, or is being read, is not what is on disk now.
    pub(super) fn forget_read_ahead(&mut self) {
        self.round += 1;
        for head in std::iter::once(&mut self.live).chain(&mut self.backlog) {
            head.ahead.clear();
            (head.reading, head.resume) = (false, None);
        }
    }

    /// Whether it can be handed another record: it has to find room among the ranges of the
    /// cursor, and suspects are handed out few at a time.
    pub(super) fn has_room(&self) -> bool {
        // What is accepted comes to be settled in about the order of the answers, so that it leaves
        // no more holes than there are records without one.
        let ranges = self.cursor.settled.ranges().len() + self.unanswered.len();
        // With nothing in flight the next record is the one at the floor, which adds no range.
        let fits =
            (ranges < MAX_RANGES && self.handed.len() < MOST_HANDED) || self.unanswered.is_empty();
        let at_once = self.cursor.suspects.at_once.map_or(usize::MAX, |n| n as usize);
        fits && self.cursor.gone.len() < MAX_GONE && self.unanswered.len() < at_once
    }

    /// The next dead letter to send again.
    pub(super) fn next_retried(&mut self) -> Option<Retried> {
        if self.letters.retried.is_empty() || self.letters_that_may_go() >= MAX_GONE {
            return None;
        }
        let handed = &self.handed;
        let free = |r: &Retried| !handed.contains_key(&r.key.0);
        let index = self.letters.retried.iter().position(free)?;
        let retried = self.letters.retried.remove(index)?;
        let (place, samples) = (retried.place, retried.batch.len() as u64);
        let (batch, letter, accepted) = (retried.batch.clone(), Some(retried.key), None);
        self.handed.insert(place.offset, HandedOut { place, samples, batch, letter, accepted });
        self.unanswered.insert(place.offset);
        Some(retried)
    }

    pub(super) fn head(&mut self, which: Which) -> Option<&mut Head> {
        match which {
            Which::Live => Some(&mut self.live),
            Which::Backlog => self.backlog.as_mut(),
        }
    }

    pub(super) fn hand_out(&mut self, entry: &Entry, batch: &Arc<Batch>) {
        let (place, samples, batch) = (entry.place, entry.samples, batch.clone());
        let handed = HandedOut { place, samples, batch, letter: None, accepted: None };
        self.handed.insert(place.offset, handed);
        self.unanswered.insert(place.offset);
    }

    /// The remote has answered to a record, but may lose what it accepted.
    pub(super) fn accept(&mut self, offset: u64, outcome: Outcome, mark: u64) {
        self.unanswered.remove(&offset);
        let whole = |h: &HandedOut| h.letter.is_none() && outcome.refusals.is_empty();
        if !self.handed.get(&offset).is_some_and(whole) {
            if let Some(handed) = self.handed.get_mut(&offset) {
                handed.accepted = Some((mark, outcome));
            }
            return;
        }
        let Some(HandedOut { place: start, samples, .. }) = self.handed.remove(&offset) else {
            return;
        };
        let end = start.after(samples);
        // The rest is counted when it is settled.
        let Counts { delivered, skipped, merged, .. } = outcome.counts(samples);
        self.accepted.add(mark, Run { start, end, delivered, skipped, merged });
        self.note_perhaps(start, end);
    }

    /// What was handed out with an answer that counts by now.
    pub(super) fn answered(&self, mark: u64) -> Vec<u64> {
        let safe = |h: &&HandedOut| h.accepted.as_ref().is_some_and(|(m, _)| *m <= mark);
        self.handed.values().filter(safe).map(|h| h.place.offset).collect()
    }

    /// Samples that the remote has accepted and that are not settled.
    pub(super) fn unconfirmed(&self) -> u64 {
        let apart = self.handed.values().filter(|h| h.letter.is_none() && h.accepted.is_some());
        self.accepted.samples() + apart.map(|h| h.samples).sum::<u64>()
    }

    /// The first offset that is neither settled nor accepted.
    pub(super) fn first_waiting(&self) -> u64 {
        let mut at = self.cursor.settled.floor().offset;
        loop {
            let settled = self.cursor.settled.end_of(at).map(|end| end.offset);
            let apart = || self.handed.get(&at).filter(|h| h.accepted.is_some()).map(|_| at + 1);
            match settled.or_else(|| self.accepted.end_of(at)).or_else(apart) {
                Some(end) => at = end,
                None => return at,
            }
        }
    }

    /// Whether the cursor can take another range there.
    pub(super) fn has_place_for(&self, run: &Run) -> bool {
        let settled = &self.cursor.settled;
        let before = run.start.offset.checked_sub(1).is_none_or(|o| settled.contains(o));
        settled.ranges().len() < MAX_RANGES || before || settled.contains(run.end.offset)
    }

    /// A new session: what is not settled is handed out again.
    pub(super) fn begin_session(&mut self, visible: Place) {
        self.end_session();
        self.session += 1;
        let floor = self.cursor.settled.floor();
        let visible =
            self.cursor.frozen_at.filter(|f| f.offset < visible.offset).unwrap_or(visible);
        (self.live, self.backlog) = match self.drain {
            Drain::InOrder => (Head::new(floor, None), None),
            Drain::LiveFirst => {
                let waits = floor.offset < visible.offset;
                let backlog = waits.then(|| Head::new(floor, Some(visible.offset)));
                (Head::new(visible, None), backlog)
            }
        };
    }

    pub(super) fn end_session(&mut self) {
        self.unanswered.clear();
        self.accepted.clear();
        // A letter that got no answer waits for a person again.
        for handed in std::mem::take(&mut self.handed).into_values() {
            if handed.letter.is_none() {
                self.note_perhaps(handed.place, handed.place.after(handed.samples));
            }
        }
        self.put_off = None;
        self.live.ahead.clear();
        self.backlog = None;
    }
}

/// What a head finds.
pub(super) enum Found {
    /// The next record for the sink.
    Record(Entry, Arc<Batch>),
    /// It has to be read from disk.
    OnDisk,
    /// There is none for now.
    None,
}

/// What a head looks at.
pub(super) struct View<'a> {
    pub(super) tail: &'a VecDeque<Entry>,
    /// The tail is all of the log from here on.
    pub(super) tail_from: u64,
    /// Where the records on disk end.
    pub(super) visible: Place,
    /// Records behind those, when they may be handed out.
    pub(super) pending: Option<&'a VecDeque<Pending>>,
    /// Pending records from here on are not handed out.
    pub(super) limit: u64,
    pub(super) segments: &'a mut VecDeque<Segment>,
    /// What was captured before is too old.
    pub(super) oldest: Option<UnixNanos>,
}

impl View<'_> {
    /// Notes that a part of the log could not be read.
    fn damaged(&mut self, at: Place) {
        let behind = self.segments.partition_point(|s| s.first.offset <= at.offset);
        if let Some(segment) = behind.checked_sub(1).and_then(|i| self.segments.get_mut(i)) {
            segment.damaged = true;
        }
    }

    /// The entry at or behind `offset` that is in memory.
    fn in_memory(&self, offset: u64) -> Option<Entry> {
        if offset < self.visible.offset {
            let i = self.tail.partition_point(|e| e.place.offset < offset);
            // Behind the last record there may be offsets that were never given.
            let (place, samples, captured_at) = (self.visible, 0, UnixNanos::MAX);
            let end = Entry { place, samples, captured_at, content: Content::End, bytes: 0 };
            return Some(self.tail.get(i).cloned().unwrap_or(end));
        }
        let pending = self.pending?;
        let i = pending.partition_point(|p| p.entry.place.offset < offset);
        pending.get(i).map(|p| p.entry.clone()).filter(|e| e.place.offset < self.limit)
    }
}

/// Moves a head of `sink` to the next record that it has not settled. What lies before that and
/// is nothing for a sink, too old or unreadable is settled on the way.
pub(super) fn advance(sink: &mut SinkState, which: Which, view: &mut View<'_>) -> Found {
    loop {
        let settled_to = match sink.head(which) {
            Some(head) => head.at,
            None => return Found::None,
        };
        let at = sink.cursor.settled.end_of(settled_to.offset).unwrap_or(settled_to);
        let frozen = sink.cursor.frozen_at.map(|frozen| frozen.offset);
        let Some(head) = sink.head(which) else { return Found::None };
        head.at = at;
        while head.ahead.front().is_some_and(|e| e.end().offset <= at.offset) {
            head.ahead.pop_front();
        }
        let until = head.until.into_iter().chain(frozen).min();
        if until.is_some_and(|until| at.offset >= until) {
            return Found::None;
        }
        let entry = match head.ahead.front() {
            Some(entry) => entry.clone(),
            None if at.offset >= view.tail_from => match view.in_memory(at.offset) {
                Some(entry) => entry,
                None => return Found::None,
            },
            None if at.offset >= view.visible.offset => return Found::None,
            None => return Found::OnDisk,
        };
        if entry.place.offset > at.offset {
            // Offsets that were never given, or records that cannot be read.
            let place = Place { number: entry.place.number.max(at.number), ..entry.place };
            sink.handed.retain(|o, _| !(at.offset..place.offset).contains(o));
            sink.unanswered.retain(|o| !(at.offset..place.offset).contains(o));
            if sink.drop_part(at, place, DropReason::Corrupt) > 0 {
                view.damaged(at);
            }
            continue;
        }
        let end = entry.end();
        match &entry.content {
            Content::Batch(batch) => {
                let expired = view.oldest.is_some_and(|oldest| entry.captured_at < oldest);
                if expired && !sink.may_have(entry.place.offset) {
                    sink.drop_part(entry.place, end, DropReason::Expired);
                    continue;
                }
                let batch = batch.clone();
                return Found::Record(entry, batch);
            }
            Content::Mark => {
                sink.drop_part(entry.place, end, DropReason::Corrupt);
            }
            Content::Dropped(reason) => {
                let passed = sink.drop_part(entry.place, end, *reason);
                sink.pass_dropped(entry.place, *reason, passed, view);
            }
            Content::End => return Found::None,
        }
    }
}

impl SinkState {
    /// A segment goes: what was thinned out of it before counts as that, the rest as `reason`.
    pub(super) fn drop_segment(&mut self, segment: &Segment, end: Place, reason: DropReason) {
        let thinned = self.thinned_unpassed(segment, end);
        self.cursor.thinned_passed.remove(&segment.first.offset);
        let samples = self.cursor.settle(segment.first, end);
        let thinned = thinned.min(samples);
        self.cursor.count_dropped(DropReason::Thinned, thinned);
        self.cursor.count_dropped(reason, samples - thinned);
        self.dirty = true;
    }

    pub(super) fn forget_segment(&mut self, segment: Option<&Segment>) {
        if let Some(segment) = segment {
            self.cursor.thinned_passed.remove(&segment.first.offset);
        }
    }

    /// Samples thinned out of a segment that are not in the totals yet.
    pub(super) fn thinned_unpassed(&self, segment: &Segment, end: Place) -> u64 {
        let floor = self.cursor.settled.floor().offset;
        if segment.thinned == 0 || floor >= end.offset {
            return 0;
        }
        let passed = self.cursor.thinned_passed.get(&segment.first.offset).copied();
        segment.thinned.saturating_sub(passed.unwrap_or_default())
    }

    /// What was thinned out of a segment counts as dropped from then on; what of it a sink has
    /// passed is in its totals.
    fn pass_dropped(&mut self, at: Place, reason: DropReason, samples: u64, view: &View<'_>) {
        let behind = view.segments.partition_point(|s| s.first.offset <= at.offset);
        let Some(segment) = behind.checked_sub(1).and_then(|i| view.segments.get(i)) else {
            return;
        };
        if reason == DropReason::Thinned && segment.thinned > 0 {
            *self.cursor.thinned_passed.entry(segment.first.offset).or_default() += samples;
        }
    }
}
