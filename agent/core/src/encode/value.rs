//! Value: one message per point with the value alone. Strings and bytes are raw, everything
//! else is the text of JSON v1; a Bad sample has no value and gives no message.

use super::number::write_value;
use super::{Integers, Message};
use crate::batch::SampleRef;
use crate::sink::Record;
use crate::value::Value;

#[derive(Debug)]
pub(super) struct Plan {
    next: usize,
    /// Number of the next message; `None` when there is only one.
    part: Option<u32>,
    /// Samples without a message.
    pub(super) skipped: u64,
}

fn has_message(sample: &SampleRef<'_>) -> bool {
    !sample.status.is_bad() && *sample.value != Value::Null
}

impl Plan {
    pub(super) fn new(record: &Record) -> Self {
        let messages = record.batch.iter().filter(has_message).count();
        let skipped = (record.batch.len() - messages) as u64;
        Self { next: 0, part: (messages > 1).then_some(0), skipped }
    }

    pub(super) fn last_samples(&self) -> Vec<u32> {
        self.next.checked_sub(1).map(|last| last as u32).into_iter().collect()
    }

    pub(super) fn next_into(
        &mut self,
        record: &Record,
        integers: Integers,
        out: &mut Vec<u8>,
    ) -> Option<Message> {
        loop {
            let sample = record.batch.get(self.next)?;
            self.next += 1;
            if !has_message(&sample) {
                continue;
            }
            match sample.value {
                Value::String(text) => out.extend_from_slice(text.as_bytes()),
                Value::Bytes(bytes) => out.extend_from_slice(bytes),
                value => write_value(value, integers, out),
            }
            let message = Message { part: self.part, point: Some(sample.point), samples: 1 };
            self.part = self.part.map(|part| part + 1);
            return Some(message);
        }
    }
}
