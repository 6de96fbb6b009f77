//! What the data path knows, as the API says it. Pure reading: nothing is counted here.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use lineside_core::{Clock, SystemClock, UnixNanos};
use lineside_crds::diagnostics::{Code, Level};
use lineside_crds::model::{Mode, ObjectKey};
use lineside_crds::{model, yaml};
use lineside_pipeline::health::{self, Health};
use lineside_pipeline::snapshot::{DeviceSnapshot, PipelineSnapshot, PointSnapshot, SinkSnapshot};
use lineside_store::Gap;

use super::shape::{
    self, Agent, Config, Counts, Device, DevicePoints, Entry, Pipeline, Point, Problem, Sink,
    State, Store, Verdict,
};
use super::text::{time, value};
use crate::runner::Shown;

/// The whole state.
pub fn state(shown: &Shown) -> State {
    let snapshot = shown.view.snapshot();
    let problems = shown.problems.lock().unwrap_or_else(PoisonError::into_inner);
    State {
        agent: Agent {
            name: shown.agent.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: shown.counts.started.elapsed().as_secs_f64(),
            config: Config {
                dir: shown.config.display().to_string(),
                applied: shown.counts.config_applied.load(Ordering::Relaxed),
                errors: shown.counts.config_problems.load(Ordering::Relaxed),
                rejected: shown.counts.config_rejected.load(Ordering::Relaxed),
                problems: shown_first(&problems).map(problem).collect(),
                problems_left_out: problems.len().saturating_sub(MOST_PROBLEMS),
            },
        },
        devices: snapshot.devices.iter().map(device).collect(),
        pipelines: snapshot.pipelines.iter().map(pipeline).collect(),
        journal: shown
            .windows
            .journal
            .recent()
            .into_iter()
            .map(|entry| Entry {
                number: entry.number,
                time: time(entry.time),
                subject: entry.subject,
                verdict: said(entry.health, entry.reason, entry.code, &entry.message),
            })
            .collect(),
    }
}

/// One device with its points; `None` when there is no such device.
pub fn device_points(shown: &Shown, key: &ObjectKey) -> Option<DevicePoints> {
    let (known, points) = shown.view.device(key)?;
    let protocol = points.device.protocol.type_name();
    let driver = shown.drivers.iter().find(|d| d.protocol() == protocol);
    let now = SystemClock.now();
    let points = points.device.points.iter().zip(&points.points).map(|(spec, seen)| {
        let wire = driver.map(|d| d.wire_address(&points.device, spec)).unwrap_or_default();
        point(spec, wire, seen, now)
    });
    Some(DevicePoints { device: device(&known), points: points.collect() })
}

/// Problems that are told: a directory that is no configuration at all has one a line.
const MOST_PROBLEMS: usize = 100;

fn shown_first(problems: &[yaml::Problem]) -> impl Iterator<Item = &yaml::Problem> {
    let of = |error| problems.iter().filter(move |p| (p.code.level() == Level::Error) == error);
    of(true).chain(of(false)).take(MOST_PROBLEMS)
}

fn problem(p: &yaml::Problem) -> Problem {
    Problem {
        level: format!("{:?}", p.code.level()),
        code: p.code.id(),
        reason: p.code.reason().to_owned(),
        file: p.file.clone(),
        line: p.line,
        column: p.column,
        field: p.field.clone(),
        message: p.message.clone(),
        next: p.code.next().to_owned(),
        object: p.object.clone(),
    }
}

fn device(d: &DeviceSnapshot) -> Device {
    let shortest = d.device.points.iter().map(|p| p.interval).min();
    Device {
        namespace: d.device.key.namespace.to_string(),
        name: d.device.key.name.to_string(),
        protocol: d.device.protocol.type_name().to_owned(),
        endpoint: d.endpoint.clone(),
        url: url(&d.device.protocol),
        mode: mode(d.device.mode).to_owned(),
        connected: d.connected,
        verdict: verdict(&d.verdict),
        since_seconds: d.since.as_secs_f64(),
        points: Counts {
            total: d.device.points.len(),
            good: d.good,
            bad: d.bad,
            waiting: d.waiting,
        },
        interval_millis: shortest.and_then(|i| u64::try_from(i.as_millis()).ok()),
        samples: d.counters.good + d.counters.bad,
    }
}

fn pipeline(p: &PipelineSnapshot) -> Pipeline {
    let sinks: Vec<Sink> = p.sinks.iter().map(|s| sink(&p.pipeline, s)).collect();
    Pipeline {
        namespace: p.pipeline.key.namespace.to_string(),
        name: p.pipeline.key.name.to_string(),
        mode: mode(p.pipeline.mode).to_owned(),
        captured: p.store.captured,
        store: store(p),
        verdict: verdict(&p.verdict),
        sinks,
    }
}

fn store(p: &PipelineSnapshot) -> Store {
    let gap = |gap: &Gap| shape::Gap {
        from: time(gap.from),
        to: time(gap.to),
        from_nanos: gap.from,
        to_nanos: gap.to,
    };
    Store {
        id: p.store.id.clone(),
        durability: durability(p.pipeline.store.durability).to_owned(),
        state: if p.trouble.is_some() { "Degraded" } else { "Full" }.to_owned(),
        code: p.trouble.as_ref().map(|t| t.code.id()),
        message: p.trouble.as_ref().map(|t| t.message.clone()),
        bytes: p.store.bytes,
        limit_bytes: p.store.limit,
        full_in_seconds: p.full_in.map(|d| d.as_secs_f64()),
        gaps: p.store.gaps.iter().map(gap).collect(),
    }
}

fn durability(durability: model::Durability) -> &'static str {
    match durability {
        model::Durability::Durable => "Durable",
        model::Durability::Relaxed => "Relaxed",
        model::Durability::Memory => "Memory",
    }
}

fn sink(pipeline: &model::Pipeline, s: &SinkSnapshot) -> Sink {
    let spec = pipeline.sinks.iter().find(|spec| spec.name == s.name);
    let dropped = s.numbers.ledger.dropped.iter().filter(|(_, n)| **n > 0);
    Sink {
        name: s.name.to_string(),
        kind: spec.map(|spec| spec.kind.type_name()).unwrap_or_default().to_owned(),
        endpoint: s.station.endpoint.clone(),
        connected: s.station.connected,
        verdict: verdict(&s.station.verdict),
        captured: s.numbers.ledger.captured,
        delivered: s.numbers.ledger.delivered,
        buffered: s.numbers.waiting(),
        unconfirmed: s.numbers.unconfirmed,
        dead_lettered: s.numbers.ledger.dead_lettered,
        dropped: dropped.map(|(reason, n)| (reason.label().to_owned(), *n)).collect(),
        lag_seconds: s.numbers.lag.as_secs_f64(),
        caught_up_in_seconds: s.caught_up_in.map(|d| d.as_secs_f64()),
    }
}

fn point(spec: &model::Point, wire: String, seen: &PointSnapshot, now: UnixNanos) -> Point {
    let age = u64::try_from(now.saturating_sub(seen.time) / 1_000_000).unwrap_or_default();
    Point {
        name: spec.name.to_string(),
        address: address(&spec.address),
        wire,
        unit: spec.unit.as_deref().map(str::to_owned),
        value: seen.status.and_then(|_| value(&seen.value)),
        quality: seen.status.map(|s| s.severity().to_owned()),
        status: seen.status.map(|s| s.0),
        status_name: seen.status.map(|s| s.to_string()),
        time: seen.status.map(|_| time(seen.time)),
        age_millis: seen.status.map(|_| age),
        interval_millis: u64::try_from(spec.interval.as_millis()).unwrap_or(u64::MAX),
    }
}

fn address(address: &model::Address) -> String {
    match address {
        model::Address::Modbus(address) => address.to_string(),
        #[allow(unreachable_patterns, reason = "more protocols follow")]
        _ => String::new(),
    }
}

/// The way to a device as a connection string. What does not decide how it is reached is left
/// out.
fn url(protocol: &model::Protocol) -> String {
    match protocol {
        model::Protocol::ModbusTcp(s) => {
            format!("modbus-tcp://{}?default-unit-identifier={}", s.endpoint(), s.unit_id)
        }
        #[allow(unreachable_patterns, reason = "more protocols follow")]
        _ => String::new(),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Running => "Running",
        Mode::Suspended => "Suspended",
    }
}

fn verdict(verdict: &health::Verdict) -> Verdict {
    said(verdict.health, verdict.reason, verdict.code, &verdict.message)
}

fn said(health: Health, reason: &str, code: Option<Code>, message: &str) -> Verdict {
    Verdict {
        health: health.label().to_owned(),
        reason: reason.to_owned(),
        code: code.map(Code::id),
        message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        next: code.map(|code| code.next().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_problems_the_errors_are_told_first_and_no_more_than_a_hundred() {
        let one = |code, line| yaml::Problem {
            code,
            file: "plant.yaml".into(),
            line,
            column: 1,
            field: String::new(),
            message: String::new(),
            object: None,
        };
        let mut problems: Vec<_> = (1..=150).map(|line| one(Code::NoDevices, line)).collect();
        problems.push(one(Code::FileUnreadable, 1));
        let told: Vec<_> = shown_first(&problems).collect();
        assert_eq!((told.len(), told[0].code), (MOST_PROBLEMS, Code::FileUnreadable));
        assert_eq!((told[1].line, told[99].line), (1, 99), "in their order");
    }
}
