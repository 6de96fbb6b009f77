//! The agents of a namespace tell their own metrics: each that there is, of itself and of nobody
//! else, and one that goes is gone though it told until then.

use std::collections::BTreeSet;

use lineside_tests::wait;

use crate::line::{Line, PIPELINE, SOON, device_yaml, pipeline_yaml};

/// Names of the namespace's agents.
fn agents(line: &Line) -> BTreeSet<String> {
    let name = |agent: &serde_json::Value| agent["metadata"]["name"].as_str().unwrap().to_owned();
    line.list("lsagent").iter().map(name).collect()
}

/// Devices of which the agent said last that they are well.
fn well(line: &mut Line, agent: &str) -> BTreeSet<String> {
    let of = format!("{}/{agent}", line.namespace);
    let mut told = line.arrived();
    told.retain(|sample| sample.device == of);
    let Some(last) = told.last().map(|sample| sample.record.clone()) else {
        return BTreeSet::new();
    };
    told.retain(|sample| sample.record == last && sample.value == "Healthy");
    let device = |point: &str| point.strip_prefix("device_health/").map(str::to_owned);
    told.iter().filter_map(|sample| device(&sample.point)).collect()
}

#[test]
fn every_agent_of_a_namespace_tells_its_own_metrics_and_one_that_goes_is_drained() {
    let mut line = Line::beside("fleet");
    let yaml = pipeline_yaml("fleet", &line.broker);
    line.apply(&yaml.replace("devices: {}", "agentMetrics: {intervalMillis: 1000}"));
    let waits = line.wait_for(PIPELINE, "fleet", "Ready", SOON, |c| c.status == "False");
    assert_eq!(waits.reason, "NoDevices");
    assert!(waits.message.contains("has no agent"), "{waits:?}");

    let at = [line.device_address(), line.device_address()];
    let _devices = [line.device("one", at[0]), line.device("two", at[1])];
    line.apply(&device_yaml("one", at[0], Some("node1")));
    line.apply(&device_yaml("two", at[1], Some("node2")));
    wait::until("both agents tell of their own device, and of no other", SOON, || {
        let found: Vec<_> = agents(&line).iter().map(|agent| well(&mut line, agent)).collect();
        let both: BTreeSet<String> = found.iter().flatten().cloned().collect();
        found.len() == 2 && found.iter().all(|devices| devices.len() == 1) && both.len() == 2
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    line.wait_for(PIPELINE, "fleet", "Ready", SOON, |c| c.status == "True");
    let shown = line.get(PIPELINE, "fleet").unwrap();
    assert_eq!(shown["status"]["agents"]["total"], 2, "{shown}");

    // An agent that ends tells nothing more, so that it gets empty.
    line.kubectl(&["delete", "deviceconnection", "two"]).unwrap();
    wait::until("its agent is gone", SOON, || agents(&line).len() == 1)
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    wait::until("one agent is counted", SOON, || {
        line.get(PIPELINE, "fleet").unwrap()["status"]["agents"]["total"] == 1
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    line.wait_for(PIPELINE, "fleet", "Ready", SOON, |c| c.status == "True");
}
