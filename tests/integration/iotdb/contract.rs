//! The conformance kit for sinks (`docs/specs/sink.md`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::kit::sink::{Remote, SinkCase, check};
use lineside_core::kit::{ORIGIN_POINT, numbered_origin};
use lineside_core::sink::Sink;
use lineside_core::{Batch, Origin, StatusCode, TimeQuality, Value};
use lineside_crds::model::{IotdbModel, IotdbSettings, Node, ObjectKey, TablePart};
use lineside_sink_iotdb::client::{Client, Credentials};
use lineside_sink_iotdb::wire::ColumnValues;
use lineside_sink_iotdb::wire::thrift::{Type, Writer};
use lineside_sink_iotdb::{Deadlines, build};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use tokio::sync::Mutex as AsyncMutex;

use super::sink::settings;

/// A server that makes the schema of a device needs a while for its first answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a server has to be alive after it accepted something.
const RESEND: Duration = Duration::from_millis(200);
/// Longest statement of the test's own.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server for all checks; each has a prefix of its own.
struct Case {
    server: Mutex<Iotdb>,
    port: u16,
    checks: AtomicUsize,
    quality: bool,
    table: bool,
}

impl Case {
    fn start(test: &str, quality: bool, table: bool) -> Self {
        let dir = TestDir::new(test).unwrap();
        // Records of one burst lie less than a millisecond apart.
        let extra = ["timestamp_precision=ns"];
        let server = Iotdb::start(&dir, "iotdb", Release::V2, &extra).unwrap();
        let (port, checks) = (server.port, AtomicUsize::new(0));
        Self { server: Mutex::new(server), port, checks, quality, table }
    }

    fn settings(&self, port: u16) -> IotdbSettings {
        let check = self.checks.load(Ordering::SeqCst);
        let model = match self.table {
            false => IotdbModel::Tree { prefix: format!("root.kit.check{check}") },
            true => {
                let check = TablePart::Literal(format!("check{check}_"));
                let table = vec![check, TablePart::Device];
                IotdbModel::Table { database: "kit".to_owned(), table }
            }
        };
        // One that trusts the server and one that does not: both ways of settling.
        let resend = if self.table { Duration::ZERO } else { RESEND };
        IotdbSettings { model, quality: self.quality, resend, ..settings(port) }
    }

    /// The device of a check, in statements.
    fn path(&self, device: &str) -> String {
        let check = self.checks.load(Ordering::SeqCst);
        match self.table {
            false => format!("root.kit.check{check}.kit.{device}"),
            true => format!("kit.check{check}_{device}"),
        }
    }

    /// Makes the poison's device with a column of another type, and a value in it: the first one
    /// of a database takes long, and is not what is checked.
    fn statements(&self) -> Vec<String> {
        let forbidden = self.path("forbidden");
        match self.table {
            false => vec![
                format!("create aligned timeseries {forbidden}({ORIGIN_POINT} BOOLEAN)"),
                format!("insert into {forbidden}(time, {ORIGIN_POINT}) aligned values(1, true)"),
            ],
            true => vec![
                "create database if not exists kit".to_owned(),
                format!(
                    "create table {forbidden}(namespace string tag, device string tag, \
                     {ORIGIN_POINT} boolean field)"
                ),
                format!("insert into {forbidden}(time, {ORIGIN_POINT}) values(1, true)"),
            ],
        }
    }
}

/// What one check sees of the server.
struct IotdbRemote {
    port: u16,
    sql: String,
    client: AsyncMutex<Client>,
}

impl Remote for IotdbRemote {
    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn received(&self) -> BoxFuture<'_, io::Result<Vec<i64>>> {
        async {
            let mut client = self.client.lock().await;
            // Before the first record there is nothing of that name.
            let Ok(rows) = client.query(&self.sql, 100_000).await else { return Ok(Vec::new()) };
            let Some(column) = rows.columns.first() else { return Ok(Vec::new()) };
            match &column.values {
                ColumnValues::Int64(values) => Ok(values.iter().flatten().copied().collect()),
                other => Err(io::Error::other(format!("{other:?}"))),
            }
        }
        .boxed()
    }
}

impl SinkCase for Case {
    fn sink(&self, remote: SocketAddr) -> Arc<dyn Sink> {
        let sink = build(self.settings(remote.port()));
        let deadlines = Deadlines { connect: DEADLINE, silence: DEADLINE, ..Deadlines::default() };
        Arc::new(sink.with_deadlines(deadlines))
    }

    fn remote(&self) -> BoxFuture<'_, io::Result<Box<dyn Remote>>> {
        async {
            self.checks.fetch_add(1, Ordering::SeqCst);
            let running = self.server.lock().unwrap().data.is_running();
            assert!(running.unwrap(), "the server ended");
            let node = Node { host: "127.0.0.1".to_owned(), port: self.port };
            let root = Credentials::default();
            let client = Client::connect(&node, None, &root, self.table, PATIENCE).await;
            let mut client = client.map_err(|fault| io::Error::other(fault.chain()))?;
            for sql in self.statements() {
                let made = client.execute(&sql).await;
                made.map_err(|fault| io::Error::other(fault.chain()))?;
            }
            let sql = match self.table {
                false => format!("select {ORIGIN_POINT} from {}", self.path("counter")),
                true => {
                    format!("select {ORIGIN_POINT} from {} order by time", self.path("counter"))
                }
            };
            let client = AsyncMutex::new(client);
            Ok(Box::new(IotdbRemote { port: self.port, sql, client }) as Box<dyn Remote>)
        }
        .boxed()
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn max_in_flight(&self) -> usize {
        16 * 1024
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        let opened = answer("openSession", 1, |w| {
            put_status(w, Some(200));
            w.field(2, Type::I32);
            w.i32(2);
            w.field(3, Type::I64);
            w.i64(7);
        });
        let properties = answer("getProperties", 2, |w| {
            w.field(1, Type::Binary);
            w.binary(b"2.0.10");
            w.field(3, Type::Binary);
            w.binary(b"ms");
        });
        let connected = [opened.clone(), properties].concat();
        let inserted = |sequence| answer("insertTablet", sequence, |w| put_status(w, Some(200)));
        let after: [Vec<u8>; 5] = [
            // An answer to a request that was not made, and one without a code.
            inserted(77),
            answer("insertTablet", 3, |_| {}),
            answer("getTimeZone", 3, |_| {}),
            // A frame that is larger than any, and one of nothing.
            vec![0x7F, 0xFF, 0xFF, 0xFF],
            vec![0, 0, 0, 0],
        ];
        let mut all: Vec<Vec<u8>> =
            after.iter().map(|bytes| [connected.as_slice(), bytes].concat()).collect();
        // No session's number; another version; another method; what does not speak Thrift.
        all.push(answer("openSession", 1, |w| put_status(w, Some(200))));
        all.push(answer("openSession", 1, |w| put_status(w, None)));
        all.push(answer("closeSession", 1, |w| put_status(w, Some(200))));
        all.push(vec![0, 0, 0, 8, 0x80, 2, 0, 2, 0, 0, 0, 0]);
        all.push(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
        all
    }

    fn poison(&self) -> Option<Arc<Batch>> {
        let device = ObjectKey::new("kit", "forbidden");
        let points = vec![ORIGIN_POINT.into()].into();
        let origin = Arc::new(Origin::new(device, None, points, Vec::new().into()));
        let mut batch = Batch::with_capacity(origin, 1, TimeQuality::Synced, 1);
        batch.push_good(0, Value::F64(1.5), 1);
        Some(Arc::new(batch))
    }

    fn skipped(&self) -> Option<Arc<Batch>> {
        if self.quality {
            return None;
        }
        let mut batch = Batch::with_capacity(numbered_origin(), 1, TimeQuality::Synced, 1);
        batch.push_bad(0, StatusCode::BAD_TIMEOUT, 1);
        Some(Arc::new(batch))
    }
}

/// A frame as a server sends it.
fn answer(method: &str, sequence: i32, fields: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut writer = Writer::call(&mut out, method, sequence);
    writer.field(0, Type::Struct);
    fields(&mut writer);
    writer.stop();
    writer.stop();
    writer.finish();
    // The message's type: a call becomes a reply.
    out[7] = 2;
    out.to_vec()
}

fn put_status(w: &mut Writer<'_>, code: Option<i32>) {
    w.field(1, Type::Struct);
    if let Some(code) = code {
        w.field(1, Type::I32);
        w.i32(code);
    }
    w.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_keeps_the_sink_contract() {
    check(&Case::start("iotdb-contract-tree", true, false)).await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_quality_keeps_the_sink_contract() {
    check(&Case::start("iotdb-contract-table", false, true)).await.assert();
}
