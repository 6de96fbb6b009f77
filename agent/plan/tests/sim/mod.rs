//! A device as a pure function and virtual time to drive a [`Reader`] against it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lineside_plan::{
    Action, Event, Events, Limits, Outcome, PointSpec, Reader, ReaderConfig, Refusal, Request,
    SpaceId, Span, Why,
};

pub const S: Duration = Duration::from_secs(1);
pub const MS: Duration = Duration::from_millis(1);

pub fn space(unit: u16) -> SpaceId {
    SpaceId::new(unit, 3)
}

pub fn point(id: usize, unit: u16, start: u32, interval: Duration) -> PointSpec {
    PointSpec { span: Span { id, space: space(unit), start, len: 1, group: None }, interval }
}

/// What the device does with a request.
#[derive(Clone)]
pub struct Device {
    /// Unreadable addresses.
    pub bad: BTreeSet<(SpaceId, u32)>,
    /// Longest request it accepts.
    pub max_len: u32,
    /// Spaces whose function it refuses.
    pub refused: BTreeSet<SpaceId>,
    /// Units that do not answer.
    pub silent: BTreeSet<u16>,
    /// Addresses at which it does not answer.
    pub mute: BTreeSet<(SpaceId, u32)>,
    /// Requests, counted from 0, whose answers get lost.
    pub lost: BTreeSet<usize>,
    pub busy: bool,
    pub latency: Duration,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            bad: BTreeSet::new(),
            max_len: 125,
            refused: BTreeSet::new(),
            silent: BTreeSet::new(),
            mute: BTreeSet::new(),
            lost: BTreeSet::new(),
            busy: false,
            latency: MS,
        }
    }
}

impl Device {
    fn respond(&self, number: usize, r: &Request) -> (Duration, Outcome) {
        let mut range = (r.start..r.start + r.len).map(|a| (r.space, a));
        let mute = range.clone().any(|a| self.mute.contains(&a));
        let lost = mute || self.lost.contains(&number);
        if self.silent.contains(&r.space.unit) || lost || self.latency > r.timeout {
            return (r.timeout, Outcome::Timeout);
        }
        let outcome = if self.busy {
            Outcome::Refused(Refusal::Busy)
        } else if self.refused.contains(&r.space) {
            Outcome::Refused(Refusal::Space)
        } else if r.len > self.max_len || range.any(|a| self.bad.contains(&a)) {
            Outcome::Refused(Refusal::Address)
        } else {
            Outcome::Data
        };
        (self.latency, outcome)
    }
}

/// One batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub good: BTreeSet<usize>,
    pub bad: BTreeMap<usize, Why>,
    /// Since the start of the run.
    pub tick: Duration,
    pub done: Duration,
    pub requests: usize,
}

pub struct Sim {
    pub reader: Reader,
    pub device: Device,
    config: ReaderConfig,
    pub specs: BTreeMap<usize, PointSpec>,
    pub start: Instant,
    pub now: Instant,
    pub batches: Vec<Batch>,
    /// When each request was sent.
    pub requests: Vec<(Duration, Request)>,
    batch: Batch,
    events: Events,
}

impl Sim {
    pub fn new(points: Vec<PointSpec>, device: Device, config: ReaderConfig) -> Self {
        Self::with_gap(points, device, config, 16)
    }

    pub fn with_gap(
        points: Vec<PointSpec>,
        device: Device,
        config: ReaderConfig,
        gap: u32,
    ) -> Self {
        let start = Instant::now();
        let limits = move |_| Limits { max_len: 125, max_gap: gap };
        Self {
            specs: points.iter().map(|p| (p.span.id, *p)).collect(),
            reader: Reader::new(points, limits, config, start, 1),
            device,
            config,
            start,
            now: start,
            batches: Vec::new(),
            requests: Vec::new(),
            batch: Batch::default(),
            events: Events::new(),
        }
    }

    /// The connection is lost and made again: another reader, with what was learned or without.
    pub fn reconnect(&mut self, forget: bool) {
        let learned = self.reader.learned();
        let points = self.specs.values().copied().collect();
        let limits = |_| Limits { max_len: 125, max_gap: 16 };
        let fresh = Reader::new(points, limits, self.config, self.now, 1);
        self.reader = if forget { fresh } else { fresh.with(learned) };
        self.batch = Batch::default();
    }

    pub fn at(&self) -> Duration {
        self.now - self.start
    }

    pub fn replace(&mut self, points: Vec<PointSpec>) {
        self.specs = points.iter().map(|p| (p.span.id, *p)).collect();
        self.reader.replace_points(points, self.now);
        self.batch = Batch::default();
    }

    /// Runs until `until` after the start; returns the batches since the last call.
    pub fn run(&mut self, until: Duration) -> Vec<Batch> {
        let from = self.batches.len();
        let end = self.start + until;
        let mut idle_turns = 0;
        while self.now < end {
            let action = self.reader.next(self.now, &mut self.events);
            self.drain(None);
            match action {
                Action::Wait(at) => {
                    idle_turns = if at <= self.now { idle_turns + 1 } else { 0 };
                    assert!(idle_turns < 2, "spins at {:?}", self.at());
                    self.now = at.min(end);
                }
                Action::Send(request) => {
                    idle_turns = 0;
                    let (after, outcome) = self.device.respond(self.requests.len(), &request);
                    self.requests.push((self.at(), request));
                    self.batch.requests += 1;
                    let stale =
                        self.reader.answer(request.token + 1, self.now, outcome, &mut self.events);
                    assert!(!stale && self.events.is_empty(), "a foreign token is ignored");
                    self.now += after;
                    assert!(self.reader.answer(request.token, self.now, outcome, &mut self.events));
                    self.drain(Some(&request));
                    let again =
                        self.reader.answer(request.token, self.now, outcome, &mut self.events);
                    assert!(!again && self.events.is_empty(), "an answer counts once");
                }
            }
        }
        self.batches[from..].to_vec()
    }

    fn drain(&mut self, request: Option<&Request>) {
        for event in self.events.drain(..) {
            match event {
                Event::Good { point, offset } => {
                    let (r, span) = (request.unwrap(), self.specs[&point].span);
                    assert_eq!((r.space, r.start + offset), (span.space, span.start));
                    assert!(span.end() <= r.start + r.len, "the whole value is in the answer");
                    assert!(self.batch.good.insert(point), "{point} twice in a batch");
                }
                Event::Bad { point, why } => {
                    assert!(
                        self.batch.bad.insert(point, why).is_none(),
                        "{point} twice in a batch"
                    );
                }
                Event::CycleDone { tick, points } => {
                    let mut batch = std::mem::take(&mut self.batch);
                    assert_eq!(batch.good.len() + batch.bad.len(), points, "all outcomes");
                    assert!(batch.bad.keys().all(|p| !batch.good.contains(p)), "one outcome each");
                    batch.tick = tick - self.start;
                    batch.done = self.now - self.start;
                    self.batches.push(batch);
                }
            }
        }
    }
}
