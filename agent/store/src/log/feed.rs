//! What a sink's session calls: take, settle, start and end.

use std::sync::Arc;

use lineside_core::UnixNanos;
use lineside_core::sink::{Outcome, Record, RecordId};
use lineside_crds::model::Drain;

use super::session::{Found, SinkState, View, Which, advance};
use super::{Log, Now, Reading, State};
use crate::entry::{Content, Entry};
use crate::ledger::{DropReason, Ledger};
use crate::settled::Place;

/// The answer to a session that asks for a record.
pub enum Take {
    /// Deliver it and say what became of it.
    Record {
        /// The record.
        record: Record,
        /// It waited while newer ones went ahead (`drain: LiveFirst`).
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
    Record(Entry, Arc<lineside_core::Batch>, Which),
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
            Step::Record(entry, batch, which) => {
                let id = RecordId {
                    store: self.shared.id.clone(),
                    stream: self.stream,
                    offset: entry.place.offset,
                    part: None,
                };
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
        let waited = self.state().settle(sink, offset, outcome);
        // One that waits for room among what is in flight goes on.
        if waited {
            self.changed();
        }
    }

    /// Ends a session. `connected`: the remote had accepted it.
    pub fn session_ended(&self, sink: &str, connected: bool) {
        let mut state = self.state();
        let Some(sink) = state.sinks.get_mut(sink) else { return };
        sink.judge_session(connected);
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
        let backlog_rate = self.live_rate.saturating_mul(2);
        let Some((sink, mut view)) = self.sink_and_view(name, now) else { return Step::Wait };
        if sink.session == 0 || !sink.has_room() {
            sink.waits_for_room = true;
            return Step::Wait;
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
            match advance(sink, which, &mut view) {
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
    fn settle(&mut self, name: &str, offset: u64, outcome: &Outcome) -> bool {
        let Some(sink) = self.sinks.get_mut(name) else { return false };
        let Some(handed) = sink.handed.remove(&offset) else { return false };
        sink.in_session.remove(&offset);
        let waited = std::mem::take(&mut sink.waits_for_room);
        let (start, end) = (handed.place, handed.place.after(handed.samples));
        // What overflow or rot took meanwhile is in the books already.
        let samples = sink.cursor.settled.settle(start, end);
        sink.dirty = true;
        // A sink that miscounts must not unbalance the books: what it does not account for was
        // not delivered.
        let delivered = outcome.delivered.min(samples);
        let skipped = outcome.skipped.min(samples - delivered);
        sink.cursor.delivered += delivered;
        sink.cursor.count_dropped(DropReason::NotEncodable, skipped);
        sink.cursor.count_dropped(DropReason::Rejected, samples - delivered - skipped);
        sink.progressed(offset);
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
        let floor = sink.cursor.settled.floor().offset;
        let waits = |e: &&Entry| {
            e.place.offset >= floor
                && matches!(e.content, Content::Batch(_))
                && !sink.cursor.settled.contains(e.place.offset)
        };
        if floor < self.tail_from {
            // Not exactly: the segment that holds it was begun not later.
            let behind = self.segments.partition_point(|s| s.first.offset <= floor);
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
    /// A record was settled: suspicion gives way.
    fn progressed(&mut self, offset: u64) {
        let suspects = &mut self.cursor.suspects;
        if suspects.alone.is_some_and(|(alone, _)| alone == offset) {
            suspects.alone = None;
        }
        // As many more as went well, like a connection that finds its speed again.
        suspects.at_once = suspects.at_once.and_then(|n| n.checked_mul(2)).filter(|n| *n <= 1024);
    }

    /// A session that had connected and ended without progress accuses what it was handed.
    fn judge_session(&mut self, connected: bool) {
        let Some(&first) = self.in_session.first().filter(|_| connected) else { return };
        self.dirty = true;
        let suspects = &mut self.cursor.suspects;
        if self.in_session.len() > 1 {
            suspects.at_once = Some((self.in_session.len() as u32 / 2).max(1));
            suspects.alone = None;
            return;
        }
        suspects.at_once = Some(1);
        let times = suspects.alone.filter(|(offset, _)| *offset == first).map_or(0, |(_, n)| n);
        suspects.alone = Some((first, times + 1));
    }

    pub(super) fn set_drain(&mut self, drain: Drain) {
        self.drain = drain;
    }
}
