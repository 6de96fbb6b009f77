//! Deadband and onChange: whether a sample passes, by the last one that did.

use std::time::Duration;

use lineside_core::{Sample, StatusCode, UnixNanos, Value};

use super::number::{distance, same};

/// The last sample of a point that passed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Last {
    pub value: Value,
    pub status: StatusCode,
    pub agent_time: UnixNanos,
}

impl Last {
    fn of(sample: &Sample) -> Self {
        let Sample { value, status, agent_time, .. } = sample;
        Self { value: value.clone(), status: *status, agent_time: *agent_time }
    }
}

/// Whether a sample passes a deadband. What is no number passes, and so does every Bad sample:
/// the next number after it is news whatever it is.
pub(super) fn leaves_band(last: &mut Option<Last>, sample: &Sample, band: f64) -> bool {
    if sample.status.is_bad() {
        *last = None;
        return true;
    }
    let inside = last.as_ref().is_some_and(|last| {
        last.status == sample.status
            && distance(&last.value, &sample.value).is_some_and(|distance| distance <= band)
    });
    if !inside {
        *last = Some(Last::of(sample));
    }
    !inside
}

/// Whether a sample changes something, or is the first after the heartbeat's time. A clock that
/// went backwards lets it pass too: nobody knows how long it has been.
pub(super) fn changes(
    last: &mut Option<Last>,
    sample: &Sample,
    heartbeat: Option<Duration>,
) -> bool {
    if sample.status.is_bad() {
        *last = None;
        return true;
    }
    let unchanged = last.as_ref().is_some_and(|last| {
        let waited = i128::from(sample.agent_time) - i128::from(last.agent_time);
        let due = heartbeat.is_some_and(|h| waited < 0 || waited >= h.as_nanos() as i128);
        last.status == sample.status && same(&last.value, &sample.value) && !due
    });
    if !unchanged {
        *last = Some(Last::of(sample));
    }
    !unchanged
}
