//! What the reader does and knows, for people and tests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::barrier::Barrier;
use crate::load::{Load, walk_ticks};
use crate::span::{Block, SpaceId};

use super::Reader;
use super::event::Cause;
use super::plans::Plan;

/// Due sets that a report lists.
const MAX_DUE_PLANS: usize = 64;

/// A snapshot of a [`Reader`].
#[derive(Clone, Debug)]
pub struct Report {
    /// The requests of each set of intervals that come due together, in order of time (at most
    /// 64 sets).
    pub plans: Vec<DuePlan>,
    /// Mean load of these plans (retries and probes not counted).
    pub load: Load,
    /// Points kept out of blocks.
    pub quarantined: Vec<Quarantined>,
    /// Spaces left alone.
    pub refused_spaces: Vec<RefusedSpace>,
    /// Units that do not answer.
    pub silent_units: Vec<SilentUnit>,
    /// Positions that are not read across.
    pub barriers: Vec<Barrier>,
    /// Longest request of spaces that take only shorter ones than the limits say.
    pub caps: Vec<(SpaceId, u32)>,
    /// Ticks skipped because the one before was not done.
    pub missed_ticks: u64,
}

/// The requests of one set of intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePlan {
    /// The intervals that are due.
    pub intervals: Vec<Duration>,
    /// The requests, members by `span.id`.
    pub blocks: Vec<Block>,
}

/// A point whose address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its `span.id`.
    pub point: usize,
    /// Tried again at its first due tick from then on.
    pub retry_at: Instant,
    /// Length of the present wait.
    pub wait: Duration,
}

/// A space whose function was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedSpace {
    /// The space.
    pub space: SpaceId,
    /// Tried again at the first due tick from then on.
    pub retry_at: Instant,
}

/// A unit that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilentUnit {
    /// The unit.
    pub unit: u16,
    /// Why it counts as silent.
    pub cause: Cause,
    /// Since when.
    pub since: Instant,
    /// Not probed before.
    pub next_probe: Instant,
}

impl Reader {
    /// What is read and what was learned. Plans are made anew: not for the hot path.
    pub fn report(&self) -> Report {
        let mut plans: Vec<DuePlan> = Vec::new();
        let mut cost: HashMap<Vec<Duration>, (u64, u64)> = HashMap::new();
        let (mut requests, mut units) = (0_u64, 0_u64);
        let seen = walk_ticks(self.points.iter().map(|p| p.spec.interval), |due| {
            if !cost.contains_key(due) {
                if plans.len() == MAX_DUE_PLANS {
                    return false;
                }
                let plan = self.report_plan(due);
                let read = plan.blocks.iter().map(|b| u64::from(b.len)).sum();
                cost.insert(due.to_vec(), (plan.blocks.len() as u64, read));
                plans.push(plan);
            }
            let (r, u) = cost.get(due).copied().unwrap_or_default();
            requests += r;
            units += u;
            true
        });
        let seconds = seen.as_secs_f64().max(f64::MIN_POSITIVE);
        let load = Load {
            requests_per_second: requests as f64 / seconds,
            units_per_second: units as f64 / seconds,
        };
        Report {
            plans,
            load: if seen.is_zero() { Load::default() } else { load },
            quarantined: self.quarantined(),
            refused_spaces: self.refused_spaces(),
            silent_units: self.silent_units(),
            barriers: self.walls.barriers().iter().copied().collect(),
            caps: self.caps(),
            missed_ticks: self.schedule.missed,
        }
    }

    fn report_plan(&self, due: &[Duration]) -> DuePlan {
        let is_due = |i: usize| self.points.get(i).is_some_and(|p| due.contains(&p.spec.interval));
        let plan: Plan = self.plan_of(is_due);
        let id = |i: &u32| self.points.get(*i as usize).map(|p| p.spec.span.id);
        let blocks = plan.blocks.iter().map(|b| Block {
            space: b.space,
            start: b.start,
            len: b.end - b.start,
            members: b.points(0, b.items.len()).iter().filter_map(id).collect(),
        });
        DuePlan { intervals: due.to_vec(), blocks: blocks.collect() }
    }

    fn caps(&self) -> Vec<(SpaceId, u32)> {
        self.spaces.keys().filter_map(|s| Some((*s, self.walls.cap(*s)?))).collect()
    }

    fn quarantined(&self) -> Vec<Quarantined> {
        let entry = |p: &super::Point| {
            let q = p.quarantine()?;
            Some(Quarantined { point: p.spec.span.id, retry_at: q.until, wait: q.wait })
        };
        self.points.iter().filter_map(entry).collect()
    }

    fn refused_spaces(&self) -> Vec<RefusedSpace> {
        let entry = |(space, s): (&SpaceId, &super::Space)| {
            Some(RefusedSpace { space: *space, retry_at: s.refused?.until })
        };
        self.spaces.iter().filter_map(entry).collect()
    }

    fn silent_units(&self) -> Vec<SilentUnit> {
        let entry = |(unit, u): (&u16, &super::Unit)| {
            let s = u.silent.as_ref()?;
            let (cause, since, next_probe) = (s.cause, s.since, s.next_probe);
            Some(SilentUnit { unit: *unit, cause, since, next_probe })
        };
        self.units.all.iter().filter_map(entry).collect()
    }
}
