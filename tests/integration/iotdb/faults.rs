//! What goes wrong with a server: each has a class and a code, and what is not dead-lettered with a
//! reason is delivered later.

use std::time::Duration;

use lineside_core::Value;
use lineside_core::fault::FaultClass;
use lineside_core::secret::Secrets;
use lineside_core::sink::Outcome;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{CredentialsRef, IotdbSettings, Node, SecretKeyRef};
use lineside_tests::dir::TestDir;
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
    let sql = "select count(a) from root.lineside.plant.d";
    assert_eq!(client.query(server.port, false, sql).unwrap(), [[Some("2".to_owned())]]);
}

#[test]
fn a_server_without_disk_space_is_read_only() {
    // The share of the disk that has to be free: no disk has so much.
    let (_dir, server, mut client) =
        start("iotdb-disk", &["disk_space_warning_threshold=0.999999"]);
    let show = |client: &mut IotdbClient| client.query(server.port, false, "show datanodes");
    wait::until("the server notices", NOTICE, || {
        show(&mut client).is_ok_and(|rows| format!("{rows:?}").contains("ReadOnly"))
    })
    .unwrap();
    let mut run = Run::start(settings(server.port));
    run.feed.push(batch(&origin("d", &["a"]), &[(0, f(1.5), 1000)]));
    let fault = run.fault();
    assert_eq!((fault.class, fault.code), (FaultClass::Overload, Code::SinkReadOnly), "{fault:?}");
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
    for Outcome { delivered, skipped, rejected, refusals } in outcomes {
        assert_eq!((delivered, skipped, rejected), (3, 0, 1), "{refusals:?}");
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
    let (_dir, server, mut client) = start("iotdb-quota", &["quota_enable=true"]);
    let device = origin("d", &["a", "b", "c"]);
    let mut run = Run::start(settings(server.port));
    run.delivered([batch(&device, &[(0, f(1.5), 1000)])]);
    client.run(server.port, false, &["set space quota timeseries=2 on root.lineside"]).unwrap();
    run.feed.push(batch(&device, &[(1, f(1.5), 2000), (2, f(1.5), 2000)]));
    let fault = run.fault();
    assert_eq!((fault.class, fault.code), (FaultClass::Overload, Code::SinkQuota), "{fault:?}");
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
    let count = |client: &mut IotdbClient| -> Option<u32> {
        let sql = "select count(a) from root.lineside.plant.d";
        let rows = client.query(server.port, false, sql).ok()?;
        rows.first()?.first()?.as_ref()?.parse().ok()
    };
    wait::until("all rows are there", NOTICE, || count(&mut client) == Some(500)).unwrap();
    assert_eq!(run.feed.done(), 0, "settled although it could still be lost");
    server.kill().unwrap();
    let fault = run.fault();
    assert_eq!(fault.class, FaultClass::Unreachable, "{fault:?}");
    server.restart().unwrap();
    let again = Run::continuing(&run.feed, settings);
    again.delivered([]);
    again.end();
    assert_eq!(run.feed.done(), 500);
    let sql = "select count(a) from root.lineside.plant.d";
    assert_eq!(client.query(server.port, false, sql).unwrap(), [[Some("500".to_owned())]]);
}
