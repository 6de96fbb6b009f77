//! The agent's status, derived from what the engine shows and what configuration runs. Pure: the
//! same facts give the same status, and [`settle`] keeps what only ticks from being news.

use std::collections::{BTreeMap, BTreeSet};

use lineside_core::UnixNanos;
use lineside_crds::api::Kind;
use lineside_crds::api::agent::{AgentStatus, DeviceReport, PipelineReport, SinkReport};
use lineside_crds::api::status::{
    CONDITION_MESSAGE_MOST, Condition, ConditionStatus, Durability, Health, MESSAGE_MOST,
    PointCounts, UNOBSERVED, cut,
};
use lineside_crds::diagnostics::{Code, Level};
use lineside_crds::model::Mode;
use lineside_crds::yaml::Problem;
use lineside_pipeline::Snapshot;
use lineside_pipeline::health::{self, Verdict};
use lineside_pipeline::snapshot::{DeviceSnapshot, PipelineSnapshot};

use super::clock::time;
use super::identity::{Pod, Volume};
use super::source::{Origin, Standing};

/// Longest endpoint that the schema takes.
const ENDPOINT_MOST: usize = 300;

/// Everything that the status is made of.
pub struct Facts<'a> {
    /// Now.
    pub now: UnixNanos,
    /// Start of the process.
    pub started: UnixNanos,
    /// The agent.
    pub pod: &'a Pod,
    /// Protocols of this build.
    pub drivers: Vec<&'static str>,
    /// Which configuration runs and how it stands with the mounted one.
    pub standing: &'a Standing,
    /// Problems of the configuration that runs.
    pub problems: &'a [Problem],
    /// The data path.
    pub snapshot: &'a Snapshot,
    /// Generation of the Agent object that wrote the configuration of this hash.
    pub observed: Option<(i64, &'a str)>,
}

/// The status as it is now.
pub fn report(facts: &Facts<'_>) -> AgentStatus {
    let running = facts.standing.running.as_ref();
    let hash = running.map(|running| running.manifest.hash.clone());
    let observed = facts.observed.filter(|(_, of)| hash.as_deref() == Some(of));
    let generation = observed.map_or(UNOBSERVED, |(generation, _)| generation);
    let refused = Refused::of(facts.problems);
    AgentStatus {
        observed_generation: generation,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        drivers: facts.drivers.iter().map(|d| (*d).to_owned()).collect(),
        config_hash: hash,
        started_at: Some(time(facts.started)),
        durability: Some(match facts.pod.volume {
            Volume::Persistent => Durability::Full,
            Volume::Ephemeral => Durability::Reduced,
        }),
        conditions: conditions(facts, &refused, generation),
        devices: devices(facts, &refused),
        pipelines: pipelines(facts, &refused),
    }
}

/// Objects of the running configuration that were refused, with the first reason of each.
struct Refused<'a>(BTreeMap<&'a str, &'a Problem>);

impl<'a> Refused<'a> {
    fn of(problems: &'a [Problem]) -> Self {
        let mut all = BTreeMap::new();
        for problem in problems.iter().filter(|p| p.code.level() == Level::Error) {
            // A problem that names no object is one of the document, which the operator made.
            all.entry(problem.object.as_deref().unwrap_or_default()).or_insert(problem);
        }
        Self(all)
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Problem> {
        self.0.get(format!("{} {namespace}/{name}", kind.name()).as_str()).copied()
    }

    /// Names of the refused objects of a kind and namespace.
    fn names(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &'a str> {
        let prefix = format!("{} {namespace}/", kind.name());
        self.0.keys().filter_map(move |object| object.strip_prefix(&prefix))
    }
}

/// Health, code, reason and message, as all reports have them.
struct Said {
    health: Health,
    code: Option<String>,
    reason: String,
    message: Option<String>,
}

impl Said {
    fn of(verdict: &Verdict) -> Self {
        let health = match verdict.health {
            health::Health::Healthy => Health::Healthy,
            health::Health::Degraded => Health::Degraded,
            health::Health::Unavailable => Health::Unavailable,
            health::Health::Unknown => Health::Unknown,
        };
        let message = Some(cut(&verdict.message, MESSAGE_MOST));
        Self {
            health,
            code: verdict.code.map(Code::id),
            reason: verdict.reason.to_owned(),
            message: message.filter(|m| !m.is_empty() && health != Health::Healthy),
        }
    }

    /// A new version was refused. `running` is what the old one does, if there is one.
    fn refused(problem: &Problem, running: Option<Self>) -> Self {
        let Problem { code, field, message, .. } = problem;
        let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
        let message = format!("{at}{message} ({code} {})", code.reason());
        // What is not there yet may come by itself; all else wants an edit.
        let said = match code {
            Code::ReferenceNotFound => Code::ReferenceNotFound,
            _ => Code::ConfigRejected,
        };
        Self {
            health: match running.map(|said| said.health) {
                Some(Health::Healthy | Health::Degraded | Health::Unknown) => Health::Degraded,
                Some(Health::Unavailable) | None => Health::Unavailable,
            },
            code: Some(said.id()),
            reason: said.reason().to_owned(),
            message: Some(cut(&message, MESSAGE_MOST)),
        }
    }
}

fn devices(facts: &Facts<'_>, refused: &Refused<'_>) -> Vec<DeviceReport> {
    let Some(running) = &facts.standing.running else { return Vec::new() };
    let namespace = facts.pod.namespace.as_str();
    let known: Vec<_> = facts.snapshot.devices.iter().collect();
    let mut reports: Vec<DeviceReport> = known
        .iter()
        .map(|d| {
            let problem = refused.get(Kind::DeviceConnection, namespace, &d.device.key.name);
            device(facts, d, problem)
        })
        .collect();
    // Assigned, and refused before any version of it ran.
    let here: BTreeSet<&str> = known.iter().map(|d| &*d.device.key.name).collect();
    let owned = |name: &&str| running.epoch(name).is_some() && !running.manifest.draining;
    for name in refused.names(Kind::DeviceConnection, namespace).filter(owned) {
        let problem = refused.get(Kind::DeviceConnection, namespace, name);
        let Some(problem) = problem.filter(|_| !here.contains(name)) else { continue };
        let Said { health, code, reason, message } = Said::refused(problem, None);
        reports.push(DeviceReport {
            name: name.to_owned(),
            uid: running.uid(name).map(str::to_owned),
            generation: UNOBSERVED,
            epoch: running.epoch(name).unwrap_or_default(),
            health,
            code,
            reason,
            message,
            since: time(facts.now),
            endpoint: None,
            points: PointCounts::default(),
        });
    }
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

fn device(facts: &Facts<'_>, d: &DeviceSnapshot, problem: Option<&Problem>) -> DeviceReport {
    let name = d.device.key.name.to_string();
    let running = facts.standing.running.as_ref();
    let said = Said::of(&d.verdict);
    let Said { health, code, reason, message } = match problem {
        Some(problem) => Said::refused(problem, Some(said)),
        None => said,
    };
    let since = i64::try_from(d.since.as_nanos()).unwrap_or_default();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    DeviceReport {
        uid: d.device.uid.clone(),
        generation: d.device.generation.unwrap_or(UNOBSERVED),
        epoch: running.and_then(|running| running.epoch(&name)).unwrap_or_default(),
        name,
        health,
        code,
        reason,
        message,
        since: time(facts.now.saturating_sub(since)),
        endpoint: Some(cut(&d.endpoint, ENDPOINT_MOST)).filter(|e| !e.is_empty()),
        points: PointCounts {
            total: count(d.device.points.len()),
            good: count(d.good),
            bad: count(d.bad),
        },
    }
}

fn pipelines(facts: &Facts<'_>, refused: &Refused<'_>) -> Vec<PipelineReport> {
    let namespace = facts.pod.namespace.as_str();
    let known: Vec<_> = facts.snapshot.pipelines.iter().collect();
    let mut reports: Vec<PipelineReport> = known
        .iter()
        .map(|p| {
            let problem = refused.get(Kind::Pipeline, namespace, &p.pipeline.key.name);
            pipeline(facts, p, problem)
        })
        .collect();
    let here: BTreeSet<&str> = known.iter().map(|p| &*p.pipeline.key.name).collect();
    for name in refused.names(Kind::Pipeline, namespace) {
        let problem = refused.get(Kind::Pipeline, namespace, name);
        let Some(problem) = problem.filter(|_| !here.contains(name)) else { continue };
        let Said { health, code, reason, message } = Said::refused(problem, None);
        reports.push(PipelineReport {
            name: name.to_owned(),
            uid: None,
            generation: UNOBSERVED,
            health,
            code,
            reason,
            message,
            since: time(facts.now),
            sinks: Vec::new(),
        });
    }
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

fn pipeline(facts: &Facts<'_>, p: &PipelineSnapshot, problem: Option<&Problem>) -> PipelineReport {
    let said = match facts.standing.draining() && p.pipeline.mode == Mode::Running {
        true => draining(p),
        false => Said::of(&p.verdict),
    };
    let Said { health, code, reason, message } = match problem {
        Some(problem) => Said::refused(problem, Some(said)),
        None => said,
    };
    let sinks = p.sinks.iter().map(|sink| {
        let Said { health, code, reason, .. } = Said::of(&sink.station.verdict);
        let spec = p.pipeline.sinks.iter().find(|spec| spec.name == sink.name);
        let shared = spec.and_then(|spec| spec.shared.as_ref());
        SinkReport {
            name: sink.name.to_string(),
            sink_generation: shared.and_then(|version| version.generation),
            health,
            code,
            reason,
        }
    });
    PipelineReport {
        name: p.pipeline.key.name.to_string(),
        uid: p.pipeline.uid.clone(),
        generation: p.pipeline.generation.unwrap_or(UNOBSERVED),
        health,
        code,
        reason,
        message,
        since: time(facts.now),
        sinks: sinks.collect(),
    }
}

/// A pipeline whose devices were stopped so that it can drain: that it has none is no news, what
/// keeps its sinks from delivering is.
fn draining(p: &PipelineSnapshot) -> Said {
    let ill = p.sinks.iter().filter(|s| s.numbers.waiting() > 0).map(|s| &s.station.verdict);
    match ill.filter(|v| v.code.is_some()).max_by_key(|v| v.health == health::Health::Unavailable) {
        Some(verdict) => Said::of(verdict),
        None => Said {
            health: Health::Unknown,
            code: Some(Code::AgentDraining.id()),
            reason: Code::AgentDraining.reason().to_owned(),
            message: Some("its devices are stopped; what it holds is delivered".to_owned()),
        },
    }
}

fn conditions(facts: &Facts<'_>, refused: &Refused<'_>, generation: i64) -> Vec<Condition> {
    let standing = facts.standing;
    let make = |kind: &str, status, reason: &str, message: String| Condition {
        kind: kind.to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: time(facts.now),
        reason: reason.to_owned(),
        message: cut(&message, CONDITION_MESSAGE_MOST),
    };
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    let mut all = Vec::new();
    all.push(match (&standing.running, standing.draining()) {
        (None, _) => {
            let text = "waits for its first configuration".to_owned();
            make("Ready", no, Code::ConfigPending.reason(), text)
        }
        (Some(_), true) => {
            let text = "its devices are stopped".to_owned();
            make("Ready", no, Code::AgentDraining.reason(), text)
        }
        (Some(_), false) => make("Ready", yes, "Running", String::new()),
    });
    all.push(match (&standing.trouble, refused.0.iter().next()) {
        (Some(trouble), _) => {
            let (code, next) = (trouble.code, next(trouble.code, facts.pod));
            let text = format!("{code}: {}. {next}", trouble.message);
            make("ConfigApplied", no, code.reason(), text)
        }
        (None, Some((object, problem))) => {
            let text = format!(
                "{} of its objects are refused, first {object}: {} ({} {})",
                refused.0.len(),
                problem.message,
                problem.code,
                problem.code.reason()
            );
            make("ConfigApplied", no, Code::ConfigRejected.reason(), text)
        }
        (None, None) if standing.running.is_none() => {
            make("ConfigApplied", no, Code::ConfigPending.reason(), String::new())
        }
        (None, None) => make("ConfigApplied", yes, "Applied", String::new()),
    });
    if standing.running.as_ref().is_some_and(|running| running.origin == Origin::LastGood) {
        let text = "the copy on the state volume runs, since the mounted configuration cannot";
        all.push(make("LastGood", yes, "RunningLastGood", text.to_owned()));
    }
    if standing.draining() {
        let mut left = facts.snapshot.pipelines.iter().filter(|p| holds(p)).peekable();
        all.push(match left.peek() {
            None => make("Drained", yes, "Delivered", String::new()),
            Some(_) => {
                let names = left.map(|p| match p.pipeline.mode {
                    Mode::Running => p.pipeline.key.name.to_string(),
                    Mode::Suspended => format!("{} (suspended)", p.pipeline.key.name),
                });
                let names: Vec<_> = names.take(10).collect();
                let text = format!("undelivered samples are held by {}", names.join(", "));
                make("Drained", no, Code::AgentDraining.reason(), text)
            }
        });
    }
    all
}

/// The next command of a code, ready to be copied.
fn next(code: Code, pod: &Pod) -> String {
    code.next().replace("NAMESPACE", &pod.namespace).replace("AGENT", &pod.agent)
}

fn holds(p: &PipelineSnapshot) -> bool {
    p.sinks.iter().any(|sink| sink.numbers.waiting() > 0)
}

/// `new` with everything taken from `old` that only ticks: times of what has not changed, counts
/// of points and numbers in texts while the verdict is the same.
pub fn settle(mut new: AgentStatus, old: Option<&AgentStatus>) -> AgentStatus {
    let Some(old) = old else { return new };
    // The generation of a configuration that runs newly is not known yet; it is a later one.
    new.observed_generation = new.observed_generation.max(old.observed_generation);
    for condition in &mut new.conditions {
        condition.observed_generation = new.observed_generation;
        let before = old.conditions.iter().find(|c| c.kind == condition.kind);
        if let Some(before) = before.filter(|c| c.status == condition.status) {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
    }
    let before: BTreeMap<&str, &DeviceReport> =
        old.devices.iter().map(|d| (d.name.as_str(), d)).collect();
    for device in &mut new.devices {
        let Some(before) = before.get(device.name.as_str()) else { continue };
        let verdict = |d: &DeviceReport| (d.health, d.code.clone(), d.reason.clone());
        if verdict(device) != verdict(before) {
            continue;
        }
        device.since.clone_from(&before.since);
        if same_words(&device.message, &before.message) {
            device.message.clone_from(&before.message);
            if device.points.total == before.points.total {
                device.points = before.points;
            }
        }
    }
    for pipeline in &mut new.pipelines {
        let before = old.pipelines.iter().find(|p| p.name == pipeline.name);
        let Some(before) = before else { continue };
        let verdict = |p: &PipelineReport| (p.health, p.code.clone(), p.reason.clone());
        if verdict(pipeline) != verdict(before) {
            continue;
        }
        pipeline.since.clone_from(&before.since);
        if same_words(&pipeline.message, &before.message) {
            pipeline.message.clone_from(&before.message);
        }
    }
    new
}

/// Whether two messages differ in nothing but their numbers.
fn same_words(a: &Option<String>, b: &Option<String>) -> bool {
    let words = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        let mut words = String::with_capacity(text.len());
        for c in text.chars() {
            match c.is_ascii_digit() {
                true if words.ends_with('0') => {}
                true => words.push('0'),
                false => words.push(c),
            }
        }
        words
    };
    words(a) == words(b)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
