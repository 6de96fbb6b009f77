//! How long a cycle waits for units that do not answer, so that those that do get theirs.
//!
//! The first request that is not answered may take its full timeout. From then on, in that cycle,
//! units that have not answered yet are in doubt: they share half a timeout, each getting at
//! least what is known to be conclusive. No cycle loses more than two timeouts: the rest is not
//! asked but left to the probes. That keeps the promise max(3 intervals, 2 x timeout + 5 s).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Reader;
use super::cycle::{Job, push_bad};
use super::event::{Cause, Events, Why};
use super::silence::Unit;

/// Timeouts that one cycle may lose in all.
const MAX_LOST: u32 = 2;

impl Reader {
    /// Asks first who is known to answer, and last what once silenced its unit.
    pub(super) fn order_queue(&mut self) {
        let odd = |u: &Unit| u.suspect.is_some() || u.missed > 0 || !u.proven;
        if !self.units.all.values().any(odd) {
            return;
        }
        let units = &self.units;
        let place = |job: &Job| {
            let (space, (start, end)) = (job.block.space, job.extent());
            let Some(unit) = units.get(space.unit) else { return (false, false, false) };
            (unit.missed > 0, !unit.proven, unit.suspects(space, start, end))
        };
        self.cycle.queue.make_contiguous().sort_by_key(place);
    }

    /// Whether the time spent on this unit would be taken from units that answer.
    fn is_in_doubt(&self, id: u16) -> bool {
        let Some(unit) = self.units.get(id) else { return false };
        let unlucky = !self.cycle.lost.is_zero() && !unit.answered;
        let shared = self.config.fair && self.units.all.len() > 1;
        shared && (unlucky || unit.missed > 0 && self.units.has_other_alive(id))
    }

    /// How long the answer to this job is waited for.
    pub(super) fn patience(&self, job: &Job) -> Duration {
        let (full, id) = (self.config.request_timeout, job.block.space.unit);
        if !self.is_in_doubt(id) {
            return full;
        }
        let others = self.cycle.queue.iter().map(|j| j.block.space.unit);
        let doubtful: BTreeSet<u16> = others.filter(|u| *u != id && self.is_in_doubt(*u)).collect();
        let count = u32::try_from(doubtful.len() + 1).unwrap_or(u32::MAX);
        let left = (full + full / 2).saturating_sub(self.cycle.lost.max(full));
        (left / count).max(self.units.quick(id)).min(full)
    }

    /// Whether there is no time left to ask this unit in this cycle.
    pub(super) fn is_out_of_time(&self, job: &Job) -> bool {
        let (limit, id) =
            (self.config.request_timeout.saturating_mul(MAX_LOST), job.block.space.unit);
        !self.cycle.lost.is_zero()
            && self.cycle.lost.saturating_add(self.units.quick(id)) > limit
            && self.is_in_doubt(id)
    }

    /// Leaves a unit that was not asked in this cycle to the probes, which begin with it.
    pub(super) fn silence_unasked(&mut self, job: &Job, now: Instant, events: &mut Events) {
        let id = job.block.space.unit;
        let asked = self.units.get(id).is_some_and(|u| u.missed > 0);
        self.emit_bad(job, Why::UnitSilent(Cause::Timeout), events);
        self.silence(id, Cause::Timeout, asked, now, events);
    }

    /// A unit counts as silent: it is probed, and its points are not asked for.
    pub(super) fn silence(
        &mut self,
        id: u16,
        cause: Cause,
        asked: bool,
        now: Instant,
        events: &mut Events,
    ) {
        self.units.fell_silent(id, now, cause, asked);
        let points = &self.points;
        self.cycle.drop_jobs(
            |j| j.block.space.unit == id,
            |j| push_bad(points, j, Why::UnitSilent(cause), events),
        );
    }

    /// One answer was lost: that alone says nothing about the unit's other requests. Its next one
    /// decides, behind those to other units; without another one in this cycle it is the next
    /// tick's, if that comes sooner than a probe could.
    pub(super) fn gets_another_chance(&mut self, id: u16) -> bool {
        let has_more = self.cycle.has_jobs_of(id);
        let timeout = self.config.request_timeout;
        let Some(unit) = self.units.all.get_mut(&id) else { return false };
        unit.missed = unit.missed.saturating_add(1);
        if unit.missed > 1 || !(has_more || unit.proven && unit.interval <= timeout) {
            return false;
        }
        self.cycle.queue.make_contiguous().sort_by_key(|j| j.block.space.unit == id);
        true
    }
}
