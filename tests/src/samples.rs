//! What a consumer got, sample by sample: JSON v1 messages read by an independent JSON parser.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::subscriber::Message;

/// One sample as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Identity of the record that carried it.
    pub record: String,
    /// `namespace/name` of the device.
    pub device: String,
    /// Point name.
    pub point: String,
    /// Value; null when Bad.
    pub value: Value,
    /// `Good`, `Uncertain` or `Bad`.
    pub quality: String,
    /// OPC UA status code; 0 when absent.
    pub status: u32,
    /// Time of the sample, Unix nanoseconds.
    pub time_ns: i64,
    /// When the consumer had it, Unix nanoseconds.
    pub received_ns: i64,
}

impl Arrived {
    /// Whether it is Good.
    pub fn is_good(&self) -> bool {
        self.quality == "Good"
    }

    /// The value as an unsigned integer.
    ///
    /// # Errors
    /// It is something else.
    pub fn counter(&self) -> Result<u64> {
        self.value.as_u64().with_context(|| format!("{self:?} is not a counter"))
    }
}

/// Every sample of these messages, in order.
///
/// # Errors
/// A message is not JSON v1 (contracts, section 4).
pub fn of(messages: &[Message]) -> Result<Vec<Arrived>> {
    let mut all = Vec::new();
    for message in messages {
        let body: Value = serde_json::from_str(&message.payload)
            .with_context(|| format!("{} holds no JSON: {}", message.topic, message.payload))?;
        let text = |key: &str| -> Result<&str> {
            body[key].as_str().with_context(|| format!("no {key:?} in {body}"))
        };
        let time: jiff::Timestamp = text("time")?.parse()?;
        let time = i64::try_from(time.as_nanosecond())?;
        for point in body["points"].as_array().context("no points")? {
            let field = |key: &str| -> Result<String> {
                let field = point[key].as_str().with_context(|| format!("no {key:?} in {point}"));
                Ok(field?.to_owned())
            };
            all.push(Arrived {
                record: text("id")?.to_owned(),
                device: text("device")?.to_owned(),
                point: field("name")?,
                value: point.get("value").context("no value")?.clone(),
                quality: field("quality")?,
                status: u32::try_from(point["status"].as_u64().unwrap_or(0))?,
                time_ns: time + point["dt"].as_i64().unwrap_or(0),
                received_ns: message.time_ns,
            });
        }
    }
    Ok(all)
}
