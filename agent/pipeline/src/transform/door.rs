//! The swinging door: samples on a straight line between two that are kept are absorbed.
//!
//! From the last sample that was kept (the pivot) a cone opens to every later one: the slopes of
//! all lines from the pivot that pass it within the deviation. While the next sample lies in the
//! intersection of the cones, a line to it serves all before it, and the sample before it, which
//! is held, can go. When it does not, the held one is kept and becomes the pivot.
//!
//! Cones begin in the pivot itself, not one deviation above and below it as in the door's oldest
//! form: only so does every absorbed sample lie within the deviation of the line that consumers
//! draw between the kept ones.

use lineside_core::{Sample, StatusCode, UnixNanos};

use super::number::finite;

/// One point's door.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Door {
    pub pivot: Option<Pivot>,
    /// The newest sample; it is kept or absorbed when the next one comes.
    pub held: Option<Sample>,
    /// Slopes per nanosecond that serve all samples since the pivot.
    pub lowest: f64,
    pub highest: f64,
}

/// Where the line begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pivot {
    pub time: UnixNanos,
    pub value: f64,
    pub status: StatusCode,
}

/// How far and how long a line may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub deviation: f64,
    pub max_interval: i64,
}

/// What becomes of samples when another one comes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Released {
    /// Held until now, and kept.
    pub held: Option<Sample>,
    /// The one that came, if it does not wait.
    pub fresh: Option<Sample>,
    /// The one held until now is absorbed.
    pub absorbed: bool,
}

impl Door {
    pub(super) fn take(&mut self, sample: Sample, limits: Limits) -> Released {
        let mut released = Released::default();
        let number = finite(&sample.value).filter(|_| !sample.status.is_bad());
        let newest = self.held.as_ref().map(Sample::time).or(self.pivot.map(|p| p.time));
        let goes_on = self.pivot.filter(|p| p.status == sample.status);
        let (Some(number), Some(mut pivot), true) =
            (number, goes_on, newest.is_some_and(|t| t < sample.time()))
        else {
            // Nothing to draw a line to, or from.
            released.held = self.held.take();
            self.turn(number.map(|value| Pivot::of(&sample, value)));
            released.fresh = Some(sample);
            return released;
        };
        if let Some(held) = self.held.take() {
            let slope = pivot.slope(&sample, number);
            let serves = (self.lowest..=self.highest).contains(&slope)
                && pivot.until(&sample) <= limits.max_interval;
            match finite(&held.value) {
                Some(value) if !serves => {
                    pivot = Pivot::of(&held, value);
                    self.turn(Some(pivot));
                    released.held = Some(held);
                }
                _ => released.absorbed = true,
            }
        }
        if pivot.until(&sample) >= limits.max_interval {
            self.turn(Some(Pivot::of(&sample, number)));
            released.fresh = Some(sample);
            return released;
        }
        self.lowest = self.lowest.max(pivot.slope(&sample, number - limits.deviation));
        self.highest = self.highest.min(pivot.slope(&sample, number + limits.deviation));
        self.held = Some(sample);
        released
    }

    /// The held sample, if it has waited long enough: the device may have nothing new to say.
    pub(super) fn due(&mut self, now: UnixNanos, limits: Limits) -> Option<Sample> {
        let waits = |held: &Sample| now.saturating_sub(held.agent_time) < limits.max_interval;
        if self.held.as_ref().is_none_or(waits) {
            return None;
        }
        let held = self.held.take()?;
        self.turn(finite(&held.value).map(|value| Pivot::of(&held, value)));
        Some(held)
    }

    /// The held sample; what comes after it begins anew.
    pub(super) fn end(&mut self) -> Option<Sample> {
        self.turn(None);
        self.held.take()
    }

    /// Begins a line.
    fn turn(&mut self, pivot: Option<Pivot>) {
        self.pivot = pivot;
        (self.lowest, self.highest) = (f64::NEG_INFINITY, f64::INFINITY);
    }
}

impl Pivot {
    fn of(sample: &Sample, value: f64) -> Self {
        Self { time: sample.time(), value, status: sample.status }
    }

    fn until(&self, sample: &Sample) -> i64 {
        sample.time().saturating_sub(self.time)
    }

    /// Of the line to `value` at the time of `sample`, which is later.
    fn slope(&self, sample: &Sample, value: f64) -> f64 {
        (value - self.value) / self.until(sample) as f64
    }
}

#[cfg(test)]
mod tests {
    use lineside_core::Value;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const LIMITS: Limits = Limits { deviation: 0.5, max_interval: 60 * SECOND };

    fn sample(second: i64, value: f64) -> Sample {
        Sample {
            point: 0,
            value: Value::F64(value),
            status: StatusCode::GOOD,
            source_time: None,
            agent_time: second * SECOND,
        }
    }

    /// Seconds of the samples that are kept; what is held at the end is not.
    fn kept(values: &[(i64, f64)]) -> Vec<i64> {
        let mut door = Door::default();
        let mut kept = Vec::new();
        for (second, value) in values {
            let released = door.take(sample(*second, *value), LIMITS);
            kept.extend(released.held.into_iter().chain(released.fresh));
        }
        kept.into_iter().map(|s| s.agent_time / SECOND).collect()
    }

    #[test]
    fn a_ramp_needs_its_two_ends() {
        let ramp: Vec<_> = (0..50).map(|i| (i, i as f64 * 3.0)).collect();
        assert_eq!(kept(&ramp), [0]);
        let bent: Vec<_> = (0..50).map(|i| (i, (i as f64 - 20.0).abs() * 3.0)).collect();
        assert_eq!(kept(&bent), [0, 20]);
    }

    #[test]
    fn a_step_keeps_both_of_its_sides() {
        assert_eq!(kept(&[(0, 1.0), (1, 1.0), (2, 1.0), (3, 9.0), (4, 9.0), (5, 9.0)]), [0, 2, 3]);
    }

    #[test]
    fn no_line_is_longer_than_its_limit() {
        let flat: Vec<_> = (0..150).map(|i| (i, 1.0)).collect();
        assert_eq!(kept(&flat), [0, 60, 120]);
        // A sample within the limit is kept when the next one comes after it.
        assert_eq!(kept(&[(0, 1.0), (30, 1.0), (100, 1.0)]), [0, 30, 100]);
    }

    #[test]
    fn a_change_of_quality_or_a_time_that_goes_back_ends_the_line() {
        let mut door = Door::default();
        door.take(sample(0, 1.0), LIMITS);
        door.take(sample(1, 1.0), LIMITS);
        let bad = Sample { value: Value::Null, status: StatusCode::BAD_TIMEOUT, ..sample(2, 0.0) };
        let released = door.take(bad.clone(), LIMITS);
        assert_eq!((released.held, released.fresh), (Some(sample(1, 1.0)), Some(bad)));
        assert_eq!(door.take(sample(3, 1.0), LIMITS).fresh, Some(sample(3, 1.0)));
        assert_eq!(door.take(sample(3, 2.0), LIMITS).fresh, Some(sample(3, 2.0)));
    }

    #[test]
    fn a_held_sample_waits_no_longer_than_a_line_lasts() {
        let mut door = Door::default();
        door.take(sample(0, 1.0), LIMITS);
        door.take(sample(1, 1.0), LIMITS);
        assert_eq!(door.due(60 * SECOND, LIMITS), None);
        assert_eq!(door.due(61 * SECOND, LIMITS), Some(sample(1, 1.0)));
        assert_eq!(door.due(200 * SECOND, LIMITS), None);
    }
}
