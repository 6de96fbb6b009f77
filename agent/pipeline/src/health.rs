//! Health of a device and of a sink from what is known of it: pure decisions (contracts,
//! section 2), taken again whenever an input changes.

use std::collections::VecDeque;
use std::time::Duration;

use lineside_core::fault::FaultClass;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Availability, Mode};
use tokio::time::Instant;

use crate::stream::Trouble;

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
    /// The session waits for room in the store of a pipeline (`overflow: Backpressure`).
    pub held: bool,
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
    pub(crate) fn well(health: Health, reason: &'static str) -> Self {
        Self { health, reason, code: None, message: String::new() }
    }

    pub(crate) fn ill(health: Health, code: Code, message: String) -> Self {
        Self { health, reason: code.reason(), code: Some(code), message }
    }
}

/// Reason of what is not wanted to run.
const SUSPENDED: &str = "Suspended";

/// What a suspended device or sink shows.
pub fn suspended() -> Verdict {
    Verdict::well(Health::Unknown, SUSPENDED)
}

/// Judges a device that runs.
pub fn judge_device(facts: &DeviceFacts, availability: Availability) -> Verdict {
    let total = facts.good + facts.bad + facts.waiting;
    if facts.held {
        let text = "not read until there is room in the store of a pipeline".to_owned();
        return Verdict::ill(Health::Degraded, Code::StoreFull, text);
    }
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
    /// The last session's fault, until one after it shows that it is over.
    pub fault: Option<(Code, String)>,
    /// Only an answer to a record can show it: the remote took the connection and then could not
    /// take what was sent, so that it takes another connection says nothing new.
    pub fault_of_answer: bool,
    /// The last refusal, while it is fresh.
    pub refusal: Option<(Code, String)>,
    /// Something was delivered since the start of the session.
    pub delivering: bool,
}

impl SinkFacts {
    /// A session failed.
    pub fn fail(&mut self, class: FaultClass, code: Code, text: String) {
        let of_network = matches!(class, FaultClass::Unreachable | FaultClass::Timeout);
        self.fault_of_answer = self.connected && !of_network;
        self.fault = Some((code, text));
        (self.connected, self.delivering) = (false, false);
    }

    /// A session is connected.
    pub fn connect(&mut self) {
        self.connected = true;
        if !self.fault_of_answer {
            self.fault = None;
        }
    }

    /// The remote takes or refuses records, or has had its time to fail again. Whether this is
    /// news.
    pub fn recover(&mut self) -> bool {
        self.fault_of_answer = false;
        self.fault.take().is_some()
    }
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

/// The devices that a pipeline takes points of, by what comes from them, and the agent itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// All of them.
    pub selected: usize,
    /// Those that shall be read and are not.
    pub silent: usize,
    /// Those that may be switched off, and are.
    pub off: usize,
    /// Those that nobody wants read now.
    pub suspended: usize,
    /// The pipeline takes the agent's own metrics, too: something comes without any device.
    pub own: bool,
}

impl Sources {
    /// Adds a device with this verdict.
    pub fn add(&mut self, device: &Verdict) {
        self.selected += 1;
        match device.code {
            Some(Code::DeviceOff) => self.off += 1,
            _ if device.health == Health::Unavailable => self.silent += 1,
            _ if device.reason == SUSPENDED => self.suspended += 1,
            _ => {}
        }
    }

    /// What keeps everything from coming; `None` when something may come.
    fn quiet(&self) -> Option<Verdict> {
        let running = self.selected - self.suspended;
        if running == 0 && self.own {
            return None;
        }
        if self.selected == 0 {
            let text = "no device is selected".into();
            return Some(Verdict::ill(Health::Unknown, Code::NoDevices, text));
        }
        if running == 0 {
            return Some(suspended());
        }
        if self.silent + self.off < running {
            return None;
        }
        if self.silent == 0 {
            return Some(Verdict::well(Health::Healthy, Code::DeviceOff.reason()));
        }
        let text = match (running, self.off) {
            (1, _) => "its device is not read".to_owned(),
            (all, 0) => format!("none of its {all} devices is read"),
            (all, off) => format!("none of its {all} devices is read; {off} may be switched off"),
        };
        Some(Verdict::ill(Health::Unavailable, Code::DevicesSilent, text))
    }
}

/// One sink of a pipeline, as the pipeline sees it.
#[derive(Clone, Copy, Debug)]
pub struct Outlet<'a> {
    /// The sink's own verdict.
    pub verdict: &'a Verdict,
    /// Why samples for it were dropped lately; `None` when none were.
    pub dropping: Option<Code>,
}

/// Judges a pipeline by its devices and by its sinks. It is about delivery: silent devices make
/// it ill only when all are silent.
///
/// `trouble`: why its store cannot write to the disk now.
pub fn judge_pipeline(
    mode: Mode,
    sources: &Sources,
    sinks: &[Outlet<'_>],
    trouble: Option<&Trouble>,
) -> Verdict {
    if mode == Mode::Suspended {
        return suspended();
    }
    let quiet = sources.quiet();
    if let Some(nothing) = quiet.as_ref().filter(|v| v.code == Some(Code::NoDevices)) {
        return nothing.clone();
    }
    let of = |health| sinks.iter().filter(move |s| s.verdict.health == health);
    let ill = of(Health::Unavailable).chain(of(Health::Degraded)).next();
    let works = of(Health::Healthy).chain(of(Health::Degraded)).next().is_some();
    if let Some(ill) = ill {
        let health = if works { Health::Degraded } else { ill.verdict.health };
        // With the disk in trouble, too, what waits for the sink is in danger.
        let message = match trouble {
            Some(Trouble { code, message }) => {
                format!("{}; and {code}: {message}", ill.verdict.message)
            }
            None => ill.verdict.message.clone(),
        };
        return Verdict { health, message, ..ill.verdict.clone() };
    }
    if let Some(quiet) = quiet {
        return quiet;
    }
    if let Some(Trouble { code, message }) = trouble {
        return Verdict::ill(Health::Degraded, *code, message.clone());
    }
    if let Some(code) = of(Health::Healthy).find_map(|sink| sink.dropping) {
        let text = "samples were dropped within the last minute though the sink is connected";
        return Verdict::ill(Health::Degraded, code, text.into());
    }
    match sinks.iter().find(|s| s.verdict.health != Health::Healthy) {
        Some(other) => other.verdict.clone(),
        None => Verdict::well(Health::Healthy, "Delivering"),
    }
}

/// Judges a pipeline that was removed and still delivers what it holds: all that can be wrong with
/// it is a sink.
pub fn judge_leaving(sinks: &[Outlet<'_>]) -> Verdict {
    let of = |health| sinks.iter().find(|s| s.verdict.health == health);
    match of(Health::Unavailable).or_else(|| of(Health::Degraded)) {
        Some(ill) => ill.verdict.clone(),
        None => Verdict::well(Health::Unknown, "Draining"),
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

    fn sources(devices: &[&Verdict]) -> Sources {
        let mut sources = Sources::default();
        devices.iter().for_each(|device| sources.add(device));
        sources
    }

    #[test]
    fn a_pipeline_delivers_as_long_as_one_of_its_devices_is_read() {
        let well = Verdict::well(Health::Healthy, "Receiving");
        let starts = Verdict::well(Health::Unknown, "Connecting");
        let dead = Verdict::ill(Health::Unavailable, Code::Unreachable, String::new());
        let off = Verdict::ill(Health::Unavailable, Code::DeviceOff, String::new());
        let idle = suspended();
        let refused = Verdict::ill(Health::Degraded, Code::AllPointsBad, String::new());
        let (delivering, unknown) = ((Health::Healthy, "Delivering"), Health::Unknown);
        let silent = (Health::Unavailable, "DevicesSilent");
        for (devices, shown) in [
            (&[&well, &dead][..], delivering),
            (&[&dead, &starts], delivering),
            (&[&refused, &dead], delivering),
            (&[&dead], silent),
            (&[&dead, &dead, &idle], silent),
            (&[&dead, &off], silent),
            (&[&off, &off], (Health::Healthy, "DeviceOff")),
            (&[&off, &well], delivering),
            (&[&idle], (unknown, "Suspended")),
            (&[], (unknown, "NoDevices")),
        ] {
            let outlet = Outlet { verdict: &well, dropping: None };
            let verdict = judge_pipeline(Mode::Running, &sources(devices), &[outlet], None);
            assert_eq!((verdict.health, verdict.reason), shown, "{devices:?}");
        }
    }

    #[test]
    fn what_a_pipeline_says_of_its_sinks_is_worse_news_than_silence_and_drops() {
        let well = Verdict::well(Health::Healthy, "Delivering");
        let dead = Verdict::ill(Health::Unavailable, Code::SinkUnavailable, String::new());
        let full = Some(Code::StoreFull);
        let judge = |devices: &[&Verdict], sinks: &[(&Verdict, Option<Code>)]| {
            let outlets: Vec<_> = sinks
                .iter()
                .map(|(verdict, dropping)| Outlet { verdict, dropping: *dropping })
                .collect();
            let verdict = judge_pipeline(Mode::Running, &sources(devices), &outlets, None);
            (verdict.health, verdict.code)
        };
        let unavailable = (Health::Unavailable, Some(Code::SinkUnavailable));
        assert_eq!(judge(&[&dead], &[(&dead, None)]), unavailable);
        assert_eq!(judge(&[&well], &[(&dead, full)]), unavailable);
        let degraded = (Health::Degraded, Some(Code::SinkUnavailable));
        assert_eq!(judge(&[&well], &[(&well, full), (&dead, None)]), degraded);
        assert_eq!(judge(&[&well], &[(&well, None), (&well, full)]), (Health::Degraded, full));
        assert_eq!(judge(&[&well], &[(&well, None)]), (Health::Healthy, None));
    }

    #[test]
    fn a_disk_that_takes_nothing_degrades_a_pipeline_that_delivers() {
        let well = Verdict::well(Health::Healthy, "Delivering");
        let outlet = Outlet { verdict: &well, dropping: Some(Code::StoreFull) };
        let trouble = Trouble { code: Code::StoreDiskFull, message: "no space left".into() };
        let judge =
            |trouble| judge_pipeline(Mode::Running, &sources(&[&well]), &[outlet], trouble).code;
        assert_eq!(judge(Some(&trouble)), Some(Code::StoreDiskFull));
        assert_eq!(judge(None), Some(Code::StoreFull));
        // A sink that is away is said first, and does not hide the disk.
        let away = Verdict::ill(Health::Unavailable, Code::SinkUnavailable, "refused".into());
        let outlet = Outlet { verdict: &away, dropping: None };
        let verdict = judge_pipeline(Mode::Running, &sources(&[&well]), &[outlet], Some(&trouble));
        assert_eq!(verdict.code, Some(Code::SinkUnavailable));
        assert_eq!(verdict.message, "refused; and LNS-4010: no space left");
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
