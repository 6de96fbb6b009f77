//! What a set of points costs a device, before anything is read.

use std::collections::HashMap;
use std::time::Duration;

use crate::barrier::Barriers;
use crate::planner::plan_runs;
use crate::reader::PointSpec;
use crate::span::{Limits, SpaceId, Span};

/// Ticks that are looked at before the average is taken as it is.
const MAX_TICKS: usize = 4096;
/// Different sets of due intervals that are planned before the average is taken as it is.
const MAX_PLANS: usize = 128;

/// Mean load of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests per second.
    pub requests_per_second: f64,
    /// Units (registers, bits, bytes) read per second, gaps included.
    pub units_per_second: f64,
}

/// The load that these points make when nothing is refused.
///
/// Exact over the common period of the intervals where that has at most 4096 ticks and 128
/// different due sets, else the mean of the first of them.
pub fn estimate(points: &[PointSpec], limits: impl Fn(SpaceId) -> Limits) -> Load {
    load(points, limits, &Barriers::new())
}

/// [`estimate`] with what was learned.
pub(crate) fn load(
    points: &[PointSpec],
    limits: impl Fn(SpaceId) -> Limits,
    barriers: &Barriers,
) -> Load {
    let mut costs: HashMap<Vec<Duration>, (u64, u64)> = HashMap::new();
    let (mut requests, mut units) = (0_u64, 0_u64);
    let seen = walk_ticks(points.iter().map(|p| p.interval), |due| {
        if !costs.contains_key(due) {
            if costs.len() == MAX_PLANS {
                return false;
            }
            let spans: Vec<Span> =
                points.iter().filter(|p| due.contains(&p.interval)).map(|p| p.span).collect();
            let runs = plan_runs(&spans, &limits, barriers);
            let read = runs.iter().map(|r| r.extent()).map(|(s, e)| u64::from(e - s)).sum();
            costs.insert(due.to_vec(), (runs.len() as u64, read));
        }
        let (r, u) = costs.get(due).copied().unwrap_or_default();
        requests += r;
        units += u;
        true
    });
    let seconds = seen.as_secs_f64();
    if seconds == 0.0 {
        return Load::default();
    }
    Load {
        requests_per_second: requests as f64 / seconds,
        units_per_second: units as f64 / seconds,
    }
}

/// The due sets of the common period, in order; stops early when `visit` returns false or after
/// 4096 ticks. Returns the time that the visited ticks stand for.
pub(crate) fn walk_ticks(
    intervals: impl Iterator<Item = Duration>,
    mut visit: impl FnMut(&[Duration]) -> bool,
) -> Duration {
    let mut kinds: Vec<Duration> = intervals.map(|i| i.max(Duration::from_nanos(1))).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let period = kinds.iter().fold(1_u128, |all, i| lcm(all, i.as_nanos()));
    let mut next = vec![0_u128; kinds.len()];
    let mut due = Vec::with_capacity(kinds.len());
    for _ in 0..MAX_TICKS {
        let Some(now) = next.iter().copied().min() else { return Duration::ZERO };
        if now >= period {
            return nanos(period);
        }
        due.clear();
        for (interval, at) in kinds.iter().zip(&mut next) {
            if *at == now {
                due.push(*interval);
                *at = at.saturating_add(interval.as_nanos());
            }
        }
        if !visit(&due) {
            return nanos(now);
        }
    }
    nanos(next.iter().copied().min().unwrap_or(0))
}

/// Least common multiple; the largest number when it does not fit.
fn lcm(a: u128, b: u128) -> u128 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
}

/// A duration from nanoseconds, cut off after 584 years.
fn nanos(n: u128) -> Duration {
    Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX))
}
