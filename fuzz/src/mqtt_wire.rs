//! The MQTT sink's view of a broker's bytes, in both versions: any bytes, cut anywhere, give the
//! same packets; what is not complete is so within the longest packet, or wrong; a limit is one
//! that the standard allows.

use bytes::BytesMut;
use lineside_crds::model::MqttVersion;
use lineside_sink_mqtt::wire::{AckAnswer, Incoming, decode};

/// Longest packet that the sink takes, with its fixed header.
const LONGEST: usize = 64 * 1024 + 5;

/// The packets in order, whether the end was an error, and the bytes that wait for more.
type Seen = (Vec<Incoming>, bool, usize);

/// One input: the version, how it is cut, then the bytes of a broker.
pub fn run(data: &[u8]) {
    let &[version, step, ref broker @ ..] = data else { return };
    let version = if version % 2 == 0 { MqttVersion::V311 } else { MqttVersion::V5 };
    let whole = stream(version, broker, broker.len().max(1));
    let pieces = stream(version, broker, usize::from(step).max(1));
    assert_eq!(pieces, whole, "depends on how it is cut");
    let (packets, wrong, waiting) = whole;
    for packet in &packets {
        check(packet, broker.len());
    }
    if !wrong && waiting > 0 {
        // Zeros after it: the packet that waits is complete or wrong by now.
        let mut rest = BytesMut::from(&broker[broker.len() - waiting..]);
        rest.resize(LONGEST, 0);
        assert!(!matches!(decode(version, &mut rest), Ok(None)), "waits without an end");
    }
}

/// Feeds the bytes in pieces of `step` and takes every packet.
fn stream(version: MqttVersion, bytes: &[u8], step: usize) -> Seen {
    let mut inbox = BytesMut::new();
    let mut packets = Vec::new();
    for piece in bytes.chunks(step) {
        inbox.extend_from_slice(piece);
        loop {
            let before = inbox.len();
            match decode(version, &mut inbox) {
                Ok(Some(packet)) => {
                    assert!(inbox.len() < before, "a packet of no bytes");
                    packets.push(packet);
                }
                Ok(None) => {
                    assert_eq!(inbox.len(), before, "took bytes and gave nothing");
                    break;
                }
                Err(_) => return (packets, true, 0),
            }
        }
    }
    (packets, false, inbox.len())
}

fn check(packet: &Incoming, sent: usize) {
    // The name of a reason is short; the rest is the broker's own text.
    let message = match packet {
        Incoming::Accepted(limits) => {
            assert!(limits.max_packet <= 268_435_460);
            return;
        }
        Incoming::Refused(ending) | Incoming::Closed(ending) => &ending.message,
        Incoming::Ack { answer: AckAnswer::Rejected(refusal), .. } => &refusal.message,
        Incoming::Ack { answer: AckAnswer::Failed(ending), .. } => &ending.message,
        Incoming::Ack { answer: AckAnswer::Taken, .. }
        | Incoming::Pong
        | Incoming::Unexpected(_) => return,
    };
    assert!(!message.is_empty() && message.len() <= sent + 64);
}
