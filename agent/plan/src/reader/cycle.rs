//! One cycle: from the due points to an outcome for every one of them.
//!
//! A refused block is bisected in the cycle in which it was refused. A single item that is
//! refused is guilty and goes into quarantine; two halves that both succeed after their whole was
//! refused leave a barrier between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::barrier::Barrier;
use crate::span::SpaceId;

use super::backoff::{Backoff, scramble};
use super::event::{Cause, Event, Events, Outcome, Refusal, Why};
use super::plans::{Plan, PlannedBlock};
use super::{InFlight, Point, Reader};

/// Quarantined items tried in one cycle before one of them succeeds; each success adds two.
const RETRIES: usize = 8;

/// Why a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of the plan.
    Planned,
    /// A quarantined item.
    Retry,
    /// The one request that finds out if a refused space is back.
    SpaceProbe,
    /// The one request that finds out if a silent unit is back.
    UnitProbe,
}

/// A request to make: some items of a planned block.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) block: Arc<PlannedBlock>,
    from: usize,
    to: usize,
    pub(super) kind: Kind,
    /// The split it is a half of, and whether it is the right one.
    half: Option<(usize, bool)>,
}

impl Job {
    /// All of a block.
    pub(super) fn whole(block: Arc<PlannedBlock>, kind: Kind) -> Self {
        let to = block.items.len();
        Self { block, from: 0, to, kind, half: None }
    }

    /// Its points.
    pub(super) fn points(&self) -> &[u32] {
        self.block.points(self.from, self.to)
    }

    /// First address and first address behind.
    pub(super) fn extent(&self) -> (u32, u32) {
        self.block.extent(self.from, self.to)
    }
}

/// A refused block that was cut in two.
#[derive(Debug)]
struct Split {
    barrier: Barrier,
    /// Length of the whole.
    len: u32,
    /// Whether the left and the right half succeeded.
    good: [bool; 2],
}

/// The running cycle, and the buffers that are used again for the next.
#[derive(Debug)]
pub(super) struct Cycle {
    pub(super) active: bool,
    /// A cycle has ended since this was last looked at.
    pub(super) ended: bool,
    tick: Instant,
    points: usize,
    pub(super) queue: VecDeque<Job>,
    /// Blocks of a refused space that wait for its probe.
    held: Vec<Job>,
    retries: VecDeque<Job>,
    credits: usize,
    splits: Vec<Split>,
    /// Requests that bisection may still make.
    budget: usize,
    /// Time that went by waiting for answers that did not come.
    pub(super) lost: Duration,
}

impl Cycle {
    pub(super) fn new(tick: Instant) -> Self {
        Self {
            active: false,
            ended: false,
            tick,
            points: 0,
            queue: VecDeque::new(),
            held: Vec::new(),
            retries: VecDeque::new(),
            credits: 0,
            splits: Vec::new(),
            budget: 0,
            lost: Duration::ZERO,
        }
    }

    fn begin(&mut self, tick: Instant, points: usize) {
        self.active = true;
        self.tick = tick;
        self.points = points;
        self.credits = RETRIES;
        self.splits.clear();
        self.lost = Duration::ZERO;
        self.budget = 2 * points + 2 * (points.max(1).ilog2() as usize + 1);
    }

    /// Whether a request is to be made.
    pub(super) fn has_jobs(&self) -> bool {
        !self.queue.is_empty() || (self.credits > 0 && !self.retries.is_empty())
    }

    /// Whether another request to the unit will be made for sure.
    pub(super) fn has_jobs_of(&self, unit: u16) -> bool {
        self.queue.iter().any(|j| j.block.space.unit == unit)
    }

    /// Whether every point has its outcome (with nothing in flight).
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.held.is_empty() && self.retries.is_empty()
    }

    /// Ends the cycle.
    pub(super) fn finish(&mut self, events: &mut Events) {
        self.active = false;
        self.ended = true;
        if self.points > 0 {
            events.push(Event::CycleDone { tick: self.tick, points: self.points });
        }
    }

    /// Takes out any job that is left.
    pub(super) fn pop_any(&mut self) -> Option<Job> {
        self.queue.pop_front().or_else(|| self.held.pop()).or_else(|| self.retries.pop_front())
    }

    /// Takes out all jobs for which `gone` holds.
    pub(super) fn drop_jobs(
        &mut self,
        mut gone: impl FnMut(&Job) -> bool,
        mut with: impl FnMut(&Job),
    ) {
        let mut keep = |job: &Job| {
            let drop = gone(job);
            if drop {
                with(job);
            }
            !drop
        };
        self.queue.retain(&mut keep);
        self.held.retain(&mut keep);
        self.retries.retain(&mut keep);
    }
}

/// One bad event for every point of a job.
pub(super) fn push_bad(points: &[Point], job: &Job, why: Why, events: &mut Events) {
    let of_job = job.points().iter().filter_map(|i| points.get(*i as usize));
    events.extend(of_job.map(|p| Event::Bad { point: p.spec.span.id, why }));
}

impl Reader {
    /// Starts a cycle; points that are not asked for get their outcome at once. `asked` is a
    /// block that has been asked already.
    pub(super) fn start_cycle(
        &mut self,
        plan: &Plan,
        tick: Instant,
        now: Instant,
        asked: Option<&Arc<PlannedBlock>>,
        events: &mut Events,
    ) {
        self.cycle.begin(tick, plan.points);
        self.units.begin_cycle();
        let is_asked = |b: &Arc<PlannedBlock>| asked.is_some_and(|a| Arc::ptr_eq(a, b));
        for block in plan.blocks.iter().filter(|b| !is_asked(b)) {
            let job = Job::whole(Arc::clone(block), Kind::Planned);
            if let Some(cause) = self.units.silent(block.space.unit) {
                push_bad(&self.points, &job, Why::UnitSilent(cause), events);
                continue;
            }
            match self.spaces.get(&block.space).and_then(|s| s.refused) {
                None => self.cycle.queue.push_back(job),
                Some(b) if b.until <= now => self.cycle.held.push(job),
                Some(_) => push_bad(&self.points, &job, Why::SpaceQuarantined, events),
            }
        }
        self.queue_space_probes();
        self.order_queue();
        for block in plan.quarantined.iter().filter(|b| !is_asked(b)) {
            let job = Job::whole(Arc::clone(block), Kind::Retry);
            let space = self.spaces.get(&block.space);
            if let Some(cause) = self.units.silent(block.space.unit) {
                push_bad(&self.points, &job, Why::UnitSilent(cause), events);
            } else if space.is_some_and(|s| s.refused.is_some()) {
                push_bad(&self.points, &job, Why::SpaceQuarantined, events);
            } else if self.retry_at(&job).is_some_and(|at| at > now) {
                push_bad(&self.points, &job, Why::Quarantined, events);
            } else {
                self.cycle.retries.push_back(job);
            }
        }
        if self.cycle.retries.len() > 1 {
            let mut retries = std::mem::take(&mut self.cycle.retries);
            retries.make_contiguous().sort_by_key(|job| self.retry_at(job));
            self.cycle.retries = retries;
        }
    }

    /// When a quarantined item may be tried again.
    fn retry_at(&self, job: &Job) -> Option<Instant> {
        let points = job.points().iter().filter_map(|i| self.points.get(*i as usize));
        points.filter_map(Point::quarantine).map(|q| q.until).max()
    }

    /// Of the held blocks of each space, one is asked; a different one at each try.
    fn queue_space_probes(&mut self) {
        let mut spaces: Vec<SpaceId> = self.cycle.held.iter().map(|j| j.block.space).collect();
        spaces.dedup();
        for space in spaces {
            let mine = |job: &Job| job.block.space == space;
            let count = self.cycle.held.iter().filter(|j| mine(j)).count();
            let turn = self.spaces.get(&space).map_or(0, |s| s.tries) % count.max(1);
            let at = self.cycle.held.iter().enumerate().filter(|(_, j)| mine(j)).nth(turn);
            if let Some((at, _)) = at {
                let mut job = self.cycle.held.remove(at);
                job.kind = Kind::SpaceProbe;
                self.cycle.queue.push_back(job);
            }
        }
    }

    /// The next request of the cycle; `None` when it is over.
    pub(super) fn next_job(&mut self, now: Instant, events: &mut Events) -> Option<Job> {
        while let Some(job) = self.cycle.queue.pop_front() {
            if !self.is_out_of_time(&job) {
                return Some(job);
            }
            self.silence_unasked(&job, now, events);
        }
        if self.cycle.credits > 0
            && let Some(job) = self.cycle.retries.pop_front()
        {
            self.cycle.credits -= 1;
            return Some(job);
        }
        for job in self.cycle.retries.drain(..) {
            push_bad(&self.points, &job, Why::Quarantined, events);
        }
        for job in self.cycle.held.drain(..) {
            push_bad(&self.points, &job, Why::SpaceQuarantined, events);
        }
        None
    }

    /// One bad event for every point of a job.
    pub(super) fn emit_bad(&self, job: &Job, why: Why, events: &mut Events) {
        push_bad(&self.points, job, why, events);
    }

    /// Draws the consequences of an outcome.
    pub(super) fn handle(
        &mut self,
        f: InFlight,
        now: Instant,
        outcome: Outcome,
        events: &mut Events,
    ) {
        let InFlight { mut job, sent, timeout, .. } = f;
        let unit = job.block.space.unit;
        let silence = match outcome {
            Outcome::Timeout => Some((Cause::Timeout, Why::Timeout)),
            Outcome::Refused(Refusal::Unit) => Some((Cause::Gateway, Why::Refused(Refusal::Unit))),
            Outcome::Data | Outcome::Refused(_) => None,
        };
        if let Some((cause, why)) = silence {
            let waited = now.saturating_duration_since(sent);
            if job.kind == Kind::UnitProbe {
                let full = timeout >= self.config.request_timeout || cause == Cause::Gateway;
                self.units.probe_failed(unit, sent, now, full);
            } else {
                self.cycle.lost = self.cycle.lost.saturating_add(waited);
                self.not_answered(&job, cause, why, now, events);
            }
            return;
        }
        if job.kind == Kind::UnitProbe {
            // The unit is back: this was the first request of a cycle of all its points.
            let quarantined = job.points().iter().filter_map(|i| self.points.get(*i as usize));
            let quarantined = quarantined.into_iter().any(|p| p.quarantine().is_some());
            let plan = self.unit_plan(unit);
            self.units.answered(unit, now, now.saturating_duration_since(sent));
            self.start_cycle(&plan, now, now, Some(&job.block), events);
            job.kind = if quarantined { Kind::Retry } else { Kind::Planned };
        }
        self.units.answered(unit, now, now.saturating_duration_since(sent));
        match outcome {
            Outcome::Data => self.succeeded(&job, now, events),
            Outcome::Refused(Refusal::Space) if self.is_refused_space(&job) => {
                self.refuse_space(&job, now, events);
            }
            Outcome::Refused(why @ (Refusal::Address | Refusal::Space)) => {
                self.release_space(job.block.space);
                self.refused(job, why, now, events);
            }
            Outcome::Refused(why) => {
                self.emit_bad(&job, Why::Refused(why), events);
                self.skip_space_probe(&job, events);
            }
            Outcome::Timeout => {}
        }
    }

    /// Data arrived.
    fn succeeded(&mut self, job: &Job, now: Instant, events: &mut Events) {
        let (start, end) = job.extent();
        for point in job.points().iter().filter_map(|i| self.points.get(*i as usize)) {
            let span = point.spec.span;
            events.push(Event::Good { point: span.id, offset: span.start - start });
        }
        if let Some(unit) = self.units.all.get_mut(&job.block.space.unit)
            && unit.suspects(job.block.space, start, end)
        {
            unit.suspect = None;
        }
        self.release_space(job.block.space);
        self.spaces.entry(job.block.space).or_default().readable = true;
        let mut changed = self.walls.read(job.block.space, end - start);
        if job.kind == Kind::Retry {
            self.release(job, now);
            changed = true;
        }
        if let Some((at, right)) = job.half
            && let Some(split) = self.cycle.splits.get_mut(at)
        {
            split.good[usize::from(right)] = true;
            if split.good == [true, true] {
                let jitter = scramble(&mut self.jitter);
                changed |= self.walls.cut(split.barrier, split.len, now, jitter);
            }
        }
        if changed {
            self.replan();
        }
    }

    /// A quarantined item is readable again.
    fn release(&mut self, job: &Job, now: Instant) {
        self.cycle.credits += 2;
        for i in job.points() {
            let point = self.points.get_mut(*i as usize);
            if let Some(record) = point.and_then(|p| p.record.as_mut()) {
                record.released = record.quarantine.take().map(|q| (now, q.wait));
            }
        }
    }

    /// An address of this job is refused.
    fn refused(&mut self, job: Job, why: Refusal, now: Instant, events: &mut Events) {
        let items = job.to - job.from;
        if items <= 1 || job.kind == Kind::Retry {
            self.emit_bad(&job, Why::Refused(why), events);
            self.quarantine(&job, now);
            return;
        }
        if self.cycle.budget < 2 {
            self.emit_bad(&job, Why::Refused(why), events);
            return;
        }
        self.cycle.budget -= 2;
        let middle = job.from + items / 2;
        let (_, left_end) = job.block.extent(job.from, middle);
        let (right_start, _) = job.block.extent(middle, job.to);
        let (start, end) = job.extent();
        let split = self.cycle.splits.len();
        let barrier = Barrier::between(job.block.space, left_end, right_start);
        self.cycle.splits.push(Split { barrier, len: end - start, good: [false, false] });
        let half = |from, to, right| Job {
            block: Arc::clone(&job.block),
            from,
            to,
            kind: Kind::Planned,
            half: Some((split, right)),
        };
        self.cycle.queue.push_front(half(middle, job.to, true));
        self.cycle.queue.push_front(half(job.from, middle, false));
    }

    /// Keeps the points of a guilty item out of blocks until their next try.
    fn quarantine(&mut self, job: &Job, now: Instant) {
        let (min, max) = (self.config.retry_min, self.config.retry_max);
        let jitter = scramble(&mut self.jitter);
        for i in job.points() {
            let Some(point) = self.points.get_mut(*i as usize) else { continue };
            let record = point.record.get_or_insert_default();
            let relapse =
                record.released.filter(|(at, _)| now.saturating_duration_since(*at) < max);
            let before = record.quarantine.map(|q| q.wait).or(relapse.map(|(_, wait)| wait));
            record.quarantine = Some(Backoff::next(before, min, max, now, jitter));
        }
        if job.kind != Kind::Retry {
            self.replan();
        }
    }

    /// A unit was asked and did not answer.
    fn not_answered(
        &mut self,
        job: &Job,
        cause: Cause,
        why: Why,
        now: Instant,
        events: &mut Events,
    ) {
        self.emit_bad(job, why, events);
        let (space, (start, end)) = (job.block.space, job.extent());
        let unit = self.units.all.get_mut(&space.unit);
        let suspicious = unit.is_some_and(|u| {
            let suspicious = job.kind == Kind::Retry || u.suspects(space, start, end);
            u.suspect = (cause == Cause::Timeout && !suspicious).then_some((space, start, end));
            u.answered && suspicious
        });
        if suspicious {
            let points = &self.points;
            // The unit answers, only this range makes it silent: that is a refusal, too. One
            // such timeout in a cycle is enough.
            self.cycle.drop_jobs(
                |j| j.kind == Kind::Retry && j.block.space.unit == space.unit,
                |j| push_bad(points, j, Why::Quarantined, events),
            );
            self.quarantine(job, now);
            return;
        }
        if cause == Cause::Timeout && self.gets_another_chance(space.unit) {
            return;
        }
        self.silence(space.unit, cause, true, now, events);
    }

    /// Whether "function refused" may be believed: the space has never returned data.
    fn is_refused_space(&self, job: &Job) -> bool {
        !self.spaces.get(&job.block.space).is_some_and(|s| s.readable)
    }

    /// Leaves a space alone until its next try.
    fn refuse_space(&mut self, job: &Job, now: Instant, events: &mut Events) {
        let space = job.block.space;
        self.emit_bad(job, Why::Refused(Refusal::Space), events);
        let jitter = scramble(&mut self.jitter);
        let (min, max) = (self.config.retry_min, self.config.retry_max);
        let state = self.spaces.entry(space).or_default();
        state.tries = state.tries.wrapping_add(1);
        let before = state.refused.map(|b| b.wait);
        state.refused = Some(Backoff::next(before, min, max, now, jitter));
        let points = &self.points;
        self.cycle.drop_jobs(
            |j| j.block.space == space,
            |j| push_bad(points, j, Why::SpaceQuarantined, events),
        );
    }

    /// The space answers again: its held blocks are asked.
    fn release_space(&mut self, space: SpaceId) {
        let Some(state) = self.spaces.get_mut(&space).filter(|s| s.refused.is_some()) else {
            return;
        };
        (state.refused, state.tries) = (None, 0);
        let held = std::mem::take(&mut self.cycle.held);
        let (now_asked, held): (Vec<Job>, Vec<Job>) =
            held.into_iter().partition(|j| j.block.space == space);
        self.cycle.held = held;
        self.cycle.queue.extend(now_asked);
    }

    /// The probe of a space said nothing about it: the rest waits for the next cycle.
    fn skip_space_probe(&mut self, job: &Job, events: &mut Events) {
        if job.kind == Kind::SpaceProbe {
            let points = &self.points;
            self.cycle.drop_jobs(
                |j| j.block.space == job.block.space,
                |j| push_bad(points, j, Why::SpaceQuarantined, events),
            );
        }
    }
}
