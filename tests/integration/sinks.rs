//! Sinks that pipelines share: where a destination is written makes no difference to what arrives.

use std::fs;

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::json;

use crate::plant::{self, SOON};

/// A Sink with this destination.
fn sink(name: &str, destination: &str) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Sink\nmetadata:\n  name: {name}\nspec:\n  \
         {destination}\n"
    )
}

fn broker_at(port: u16) -> String {
    let topic = "plant/{pipeline}/{device}";
    sink("broker", &format!("mqtt: {{url: \"mqtt://127.0.0.1:{port}\", topic: \"{topic}\"}}"))
}

/// A Pipeline of all devices that names both Sinks.
fn pipeline(name: &str) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: {name}\nspec:\n  \
         sources:\n  - name: all\n    devices: {{}}\n  sinks:\n  - name: broker\n    sinkRef: \
         {{name: broker}}\n  - name: tsdb\n    sinkRef: {{name: tsdb}}\n"
    )
}

/// Waits until `n` more messages of each pipeline arrive at a consumer.
fn flow(consumer: &mut Subscriber, pipelines: &[&str], n: usize) {
    let count = |consumer: &mut Subscriber| -> Vec<usize> {
        let messages = consumer.messages().unwrap();
        let of = |name: &&str| {
            let topic = format!("plant/{name}/d");
            messages.iter().filter(|m| m.topic == topic).count()
        };
        pipelines.iter().map(of).collect()
    };
    let before = count(consumer);
    wait::until("more messages of every pipeline", SOON, || {
        count(consumer).iter().zip(&before).all(|(now, before)| *now >= before + n)
    })
    .unwrap();
}

/// Rows of the table of a pipeline.
fn rows(client: &mut IotdbClient, port: u16, pipeline: &str) -> u64 {
    let sql = format!("select count(*) from lineside.{pipeline}");
    // The table is made with its first row.
    let Ok(rows) = client.query(port, true, &sql) else { return 0 };
    rows[0][0].as_ref().unwrap().parse().unwrap()
}

#[test]
fn two_pipelines_share_a_broker_and_a_database_move_with_them_and_keep_them_when_they_go() {
    let dir = TestDir::new("sinks").unwrap();
    let counter = json!({"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                         "order": "ABCD", "start": 0});
    let device = json!({"units": {"1": {"entries": [], "counters": [counter]}}});
    let device = Pymodbus::start(&dir, "device", &device).unwrap();
    let brokers = ["one", "two"].map(|n| Broker::start(&dir, n, Options::default()).unwrap());
    let [mut first, mut second] = ["first", "second"]
        .map(|n| Subscriber::start(&dir, n, &brokers[usize::from(n == "second")], "plant/#"))
        .map(Result::unwrap);
    let database = Iotdb::start(&dir, "iotdb", Release::V2, &[]).unwrap();
    let mut client = IotdbClient::start(&dir, "client").unwrap();
    let pipelines = ["a", "b"];
    let points = [("c", "holding-register:1:UDINT")];
    plant::write(&dir, "d", &plant::device("d", device.port, &points, &["intervalMillis: 200"]));
    for name in pipelines {
        plant::write(&dir, name, &pipeline(name));
    }
    plant::write(&dir, "broker", &broker_at(brokers[0].port));

    // One Sink is missing, so neither pipeline runs, and what is missing is told at its place.
    let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    let told = |code: &str, file: &str| {
        let log = agent.log().unwrap();
        log.iter().any(|e| e["code"] == code && e["at"].as_str().unwrap().contains(file))
    };
    wait::until("the report of the missing Sink", SOON, || {
        told("LNS-5010", "a.yaml:13:") && told("LNS-5010", "b.yaml:13:")
    })
    .unwrap();
    assert!(first.messages().unwrap().is_empty());

    // It comes, and they deliver to both.
    let url = format!("iotdb://127.0.0.1:{}", database.port);
    let tables = "model: Table, table: \"{pipeline}\"";
    let destination = format!("iotdb: {{url: \"{url}\", {tables}, resendMillis: 0}}");
    plant::write(&dir, "tsdb", &sink("tsdb", &destination));
    flow(&mut first, &pipelines, 3);
    for name in pipelines {
        wait::until("rows of the pipeline", SOON, || rows(&mut client, database.port, name) > 3)
            .unwrap();
    }

    // An edit of the Sink moves both.
    plant::write(&dir, "broker", &broker_at(brokers[1].port));
    flow(&mut second, &pipelines, 3);

    // A broken edit of it is told at the Sink, and changes nothing.
    plant::write(&dir, "broker", &broker_at(brokers[1].port).replace("mqtt://", "http://"));
    wait::until("the report of the broken Sink", SOON, || {
        told("LNS-1047", "broker.yaml:6:") && told("LNS-1084", "a.yaml:11:")
    })
    .unwrap();
    flow(&mut second, &pipelines, 3);

    // Without it they go on as well.
    fs::remove_file(dir.join("config/broker.yaml")).unwrap();
    wait::until("the report of the removed Sink", SOON, || told("LNS-5010", "a.yaml:11:")).unwrap();
    flow(&mut second, &pipelines, 3);
    let before = rows(&mut client, database.port, "b");
    wait::until("more rows", SOON, || rows(&mut client, database.port, "b") > before).unwrap();
    let arrived = second.messages().unwrap().len();
    wait::until("still more", SOON, || second.messages().unwrap().len() > arrived).unwrap();
    let rejected = agent.metrics().unwrap().sum("lineside_config_rejected_objects", &[]);
    assert_eq!(rejected, Some(2.0), "both pipelines are not as they are written");
}
