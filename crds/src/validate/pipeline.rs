//! The rules of a Pipeline that the schema cannot say.

use std::time::Duration;

use super::device::mode;
use super::transform::transforms;
use super::{Judged, Meta, quantity, sink as destination};
use crate::api::pipeline::{self as api, PipelineSpec, SinkSpec, StoreSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::model::{Drain, Durability, Glob, Overflow, Pipeline, Sink, SinkKind, Source, Store};

/// Least and most bytes of a store.
const STORE_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 40);
pub(super) fn judge(meta: &Meta, spec: &PipelineSpec) -> Judged<Pipeline> {
    let at = FieldPath::spec();
    let mut findings = Vec::new();
    let sinks: Vec<Sink> = spec
        .sinks
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| sink(spec, at.key("sinks").index(i), &mut findings))
        .collect();
    let transforms = transforms(&spec.transforms, &at.key("transforms"), &mut findings);
    let store = store(spec.store.as_ref(), &at, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = (!refused).then(|| Pipeline {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        mode: mode(spec.mode),
        sources: spec.sources.iter().map(source).collect(),
        transforms,
        sinks,
        store,
        discard_backlog: meta.discard_backlog,
    });
    Judged { object, findings }
}

fn sink(spec: &SinkSpec, at: FieldPath, findings: &mut Vec<Diagnostic>) -> Option<Sink> {
    let (kind, drain) = match (&spec.mqtt, &spec.iotdb) {
        (Some(mqtt), None) => {
            let settings = destination::mqtt::settings(mqtt, &at.key("mqtt"), findings);
            (SinkKind::Mqtt(settings), Drain::InOrder)
        }
        (None, Some(iotdb)) => {
            let settings = destination::iotdb::settings(iotdb, &at.key("iotdb"), findings);
            (SinkKind::Iotdb(settings), Drain::LiveFirst)
        }
        (mqtt, _) => {
            let has = if mqtt.is_some() { "has two destinations" } else { "has no destination" };
            let message = format!("sink {} {has}; write one of mqtt and iotdb", spec.name);
            findings.push(Diagnostic::new(Code::ExactlyOneSink, at, message));
            return None;
        }
    };
    Some(Sink {
        name: spec.name.as_str().into(),
        kind,
        drain: match spec.drain {
            None => drain,
            Some(api::Drain::InOrder) => Drain::InOrder,
            Some(api::Drain::LiveFirst) => Drain::LiveFirst,
        },
        // String keys and no failing serializer.
        written: serde_json::to_string(spec).unwrap_or_default().into(),
    })
}

/// See [`super::recall_sink`].
pub(super) fn recall(written: &str) -> Option<Sink> {
    let spec: SinkSpec = serde_json::from_str(written).ok()?;
    let mut findings = Vec::new();
    let sink = sink(&spec, FieldPath::spec(), &mut findings)?;
    findings.iter().all(|f| f.code.level() != Level::Error).then_some(sink)
}

fn source(spec: &api::SourceSpec) -> Source {
    let globs = |list: &[String]| list.iter().cloned().map(Glob).collect();
    Source {
        name: spec.name.clone(),
        names: spec.devices.names.clone(),
        labels: spec.devices.selector.as_ref().map(|s| s.match_labels.clone()),
        include: globs(&spec.include),
        exclude: globs(&spec.exclude),
    }
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
