//! Health of a device and of a sink from what is known of it: pure decisions (contracts,
//! section 2), taken again whenever an input changes.

use std::collections::VecDeque;
use std::time::Duration;

use lineside_core::fault::FaultClass;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Availability, Mode};
use tokio::time::Instant;

/// Health of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Data flows.
    Healthy,
    /// Some of it does.
    Degraded,
    /// None of it does.
    Unavailable,
    /// Not known (yet), or not wanted.
    Unknown,
}

impl Health {
    /// Every value, for metrics.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unavailable, Self::Unknown];

    /// The word of the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Unavailable => "Unavailable",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is known of a device.
#[derive(Clone, Debug, Default)]
pub struct DeviceFacts {
    /// A session is connected.
    pub connected: bool,
    /// The device's last answers were answers, be they values or refusals.
    pub answers: bool,
    /// Points whose last sample is Good or Uncertain.
    pub good: usize,
    /// Points whose last sample is Bad.
    pub bad: usize,
    /// Points without any sample yet.
    pub waiting: usize,
    /// The last session's fault, while no good data came since.
    pub fault: Option<(FaultClass, Code, String)>,
}

/// A verdict: health, CamelCase reason, the code when something is wrong, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Health.
    pub health: Health,
    /// Condition reason.
    pub reason: &'static str,
    /// Diagnostics code; `None` when all is well.
    pub code: Option<Code>,
    /// For people; empty when all is well.
    pub message: String,
}

impl Verdict {
    fn well(health: Health, reason: &'static str) -> Self {
        Self { health, reason, code: None, message: String::new() }
    }

    fn ill(health: Health, code: Code, message: String) -> Self {
        Self { health, reason: code.reason(), code: Some(code), message }
    }
}

/// What a suspended device or sink shows.
pub fn suspended() -> Verdict {
    Verdict::well(Health::Unknown, "Suspended")
}

/// Judges a device that runs.
pub fn judge_device(facts: &DeviceFacts, availability: Availability) -> Verdict {
    let total = facts.good + facts.bad + facts.waiting;
    if facts.good > 0 && facts.bad == 0 {
        return Verdict::well(Health::Healthy, "Receiving");
    }
    // A device that is gone is that, also while points that are rarely read are not due yet.
    let gone = !facts.connected && facts.fault.is_some();
    if facts.good > 0 && !gone {
        let text = format!("{} of {total} points are bad", facts.bad);
        return Verdict::ill(Health::Degraded, Code::SomePointsBad, text);
    }
    if facts.answers && facts.bad > 0 {
        let text = format!("the device answers, all {total} points are bad");
        return Verdict::ill(Health::Degraded, Code::AllPointsBad, text);
    }
    match (&facts.fault, availability) {
        (
            Some((FaultClass::Unreachable | FaultClass::Timeout, _, text)),
            Availability::Intermittent,
        ) => Verdict::ill(Health::Unavailable, Code::DeviceOff, text.clone()),
        (Some((_, code, text)), _) => Verdict::ill(Health::Unavailable, *code, text.clone()),
        (None, _) if facts.bad > 0 => {
            let text = match facts.connected {
                true => "connected, but nothing answers",
                false => "no data within the deadline",
            };
            Verdict::ill(Health::Unavailable, Code::NoData, text.into())
        }
        (None, _) => Verdict::well(Health::Unknown, "Connecting"),
    }
}

/// What is known of a sink.
#[derive(Clone, Debug, Default)]
pub struct SinkFacts {
    /// A session is connected.
    pub connected: bool,
    /// The last session's fault, while no other is connected.
    pub fault: Option<(Code, String)>,
    /// The last refusal, while it is fresh.
    pub refusal: Option<(Code, String)>,
    /// Something was delivered since the start of the session.
    pub delivering: bool,
}

/// Judges a sink of a pipeline that runs.
pub fn judge_sink(facts: &SinkFacts) -> Verdict {
    match (&facts.fault, &facts.refusal) {
        (Some((code, text)), _) => Verdict::ill(Health::Unavailable, *code, text.clone()),
        (None, Some((code, text))) => {
            let health = match facts.delivering {
                true => Health::Degraded,
                false => Health::Unavailable,
            };
            Verdict::ill(health, *code, text.clone())
        }
        (None, None) if facts.delivering => Verdict::well(Health::Healthy, "Delivering"),
        (None, None) if facts.connected => Verdict::well(Health::Healthy, "Connected"),
        (None, None) => Verdict::well(Health::Unknown, "Connecting"),
    }
}

/// Judges a pipeline by what it selects and by its sinks.
pub fn judge_pipeline(mode: Mode, devices: usize, sinks: &[&Verdict]) -> Verdict {
    if mode == Mode::Suspended {
        return suspended();
    }
    if devices == 0 {
        return Verdict::ill(Health::Unknown, Code::NoDevices, "no device is selected".into());
    }
    let well = sinks.iter().filter(|v| v.health == Health::Healthy).count();
    let bad = |v: &&&Verdict| matches!(v.health, Health::Unavailable | Health::Degraded);
    let ill = sinks.iter().find(bad);
    let well = well + sinks.iter().filter(|v| v.health == Health::Degraded).count();
    match ill {
        Some(ill) if well > 0 => Verdict { health: Health::Degraded, ..(*ill).clone() },
        Some(ill) => (*ill).clone(),
        None => match sinks.iter().find(|v| v.health != Health::Healthy) {
            Some(other) => (*other).clone(),
            None => Verdict::well(Health::Healthy, "Delivering"),
        },
    }
}

/// Flips that make a thing flapping, within [`FLAP_WINDOW`].
const FLAP_LIMIT: usize = 3;
/// Window of the count, and how long the verdict is held.
const FLAP_WINDOW: Duration = Duration::from_secs(60);

/// Counts flips between well and ill: more than three in 60 s is Degraded Flapping, held 60 s.
#[derive(Debug, Default)]
pub struct FlapGuard {
    flips: VecDeque<Instant>,
    last_well: Option<bool>,
    /// Until when it is shown, and how many flips there were.
    held: Option<(Instant, usize)>,
}

impl FlapGuard {
    /// The verdict as it is shown.
    pub fn pass(&mut self, verdict: Verdict, now: Instant) -> Verdict {
        let well = verdict.health == Health::Healthy;
        if verdict.health != Health::Unknown && self.last_well != Some(well) {
            if self.last_well.is_some() {
                self.flips.push_back(now);
            }
            self.last_well = Some(well);
            self.flips.retain(|at| now - *at <= FLAP_WINDOW);
            if self.flips.len() > FLAP_LIMIT {
                // Held from the last flip, not from every look at it.
                self.held = Some((now + FLAP_WINDOW, self.flips.len()));
            }
        }
        match self.held {
            Some((until, flips)) if now < until => {
                let text = format!("changed state {flips} times in 60 s");
                Verdict::ill(Health::Degraded, Code::Flapping, text)
            }
            _ => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(good: usize, bad: usize) -> DeviceFacts {
        DeviceFacts { connected: true, answers: true, good, bad, ..DeviceFacts::default() }
    }

    #[test]
    fn one_bad_point_degrades_and_all_bad_points_do_not_hide_behind_a_connection() {
        let judge = |f: &DeviceFacts| judge_device(f, Availability::Continuous);
        assert_eq!(judge(&facts(3, 0)).reason, "Receiving");
        assert_eq!(judge(&facts(2, 1)).code, Some(Code::SomePointsBad));
        let all = judge(&facts(0, 3));
        assert_eq!((all.health, all.code), (Health::Degraded, Some(Code::AllPointsBad)));
    }

    #[test]
    fn a_device_that_is_gone_is_unreachable_though_rare_points_are_not_due_yet() {
        let mut f = facts(2, 1);
        (f.connected, f.answers) = (false, false);
        f.fault = Some((FaultClass::Unreachable, Code::Unreachable, "refused".into()));
        assert_eq!(judge_device(&f, Availability::Continuous).code, Some(Code::Unreachable));
    }

    #[test]
    fn a_connected_device_that_answers_nothing_is_not_said_to_answer() {
        let mut f = facts(0, 3);
        f.answers = false;
        let verdict = judge_device(&f, Availability::Continuous);
        assert_eq!((verdict.health, verdict.code), (Health::Unavailable, Some(Code::NoData)));
    }

    #[test]
    fn a_device_that_may_be_off_says_so_instead_of_unreachable() {
        let mut f = facts(0, 3);
        (f.connected, f.answers) = (false, false);
        f.fault = Some((FaultClass::Unreachable, Code::Unreachable, "refused".into()));
        assert_eq!(judge_device(&f, Availability::Continuous).code, Some(Code::Unreachable));
        assert_eq!(judge_device(&f, Availability::Intermittent).code, Some(Code::DeviceOff));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_three_flips_in_a_minute_are_held_as_flapping() {
        let mut guard = FlapGuard::default();
        let ill = Verdict::ill(Health::Unavailable, Code::Unreachable, String::new());
        let well = Verdict::well(Health::Healthy, "Receiving");
        let mut shown = Vec::new();
        for _ in 0..3 {
            shown.push(guard.pass(well.clone(), Instant::now()).reason);
            tokio::time::advance(Duration::from_secs(3)).await;
            shown.push(guard.pass(ill.clone(), Instant::now()).reason);
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(shown[..4], ["Receiving", "Unreachable", "Receiving", "Unreachable"]);
        assert_eq!(shown[4..], ["Flapping", "Flapping"]);
        // Looked at each second, as it is: it still ends 60 s after the last flip.
        for _ in 0..62 {
            tokio::time::advance(Duration::from_secs(1)).await;
            guard.pass(ill.clone(), Instant::now());
        }
        assert_eq!(guard.pass(ill, Instant::now()).reason, "Unreachable");
    }
}
