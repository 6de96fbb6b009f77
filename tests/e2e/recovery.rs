//! What breaks and comes back: the device sees one poller at most and misses no period while
//! only the cluster's brain is away, and everything is Ready again by itself.

use std::thread;
use std::time::{Duration, Instant};

use lineside_lab::Component;
use lineside_tests::wait;

use crate::cluster::{OPERATOR, SYSTEM};
use crate::line::{SOON, device_yaml};
use crate::plant::{Plant, now_ns, uid};

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
    Plant::new("api").goes_on_without_an_api_server(Duration::from_secs(60));
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
