//! One test's plant: a namespace of its own, a device and a broker at addresses of the lab, and a
//! consumer. The peers run in the network of node 1, where pods of both nodes reach them; they
//! end with the test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lineside_lab::{Lab, Node};
use lineside_tests::broker::{self, Broker};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::samples::{self, Arrived};
use lineside_tests::subscriber::Subscriber;
use lineside_tests::{ports, wait};
use serde_json::{Value, json};

use crate::cluster;
use crate::shared::{self, InUse};

/// Where brokers are, reachable from all pods.
pub const BROKER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 10));
/// Where devices are.
pub const DEVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 11));
/// The Pipelines of Lineside; others have a `pipelines` too.
pub const PIPELINE: &str = "pipelines.lineside.dev";
/// The Sinks of Lineside.
pub const SINK: &str = "sinks.lineside.dev";
/// Longest wait for what takes seconds.
pub const SOON: Duration = Duration::from_secs(90);

/// One test's plant.
pub struct Line {
    /// The cluster.
    pub lab: Use,
    /// The test's folder.
    pub dir: TestDir,
    /// The test's namespace.
    pub namespace: String,
    /// The broker.
    pub broker: Broker,
    /// The consumer of everything the broker gets.
    pub consumer: Subscriber,
}

/// The lab, shared with other tests or not.
pub enum Use {
    /// Other tests use it as well.
    Beside(InUse<RwLockReadGuard<'static, ()>>),
    /// No other test does: this one takes away what others stand on.
    Alone(InUse<RwLockWriteGuard<'static, ()>>),
}

impl Deref for Use {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        match self {
            Self::Beside(lab) => lab,
            Self::Alone(lab) => lab,
        }
    }
}

/// A condition as the API server holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
    /// RFC 3339.
    pub since: String,
}

impl Line {
    /// A namespace with Pod Security `restricted`, and a broker with a consumer, beside other
    /// tests.
    pub fn beside(name: &str) -> Self {
        Self::new(name, Use::Beside(shared::lab()), broker::Options::default())
    }

    /// The same while no other test uses the cluster.
    pub fn alone(name: &str) -> Self {
        Self::new(name, Use::Alone(shared::alone()), broker::Options::default())
    }

    /// The same with a broker of the test's own.
    pub fn new(name: &str, lab: Use, options: broker::Options) -> Self {
        cluster::install(&lab);
        let dir = TestDir::new(&format!("e2e_{name}")).unwrap();
        // This thread only: its children run in the lab's network.
        lab.enter(Node::One).unwrap();
        let options = broker::Options { address: Some(BROKER), ..options };
        let broker = Broker::start(&dir, "broker", options).unwrap();
        let consumer = Subscriber::start(&dir, "consumer", &broker, "lineside/+/+").unwrap();
        let namespace = format!("t-{name}");
        lab.apply(&namespace_yaml(&namespace)).unwrap();
        Self { lab, dir, namespace, broker, consumer }
    }

    /// Another broker beside the first, without consumer.
    pub fn second_broker(&self, name: &str) -> Broker {
        let options = broker::Options { address: Some(BROKER), ..broker::Options::default() };
        Broker::start(&self.dir, name, options).unwrap()
    }

    /// A new consumer of the broker, with the login that the broker wants now.
    pub fn new_consumer(&mut self, name: &str) {
        self.consumer = Subscriber::start(&self.dir, name, &self.broker, "lineside/+/+").unwrap();
    }

    /// Fails if `secret` stands in anything that Lineside wrote: objects, events, logs.
    pub fn tells_nowhere(&self, secret: &str) {
        let kinds = "dconn,lspipe,apool,lsagent,configmaps,leases,statefulsets,pods,events";
        let objects = self.kubectl(&["get", kinds, "-o", "yaml"]).unwrap();
        assert!(!objects.contains(secret), "the secret is in an object");
        assert!(!self.describe().contains(secret), "the secret is in a log");
    }

    /// An address for a device that is not there yet.
    pub fn device_address(&self) -> SocketAddr {
        SocketAddr::new(DEVICE, ports::free().unwrap())
    }

    /// A device at that address with a REAL of 21.5 at wire address 100 and the counter `c` at
    /// 200, which counts the requests that covered it.
    pub fn device(&self, name: &str, at: SocketAddr) -> Pymodbus {
        Pymodbus::start_at(&self.dir, name, &fixture(), at).unwrap()
    }

    /// `kubectl` in the test's namespace.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        self.lab.kubectl_output(&all)
    }

    /// One object as JSON; `None` when it is not there.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let text = self.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "json"]).unwrap();
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// All objects of a kind.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let text = self.kubectl(&["get", kind, "-o", "json"]).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Applies YAML in the test's namespace as a user would.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn try_apply(&self, yaml: &str) -> Result<String> {
        let file = self.dir.write("apply.yaml", yaml)?;
        self.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])
    }

    /// Applies YAML that is right.
    pub fn apply(&self, yaml: &str) {
        self.try_apply(yaml).unwrap();
    }

    /// A condition of a user's object.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> Option<Condition> {
        let object = self.get(kind, name)?;
        of(&object, condition)
    }

    /// Waits until a condition is as wanted.
    pub fn wait_for(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        within: Duration,
        wanted: impl Fn(&Condition) -> bool,
    ) -> Condition {
        let mut last = None;
        let what = format!("{condition} of {kind} {name} in {}", self.namespace);
        let found = wait::until_some(&what, within, || {
            last = self.condition(kind, name, condition);
            last.clone().filter(&wanted)
        });
        found.unwrap_or_else(|e| panic!("{e}; last: {last:?}\n{}", self.describe()))
    }

    /// Waits until both kinds of a first path are Ready.
    pub fn wait_ready(&self, device: &str, pipeline: &str) {
        self.wait_for("deviceconnection", device, "Ready", SOON, |c| c.status == "True");
        self.wait_for(PIPELINE, pipeline, "Ready", SOON, |c| c.status == "True");
    }

    /// Every sample that the consumer got so far.
    pub fn arrived(&mut self) -> Vec<Arrived> {
        samples::of(self.consumer.messages().unwrap()).unwrap()
    }

    /// The agents' pods.
    pub fn pods(&self) -> Vec<Value> {
        let mut pods = self.list("pods");
        pods.retain(|p| p["metadata"]["labels"]["lineside.dev/agent"].is_string());
        pods
    }

    /// The one agent's pod.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn pod(&self) -> Result<Value> {
        let pods = self.pods();
        match pods.as_slice() {
            [pod] => Ok(pod.clone()),
            _ => bail!("{} agent pods in {}", pods.len(), self.namespace),
        }
    }

    /// What a person would look at.
    pub fn describe(&self) -> String {
        let look = |args: &[&str]| self.kubectl(args).unwrap_or_else(|e| format!("{e:#}"));
        let mut text =
            look(&["get", "dconn,lspipe,lssink,apool,lsagent,pods,pvc,events", "-o", "wide"]);
        text.push_str(&look(&["get", "dconn,lspipe,lssink,lsagent", "-o", "yaml"]));
        for pod in self.pods() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            text.push_str(&look(&["logs", name, "--tail", "40"]));
        }
        text.push_str(&cluster::operator_log(&self.lab));
        text
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The next test's agents find room; nobody waits for it.
        let args = ["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"];
        let _ = self.lab.kubectl_output(&args);
    }
}

/// A condition of an object.
pub fn of(object: &Value, condition: &str) -> Option<Condition> {
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|c| c["type"] == condition)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some(Condition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
        since: text("lastTransitionTime"),
    })
}

fn namespace_yaml(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    )
}

/// What the devices of these tests hold.
pub fn fixture() -> Value {
    json!({"units": {"1": {
        "entries": [{"area": "holding", "address": 100, "type": "FLOAT32", "order": "ABCD", "value": 21.5}],
        "counters": [{"name": "c", "area": "holding", "address": 200, "type": "UINT32",
                      "order": "ABCD", "start": 0}]}}})
}

/// A DeviceConnection with the points `temperature` and `count`, on the node `node`, if any.
pub fn device_yaml(name: &str, at: SocketAddr, node: Option<&str>) -> String {
    let placement = node.map_or_else(String::new, |node| {
        format!("  placement: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}\n")
    });
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata:\n  name: {name}\n\
         spec:\n  url: modbus-tcp://{at}?default-unit-identifier=1\n  intervalMillis: 500\n{placement}  \
         points:\n  - {{name: temperature, address: 'holding-register:101:REAL'}}\n  \
         - {{name: count, address: 'holding-register:201:UDINT'}}\n"
    )
}

/// A Pipeline of all devices of the namespace to a broker.
pub fn pipeline_yaml(name: &str, broker: &Broker) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: {name}\n\
         spec:\n  sources:\n  - {{name: all, devices: {{}}}}\n  sinks:\n  \
         - {{name: broker, mqtt: {{url: 'mqtt://{}'}}}}\n",
        broker.endpoint()
    )
}

/// A Pipeline of all devices of the namespace that names a Sink.
pub fn pipeline_by_name_yaml(name: &str, sink: &str) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: {name}\n\
         spec:\n  sources:\n  - {{name: all, devices: {{}}}}\n  sinks:\n  \
         - {{name: broker, sinkRef: {{name: {sink}}}}}\n"
    )
}

/// A Sink with a broker, and a topic that says which pipeline a message comes from.
pub fn sink_yaml(name: &str, broker: &Broker) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Sink\nmetadata:\n  name: {name}\nspec:\n  \
         mqtt: {{url: 'mqtt://{}', topic: 'by/{{pipeline}}/{{device}}'}}\n",
        broker.endpoint()
    )
}

/// Unix nanoseconds of an RFC 3339 time.
///
/// # Errors
/// It is none.
pub fn unix_ns(time: &str) -> Result<i64> {
    let time: jiff::Timestamp = time.parse().context("RFC 3339")?;
    Ok(i64::try_from(time.as_nanosecond())?)
}
