//! What goes wrong with a server: each has a class and a code, and what is not dead-lettered with a
//! reason is delivered later.

use std::sync::Arc;
use std::time::Duration;

use lineside_core::Value;
use lineside_core::fault::FaultClass;
use lineside_core::secret::Secrets;
use lineside_core::sink::Outcome;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{CredentialsRef, IotdbSettings, Node, SecretKeyRef};
use lineside_tests::dir::TestDir;
use lineside_tests::faults::volume::Volume;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;
use lineside_tests::{ports, wait};

use super::sink::{Run, batch, origin, settings};

/// Longest time until a server notices the state of its disk.
const NOTICE: Duration = Duration::from_secs(60);

fn f(value: f32) -> Option<Value> {
    Some(Value::F32(value))
}

fn start(test: &str, extra: &[&str]) -> (TestDir, Iotdb, IotdbClient) {
    let dir = TestDir::new(test).unwrap();
    let server = Iotdb::start(&dir, "iotdb", Release::V2, extra).unwrap();
    let client = IotdbClient::start(&dir, "client").unwrap();
    (dir, server, client)
}

/// Rows of the device `plant/d` with its first point.
fn count(client: &mut IotdbClient, port: u16) -> Option<u64> {
    let rows = client.query(port, false, "select count(a) from root.lineside.plant.d").ok()?;
    rows.first()?.first()?.as_ref()?.parse().ok()
}

#[test]
fn a_server_that_is_down_is_unreachable() {
    let mut run = Run::start(settings(ports::free().unwrap()));
    let fault = run.fault();
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::SinkUnavailable));
    assert!(run.endpoints().is_empty());
}

#[test]
fn another_node_serves_when_the_first_one_is_down() {
    let (_dir, server, _client) = start("iotdb-nodes", &[]);
    let down = Node { host: "127.0.0.1".to_owned(), port: ports::free().unwrap() };
    let up = Node { host: "127.0.0.1".to_owned(), port: server.port };
    let run = Run::start(IotdbSettings { nodes: vec![down, up], ..settings(0) });
    run.delivered([batch(&origin("d", &["a"]), &[(0, f(1.5), 1000)])]);
    assert_eq!(run.endpoints(), [format!("127.0.0.1:{}", server.port)]);
    run.end();
}

#[test]
fn a_wrong_password_is_a_matter_of_access() {
    let (dir, server, _client) = start("iotdb-password", &[]);
    dir.write("secrets/iotdb/username", "root").unwrap();
    dir.write("secrets/iotdb/password", "wrong").unwrap();
    let key = |key: &str| SecretKeyRef { secret: "iotdb".to_owned(), key: key.to_owned() };
    let credentials =
        Some(CredentialsRef { username: key("username"), password: Some(key("password")) });
    let settings = IotdbSettings { credentials, ..settings(server.port) };
    let mut run = Run::with(settings, Secrets::new(Some(dir.join("secrets"))));
    let fault = run.fault();
    assert_eq!((fault.class, fault.code), (FaultClass::Auth, Code::SinkAuth), "{fault:?}");
    assert!(!fault.chain().contains("wrong"), "{}", fault.chain());
}

#[test]
fn a_read_only_server_gets_its_records_when_it_writes_again() {
    let (_dir, server, mut client) = start("iotdb-read-only", &[]);
    let device = origin("d", &["a"]);
    let mut run = Run::start(settings(server.port));
    run.delivered([batch(&device, &[(0, f(1.5), 1000)])]);
    client.run(server.port, false, &["set system to readonly"]).unwrap();
    run.feed.push(batch(&device, &[(0, f(2.5), 2000)]));
    let fault = run.fault();
    assert_eq!((fault.class, fault.code), (FaultClass::Overload, Code::SinkReadOnly), "{fault:?}");
    client.run(server.port, false, &["set system to running"]).unwrap();
    let again = Run::continuing(&run.feed, settings(server.port));
    again.delivered([]);
    again.end();
    assert_eq!(count(&mut client, server.port), Some(2));
}

#[test]
fn a_server_whose_disk_is_full_gets_its_records_when_there_is_space() {
    let dir = TestDir::new("iotdb-disk").unwrap();
    let volume = Volume::mount(&dir, "volume", &dir.join("iotdb/dn"), 256).unwrap();
    let words = volume.around().unwrap().agent;
    let server = Iotdb::start_within(&dir, "iotdb", Release::V2, &[], &words).unwrap();
    let mut client = IotdbClient::start(&dir, "client").unwrap();
    let device = origin("d", &["a", "text"]);
    // What fits into blocks that a file has already would go on being taken.
    let text: Arc<str> = "x".repeat(64 * 1024).into();
    let mut run = Run::start(settings(server.port));
    run.delivered([batch(&device, &[(0, f(1.5), 1000)])]);
    volume.fill().unwrap();
    let mut time = 1000;
    let fault = run.fault_while(|run| {
        time += 1000;
        let text = Some(Value::String(text.clone()));
        run.feed.push(batch(&device, &[(0, f(1.5), time), (1, text, time)]));
    });
    let codes = [Code::SinkReadOnly, Code::SinkDiskFull];
    assert!(codes.contains(&fault.code), "{fault:?}");
    assert_eq!(fault.class, FaultClass::Overload);
    volume.free().unwrap();
    wait::until("the server can be made to run", NOTICE, || {
        client.run(server.port, false, &["set system to running"]).is_ok()
    })
    .unwrap();
    let again = Run::continuing(&run.feed, settings(server.port));
    again.delivered([]);
    again.end();
    assert_eq!(count(&mut client, server.port), Some(u64::try_from(time / 1000).unwrap()));
}

#[test]
fn a_value_of_another_type_is_refused_alone_with_the_reason() {
    let (_dir, server, mut client) = start("iotdb-type", &[]);
    let create = "create aligned timeseries root.lineside.plant.d(b BOOLEAN, c FLOAT)";
    client.run(server.port, false, &[create]).unwrap();
    let run = Run::start(settings(server.port));
    let device = origin("d", &["a", "b", "c", "e"]);
    let row = |time| {
        let cells = (0..4).map(|point| (point, f(1.5), time));
        batch(&device, &cells.collect::<Vec<_>>())
    };
    let outcomes = run.deliver([row(1000), row(2000), row(3000)]);
    for Outcome { delivered, skipped, merged, rejected, refusals } in outcomes {
        assert_eq!((delivered, skipped, merged, rejected), (3, 0, 0, 1), "{refusals:?}");
        let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
        assert_eq!((refusal.code, &refusal.samples[..]), (Code::RecordRejected, &[1][..]));
        assert!(refusal.message.contains("BOOLEAN"), "{}", refusal.message);
    }
    run.end();
    let sql = "select count(a), count(b), count(c), count(e) from root.lineside.plant.d";
    let counts = [Some("3".to_owned()), Some("0".to_owned())];
    let [three, none] = &counts;
    assert_eq!(
        client.query(server.port, false, sql).unwrap(),
        [[three.clone(), none.clone(), three.clone(), three.clone()]]
    );
}

#[test]
fn a_quota_that_is_used_up_keeps_the_records() {
    let quota = ["cluster_schema_limit_level=timeseries", "cluster_timeseries_limit_threshold=6"];
    let (_dir, server, _client) = start("iotdb-quota", &quota);
    let points: Vec<String> = (0..200).map(|i| format!("p{i}")).collect();
    let points: Vec<&str> = points.iter().map(String::as_str).collect();
    let device = origin("d", &points);
    let mut run = Run::start(settings(server.port));
    run.delivered([batch(&device, &[(0, f(1.5), 1000)])]);
    // The ConfigNode counts series now and then.
    let mut point = 0;
    let fault = run.fault_while(|run| {
        point += 1;
        run.feed.push(batch(&device, &[(point, f(1.5), 2000)]));
    });
    assert_eq!((fault.class, fault.code), (FaultClass::Overload, Code::SinkQuota), "{fault:?}");
    assert!(run.feed.done() < run.feed.len(), "the record is settled");
}

#[test]
fn what_a_killed_server_loses_is_sent_again() {
    // Acknowledged before it is synced: IoTDB's own default.
    let (_dir, mut server, mut client) = start("iotdb-kill", &["wal_mode=ASYNC"]);
    let settings = IotdbSettings { resend: Duration::from_secs(10), ..settings(server.port) };
    let device = origin("d", &["a"]);
    let mut run = Run::start(settings.clone());
    for i in 0..500_i16 {
        run.feed.push(batch(&device, &[(0, f(i.into()), 1000 + i64::from(i))]));
    }
    wait::until("all rows are there", NOTICE, || count(&mut client, server.port) == Some(500))
        .unwrap();
    assert_eq!(run.feed.done(), 0, "settled although it could still be lost");
    server.kill().unwrap();
    let fault = run.fault();
    assert_eq!(fault.class, FaultClass::Unreachable, "{fault:?}");
    server.restart().unwrap();
    let again = Run::continuing(&run.feed, settings);
    again.delivered([]);
    again.end();
    assert_eq!(run.feed.done(), 500);
    // The official client of before the kill has to notice first.
    wait::until("all rows are there again", NOTICE, || {
        count(&mut client, server.port) == Some(500)
    })
    .unwrap();
}
