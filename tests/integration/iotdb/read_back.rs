//! What went in is what comes out, for the official client and for our own queries: on 2.0 in both
//! models and on 1.3.

use std::time::Duration;

use lineside_core::Value;
use lineside_core::sink::Outcome;
use lineside_crds::model::{IotdbSettings, Node};
use lineside_sink_iotdb::client::{Client, Credentials};
use lineside_sink_iotdb::wire::{
    Category, Cell, Column, ColumnValues, DataType, Rows as OurRows, Tablet,
};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::{IotdbClient, Rows};
use tokio::runtime::Runtime;

use super::cells::{extremes, text};
use super::sink::{Run, batch, origin, settings, table_settings};

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server with both clients.
struct Bench {
    server: Iotdb,
    official: IotdbClient,
    ours: Client,
    runtime: Runtime,
    table: bool,
}

impl Bench {
    fn start(test: &str, release: Release, extra: &[&str]) -> Self {
        let dir = TestDir::new(test).unwrap();
        let server = Iotdb::start(&dir, "iotdb", release, extra).unwrap();
        let official = IotdbClient::start(&dir, "client").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ours = connect(&runtime, server.port, false);
        Self { server, official, ours, runtime, table: false }
    }

    /// Goes on with the table model.
    fn use_tables(&mut self) {
        self.table = true;
        self.ours = connect(&self.runtime, self.server.port, true);
        let port = self.server.port;
        self.official.run(port, true, &["create database plant", "use plant"]).unwrap();
        self.runtime.block_on(self.ours.execute("USE plant")).unwrap();
    }

    fn settings(&self) -> IotdbSettings {
        let port = self.server.port;
        if self.table { table_settings(port) } else { settings(port) }
    }

    /// Inserts one column with these cells, a tick apart.
    fn insert(&mut self, device: &str, of: DataType, cells: &[Cell<'_>]) {
        let mut column = Column::new("a".into(), of, Category::Field);
        cells.iter().for_each(|cell| column.push(*cell).unwrap());
        let times = (1..).take(cells.len()).collect();
        let target = match self.table {
            true => device.into(),
            false => format!("root.plant.{device}").into(),
        };
        let tablet = Tablet { target, times, columns: vec![column] };
        let status = self.runtime.block_on(self.ours.insert(&tablet, self.table)).unwrap();
        assert_eq!(status.code, 200, "{of:?}: {status:?}");
    }

    fn read(&mut self, sql: &str) -> (Rows, OurRows) {
        let theirs = self.official.query(self.server.port, self.table, sql).unwrap();
        let ours = self.runtime.block_on(self.ours.query(sql, 10_000)).unwrap();
        (theirs, ours)
    }
}

fn connect(runtime: &Runtime, port: u16, table: bool) -> Client {
    let node = Node { host: "127.0.0.1".to_owned(), port };
    let root = Credentials::default();
    runtime.block_on(Client::connect(&node, None, &root, table, DEADLINE)).unwrap()
}

/// Every type, read by the official client and by ours.
fn every_type_comes_back(bench: &mut Bench) {
    let table = bench.table;
    for (of, mut cells) in extremes() {
        cells.insert(1, Cell::Null);
        let device = format!("d_{}", of.name().to_lowercase());
        bench.insert(&device, of, &cells);
        let sql = match table {
            true => format!("select time, a from {device} order by time"),
            false => format!("select a from root.plant.{device}"),
        };
        let (theirs, ours) = bench.read(&sql);
        // The tree model has no row without a value.
        let wanted: Rows = (1..)
            .zip(&cells)
            .filter(|(_, cell)| table || **cell != Cell::Null)
            .map(|(time, cell)| vec![Some(time.to_string()), text(cell)])
            .collect();
        assert_eq!(theirs, wanted, "{of:?}, read by the official client");
        assert_eq!(rows(&ours, table), wanted, "{of:?}, read by our client");
    }
}

/// Our rows in the form of the oracle's.
fn rows(found: &OurRows, table: bool) -> Rows {
    let (times, values) = match &found.columns[..] {
        [values] if !table => (found.times.clone(), values),
        [times, values] => {
            let ColumnValues::Int64(times) = &times.values else { panic!("{times:?}") };
            (times.iter().map(|time| time.unwrap()).collect(), values)
        }
        other => panic!("{other:?}"),
    };
    let cells = |row: usize| -> Option<String> {
        let bytes = |value: &Option<Vec<u8>>| value.clone();
        match &values.values {
            ColumnValues::Boolean(v) => v[row].map(|v| text(&Cell::Boolean(v)).unwrap()),
            ColumnValues::Int32(v) if values.of == DataType::Date => {
                v[row].map(|v| text(&Cell::Date(v)).unwrap())
            }
            ColumnValues::Int32(v) => v[row].map(|v| v.to_string()),
            ColumnValues::Int64(v) => v[row].map(|v| v.to_string()),
            ColumnValues::Float(v) => v[row].map(|v| text(&Cell::Float(v)).unwrap()),
            ColumnValues::Double(v) => v[row].map(|v| text(&Cell::Double(v)).unwrap()),
            ColumnValues::Binary(v) if values.of == DataType::Blob => {
                bytes(&v[row]).map(|v| text(&Cell::Blob(&v)).unwrap())
            }
            ColumnValues::Binary(v) => bytes(&v[row]).map(|v| String::from_utf8(v).unwrap()),
        }
    };
    (0..times.len()).map(|row| vec![Some(times[row].to_string()), cells(row)]).collect()
}

fn f(value: f32) -> Option<Value> {
    Some(Value::F32(value))
}

fn hex(value: f32) -> Option<String> {
    text(&Cell::Float(value))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// One aligned tablet with a null, delivered by the sink.
fn a_bad_sample_is_a_null_with_its_status(bench: &mut Bench) {
    let run = Run::start(settings(bench.server.port));
    let press = origin("press-1", &["temperature", "on/off"]);
    run.delivered([
        batch(&press, &[(0, f(21.5), 1000), (1, Some(Value::Bool(true)), 1000)]),
        batch(&press, &[(0, f(22.5), 2000), (1, None, 2000)]),
    ]);
    assert_eq!(run.endpoints(), [format!("127.0.0.1:{}", bench.server.port)]);
    run.end();
    let sql = "select temperature, temperature_q, `on/off`, `on/off_q` \
               from root.lineside.plant.`press-1`";
    let (theirs, ours) = bench.read(sql);
    let timeout = 0x800A_0000_u32.cast_signed().to_string();
    assert_eq!(
        theirs,
        [
            vec![some("1000"), hex(21.5), some("0"), some("true"), some("0")],
            vec![some("2000"), hex(22.5), some("0"), None, Some(timeout)],
        ]
    );
    assert_eq!(ours.columns[2].values, ColumnValues::Boolean(vec![Some(true), None]));
}

/// Names that need quotes, times that go back or are equal.
fn names_and_order_are_kept(bench: &mut Bench) {
    let table = bench.table;
    let run = Run::start(bench.settings());
    let names = ["plain", "a.b", "a/b-c", "12", "温度", "a`b", "SELECT", "a b"];
    let device = origin("line.3", &names);
    for (i, _) in (0..).zip(&names) {
        run.delivered([batch(&device, &[(i, f(1.5), 1000), (i, f(2.5), 3000), (i, f(3.5), 2000)])]);
        // An equal time: the last one wins.
        let again = run.deliver([batch(&device, &[(i, f(4.5), 2000)])]);
        assert_eq!(again, [Outcome { merged: 1, ..Outcome::nothing() }]);
    }
    run.end();
    for name in names {
        let sql = match table {
            true => {
                let name = name.to_lowercase();
                format!(
                    "select time, \"{name}\" from lineside.\"line.3\" where \"{name}_q\" = 0 order by time"
                )
            }
            false => {
                format!("select `{}` from root.lineside.plant.`line.3`", name.replace('`', "``"))
            }
        };
        let (theirs, _) = bench.read(&sql);
        let wanted = [(1000, 1.5), (2000, 4.5), (3000, 2.5)]
            .map(|(time, value)| vec![Some(time.to_string()), hex(value)]);
        assert_eq!(theirs, wanted, "{name}");
    }
}

#[test]
fn what_goes_in_comes_out_of_trees_and_tables_of_2_0() {
    let mut bench = Bench::start("iotdb-2", Release::V2, &[]);
    every_type_comes_back(&mut bench);
    a_bad_sample_is_a_null_with_its_status(&mut bench);
    names_and_order_are_kept(&mut bench);
    bench.use_tables();
    every_type_comes_back(&mut bench);
    names_and_order_are_kept(&mut bench);
}

#[test]
fn what_goes_in_comes_out_of_a_tree_of_1_3() {
    let mut bench = Bench::start("iotdb-1", Release::V1, &[]);
    every_type_comes_back(&mut bench);
    names_and_order_are_kept(&mut bench);
}

#[test]
fn the_unit_of_times_is_the_servers() {
    let mut bench = Bench::start("iotdb-unit", Release::V2, &["timestamp_precision=us"]);
    let said = bench.ours.properties.precision.clone();
    let sql = "show variables";
    let variables = bench.official.query(bench.server.port, false, sql).unwrap();
    assert!(format!("{variables:?}").contains(&format!("{:?}", Some(&said))), "{variables:?}");
    let run = Run::start(bench.settings());
    run.delivered([batch(&origin("d", &["a"]), &[(0, f(1.5), 1000)])]);
    run.end();
    let (theirs, _) = bench.read("select a from root.lineside.plant.d");
    assert_eq!(theirs, [vec![some("1000000"), hex(1.5)]]);
}
