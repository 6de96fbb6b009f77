//! `docs/reference/metrics.md` against what `/metrics` says.
//!
//! `UPDATE=1 cargo test -p lineside-pipeline --test metrics` writes the page.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lineside_crds::model::{Device, Pipeline};
use lineside_crds::yaml::{Object, load_text};
use lineside_pipeline::Snapshot;
use lineside_pipeline::device::DeviceCounters;
use lineside_pipeline::engine::GivenUp;
use lineside_pipeline::health::{Health, Verdict};
use lineside_pipeline::metrics::{AgentNumbers, render};
use lineside_pipeline::own::{Kind, OwnNumbers, ROWS};
use lineside_pipeline::sink::StationSnapshot;
use lineside_pipeline::snapshot::{DeviceSnapshot, PipelineSnapshot, SinkSnapshot};
use lineside_pipeline::stream::{SinkNumbers, StoreNumbers};
use lineside_pipeline::transform::Numbers;

const YAML: &str = "\
apiVersion: lineside.dev/v1alpha1
kind: DeviceConnection
metadata: {name: furnace-1}
spec:
  url: modbus-tcp://10.20.0.11
  points:
  - {name: temperature, address: 'holding-register:1:REAL'}
---
apiVersion: lineside.dev/v1alpha1
kind: Pipeline
metadata: {name: to-broker}
spec:
  sources:
  - {name: all, devices: {}}
  - {name: self, agentMetrics: {}}
  sinks:
  - {name: broker, mqtt: {url: 'mqtt://10.0.0.2:1883'}}
  store: {durability: Memory}
";

fn objects() -> (Device, Pipeline) {
    let mut loaded = load_text("metrics.yaml", YAML).into_iter().filter_map(|d| d.object);
    match (loaded.next(), loaded.next()) {
        (Some(Object::Device(device)), Some(Object::Pipeline(pipeline))) => (device, pipeline),
        other => panic!("not the two objects of the text: {other:?}"),
    }
}

/// One device, one pipeline, one sink.
fn snapshot() -> Snapshot {
    let (device, pipeline) = objects();
    let verdict = Verdict {
        health: Health::Healthy,
        reason: "Receiving",
        code: None,
        message: String::new(),
    };
    let station = StationSnapshot {
        endpoint: "mqtt://10.0.0.2:1883".into(),
        connected: true,
        connected_at: None,
        verdict: verdict.clone(),
        sessions: 1,
        faults: Default::default(),
    };
    let sink = SinkSnapshot {
        name: "broker".into(),
        numbers: SinkNumbers::default(),
        caught_up_in: None,
        station,
    };
    Snapshot {
        devices: vec![DeviceSnapshot {
            device: Arc::new(device),
            endpoint: "modbus-tcp://10.20.0.11:502".into(),
            connected: true,
            verdict: verdict.clone(),
            since: Duration::ZERO,
            good: 1,
            bad: 0,
            waiting: 0,
            counters: DeviceCounters::default(),
        }],
        pipelines: vec![PipelineSnapshot {
            pipeline: Arc::new(pipeline),
            verdict,
            transforms: Numbers::default(),
            store: StoreNumbers { limit: 16 << 20, ..StoreNumbers::default() },
            trouble: None,
            full_in: None,
            own: Some(OwnNumbers::default()),
            sinks: vec![sink],
        }],
        given_up: GivenUp::ALL.iter().map(|why| (why.label(), 0)).collect(),
    }
}

#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    /// Values of each label; of names of objects only the label counts.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families of a text in Prometheus' format, in order of name.
fn families(text: &str) -> BTreeMap<String, Metric> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            all.entry(name.into()).or_default().help = help.into();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            all.entry(name.into()).or_default().kind = kind.into();
        } else if let Some((name, rest)) = line.split_once('{') {
            let (labels, _) = rest.split_once('}').unwrap();
            let metric = all.get_mut(name).unwrap();
            for (label, value) in labels.split(',').map(|pair| pair.split_once('=').unwrap()) {
                metric.labels.entry(label.into()).or_default().insert(value.replace('"', ""));
            }
        }
    }
    all
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Made by agent/pipeline/tests/metrics.rs; do not edit. -->

`lineside agent` serves them at `http://127.0.0.1:9464/metrics` (`--http` chooses another address) in the
text format of Prometheus. All numbers of one scrape belong to one moment, and for every sink

```text
captured = delivered + unconfirmed + buffered + dead-lettered + dropped (the sum of all reasons)
```

Counters start at 0 with the process. A pipeline or sink that is removed takes its numbers with it.

Metrics with a line *Point* are also told as samples to pipelines with a source `agentMetrics`, which serve an
agent that nobody can scrape: [Watch agents and the operator](../how-to/watch.md). They are the points of a device that is
called as the agent is, and they are made of the same snapshot as a scrape. Only what belongs to the namespace of
the pipeline is told. A name of more than 128 characters ends in a hash instead of its rest. Of more than 1,000
points those at the end of the list at the bottom of this page are left out, and
`lineside_pipeline_agent_metrics_left_out` says how many.
";

const GROUPS: [(&str, &str); 6] = [
    ("lineside_agent_", "Agent"),
    ("lineside_config_", "Configuration"),
    ("lineside_device_", "Devices"),
    ("lineside_pipeline_", "Pipelines"),
    ("lineside_store_", "Stores"),
    ("lineside_sink_", "Sinks"),
];

/// Labels whose values are not listed: names of objects, and what every release changes.
const OF_OBJECTS: [&str; 5] = ["namespace", "device", "pipeline", "sink", "version"];

fn page(families: &BTreeMap<String, Metric>) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (prefix, title) in GROUPS {
        let _ = write!(page, "\n## {title}\n");
        for (name, metric) in families.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|(label, values)| match OF_OBJECTS.contains(&label.as_str()) {
                    true => format!("`{label}`"),
                    false => {
                        let values: Vec<_> = values.iter().map(|v| format!("`{v}`")).collect();
                        format!("`{label}` ({})", values.join(", "))
                    }
                })
                .collect();
            let _ = write!(page, "\n### {name}\n\n{}. {}\n", title_case(&metric.kind), metric.help);
            if !labels.is_empty() {
                let _ = write!(page, "\nLabels: {}.\n", labels.join(", "));
            }
            if let Some(row) = ROWS.iter().find(|row| row.metric == *name) {
                let kind = match row.kind {
                    Kind::Count => "u64",
                    Kind::Number => "f64",
                    Kind::Flag => "bool",
                    Kind::Word(_) => "string",
                };
                let _ = write!(page, "\nPoint: `{}` ({kind}).\n", row.pattern());
            }
        }
    }
    page.push_str(
        "\n## Process\n\nThe usual `process_*` metrics of Prometheus clients: CPU seconds, \
         memory, open files, threads, start time. The points `process_cpu_seconds_total` (f64) and \
         `process_resident_memory_bytes` (u64) are told as samples, too.\n\n\
         ## Points in order of importance\n\n",
    );
    for row in ROWS {
        let _ = writeln!(page, "- `{}`", row.pattern());
    }
    page
}

fn title_case(kind: &str) -> String {
    kind[..1].to_uppercase() + &kind[1..]
}

#[test]
fn every_point_is_made_of_a_metric_that_there_is() {
    let text = String::from_utf8(render(&snapshot(), &AgentNumbers::default()).unwrap()).unwrap();
    let families = families(&text);
    for row in ROWS {
        let metric = families.get(row.metric).unwrap_or_else(|| panic!("no {}", row.metric));
        let word = match row.kind {
            Kind::Word(label) => Some(label),
            Kind::Count | Kind::Number | Kind::Flag => None,
        };
        for label in row.labels.iter().chain(&word) {
            assert!(metric.labels.contains_key(*label), "{} has no {label}", row.metric);
        }
    }
}

#[test]
fn the_page_lists_every_metric_with_its_labels() {
    let text = String::from_utf8(render(&snapshot(), &AgentNumbers::default()).unwrap()).unwrap();
    let families = families(&text);
    for (name, metric) in &families {
        let ours = GROUPS.iter().any(|(prefix, _)| name.starts_with(prefix));
        assert!(ours || name.starts_with("process_"), "{name} has no place on the page");
        assert!(metric.help.len() > 10 && !metric.kind.is_empty(), "{name} says too little");
        let counter = name.ends_with("_total");
        assert!(!ours || (metric.kind == "counter") == counter, "{name} is a {}", metric.kind);
    }
    let wanted = page(&families);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/reference/metrics.md is not up to date; run:\n\
         UPDATE=1 cargo test -p lineside-pipeline --test metrics"
    );
}
