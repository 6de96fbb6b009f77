//! M3: an edit touches what it names and nothing else.

use std::time::Duration;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::samples::Arrived;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::json;

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

#[test]
fn editing_one_of_ten_devices_leaves_the_rest_of_the_line_alone() {
    let dir = TestDir::new("reload").unwrap();
    let unit = json!({
        "entries": [{"area": "holding", "address": 10, "type": "UINT16", "order": "ABCD",
                     "value": 77}],
        "counters": [{"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                      "order": "ABCD", "start": 0}],
    });
    let fixture = json!({"units": {"1": unit, "2": unit}});
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
    let rejected = agent.metrics().unwrap().sum("lineside_config_rejected_objects", &[]);
    assert_eq!(rejected, Some(1.0));
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
    std::fs::remove_file(dir.join("config/edited.yaml")).unwrap();
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
