//! Columns of a batch, but for the values. Every reader takes the number of samples, which its
//! caller has bounded, and gives exactly so many entries.

use lineside_core::{Batch, StatusCode, UnixNanos};

use crate::fields::{BadField, Reader, put_signed, put_varint};

/// Shapes of the points column.
const DENSE: u8 = 0;
const STEPS: u8 = 1;

/// Shapes of the status column.
const ALL_GOOD: u8 = 0;
const RUNS: u8 = 1;

/// Shapes of the source time column.
const NONE: u8 = 0;
const EVERY: u8 = 1;
const SOME: u8 = 2;

/// Entries that are compared without a branch in between, which lets the compiler compare many at
/// once.
const STRIDE: usize = 64;

/// Whether all entries have the bits of the first one.
fn all_equal<T: Copy>(entries: &[T], bits: impl Fn(T) -> u64) -> bool {
    let Some(&first) = entries.first() else { return true };
    let wanted = bits(first);
    let differences = |part: &[T]| part.iter().fold(0, |all, e| all | (bits(*e) ^ wanted));
    entries.chunks(STRIDE).all(|part| differences(part) == 0)
}

/// Whether they are 0, 1, 2, ...
fn count_up(points: &[u32]) -> bool {
    let mut expected = 0u32;
    points.chunks(STRIDE).all(|part| {
        let first = expected;
        expected = expected.wrapping_add(STRIDE as u32);
        let ordered = part.iter().zip(0u32..);
        ordered.fold(true, |all, (point, i)| all & (*point == first.wrapping_add(i)))
    })
}

pub(super) fn put_points(out: &mut Vec<u8>, points: &[u32]) {
    if count_up(points) {
        return out.push(DENSE);
    }
    out.push(STEPS);
    // The next point in order costs one byte.
    let mut expected = 0i64;
    for point in points {
        put_signed(out, i64::from(*point) - expected);
        expected = i64::from(*point) + 1;
    }
}

pub(super) fn points(reader: &mut Reader<'_>, samples: usize) -> Result<Vec<u32>, BadField> {
    match reader.u8("points")? {
        DENSE => Ok((0..samples as u32).collect()),
        STEPS => {
            let mut points = bounded(reader, samples, "points")?;
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

/// A vector for `samples` entries that take at least a byte each, so that what is allocated is
/// bounded by what is there.
pub(super) fn bounded<T>(
    reader: &Reader<'_>,
    samples: usize,
    name: &'static str,
) -> Result<Vec<T>, BadField> {
    if reader.remaining() < samples {
        return Err(BadField(name));
    }
    Ok(Vec::with_capacity(samples))
}

pub(super) fn put_statuses(out: &mut Vec<u8>, statuses: &[StatusCode]) {
    let bits = |status: StatusCode| u64::from(status.0);
    if statuses.first().is_none_or(|s| *s == StatusCode::GOOD) && all_equal(statuses, bits) {
        return out.push(ALL_GOOD);
    }
    out.push(RUNS);
    put_runs(out, statuses, bits, |out, _, status| {
        out.extend_from_slice(&status.0.to_le_bytes());
    });
}

pub(super) fn statuses(
    reader: &mut Reader<'_>,
    samples: usize,
) -> Result<Vec<StatusCode>, BadField> {
    match reader.u8("statuses")? {
        ALL_GOOD => Ok(vec![StatusCode::GOOD; samples]),
        RUNS => {
            let status = |reader: &mut Reader<'_>, _| reader.u32("statuses").map(StatusCode);
            runs(reader, samples, "statuses", StatusCode::GOOD, status)
        }
        _ => Err(BadField("statuses")),
    }
}

/// Equal neighbours as one length; `put` writes the entry and gets the one before it.
fn put_runs<T: Copy + PartialEq>(
    out: &mut Vec<u8>,
    entries: &[T],
    bits: impl Fn(T) -> u64,
    mut put: impl FnMut(&mut Vec<u8>, Option<T>, T),
) {
    let Some(&first) = entries.first() else { return };
    if all_equal(entries, bits) {
        put_varint(out, entries.len() as u64);
        return put(out, None, first);
    }
    let mut before = None;
    for run in entries.chunk_by(T::eq) {
        let Some(&entry) = run.first() else { continue };
        put_varint(out, run.len() as u64);
        put(out, before, entry);
        before = Some(entry);
    }
}

fn runs<'a, T: Copy>(
    reader: &mut Reader<'a>,
    samples: usize,
    name: &'static str,
    mut before: T,
    mut take: impl FnMut(&mut Reader<'a>, T) -> Result<T, BadField>,
) -> Result<Vec<T>, BadField> {
    let mut entries = Vec::with_capacity(samples);
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
pub(super) fn put_agent_times(out: &mut Vec<u8>, times: &[UnixNanos]) {
    put_runs(out, times, i64::cast_unsigned, |out, before, time| {
        put_signed(out, time.wrapping_sub(before.unwrap_or_default()));
    });
}

pub(super) fn agent_times(
    reader: &mut Reader<'_>,
    samples: usize,
) -> Result<Vec<UnixNanos>, BadField> {
    runs(reader, samples, "agent times", 0, |reader, before: i64| {
        Ok(before.wrapping_add(reader.signed("agent times")?))
    })
}

pub(super) fn put_source_times(out: &mut Vec<u8>, batch: &Batch) {
    if !batch.has_source_times() {
        return out.push(NONE);
    }
    let present = batch.iter().filter(|s| s.source_time.is_some()).count();
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

/// Empty when no sample has one.
pub(super) fn source_times(
    reader: &mut Reader<'_>,
    samples: usize,
) -> Result<Vec<Option<UnixNanos>>, BadField> {
    const NAME: &str = "source times";
    let bits = match reader.u8(NAME)? {
        NONE => return Ok(Vec::new()),
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
