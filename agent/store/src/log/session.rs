//! One sink of a log: its cursor, what it was handed, and its heads. A head is a place up to
//! which a session has been handed everything that the sink has not settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::Drain;

use super::letters::{Letters, Retried};
use super::segment::Segment;
use crate::cursor::{Cursor, MAX_GONE, MAX_RANGES};
use crate::entry::{Content, Entry, Pending};
use crate::ledger::DropReason;
use crate::letter::Key;
use crate::rate::Rate;
use crate::settled::Place;

/// A record that a session was handed and that is not settled: it may have arrived.
#[derive(Debug)]
pub(super) struct HandedOut {
    pub(super) place: Place,
    pub(super) samples: u64,
    /// While its session lives.
    pub(super) batch: Option<Arc<Batch>>,
    /// It is a dead letter that is sent again.
    pub(super) letter: Option<Key>,
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
    /// Those of them that this session was handed.
    pub(super) in_session: BTreeSet<u64>,
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
            in_session: BTreeSet::new(),
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
        self.handed.contains_key(&offset)
    }

    /// Whether it may have a record of this part of the log that is not settled.
    pub(super) fn may_have_some(&self, start: Place, end: Place) -> bool {
        self.handed.range(start.offset..end.offset).next().is_some()
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
        let ranges = self.cursor.settled.ranges().len() + self.handed.len();
        // With nothing in flight the next record is the one at the floor, which adds no range.
        let fits = (ranges < MAX_RANGES || self.in_session.is_empty())
            && self.cursor.gone.len() < MAX_GONE;
        let at_once = self.cursor.suspects.at_once.map_or(usize::MAX, |n| n as usize);
        fits && self.in_session.len() < at_once
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
        let (batch, letter) = (Some(retried.batch.clone()), Some(retried.key));
        self.handed.insert(place.offset, HandedOut { place, samples, batch, letter });
        self.in_session.insert(place.offset);
        Some(retried)
    }

    pub(super) fn head(&mut self, which: Which) -> Option<&mut Head> {
        match which {
            Which::Live => Some(&mut self.live),
            Which::Backlog => self.backlog.as_mut(),
        }
    }

    pub(super) fn hand_out(&mut self, entry: &Entry, batch: &Arc<Batch>) {
        let (place, samples, batch) = (entry.place, entry.samples, Some(batch.clone()));
        self.handed.insert(place.offset, HandedOut { place, samples, batch, letter: None });
        self.in_session.insert(place.offset);
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
        self.in_session.clear();
        // A letter that got no answer waits for a person again.
        self.handed.retain(|_, handed| handed.letter.is_none());
        for handed in self.handed.values_mut() {
            handed.batch = None;
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
