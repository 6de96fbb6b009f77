use std::time::Duration;

use lineside_core::sink::RecordId;
use lineside_core::{Batch, Sample, StatusCode, TimeQuality, Value};
use lineside_crds::model::{IotdbModel, ObjectKey, TablePart};

use super::*;
use crate::verdict::{Reach, Refused};
use crate::wire::{DataType, Tablet};

const MS: i64 = 1_000_000;

fn layout() -> Layout {
    Layout {
        model: IotdbModel::Tree { prefix: "root.lineside".into() },
        quality: true,
        precision: Precision::Millis,
        blobs: true,
        pipeline: ObjectKey::new("plant", "all"),
    }
}

fn table() -> Layout {
    let table = vec![TablePart::Device];
    Layout { model: IotdbModel::Table { database: "lineside".into(), table }, ..layout() }
}

fn origin() -> Arc<Origin> {
    let points: Arc<[Arc<str>]> = vec!["a".into(), "b".into(), "c/1".into()].into();
    Arc::new(Origin::new(ObjectKey::new("plant", "press-1"), None, points, Vec::new().into()))
}

/// Samples as `(point, value, time in ms)`; no value is a Bad one.
fn record(origin: &Arc<Origin>, offset: u64, samples: &[(u32, Option<Value>, i64)]) -> Record {
    let quality = TimeQuality::Synced;
    let mut batch = Batch::with_capacity(origin.clone(), 1, quality, samples.len());
    for (point, value, time) in samples {
        match value {
            Some(value) => batch.push_good(*point, value.clone(), time * MS),
            None => batch.push_bad(*point, StatusCode::BAD_TIMEOUT, time * MS),
        }
    }
    let id = RecordId { store: "s".into(), stream: 1, offset, part: None };
    Record { id, batch: Arc::new(batch) }
}

fn f(value: f32) -> Option<Value> {
    Some(Value::F32(value))
}

fn taken(packed: Packed) -> Excluded {
    match packed {
        Packed::Taken(excluded) => excluded,
        Packed::Collides => panic!("it collides"),
    }
}

/// Packs records into one request of the tree model.
fn pack(layout: Layout, records: &[Record]) -> (Vec<Tablet>, Vec<Excluded>) {
    let mut packer = Packer::new(layout);
    let mut draft = packer.draft(Instant::now());
    let excluded = records.iter().map(|r| taken(packer.add(&mut draft, r))).collect();
    let calls = draft.into_calls();
    (calls.into_iter().flat_map(|call| call.tablets).collect(), excluded)
}

fn names(tablet: &Tablet) -> Vec<&str> {
    tablet.columns.iter().map(|column| &*column.name).collect()
}

#[test]
fn samples_of_one_tick_are_a_row_and_rows_of_the_same_points_a_tablet() {
    let o = origin();
    let cycle = |offset, time| {
        record(&o, offset, &[(0, f(1.0), time), (1, f(2.0), time), (2, f(3.0), time + 2)])
    };
    let (tablets, _) = pack(layout(), &[cycle(1, 10), cycle(2, 20)]);
    assert_eq!(tablets.len(), 2);
    assert_eq!(&*tablets[0].target, "root.lineside.plant.`press-1`");
    assert_eq!(names(&tablets[0]), ["a", "a_q", "b", "b_q"]);
    assert_eq!(tablets[0].times, [10, 20]);
    assert_eq!(names(&tablets[1]), ["`c/1`", "`c/1_q`"]);
    assert_eq!(tablets[1].times, [12, 22]);
    assert!(tablets.iter().all(|tablet| tablet.null_flags().is_empty()));
}

#[test]
fn a_bad_sample_is_a_null_and_its_status() {
    let o = origin();
    let rows = [record(&o, 1, &[(0, f(1.5), 10)]), record(&o, 2, &[(0, None, 20)])];
    let (tablets, _) = pack(layout(), &rows);
    let [tablet] = &tablets[..] else { panic!("{tablets:?}") };
    assert_eq!(tablet.columns[0].values(), [1.5f32.to_be_bytes(), [0; 4]].concat());
    let status = StatusCode::BAD_TIMEOUT.0.to_be_bytes();
    assert_eq!(tablet.columns[1].values(), [[0; 4], status].concat());
    assert_eq!(tablet.null_flags(), [1, 0b10, 0]);
}

#[test]
fn a_point_that_was_only_bad_has_no_value_column_until_it_has_a_value() {
    let o = origin();
    let bad = record(&o, 1, &[(0, None, 10)]);
    let (tablets, _) = pack(layout(), std::slice::from_ref(&bad));
    assert_eq!(names(&tablets[0]), ["a_q"]);
    let (tablets, _) = pack(layout(), &[bad, record(&o, 2, &[(0, f(1.5), 20)])]);
    assert_eq!(names(&tablets[0]), ["a_q", "a"]);
    assert_eq!(tablets[0].null_flags(), [0, 1, 0b01]);
}

#[test]
fn without_quality_bad_samples_are_skipped() {
    let o = origin();
    let layout = Layout { quality: false, ..layout() };
    let (tablets, excluded) = pack(layout, &[record(&o, 1, &[(0, f(1.0), 10), (1, None, 10)])]);
    assert_eq!(names(&tablets[0]), ["a"]);
    assert_eq!(excluded[0].skipped, 1);
}

#[test]
fn the_last_of_two_samples_on_one_tick_wins() {
    let o = origin();
    let twice = record(&o, 1, &[(0, f(1.0), 10), (1, f(5.0), 10), (0, f(2.0), 10)]);
    let (tablets, excluded) = pack(layout(), &[twice]);
    assert_eq!(excluded[0].merged, 1);
    let values: Vec<_> = tablets
        .iter()
        .flat_map(|tablet| &tablet.columns)
        .filter(|column| &*column.name == "a")
        .map(|column| column.values().to_vec())
        .collect();
    assert_eq!(values, [2.0f32.to_be_bytes()]);
}

#[test]
fn a_value_for_a_place_that_the_request_has_goes_into_the_next_one() {
    let o = origin();
    let mut packer = Packer::new(layout());
    let mut draft = packer.draft(Instant::now());
    taken(packer.add(&mut draft, &record(&o, 1, &[(0, f(1.0), 10)])));
    let again = record(&o, 2, &[(0, f(2.0), 10)]);
    assert!(matches!(packer.add(&mut draft, &again), Packed::Collides));
    let mut next = packer.draft(Instant::now());
    assert_eq!(taken(packer.add(&mut next, &again)).replacing, 1);
    // Also when something older was sent in between.
    let old = record(&o, 3, &[(0, f(2.0), 5)]);
    let mut draft = packer.draft(Instant::now());
    assert_eq!(taken(packer.add(&mut draft, &old)).replacing, 0);
    let mut draft = packer.draft(Instant::now());
    assert_eq!(taken(packer.add(&mut draft, &record(&o, 4, &[(0, f(3.0), 10)]))).replacing, 1);
}

#[test]
fn out_of_order_samples_are_sorted_within_every_tablet() {
    let o = origin();
    let mixed = record(&o, 1, &[(0, f(3.0), 30), (0, f(1.0), 10), (0, f(2.0), 20)]);
    let (tablets, excluded) = pack(layout(), &[mixed, record(&o, 2, &[(0, f(0.5), 5)])]);
    assert_eq!(excluded[0].merged, 0);
    assert_eq!(
        tablets.iter().map(|t| t.times.clone()).collect::<Vec<_>>(),
        [vec![10, 20, 30], vec![5]]
    );
}

#[test]
fn live_samples_and_a_backlog_by_turns_make_one_tablet_each() {
    let o = origin();
    let one = |offset, time| record(&o, offset, &[(0, f(1.0), time)]);
    let (tablets, _) = pack(layout(), &[one(1, 1000), one(2, 10), one(3, 1001), one(4, 11)]);
    let times: Vec<_> = tablets.into_iter().map(|tablet| tablet.times).collect();
    assert_eq!(times, [vec![1000, 1001], vec![10, 11]]);
}

#[test]
fn another_type_is_another_tablet() {
    let o = origin();
    let rows = [
        record(&o, 1, &[(0, f(1.0), 10)]),
        record(&o, 2, &[(0, Some(Value::F64(2.0)), 20)]),
        record(&o, 3, &[(0, f(3.0), 30)]),
    ];
    let (tablets, _) = pack(layout(), &rows);
    let found: Vec<_> = tablets.iter().map(|t| (t.columns[0].of, t.times.clone())).collect();
    assert_eq!(found, [(DataType::Float, vec![10, 30]), (DataType::Double, vec![20])]);
}

#[test]
fn what_fits_no_column_is_refused_alone() {
    let o = origin();
    let row = [(0, Some(Value::U64(u64::MAX)), 10), (1, Some(Value::U64(7)), 10)];
    let (tablets, excluded) = pack(layout(), &[record(&o, 1, &row)]);
    assert_eq!(names(&tablets[0]), ["b", "b_q"]);
    let [refusal] = &excluded[0].refused[..] else { panic!("{excluded:?}") };
    assert_eq!(refusal.samples, [0]);
    assert!(refusal.message.contains("18446744073709551615"), "{}", refusal.message);
}

#[test]
fn every_type_of_value_has_a_column() {
    let o = origin();
    let bytes: Arc<[u8]> = vec![0, 255].into();
    let of = |value: Value, blobs| {
        let layout = Layout { blobs, quality: false, ..layout() };
        let (tablets, _) = pack(layout, &[record(&o, 1, &[(0, Some(value), 1)])]);
        (tablets[0].columns[0].of, tablets[0].columns[0].values().to_vec())
    };
    for (value, wanted) in [
        (Value::Bool(true), DataType::Boolean),
        (Value::I8(-1), DataType::Int32),
        (Value::I16(-1), DataType::Int32),
        (Value::I32(-1), DataType::Int32),
        (Value::U8(1), DataType::Int32),
        (Value::U16(1), DataType::Int32),
        (Value::U32(1), DataType::Int64),
        (Value::I64(-1), DataType::Int64),
        (Value::U64(1), DataType::Int64),
        (Value::F32(1.0), DataType::Float),
        (Value::F64(1.0), DataType::Double),
        (Value::String("é".into()), DataType::Text),
    ] {
        assert_eq!(of(value, true).0, wanted);
    }
    let (with, without) = (of(Value::Bytes(bytes.clone()), true), of(Value::Bytes(bytes), false));
    assert_eq!(with, (DataType::Blob, vec![0, 0, 0, 2, 0, 255]));
    assert_eq!(without, (DataType::Text, [&[0, 0, 0, 4][..], b"AP8="].concat()));
}

#[test]
fn a_table_has_a_request_for_each_tablet_and_tags() {
    let o = origin();
    let mut packer = Packer::new(table());
    let mut draft = packer.draft(Instant::now());
    let cycle = record(&o, 1, &[(0, f(1.0), 10), (2, f(3.0), 12)]);
    taken(packer.add(&mut draft, &cycle));
    let calls = draft.into_calls();
    assert_eq!(calls.len(), 2);
    let tablet = &calls[1].tablets[0];
    assert_eq!(&*tablet.target, "press-1");
    assert_eq!(names(tablet), ["namespace", "device", "c/1", "c/1_q"]);
    assert_eq!(calls[1].shares[0].samples.as_deref(), Some(&[1][..]));
}

#[test]
fn a_column_that_the_server_refused_is_not_sent_again_for_a_while() {
    let o = origin();
    let mut packer = Packer::new(layout());
    let now = Instant::now();
    let mut draft = packer.draft(now);
    let first = record(&o, 1, &[(0, f(1.0), 10)]);
    taken(packer.add(&mut draft, &first));
    let message = "it is an INT32".to_owned();
    let code = lineside_crds::diagnostics::Code::RecordRejected;
    let refused = Refused { reach: Reach::Column, missing: false, code, message };
    packer.note_refused(&Share { record: first, samples: None }, &refused, now);

    let second = record(&o, 2, &[(0, f(1.0), 20), (1, f(1.0), 20)]);
    let mut draft = packer.draft(now);
    let excluded = taken(packer.add(&mut draft, &second));
    assert_eq!(excluded.refused[0].samples, [0]);
    let mut draft = packer.draft(now + Duration::from_secs(61));
    let third = record(&o, 3, &[(0, f(1.0), 30), (1, f(1.0), 30)]);
    assert_eq!(taken(packer.add(&mut draft, &third)), Excluded::default());
}

#[test]
fn ticks_are_rounded_down_also_before_1970() {
    for (precision, time, tick) in [
        (Precision::Millis, 1_999_999, 1),
        (Precision::Millis, -1, -1),
        (Precision::Micros, 1_999, 1),
        (Precision::Nanos, -7, -7),
    ] {
        assert_eq!(precision.tick(time), tick);
    }
}

#[test]
fn the_time_of_a_sample_is_its_sources_unless_it_is_bad() {
    let o = origin();
    let mut batch = Batch::with_capacity(o, 1, TimeQuality::Synced, 1);
    batch.push(Sample {
        point: 0,
        value: Value::F32(1.0),
        status: StatusCode::GOOD,
        source_time: Some(7 * MS),
        agent_time: 9 * MS,
    });
    let id = RecordId { store: "s".into(), stream: 1, offset: 1, part: None };
    let (tablets, _) = pack(layout(), &[Record { id, batch: Arc::new(batch) }]);
    assert_eq!(tablets[0].times, [7]);
}

#[test]
fn rows_that_are_added_at_once_are_those_that_are_added_one_by_one() {
    let o = origin();
    let cells = |time: i64| -> Vec<(u32, Option<Value>, i64)> {
        let number = i32::try_from(time).unwrap();
        let b = (time % 3 != 0).then_some(Value::I32(number));
        vec![(0, f(1.5), time), (1, b, time), (2, Some(Value::String("x".into())), time)]
    };
    for layout in [layout(), table(), Layout { quality: false, ..layout() }] {
        // A record with several rows is a block, records of one row each are none.
        let all: Vec<_> = (1_i64..20).flat_map(cells).collect();
        let at_once = pack(layout.clone(), &[record(&o, 1, &all)]).0;
        let alone: Vec<_> = (1_i64..20).map(|t| record(&o, t.unsigned_abs(), &cells(t))).collect();
        assert_eq!(at_once, pack(layout, &alone).0);
    }
}

#[test]
fn the_schema_of_samples_is_made_whole_once_and_then_point_by_point() {
    let o = origin();
    let samples = [(0, f(1.0), 10), (1, None, 10), (2, Some(Value::Bool(true)), 12)];
    let share = Share { record: record(&o, 1, &samples), samples: None };
    let mut packer = Packer::new(layout());
    let device = "root.lineside.plant.`press-1`";
    assert_eq!(
        packer.schema(&share, false),
        [
            "create database root.lineside".to_owned(),
            format!(
                "create aligned timeseries {device}(a FLOAT, a_q INT32, b_q INT32, \
                 `c/1` BOOLEAN, `c/1_q` INT32)"
            ),
        ]
    );
    assert_eq!(packer.schema(&share, false), Vec::<String>::new());
    let alone = Share { samples: Some(vec![2]), ..share.clone() };
    assert_eq!(
        packer.schema(&alone, true),
        [
            format!("create aligned timeseries {device}(`c/1` BOOLEAN)"),
            format!("create aligned timeseries {device}(`c/1_q` INT32)"),
        ]
    );
    assert_eq!(packer.schema(&alone, true), Vec::<String>::new());

    let mut packer = Packer::new(table());
    assert_eq!(
        packer.schema(&share, false),
        [
            "create table if not exists \"press-1\"(\"namespace\" STRING tag, \"device\" STRING tag, \
          \"a\" FLOAT field, \"a_q\" INT32 field, \"b_q\" INT32 field, \"c/1\" BOOLEAN field, \
          \"c/1_q\" INT32 field)"
        ]
    );
    assert_eq!(
        packer.schema(&alone, true)[0],
        "alter table \"press-1\" add column if not exists \"c/1\" BOOLEAN field"
    );
}
