//! FlatJSON: `{"timestamp":ms,"point":value,..}` with good values only, for readers that expect
//! one flat object per instant.

use super::number::{write_signed, write_value};
use super::string::write_string;
use super::{Integers, MAX_BYTES, MAX_POINTS, Message};
use crate::sink::Record;

/// The key of the time.
const TIMESTAMP: &str = "timestamp";

/// Whether a point is written with one more underscore in front: `timestamp` itself, and
/// whatever could be taken for it then. No two names become one, so no object has a key twice.
fn is_shifted(name: &str) -> bool {
    name.trim_start_matches('_') == TIMESTAMP
}

/// One good sample, ordered by the message it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Time in milliseconds since 1970.
    millis: i64,
    /// How many samples of the same point and millisecond came before: each of them is in a
    /// message of its own, because an object holds a key once and no sample is left out.
    repeat: u32,
    /// Index in the batch.
    index: usize,
}

#[derive(Debug)]
pub(super) struct Plan {
    entries: Vec<Entry>,
    next: usize,
    /// Where the last message started.
    last: usize,
    /// Number of the next message; `None` while the record may still fit in one.
    part: Option<u32>,
    /// Samples without a place in any message.
    pub(super) skipped: u64,
}

impl Plan {
    pub(super) fn new(record: &Record) -> Self {
        let mut found: Vec<(u32, Entry)> = record
            .batch
            .iter()
            .enumerate()
            .filter(|(_, s)| s.status.is_good())
            .map(|(index, s)| {
                let millis = s.time().div_euclid(1_000_000);
                (s.point, Entry { millis, repeat: 0, index })
            })
            .collect();
        found.sort_unstable_by_key(|(point, e)| (*point, e.millis, e.index));
        for i in 1..found.len() {
            let (point, before) = found[i - 1];
            let (this_point, this) = &mut found[i];
            if *this_point == point && this.millis == before.millis {
                this.repeat = before.repeat + 1;
            }
        }
        let mut entries: Vec<Entry> = found.into_iter().map(|(_, entry)| entry).collect();
        entries.sort_unstable();
        let several = match (entries.first(), entries.last()) {
            (Some(a), Some(b)) => (a.millis, a.repeat) != (b.millis, b.repeat),
            _ => false,
        };
        let split = several || entries.len() > MAX_POINTS;
        let skipped = (record.batch.len() - entries.len()) as u64;
        Self { entries, next: 0, last: 0, part: split.then_some(0), skipped }
    }

    pub(super) fn last_samples(&self) -> Vec<u32> {
        let entries = self.entries.get(self.last..self.next).unwrap_or_default();
        entries.iter().map(|e| e.index as u32).collect()
    }

    pub(super) fn next_into(
        &mut self,
        record: &Record,
        integers: Integers,
        out: &mut Vec<u8>,
    ) -> Option<Message> {
        let start = self.next;
        self.last = start;
        let first = *self.entries.get(start)?;
        out.extend_from_slice(b"{\"timestamp\":");
        write_signed(first.millis, out);
        let group = self.entries.iter().skip(start).take(MAX_POINTS);
        for entry in group.take_while(|e| (e.millis, e.repeat) == (first.millis, first.repeat)) {
            let before = out.len();
            if let Some(sample) = record.batch.get(entry.index) {
                let name = record.batch.origin().point(sample.point).map_or("", |name| name);
                out.push(b',');
                if is_shifted(name) {
                    write_string(&format!("_{name}"), out);
                } else {
                    write_string(name, out);
                }
                out.push(b':');
                write_value(sample.value, integers, out);
            }
            if out.len() >= MAX_BYTES && self.next > start {
                out.truncate(before);
                self.part = self.part.or(Some(0));
                break;
            }
            self.next += 1;
        }
        out.push(b'}');
        let samples = (self.next - start) as u64;
        let message = Message { part: self.part, point: None, samples };
        self.part = self.part.map(|part| part + 1);
        Some(message)
    }
}
