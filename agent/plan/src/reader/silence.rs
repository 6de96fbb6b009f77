//! Units that do not answer, and when each may be asked again.
//!
//! While another unit of the connection answers, a silent one is probed in idle time only, with
//! a timeout that ends before the next tick. Where idle time is too short to be conclusive it
//! gets a full-timeout probe now and then, so that it costs at most its share. When all are
//! silent nobody suffers, and the device is probed at the points' own pace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::span::SpaceId;

use super::event::Cause;
use super::schedule::after;

/// Idle time below this is not used for a probe.
const LEAST_IDLE: Duration = Duration::from_millis(50);
/// Longest back-off of probes while others suffer from them.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Bounds of the time between two probes that nobody suffers from. The upper one keeps the
/// promise max(3 intervals, 2 x timeout + 5 s).
const PACE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A probe is conclusive when it waits this many times the slowest answer known.
const CONCLUSIVE: u32 = 4;
/// The least part of the timeout that any request gets.
const LEAST_SHARE: u32 = 8;

/// The probing of a silent unit.
#[derive(Clone, Debug)]
pub(super) struct Silent {
    pub(super) cause: Cause,
    pub(super) since: Instant,
    pub(super) next_probe: Instant,
    /// Wait after the next shortened probe.
    short_wait: Duration,
    /// The next probe with full timeout although it delays others.
    full_at: Instant,
    full_wait: Duration,
    /// Probes sent; chooses the block that is asked.
    pub(super) probes: usize,
    /// The whole device was silent and has come back: ask at once.
    sweep: bool,
    /// Whether it was asked at all; one that was not, because others took the time, comes first.
    asked: bool,
}

/// One unit of the connection.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Shortest interval of its points.
    pub(super) interval: Duration,
    pub(super) silent: Option<Silent>,
    /// It has answered something in this cycle.
    pub(super) answered: bool,
    /// It has answered something, ever.
    pub(super) proven: bool,
    /// Requests in a row that it did not answer.
    pub(super) missed: u32,
    /// The range whose timeout made it silent: asked last from then on.
    pub(super) suspect: Option<(SpaceId, u32, u32)>,
    /// Slowest answer of late.
    slowest: Option<Duration>,
    /// When it came back, and how long it had to wait.
    returned: Option<(Instant, Duration)>,
}

impl Unit {
    /// A unit in good standing.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            silent: None,
            answered: false,
            proven: false,
            missed: 0,
            suspect: None,
            slowest: None,
            returned: None,
        }
    }

    /// Whether the range is the suspect one.
    pub(super) fn suspects(&self, space: SpaceId, start: u32, end: u32) -> bool {
        self.suspect.is_some_and(|(s, from, to)| s == space && start < to && from < end)
    }

    fn pace(&self) -> Duration {
        self.interval.clamp(PACE.0, PACE.1)
    }
}

/// All units of one connection.
#[derive(Clone, Debug)]
pub(super) struct Units {
    pub(super) all: BTreeMap<u16, Unit>,
    timeout: Duration,
    last_full: Option<Instant>,
}

/// A probe to send.
pub(super) struct Probe {
    pub(super) unit: u16,
    pub(super) timeout: Duration,
}

impl Units {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { all: BTreeMap::new(), timeout, last_full: None }
    }

    pub(super) fn get(&self, unit: u16) -> Option<&Unit> {
        self.all.get(&unit)
    }

    /// Why the unit is silent, if it is.
    pub(super) fn silent(&self, unit: u16) -> Option<Cause> {
        self.get(unit)?.silent.as_ref().map(|s| s.cause)
    }

    fn others_answer(&self) -> bool {
        self.all.values().any(|u| u.silent.is_none())
    }

    /// Time between two full-timeout probes while others answer.
    fn share(&self) -> Duration {
        let units = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(units).min(MAX_BACKOFF)
    }

    /// The unit has answered (anything) after `latency`. Returns whether it was silent.
    pub(super) fn answered(&mut self, id: u16, now: Instant, latency: Duration) -> bool {
        let device_back = !self.others_answer() && self.all.len() > 1;
        let Some(unit) = self.all.get_mut(&id) else { return false };
        (unit.answered, unit.proven, unit.missed) = (true, true, 0);
        unit.slowest = Some(unit.slowest.map_or(latency, |s| (s - s / 16).max(latency)));
        let Some(silent) = unit.silent.take() else { return false };
        unit.returned = Some((now, silent.full_wait));
        if device_back {
            for silent in self.all.values_mut().filter_map(|u| u.silent.as_mut()) {
                silent.sweep = true;
                silent.next_probe = now;
            }
        }
        true
    }

    /// A unit that was in good standing does not answer, or was not even `asked` because others
    /// that do not answer took all the time.
    pub(super) fn fell_silent(&mut self, id: u16, now: Instant, cause: Cause, asked: bool) {
        let share = self.share();
        let Some(unit) = self.all.get_mut(&id) else { return };
        // One that comes and goes is let in ever more seldom, for the others' sake.
        let again = unit
            .returned
            .filter(|(at, _)| now.saturating_duration_since(*at) < MAX_BACKOFF)
            .map(|(_, wait)| wait.saturating_mul(2).min(MAX_BACKOFF));
        let pace = unit.pace();
        let full_wait = again.unwrap_or(share);
        unit.silent = Some(Silent {
            cause,
            since: now,
            next_probe: now,
            short_wait: pace,
            full_at: after(now, full_wait),
            full_wait,
            probes: 0,
            sweep: false,
            asked,
        });
        if let Some(wait) = again
            && self.others_answer()
            && let Some(silent) = self.all.get_mut(&id).and_then(|u| u.silent.as_mut())
        {
            silent.next_probe = after(now, wait / 2);
        }
    }

    /// A probe was not answered.
    pub(super) fn probe_failed(&mut self, id: u16, sent: Instant, now: Instant, full: bool) {
        let mut swept = false;
        if let Some(unit) = self.all.get_mut(&id) {
            let pace = unit.pace();
            if let Some(silent) = unit.silent.as_mut() {
                swept = std::mem::take(&mut silent.sweep);
                if full {
                    silent.full_wait = silent.full_wait.saturating_mul(2).min(MAX_BACKOFF);
                    silent.full_at = after(now, silent.full_wait);
                    silent.next_probe = after(sent, pace);
                } else {
                    silent.next_probe = after(sent, silent.short_wait);
                    silent.short_wait = silent.short_wait.saturating_mul(2).min(MAX_BACKOFF);
                }
            }
        }
        if swept {
            // It was this unit and not the device: the rest waits for idle time.
            for silent in self.all.values_mut().filter_map(|u| u.silent.as_mut()) {
                silent.sweep = false;
            }
        }
    }

    /// The probe to send now. `idle` is the time until the next tick; `cycle_ended` says that
    /// this is its beginning, the moment at which a probe that delays others costs least.
    pub(super) fn probe(
        &mut self,
        now: Instant,
        idle: Duration,
        cycle_ended: bool,
    ) -> Option<Probe> {
        let others = self.others_answer();
        let share_is_free = self.last_full.is_none_or(|at| now >= after(at, self.share()));
        let enough = self.conclusive();
        let unasked = self.all.values().filter_map(|u| u.silent.as_ref()).filter(|s| !s.asked);
        let unasked = u32::try_from(unasked.count()).unwrap_or(u32::MAX);
        let chosen = self
            .all
            .iter()
            .filter_map(|(id, unit)| unit.silent.as_ref().map(|s| (*id, s)))
            .filter(|(_, s)| s.next_probe <= now)
            .filter_map(|(id, s)| {
                let usable = idle >= LEAST_IDLE && idle >= self.timeout / 10;
                let delays_nobody = !others || s.sweep || idle >= self.timeout;
                let its_turn = cycle_ended && idle < enough && s.full_at <= now && share_is_free;
                let timeout = match usable {
                    // Many that were not even asked: one of them may answer, so none takes long.
                    _ if delays_nobody && !s.asked && unasked > 1 => self.quick(id),
                    _ if delays_nobody || its_turn => self.timeout,
                    true if s.asked => idle,
                    // All that wait for their first question share the idle time.
                    true => (idle / unasked.max(1)).max(self.quick(id)).min(idle),
                    // Its first question, which the cycle owes it.
                    false if !s.asked && cycle_ended => self.quick(id),
                    false => return None,
                };
                Some(((s.asked, s.next_probe), Probe { unit: id, timeout }))
            })
            .min_by_key(|(at, probe)| (*at, probe.unit))?
            .1;
        if chosen.timeout >= self.timeout {
            self.last_full = Some(now);
        }
        if let Some(silent) = self.all.get_mut(&chosen.unit).and_then(|u| u.silent.as_mut()) {
            silent.probes = silent.probes.wrapping_add(1);
            silent.asked = true;
        }
        Some(chosen)
    }

    /// How long a probe must wait to say something; the full timeout while nothing is known.
    fn conclusive(&self) -> Duration {
        let slowest = self.all.values().filter_map(|u| u.slowest).max();
        slowest.map_or(self.timeout, |s| s.saturating_mul(CONCLUSIVE).min(self.timeout))
    }

    /// How long a request to this unit must wait at least to say something about it.
    pub(super) fn quick(&self, id: u16) -> Duration {
        let own = self.get(id).and_then(|u| u.slowest);
        let slowest = own.or_else(|| self.all.values().filter_map(|u| u.slowest).max());
        let enough = slowest.unwrap_or_default().saturating_mul(CONCLUSIVE);
        enough.max(self.timeout / LEAST_SHARE).min(self.timeout)
    }

    /// Whether a unit other than this one is known to answer.
    pub(super) fn has_other_alive(&self, id: u16) -> bool {
        let alive = |u: &Unit| u.silent.is_none() && u.proven && u.missed == 0;
        self.all.iter().any(|(other, unit)| *other != id && alive(unit))
    }

    /// The units as another connection to the same device starts with them: those that were
    /// silent are asked again in its first cycle, behind the others and with little patience,
    /// unless all were: then it was the device, or the connection.
    pub(super) fn for_another_connection(&self) -> BTreeMap<u16, Unit> {
        let alive = |u: &Unit| u.silent.is_none() && u.missed == 0;
        let some_alive = self.all.values().any(alive);
        let fresh = |unit: &Unit| {
            let missed = u32::from(some_alive && !alive(unit));
            let proven = unit.proven && unit.silent.is_none();
            Unit { silent: None, answered: false, missed, proven, ..unit.clone() }
        };
        self.all.iter().map(|(id, unit)| (*id, fresh(unit))).collect()
    }

    /// When the next probe may become possible.
    pub(super) fn next_probe(&self, now: Instant) -> Option<Instant> {
        let at = self.all.values().filter_map(|u| u.silent.as_ref()).map(|s| s.next_probe);
        at.filter(|at| *at > now).min()
    }

    /// A new cycle begins.
    pub(super) fn begin_cycle(&mut self) {
        for unit in self.all.values_mut() {
            unit.answered = false;
        }
    }
}
