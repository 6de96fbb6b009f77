//! An agent that tells its own metrics as samples, to a real broker: they are what `/metrics` says
//! at that moment, they follow the devices, and what goes wrong with them harms nobody.

use std::collections::BTreeMap;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::metrics::Metrics;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::{ports, wait};
use serde_json::{Value, json};

use crate::plant::{self, Line, SOON};

const AGENT: &str = "edge-1";
const COUNTER: (&str, &str) = ("c", "holding-register:1:UDINT");

fn fixture() -> Value {
    json!({"units": {"1": {"entries": [], "counters": [
        {"name": "c", "area": "holding", "address": 0, "type": "UINT32", "order": "ABCD",
         "start": 1}]}}})
}

fn with_device(dir: &TestDir, name: &str) -> Pymodbus {
    let peer = Pymodbus::start(dir, name, &fixture()).unwrap();
    let yaml = plant::device(name, peer.port, &[COUNTER], &["intervalMillis: 500"]);
    plant::write(dir, name, &yaml);
    peer
}

/// A pipeline of the agent's metrics, each second.
fn fleet(name: &str, port: u16, store: &[&str]) -> String {
    let yaml = Line { name, store, ..Line::to(port) }.yaml();
    yaml.replace("devices: {}", "agentMetrics: {intervalMillis: 1000}")
}

/// The points of one time at which the agent told its metrics.
type Told = BTreeMap<String, Value>;

/// What the agent told, in its order; every sample is Good.
fn told(consumer: &mut Subscriber) -> Vec<Told> {
    let mut all: Vec<(String, Told)> = Vec::new();
    for sample in plant::arrived(consumer) {
        if sample.device != format!("default/{AGENT}") {
            continue;
        }
        assert!(sample.is_good(), "{sample:?}");
        if all.last().is_none_or(|(record, _)| *record != sample.record) {
            all.push((sample.record.clone(), Told::new()));
        }
        let twice = all.last_mut().unwrap().1.insert(sample.point.clone(), sample.value);
        assert!(twice.is_none(), "{} is told twice at one time", sample.point);
    }
    all.into_iter().map(|(_, told)| told).collect()
}

/// The series at `/metrics` that a point is made of: the metric's name and the values of labels
/// after it.
fn sum(metrics: &Metrics, point: &str) -> Option<f64> {
    let mut parts = point.split('/');
    let stem = parts.next().unwrap();
    let values: Vec<&str> = parts.collect();
    let ours = metrics.series().iter().filter(|series| {
        let named = series.name == format!("lineside_{stem}") || series.name == stem;
        let here = series.labels.get("namespace").is_none_or(|ns| ns == "default");
        named && here && values.iter().all(|value| series.labels.values().any(|l| l == value))
    });
    ours.map(|series| series.value).reduce(|a, b| a + b)
}

/// The value of the label that a series has where it is 1.
fn word<'a>(metrics: &'a Metrics, name: &'a str, of: &str, label: &str) -> Option<&'a str> {
    let mut shown = metrics.select(name, &[]).filter(|s| s.value == 1.0);
    let series = shown.find(|s| of.is_empty() || s.labels.values().any(|l| l == of))?;
    series.labels.get(label).map(String::as_str)
}

#[test]
fn what_an_agent_tells_of_itself_is_what_its_metrics_say_at_that_moment() {
    let dir = TestDir::new("fleet_truth").unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let _peer = with_device(&dir, "furnace");
    plant::write(&dir, "data", &Line { name: "data", ..Line::to(broker.port) }.yaml());
    plant::write(&dir, "fleet", &fleet("fleet", broker.port, &[]));
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let agent = Agent::start(&dir, AGENT, &dir.join("config"), &[]).unwrap();
    wait::until("the device is read and the metrics flow", SOON, || {
        told(&mut consumer)
            .iter()
            .any(|t| t.get("device_health/furnace") == Some(&json!("Healthy")))
    })
    .unwrap();

    // Between two scrapes everything is told at least once; then each total lies between them.
    let before = agent.metrics().unwrap();
    let known = told(&mut consumer).len();
    // The first of these may have been made just before the scrape.
    wait::until("it is told anew", SOON, || told(&mut consumer).len() >= known + 2).unwrap();
    let after = agent.metrics().unwrap();
    let now = told(&mut consumer).remove(known + 1);
    let mut totals = 0;
    for (point, value) in now.iter().filter(|(point, _)| point.contains("_total")) {
        let value = value.as_f64().unwrap();
        let [low, high] = [&before, &after]
            .map(|m| sum(m, point).unwrap_or_else(|| panic!("no metric for {point}")));
        assert!((low..=high).contains(&value), "{point}: {low} <= {value} <= {high}");
        totals += 1;
    }
    assert!(totals >= 20, "only {totals} totals are told: {now:#?}");
    for grows in [
        "sink_delivered_samples_total/data/broker",
        "sink_delivered_samples_total/fleet/broker",
        "device_samples_total/furnace/Good",
    ] {
        assert!(sum(&after, grows) > sum(&before, grows), "{grows} stands still");
        assert!(now[grows].as_u64().unwrap() > 0, "{grows}");
    }
    // What does not change is equal.
    for same in [
        "config_applied_total",
        "config_problems",
        "store_limit_bytes/data",
        "device_points/furnace/Good",
        "device_points/furnace/Bad",
        "device_code/furnace",
        "sink_code/data/broker",
        "pipeline_agent_metrics_left_out/fleet",
    ] {
        assert_eq!(now[same].as_f64(), sum(&after, same), "{same}");
    }
    let healths = [
        ("device_health/furnace", "lineside_device_health", "furnace"),
        ("pipeline_health/data", "lineside_pipeline_health", "data"),
        ("sink_health/fleet/broker", "lineside_sink_health", "fleet"),
    ];
    for (point, metric, of) in healths {
        assert_eq!(now[point].as_str(), word(&after, metric, of, "health"), "{point}");
        assert_eq!(now[point], "Healthy");
    }
    assert_eq!(now["agent_info"].as_str(), word(&after, "lineside_agent_info", "", "version"));
    assert_eq!(
        (&now["agent_clock_synced"], &now["sink_connected/data/broker"]),
        (&json!(true), &json!(true))
    );
    // It is no device: nothing else speaks of it.
    assert!(after.series().iter().all(|s| s.labels.get("device").is_none_or(|d| d == "furnace")));
    drop(agent);
}

#[test]
fn what_an_agent_tells_follows_its_devices_and_a_sink_of_it_that_is_away_harms_nobody() {
    let dir = TestDir::new("fleet_change").unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let _peers = ["a", "b"].map(|name| with_device(&dir, name));
    plant::write(&dir, "data", &Line { name: "data", ..Line::to(broker.port) }.yaml());
    plant::write(&dir, "fleet", &fleet("fleet", broker.port, &[]));
    // Nobody listens there, and nothing may give way: it takes metrics until it is full.
    let nobody = ports::free().unwrap();
    let full = ["maxSize: 1Mi", "overflow: Backpressure"];
    plant::write(&dir, "lost", &fleet("lost", nobody, &full));
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let agent = Agent::start(&dir, AGENT, &dir.join("config"), &[]).unwrap();
    let last = |consumer: &mut Subscriber| told(consumer).pop().unwrap_or_default();
    wait::until("both devices are told of", SOON, || {
        let now = last(&mut consumer);
        ["a", "b"].iter().all(|d| now.get(&format!("device_health/{d}")) == Some(&json!("Healthy")))
    })
    .unwrap();
    wait::until("the sink that is away is told of", SOON, || {
        let now = last(&mut consumer);
        now.get("sink_health/lost/broker") == Some(&json!("Unavailable"))
            && now["sink_code/lost/broker"].as_u64() > Some(3000)
            && now["sink_buffered_samples/lost/broker"].as_u64() > Some(0)
    })
    .unwrap();

    std::fs::remove_file(dir.join("config/b.yaml")).unwrap();
    wait::until("the device that went is told of no more", SOON, || {
        let now = last(&mut consumer);
        now.contains_key("device_health/a")
            && !now.keys().any(|name| name.contains("/b/") || name.ends_with("/b"))
    })
    .unwrap();
    let until_now = plant::of_point(&mut consumer, "a", "c").len();
    wait::until("the other device is read on", SOON, || {
        plant::of_point(&mut consumer, "a", "c").len() > until_now + 4
    })
    .unwrap();
    let bad = plant::of_point(&mut consumer, "a", "c").into_iter().find(|s| !s.is_good());
    assert!(bad.is_none(), "{bad:?}");
    let metrics = agent.metrics().unwrap();
    let lost = [("pipeline", "data")];
    assert_eq!(metrics.sum("lineside_sink_dropped_samples_total", &lost), Some(0.0));
    drop(agent);
}
