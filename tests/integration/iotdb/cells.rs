//! Values of every type, at their ends.

use lineside_sink_iotdb::wire::{Cell, DataType};

/// A cell as the oracle's script takes it.
pub fn text(cell: &Cell<'_>) -> Option<String> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Boolean(value) => value.to_string(),
        Cell::Int32(value) => value.to_string(),
        Cell::Int64(value) | Cell::Timestamp(value) => value.to_string(),
        Cell::Float(value) => format!("{:08x}", value.to_bits()),
        Cell::Double(value) => format!("{:016x}", value.to_bits()),
        Cell::Text(value) | Cell::String(value) => (*value).to_owned(),
        Cell::Date(day) => format!("{:04}-{:02}-{:02}", day / 10_000, day / 100 % 100, day % 100),
        Cell::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// For each type values at its ends, and a null.
pub fn extremes() -> Vec<(DataType, Vec<Cell<'static>>)> {
    vec![
        (DataType::Boolean, vec![Cell::Boolean(true), Cell::Boolean(false)]),
        (DataType::Int32, [i32::MIN, -1, 0, i32::MAX].map(Cell::Int32).to_vec()),
        (DataType::Int64, [i64::MIN, -1, 0, i64::MAX].map(Cell::Int64).to_vec()),
        (
            DataType::Float,
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE, f32::MAX]
                .map(Cell::Float)
                .to_vec(),
        ),
        (
            DataType::Double,
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, f64::MAX]
                .map(Cell::Double)
                .to_vec(),
        ),
        (
            DataType::Text,
            ["", "plain", "Größe 温度 \u{1F525}", "a\0b\n`'\""].map(Cell::Text).to_vec(),
        ),
        (DataType::Timestamp, [i64::MIN, 0, i64::MAX].map(Cell::Timestamp).to_vec()),
        (DataType::Date, [10_000_101, 20_260_229 - 1, 99_991_231].map(Cell::Date).to_vec()),
        (DataType::Blob, vec![Cell::Blob(b""), Cell::Blob(&[0, 255, 128]), Cell::Blob(b"\n")]),
        (DataType::String, ["", "é", "\u{10FFFF}"].map(Cell::String).to_vec()),
    ]
}
