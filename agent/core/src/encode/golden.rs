//! Payloads against golden files (`testdata/encode`) and against an independent JSON parser.
//! `UPDATE=1 cargo test -p lineside-core encode` writes the files anew; read the difference.

use std::path::Path;
use std::sync::Arc;

use lineside_crds::model::ObjectKey;
use serde_json::Value as Json;

use super::*;
use crate::batch::{Batch, Origin, Sample};
use crate::clock::{TimeQuality, UnixNanos};
use crate::status::StatusCode;
use crate::value::Value;

const BASE: UnixNanos = 1_795_601_789_123_456_789;

fn origin(points: &[&str]) -> Arc<Origin> {
    let points: Vec<Arc<str>> = points.iter().map(|p| (*p).into()).collect();
    let key = ObjectKey::new("plant", "press-1");
    Arc::new(Origin::new(key, None, points.into(), Vec::new().into()))
}

fn batch(points: &[&str]) -> Batch {
    Batch::with_capacity(origin(points), 0, TimeQuality::Synced, points.len())
}

fn record(batch: Batch) -> Record {
    let store = "00112233445566778899aabbccddeeff".into();
    Record { id: RecordId { store, stream: 1, offset: 42, part: None }, batch: Arc::new(batch) }
}

fn options(shape: Shape) -> Options {
    Options { shape, int64_as_string: false }
}

fn encode(record: &Record, options: Options) -> Vec<(Message, Vec<u8>)> {
    let mut messages = Messages::new(record.clone(), options);
    let mut out = Vec::new();
    let skipped = messages.skipped();
    let all: Vec<_> =
        std::iter::from_fn(|| messages.next_into(&mut out).map(|m| (m, out.clone()))).collect();
    // Holds for every record of every test here.
    let sent: u64 = all.iter().map(|(m, _)| m.samples).sum();
    assert_eq!((sent + skipped, messages.skipped()), (record.batch.len() as u64, skipped));
    assert!(all.iter().all(|(m, _)| m.samples > 0));
    all
}

fn skipped(record: &Record, shape: Shape) -> u64 {
    Messages::new(record.clone(), options(shape)).skipped()
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/encode").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{name} differs from the golden file");
}

/// One payload per line.
fn check_lines(name: &str, messages: &[(Message, Vec<u8>)]) {
    let mut text = String::new();
    for (_, payload) in messages {
        text.push_str(std::str::from_utf8(payload).unwrap());
        text.push('\n');
    }
    check(name, &text);
}

fn parse(payload: &[u8]) -> Json {
    serde_json::from_slice(payload).unwrap()
}

/// What the consumer must read for a value.
fn expected(value: &Value, int64_as_string: bool) -> Json {
    let float = |v: f64, text: String| match v {
        v if v.is_nan() => Json::from("NaN"),
        v if v.is_infinite() => Json::from(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        // The standard library's text reads back as the same value of the same width.
        _ => text.parse::<f64>().unwrap().into(),
    };
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => (*v).into(),
        Value::I8(v) => (*v).into(),
        Value::I16(v) => (*v).into(),
        Value::I32(v) => (*v).into(),
        Value::I64(v) if int64_as_string => v.to_string().into(),
        Value::I64(v) => (*v).into(),
        Value::U8(v) => (*v).into(),
        Value::U16(v) => (*v).into(),
        Value::U32(v) => (*v).into(),
        Value::U64(v) if int64_as_string => v.to_string().into(),
        Value::U64(v) => (*v).into(),
        Value::F32(v) => float(f64::from(*v), v.to_string()),
        Value::F64(v) => float(*v, v.to_string()),
        Value::String(v) => v.as_ref().into(),
        Value::Bytes(v) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(v).into()
        }
    }
}

/// Equal, but for the last digit of a float, which the JSON parser may round the other way;
/// `every_float_reads_back_as_itself` is exact.
fn same(read: &Json, expected: &Json) -> bool {
    let is_float = |json: &Json| json.is_f64();
    match (read.as_f64(), expected.as_f64()) {
        (Some(a), Some(b)) if is_float(read) || is_float(expected) => {
            (a - b).abs() <= b.abs() * f64::EPSILON
        }
        _ => read == expected,
    }
}

/// Reads JSON v1 as a consumer does and compares every field with the samples.
fn check_json(record: &Record, messages: &[(Message, Vec<u8>)], int64_as_string: bool) {
    let mut samples = record.batch.iter();
    for (number, (message, payload)) in messages.iter().enumerate() {
        assert!(payload.len() <= MAX_BYTES || messages.len() == record.batch.len());
        let json = parse(payload);
        let part = if messages.len() > 1 { format!(".{number}") } else { String::new() };
        assert_eq!(json["id"], format!("{}{part}", record.id));
        assert_eq!(message.part, (messages.len() > 1).then_some(number as u32));
        assert_eq!(json["device"], "plant/press-1");
        let points = json["points"].as_array().unwrap();
        assert!(!points.is_empty() && points.len() <= MAX_POINTS);
        let taken: Vec<_> = samples.by_ref().take(points.len()).collect();
        let base = taken.iter().map(|s| s.time()).min().unwrap();
        let mut time = Vec::new();
        write_rfc3339(base, &mut time);
        assert_eq!(json["time"].as_str().unwrap().as_bytes(), time);
        for (point, sample) in points.iter().zip(taken) {
            assert_eq!(point["name"], **record.batch.origin().point(sample.point).unwrap());
            let expected = expected(sample.value, int64_as_string);
            assert!(same(&point["value"], &expected), "{point} is not {expected}");
            assert_eq!(point["quality"], sample.status.severity());
            let status = point.get("status").map_or(0, |s| s.as_u64().unwrap());
            assert_eq!(status, u64::from(sample.status.0));
            let dt = point.get("dt").map_or(0, |dt| dt.as_i64().unwrap());
            assert_eq!(dt, sample.time() - base);
            assert!(point.get("status") != Some(&Json::from(0)));
            assert!(point.get("dt") != Some(&Json::from(0)));
        }
    }
    assert_eq!(samples.len(), 0, "samples left out");
}

fn every_type() -> Record {
    let values = [
        Value::Bool(true),
        Value::Bool(false),
        Value::I8(i8::MIN),
        Value::I16(i16::MIN),
        Value::I32(i32::MIN),
        Value::I64(i64::MIN),
        Value::U8(u8::MAX),
        Value::U16(u16::MAX),
        Value::U32(u32::MAX),
        Value::U64(u64::MAX),
        Value::F32(20.11),
        Value::F32(1.0e-30),
        Value::F64(20.11),
        Value::F64(f64::MAX),
        Value::F64(-0.0),
        Value::String("plain".into()),
        Value::Bytes(vec![0, 1, 2, 0xFE, 0xFF].into()),
    ];
    let names: Vec<String> =
        values.iter().enumerate().map(|(i, v)| format!("{}_{i}", v.type_name())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut batch = batch(&names);
    for (i, value) in values.into_iter().enumerate() {
        batch.push_good(i as u32, value, BASE);
    }
    record(batch)
}

#[test]
fn json_carries_every_type() {
    let record = every_type();
    let messages = encode(&record, options(Shape::Json));
    check_lines("json-types.json", &messages);
    check_json(&record, &messages, false);
}

#[test]
fn json_carries_64_bit_integers_as_strings_on_request() {
    let record = every_type();
    let strings = Options { shape: Shape::Json, int64_as_string: true };
    let messages = encode(&record, strings);
    check_lines("json-int64-strings.json", &messages);
    check_json(&record, &messages, true);
}

#[test]
fn json_carries_quality_status_and_time_of_every_point() {
    let mut batch = batch(&["good", "bad", "uncertain", "odd", "late", "early"]);
    batch.push_good(0, Value::F32(21.5), BASE);
    batch.push_bad(1, StatusCode::BAD_TIMEOUT, BASE + 1);
    let mut push = |point, status, source_time| {
        let (value, agent_time) = (Value::U16(7), BASE + 5);
        batch.push(Sample { point, value, status, source_time, agent_time });
    };
    push(2, StatusCode::UNCERTAIN_LAST_USABLE_VALUE, None);
    push(3, StatusCode(0x0000_0400), None);
    push(4, StatusCode::GOOD, Some(BASE + 86_400_000_000_000));
    push(5, StatusCode::GOOD, Some(BASE - 1_000_000_001));
    let record = record(batch);
    let messages = encode(&record, options(Shape::Json));
    check_lines("json-quality.json", &messages);
    check_json(&record, &messages, false);
}

fn strings_and_non_finite() -> Record {
    let mut batch = batch(&["text", "nan", "inf", "minus_inf", "nan32", "empty"]);
    let text = "\"quoted\" \\ / \u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f} é € 😀 \u{2028}";
    batch.push_good(0, Value::String(text.into()), BASE);
    batch.push_good(1, Value::F64(f64::NAN), BASE);
    batch.push_good(2, Value::F64(f64::INFINITY), BASE);
    batch.push_good(3, Value::F32(f32::NEG_INFINITY), BASE);
    batch.push_good(4, Value::F32(f32::NAN), BASE);
    batch.push_good(5, Value::Bytes(Vec::new().into()), BASE);
    record(batch)
}

#[test]
fn json_escapes_strings_and_names_non_finite_floats() {
    let record = strings_and_non_finite();
    let messages = encode(&record, options(Shape::Json));
    check_lines("json-escapes.json", &messages);
    check_json(&record, &messages, false);
}

#[test]
fn json_is_split_after_a_thousand_points() {
    for (points, parts) in [(1_000, 1), (1_001, 2), (2_000, 2), (2_001, 3)] {
        let mut batch = batch(&["p"]);
        for i in 0..points {
            // The second message has an earliest time of its own.
            batch.push_good(0, Value::U32(i), BASE + i64::from(i / 1_000));
        }
        let record = record(batch);
        let messages = encode(&record, options(Shape::Json));
        assert_eq!(messages.len(), parts);
        check_json(&record, &messages, false);
        if points == 1_001 {
            check_lines("json-split.json", &messages);
        }
    }
}

#[test]
fn json_is_split_before_256_kib_and_a_larger_point_travels_alone() {
    let text = |len: usize| Value::String("x".repeat(len).into());
    let mut even = batch(&["p"]);
    for i in 0..600 {
        // Times fall, so every message's own earliest time is its last point's.
        even.push_good(0, text(1_000), BASE - i);
    }
    let record_of_even = record(even);
    let messages = encode(&record_of_even, options(Shape::Json));
    assert_eq!(messages.len(), 3);
    check_json(&record_of_even, &messages, false);

    let mut huge = batch(&["p"]);
    for _ in 0..2 {
        huge.push_good(0, text(MAX_BYTES + 1), BASE);
    }
    let record_of_huge = record(huge);
    let messages = encode(&record_of_huge, options(Shape::Json));
    assert_eq!(messages.len(), 2);
    check_json(&record_of_huge, &messages, false);
}

#[test]
fn flat_json_has_good_values_and_one_message_per_millisecond() {
    let mut batch = batch(&["a", "b", "c", "d", "timestamp"]);
    batch.push_good(0, Value::F32(20.11), BASE);
    batch.push_bad(1, StatusCode::BAD_TIMEOUT, BASE);
    batch.push(Sample {
        point: 2,
        value: Value::U8(1),
        status: StatusCode::UNCERTAIN_LAST_USABLE_VALUE,
        source_time: None,
        agent_time: BASE,
    });
    batch.push_good(3, Value::U64(u64::MAX), BASE + 2_000_000);
    batch.push_good(4, Value::Bool(true), BASE + 1);
    // The same point twice in one millisecond: none of them is left out.
    batch.push_good(0, Value::F32(20.12), BASE + 2);
    let record = record(batch);
    let messages = encode(&record, options(Shape::FlatJson));
    check_lines("flat.json", &messages);
    let parts: Vec<_> = messages.iter().map(|(m, _)| m.part).collect();
    assert_eq!(parts, [Some(0), Some(1), Some(2)]);
    let parsed: Vec<Json> = messages.iter().map(|(_, payload)| parse(payload)).collect();
    assert_eq!(parsed[0]["timestamp"], 1_795_601_789_123_i64);
    assert_eq!((&parsed[0]["a"], &parsed[0]["_timestamp"]), (&20.11.into(), &true.into()));
    assert_eq!(parsed[1]["a"], 20.12);
    assert_eq!(parsed[2]["d"], u64::MAX);
    assert!(parsed.iter().all(|p| p.get("b").is_none() && p.get("c").is_none()));
}

#[test]
fn flat_json_has_no_key_twice_whatever_the_points_are_called() {
    let names = ["timestamp", "_timestamp", "__timestamp", "timestamp_", "_time", "_"];
    let mut batch = batch(&names);
    for i in 0..names.len() as u32 {
        batch.push_good(i, Value::U32(i), BASE);
    }
    let messages = encode(&record(batch), options(Shape::FlatJson));
    let [(message, payload)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message.samples, names.len() as u64);
    let text = std::str::from_utf8(payload).unwrap();
    assert_eq!(
        text,
        "{\"timestamp\":1795601789123,\"_timestamp\":0,\"__timestamp\":1,\"___timestamp\":2,\
         \"timestamp_\":3,\"_time\":4,\"_\":5}"
    );
    // A parser keeps one of two equal keys, so none was equal.
    assert_eq!(parse(payload).as_object().unwrap().len(), names.len() + 1);
}

#[test]
fn messages_say_how_many_samples_they_hold_and_how_many_have_no_place() {
    let mut batch = batch(&["good", "bad", "uncertain"]);
    batch.push_good(0, Value::U8(1), BASE);
    batch.push_bad(1, StatusCode::BAD_TIMEOUT, BASE);
    batch.push(Sample {
        point: 2,
        value: Value::U8(2),
        status: StatusCode::UNCERTAIN_LAST_USABLE_VALUE,
        source_time: None,
        agent_time: BASE,
    });
    batch.push_good(0, Value::U8(3), BASE + 1_000_000);
    let record = record(batch);
    for (shape, messages, no_place) in
        [(Shape::Json, &[4][..], 0), (Shape::FlatJson, &[1, 1], 2), (Shape::Value, &[1, 1, 1], 1)]
    {
        let found: Vec<_> =
            encode(&record, options(shape)).iter().map(|(m, _)| m.samples).collect();
        assert_eq!((&found[..], skipped(&record, shape)), (messages, no_place), "{shape:?}");
    }
}

/// The part of a message, and the samples in it.
type PartSamples = (Option<u32>, &'static [u32]);

#[test]
fn the_samples_of_a_message_are_known_afterwards() {
    let mut batch = batch(&["a", "b"]);
    batch.push_good(0, Value::U8(1), BASE + 1_000_000);
    batch.push_bad(1, StatusCode::BAD_TIMEOUT, BASE);
    batch.push_good(1, Value::U8(3), BASE);
    let record = record(batch);
    let expected: [(Shape, &[PartSamples]); 3] = [
        (Shape::Json, &[(None, &[0, 1, 2])]),
        (Shape::FlatJson, &[(Some(0), &[2]), (Some(1), &[0])]),
        (Shape::Value, &[(Some(0), &[0]), (Some(1), &[2])]),
    ];
    for (shape, messages) in expected {
        for (part, samples) in messages {
            assert_eq!(samples_of(&record, options(shape), *part), *samples, "{shape:?} {part:?}");
        }
        assert_eq!(samples_of(&record, options(shape), Some(9)), [] as [u32; 0]);
    }
}

#[test]
fn a_part_that_is_sent_again_keeps_its_identity() {
    let mut one = batch(&["a"]);
    one.push_good(0, Value::U8(1), BASE);
    let mut record = record(one);
    record.id.part = Some(3);
    let id = |part| {
        let mut text = Vec::new();
        write_id(&record.id, part, &mut text);
        String::from_utf8(text).unwrap()
    };
    assert_eq!(id(None), record.id.to_string());
    assert!(id(None).ends_with("/1/42.3"), "{}", id(None));
    assert!(id(Some(1)).ends_with("/1/42.3.1"), "{}", id(Some(1)));
}

#[test]
fn flat_json_carries_every_type_in_one_message() {
    let record = every_type();
    let messages = encode(&record, options(Shape::FlatJson));
    check_lines("flat-types.json", &messages);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0.part, None);
    let json = parse(&messages[0].1);
    for sample in record.batch.iter() {
        let name = record.batch.origin().point(sample.point).unwrap();
        assert!(same(&json[&**name], &expected(sample.value, false)), "{name}: {json}");
    }
}

#[test]
fn flat_json_is_split_like_json() {
    let names: Vec<String> = (0..2_500).map(|i| format!("p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut many = batch(&names);
    let mut large = batch(&names);
    for i in 0..2_500 {
        many.push_good(i, Value::U32(i), BASE);
        large.push_good(i, Value::String("y".repeat(1_000).into()), BASE);
    }
    for (batch, count) in [(many, 3), (large, 10)] {
        let record = record(batch);
        let messages = encode(&record, options(Shape::FlatJson));
        assert_eq!(messages.len(), count);
        let mut points = 0;
        for (number, (message, payload)) in messages.iter().enumerate() {
            assert_eq!(message.part, Some(number as u32));
            assert!(payload.len() <= MAX_BYTES);
            points += parse(payload).as_object().unwrap().len() - 1;
        }
        assert_eq!(points, 2_500);
    }
}

#[test]
fn value_has_one_message_per_point_and_is_raw_for_strings_and_bytes() {
    let mut text = String::new();
    for record in [every_type(), strings_and_non_finite()] {
        for (message, payload) in encode(&record, options(Shape::Value)) {
            let name = record.batch.origin().point(message.point.unwrap()).unwrap();
            text.push_str(&format!("{name}\t{}\n", payload.escape_ascii()));
        }
    }
    check("value.txt", &text);
}

#[test]
fn value_has_nothing_for_bad_and_numbers_only_what_it_has() {
    let mut batch = batch(&["bad", "good"]);
    batch.push_bad(0, StatusCode::BAD_TIMEOUT, BASE);
    batch.push_good(1, Value::U8(3), BASE);
    let only = Message { part: None, point: Some(1), samples: 1 };
    assert_eq!(encode(&record(batch), options(Shape::Value)), [(only, b"3".to_vec())]);
}

#[test]
fn a_record_of_bad_samples_has_a_message_in_json_only() {
    let mut batch = batch(&["a"]);
    batch.push_bad(0, StatusCode::BAD_TIMEOUT, BASE);
    let record = record(batch);
    assert_eq!(encode(&record, options(Shape::Json)).len(), 1);
    assert_eq!(encode(&record, options(Shape::FlatJson)), []);
    assert_eq!(encode(&record, options(Shape::Value)), []);
}

#[test]
fn every_float_reads_back_as_itself() {
    // The JSON parser of the other tests rounds in the last digit; that of the standard library
    // is exact, and Value is the text of JSON v1 alone.
    let read = |payload: &[u8]| std::str::from_utf8(payload).unwrap().trim_matches('"').to_owned();
    // A step that is odd visits every bit pattern of an f32 before it repeats one.
    let mut bits = 1_u32;
    for _ in 0..100_000 {
        bits = bits.wrapping_add(0x9E37_79B9);
        let single = f32::from_bits(bits);
        let double = f64::from_bits((u64::from(bits) << 32) | u64::from(bits.rotate_left(7)));
        let mut batch = batch(&["f"]);
        batch.push_good(0, Value::F32(single), BASE);
        batch.push_good(0, Value::F64(double), BASE);
        let messages = encode(&record(batch), options(Shape::Value));
        let back: f32 = read(&messages[0].1).parse().unwrap();
        assert!(back.to_bits() == bits || (back.is_nan() && single.is_nan()));
        let back: f64 = read(&messages[1].1).parse().unwrap();
        assert!(back.to_bits() == double.to_bits() || (back.is_nan() && double.is_nan()));
    }
}
