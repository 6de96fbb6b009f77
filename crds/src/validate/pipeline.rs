//! The rules of a Pipeline that the schema cannot say.

use std::time::Duration;

use super::device::mode;
use super::sink::destination;
use super::transform::transforms;
use super::{Judged, Meta, quantity};
use crate::api::pipeline::{self as api, PipelineSinkSpec, PipelineSpec, StoreSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::model::{
    Drain, Durability, Glob, OpenPipeline, OpenSink, Overflow, Pipeline, Sink, Source, SourceKind,
    Store,
};

/// Least and most bytes of a store.
const STORE_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 40);

pub(super) fn judge(meta: &Meta, spec: &PipelineSpec) -> Judged<OpenPipeline> {
    let at = FieldPath::spec();
    let mut findings = Vec::new();
    let sinks: Vec<OpenSink> = spec
        .sinks
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| sink(spec, at.key("sinks").index(i), &mut findings))
        .collect();
    let sources = spec
        .sources
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| source(spec, at.key("sources").index(i), &mut findings))
        .collect();
    let transforms = transforms(&spec.transforms, &at.key("transforms"), &mut findings);
    let store = store(spec.store.as_ref(), &at, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = (!refused).then(|| OpenPipeline {
        base: Pipeline {
            key: meta.key.clone(),
            uid: meta.uid.clone(),
            generation: meta.generation,
            mode: mode(spec.mode),
            sources,
            transforms,
            sinks: Vec::new(),
            store,
            discard_backlog: meta.discard_backlog,
        },
        sinks,
    });
    Judged { object, findings }
}

fn sink(
    spec: &PipelineSinkSpec,
    at: FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<OpenSink> {
    let several = spec.mqtt.is_some() || spec.iotdb.is_some();
    match &spec.sink_ref {
        Some(named) if !several => {
            return Some(OpenSink::Named {
                name: spec.name.as_str().into(),
                sink: named.name.as_str().into(),
                drain: spec.drain,
            });
        }
        Some(_) => {
            let message = format!("sink {} names a Sink and has a destination itself", spec.name);
            findings.push(Diagnostic::new(Code::ExactlyOneSink, at, message));
            return None;
        }
        None => {}
    }
    let what = format!("sink {}", spec.name);
    let among = "sinkRef, mqtt and iotdb";
    let kind = destination(&spec.mqtt, &spec.iotdb, &at, (&what, among), findings)?;
    let whole = Sink {
        name: spec.name.as_str().into(),
        drain: spec.drain.map_or_else(|| kind.drain_default(), Drain::from),
        kind,
        shared: None,
        written: spec.to_json(),
    };
    Some(OpenSink::Whole(whole.into()))
}

/// See [`super::recall_sink`].
pub(super) fn recall(written: &str) -> Option<Sink> {
    let spec: PipelineSinkSpec = serde_json::from_str(written).ok()?;
    let mut findings = Vec::new();
    let OpenSink::Whole(sink) = sink(&spec, FieldPath::spec(), &mut findings)? else {
        return None;
    };
    findings.iter().all(|f| f.code.level() != Level::Error).then_some(*sink)
}

fn source(spec: &api::SourceSpec, at: FieldPath, findings: &mut Vec<Diagnostic>) -> Option<Source> {
    let kind = match (&spec.devices, &spec.agent_metrics) {
        (Some(devices), None) => SourceKind::Devices {
            names: devices.names.clone(),
            labels: devices.selector.as_ref().map(|s| s.match_labels.clone()),
        },
        (None, Some(metrics)) => {
            let millis = metrics.interval_millis.and_then(|millis| u64::try_from(millis).ok());
            let millis = millis.unwrap_or(api::AGENT_METRICS_MILLIS_DEFAULT);
            SourceKind::AgentMetrics { interval: Duration::from_millis(millis) }
        }
        (devices, _) => {
            let has = if devices.is_some() { "has both" } else { "has neither" };
            let message =
                format!("source {} {has}; write one of devices and agentMetrics", spec.name);
            findings.push(Diagnostic::new(Code::ExactlyOneSource, at, message));
            return None;
        }
    };
    let globs = |list: &[String]| list.iter().cloned().map(Glob).collect();
    Some(Source {
        name: spec.name.clone(),
        kind,
        include: globs(&spec.include),
        exclude: globs(&spec.exclude),
    })
}

fn store(spec: Option<&StoreSpec>, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Store {
    let (durability, default) = match spec.map(|s| s.durability).unwrap_or_default() {
        api::Durability::Durable => (Durability::Durable, api::DISK_BYTES_DEFAULT),
        api::Durability::Relaxed => (Durability::Relaxed, api::DISK_BYTES_DEFAULT),
        api::Durability::Memory => (Durability::Memory, api::MEMORY_BYTES_DEFAULT),
    };
    let max_bytes = match spec.and_then(|s| s.max_size.as_deref()) {
        None => default,
        Some(text) => match quantity::bytes(text).and_then(|n| u64::try_from(n).ok()) {
            Some(bytes) if STORE_BYTES.contains(&bytes) => bytes,
            _ => {
                let message = format!("{text} is not within 1Mi to 1Ti");
                let at = at.key("store").key("maxSize");
                findings.push(Diagnostic::new(Code::QuantityInvalid, at, message));
                default
            }
        },
    };
    Store {
        durability,
        max_bytes,
        max_age: spec
            .and_then(|s| s.max_age_seconds)
            .map(|s| Duration::from_secs(u64::try_from(s).unwrap_or_default())),
        overflow: match spec.map(|s| s.overflow).unwrap_or_default() {
            api::Overflow::DropOldest => Overflow::DropOldest,
            api::Overflow::DropNewest => Overflow::DropNewest,
            api::Overflow::Thin => Overflow::Thin,
            api::Overflow::Backpressure => Overflow::Backpressure,
        },
    }
}
