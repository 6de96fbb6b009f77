//! The packets of both protocol versions behind one small trait. Sans-IO: bytes in, bytes out.

mod v311;
mod v5;

use bytes::{Bytes, BytesMut};
use lineside_core::FaultClass;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::MqttVersion;

/// Longest packet taken from a broker. The sink subscribes to nothing, so only acknowledgements
/// with a reason text arrive.
const MAX_INCOMING: u32 = 64 * 1024;

/// Largest packet that the fixed header can announce (MQTT 5, 1.5.5; MQTT 3.1.1, 2.2.3).
const MAX_PACKET: usize = 268_435_455 + 5;

/// One protocol version.
pub(crate) trait Wire: Send + Sync {
    /// Appends CONNECT with a clean session: what must survive is in the store, not here.
    fn connect(&self, hello: &Hello, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Appends PUBLISH and gives the payload's buffer back for the next one. Nothing is appended
    /// when it fails.
    fn publish(
        &self,
        message: Outgoing<'_>,
        max_packet: usize,
        out: &mut BytesMut,
    ) -> (Bytes, Result<(), EncodeError>);

    /// Appends PINGREQ.
    fn ping(&self, out: &mut BytesMut);

    /// Appends DISCONNECT for a normal end, after which the broker drops the last will.
    fn disconnect(&self, out: &mut BytesMut);

    /// Takes the next packet off `input`; `None` while it is not complete.
    fn decode(&self, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError>;

    /// Whether PUBLISH has room for the record's identity.
    fn carries_identity(&self) -> bool;
}

/// The codec of a version.
pub(crate) fn wire(version: MqttVersion) -> &'static dyn Wire {
    match version {
        MqttVersion::V311 => &v311::V311,
        MqttVersion::V5 => &v5::V5,
    }
}

/// Takes the next packet of a broker off `input`; `None` while it is not complete, which it is or
/// turns out to be wrong within the 64 KiB of the longest packet that is taken.
///
/// # Errors
/// The bytes are no packet of this version. What is left of `input` then means nothing.
pub fn decode(version: MqttVersion, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
    wire(version).decode(input)
}

/// What CONNECT says.
pub(crate) struct Hello {
    pub(crate) client_id: String,
    /// Seconds.
    pub(crate) keep_alive: u16,
    pub(crate) login: Option<(String, String)>,
    pub(crate) will_topic: String,
    pub(crate) will: Bytes,
}

/// One PUBLISH.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
    /// `Some` for QoS 1, `None` for QoS 0.
    pub(crate) packet_id: Option<u16>,
    /// User property `lineside-id`, where the version has properties.
    pub(crate) id: Option<String>,
    /// MIME type, where the version has properties.
    pub(crate) content_type: Option<&'static str>,
}

/// What a broker sends to a client that only publishes.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// CONNACK with success.
    Accepted(Limits),
    /// CONNACK with a refusal.
    Refused(Ending),
    /// PUBACK.
    Ack {
        /// Of the publish that it answers.
        packet_id: u16,
        /// What it says.
        answer: AckAnswer,
    },
    /// PINGRESP.
    Pong,
    /// DISCONNECT.
    Closed(Ending),
    /// A packet that has no place in this conversation.
    Unexpected(&'static str),
}

/// What PUBACK says.
#[derive(Debug, PartialEq, Eq)]
pub enum AckAnswer {
    /// The broker has the message.
    Taken,
    /// It will never take it.
    Rejected(Reason),
    /// It does not take it now, or the connection is out of step.
    Failed(Ending),
}

/// Why a broker will never take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `RecordRejected` or `RecordTooLarge`.
    pub code: Code,
    /// What it said.
    pub message: String,
}

/// What the broker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most unacknowledged publishes.
    pub receive_maximum: u16,
    /// Largest packet in bytes.
    pub max_packet: usize,
    /// Highest QoS.
    pub max_qos: u8,
    /// Keep alive in seconds that the broker wants instead of ours.
    pub keep_alive: Option<u16>,
}

impl Default for Limits {
    /// The values for what a broker leaves out (MQTT 5, 3.2.2.3).
    fn default() -> Self {
        Self { receive_maximum: u16::MAX, max_packet: MAX_PACKET, max_qos: 2, keep_alive: None }
    }
}

/// Why a broker ends a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// Decides what the supervisor does.
    pub class: FaultClass,
    /// Diagnostic for people.
    pub code: Code,
    /// The broker's reason, and its own words if it has any.
    pub message: String,
}

/// A packet that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// It is larger than the broker takes.
    #[error("packet of {size} bytes is larger than the {max} bytes that the broker takes")]
    TooLarge {
        /// Size of the packet in bytes.
        size: usize,
        /// Largest that is allowed.
        max: usize,
    },
    /// A text does not fit the 16-bit length of MQTT (MQTT 5, 1.5.4).
    #[error("{0} is longer than 65535 bytes")]
    TooLong(&'static str),
    /// The codec refuses it.
    #[error("{0}")]
    Codec(String),
}

/// Bytes that are no packet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

/// Why a PUBACK or CONNACK refuses, as text for people.
fn with_reason(what: impl std::fmt::Debug, reason: Option<&str>) -> String {
    match reason {
        Some(reason) if !reason.is_empty() => format!("{what:?}: {reason}"),
        _ => format!("{what:?}"),
    }
}

fn fits(text: &str, what: &'static str) -> Result<(), EncodeError> {
    if text.len() > usize::from(u16::MAX) { Err(EncodeError::TooLong(what)) } else { Ok(()) }
}

impl Hello {
    /// The codecs write a length of 16 bits without looking.
    fn check(&self) -> Result<(), EncodeError> {
        fits(&self.will_topic, "topic of the online state")?;
        if let Some((user, password)) = &self.login {
            fits(user, "user name")?;
            fits(password, "password")?;
        }
        Ok(())
    }
}

impl Outgoing<'_> {
    fn check(&self) -> Result<(), EncodeError> {
        fits(self.topic, "topic")
    }
}

/// Turns the end of a codec's read into ours. A codec also says "more bytes" about a complete
/// packet with a length inside that points beyond it; then it has consumed the packet.
fn incomplete(before: usize, after: usize) -> Result<Option<Incoming>, DecodeError> {
    if before == after {
        Ok(None)
    } else {
        Err(DecodeError("a length inside a packet points beyond its end".to_owned()))
    }
}
