//! What was seen from outside of the agent: what a device gave out, what a consumer got, and
//! what the agent says of itself. [`judge`](super::judge) compares the three.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::lag::Ledger;
use crate::{samples, subscriber};

/// Unix time in nanoseconds.
pub type Nanos = i64;

/// One value of one point in one answer of a device. No value is given out twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `namespace/name` of the device.
    pub device: String,
    /// Point name.
    pub point: String,
    /// The value.
    pub value: u32,
    /// When the whole request had arrived.
    pub received: Nanos,
    /// When the answer was about to leave.
    pub sent: Nanos,
}

/// One message as the consumer got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Identity of the record.
    pub id: String,
    /// `namespace/name` of the device.
    pub device: String,
    /// Its samples, in the order of the message.
    pub samples: Vec<Sample>,
    /// When the consumer had it.
    pub arrived: Nanos,
}

/// A sample of a [`Message`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Point name.
    pub point: String,
    /// The value; null when Bad.
    pub value: Value,
    /// OPC UA status code.
    pub status: u32,
    /// Time of the sample.
    pub time: Nanos,
}

impl Sample {
    /// The value that a device has served, unless the sample is Bad.
    pub fn counter(&self) -> Option<u32> {
        self.value.as_u64().and_then(|value| u32::try_from(value).ok())
    }
}

/// A time in which the agent says it may have lost samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Gap {
    /// Start of the oldest request of which nothing is known.
    pub from: Nanos,
    /// Time of the first sample afterwards.
    pub to: Nanos,
}

/// The books of one sink as the agent gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which start of the agent was asked, counted from 0.
    pub life: usize,
    /// The numbers.
    pub ledger: Ledger,
}

/// Everything about one pipeline with one sink.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the devices gave out, in the order of each device.
    pub served: Vec<Served>,
    /// What the consumer got, in the order of its arrival.
    pub messages: Vec<Message>,
    /// When the agent was started, the first time included.
    pub starts: Vec<Nanos>,
    /// Every gap that was declared.
    pub gaps: BTreeSet<Gap>,
    /// Every reading of the books, in the order of time; after the last one nothing was lost,
    /// served or delivered any more.
    pub accounts: Vec<Account>,
    /// How far into a gap, or after a start inside it, samples may be lost: see [`allowance`].
    pub allowance: Duration,
    /// Longest time between an answer of a device and the time of its sample.
    pub request_timeout: Duration,
}

/// Commit window + one cycle + two request timeouts: the time in which answers may be lost when
/// the agent is killed (issue 6, M2; contracts 5).
pub fn allowance(commit_window: Duration, cycle: Duration, request_timeout: Duration) -> Duration {
    commit_window + cycle + request_timeout * 2
}

/// The messages that `mosquitto_sub` printed.
///
/// # Errors
/// One of them is not JSON v1, or has no sample.
pub fn messages(printed: &[subscriber::Message]) -> Result<Vec<Message>> {
    printed.iter().map(message).collect()
}

fn message(printed: &subscriber::Message) -> Result<Message> {
    let arrived = samples::of(std::slice::from_ref(printed))?;
    let first = arrived.first().with_context(|| format!("no sample in {}", printed.payload))?;
    let (id, device) = (first.record.clone(), first.device.clone());
    let samples = arrived
        .into_iter()
        .map(|a| Sample { point: a.point, value: a.value, status: a.status, time: a.time_ns })
        .collect();
    Ok(Message { id, device, samples, arrived: printed.time_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_message_keeps_its_identity_and_all_of_its_samples() {
        let printed = subscriber::Message {
            time_ns: 9,
            retained: false,
            topic: "lineside/default/press".into(),
            payload:
                r#"{"id":"s/1/7","device":"default/press","time":"1970-01-01T00:00:00.000000004Z",
                "points":[{"name":"a","value":3,"quality":"Good"},
                          {"name":"b","value":null,"quality":"Bad","status":2147483648,"dt":2}]}"#
                    .into(),
        };
        let read = messages(&[printed]).unwrap();
        let sample = |point: &str, value: Value, status, time| Sample {
            point: point.into(),
            value,
            status,
            time,
        };
        let want = Message {
            id: "s/1/7".into(),
            device: "default/press".into(),
            samples: vec![sample("a", 3.into(), 0, 4), sample("b", Value::Null, 0x8000_0000, 6)],
            arrived: 9,
        };
        assert_eq!(read, [want]);
        assert_eq!(read[0].samples[0].counter(), Some(3));
        assert_eq!(read[0].samples[1].counter(), None);
    }

    #[test]
    fn the_allowance_is_the_window_a_cycle_and_two_timeouts() {
        let ms = Duration::from_millis;
        assert_eq!(allowance(ms(100), ms(20), ms(1000)), ms(2120));
    }
}
