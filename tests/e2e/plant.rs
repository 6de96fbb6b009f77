//! A plant that runs, on which something is broken, and what must be true of it meanwhile and
//! afterwards.

use std::thread;
use std::time::{Duration, Instant};

use lineside_lab::Component;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::wait;
use serde_json::Value;

use crate::line::{Line, PIPELINE, SOON, device_yaml, pipeline_yaml};

/// The interval of the devices here, in nanoseconds.
const PERIOD_NS: i64 = 500_000_000;

/// A plant that runs: one device on node 2, one pipeline.
pub struct Plant {
    /// Its namespace, broker and consumer.
    pub line: Line,
    /// The device.
    pub device: Pymodbus,
}

impl Plant {
    /// Waits until it runs; no other test uses the cluster.
    pub fn new(name: &str) -> Self {
        let line = Line::alone(name);
        let at = line.device_address();
        let device = line.device("furnace", at);
        line.apply(&device_yaml("furnace", at, Some("node2")));
        line.apply(&pipeline_yaml("to-broker", &line.broker));
        line.wait_ready("furnace", "to-broker");
        Self { line, device }
    }

    /// The one agent's pod.
    pub fn pod(&self) -> Value {
        self.line.pod().unwrap()
    }

    /// Both are Ready, and data younger than this call arrives.
    pub fn recovers(&mut self) {
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
    pub fn longest_gap(&self, since: i64) -> f64 {
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

    /// Takes the API server away for so long. The agent goes on polling and delivering all the
    /// time, and afterwards all is well by itself.
    pub fn goes_on_without_an_api_server(&mut self, time: Duration) {
        let before = self.pod();
        let since = now_ns();
        self.line.lab.kill(Component::ApiServer).unwrap();
        let away = Instant::now();
        let mut delivered = 0;
        while away.elapsed() < time {
            thread::sleep(Duration::from_secs(5));
            let now = self.line.arrived().len();
            assert!(now > delivered, "nothing was delivered for 5 s");
            delivered = now;
        }
        self.line.lab.start(Component::ApiServer).unwrap();
        self.recovers();
        assert_eq!(uid(&self.pod()), uid(&before), "the pod was kept");
        let gap = self.longest_gap(since);
        assert!(gap <= 3.0, "the device was left alone for {gap:.1} periods");
        let seconds = time.as_secs();
        println!("API server away for {seconds} s: longest gap {gap:.2} periods");
    }
}

/// Unix nanoseconds.
pub fn now_ns() -> i64 {
    jiff::Timestamp::now().as_nanosecond() as i64
}

/// The identity of a pod.
pub fn uid(pod: &Value) -> &Value {
    &pod["metadata"]["uid"]
}
