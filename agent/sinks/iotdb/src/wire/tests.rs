use proptest::prelude::*;

use super::thrift::{Type, Writer};
use super::*;

/// A frame as a server would send it: the result of `method` is a struct with these fields.
fn answer(method: &str, sequence: i32, fields: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut writer = Writer::call(&mut out, method, sequence);
    writer.field(0, Type::Struct);
    fields(&mut writer);
    writer.stop();
    writer.stop();
    writer.finish();
    let mut frame = frame(&mut out).unwrap().unwrap().to_vec();
    // The fourth byte is the message's type: a call becomes a reply.
    frame[3] = 2;
    frame
}

fn put_status(w: &mut Writer<'_>, code: i32, parts: &[i32]) {
    w.field(1, Type::I32);
    w.i32(code);
    w.field(2, Type::Binary);
    w.binary(b"why");
    if !parts.is_empty() {
        w.field(3, Type::List);
        w.list(Type::Struct, parts.len());
        for part in parts {
            put_status(w, *part, &[]);
            w.stop();
        }
    }
}

fn body<'a>(frame: &'a [u8], method: &str) -> thrift::Reader<'a> {
    reply(frame, method).unwrap().body.unwrap()
}

#[test]
fn a_tablet_is_packed_by_columns_with_flags_of_nulls() {
    // The bytes that IoTDB's Python client sends for the same tablet.
    let mut temperature = Column::new("temp".into(), DataType::Double, Category::Field);
    let mut running = Column::new("run".into(), DataType::Boolean, Category::Field);
    for (value, runs) in [(21.5, Cell::Boolean(true)), (22.5, Cell::Null)] {
        temperature.push(Cell::Double(value)).unwrap();
        running.push(runs).unwrap();
    }
    let columns = vec![temperature, running];
    let tablet = Tablet { target: "root.plant.dev1".into(), times: vec![1, 2], columns };
    assert_eq!(tablet.null_flags(), [0, 1, 2]);
    let mut out = BytesMut::new();
    insert_tablet(&mut out, 7, 9, &tablet, false);
    let values =
        [&21.5f64.to_be_bytes()[..], &22.5f64.to_be_bytes()[..], &[1, 0], &[0, 1, 2]].concat();
    let at = out.windows(values.len()).position(|window| window == values);
    assert!(at.is_some(), "{out:02x?}");
    let length = u32::from_be_bytes(*out.first_chunk().unwrap()) as usize;
    assert_eq!(length, out.len() - 4);
}

#[test]
fn the_bitmap_of_nulls_covers_all_rows_and_one_more() {
    for rows in [1, 7, 8, 9, 16] {
        let mut column = Column::new("a".into(), DataType::Int32, Category::Field);
        for _ in 1..rows {
            column.push(Cell::Int32(5)).unwrap();
        }
        column.push_null();
        let times = (0..rows).collect();
        let tablet = Tablet { target: "root.d".into(), times, columns: vec![column] };
        let flags = tablet.null_flags();
        assert_eq!(flags.len() as i64, 1 + rows / 8 + 1);
        let last = (rows - 1) as usize;
        assert_eq!(flags[1 + last / 8], 1 << (last % 8), "{rows}");
    }
}

#[test]
fn a_value_of_another_type_is_refused_and_leaves_no_trace() {
    let mut column = Column::new("a".into(), DataType::Int32, Category::Field);
    let error = column.push(Cell::Int64(5)).unwrap_err();
    assert_eq!(error, TypeMismatch { column: DataType::Int32, cell: DataType::Int64 });
    assert_eq!((column.rows(), column.values().len()), (0, 0));
}

#[test]
fn an_answer_belongs_to_its_method() {
    let frame = answer("insertTablet", 3, |w| put_status(w, 200, &[]));
    let found = reply(&frame, "insertTablet").unwrap();
    assert_eq!(found.sequence, 3);
    assert_eq!(status(found.body.unwrap()).unwrap().code, 200);
    assert!(reply(&frame, "insertTablets").is_err());
}

#[test]
fn the_parts_of_a_status_are_read() {
    let frame = answer("insertTablets", 1, |w| put_status(w, 302, &[200, 507]));
    let found = status(body(&frame, "insertTablets")).unwrap();
    assert_eq!(found.message, "why");
    assert_eq!(found.parts.iter().map(|part| part.code).collect::<Vec<_>>(), [200, 507]);
}

#[test]
fn a_status_without_a_code_is_none() {
    let frame = answer("insertTablet", 1, |_| {});
    assert_eq!(status(body(&frame, "insertTablet")), Err(Malformed("a status without a code")));
}

#[test]
fn what_a_later_release_adds_is_passed_over() {
    let frame = answer("openSession", 1, |w| {
        w.field(99, Type::Map);
        w.texts(&[("a", "b")]);
        w.field(1, Type::Struct);
        put_status(w, 200, &[]);
        w.stop();
        w.field(2, Type::I32);
        w.i32(2);
        w.field(3, Type::I64);
        w.i64(77);
    });
    let found = opened(body(&frame, "openSession")).unwrap();
    assert_eq!((found.session, found.protocol, found.status.code), (Some(77), 2, 200));
}

#[test]
fn a_length_is_held_against_what_is_there() {
    // A list of two thousand million statuses in a frame of some bytes.
    let frame = answer("insertTablets", 1, |w| {
        w.field(1, Type::I32);
        w.i32(302);
        w.field(3, Type::List);
        w.list(Type::Struct, usize::MAX);
    });
    assert!(status(body(&frame, "insertTablets")).is_err());
    let mut inbox = BytesMut::from(&[0x7f, 0xff, 0xff, 0xff, 0][..]);
    assert_eq!(super::frame(&mut inbox), Err(Malformed("a frame's length")));
}

#[test]
fn a_frame_waits_until_it_is_whole() {
    let mut inbox = BytesMut::from(&[0, 0, 0, 2, 5][..]);
    assert_eq!(super::frame(&mut inbox), Ok(None));
    inbox.extend_from_slice(&[6, 7]);
    assert_eq!(super::frame(&mut inbox).unwrap().unwrap(), [5, 6][..]);
    assert_eq!(inbox, [7][..]);
}

/// A block of three rows: INT32 with a null, BOOLEAN with one, a run of a TEXT.
fn block() -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(3i32.to_be_bytes());
    out.extend([1, 0, 5]);
    out.extend(3i32.to_be_bytes());
    out.extend([2, 1, 0, 4]);
    out.push(0);
    for time in [10i64, 20, 30] {
        out.extend(time.to_be_bytes());
    }
    out.extend([1, 0b0100_0000]);
    out.extend(7i32.to_be_bytes());
    out.extend((-9i32).to_be_bytes());
    out.extend([1, 0b0010_0000, 0b1000_0000]);
    out.extend([3, 0]);
    out.extend(2i32.to_be_bytes());
    out.extend(b"on");
    out
}

fn shape() -> Shape {
    Shape {
        names: ["n", "r", "s"].map(str::to_owned).to_vec(),
        types: ["INT32", "BOOLEAN", "TEXT"].map(str::to_owned).to_vec(),
        ..Shape::default()
    }
}

#[test]
fn a_block_is_read_with_its_nulls_and_runs() {
    let rows = shape().read(&block()).unwrap();
    assert_eq!(rows.times, [10, 20, 30]);
    let values: Vec<_> = rows.columns.into_iter().map(|column| column.values).collect();
    let on = Some(b"on".to_vec());
    assert_eq!(
        values,
        [
            ColumnValues::Int32(vec![Some(7), None, Some(-9)]),
            ColumnValues::Boolean(vec![Some(true), Some(false), None]),
            ColumnValues::Binary(vec![on.clone(), on.clone(), on]),
        ]
    );
}

#[test]
fn both_releases_say_where_a_column_is() {
    // 2.0: by number; the time may be a column of its own.
    let newer = Shape {
        names: ["s", "time", "n"].map(str::to_owned).to_vec(),
        types: ["TEXT", "TIMESTAMP", "INT32"].map(str::to_owned).to_vec(),
        timeless: true,
        places: Some(vec![2, -1, 0]),
        ..Shape::default()
    };
    let rows = newer.read(&block()).unwrap();
    assert_eq!(rows.columns[1].values, ColumnValues::Int64(vec![Some(10), Some(20), Some(30)]));
    assert_eq!(rows.columns[2].values, ColumnValues::Int32(vec![Some(7), None, Some(-9)]));
    assert!(rows.times.is_empty());
    // 1.3: by name.
    let older = Shape {
        names: ["s", "n"].map(str::to_owned).to_vec(),
        types: ["TEXT", "INT32"].map(str::to_owned).to_vec(),
        by_name: vec![("n".to_owned(), 0), ("s".to_owned(), 2)],
        ..Shape::default()
    };
    let rows = older.read(&block()).unwrap();
    assert_eq!(rows.columns[1].values, ColumnValues::Int32(vec![Some(7), None, Some(-9)]));
}

#[test]
fn a_run_cannot_stand_for_more_values_than_fit() {
    let mut block = Vec::new();
    block.extend(1i32.to_be_bytes());
    block.push(1);
    block.extend(i32::MAX.to_be_bytes());
    block.extend([4, 4]);
    block.extend([0; 64]);
    assert_eq!(shape().read(&block), Err(Malformed("a block's rows")));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_fail_otherwise_than_by_an_error(bytes: Vec<u8>) {
        for method in ["insertTablet", "openSession", "executeQueryStatementV2"] {
            let mut frame = answer(method, 1, |_| {});
            // Behind the head, whose end is the sequence number and the field of the result.
            frame.truncate(8 + method.len() + 4 + 3);
            frame.extend(&bytes);
            let body = body(&frame, method);
            let _ = status(body.clone());
            let _ = opened(body.clone());
            let _ = properties(body.clone());
            let _ = fetched(body.clone());
            let _ = first_status(body.clone());
            let _ = executed(body);
        }
        let _ = shape().read(&bytes);
        let mut inbox = BytesMut::from(&*bytes);
        let _ = super::frame(&mut inbox);
        let _ = reply(&bytes, "insertTablet");
    }

    #[test]
    fn no_change_of_a_block_makes_a_reader_fail_otherwise(at: usize, to: u8) {
        let mut block = block();
        let length = block.len();
        block[at % length] = to;
        let _ = shape().read(&block);
    }
}
