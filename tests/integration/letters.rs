//! Dead letters against real brokers: one that refuses a topic, and one that breaks the connection
//! at a message. They are kept over a restart, shown, given up and sent again; everything else goes
//! on.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use lineside_tests::agent::{Agent, lineside};
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::faults::lag::{Lag, Ledger};
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::plant::{self, SOON};

const SINK: &str = "default/all/broker";
const COUNTER: (&str, &str) = ("c", "holding-register:1:UDINT");
/// Longest time until a message is found guilty: about nine connections, with growing waits between.
const CONVICTION: Duration = Duration::from_secs(180);
/// Only the topic of device `a` may be written.
const NARROW: &str = "topic readwrite lineside/default/a\ntopic readwrite lineside/default/agents/#\n\
                      topic read lineside/#\n";
const WIDE: &str = "topic readwrite #\n";

fn fixture() -> Value {
    json!({"units": {"1": {"entries": [], "counters": [
        {"name": "c", "area": "holding", "address": 0, "type": "UINT32", "order": "ABCD",
         "start": 1}]}}})
}

/// A command against the agent of the test.
fn command(dir: &TestDir, args: &[&str]) -> Output {
    let state = dir.join("agent-state");
    lineside(args.iter().copied().chain(["--state", state.to_str().unwrap()])).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The letters; none as long as the agent does not have the pipeline yet.
fn letters(dir: &TestDir) -> Vec<Value> {
    let listed = command(dir, &["dlq", "ls", SINK, "-o", "json"]);
    match listed.status.code() {
        Some(0 | 1) => json_of(&listed).as_array().unwrap().clone(),
        _ => Vec::new(),
    }
}

fn ledger(dir: &TestDir) -> Ledger {
    let printed = command(dir, &["lag", "-o", "json"]);
    let lag = Lag::parse(&String::from_utf8_lossy(&printed.stdout)).unwrap();
    let ledger = lag.ledger("default/all", "broker").unwrap().clone();
    assert!(ledger.balances(), "{ledger:?}");
    ledger
}

#[test]
fn what_a_broker_refuses_is_kept_shown_given_up_and_sent_again() {
    let dir = TestDir::new("letters").unwrap();
    let acl = dir.write("acl", NARROW).unwrap();
    let extra = vec![format!("acl_file {}", acl.display())];
    let mut broker =
        Broker::start(&dir, "broker", Options { extra, ..Options::default() }).unwrap();
    let peers = ["a", "b"].map(|name| Pymodbus::start(&dir, name, &fixture()).unwrap());
    for (name, peer) in ["a", "b"].into_iter().zip(&peers) {
        let yaml = plant::device(name, peer.port, &[COUNTER], &["intervalMillis: 500"]);
        plant::write(&dir, name, &yaml);
    }
    let durable = plant::pipeline(broker.port, &[]).replace("Memory", "Durable");
    plant::write(&dir, "pipeline", &durable);
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();

    wait::until("three letters", SOON, || letters(&dir).len() >= 3).unwrap();
    let first = letters(&dir).remove(0);
    assert_eq!((&first["device"], &first["code"]), (&json!("default/b"), &json!("LNS-3010")));
    assert_eq!(command(&dir, &["dlq", "ls", SINK]).status.code(), Some(1), "letters are findings");
    let id = first["id"].as_str().unwrap().to_owned();
    let shown = json_of(&command(&dir, &["dlq", "show", SINK, &id, "-o", "json"]));
    assert_eq!(shown[0]["points"][0]["name"], "c");
    assert!(shown[0]["points"][0]["value"].is_u64(), "{shown}");
    wait::until("the other device goes on", SOON, || {
        plant::of_point(&mut consumer, "a", "c").iter().filter(|s| s.is_good()).count() >= 3
    })
    .unwrap();

    // They are there after a restart.
    drop(agent);
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    wait::until("the letters", SOON, || letters(&dir).iter().any(|l| l["id"] == first["id"]))
        .unwrap();

    // One is given up, the rest is sent again once the broker takes it.
    // What was refused just before the kill may be refused again before it counts.
    wait::until("they count", SOON, || ledger(&dir).dead_lettered >= 3).unwrap();
    let dropped = json_of(&command(&dir, &["dlq", "drop", SINK, &id, "-o", "json"]));
    assert_eq!(dropped["samples"], 1);
    dir.write("acl", WIDE).unwrap();
    // Mosquitto reads its list again; a restart would forget the absent consumer's messages.
    broker.server.hup().unwrap();
    let mut again: Vec<String> =
        letters(&dir).iter().map(|l| l["id"].as_str().unwrap().to_owned()).collect();
    assert!(!again.contains(&id));
    wait::until("no letter is left", SOON, || {
        command(&dir, &["dlq", "retry", SINK, "--all"]);
        ledger(&dir).dead_lettered == 0
    })
    .unwrap();
    let after = ledger(&dir);
    assert_eq!(after.dropped.get("Discarded"), Some(&1), "{after:?}");
    // The consumer has them under the identities that were listed.
    wait::until("the consumer has all of them", SOON, || {
        let got: Vec<_> = plant::of_point(&mut consumer, "b", "c");
        again.retain(|id| !got.iter().any(|sample| sample.record == *id));
        again.is_empty()
    })
    .unwrap();
    assert!(plant::of_point(&mut consumer, "b", "c").iter().all(|s| s.record != id));

    // What was delivered may be gone from the disk; what waits since the next start is not.
    broker.term().unwrap();
    drop(agent);
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    looks_whole(&dir);
}

#[test]
fn a_message_at_which_the_broker_breaks_the_connection_is_set_aside_and_the_rest_goes_on() {
    let dir = TestDir::new("poison").unwrap();
    // MQTT 3.1.1 has no word for a message that is too large: Mosquitto closes the connection.
    let extra = vec!["max_packet_size 1000".to_owned()];
    let broker = Broker::start(&dir, "broker", Options { extra, ..Options::default() }).unwrap();
    let peers = ["a", "b"].map(|name| Pymodbus::start(&dir, name, &fixture()).unwrap());
    let small = plant::device("a", peers[0].port, &[COUNTER], &["intervalMillis: 500"]);
    plant::write(&dir, "a", &small);
    let points: Vec<(String, String)> = (1..=40)
        .map(|n| (format!("a_point_of_many_{n}"), format!("holding-register:{n}")))
        .collect();
    let points: Vec<(&str, &str)> = points.iter().map(|(n, a)| (&**n, &**a)).collect();
    let large = plant::device("b", peers[1].port, &points, &["intervalMillis: 3600000"]);
    plant::write(&dir, "b", &large);
    let pipeline = plant::pipeline(broker.port, &[]).replace("Memory", "Durable");
    let pipeline = pipeline.replace("      url:", "      version: V311\n      url:");
    plant::write(&dir, "pipeline", &pipeline);
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();

    wait::until("the message is set aside", CONVICTION, || !letters(&dir).is_empty()).unwrap();
    let all = letters(&dir);
    let of_b = |l: &Value| (&l["device"], &l["code"]) == (&json!("default/b"), &json!("LNS-3012"));
    assert!(all.iter().all(of_b), "{all:?}");
    // Everything of the other device arrives, what waited meanwhile included.
    let served = || -> Vec<u64> {
        let requests = peers[0].log.requests().unwrap();
        requests.iter().filter_map(|r| r.counted("c")).collect()
    };
    wait::until("it is polled on", SOON, || served().len() > 10).unwrap();
    let served = served();
    wait::until("the other device's samples", SOON, || {
        let got = plant::of_point(&mut consumer, "a", "c");
        let got: BTreeSet<u64> = got.iter().filter_map(|s| s.counter().ok()).collect();
        served.iter().all(|counter| got.contains(counter))
    })
    .unwrap();
    assert!(ledger(&dir).dropped.is_empty());
}

/// The store's files can be read, and hold what they should soon after a start.
fn looks_whole(dir: &TestDir) {
    let state = dir.join("agent-state");
    let state = state.to_str().unwrap();
    let dumped = || -> Vec<Value> {
        let dumped = lineside(["store", "dump", state, "-o", "json"]).unwrap();
        let lines = String::from_utf8_lossy(&dumped.stdout);
        lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    wait::until("the start is a gap, and samples of both devices follow it", SOON, || {
        let records = dumped();
        let gap = records.iter().rposition(|r| r["kind"] == "Gap");
        let new = gap.and_then(|gap| records.get(gap..)).unwrap_or_default();
        ["default/a", "default/b"].iter().all(|device| new.iter().any(|r| r["device"] == *device))
    })
    .unwrap();
    let verified = lineside(["store", "verify", state]).unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
