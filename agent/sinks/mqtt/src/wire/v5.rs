//! MQTT 5.0 (OASIS Standard, 7 March 2019).

use bytes::{Buf, Bytes, BytesMut};
use lineside_core::FaultClass;
use lineside_crds::diagnostics::Code;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    LastWill, Login, Packet, PingReq, PubAck, PubAckReason, Publish, PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::{
    AckAnswer, DecodeError, EncodeError, Ending, Hello, Incoming, Limits, MAX_INCOMING, MAX_PACKET,
    Outgoing, Reason, Wire, incomplete, with_reason,
};

/// User property with the identity of the record (contracts, section 4).
const IDENTITY: &str = "lineside-id";

/// First byte of DISCONNECT. It may leave out its properties, and with reason Normal also its
/// reason (3.14.2.1, 3.14.2.2.1); the codec reads only the full form.
const DISCONNECT: u8 = 0xE0;

pub(super) struct V5;

impl Wire for V5 {
    fn connect(&self, hello: &Hello, out: &mut BytesMut) -> Result<(), EncodeError> {
        hello.check()?;
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(MAX_INCOMING);
        let connect = Connect {
            keep_alive: hello.keep_alive,
            client_id: hello.client_id.clone(),
            clean_start: true,
            properties: Some(properties),
        };
        let will = LastWill {
            topic: Bytes::copy_from_slice(hello.will_topic.as_bytes()),
            message: hello.will.clone(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: None,
        };
        let login = hello
            .login
            .as_ref()
            .map(|(user, password)| Login { username: user.clone(), password: password.clone() });
        connect
            .write(&Some(will), &login, out)
            .map(drop)
            .map_err(|e| EncodeError::Codec(e.to_string()))
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
        let properties = PublishProperties {
            content_type: message.content_type.map(str::to_owned),
            user_properties: message.id.into_iter().map(|id| (IDENTITY.to_owned(), id)).collect(),
            ..PublishProperties::default()
        };
        let qos = if message.packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let publish = Publish {
            dup: false,
            qos,
            retain: message.retain,
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            pkid: message.packet_id.unwrap_or(0),
            payload: message.payload,
            properties: Some(properties),
        };
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
        let _ = PingReq::write(out);
    }

    fn disconnect(&self, out: &mut BytesMut) {
        out.extend_from_slice(&[DISCONNECT, 0]);
    }

    fn decode(&self, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
        if let Some(reason) = short_disconnect(input) {
            let reason =
                DisconnectReasonCode::try_from(reason).map_err(|e| DecodeError(e.to_string()))?;
            return Ok(Some(Incoming::Closed(closed(&Disconnect::new(reason)))));
        }
        let before = input.len();
        let packet = match Packet::read(input, Some(MAX_INCOMING)) {
            Ok(packet) => packet,
            Err(Error::InsufficientBytes(_)) => return incomplete(before, input.len()),
            Err(e) => return Err(DecodeError(e.to_string())),
        };
        Ok(Some(match packet {
            Packet::ConnAck(ack) => accepted(&ack),
            Packet::PubAck(ack) => Incoming::Ack { packet_id: ack.pkid, answer: answer(&ack) },
            Packet::PingResp(_) => Incoming::Pong,
            Packet::Disconnect(disconnect) => Incoming::Closed(closed(&disconnect)),
            Packet::Auth(_) => Incoming::Unexpected("AUTH"),
            Packet::Connect(..) => Incoming::Unexpected("CONNECT"),
            Packet::Publish(_) => Incoming::Unexpected("PUBLISH"),
            Packet::PingReq(_) => Incoming::Unexpected("PINGREQ"),
            Packet::Subscribe(_) => Incoming::Unexpected("SUBSCRIBE"),
            Packet::SubAck(_) => Incoming::Unexpected("SUBACK"),
            Packet::PubRec(_) => Incoming::Unexpected("PUBREC"),
            Packet::PubRel(_) => Incoming::Unexpected("PUBREL"),
            Packet::PubComp(_) => Incoming::Unexpected("PUBCOMP"),
            Packet::Unsubscribe(_) => Incoming::Unexpected("UNSUBSCRIBE"),
            Packet::UnsubAck(_) => Incoming::Unexpected("UNSUBACK"),
        }))
    }

    fn carries_identity(&self) -> bool {
        true
    }
}

/// Takes a short DISCONNECT off the input and gives its reason.
fn short_disconnect(input: &mut BytesMut) -> Option<u8> {
    let (length, reason) = match **input {
        [DISCONNECT, 0, ..] => (2, 0),
        [DISCONNECT, 1, reason, ..] => (3, reason),
        _ => return None,
    };
    input.advance(length);
    Some(reason)
}

/// CONNACK (3.2.2).
fn accepted(ack: &ConnAck) -> Incoming {
    use ConnectReturnCode as C;
    let (class, code) = match ack.code {
        C::Success => return Incoming::Accepted(limits(ack)),
        C::BadUserNamePassword | C::NotAuthorized | C::Banned | C::BadAuthenticationMethod => {
            (FaultClass::Auth, Code::SinkAuth)
        }
        C::ServiceUnavailable | C::ServerUnavailable | C::UseAnotherServer | C::ServerMoved => {
            (FaultClass::Unreachable, Code::SinkUnavailable)
        }
        C::ServerBusy | C::QuotaExceeded | C::ConnectionRateExceeded => {
            (FaultClass::Overload, Code::SinkUnavailable)
        }
        C::RefusedProtocolVersion
        | C::UnsupportedProtocolVersion
        | C::TopicNameInvalid
        | C::RetainNotSupported
        | C::QoSNotSupported => (FaultClass::Config, Code::SinkProtocol),
        C::BadClientId
        | C::UnspecifiedError
        | C::MalformedPacket
        | C::ProtocolError
        | C::ImplementationSpecificError
        | C::ClientIdentifierNotValid
        | C::PacketTooLarge
        | C::PayloadFormatInvalid => (FaultClass::Peer, Code::SinkProtocol),
    };
    let reason = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    Incoming::Refused(Ending { class, code, message: with_reason(ack.code, reason) })
}

fn limits(ack: &ConnAck) -> Limits {
    let mut limits = Limits::default();
    if let Some(properties) = &ack.properties {
        limits.receive_maximum = properties.receive_max.unwrap_or(limits.receive_maximum);
        limits.max_qos = properties.max_qos.unwrap_or(limits.max_qos);
        limits.keep_alive = properties.server_keep_alive;
        if let Some(max) = properties.max_packet_size {
            limits.max_packet = usize::try_from(max).map_or(MAX_PACKET, |max| max.min(MAX_PACKET));
        }
    }
    limits
}

/// PUBACK (3.4.2.1).
fn answer(ack: &PubAck) -> AckAnswer {
    use PubAckReason as R;
    let reason = ack.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    let message = with_reason(ack.reason, reason);
    match ack.reason {
        R::Success | R::NoMatchingSubscribers => AckAnswer::Taken,
        R::QuotaExceeded => AckAnswer::Failed(Ending {
            class: FaultClass::Overload,
            code: Code::SinkUnavailable,
            message,
        }),
        // The broker thinks the id belongs to another message: no fault of this one.
        R::PacketIdentifierInUse => {
            AckAnswer::Failed(Ending { class: FaultClass::Peer, code: Code::SinkProtocol, message })
        }
        R::UnspecifiedError
        | R::ImplementationSpecificError
        | R::NotAuthorized
        | R::TopicNameInvalid
        | R::PayloadFormatInvalid => {
            AckAnswer::Rejected(Reason { code: Code::RecordRejected, message })
        }
    }
}

/// DISCONNECT from the broker (3.14.2.1).
fn closed(disconnect: &Disconnect) -> Ending {
    use DisconnectReasonCode as D;
    let (class, code) = match disconnect.reason_code {
        D::NotAuthorized => (FaultClass::Auth, Code::SinkAuth),
        D::ServerBusy
        | D::MessageRateTooHigh
        | D::QuotaExceeded
        | D::ConnectionRateExceeded
        | D::ReceiveMaximumExceeded => (FaultClass::Overload, Code::SinkUnavailable),
        D::MalformedPacket
        | D::ProtocolError
        | D::TopicFilterInvalid
        | D::TopicNameInvalid
        | D::TopicAliasInvalid
        | D::PacketTooLarge
        | D::PayloadFormatInvalid => (FaultClass::Peer, Code::SinkProtocol),
        D::RetainNotSupported | D::QoSNotSupported => (FaultClass::Config, Code::SinkProtocol),
        D::KeepAliveTimeout => (FaultClass::Timeout, Code::SinkSilent),
        _ => (FaultClass::Unreachable, Code::SinkUnavailable),
    };
    let reason = disconnect.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    Ending { class, code, message: with_reason(disconnect.reason_code, reason) }
}
