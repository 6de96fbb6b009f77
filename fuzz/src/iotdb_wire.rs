//! The IoTDB sink's view of a server's bytes: any bytes, cut anywhere, give the same frames; every
//! reader of an answer ends with a value or an error, and what it gives is not larger than a
//! bounded multiple of what came.

use bytes::BytesMut;
use lineside_sink_iotdb::wire::{
    LONGEST_FRAME, Shape, executed, fetched, first_status, frame, opened, properties, reply,
    statement_id, status,
};

/// Methods whose answers are read.
const METHODS: [&str; 4] =
    ["insertTablets", "openSession", "getProperties", "executeQueryStatementV2"];

/// One input: how it is cut, a method, then the bytes of a server.
pub fn run(data: &[u8]) {
    let &[step, method, ref server @ ..] = data else { return };
    let whole = frames(server, server.len().max(1));
    assert_eq!(frames(server, usize::from(step).max(1)), whole, "depends on how it is cut");
    for frame in &whole.0 {
        assert!(!frame.is_empty() && frame.len() <= LONGEST_FRAME);
        read(frame, METHODS[usize::from(method) % METHODS.len()]);
    }
    for types in [&["INT32", "TEXT", "BOOLEAN"][..], &["FLOAT", "DOUBLE", "INT64", "BLOB", "DATE"]] {
        let shape = Shape {
            names: (0..types.len()).map(|i| format!("c{i}")).collect(),
            types: types.iter().map(|of| (*of).to_owned()).collect(),
            ..Shape::default()
        };
        if let Ok(rows) = shape.read(server) {
            assert_eq!(rows.columns.len(), types.len());
            assert!(rows.columns.iter().all(|column| column.values.len() == rows.times.len()));
        }
    }
}

fn read(frame: &[u8], method: &str) {
    let Ok(answer) = reply(frame, method) else { return };
    let Ok(body) = answer.body else { return };
    if let Ok(found) = status(body.clone()) {
        assert!(found.message.len() <= frame.len() * 3 && found.parts.len() <= frame.len());
    }
    let _ = first_status(body.clone());
    let _ = statement_id(body.clone());
    let _ = opened(body.clone());
    let _ = properties(body.clone());
    let _ = fetched(body.clone());
    if let Ok(found) = executed(body) {
        for block in &found.blocks {
            let _ = found.shape.read(block);
        }
    }
}

/// The frames in order, and whether the end was an error.
fn frames(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut inbox = BytesMut::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(step) {
        inbox.extend_from_slice(piece);
        loop {
            match frame(&mut inbox) {
                Ok(Some(frame)) => found.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}
