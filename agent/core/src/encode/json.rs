//! JSON v1: `{"id":..,"device":..,"time":..,"points":[{"name":..,"value":..,"quality":..}]}`.

use std::ops::Range;

use super::number::{write_signed, write_unsigned, write_value};
use super::string::write_string;
use super::time::write_rfc3339;
use super::{Integers, MAX_BYTES, MAX_POINTS, Message, write_id};
use crate::batch::SampleRef;
use crate::clock::UnixNanos;
use crate::sink::Record;

/// Where the next message starts.
#[derive(Debug)]
pub(super) struct Plan {
    next: usize,
    /// Where the last one started.
    last: usize,
    /// Number of the next message; `None` while the record may still fit in one.
    part: Option<u32>,
}

impl Plan {
    pub(super) fn new(record: &Record) -> Self {
        Self { next: 0, last: 0, part: (record.batch.len() > MAX_POINTS).then_some(0) }
    }

    pub(super) fn last_samples(&self) -> Vec<u32> {
        (self.last as u32..self.next as u32).collect()
    }

    pub(super) fn next_into(
        &mut self,
        record: &Record,
        integers: Integers,
        out: &mut Vec<u8>,
    ) -> Option<Message> {
        let start = self.next;
        if start >= record.batch.len() {
            return None;
        }
        let end = record.batch.len().min(start + MAX_POINTS);
        let fits = write(record, start..end, self.part, integers, out);
        if fits < end {
            // Which points fit is known only now, and both the message's time and its id depend
            // on it. The second text is never longer by more than the part that `write` keeps
            // free: a later base makes every `dt` shorter.
            self.part = self.part.or(Some(0));
            out.clear();
            write(record, start..fits, self.part, integers, out);
        }
        (self.last, self.next) = (start, fits);
        let samples = (fits - start) as u64;
        let message = Message { part: self.part, point: None, samples };
        self.part = self.part.map(|part| part + 1);
        Some(message)
    }
}

/// Room for `.part` in the id and the closing brackets.
const RESERVE: usize = 16;

/// Writes a message of the samples in `range` and returns the end of those that fit, at least
/// one of them.
fn write(
    record: &Record,
    range: Range<usize>,
    part: Option<u32>,
    integers: Integers,
    out: &mut Vec<u8>,
) -> usize {
    let samples = || range.clone().filter_map(|i| record.batch.get(i));
    let base = samples().map(|s| s.time()).min().unwrap_or_default();
    out.extend_from_slice(b"{\"id\":\"");
    write_id(&record.id, part, out);
    out.extend_from_slice(b"\",\"device\":");
    write_string(&record.batch.origin().path, out);
    out.extend_from_slice(b",\"time\":\"");
    write_rfc3339(base, out);
    out.extend_from_slice(b"\",\"points\":[");
    let mut end = range.start;
    for sample in samples() {
        let before = out.len();
        if end > range.start {
            out.push(b',');
        }
        let name = record.batch.origin().point(sample.point).map_or("", |name| name);
        write_point(name, &sample, base, integers, out);
        if out.len() + RESERVE > MAX_BYTES && end > range.start {
            out.truncate(before);
            break;
        }
        end += 1;
    }
    out.extend_from_slice(b"]}");
    end
}

fn write_point(
    name: &str,
    sample: &SampleRef<'_>,
    base: UnixNanos,
    integers: Integers,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"name\":");
    write_string(name, out);
    out.extend_from_slice(b",\"value\":");
    write_value(sample.value, integers, out);
    out.extend_from_slice(b",\"quality\":\"");
    out.extend_from_slice(sample.status.severity().as_bytes());
    out.push(b'"');
    if sample.status.0 != 0 {
        out.extend_from_slice(b",\"status\":");
        write_unsigned(u64::from(sample.status.0), out);
    }
    // Times of one message may lie further apart than i64 holds; the text then says the most.
    let dt = sample.time().saturating_sub(base);
    if dt != 0 {
        out.extend_from_slice(b",\"dt\":");
        write_signed(dt, out);
    }
    out.push(b'}');
}
