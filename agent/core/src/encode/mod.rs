//! Payloads of a record: JSON v1, FlatJSON and Value (contracts, section 4). Pure: no clock, no
//! socket. A caller asks [`Messages`] for one payload after the other and gives a buffer that it
//! may reuse; nothing is allocated per sample.
//!
//! ```text
//! Record --Messages--> payload .0, payload .1, ... --sink--> remote
//! ```

mod flat;
mod json;
mod number;
mod string;
mod time;
mod value;

#[cfg(test)]
mod golden;

use crate::sink::{Record, RecordId};

pub use time::write_rfc3339;

/// Most points in one message.
pub const MAX_POINTS: usize = 1_000;

/// Most bytes in one message. A single point that is larger travels alone and whole, because a
/// value is never cut.
pub const MAX_BYTES: usize = 256 * 1024;

/// Shape of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// JSON v1: quality, times, identity.
    Json,
    /// `{"timestamp":ms,"point":value}`, good values only.
    FlatJson,
    /// One message per point, the value alone; nothing for Bad.
    Value,
}

/// Options of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Shape of the payload.
    pub shape: Shape,
    /// 64-bit integers as JSON strings, always, so that readers with 53-bit numbers lose nothing.
    pub int64_as_string: bool,
}

/// What [`Messages::next_into`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of the message in its record; `None` when it is the only one.
    pub part: Option<u32>,
    /// The point, for [`Shape::Value`]: index into [`crate::Origin::points`].
    pub point: Option<u32>,
    /// Samples of the record in it, at least one.
    pub samples: u64,
}

/// The messages of one record, one after the other. The same record and options always give the
/// same messages, so a redelivery is a byte for byte repetition.
#[derive(Debug)]
pub struct Messages {
    record: Record,
    options: Options,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    Json(json::Plan),
    Flat(flat::Plan),
    Value(value::Plan),
}

impl Messages {
    /// The messages of `record`.
    pub fn new(record: Record, options: Options) -> Self {
        let plan = match options.shape {
            Shape::Json => Plan::Json(json::Plan::new(&record)),
            Shape::FlatJson => Plan::Flat(flat::Plan::new(&record)),
            Shape::Value => Plan::Value(value::Plan::new(&record)),
        };
        Self { record, options, plan }
    }

    /// The record that is being encoded.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Samples of the record that have no place in this shape. Those of all messages and these
    /// are the whole record.
    pub fn skipped(&self) -> u64 {
        match &self.plan {
            Plan::Json(_) => 0,
            Plan::Flat(plan) => plan.skipped,
            Plan::Value(plan) => plan.skipped,
        }
    }

    /// The samples of the message that was written last, by index in the batch.
    fn last_samples(&self) -> Vec<u32> {
        match &self.plan {
            Plan::Json(plan) => plan.last_samples(),
            Plan::Flat(plan) => plan.last_samples(),
            Plan::Value(plan) => plan.last_samples(),
        }
    }

    /// Replaces the content of `out` by the next message; `None` when there is no more. A record
    /// that has nothing for this shape gives `None` at once.
    pub fn next_into(&mut self, out: &mut Vec<u8>) -> Option<Message> {
        out.clear();
        let ints = Integers { as_string: self.options.int64_as_string };
        match &mut self.plan {
            Plan::Json(plan) => plan.next_into(&self.record, ints, out),
            Plan::Flat(plan) => plan.next_into(&self.record, ints, out),
            Plan::Value(plan) => plan.next_into(&self.record, ints, out),
        }
    }
}

/// `store/stream/offset[.part]`, as JSON v1 carries it in `id` and others as `lineside-id`.
pub fn write_id(id: &RecordId, part: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(id.store.as_bytes());
    out.push(b'/');
    number::write_unsigned(u64::from(id.stream), out);
    out.push(b'/');
    number::write_unsigned(id.offset, out);
    // A part that is sent again is one message as before, unless the encoding was changed since:
    // then its messages are numbered below it, so that no two have one identity.
    for part in [id.part, part].into_iter().flatten() {
        out.push(b'.');
        number::write_unsigned(u64::from(part), out);
    }
}

/// The samples, by index in the batch, of the message that has this number among those of
/// `record`; none when there is no such message.
pub fn samples_of(record: &Record, options: Options, part: Option<u32>) -> Vec<u32> {
    let (mut messages, mut text) = (Messages::new(record.clone(), options), Vec::new());
    while let Some(message) = messages.next_into(&mut text) {
        if message.part == part {
            return messages.last_samples();
        }
    }
    Vec::new()
}

/// One value as JSON v1 writes it, for tables and pages.
pub fn value_text(value: &crate::Value, int64_as_string: bool, out: &mut Vec<u8>) {
    number::write_value(value, Integers { as_string: int64_as_string }, out);
}

/// How 64-bit integers are written.
#[derive(Clone, Copy, Debug)]
struct Integers {
    as_string: bool,
}
