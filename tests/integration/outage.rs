//! M4: a broker that is away costs what the bound drops, counted to the sample, and nothing
//! else.

use std::collections::BTreeSet;
use std::time::Duration;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::metrics::Metrics;
use lineside_tests::peers::Outcome;
use lineside_tests::peers::libmodbus::Libmodbus;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::proxy::Proxy;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::json;

use crate::plant::{self, SOON};

/// Length of the outage.
const OUTAGE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;

/// Devices whose every value is counted, in a pipeline of their own; its bound is about a
/// third of what one outage gives.
const COUNTED: [&str; 4] = ["d1", "d2", "d3", "d4"];
const COUNTED_SIZE: u64 = MIB;
const COUNTER: (&str, &str) = ("c", "holding-register:1:UDINT");
/// Devices of 1,000 points ten times a second, in another pipeline: what would fill the memory.
const HEAVY: [&str; 2] = ["h1", "h2"];
const HEAVY_POINTS: u16 = 1000;
const HEAVY_SIZE: u64 = MIB;

/// Most that the process may grow in an outage: the records of the two stores, as much again
/// for what the allocator keeps between them, and what does not depend on the bound: a batch
/// per device that is being filled (40 KiB), the buffers of redials, and what the arenas of the
/// C library keep of those. Measured: 1.2 MiB more than the stores hold.
const MOST_GROWTH: u64 = 2 * (COUNTED_SIZE + HEAVY_SIZE) + 3 * MIB;
/// How many times over the load has to exceed that, so that a store without a bound is seen.
const OVER: u64 = 3;

struct Line {
    dir: TestDir,
    peers: Vec<Pymodbus>,
    _others: Vec<Libmodbus>,
    broker: Broker,
    proxy: Proxy,
    consumer: Subscriber,
    agent: Agent,
}

fn counted(name: &str, port: u16, interval_millis: u64) -> String {
    plant::device(name, port, &[COUNTER], &[&format!("intervalMillis: {interval_millis}")])
}

fn heavy(name: &str, port: u16) -> String {
    let points: Vec<(String, String)> = (1..=HEAVY_POINTS)
        .map(|i| (format!("p{i}"), format!("holding-register:{i}:UINT")))
        .collect();
    let points: Vec<(&str, &str)> = points.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    plant::device(name, port, &points, &["intervalMillis: 100"])
}

fn start(test: &str) -> Line {
    let dir = TestDir::new(test).unwrap();
    let fixture = json!({"units": {"1": {"counters": [{
        "name": "c", "area": "holding", "address": 0, "type": "UINT32", "order": "ABCD",
        "start": 0}]}}});
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let proxy = Proxy::start(broker.port).unwrap();
    let consumer = plant::consumer(&dir, &broker).unwrap();
    let mut peers = Vec::new();
    for name in COUNTED {
        let peer = Pymodbus::start(&dir, name, &fixture).unwrap();
        plant::write(&dir, name, &counted(name, peer.port, 20));
        peers.push(peer);
    }
    let mut others = Vec::new();
    for name in HEAVY {
        let peer = Libmodbus::start(&dir, name, &[]).unwrap();
        plant::write(&dir, name, &heavy(name, peer.port));
        others.push(peer);
    }
    let line = |name, devices, topic, size: u64| {
        let store = format!("maxSize: \"{size}\"");
        plant::Line { name, devices, topic, store: &[&store], port: proxy.port() }.yaml()
    };
    let counted = line("counted", &COUNTED[..], None, COUNTED_SIZE);
    // Beside the consumer's topics: nobody needs the values.
    let heavy = line("heavy", &HEAVY[..], Some("heavy/{device}"), HEAVY_SIZE);
    plant::write(&dir, "counted", &counted);
    plant::write(&dir, "heavy-line", &heavy);
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    Line { dir, peers, _others: others, broker, proxy, consumer, agent }
}

fn of(metrics: &Metrics, name: &str, pipeline: &str) -> u64 {
    metrics.sum(name, &[("pipeline", pipeline)]).unwrap() as u64
}

impl Line {
    /// The counter's values that each peer has given out.
    fn served(&self) -> Vec<BTreeSet<u64>> {
        self.peers
            .iter()
            .map(|p| {
                let requests = p.log.requests().unwrap();
                let served = requests.iter().filter(|r| r.outcome == Outcome::Values);
                served.map(|r| r.counters["c"]).collect()
            })
            .collect()
    }

    fn metric(&self, name: &str, pipeline: &str) -> u64 {
        of(&self.agent.metrics().unwrap(), name, pipeline)
    }

    fn flow(&mut self) {
        let before = self.consumer.messages().unwrap().len();
        self.consumer.wait_until("samples", SOON, |m| m.len() > before + 50).unwrap();
    }

    /// Samples reach the broker and nothing waits; then the memory in use is what the work
    /// itself takes.
    fn resident_at_rest(&mut self) -> u64 {
        self.flow();
        let captured = self.metric("lineside_pipeline_captured_samples_total", "heavy");
        let more = u64::from(HEAVY_POINTS) * 30;
        wait::until("the heavy devices flow and nothing waits", SOON * 2, || {
            let metrics = self.agent.metrics().unwrap();
            of(&metrics, "lineside_pipeline_captured_samples_total", "heavy") > captured + more
                && of(&metrics, "lineside_store_bytes", "heavy") < HEAVY_SIZE / 4
        })
        .unwrap();
        self.agent.server.resident_bytes().unwrap()
    }

    /// Watches the outage: polling goes on, memory stays bounded.
    fn sit_through(&self, at_rest: u64) {
        const CAPTURED: &str = "lineside_pipeline_captured_samples_total";
        let before: Vec<usize> = self.served().iter().map(BTreeSet::len).collect();
        let captured_before = self.metric(CAPTURED, "heavy");
        let mut peak = 0;
        let bounded = wait::while_true("bounded memory", OUTAGE, || {
            peak = peak.max(self.agent.server.resident_bytes().unwrap());
            peak < at_rest + MOST_GROWTH
        });
        println!("resident: {} KiB at rest, {} KiB at most", at_rest / 1024, peak / 1024);
        bounded.unwrap();
        for ((name, before), now) in COUNTED.iter().zip(before).zip(self.served()) {
            let polls = now.len() - before;
            // 50 a second; half of it is asked for, since the machine is shared.
            assert!(polls as u64 > OUTAGE.as_secs() * 25, "{name}: only {polls} polls");
        }
        let metrics = self.agent.metrics().unwrap();
        for (pipeline, size) in [("counted", COUNTED_SIZE), ("heavy", HEAVY_SIZE)] {
            let bytes = of(&metrics, "lineside_store_bytes", pipeline);
            let limit = of(&metrics, "lineside_store_limit_bytes", pipeline);
            assert!(bytes <= limit && limit == size, "{pipeline}: {bytes} of {limit}");
            assert!(of(&metrics, "lineside_sink_dropped_samples_total", pipeline) > 0);
        }
        // The oracle can fail: without the bound the outage's samples would not have fitted.
        let held = of(&metrics, "lineside_sink_buffered_samples", "heavy");
        let bytes_each = of(&metrics, "lineside_store_bytes", "heavy") / held;
        let load = (of(&metrics, CAPTURED, "heavy") - captured_before) * bytes_each;
        println!("the outage's load is {} MiB in the store's own bytes", load / MIB);
        assert!(load > OVER * MOST_GROWTH, "{load} bytes would not show a missing bound");
    }

    /// Stops asking once everything is drained, and balances the books with the peers' logs.
    fn balance(mut self) {
        wait::until("drained", Duration::from_secs(120), || {
            self.metric("lineside_sink_buffered_samples", "counted") < 20
        })
        .unwrap();
        // Another interval is taken over on the open connection, so an answer on its way is
        // still taken: what was served was captured, to the last sample.
        for (name, peer) in COUNTED.iter().zip(&self.peers) {
            plant::write(&self.dir, name, &counted(name, peer.port, 3_600_000));
        }
        let mut served = self.served();
        wait::until("no more requests", SOON, || {
            let before = std::mem::replace(&mut served, self.served());
            let quiet =
                wait::while_true("silence", Duration::from_secs(2), || self.served() == served);
            quiet.is_ok() && before == served
        })
        .unwrap();
        wait::until("empty store", SOON, || {
            self.metric("lineside_sink_buffered_samples", "counted") == 0
        })
        .unwrap();
        let total: u64 = served.iter().map(|s| s.len() as u64).sum();
        let metrics = self.agent.metrics().unwrap();
        for device in COUNTED {
            let bad = [("device", device), ("quality", "Bad")];
            assert_eq!(metrics.sum("lineside_device_samples_total", &bad), Some(0.0), "{device}");
        }
        let captured = of(&metrics, "lineside_pipeline_captured_samples_total", "counted");
        let dropped = of(&metrics, "lineside_sink_dropped_samples_total", "counted");
        assert_eq!(captured, total, "every served value was captured once");
        let mut delivered: Vec<BTreeSet<u64>> = Vec::new();
        // The consumer may lag the PUBACK by a moment.
        let balanced = wait::until("delivered + dropped = served", SOON, || {
            let all = plant::arrived(&mut self.consumer);
            delivered = COUNTED
                .iter()
                .map(|d| {
                    let device = format!("default/{d}");
                    let own = all.iter().filter(|a| a.device == device);
                    own.map(|a| a.counter().unwrap()).collect()
                })
                .collect();
            delivered.iter().map(|s| s.len() as u64).sum::<u64>() + dropped == total
        });
        let arrived: u64 = delivered.iter().map(|s| s.len() as u64).sum();
        println!("served {total}, captured {captured}, delivered {arrived}, dropped {dropped}");
        balanced.unwrap();
        for ((name, served), delivered) in COUNTED.iter().zip(&served).zip(&delivered) {
            assert!(delivered.is_subset(served), "{name} delivered what was never served");
            assert!(delivered.len() > 100, "{name}: only {} delivered", delivered.len());
        }
    }
}

#[test]
fn a_broker_cut_off_for_a_minute_costs_what_the_bound_drops_and_it_is_counted() {
    let mut line = start("outage_cut");
    let at_rest = line.resident_at_rest();
    line.proxy.cut();
    line.sit_through(at_rest);
    line.proxy.heal();
    line.flow();
    line.balance();
}

#[test]
fn a_broker_stopped_for_a_minute_costs_what_the_bound_drops_and_it_is_counted() {
    let mut line = start("outage_stopped");
    let at_rest = line.resident_at_rest();
    line.broker.term().unwrap();
    line.sit_through(at_rest);
    line.broker.restart().unwrap();
    line.consumer.server.is_running().unwrap();
    line.flow();
    line.balance();
}
