//! Servers that make no schema by themselves: the sink makes it.

use lineside_core::Value;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::IotdbSettings;
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;

use super::sink::{Run, batch, origin, settings, table_settings};

/// The line that a careful administrator writes.
const OFF: &str = "enable_auto_create_schema=false";

fn f(value: f32) -> Option<Value> {
    Some(Value::F32(value))
}

/// New devices, a new point of a known one, one that was only Bad, and one of another type; in the
/// end the server has all but the last.
fn everything_is_made(settings: IotdbSettings) {
    let run = Run::start(settings);
    let of = |device| origin(device, &["a", "b/1", "never", "other"]);
    let (d, e) = (of("d"), of("e"));
    run.delivered([
        batch(&d, &[(0, f(1.5), 1000), (2, None, 1000)]),
        batch(&e, &[(0, f(2.5), 1000)]),
    ]);
    run.delivered([batch(&d, &[(0, f(3.5), 2000), (1, Some(Value::Bool(true)), 2000)])]);
    run.delivered([batch(&e, &[(3, Some(Value::Bool(true)), 3000)])]);
    let mixed = batch(&e, &[(0, f(4.5), 4000), (3, f(5.5), 4000)]);
    let outcomes = run.deliver([mixed]);
    assert_eq!((outcomes[0].delivered, outcomes[0].rejected), (1, 1), "{outcomes:?}");
    assert_eq!(outcomes[0].refusals[0].code, Code::RecordRejected);
    assert_eq!(outcomes[0].refusals[0].samples, [1]);
    run.end();
}

fn rows(client: &mut IotdbClient, port: u16, table: bool, sql: &str) -> Vec<Vec<String>> {
    let rows = client.query(port, table, sql).unwrap();
    let shown = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(shown).collect()).collect()
}

fn in_a_tree(test: &str, release: Release) {
    let dir = TestDir::new(test).unwrap();
    let server = Iotdb::start(&dir, "iotdb", release, &[OFF]).unwrap();
    everything_is_made(settings(server.port));
    let run = Run::start(settings(server.port));
    let device = origin("d", &["a"]);
    run.delivered([batch(&device, &[(0, f(9.5), 9000)])]);
    run.end();
    if release == Release::V2 {
        let mut client = IotdbClient::start(&dir, "client").unwrap();
        let sql = "select a, `b/1`, never_q from root.lineside.plant.d";
        let float = |value: f32| format!("{:08x}", value.to_bits());
        let bad = (0x800A_0000_u32.cast_signed()).to_string();
        assert_eq!(
            rows(&mut client, server.port, false, sql),
            [
                ["1000".to_owned(), float(1.5), "-".to_owned(), bad],
                ["2000".to_owned(), float(3.5), "true".to_owned(), "-".to_owned()],
                ["9000".to_owned(), float(9.5), "-".to_owned(), "-".to_owned()],
            ]
        );
    }
}

#[test]
fn a_tree_without_automatic_schemas_gets_them_from_the_sink() {
    in_a_tree("iotdb-schema-tree", Release::V2);
}

#[test]
fn a_tree_of_the_release_before_gets_them_too() {
    in_a_tree("iotdb-schema-v1", Release::V1);
}

#[test]
fn a_table_without_automatic_schemas_gets_its_columns_from_the_sink() {
    let dir = TestDir::new("iotdb-schema-table").unwrap();
    let server = Iotdb::start(&dir, "iotdb", Release::V2, &[OFF]).unwrap();
    everything_is_made(table_settings(server.port));
    let mut client = IotdbClient::start(&dir, "client").unwrap();
    let sql = "select device, \"b/1\", never from lineside.d where time = 2000";
    // A column that never had a value was not made.
    assert!(client.query(server.port, true, sql).is_err());
    let sql = "select device, \"b/1\", never_q from lineside.d where time = 2000";
    assert_eq!(rows(&mut client, server.port, true, sql), [["d", "true", "-"]]);
}
