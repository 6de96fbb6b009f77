//! The column of values. One type for all is the usual case and has no branch for each value.

use std::sync::Arc;

use lineside_core::Value;

use super::columns::bounded;
use crate::fields::{BadField, Reader, put_block};

const NULL: u8 = 0;

/// Values of several types: each has its own tag.
const MIXED: u8 = 0xFF;

const NAME: &str = "values";

fn tag(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => 1,
        Value::I8(_) => 2,
        Value::I16(_) => 3,
        Value::I32(_) => 4,
        Value::I64(_) => 5,
        Value::U8(_) => 6,
        Value::U16(_) => 7,
        Value::U32(_) => 8,
        Value::U64(_) => 9,
        Value::F32(_) => 10,
        Value::F64(_) => 11,
        Value::String(_) => 12,
        Value::Bytes(_) => 13,
    }
}

/// The bytes of a value of one numeric type; `None` for another.
macro_rules! bytes_of {
    ($number:ident) => {
        |value: &Value| match value {
            Value::$number(number) => Some(number.to_le_bytes()),
            _ => None,
        }
    };
}

pub(super) fn put(out: &mut Vec<u8>, values: &[Value]) {
    let (first, start) = (values.first().map_or(NULL, tag), out.len());
    out.push(first);
    let all_same = match first {
        2 => put_numbers(out, values, bytes_of!(I8)),
        3 => put_numbers(out, values, bytes_of!(I16)),
        4 => put_numbers(out, values, bytes_of!(I32)),
        5 => put_numbers(out, values, bytes_of!(I64)),
        6 => put_numbers(out, values, bytes_of!(U8)),
        7 => put_numbers(out, values, bytes_of!(U16)),
        8 => put_numbers(out, values, bytes_of!(U32)),
        9 => put_numbers(out, values, bytes_of!(U64)),
        10 => put_numbers(out, values, bytes_of!(F32)),
        11 => put_numbers(out, values, bytes_of!(F64)),
        _ => {
            values.iter().for_each(|value| put_value(out, value));
            values.iter().all(|value| tag(value) == first)
        }
    };
    if all_same {
        return;
    }
    out.truncate(start);
    out.push(MIXED);
    for value in values {
        out.push(tag(value));
        put_value(out, value);
    }
}

/// Appends the numbers if all are of one type; whether they are. What it leaves when they are not
/// is the caller's to remove.
fn put_numbers<const N: usize>(
    out: &mut Vec<u8>,
    values: &[Value],
    bytes: impl Fn(&Value) -> Option<[u8; N]>,
) -> bool {
    let start = out.len();
    out.resize(start + N * values.len(), 0);
    let (cells, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<N>();
    let mut all_same = true;
    for (cell, value) in cells.iter_mut().zip(values) {
        let number = bytes(value);
        all_same &= number.is_some();
        *cell = number.unwrap_or([0; N]);
    }
    all_same
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::I8(v) => out.push(v.cast_unsigned()),
        Value::I16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U8(v) => out.push(*v),
        Value::U16(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::String(v) => put_block(out, v.as_bytes()),
        Value::Bytes(v) => put_block(out, v),
    }
}

pub(super) fn read(reader: &mut Reader<'_>, samples: usize) -> Result<Vec<Value>, BadField> {
    let shape = reader.u8(NAME)?;
    match shape {
        NULL => Ok(vec![Value::Null; samples]),
        2 => numbers(reader, samples, |b| Value::I8(i8::from_le_bytes(b))),
        3 => numbers(reader, samples, |b| Value::I16(i16::from_le_bytes(b))),
        4 => numbers(reader, samples, |b| Value::I32(i32::from_le_bytes(b))),
        5 => numbers(reader, samples, |b| Value::I64(i64::from_le_bytes(b))),
        6 => numbers(reader, samples, |b| Value::U8(u8::from_le_bytes(b))),
        7 => numbers(reader, samples, |b| Value::U16(u16::from_le_bytes(b))),
        8 => numbers(reader, samples, |b| Value::U32(u32::from_le_bytes(b))),
        9 => numbers(reader, samples, |b| Value::U64(u64::from_le_bytes(b))),
        10 => numbers(reader, samples, |b| Value::F32(f32::from_le_bytes(b))),
        11 => numbers(reader, samples, |b| Value::F64(f64::from_le_bytes(b))),
        _ => {
            let mut values = bounded(reader, samples, NAME)?;
            for _ in 0..samples {
                let tag = if shape == MIXED { reader.u8(NAME)? } else { shape };
                values.push(value(reader, tag)?);
            }
            Ok(values)
        }
    }
}

fn numbers<const N: usize>(
    reader: &mut Reader<'_>,
    samples: usize,
    value: impl Fn([u8; N]) -> Value,
) -> Result<Vec<Value>, BadField> {
    let bytes = reader.bytes(samples.checked_mul(N).ok_or(BadField(NAME))?, NAME)?;
    let (cells, _) = bytes.as_chunks::<N>();
    Ok(cells.iter().map(|cell| value(*cell)).collect())
}

fn value(reader: &mut Reader<'_>, tag: u8) -> Result<Value, BadField> {
    Ok(match tag {
        NULL => Value::Null,
        1 => match reader.u8(NAME)? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            _ => return Err(BadField(NAME)),
        },
        2 => Value::I8(i8::from_le_bytes(reader.array(NAME)?)),
        3 => Value::I16(i16::from_le_bytes(reader.array(NAME)?)),
        4 => Value::I32(i32::from_le_bytes(reader.array(NAME)?)),
        5 => Value::I64(i64::from_le_bytes(reader.array(NAME)?)),
        6 => Value::U8(reader.u8(NAME)?),
        7 => Value::U16(u16::from_le_bytes(reader.array(NAME)?)),
        8 => Value::U32(u32::from_le_bytes(reader.array(NAME)?)),
        9 => Value::U64(u64::from_le_bytes(reader.array(NAME)?)),
        10 => Value::F32(f32::from_le_bytes(reader.array(NAME)?)),
        11 => Value::F64(f64::from_le_bytes(reader.array(NAME)?)),
        12 => Value::String(Arc::from(reader.text(NAME)?)),
        13 => Value::Bytes(Arc::from(reader.block(NAME)?)),
        _ => return Err(BadField(NAME)),
    })
}
