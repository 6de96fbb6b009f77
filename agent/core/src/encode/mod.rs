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
    if let Some(part) = part {
        out.push(b'.');
        number::write_unsigned(u64::from(part), out);
    }
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
