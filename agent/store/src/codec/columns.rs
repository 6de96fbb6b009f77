//! Columns of a batch. Every reader takes the number of samples, which its caller has bounded,
//! and gives exactly so many entries.

use std::sync::Arc;

use lineside_core::{Batch, StatusCode, UnixNanos, Value};

use crate::fields::{BadField, Reader, put_block, put_signed, put_varint};

/// Shapes of the points column.
const DENSE: u8 = 0;
const STEPS: u8 = 1;

/// Value column of several types: each value has its own tag.
const MIXED: u8 = 0xFF;

/// Shapes of the status column.
const ALL_GOOD: u8 = 0;
const RUNS: u8 = 1;

/// Shapes of the source time column.
const NONE: u8 = 0;
const EVERY: u8 = 1;
const SOME: u8 = 2;

pub(super) fn put_points(out: &mut Vec<u8>, points: impl Iterator<Item = u32> + Clone) {
    if points.clone().enumerate().all(|(i, p)| i == p as usize) {
        return out.push(DENSE);
    }
    out.push(STEPS);
    // The next point in order costs one byte.
    let mut expected = 0i64;
    for point in points {
        put_signed(out, i64::from(point) - expected);
        expected = i64::from(point) + 1;
    }
}

pub(super) fn points(reader: &mut Reader<'_>, samples: usize) -> Result<Vec<u32>, BadField> {
    match reader.u8("points")? {
        DENSE => Ok((0..samples as u32).collect()),
        STEPS => {
            let mut points = bounded(reader, samples, 1, "points")?;
            let mut expected = 0i64;
            for _ in 0..samples {
                let point = expected.checked_add(reader.signed("points")?);
                let point = point.and_then(|p| u32::try_from(p).ok()).ok_or(BadField("points"))?;
                expected = i64::from(point) + 1;
                points.push(point);
            }
            Ok(points)
        }
        _ => Err(BadField("points")),
    }
}

/// A vector for `samples` entries that take at least `size` bytes each, so that what is allocated
/// is bounded by what is there.
fn bounded<T>(
    reader: &Reader<'_>,
    samples: usize,
    size: usize,
    name: &'static str,
) -> Result<Vec<T>, BadField> {
    if reader.remaining() / size < samples {
        return Err(BadField(name));
    }
    Ok(Vec::with_capacity(samples))
}

fn tag(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
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

/// Fewest bytes of a value of this tag.
fn least_bytes(tag: u8) -> usize {
    match tag {
        3 | 7 => 2,
        4 | 8 | 10 => 4,
        5 | 9 | 11 => 8,
        _ => 1,
    }
}

pub(super) fn put_values(out: &mut Vec<u8>, batch: &Batch) {
    let first = batch.get(0).map_or(0, |s| tag(s.value));
    let mixed = batch.iter().any(|s| tag(s.value) != first);
    out.push(if mixed { MIXED } else { first });
    for sample in batch.iter() {
        if mixed {
            out.push(tag(sample.value));
        }
        put_value(out, sample.value);
    }
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

pub(super) fn values(reader: &mut Reader<'_>, samples: usize) -> Result<Vec<Value>, BadField> {
    let shape = reader.u8("values")?;
    if shape == 0 {
        return Ok(vec![Value::Null; samples]);
    }
    let size = if shape == MIXED { 1 } else { least_bytes(shape) };
    let mut values = bounded(reader, samples, size, "values")?;
    for _ in 0..samples {
        let tag = if shape == MIXED { reader.u8("values")? } else { shape };
        values.push(value(reader, tag)?);
    }
    Ok(values)
}

fn value(reader: &mut Reader<'_>, tag: u8) -> Result<Value, BadField> {
    const NAME: &str = "values";
    Ok(match tag {
        0 => Value::Null,
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

pub(super) fn put_statuses(out: &mut Vec<u8>, statuses: impl Iterator<Item = StatusCode> + Clone) {
    if statuses.clone().all(|s| s == StatusCode::GOOD) {
        return out.push(ALL_GOOD);
    }
    out.push(RUNS);
    put_runs(out, statuses.map(|s| s.0), |out, _, status| {
        out.extend_from_slice(&status.to_le_bytes());
    });
}

pub(super) fn statuses(reader: &mut Reader<'_>, samples: usize) -> Result<Vec<u32>, BadField> {
    match reader.u8("statuses")? {
        ALL_GOOD => Ok(vec![StatusCode::GOOD.0; samples]),
        RUNS => runs(reader, samples, "statuses", |reader, _| reader.u32("statuses")),
        _ => Err(BadField("statuses")),
    }
}

/// Equal neighbours as one length; `put` writes the entry and gets the one before it.
fn put_runs<T: Copy + PartialEq + Default>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T, T),
) {
    let mut entries = entries.peekable();
    let mut before = T::default();
    while let Some(entry) = entries.next() {
        let mut length = 1u64;
        while entries.next_if_eq(&entry).is_some() {
            length += 1;
        }
        put_varint(out, length);
        put(out, before, entry);
        before = entry;
    }
}

fn runs<'a, T: Copy + Default>(
    reader: &mut Reader<'a>,
    samples: usize,
    name: &'static str,
    mut take: impl FnMut(&mut Reader<'a>, T) -> Result<T, BadField>,
) -> Result<Vec<T>, BadField> {
    let mut entries = Vec::with_capacity(samples);
    let mut before = T::default();
    while entries.len() < samples {
        let length = usize::try_from(reader.varint(name)?).map_err(|_| BadField(name))?;
        if length == 0 || length > samples - entries.len() {
            return Err(BadField(name));
        }
        before = take(reader, before)?;
        entries.resize(entries.len() + length, before);
    }
    Ok(entries)
}

/// Times are per request, so there are few distinct ones.
pub(super) fn put_agent_times(out: &mut Vec<u8>, times: impl Iterator<Item = UnixNanos>) {
    put_runs(out, times, |out, before: i64, time| put_signed(out, time.wrapping_sub(before)));
}

pub(super) fn agent_times(
    reader: &mut Reader<'_>,
    samples: usize,
) -> Result<Vec<UnixNanos>, BadField> {
    runs(reader, samples, "agent times", |reader, before: i64| {
        Ok(before.wrapping_add(reader.signed("agent times")?))
    })
}

pub(super) fn put_source_times(out: &mut Vec<u8>, batch: &Batch) {
    let present = batch.iter().filter(|s| s.source_time.is_some()).count();
    if present == 0 {
        return out.push(NONE);
    }
    out.push(if present == batch.len() { EVERY } else { SOME });
    if present < batch.len() {
        let mut bits = vec![0u8; batch.len().div_ceil(8)];
        for (i, _) in batch.iter().enumerate().filter(|(_, s)| s.source_time.is_some()) {
            bits[i / 8] |= 1 << (i % 8);
        }
        out.extend_from_slice(&bits);
    }
    let mut before = 0i64;
    for time in batch.iter().filter_map(|s| s.source_time) {
        put_signed(out, time.wrapping_sub(before));
        before = time;
    }
}

pub(super) fn source_times(
    reader: &mut Reader<'_>,
    samples: usize,
) -> Result<Vec<Option<UnixNanos>>, BadField> {
    const NAME: &str = "source times";
    let bits = match reader.u8(NAME)? {
        NONE => return Ok(vec![None; samples]),
        EVERY => None,
        SOME => Some(reader.bytes(samples.div_ceil(8), NAME)?),
        _ => return Err(BadField(NAME)),
    };
    let mut before = 0i64;
    let mut times = Vec::with_capacity(samples);
    for i in 0..samples {
        let present = bits.is_none_or(|bits| bits[i / 8] >> (i % 8) & 1 == 1);
        if present {
            before = before.wrapping_add(reader.signed(NAME)?);
        }
        times.push(present.then_some(before));
    }
    Ok(times)
}
