//! Which changes wake which keys.

use kube::runtime::watcher::Event;
use lineside_crds::api::DISCARD_BACKLOG;
use serde_json::{Value, json};

use super::super::{Scope, Tracked};
use super::*;

fn decode<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn merged(mut base: Value, change: Value) -> Value {
    fn merge(base: &mut Value, change: Value) {
        match (base, change) {
            (Value::Object(base), Value::Object(change)) => {
                for (key, value) in change {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, change) => *base = change,
        }
    }
    merge(&mut base, change);
    base
}

fn meta(name: &str, version: u64) -> Value {
    json!({"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string(),
           "generation": 1})
}

fn device(name: &str, version: u64, change: Value) -> Guarded<DeviceConnection> {
    let base = json!({
        "apiVersion": "lineside.dev/v1alpha1", "kind": "DeviceConnection",
        "metadata": meta(name, version),
        "spec": {"url": "modbus-tcp://h", "points": [{"name": "a", "address": "coil:1"}]},
    });
    decode(merged(base, change))
}

fn pipeline(name: &str, version: u64, change: Value) -> Guarded<Pipeline> {
    let base = json!({
        "apiVersion": "lineside.dev/v1alpha1", "kind": "Pipeline",
        "metadata": meta(name, version),
        "spec": {"sources": [{"name": "s", "devices": {"names": ["d1"]}}], "sinks": []},
    });
    decode(merged(base, change))
}

fn agent(name: &str, version: u64, devices: &[&str], change: Value) -> Guarded<Agent> {
    let assignment = |device: &&str| json!({"device": device, "uid": device, "epoch": 1});
    let base = json!({
        "apiVersion": "lineside.dev/v1alpha1", "kind": "Agent",
        "metadata": meta(name, version),
        "spec": {"pool": "default", "node": format!("node-of-{name}"),
                 "assignments": devices.iter().map(assignment).collect::<Vec<_>>()},
    });
    decode(merged(base, change))
}

/// Two devices on two agents, a pipeline for each, one pool.
fn cache() -> Cache {
    let cache = Cache::new(&[]);
    for name in ["d1", "d2"] {
        cache.devices.written(device(name, 1, json!({})));
    }
    cache.pipelines.written(pipeline("p1", 1, json!({})));
    let other = json!({"spec": {"sources": [{"name": "s", "devices": {"names": ["d2"]}}]}});
    cache.pipelines.written(pipeline("p2", 1, other));
    cache.agents.written(agent("a1", 1, &["d1"], json!({})));
    cache.agents.written(agent("a2", 1, &["d2"], json!({})));
    cache
}

/// The keys of one event, as text, sorted.
fn keys<K: Tracked>(cache: &Cache, event: Event<K>) -> Vec<String> {
    let changes = K::table(cache).handle(&Scope::Cluster, event);
    let keys = changes.iter().flat_map(|change| K::keys(change, cache));
    let all: BTreeSet<String> = keys.map(|key| key.to_string()).collect();
    all.into_iter().collect()
}

#[test]
fn an_edited_device_concerns_its_agent_its_pipelines_and_placement() {
    let edited = device("d1", 2, json!({"metadata": {"generation": 2}}));
    assert_eq!(
        keys(&cache(), Event::Apply(edited)),
        ["Agent ns/a1", "DeviceConnection ns/d1", "Namespace ns", "Pipeline ns/p1"]
    );
}

#[test]
fn a_touched_status_concerns_the_object_alone() {
    let touched = device("d1", 2, json!({"status": {"observedGeneration": 7}}));
    assert_eq!(keys(&cache(), Event::Apply(touched)), ["DeviceConnection ns/d1"]);
    let touched = pipeline("p1", 2, json!({"status": {"observedGeneration": 7}}));
    assert_eq!(keys(&cache(), Event::Apply(touched)), ["Pipeline ns/p1"]);
}

#[test]
fn a_label_that_goes_concerns_the_pipeline_that_selected_by_it() {
    let cache = cache();
    let by_label = json!({"spec": {"sources": [
        {"name": "s", "devices": {"selector": {"matchLabels": {"line": "a"}}}}]}});
    cache.pipelines.written(pipeline("p3", 1, by_label));
    cache.devices.written(device("d2", 2, json!({"metadata": {"labels": {"line": "a"}}})));
    let keys = keys(&cache, Event::Apply(device("d2", 3, json!({}))));
    assert!(keys.contains(&"Pipeline ns/p3".to_owned()), "{keys:?}");
}

#[test]
fn an_edited_pipeline_concerns_the_agents_it_selected_and_selects() {
    let moved = json!({
        "metadata": {"generation": 2},
        "spec": {"sources": [{"name": "s", "devices": {"names": ["d2"]}}]},
    });
    assert_eq!(
        keys(&cache(), Event::Apply(pipeline("p1", 2, moved))),
        ["Agent ns/a1", "Agent ns/a2", "Pipeline ns/p1"]
    );
}

#[test]
fn a_pipeline_that_takes_the_metrics_of_agents_or_did_concerns_all_of_them() {
    let cache = cache();
    let told = json!({
        "metadata": {"generation": 2},
        "spec": {"sources": [{"name": "s", "agentMetrics": {}}]},
    });
    let all = ["Agent ns/a1", "Agent ns/a2", "Pipeline ns/p1"];
    assert_eq!(keys(&cache, Event::Apply(pipeline("p1", 2, told.clone()))), all);
    cache.pipelines.written(pipeline("p1", 2, told));
    let back = pipeline("p1", 3, json!({"metadata": {"generation": 3}}));
    assert_eq!(keys(&cache, Event::Apply(back)), all, "it does no longer");
}

#[test]
fn an_annotation_that_gives_up_what_waits_concerns_the_agents_and_no_other_does() {
    let annotated = |version, annotation: &str| {
        pipeline("p1", version, json!({"metadata": {"annotations": {(annotation): "true"}}}))
    };
    let cache = cache();
    let note = Event::Apply(annotated(2, "plant.example/reviewed"));
    assert_eq!(keys(&cache, note), ["Pipeline ns/p1"]);
    let both = ["Agent ns/a1", "Pipeline ns/p1"];
    assert_eq!(keys(&cache, Event::Apply(annotated(3, DISCARD_BACKLOG))), both);
    assert_eq!(keys(&cache, Event::Apply(pipeline("p1", 4, json!({})))), both, "taken back");
}

fn sink(name: &str, version: u64, change: Value) -> Guarded<Sink> {
    let base = json!({
        "apiVersion": "lineside.dev/v1alpha1", "kind": "Sink",
        "metadata": meta(name, version), "spec": {"mqtt": {"url": "mqtt://h"}},
    });
    decode(merged(base, change))
}

/// The pipeline `p1` names the Sink `s1`.
fn cache_with_a_sink() -> Cache {
    let cache = cache();
    let by_name = json!({"spec": {"sinks": [{"name": "a", "sinkRef": {"name": "s1"}}]}});
    cache.pipelines.written(pipeline("p1", 2, by_name));
    cache.sinks.written(sink("s1", 1, json!({})));
    cache
}

#[test]
fn a_sink_concerns_the_pipelines_that_name_it_and_their_agents_before_it_is_there_and_after() {
    let cache = cache_with_a_sink();
    let all = ["Agent ns/a1", "Pipeline ns/p1", "Sink ns/s1"];
    let edited = sink("s1", 2, json!({"metadata": {"generation": 2}}));
    assert_eq!(keys(&cache, Event::Apply(edited.clone())), all);
    assert_eq!(keys(&cache, Event::Delete(edited)), all);
    assert_eq!(keys(&cache, Event::Apply(sink("s1", 3, json!({})))), all);
    let touched = json!({"status": {"observedGeneration": 7}});
    assert_eq!(keys(&cache, Event::Apply(sink("s1", 4, touched))), ["Sink ns/s1"]);
    assert_eq!(keys(&cache, Event::Apply(sink("other", 5, json!({})))), ["Sink ns/other"]);
}

#[test]
fn a_pipeline_concerns_the_sinks_that_it_named_and_names() {
    let other = json!({
        "metadata": {"generation": 2},
        "spec": {"sinks": [{"name": "a", "sinkRef": {"name": "s2"}}]},
    });
    assert_eq!(
        keys(&cache_with_a_sink(), Event::Apply(pipeline("p1", 3, other))),
        ["Agent ns/a1", "Pipeline ns/p1", "Sink ns/s1", "Sink ns/s2"]
    );
}

#[test]
fn what_an_agent_says_of_a_pipeline_concerns_the_sinks_that_it_names() {
    let cache = cache_with_a_sink();
    let says = |version, health: &str| {
        let pipelines = [report("p1", health), report("p2", "Healthy")];
        agent("a1", version, &["d1"], json!({"status": {"pipelines": pipelines}}))
    };
    cache.agents.written(says(2, "Healthy"));
    assert_eq!(
        keys(&cache, Event::Apply(says(3, "Degraded"))),
        ["Agent ns/a1", "AgentPool ns/default", "Pipeline ns/p1", "Sink ns/s1"]
    );
}

#[test]
fn an_object_that_cannot_be_decoded_is_a_change_like_any_other() {
    let poison = device("d1", 2, json!({"spec": {"mode": "Sleeping"}}));
    assert!(poison.0.is_err());
    let keys = keys(&cache(), Event::Apply(poison));
    assert!(keys.contains(&"Agent ns/a1".to_owned()), "{keys:?}");
    assert!(keys.contains(&"DeviceConnection ns/d1".to_owned()), "{keys:?}");
}

fn report(name: &str, health: &str) -> Value {
    json!({"name": name, "reason": "X", "health": health, "since": "2026-01-01T00:00:00Z"})
}

#[test]
fn what_an_agent_says_of_one_device_concerns_that_device() {
    let cache = cache();
    let says = |version, health: &str| {
        let devices = [report("d1", health), report("d3", "Healthy")];
        agent("a1", version, &["d1"], json!({"status": {"devices": devices}}))
    };
    cache.agents.written(says(2, "Healthy"));
    assert_eq!(
        keys(&cache, Event::Apply(says(3, "Degraded"))),
        ["Agent ns/a1", "AgentPool ns/default", "DeviceConnection ns/d1", "Namespace ns"]
    );
}

#[test]
fn an_acknowledged_configuration_concerns_placement_and_all_that_the_agent_has() {
    let hash = "0".repeat(64);
    let says = agent("a1", 2, &["d1"], json!({"status": {"configHash": hash}}));
    assert_eq!(
        keys(&cache(), Event::Apply(says)),
        [
            "Agent ns/a1",
            "AgentPool ns/default",
            "DeviceConnection ns/d1",
            "Namespace ns",
            "Pipeline ns/p1",
            "Pipeline ns/p2",
        ]
    );
}

#[test]
fn an_agent_that_goes_concerns_its_devices_and_placement() {
    let gone = keys(&cache(), Event::Delete(agent("a1", 5, &["d1"], json!({}))));
    for key in ["Agent ns/a1", "DeviceConnection ns/d1", "Namespace ns"] {
        assert!(gone.contains(&key.to_owned()), "{key} is missing in {gone:?}");
    }
}

fn child<K: serde::de::DeserializeOwned>(version: u64, change: Value) -> K {
    let base = json!({"metadata": merged(meta("a1", version), json!({
        "labels": {"lineside.dev/agent": "a1", "lineside.dev/pool": "default"}}))});
    decode(merged(base, change))
}

#[test]
fn a_child_that_goes_or_loses_its_label_concerns_its_agent() {
    let cache = cache();
    cache.stateful_sets.written(child::<StatefulSet>(1, json!({})));
    let bare: StatefulSet = child(2, json!({"metadata": {"labels": null}}));
    // A watch by label tells of a lost label as of an end.
    assert!(keys(&cache, Event::Delete(bare)).contains(&"Agent ns/a1".to_owned()));
}

#[test]
fn a_service_account_that_is_made_again_concerns_its_agent_and_the_rollout_of_its_pool() {
    let cache = cache();
    let account = child::<ServiceAccount>(1, json!({}));
    assert_eq!(keys(&cache, Event::Apply(account)), ["Agent ns/a1", "AgentPool ns/default"]);
}

#[test]
fn renewals_of_a_lease_concern_nobody_and_its_end_its_agent() {
    let cache = cache();
    let renewed = |version, second: u32| {
        let at = format!("2026-01-01T00:00:{second:02}.000000Z");
        child::<Lease>(version, json!({"spec": {"renewTime": at, "leaseDurationSeconds": 30}}))
    };
    cache.leases.written(renewed(1, 0));
    assert!(keys(&cache, Event::Apply(renewed(2, 10))).is_empty());
    assert_eq!(keys(&cache, Event::Delete(renewed(3, 10))), ["Agent ns/a1"]);
}

#[test]
fn a_pod_that_stops_concerns_all_that_its_agent_has() {
    let cache = cache();
    cache.pods.written(child::<Pod>(1, json!({"status": {"phase": "Running"}})));
    let annotated = child::<Pod>(
        2,
        json!({
        "metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Running"}}),
    );
    assert!(keys(&cache, Event::Apply(annotated)).is_empty());
    let failed =
        keys(&cache, Event::Apply(child::<Pod>(3, json!({"status": {"phase": "Failed"}}))));
    for key in ["Agent ns/a1", "AgentPool ns/default", "DeviceConnection ns/d1", "Namespace ns"] {
        assert!(failed.contains(&key.to_owned()), "{key} is missing in {failed:?}");
    }
}

#[test]
fn a_node_that_turns_unready_concerns_placement_and_its_agents() {
    let cache = cache();
    let node = |version: u64, ready: &str| -> Node {
        decode(json!({
            "metadata": {"name": "node-of-a2", "resourceVersion": version.to_string()},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
    };
    cache.nodes.written(node(1, "True"));
    assert!(keys(&cache, Event::Apply(node(2, "True"))).is_empty());
    let unready = keys(&cache, Event::Apply(node(3, "Unknown")));
    for key in ["Agent ns/a2", "DeviceConnection ns/d2", "Namespace ns"] {
        assert!(unready.contains(&key.to_owned()), "{key} is missing in {unready:?}");
    }
    assert!(!unready.contains(&"DeviceConnection ns/d1".to_owned()));
}

#[test]
fn at_the_start_everything_is_looked_at() {
    let all: BTreeSet<String> = all_keys(&cache()).iter().map(ToString::to_string).collect();
    let all: Vec<_> = all.into_iter().collect();
    assert_eq!(
        all,
        [
            "Agent ns/a1",
            "Agent ns/a2",
            "AgentPool ns/default",
            "DeviceConnection ns/d1",
            "DeviceConnection ns/d2",
            "Namespace ns",
            "Pipeline ns/p1",
            "Pipeline ns/p2",
        ]
    );
}
