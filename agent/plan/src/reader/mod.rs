//! Reading the points of one connection: schedule, plans, and what is learned on the way.
//!
//! Sans-IO. The driver asks [`Reader::next`] what to do, does it, and reports the outcome to
//! [`Reader::answer`]; both push what is to be published into the caller's [`Events`].

mod backoff;
mod cycle;
mod event;
mod learned;
mod patience;
mod plans;
mod report;
mod schedule;
mod silence;
mod walls;

pub use event::{
    Action, Cause, Event, Events, Outcome, PointSpec, ReaderConfig, Refusal, Request, Why,
};
pub use learned::Learned;
pub use report::{DuePlan, Quarantined, RefusedSpace, Report, SilentUnit};

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::barrier::{Barrier, Barriers};
use crate::span::{Limits, SpaceId};

use backoff::Backoff;
use cycle::{Cycle, Job, Kind};
use plans::{Plan, PlanCache};
use schedule::{FAR, Schedule, after};
use silence::{Unit, Units};
use walls::Walls;

/// One point and what is known about it.
#[derive(Clone, Debug)]
struct Point {
    spec: PointSpec,
    class: u32,
    /// Only points that were ever refused have one: most never are, and a connection may have
    /// a thousand of them.
    record: Option<Box<Record>>,
}

/// What a point that was refused has behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    quarantine: Option<Backoff>,
    /// When it came out of quarantine and its last wait: a relapse goes on from there.
    released: Option<(Instant, Duration)>,
}

impl Point {
    /// Until when it is in quarantine, if it is.
    fn quarantine(&self) -> Option<Backoff> {
        self.record.as_ref().and_then(|r| r.quarantine)
    }
}

/// What is known about a space.
#[derive(Clone, Copy, Debug, Default)]
struct Space {
    /// It has returned data: then "function refused" can only mean the range.
    readable: bool,
    refused: Option<Backoff>,
    /// Tries since it was refused; chooses the block that is asked.
    tries: usize,
}

/// The request on the wire.
#[derive(Debug)]
struct InFlight {
    token: u64,
    job: Job,
    sent: Instant,
    timeout: Duration,
}

/// Schedule, plans and learning of one connection with one request in flight.
pub struct Reader {
    limits: Box<dyn Fn(SpaceId) -> Limits + Send + Sync>,
    config: ReaderConfig,
    points: Vec<Point>,
    schedule: Schedule,
    plans: PlanCache,
    walls: Walls,
    /// The barriers and the quarantined addresses, which are not read along either.
    fenced: Barriers,
    spaces: BTreeMap<SpaceId, Space>,
    units: Units,
    cycle: Cycle,
    /// Points to read as soon as possible outside their ticks: new ones after a change.
    extra: Vec<u32>,
    in_flight: Option<InFlight>,
    last_token: u64,
    /// Rate limit.
    not_before: Option<Instant>,
    jitter: u64,
    due: Vec<u32>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("points", &self.points.len())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader whose first ticks are due at `now`. `seed` only spreads retries (jitter).
    pub fn new(
        points: Vec<PointSpec>,
        limits: impl Fn(SpaceId) -> Limits + Send + Sync + 'static,
        config: ReaderConfig,
        now: Instant,
        seed: u64,
    ) -> Self {
        let mut reader = Self {
            limits: Box::new(limits),
            config,
            points: Vec::new(),
            schedule: Schedule::new(now),
            plans: PlanCache::default(),
            walls: Walls::new(config.retry_max),
            fenced: Barriers::new(),
            spaces: BTreeMap::new(),
            units: Units::new(config.request_timeout),
            cycle: Cycle::new(now),
            extra: Vec::new(),
            in_flight: None,
            last_token: 0,
            not_before: None,
            jitter: seed,
            due: Vec::new(),
        };
        reader.set_points(points, now);
        reader
    }

    /// What to do at `now`. Call it after every answer and when the instant of a
    /// [`Action::Wait`] has come. Points that are not asked for get their events here. While a
    /// request is in flight the answer is to wait until its timeout.
    pub fn next(&mut self, now: Instant, events: &mut Events) -> Action {
        if let Some(f) = &self.in_flight {
            return Action::Wait(after(f.sent, f.timeout));
        }
        loop {
            if self.cycle.active {
                if self.cycle.has_jobs()
                    && let Some(at) = self.rate_limited(now)
                {
                    return Action::Wait(at);
                }
                if let Some(job) = self.next_job(now, events) {
                    let timeout = self.patience(&job);
                    return self.send(job, timeout, now);
                }
                self.cycle.finish(events);
            }
            let tick = self.schedule.next();
            let idle = tick.map_or(FAR, |t| t.saturating_duration_since(now));
            let pause = self.config.min_request_interval.unwrap_or_default();
            if self.rate_limited(now).is_none()
                && std::mem::take(&mut self.cycle.ended)
                && let Some(action) = self.send_probe(now, idle.saturating_sub(pause), true)
            {
                return action;
            }
            if !self.extra.is_empty() {
                let extra = std::mem::take(&mut self.extra);
                let plan = self.plan_of(|i| extra.binary_search(&(i as u32)).is_ok());
                self.start_cycle(&plan, now, now, None, events);
                continue;
            }
            let mut due = std::mem::take(&mut self.due);
            let taken = self.schedule.take_due(now, &mut due);
            self.due = due;
            if let Some(tick) = taken {
                if self.walls.test_one(now) {
                    self.replan();
                }
                let plan = self.due_plan();
                self.start_cycle(&plan, tick, now, None, events);
                continue;
            }
            if let Some(at) = self.rate_limited(now) {
                return Action::Wait(tick.map_or(at, |t| t.min(at)));
            }
            if let Some(action) = self.send_probe(now, idle.saturating_sub(pause), false) {
                return action;
            }
            let wake = [tick, self.units.next_probe(now)].into_iter().flatten().min();
            return Action::Wait(wake.unwrap_or_else(|| after(now, FAR)));
        }
    }

    /// Reports how the request with `token` ended. Returns `false`, and changes nothing, when
    /// that is not the request in flight (a late answer).
    pub fn answer(
        &mut self,
        token: u64,
        now: Instant,
        outcome: Outcome,
        events: &mut Events,
    ) -> bool {
        let Some(f) = self.in_flight.take_if(|f| f.token == token) else { return false };
        self.handle(f, now, outcome, events);
        if self.cycle.active && self.cycle.is_over() {
            self.cycle.finish(events);
        }
        true
    }

    /// The connection is gone: every point that still had no outcome in this cycle is bad with
    /// [`Why::Timeout`]. What was learned stays; see [`Reader::learned`].
    pub fn abort(&mut self, events: &mut Events) {
        if let Some(f) = self.in_flight.take()
            && f.job.kind != Kind::UnitProbe
        {
            self.emit_bad(&f.job, Why::Timeout, events);
        }
        while let Some(job) = self.cycle.pop_any() {
            self.emit_bad(&job, Why::Timeout, events);
        }
        if self.cycle.active {
            self.cycle.finish(events);
        }
    }

    /// A changed set of points. What was learned about addresses that stay is kept, ticks stay
    /// in phase, new points are read at once. A request in flight is forgotten (its answer is
    /// stale); points of the running cycle that stay are read again.
    pub fn replace_points(&mut self, points: Vec<PointSpec>, now: Instant) {
        let mut pending: Vec<u32> = Vec::new();
        if let Some(f) = self.in_flight.take() {
            pending.extend(f.job.points());
        }
        while let Some(job) = self.cycle.pop_any() {
            pending.extend(job.points());
        }
        self.cycle = Cycle::new(now);
        let key = |p: &PointSpec| (p.span.space, p.span.start, p.span.len, p.interval);
        let was_pending: std::collections::HashSet<_> = pending
            .iter()
            .filter_map(|i| self.points.get(*i as usize))
            .map(|p| key(&p.spec))
            .collect();
        let old: HashMap<_, Point> =
            std::mem::take(&mut self.points).into_iter().map(|p| (key(&p.spec), p)).collect();
        let known: HashMap<_, _> = old
            .values()
            .map(|p| ((p.spec.span.space, p.spec.span.start, p.spec.span.len), p.clone()))
            .collect();
        self.set_points(points, now);
        for (i, point) in self.points.iter_mut().enumerate() {
            let span = point.spec.span;
            if let Some(old) = known.get(&(span.space, span.start, span.len)) {
                point.record.clone_from(&old.record);
            }
            let full = key(&point.spec);
            let tick_is_now =
                self.schedule.classes.get(point.class as usize).is_some_and(|c| c.next <= now);
            if (!old.contains_key(&full) || was_pending.contains(&full)) && !tick_is_now {
                self.extra.push(i as u32);
            }
        }
        self.forget_strangers();
        self.replan();
    }

    /// How many ticks were skipped because the one before was not done.
    pub fn missed_ticks(&self) -> u64 {
        self.schedule.missed
    }

    fn set_points(&mut self, points: Vec<PointSpec>, now: Instant) {
        self.extra.clear();
        let kept = std::mem::take(&mut self.schedule.classes);
        for class in kept {
            if points.iter().any(|p| p.interval.max(Duration::from_millis(1)) == class.interval) {
                self.schedule.classes.push(class);
            }
        }
        let mut units: BTreeMap<u16, Unit> = BTreeMap::new();
        for spec in &points {
            let id = spec.span.space.unit;
            let unit = units.entry(id).or_insert_with(|| {
                let known = self.units.all.remove(&id);
                let mut unit = known.unwrap_or_else(|| Unit::new(spec.interval));
                unit.interval = spec.interval;
                unit
            });
            unit.interval = unit.interval.min(spec.interval);
        }
        self.units.all = units;
        self.points = points
            .into_iter()
            .map(|spec| {
                let class = self.schedule.class(spec.interval, now);
                Point { spec, class, record: None }
            })
            .collect();
    }

    /// Drops what was learned about spaces that no point lies in any more.
    fn forget_strangers(&mut self) {
        let here: std::collections::HashSet<SpaceId> =
            self.points.iter().map(|p| p.spec.span.space).collect();
        self.walls.retain(|space| here.contains(&space));
        self.spaces.retain(|space, _| here.contains(space));
    }

    /// Something was learned: no plan is true any more.
    fn replan(&mut self) {
        self.plans.clear();
        self.fenced = self.walls.barriers();
        for span in self.points.iter().filter(|p| p.quarantine().is_some()).map(|p| p.spec.span) {
            self.fenced.insert(Barrier::covering(span.space, span.start, span.end()));
        }
    }

    /// The instant before which nothing may be sent.
    fn rate_limited(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    fn send(&mut self, job: Job, timeout: Duration, now: Instant) -> Action {
        self.last_token += 1;
        let (start, end) = job.extent();
        let request = Request {
            token: self.last_token,
            space: job.block.space,
            start,
            len: end - start,
            timeout,
            probe: job.kind == Kind::UnitProbe,
        };
        self.not_before = self.config.min_request_interval.map(|pause| after(now, pause));
        self.in_flight = Some(InFlight { token: request.token, job, sent: now, timeout });
        Action::Send(request)
    }

    fn send_probe(&mut self, now: Instant, idle: Duration, cycle_ended: bool) -> Option<Action> {
        let probe = self.units.probe(now, idle, cycle_ended)?;
        let plan = self.unit_plan(probe.unit);
        let unit = self.units.get(probe.unit)?;
        let turn = unit.silent.as_ref().map_or(0, |s| s.probes);
        // Best a block that was not the one that made it silent, in a space that is not refused.
        let fine: Vec<_> = plan
            .blocks
            .iter()
            .filter(|b| !unit.suspects(b.space, b.start, b.end))
            .filter(|b| self.spaces.get(&b.space).is_none_or(|s| s.refused.is_none()))
            .collect();
        let all: Vec<_> = plan.blocks.iter().chain(&plan.quarantined).collect();
        let from = if fine.is_empty() { all } else { fine };
        let block = from.get(turn % from.len().max(1))?;
        let job = Job::whole(Arc::clone(block), Kind::UnitProbe);
        Some(self.send(job, probe.timeout, now))
    }

    fn due_plan(&mut self) -> Arc<Plan> {
        let (points, barriers) = (&self.points, &self.fenced);
        let limits = capped(&self.limits, &self.walls);
        let due = &self.due;
        self.plans.due(due, || {
            Plan::build(points, |_, p| due.binary_search(&p.class).is_ok(), limits, barriers)
        })
    }

    fn unit_plan(&mut self, unit: u16) -> Arc<Plan> {
        let (points, barriers) = (&self.points, &self.fenced);
        let limits = capped(&self.limits, &self.walls);
        self.plans.unit(unit, || {
            Plan::build(points, |_, p| p.spec.span.space.unit == unit, limits, barriers)
        })
    }

    fn plan_of(&self, wanted: impl Fn(usize) -> bool) -> Plan {
        Plan::build(&self.points, |i, _| wanted(i), capped(&self.limits, &self.walls), &self.fenced)
    }
}

/// The caller's limits, or the cap that was learned where that is lower.
fn capped<'a>(
    limits: &'a (dyn Fn(SpaceId) -> Limits + Send + Sync),
    walls: &'a Walls,
) -> impl Fn(SpaceId) -> Limits + 'a {
    move |space| {
        let Limits { max_len, max_gap } = limits(space);
        Limits { max_len: walls.cap(space).map_or(max_len, |cap| cap.min(max_len)), max_gap }
    }
}
