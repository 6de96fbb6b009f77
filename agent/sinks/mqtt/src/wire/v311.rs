//! MQTT 3.1.1 (OASIS Standard, 29 October 2014).

use bytes::{Bytes, BytesMut};
use lineside_core::FaultClass;
use lineside_crds::diagnostics::Code;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Disconnect, LastWill, Packet, PingReq, Publish,
};
use rumqttc::mqttbytes::{Error, QoS};

use super::{
    AckAnswer, DecodeError, EncodeError, Ending, Hello, Incoming, Limits, MAX_INCOMING, Outgoing,
    Wire, incomplete,
};

pub(super) struct V311;

impl Wire for V311 {
    fn connect(&self, hello: &Hello, out: &mut BytesMut) -> Result<(), EncodeError> {
        hello.check()?;
        let mut connect = Connect::new(hello.client_id.as_str());
        connect.keep_alive = hello.keep_alive;
        connect.clean_session = true;
        connect.last_will = Some(LastWill {
            topic: hello.will_topic.clone(),
            message: hello.will.clone(),
            qos: QoS::AtLeastOnce,
            retain: true,
        });
        if let Some((user, password)) = &hello.login {
            connect.set_login(user.as_str(), password.as_str());
        }
        connect.write(out).map(drop).map_err(|e| EncodeError::Codec(e.to_string()))
    }

    fn publish(
        &self,
        message: Outgoing<'_>,
        max_packet: usize,
        out: &mut BytesMut,
    ) -> (Bytes, Result<(), EncodeError>) {
        if let Err(e) = message.check() {
            return (message.payload, Err(e));
        }
        let qos = if message.packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let mut publish = Publish::from_bytes(message.topic, qos, message.payload);
        publish.retain = message.retain;
        publish.pkid = message.packet_id.unwrap_or(0);
        let size = publish.size();
        if size > max_packet {
            return (publish.payload, Err(EncodeError::TooLarge { size, max: max_packet }));
        }
        let before = out.len();
        let written = publish.write(out).map(drop).map_err(|e| {
            out.truncate(before);
            EncodeError::Codec(e.to_string())
        });
        (publish.payload, written)
    }

    fn ping(&self, out: &mut BytesMut) {
        // Two fixed bytes; the codec has no way to fail.
        let _ = PingReq.write(out);
    }

    fn disconnect(&self, out: &mut BytesMut) {
        // Two fixed bytes; the codec has no way to fail.
        let _ = Disconnect.write(out);
    }

    fn decode(&self, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
        let before = input.len();
        let packet = match Packet::read(input, MAX_INCOMING as usize) {
            Ok(packet) => packet,
            Err(Error::InsufficientBytes(_)) => return incomplete(before, input.len()),
            Err(e) => return Err(DecodeError(e.to_string())),
        };
        Ok(Some(match packet {
            Packet::ConnAck(ack) => match refusal(ack.code) {
                None => Incoming::Accepted(Limits::default()),
                Some(refusal) => Incoming::Refused(refusal),
            },
            Packet::PubAck(ack) => Incoming::Ack { packet_id: ack.pkid, answer: AckAnswer::Taken },
            Packet::PingResp => Incoming::Pong,
            Packet::Connect(_) => Incoming::Unexpected("CONNECT"),
            Packet::Publish(_) => Incoming::Unexpected("PUBLISH"),
            Packet::PubRec(_) => Incoming::Unexpected("PUBREC"),
            Packet::PubRel(_) => Incoming::Unexpected("PUBREL"),
            Packet::PubComp(_) => Incoming::Unexpected("PUBCOMP"),
            Packet::Subscribe(_) => Incoming::Unexpected("SUBSCRIBE"),
            Packet::SubAck(_) => Incoming::Unexpected("SUBACK"),
            Packet::Unsubscribe(_) => Incoming::Unexpected("UNSUBSCRIBE"),
            Packet::UnsubAck(_) => Incoming::Unexpected("UNSUBACK"),
            Packet::PingReq => Incoming::Unexpected("PINGREQ"),
            Packet::Disconnect => Incoming::Unexpected("DISCONNECT"),
        }))
    }

    fn carries_identity(&self) -> bool {
        false
    }
}

/// Table 3.1 of section 3.2.2.3.
fn refusal(code: ConnectReturnCode) -> Option<Ending> {
    use ConnectReturnCode as C;
    let (class, diagnostic) = match code {
        C::Success => return None,
        C::RefusedProtocolVersion => (FaultClass::Config, Code::SinkProtocol),
        C::BadClientId => (FaultClass::Peer, Code::SinkProtocol),
        C::ServiceUnavailable => (FaultClass::Unreachable, Code::SinkUnavailable),
        C::BadUserNamePassword | C::NotAuthorized => (FaultClass::Auth, Code::SinkAuth),
    };
    Some(Ending { class, code: diagnostic, message: format!("{code:?}") })
}
