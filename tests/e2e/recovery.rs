//! What breaks and comes back: the device sees one poller at most and misses no period while
//! only the cluster's brain is away, and everything is Ready again by itself.

use std::thread;
use std::time::{Duration, Instant};

use lineside_lab::Component;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::wait;
use serde_json::Value;

use crate::cluster::{OPERATOR, SYSTEM};
use crate::line::{Line, PIPELINE, SOON, device_yaml, pipeline_yaml};

/// The interval of the devices here, in nanoseconds.
const PERIOD_NS: i64 = 500_000_000;

/// A plant that runs: one device on node 2, one pipeline.
struct Plant {
    line: Line,
    device: Pymodbus,
}

impl Plant {
    fn new(name: &str) -> Self {
        let line = Line::alone(name);
        let at = line.device_address();
        let device = line.device("furnace", at);
        line.apply(&device_yaml("furnace", at, Some("node2")));
        line.apply(&pipeline_yaml("to-broker", &line.broker));
        line.wait_ready("furnace", "to-broker");
        Self { line, device }
    }

    fn pod(&self) -> Value {
        self.line.pod().unwrap()
    }

    /// Both are Ready, and data younger than this call arrives.
    fn recovers(&mut self) {
        let now = now_ns();
        let ready = |line: &Line, kind: &str, name: &str| {
            line.condition(kind, name, "Ready").is_some_and(|c| c.status == "True")
        };
        let line = &mut self.line;
        let done = wait::until("Ready and data again", SOON, || {
            line.arrived().iter().any(|a| a.is_good() && a.time_ns > now)
                && ready(line, "deviceconnection", "furnace")
                && ready(line, PIPELINE, "to-broker")
        });
        done.unwrap_or_else(|e| panic!("{e}\n{}", self.line.describe()));
        self.one_poller();
    }

    /// In the device's own log no connection is used after a later one was.
    fn one_poller(&self) {
        let mut newest = 0;
        for request in self.device.log.requests().unwrap() {
            assert!(request.connection >= newest, "two pollers at once: {request:?}");
            newest = request.connection;
        }
    }

    /// The longest time between two requests of one point after `since`, in periods.
    fn longest_gap(&self, since: i64) -> f64 {
        let times: Vec<i64> = self
            .device
            .log
            .requests()
            .unwrap()
            .iter()
            .filter(|r| r.received_ns >= since && r.counted("c").is_some())
            .map(|r| r.received_ns)
            .collect();
        assert!(times.len() > 2, "nobody polled");
        let longest = times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default();
        longest as f64 / PERIOD_NS as f64
    }
}

fn now_ns() -> i64 {
    jiff::Timestamp::now().as_nanosecond() as i64
}

fn uid(pod: &Value) -> &Value {
    &pod["metadata"]["uid"]
}

#[test]
fn a_deleted_pod_comes_back_and_the_device_never_has_two_pollers() {
    let mut plant = Plant::new("pod");
    let before = plant.pod();
    let name = before["metadata"]["name"].as_str().unwrap().to_owned();
    let started = Instant::now();
    plant.line.kubectl(&["delete", "pod", &name, "--wait=false"]).unwrap();
    wait::until("another pod", SOON, || {
        plant.line.pod().is_ok_and(|pod| uid(&pod) != uid(&before))
    })
    .unwrap();
    plant.recovers();
    println!("pod deleted: all well after {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn a_stopped_kubelet_and_a_killed_containerd_cost_no_period() {
    let mut plant = Plant::new("node");
    let before = plant.pod();
    let since = now_ns();
    plant.line.lab.stop(Component::Kubelet(lineside_lab::Node::Two)).unwrap();
    wait::until("node2 is NotReady", SOON, || {
        let node = plant.line.lab.get(&["node", "node2"]).unwrap();
        let all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|c| c["type"] == "Ready" && c["status"] != "True")
    })
    .unwrap();
    thread::sleep(Duration::from_secs(5));
    plant.line.lab.kill(Component::Containerd(lineside_lab::Node::Two)).unwrap();
    thread::sleep(Duration::from_secs(3));
    plant.line.lab.start(Component::Containerd(lineside_lab::Node::Two)).unwrap();
    plant.line.lab.start(Component::Kubelet(lineside_lab::Node::Two)).unwrap();
    plant.recovers();
    assert_eq!(uid(&plant.pod()), uid(&before), "the pod was kept");
    let gap = plant.longest_gap(since);
    assert!(gap <= 3.0, "the device was left alone for {gap:.1} periods");
    println!("kubelet and containerd of the node away: longest gap {gap:.2} periods");
}

#[test]
fn without_an_api_server_for_a_minute_the_device_misses_no_period() {
    let mut plant = Plant::new("api");
    let before = plant.pod();
    let since = now_ns();
    plant.line.lab.kill(Component::ApiServer).unwrap();
    let away = Instant::now();
    let mut delivered = 0;
    while away.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_secs(5));
        let now = plant.line.arrived().len();
        assert!(now > delivered, "nothing was delivered for 5 s");
        delivered = now;
    }
    plant.line.lab.start(Component::ApiServer).unwrap();
    plant.recovers();
    assert_eq!(uid(&plant.pod()), uid(&before), "the pod was kept");
    let gap = plant.longest_gap(since);
    assert!(gap <= 3.0, "the device was left alone for {gap:.1} periods");
    println!("API server away for 60 s: longest gap {gap:.2} periods");
}

#[test]
fn a_cut_between_the_nodes_delays_samples_and_loses_none() {
    let mut plant = Plant::new("link");
    // A device beside its agent: only the broker is behind the cut.
    let at = std::net::SocketAddr::from(([172, 30, 0, 2], 5021));
    plant.line.lab.enter(lineside_lab::Node::Two).unwrap();
    let near = plant.line.device("near", at);
    plant.line.lab.enter(lineside_lab::Node::One).unwrap();
    plant.line.apply(&device_yaml("near", at, Some("node2")));
    plant.line.wait_ready("near", "to-broker");
    let since = now_ns();
    plant.line.lab.cut_link().unwrap();
    thread::sleep(Duration::from_secs(20));
    plant.line.lab.heal_link().unwrap();
    let healed = now_ns();
    plant.recovers();
    plant.line.wait_ready("near", "to-broker");
    let got: std::collections::BTreeSet<u64> = plant
        .line
        .arrived()
        .iter()
        .filter(|a| a.device.ends_with("/near") && a.point == "count" && a.is_good())
        .map(|a| a.counter().unwrap())
        .collect();
    let served: Vec<u64> = near
        .log
        .requests()
        .unwrap()
        .iter()
        .filter(|r| r.received_ns > since && r.received_ns < healed)
        .filter_map(|r| r.counted("c"))
        .collect();
    assert!(served.len() > 30, "the device beside the agent was polled on: {}", served.len());
    let lost: Vec<&u64> = served.iter().filter(|c| !got.contains(c)).collect();
    assert!(lost.is_empty(), "{} of {} samples were lost: {lost:?}", lost.len(), served.len());
}

#[test]
fn an_operator_that_is_killed_again_and_again_harms_nobody() {
    let mut plant = Plant::new("operator");
    let before = plant.pod();
    let since = now_ns();
    for round in 0..3 {
        let args = ["-n", SYSTEM, "delete", "pod", "-l", OPERATOR];
        let args = [&args[..], &["--grace-period=0", "--force"]].concat();
        plant.line.lab.kubectl_output(&args).unwrap();
        // An edit while nobody leads is applied by whoever leads next.
        let interval = 500 + round;
        let patch = format!(r#"{{"spec":{{"intervalMillis":{interval}}}}}"#);
        plant.line.kubectl(&["patch", "dconn", "furnace", "--type=merge", "-p", &patch]).unwrap();
        thread::sleep(Duration::from_millis(700 * round));
    }
    plant.recovers();
    let programmed = plant
        .line
        .wait_for("deviceconnection", "furnace", "Programmed", SOON, |c| c.status == "True");
    assert_eq!(programmed.reason, "Applied");
    assert_eq!(uid(&plant.pod()), uid(&before), "the agent was left alone");
    let gap = plant.longest_gap(since);
    assert!(gap <= 3.0, "the device was left alone for {gap:.1} periods");
}
