//! M3: an edit touches what it names and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::PeerLog;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::samples::Arrived;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::plant::{self, SOON};

const PERIOD: Duration = Duration::from_millis(500);
const COUNTER: (&str, &str) = ("c", "holding-register:1:UDINT");

fn yaml(name: &str, port: u16, points: &[(&str, &str)]) -> String {
    plant::device(name, port, points, &["intervalMillis: 500"])
}

/// Longest time between two good samples that follow each other.
fn longest_gap(samples: &[Arrived]) -> Duration {
    let good: Vec<_> = samples.iter().filter(|a| a.is_good()).collect();
    let gaps = good.windows(2).map(|w| w[1].time_ns - w[0].time_ns);
    Duration::from_nanos(u64::try_from(gaps.max().unwrap()).unwrap())
}

/// Longest time for which a peer was not asked on one of its connections.
fn longest_unasked(log: &PeerLog) -> Duration {
    let mut last = BTreeMap::new();
    let mut longest = 0;
    for request in log.requests().unwrap() {
        if let Some(before) = last.insert(request.connection, request.received_ns) {
            longest = longest.max(request.received_ns - before);
        }
    }
    Duration::from_nanos(u64::try_from(longest).unwrap())
}

/// Configurations that the agent has applied.
fn applied(agent: &Agent) -> f64 {
    agent.metrics().unwrap().sum("lineside_config_applied_total", &[]).unwrap()
}

/// Waits for `n` more samples of every device.
fn flow_on(consumer: &mut Subscriber, names: &[String], n: usize) {
    let before: Vec<usize> =
        names.iter().map(|d| plant::of_point(consumer, d, "c").len()).collect();
    wait::until("more samples of every device", SOON, || {
        let now = names.iter().map(|d| plant::of_point(consumer, d, "c").len());
        now.zip(&before).all(|(now, before)| now >= before + n)
    })
    .unwrap();
}

/// Two units with a counter and a fixed value each.
fn fixture() -> Value {
    let unit = json!({
        "entries": [{"area": "holding", "address": 10, "type": "UINT16", "order": "ABCD",
                     "value": 77}],
        "counters": [{"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                      "order": "ABCD", "start": 0}],
    });
    json!({"units": {"1": unit, "2": unit}})
}

#[test]
fn editing_one_of_ten_devices_leaves_the_rest_of_the_line_alone() {
    let dir = TestDir::new("reload").unwrap();
    let fixture = fixture();
    // The nine that are not edited share one peer, so its accepts are theirs alone.
    let nine = Pymodbus::start(&dir, "nine", &fixture).unwrap();
    let one = Pymodbus::start(&dir, "one", &fixture).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let names: Vec<String> = (1..=9).map(|i| format!("d{i}")).collect();
    for name in &names {
        plant::write(&dir, name, &yaml(name, nine.port, &[COUNTER]));
    }
    plant::write(&dir, "edited", &yaml("edited", one.port, &[COUNTER]));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    let mut all = names.clone();
    all.push("edited".into());
    flow_on(&mut consumer, &all, 4);
    assert_eq!((nine.log.accepts().unwrap(), one.log.accepts().unwrap()), (9, 1));

    // A new point of the edited device arrives over the connection it has.
    plant::write(
        &dir,
        "edited",
        &yaml("edited", one.port, &[COUNTER, ("fixed", "holding-register:11:UINT")]),
    );
    wait::until("the new point", SOON, || {
        plant::of_point(&mut consumer, "edited", "fixed").iter().any(|a| a.value == json!(77))
    })
    .unwrap();
    assert_eq!(one.log.accepts().unwrap(), 1, "an edit of points needs no new connection");

    // Another unit behind the same gateway.
    let elsewhere = yaml("edited", one.port, &[COUNTER]).replace("identifier=1", "identifier=2");
    plant::write(&dir, "edited", &elsewhere);
    wait::until("reads of unit 2", SOON, || {
        one.log.requests().unwrap().iter().any(|r| r.unit == 2)
    })
    .unwrap();
    flow_on(&mut consumer, &all, 3);

    // A broken edit changes nothing and is reported with its line.
    let broken = elsewhere.replace("holding-register:1:UDINT", "holding-register:1:UDINTT");
    let line = broken.lines().position(|l| l.contains("UDINTT")).unwrap() + 1;
    plant::write(&dir, "edited", &broken);
    let at = format!("edited.yaml:{line}:");
    wait::until("the report", SOON, || {
        agent.log().unwrap().iter().any(|e| {
            e["at"].as_str().is_some_and(|a| a.contains(&at))
                && e["code"].as_str().is_some_and(|c| c.starts_with("LNS-1"))
        })
    })
    .unwrap();
    // The log tells before the numbers are taken.
    wait::until("one rejected object", SOON, || {
        let rejected = agent.metrics().unwrap().sum("lineside_config_rejected_objects", &[]);
        rejected == Some(1.0)
    })
    .unwrap();
    flow_on(&mut consumer, &all, 3);

    // A file that is not even YAML any more keeps the objects it held.
    plant::write(&dir, "edited", "kind: [unclosed\n");
    wait::until("the report of the syntax error", SOON, || {
        agent.log().unwrap().iter().any(|e| {
            e["at"].as_str().is_some_and(|a| a.contains("edited.yaml:"))
                && e["problem"].as_str().is_some()
                && e["object"] == ""
        })
    })
    .unwrap();
    flow_on(&mut consumer, &all, 3);

    // Repaired and gone: only then it stops.
    fs::remove_file(dir.join("config/edited.yaml")).unwrap();
    wait::until("its connection closed", SOON, || {
        one.log.closes().unwrap() == one.log.accepts().unwrap()
    })
    .unwrap();
    flow_on(&mut consumer, &names, 3);

    assert_eq!(nine.log.accepts().unwrap(), 9, "nobody else dialled");
    for name in &names {
        let gap = longest_gap(&plant::of_point(&mut consumer, name, "c"));
        assert!(gap <= PERIOD * 2, "{name} has a gap of {gap:?}");
    }
}

/// How long an editor may stop in the middle of saving: less than two looks at the directory
/// are apart (500 ms), so that no half of a file is ever taken for the whole.
const PAUSE: Duration = Duration::from_millis(200);

#[test]
fn a_file_that_is_saved_in_steps_is_applied_once_and_whole() {
    let dir = TestDir::new("reload_steps").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    plant::write(&dir, "edited", &yaml("edited", peer.port, &[COUNTER]));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    let path = dir.join("config/edited.yaml");
    let names = ["edited".to_owned()];
    flow_on(&mut consumer, &names, 3);
    let pause = || {
        wait::while_true("the connection stays", PAUSE, || peer.log.closes().unwrap() == 0)
            .unwrap();
    };

    // In place, in two pieces: emptied, half written, finished. The half is valid on its own.
    let before = applied(&agent);
    let points = [("fixed", "holding-register:11:UINT"), COUNTER];
    let whole = yaml("edited", peer.port, &points);
    let (first, second) = whole.split_at(whole.find("  - name: c").unwrap());
    let mut file = fs::File::create(&path).unwrap();
    pause();
    file.write_all(first.as_bytes()).unwrap();
    pause();
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    wait::until("the new point", SOON, || {
        plant::of_point(&mut consumer, "edited", "fixed").iter().any(|a| a.value == json!(77))
    })
    .unwrap();
    assert_eq!(applied(&agent), before + 1.0, "applied once");

    // As vim does: the old file becomes a backup, then the name is written anew.
    let renamed = yaml("edited", peer.port, &[COUNTER, ("again", "holding-register:11:UINT")]);
    fs::rename(&path, dir.join("config/edited.yaml~")).unwrap();
    pause();
    fs::write(&path, &renamed).unwrap();
    wait::until("the renamed point", SOON, || {
        plant::of_point(&mut consumer, "edited", "again").iter().any(|a| a.value == json!(77))
    })
    .unwrap();
    fs::remove_file(dir.join("config/edited.yaml~")).unwrap();
    flow_on(&mut consumer, &names, 3);
    assert_eq!(applied(&agent), before + 2.0, "applied once");

    assert_eq!((peer.log.accepts().unwrap(), peer.log.closes().unwrap()), (1, 0));
    let gap = longest_unasked(&peer.log);
    assert!(gap <= PERIOD * 2, "not asked for {gap:?}");
    let log = agent.log().unwrap();
    assert!(!log.iter().any(|e| e["level"] == "ERROR"), "see {}", dir.path().display());
}

#[test]
fn a_device_moves_to_another_host_and_a_pipeline_to_another_topic_without_the_others() {
    let dir = TestDir::new("reload_moves").unwrap();
    let fixture = fixture();
    let [rest, old, new] =
        ["rest", "old", "new"].map(|name| Pymodbus::start(&dir, name, &fixture).unwrap());
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let mut elsewhere = Subscriber::start(&dir, "elsewhere", &broker, "plant/+").unwrap();
    let names = ["d1", "d2", "d3"].map(str::to_owned);
    for name in &names {
        plant::write(&dir, name, &yaml(name, rest.port, &[COUNTER]));
    }
    plant::write(&dir, "moved", &yaml("moved", old.port, &[COUNTER]));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    let mut all = names.to_vec();
    all.push("moved".into());
    flow_on(&mut consumer, &all, 3);

    // The device is somewhere else now.
    plant::write(&dir, "moved", &yaml("moved", new.port, &[COUNTER]));
    wait::until("the old connection closed", SOON, || old.log.closes().unwrap() == 1).unwrap();
    wait::until("requests to the new peer", SOON, || new.log.requests().unwrap().len() >= 4)
        .unwrap();
    assert_eq!((old.log.accepts().unwrap(), new.log.accepts().unwrap()), (1, 1));
    flow_on(&mut consumer, &all, 3);

    // The pipeline publishes somewhere else now.
    let topic = Some("plant/{device}");
    plant::write(&dir, "pipeline", &plant::Line { topic, ..plant::Line::to(broker.port) }.yaml());
    flow_on(&mut elsewhere, &all, 4);
    // Who is not asked cannot know: the devices' connections and their rhythm are untouched.
    assert_eq!((rest.log.accepts().unwrap(), rest.log.closes().unwrap()), (3, 0));
    assert_eq!((new.log.accepts().unwrap(), new.log.closes().unwrap()), (1, 0));
    for log in [&rest.log, &new.log] {
        let gap = longest_unasked(log);
        assert!(gap <= PERIOD * 2, "not asked for {gap:?}");
    }
}
