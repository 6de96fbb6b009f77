//! M4: a broker that is away costs what the bound drops, counted to the sample, and nothing
//! else.

use std::collections::BTreeSet;
use std::time::Duration;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::Outcome;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::proxy::Proxy;
use lineside_tests::wait;
use serde_json::json;

use crate::plant::{self, SOON};

/// Length of the outage.
const OUTAGE: Duration = Duration::from_secs(60);
/// Bound of the store: about a third of what one outage gives.
const MAX_SIZE: &str = "maxSize: 1Mi";
/// What the process may hold with such a store.
const MAX_RESIDENT: u64 = 64 * 1024 * 1024;
const DEVICES: [&str; 4] = ["d1", "d2", "d3", "d4"];

struct Line {
    peers: Vec<Pymodbus>,
    broker: Broker,
    proxy: Proxy,
    consumer: lineside_tests::subscriber::Subscriber,
    agent: Agent,
}

fn start(dir: &TestDir) -> Line {
    let fixture = json!({"units": {"1": {"counters": [{
        "name": "c", "area": "holding", "address": 0, "type": "UINT32", "order": "ABCD",
        "start": 0}]}}});
    let broker = Broker::start(dir, "broker", Options::default()).unwrap();
    let proxy = Proxy::start(broker.port).unwrap();
    let consumer = plant::consumer(dir, &broker).unwrap();
    let mut peers = Vec::new();
    for name in DEVICES {
        let peer = Pymodbus::start(dir, name, &fixture).unwrap();
        let points = [("c", "holding-register:1:UDINT")];
        let yaml = plant::device(name, peer.port, &points, &["intervalMillis: 20"]);
        plant::write(dir, name, &yaml);
        peers.push(peer);
    }
    plant::write(dir, "pipeline", &plant::pipeline(proxy.port(), &[MAX_SIZE]));
    let agent = Agent::start(dir, "agent", &dir.join("config"), &[]).unwrap();
    Line { peers, broker, proxy, consumer, agent }
}

impl Line {
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

    fn dropped(&self) -> u64 {
        let metrics = self.agent.metrics().unwrap();
        metrics.sum("lineside_sink_dropped_samples_total", &[]).unwrap() as u64
    }

    fn buffered(&self) -> u64 {
        let metrics = self.agent.metrics().unwrap();
        metrics.sum("lineside_sink_buffered_samples", &[]).unwrap() as u64
    }

    fn flow(&mut self) {
        let before = self.consumer.messages().unwrap().len();
        self.consumer.wait_until("samples", SOON, |m| m.len() > before + 50).unwrap();
    }

    /// Watches the outage: polling goes on, memory stays bounded.
    fn sit_through(&self) {
        let before: Vec<usize> = self.served().iter().map(BTreeSet::len).collect();
        let mut peak = 0;
        wait::while_true("bounded memory", OUTAGE, || {
            peak = peak.max(self.agent.server.resident_bytes().unwrap());
            peak < MAX_RESIDENT
        })
        .unwrap();
        for ((name, before), now) in DEVICES.iter().zip(before).zip(self.served()) {
            let polls = now.len() - before;
            // 50 a second; half of it is asked for, since the machine is shared.
            assert!(polls as u64 > OUTAGE.as_secs() * 25, "{name}: only {polls} polls");
        }
        let metrics = self.agent.metrics().unwrap();
        let bytes = metrics.sum("lineside_store_bytes", &[]).unwrap();
        let limit = metrics.sum("lineside_store_limit_bytes", &[]).unwrap();
        assert!(bytes <= limit && limit == 1024.0 * 1024.0, "{bytes} of {limit}");
        println!("outage: peak resident {} KiB, store {bytes} of {limit}", peak / 1024);
    }

    /// Ends the agent once everything is drained, and balances the books with the peers' logs.
    fn balance(mut self) {
        wait::until("drained", Duration::from_secs(120), || self.buffered() < 20).unwrap();
        // Suspended devices end their sessions; the books are closed when nothing is buffered.
        for (name, peer) in DEVICES.iter().zip(&self.peers) {
            let yaml = plant::device(
                name,
                peer.port,
                &[("c", "holding-register:1:UDINT")],
                &["intervalMillis: 20", "mode: Suspended"],
            );
            let config = self.agent_config();
            std::fs::write(config.join(format!("{name}.yaml")), yaml).unwrap();
        }
        wait::until("sessions ended", SOON, || {
            let metrics = self.agent.metrics().unwrap();
            metrics.sum("lineside_device_connected", &[]) == Some(0.0)
        })
        .unwrap();
        wait::until("empty store", SOON, || self.buffered() == 0).unwrap();
        let dropped = self.dropped();
        let captured = self.agent.metrics().unwrap();
        let captured =
            captured.sum("lineside_pipeline_captured_samples_total", &[]).unwrap() as u64;
        assert!(dropped > 0, "the outage was to overflow the store");
        let served = self.served();
        // The consumer may lag the PUBACK by a moment.
        let served_total: u64 = served.iter().map(|s| s.len() as u64).sum();
        let mut delivered: Vec<BTreeSet<u64>> = Vec::new();
        let balanced = wait::until("delivered + dropped = served", SOON, || {
            let all = plant::arrived(&mut self.consumer);
            delivered = DEVICES
                .iter()
                .map(|d| {
                    let device = format!("default/{d}");
                    let own = all.iter().filter(|a| a.device == device && a.is_good());
                    own.map(|a| a.counter().unwrap()).collect()
                })
                .collect();
            let delivered: u64 = delivered.iter().map(|s| s.len() as u64).sum();
            // An answer on its way when its session was ended was served, but never captured:
            // at most one per device, and the very last.
            let cut = served_total - captured;
            cut <= DEVICES.len() as u64 && delivered + dropped + cut == served_total
        });
        let delivered_total: u64 = delivered.iter().map(|s| s.len() as u64).sum();
        println!(
            "served {served_total}, captured {captured}, delivered {delivered_total}, \
             dropped {dropped}"
        );
        balanced.unwrap();
        for ((name, served), delivered) in DEVICES.iter().zip(&served).zip(&delivered) {
            assert!(delivered.is_subset(served), "{name} delivered what was never served");
            assert!(delivered.len() > 100, "{name}: only {} delivered", delivered.len());
        }
    }

    fn agent_config(&self) -> std::path::PathBuf {
        self.agent.server.log_path().with_file_name("config")
    }
}

#[test]
fn a_broker_cut_off_for_a_minute_costs_what_the_bound_drops_and_it_is_counted() {
    let dir = TestDir::new("outage_cut").unwrap();
    let mut line = start(&dir);
    line.flow();
    line.proxy.cut();
    line.sit_through();
    line.proxy.heal();
    line.flow();
    line.balance();
}

#[test]
fn a_broker_stopped_for_a_minute_costs_what_the_bound_drops_and_it_is_counted() {
    let dir = TestDir::new("outage_stopped").unwrap();
    let mut line = start(&dir);
    line.flow();
    line.broker.term().unwrap();
    line.sit_through();
    line.broker.restart().unwrap();
    line.consumer.server.is_running().unwrap();
    line.flow();
    line.balance();
}
