//! What a sink's session calls: take, settle, start and end.

use std::sync::Arc;

use lineside_core::sink::{Counts, Outcome, Record, RecordId, Refusal};
use lineside_core::{Batch, UnixNanos};
use lineside_crds::diagnostics::Code;

use super::letters::{Limits, Retried};
use super::session::{Found, SinkState, View, Which, advance};
use super::{Log, Now, Reading, State};
use crate::cursor::Suspects;
use crate::entry::{Content, Entry};
use crate::frame::Seal;
use crate::ledger::{DropReason, Ledger};
use crate::settled::Place;

/// Sessions that a record has to have broken when it was alone, before it is suspected.
const SUSPECTED: u32 = 3;
/// What is noted of a suspect once another record was taken in its place.
const ON_TRIAL: u32 = SUSPECTED + 1;

/// The answer to a session that asks for a record.
pub enum Take {
    /// Deliver it and say what became of it.
    Record {
        /// The record.
        record: Record,
        /// It is older than what the sink got already: it waited while newer ones went ahead
        /// (`drain: LiveFirst`), or it is a dead letter that is sent again.
        historical: bool,
    },
    /// Run it where a disk may be waited for, then ask again.
    Read(Reading),
    /// There is none; ask again after [`Log::on_change`] called.
    Wait,
    /// There is none before this time, ns since 1970; a change may come sooner.
    WaitUntil(UnixNanos),
}

enum Step {
    Letter(Retried),
    Record(Entry, Arc<Batch>, Which),
    Read(Which),
    Wait,
    WaitUntil(UnixNanos),
}

impl Log {
    /// Begins a session of a sink: what it has not settled is handed out again.
    pub fn start_session(&self, sink: &str) {
        let mut state = self.state();
        let visible = state.feed_end();
        if let Some(sink) = state.sinks.get_mut(sink) {
            sink.begin_session(visible);
        }
    }

    /// The next record for the session of a sink.
    pub fn take(self: &Arc<Self>, sink: &str, now: Now) -> Take {
        let mut state = self.state();
        match state.step(sink, now) {
            Step::Letter(Retried { key, batch, .. }) => {
                let record = Record { id: self.id(key.0, key.1), batch };
                Take::Record { record, historical: true }
            }
            Step::Record(entry, batch, which) => {
                let id = self.id(entry.place.offset, None);
                let historical = which == Which::Backlog;
                Take::Record { record: Record { id, batch }, historical }
            }
            Step::Read(which) => match self.reading(&mut state, sink, which, now.unix) {
                Some(reading) => Take::Read(reading),
                None => Take::Wait,
            },
            Step::Wait => Take::Wait,
            Step::WaitUntil(at) => Take::WaitUntil(at),
        }
    }

    /// Says what became of a record that the session was handed. A record settled twice counts
    /// once.
    pub fn settle(&self, sink: &str, offset: u64, outcome: &Outcome) {
        let waited = self.state().settle(&self.seal, sink, offset, outcome);
        // One that waits for room among what is in flight goes on.
        if waited {
            self.changed();
        }
    }

    /// Says what became of a record at a remote that may still lose what it accepted. It is settled
    /// when its mark is confirmed, and handed out again when the session ends before.
    pub fn accepted(&self, sink: &str, offset: u64, outcome: Outcome, mark: u64) {
        let mut state = self.state();
        let Some(sink) = state.sinks.get_mut(sink) else { return };
        if !sink.unanswered.contains(&offset) {
            return;
        }
        sink.accept(offset, outcome, mark);
        sink.progressed(offset);
        let waited = std::mem::take(&mut sink.waits_for_room);
        drop(state);
        if waited {
            self.changed();
        }
    }

    /// Samples that the remote of a sink has accepted and may still lose.
    pub fn unconfirmed(&self, sink: &str) -> u64 {
        self.state().sinks.get(sink).map_or(0, SinkState::unconfirmed)
    }

    /// Settles what the session of a sink said to be accepted with this mark or a lower one.
    pub fn confirmed(&self, sink: &str, mark: u64) {
        let waited = self.state().confirm(&self.seal, sink, mark);
        if waited {
            self.changed();
        }
    }

    pub(super) fn id(&self, offset: u64, part: Option<u32>) -> RecordId {
        RecordId { store: self.shared.id.clone(), stream: self.stream, offset, part }
    }

    /// Ends a session. `accused`: it had connected and the remote broke it off in a way that may
    /// be the fault of a record that was on its way.
    pub fn session_ended(&self, sink: &str, accused: bool) {
        let mut state = self.state();
        let limits = Limits::new(state.settings.max_bytes, state.seen_at);
        let Some(sink) = state.sinks.get_mut(sink) else { return };
        sink.judge_session(accused, &self.seal, limits);
        sink.end_session();
    }
}

impl State {
    /// Up to where feeds see the log.
    pub(super) fn feed_end(&self) -> Place {
        match self.pending.iter().rfind(|p| p.entry.place.offset < self.handed_limit) {
            Some(last) if self.degraded => last.entry.end(),
            _ => self.visible,
        }
    }

    /// The sink with what its heads look at.
    fn sink_and_view(&mut self, name: &str, now: Now) -> Option<(&mut SinkState, View<'_>)> {
        let sink = self.sinks.get_mut(name)?;
        let view = View {
            tail: &self.tail,
            tail_from: self.tail_from,
            visible: self.visible,
            pending: self.degraded.then_some(&self.pending),
            limit: self.handed_limit,
            segments: &mut self.segments,
            oldest: oldest(self.settings.max_age, now),
        };
        Some((sink, view))
    }

    fn step(&mut self, name: &str, now: Now) -> Step {
        self.seen_at = now.unix;
        let backlog_rate = self.live_rate.saturating_mul(2);
        let Some((sink, mut view)) = self.sink_and_view(name, now) else { return Step::Wait };
        if sink.session == 0 || !sink.has_room() {
            sink.waits_for_room = true;
            return Step::Wait;
        }
        if let Some(retried) = sink.next_retried() {
            return Step::Letter(retried);
        }
        let mut wait_until = None;
        for which in [Which::Live, Which::Backlog] {
            if which == Which::Backlog
                && sink.backlog.is_some()
                && let Err(at) = sink.rate.check(backlog_rate, now.unix)
            {
                wait_until = Some(at);
                continue;
            }
            match advance_past_suspect(sink, which, &mut view) {
                Found::Record(entry, batch) => {
                    sink.hand_out(&entry, &batch);
                    if which == Which::Backlog {
                        sink.rate.take(entry.samples);
                    }
                    if let Some(head) = sink.head(which) {
                        head.at = entry.end();
                    }
                    return Step::Record(entry, batch, which);
                }
                Found::OnDisk => match sink.head(which).map(|h| (h.reading, h.not_before)) {
                    Some((false, Some(at))) if at > now.unix => wait_until = Some(at),
                    Some((false, _)) => return Step::Read(which),
                    _ => {}
                },
                Found::None if which == Which::Backlog => sink.backlog = None,
                Found::None => {}
            }
        }
        wait_until.map_or(Step::Wait, Step::WaitUntil)
    }

    /// Whether a feed waits for it.
    fn settle(&mut self, seal: &Seal, name: &str, offset: u64, outcome: &Outcome) -> bool {
        let limits = Limits::new(self.settings.max_bytes, self.seen_at);
        let Some(sink) = self.sinks.get_mut(name) else { return false };
        let Some(handed) = sink.handed.remove(&offset) else { return false };
        sink.unanswered.remove(&offset);
        let waited = std::mem::take(&mut sink.waits_for_room);
        if let Some(key) = handed.letter {
            sink.settle_letter(key, outcome);
            return waited;
        }
        let (start, end) = (handed.place, handed.place.after(handed.samples));
        // What overflow or rot took meanwhile is in the books already.
        let samples = sink.cursor.settle(start, end);
        sink.dirty = true;
        let Counts { delivered, skipped, merged, rejected } = outcome.counts(samples);
        sink.cursor.delivered += delivered;
        sink.cursor.count_dropped(DropReason::NotEncodable, skipped);
        sink.cursor.count_dropped(DropReason::SameTick, merged);
        sink.bury(seal, start, &handed.batch, &outcome.refusals, rejected, limits);
        sink.progressed(offset);
        self.forget_delivered();
        waited
    }

    /// Whether a feed waits for it.
    fn confirm(&mut self, seal: &Seal, name: &str, mark: u64) -> bool {
        let Some(sink) = self.sinks.get_mut(name) else { return false };
        for run in sink.accepted.confirm(mark) {
            if !sink.has_place_for(&run) {
                // It is sent again in the next session.
                continue;
            }
            let samples = sink.cursor.settle(run.start, run.end);
            sink.dirty = true;
            let Counts { delivered, skipped, merged, rejected } = run.said().counts(samples);
            sink.cursor.delivered += delivered;
            sink.cursor.count_dropped(DropReason::NotEncodable, skipped);
            sink.cursor.count_dropped(DropReason::SameTick, merged);
            sink.cursor.count_dropped(DropReason::Rejected, rejected);
        }
        let answered = sink.answered(mark);
        let mut waited = std::mem::take(&mut sink.waits_for_room);
        for offset in answered {
            let handed = self.sinks.get_mut(name).and_then(|sink| sink.handed.get_mut(&offset));
            if let Some((_, outcome)) = handed.and_then(|handed| handed.accepted.take()) {
                waited |= self.settle(seal, name, offset, &outcome);
            }
        }
        self.forget_delivered();
        waited
    }

    /// Gives back the memory of records that every sink has settled.
    pub(super) fn forget_delivered(&mut self) {
        let floor = self.sinks.values().filter(|s| s.attached).map(|s| s.cursor.settled.floor());
        let Some(floor) = floor.map(|p| p.offset).min() else { return };
        while let Some(entry) = self.tail.front()
            && entry.end().offset <= floor
        {
            self.tail_from = entry.end().offset;
            self.forget_tail();
        }
    }

    /// Gives back the memory of the oldest records until the rest takes no more than `most`.
    pub(super) fn shorten_tail(&mut self, most: usize) {
        while self.tail_bytes > most
            && let Some(entry) = self.tail.front()
        {
            self.tail_from = entry.end().offset;
            self.forget_tail();
        }
    }

    /// Removes the oldest record of the tail; `tail_from` is the caller's.
    pub(super) fn forget_tail(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes = self.tail_bytes.saturating_sub(entry.bytes);
        }
    }

    pub(super) fn ledger(&self, sink: &SinkState) -> Ledger {
        let mut ledger = sink.cursor.ledger(self.next.number);
        // What was thinned out of segments that the sink has not passed.
        for (index, segment) in self.segments.iter().enumerate() {
            let samples = sink.thinned_unpassed(segment, self.end_of_segment(index));
            let samples = samples.min(ledger.buffered);
            ledger.buffered -= samples;
            ledger.drop(DropReason::Thinned, samples);
        }
        ledger
    }

    pub(super) fn oldest_waiting(&self, name: &str) -> Option<UnixNanos> {
        let sink = self.sinks.get(name)?;
        let first = sink.first_waiting();
        let waits = |e: &&Entry| {
            e.place.offset >= first
                && matches!(e.content, Content::Batch(_))
                && !sink.cursor.settled.contains(e.place.offset)
        };
        if first < self.tail_from {
            // Not exactly: the segment that holds it was begun not later.
            let behind = self.segments.partition_point(|s| s.first.offset <= first);
            let segment = behind.checked_sub(1).and_then(|i| self.segments.get(i));
            return segment.map(|s| s.begun_at);
        }
        let pending = self.pending.iter().map(|p| &p.entry);
        self.tail.iter().chain(pending).find(waits).map(|e| e.captured_at)
    }
}

/// What was captured before is too old.
pub(super) fn oldest(max_age: Option<std::time::Duration>, now: Now) -> Option<UnixNanos> {
    let age = i64::try_from(max_age?.as_nanos()).unwrap_or(i64::MAX);
    Some(now.unix.saturating_sub(age))
}

impl SinkState {
    /// A record was settled: suspicion gives way. Only one that was put off is on trial now: the
    /// remote takes others, so the next to be handed out is this one, alone.
    fn progressed(&mut self, offset: u64) {
        if let Some((which, entry)) = self.put_off.take_if(|(_, e)| e.place.offset != offset) {
            let alone = Some((entry.place.offset, ON_TRIAL));
            self.cursor.suspects = Suspects { at_once: Some(1), alone };
            if let Some(head) = self.head(which) {
                head.at = entry.place;
                head.ahead.push_front(entry);
            }
            return;
        }
        let suspects = &mut self.cursor.suspects;
        if suspects.alone.is_some_and(|(alone, _)| alone == offset) {
            suspects.alone = None;
        }
        // As many more as went well, like a connection that finds its speed again.
        suspects.at_once = suspects.at_once.and_then(|n| n.checked_mul(2)).filter(|n| *n <= 1024);
    }

    /// A session that was broken off without progress accuses what it was handed. First half of
    /// that is handed to the next, down to a single record. One that was alone three times is put
    /// off: if another record fares no better, it is the remote and not the record. If the other
    /// one is taken, a last session with the suspect decides: the remote may have recovered.
    fn judge_session(&mut self, accused: bool, seal: &Seal, limits: Limits) {
        let Some(&first) = self.unanswered.first().filter(|_| accused) else { return };
        self.dirty = true;
        if self.unanswered.len() == 1 && self.cursor.suspects.alone == Some((first, ON_TRIAL)) {
            return self.convict(first, seal, limits);
        }
        let suspects = &mut self.cursor.suspects;
        if self.unanswered.len() > 1 {
            let half = u32::try_from(self.unanswered.len() / 2).unwrap_or(u32::MAX);
            suspects.at_once = Some(half.max(1));
            suspects.alone = None;
            return;
        }
        suspects.at_once = Some(1);
        suspects.alone = match suspects.alone {
            Some((offset, times)) if offset == first => Some((first, times + 1)),
            Some((_, times)) if times >= SUSPECTED => None,
            _ => Some((first, 1)),
        };
    }

    /// The record broke session after session, another one was taken, and it broke one more.
    fn convict(&mut self, offset: u64, seal: &Seal, limits: Limits) {
        let Some(handed) = self.handed.remove(&offset) else { return };
        self.unanswered.remove(&offset);
        let samples = self.cursor.settle(handed.place, handed.place.after(handed.samples));
        let message = "the remote broke the connection whenever it was sent, and takes others";
        let all = (0..u32::try_from(handed.samples).unwrap_or(u32::MAX)).collect();
        let refusal = Refusal::new(Code::RecordPoisonous, message, None, all);
        self.bury(seal, handed.place, &handed.batch, &[refusal], samples, limits);
        self.cursor.suspects.alone = None;
    }
}

/// As [`advance`], but a record that is put off is passed over.
fn advance_past_suspect(sink: &mut SinkState, which: Which, view: &mut View<'_>) -> Found {
    loop {
        let found = advance(sink, which, view);
        let Found::Record(entry, _) = &found else { return found };
        let suspected = sink.cursor.suspects.alone;
        if suspected != Some((entry.place.offset, SUSPECTED)) {
            return found;
        }
        if let Some(head) = sink.head(which) {
            head.at = entry.end();
        }
        sink.put_off = Some((which, entry.clone()));
    }
}
