//! What waits for a broker that is away outlives its pod and the services of its node, and is
//! delivered or given up, counted, when its pipeline is deleted.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use lineside_lab::{Component, Node};
use lineside_tests::metrics::Metrics;
use lineside_tests::wait;

use crate::line::{Line, PIPELINE, SOON, device_yaml, pipeline_yaml};
use crate::plant::{Plant, now_ns, uid};

/// How long a backlog is collected: a dozen samples or more.
const COLLECT: Duration = Duration::from_secs(8);

impl Plant {
    /// Counters that the device gave out in that time.
    fn served(&self, from: i64, to: i64) -> Vec<u64> {
        let requests = self.device.log.requests().unwrap();
        let within = requests.iter().filter(|r| r.received_ns > from && r.received_ns < to);
        within.filter_map(|r| r.counted("c")).collect()
    }

    /// Counters that the consumer got.
    fn got(&mut self) -> BTreeSet<u64> {
        let good = self.line.arrived();
        let good = good.iter().filter(|a| a.point == "count" && a.is_good());
        good.map(|a| a.counter().unwrap()).collect()
    }

    /// Those of them that the consumer has not got.
    fn lost(&mut self, served: &[u64]) -> Vec<u64> {
        let got = self.got();
        served.iter().filter(|c| !got.contains(c)).copied().collect()
    }

    /// The one agent's numbers.
    fn numbers(&self) -> Metrics {
        let pod = self.pod();
        let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect((address.as_str(), 9464)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Metrics::parse(&answer)
    }
}

#[test]
fn a_backlog_outlives_its_pod_and_the_services_of_its_node() {
    let mut plant = Plant::new("backlog");
    let since = now_ns();
    plant.line.broker.term().unwrap();
    thread::sleep(COLLECT);
    // The services first: the pod goes on without them.
    plant.line.lab.stop(Component::Kubelet(Node::Two)).unwrap();
    plant.line.lab.kill(Component::Containerd(Node::Two)).unwrap();
    thread::sleep(Duration::from_secs(3));
    plant.line.lab.start(Component::Containerd(Node::Two)).unwrap();
    plant.line.lab.start(Component::Kubelet(Node::Two)).unwrap();
    let before = plant.pod();
    let name = before["metadata"]["name"].as_str().unwrap().to_owned();
    plant.line.kubectl(&["delete", "pod", &name, "--wait=false"]).unwrap();
    wait::until("another pod", SOON, || {
        plant.line.pod().is_ok_and(|pod| uid(&pod) != uid(&before))
    })
    .unwrap();
    thread::sleep(COLLECT);
    let until = now_ns();
    plant.line.broker.restart().unwrap();
    plant.recovers();
    let served = plant.served(since, until);
    assert!(served.len() > 20, "the device was polled on: {}", served.len());
    wait::until("the backlog is delivered", SOON, || plant.lost(&served).is_empty())
        .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", plant.lost(&served), plant.line.describe()));
    println!("{} samples waited and arrived", served.len());
}

#[test]
fn a_deleted_pipeline_delivers_what_waits_first_or_gives_it_up_as_its_annotation_says() {
    let mut plant = Plant::new("orphan");
    let since = now_ns();
    plant.line.broker.term().unwrap();
    thread::sleep(COLLECT);
    let until = now_ns();
    plant.line.kubectl(&["delete", PIPELINE, "to-broker"]).unwrap();
    thread::sleep(COLLECT);
    plant.line.broker.restart().unwrap();
    let served = plant.served(since, until);
    assert!(served.len() > 8, "{}", served.len());
    wait::until("what waited is delivered", SOON, || plant.lost(&served).is_empty())
        .unwrap_or_else(|e| panic!("{e}: {:?}\n{}", plant.lost(&served), plant.line.describe()));

    plant.line.apply(&pipeline_yaml("to-broker", &plant.line.broker));
    plant.recovers();
    let since = now_ns();
    plant.line.broker.term().unwrap();
    thread::sleep(COLLECT);
    // It changes no generation, and reaches the agent as every edit does.
    let applied = |plant: &Plant| plant.numbers().sum("lineside_config_applied_total", &[]);
    let before = applied(&plant).unwrap();
    let annotation = "lineside.dev/discard-backlog=true";
    plant.line.kubectl(&["annotate", PIPELINE, "to-broker", annotation]).unwrap();
    wait::until("the agent knows", SOON, || applied(&plant).is_some_and(|n| n > before))
        .unwrap_or_else(|e| panic!("{e}\n{}", plant.line.describe()));
    plant.line.kubectl(&["delete", PIPELINE, "to-broker"]).unwrap();
    let name = "lineside_pipeline_given_up_samples_total";
    wait::until("it is given up and counted", SOON, || {
        plant.numbers().sum(name, &[("reason", "PipelineRemoved")]).is_some_and(|n| n >= 8.0)
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", plant.line.describe()));
    let until = now_ns();
    plant.line.broker.restart().unwrap();
    thread::sleep(COLLECT);
    let served = plant.served(since, until);
    assert!(plant.lost(&served).len() >= 8, "nothing of it comes");
}

#[test]
fn a_state_volume_that_goes_with_the_pod_is_said_to_be_reduced() {
    let line = Line::beside("reduced");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(
        "apiVersion: lineside.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: default}\n\
         spec: {stateVolume: {emptyDir: {}}}\n",
    );
    line.apply(&device_yaml("furnace", at, Some("node2")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    let agents = line.list("lsagent");
    assert_eq!(agents[0]["status"]["durability"], "Reduced", "{}", line.describe());
}
