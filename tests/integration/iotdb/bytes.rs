//! The codec writes what the official client writes, byte by byte.

use bytes::BytesMut;
use lineside_sink_iotdb::wire::{Category, Cell, Column, DataType, Tablet, insert_tablet};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb_client::IotdbClient;
use serde_json::{Value, json};

use super::cells::{extremes, text};

/// The session's number in requests; any will do.
const SESSION: i64 = 9;

/// One tablet, for us and for the oracle.
struct Case<'a> {
    target: &'a str,
    table: bool,
    columns: Vec<(&'a str, DataType, Category)>,
    rows: Vec<(i64, Vec<Cell<'a>>)>,
}

impl Case<'_> {
    fn ours(&self) -> Vec<u8> {
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, of, category)| Column::new((*name).into(), *of, *category))
            .collect();
        for (_, cells) in &self.rows {
            for (column, cell) in columns.iter_mut().zip(cells) {
                column.push(*cell).unwrap();
            }
        }
        let times = self.rows.iter().map(|(time, _)| *time).collect();
        let tablet = Tablet { target: self.target.into(), times, columns };
        let mut out = BytesMut::new();
        insert_tablet(&mut out, 0, SESSION, &tablet, self.table);
        out.to_vec()
    }

    fn oracle(&self) -> Value {
        let column = |pick: &dyn Fn(&(&str, DataType, Category)) -> String| -> Vec<String> {
            self.columns.iter().map(pick).collect()
        };
        let rows: Vec<Vec<_>> =
            self.rows.iter().map(|(_, cells)| cells.iter().map(text).collect()).collect();
        let times: Vec<_> = self.rows.iter().map(|(time, _)| time.to_string()).collect();
        json!({
            "target": self.target,
            "names": column(&|(name, ..)| (*name).to_owned()),
            "types": column(&|(_, of, _)| of.name().to_owned()),
            "categories": column(&|(.., category)| format!("{category:?}").to_uppercase()),
            "times": times,
            "rows": rows,
        })
    }
}

/// One column with these cells, a millisecond apart.
fn column<'a>(of: DataType, cells: &[Cell<'a>]) -> Case<'a> {
    Case {
        target: "root.plant.dev1",
        table: false,
        columns: vec![("a", of, Category::Field)],
        rows: (1..).zip(cells).map(|(time, cell)| (time, vec![*cell])).collect(),
    }
}

#[test]
fn every_tablet_is_the_one_that_the_official_client_sends() {
    let dir = TestDir::new("iotdb-bytes").unwrap();
    let mut client = IotdbClient::start(&dir, "client").unwrap();
    let mut cases = Vec::new();
    for (of, mut cells) in extremes() {
        cases.push(column(of, &[]));
        cases.push(column(of, &cells));
        for nulls in [1, 7, 8] {
            cells.splice(1..1, vec![Cell::Null; nulls]);
            cases.push(column(of, &cells));
        }
        cases.push(column(of, &[Cell::Null]));
    }
    // All types in one tablet, with a null in some columns only, equal and negative times.
    let all = extremes();
    let columns = all.iter().map(|(of, _)| (of.name(), *of, Category::Field)).collect();
    let row = |i: usize| -> Vec<Cell<'static>> {
        let pick = |(of, cells): &(DataType, Vec<Cell<'static>>)| match i % 3 {
            1 if of.code() % 2 == 0 => Cell::Null,
            _ => cells[i % cells.len()],
        };
        all.iter().map(pick).collect()
    };
    let times = [i64::MIN, -5, -5, 0, 1, 1, 7, 8, i64::MAX];
    let rows = times.into_iter().enumerate().map(|(i, time)| (time, row(i))).collect();
    cases.push(Case { target: "root.plant.`press-1`", table: false, columns, rows });
    cases.push(Case {
        target: "root.`Größe`.`a.b``c`",
        table: false,
        columns: vec![("`温度/1`", DataType::Float, Category::Field)],
        rows: vec![(1, vec![Cell::Float(1.5)])],
    });
    cases.push(Case {
        target: "press-1",
        table: true,
        columns: vec![
            ("device", DataType::String, Category::Tag),
            ("maker", DataType::String, Category::Attribute),
            ("温度", DataType::Double, Category::Field),
        ],
        rows: vec![
            (1, vec![Cell::String("p"), Cell::String("m"), Cell::Double(1.5)]),
            (2, vec![Cell::String("p"), Cell::Null, Cell::Null]),
        ],
    });
    for case in &cases {
        let theirs = client.encode(case.table, SESSION, &case.oracle()).unwrap();
        assert_eq!(hex(&case.ours()), hex(&theirs), "{}", case.oracle());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
