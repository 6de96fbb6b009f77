//! The state of an agent as lines for people: what `status` prints and `top` refreshes.

use std::collections::HashMap;
use std::time::Duration;

use super::terminal::{Line, Paint, Span, Table, duration, plain, span};
use crate::api::shape::{Device, Pipeline, Sink, State, Verdict};

/// Samples per second, from two states.
#[derive(Debug, Default)]
pub struct Rates {
    by_key: HashMap<String, f64>,
}

impl Rates {
    /// What happened between two states that are `apart`. Nothing for what is new, and nothing
    /// at all over a restart of the agent.
    pub fn between(old: &State, new: &State, apart: Duration) -> Self {
        let before: HashMap<String, u64> = totals(old).collect();
        let seconds = apart.as_secs_f64();
        let rates = totals(new).filter_map(|(key, total)| {
            let passed = total.checked_sub(*before.get(&key)?)?;
            (seconds > 0.0).then(|| (key, passed as f64 / seconds))
        });
        Self { by_key: rates.collect() }
    }

    fn cell(&self, key: &str) -> String {
        match self.by_key.get(key) {
            Some(rate) if *rate < 10.0 => format!("{rate:.1}/s"),
            Some(rate) => format!("{rate:.0}/s"),
            None => "-".into(),
        }
    }
}

fn totals(state: &State) -> impl Iterator<Item = (String, u64)> + '_ {
    let devices = state.devices.iter().map(|d| (device_key(d), d.samples));
    let sinks =
        state.pipelines.iter().flat_map(|p| p.sinks.iter().map(|s| (sink_key(p, s), s.accepted())));
    devices.chain(sinks)
}

fn device_key(device: &Device) -> String {
    format!("device {}/{}", device.namespace, device.name)
}

fn sink_key(pipeline: &Pipeline, sink: &Sink) -> String {
    format!("sink {}/{}/{}", pipeline.namespace, pipeline.name, sink.name)
}

/// Whether everything that shall run is healthy, and the configuration is as it should be.
pub fn is_well(state: &State) -> bool {
    // A device that may be switched off, and is, is as it should be.
    let healthy = |mode: &str, verdict: &Verdict| {
        mode == "Suspended" || verdict.health == "Healthy" || verdict.reason == "DeviceOff"
    };
    state.agent.config.errors == 0
        && state.agent.config.applied > 0
        && state.devices.iter().all(|d| healthy(&d.mode, &d.verdict))
        && state.pipelines.iter().all(|p| healthy(&p.mode, &p.verdict))
}

/// Everything, with rates where there are any.
pub fn lines(state: &State, rates: Option<&Rates>) -> Vec<Line> {
    let agent = &state.agent;
    let mut lines = vec![vec![
        span(&agent.name, Paint::Bold),
        plain(format!(
            "  version {}, up {}, configuration {} ({} applied, {} {})",
            agent.version,
            duration(agent.uptime_seconds),
            agent.config.dir,
            agent.config.applied,
            agent.config.errors,
            if agent.config.errors == 1 { "error" } else { "errors" },
        )),
    ]];
    lines.push(Line::new());
    lines.extend(devices(state, rates));
    lines.push(Line::new());
    lines.extend(pipelines(state, rates));
    let findings = findings(state);
    if !findings.is_empty() {
        lines.push(Line::new());
        lines.extend(findings);
    }
    lines
}

fn devices(state: &State, rates: Option<&Rates>) -> Vec<Line> {
    if state.devices.is_empty() {
        return vec![vec![plain("No devices.")]];
    }
    let mut heading = vec!["DEVICE", "HEALTH", "CODE", "GOOD", "BAD", "WAITING", "SINCE"];
    if rates.is_some() {
        heading.push("RATE");
    }
    heading.extend(["ENDPOINT", "REASON"]);
    let mut table = Table::new(&heading);
    for d in &state.devices {
        let bad = if d.points.bad > 0 { Paint::Red } else { Paint::Plain };
        let mut row = vec![
            plain(format!("{}/{}", d.namespace, d.name)),
            health(&d.verdict),
            code(&d.verdict),
            plain(format!("{}/{}", d.points.good, d.points.total)),
            span(d.points.bad.to_string(), bad),
            plain(d.points.waiting.to_string()),
            plain(duration(d.since_seconds)),
        ];
        row.extend(rates.map(|r| plain(r.cell(&device_key(d)))));
        row.extend([plain(&d.endpoint), plain(&d.verdict.reason)]);
        table.row(row);
    }
    table.lines()
}

fn pipelines(state: &State, rates: Option<&Rates>) -> Vec<Line> {
    if state.pipelines.is_empty() {
        return vec![vec![plain("No pipelines.")]];
    }
    let mut heading = vec!["PIPELINE", "SINK", "HEALTH", "CODE", "DELIVERED"];
    if rates.is_some() {
        heading.push("RATE");
    }
    heading.extend(["BUFFERED", "DROPPED", "LAG", "STORE", "ENDPOINT", "REASON"]);
    let mut table = Table::new(&heading);
    for p in &state.pipelines {
        for s in &p.sinks {
            let dropped: u64 = s.dropped.values().sum();
            let mut row = vec![
                plain(format!("{}/{}", p.namespace, p.name)),
                plain(&s.name),
                health(&s.verdict),
                code(&s.verdict),
                plain(s.accepted().to_string()),
            ];
            row.extend(rates.map(|r| plain(r.cell(&sink_key(p, s)))));
            row.extend([
                plain(s.buffered.to_string()),
                span(dropped.to_string(), if dropped > 0 { Paint::Red } else { Paint::Plain }),
                plain(duration(s.lag_seconds)),
                plain(share(p.store.bytes, p.store.limit_bytes)),
                plain(&s.endpoint),
                plain(&s.verdict.reason),
            ]);
            table.row(row);
        }
    }
    table.lines()
}

/// What is wrong and what to do, the configuration first.
fn findings(state: &State) -> Vec<Line> {
    let mut lines = Vec::new();
    for p in &state.agent.config.problems {
        let paint = if p.level == "Error" { Paint::Red } else { Paint::Yellow };
        let object = p.object.as_deref().unwrap_or("document");
        lines.push(vec![
            span(format!("{} {}", p.code, p.reason), paint),
            plain(format!("  {}:{}:{} {object} {}", p.file, p.line, p.column, p.field)),
        ]);
        lines.push(vec![plain(format!("  {}", p.message))]);
        lines.push(vec![plain(format!("  Next: {}", p.next))]);
    }
    if state.agent.config.problems_left_out > 0 {
        let (more, dir) = (state.agent.config.problems_left_out, &state.agent.config.dir);
        lines.push(vec![plain(format!("{more} more problems"))]);
        lines.push(vec![plain(format!("  Next: lineside validate -f {dir}"))]);
    }
    for (subject, verdict) in verdicts(state) {
        let Some(code) = &verdict.code else { continue };
        lines.push(vec![
            span(format!("{code} {}", verdict.reason), Paint::health(&verdict.health)),
            plain(format!("  {subject}")),
        ]);
        for (lead, text) in [("", &verdict.message), ("Next: ", &verdict.next)] {
            lines.extend(text.as_ref().map(|text| vec![plain(format!("  {lead}{text}"))]));
        }
    }
    lines
}

/// Every verdict once: what a pipeline only repeats of its sinks is said there.
fn verdicts(state: &State) -> impl Iterator<Item = (String, &Verdict)> {
    let devices = state.devices.iter().map(|d| (device_key(d), &d.verdict));
    let own = |p: &&Pipeline| p.sinks.iter().all(|s| s.verdict.code != p.verdict.code);
    let pipelines = state.pipelines.iter().filter(own);
    let pipelines = pipelines.map(|p| (format!("pipeline {}/{}", p.namespace, p.name), &p.verdict));
    let sinks = state
        .pipelines
        .iter()
        .flat_map(|p| p.sinks.iter().map(move |s| (sink_key(p, s), &s.verdict)));
    devices.chain(pipelines).chain(sinks)
}

fn health(verdict: &Verdict) -> Span {
    span(&verdict.health, Paint::health(&verdict.health))
}

fn code(verdict: &Verdict) -> Span {
    plain(verdict.code.as_deref().unwrap_or("-"))
}

fn share(bytes: u64, limit: u64) -> String {
    match limit {
        0 => "-".into(),
        limit => format!("{:.0} %", bytes as f64 * 100.0 / limit as f64),
    }
}
