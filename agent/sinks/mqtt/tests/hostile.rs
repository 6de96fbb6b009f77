//! A peer that breaks the protocol, or says what Mosquitto never says. It is scripted byte by
//! byte from the standard, because no real broker behaves so on request.

use lineside_core::secret::Secrets;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::MqttVersion;
use lineside_sink_mqtt::Deadlines;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::pipeline::{origin, record, settings, start_with};

/// CONNACK with success and no properties (MQTT 5, 3.2).
const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

/// Accepts one connection, waits for CONNECT, sends `answer` and closes its side.
async fn peer(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
    });
    port
}

async fn fault_of(version: MqttVersion, answer: &[u8]) -> Fault {
    let settings = settings(peer(answer.to_vec()).await, version);
    start_with(settings, Deadlines::default(), Secrets::default()).fault().await
}

#[tokio::test]
async fn bytes_that_are_no_packet_are_a_protocol_fault() {
    let too_long = [0x20, 0xFF, 0xFF, 0xFF, 0x7F];
    let endless_length = [0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let no_type = [0x00, 2, 0, 0];
    let cut_short = [0x20, 1, 0];
    let no_payload = [0x20, 0];
    for version in [MqttVersion::V311, MqttVersion::V5] {
        for bytes in [&too_long[..], &endless_length, http, &no_type, &cut_short, &no_payload] {
            let fault = fault_of(version, bytes).await;
            let got = (fault.class, fault.code);
            assert_eq!(got, (FaultClass::Peer, Code::SinkProtocol), "{bytes:?}: {}", fault.chain());
        }
    }
}

#[tokio::test]
async fn every_single_byte_of_a_connack_may_be_wrong_without_a_panic() {
    let good = [0x20, 12, 0, 0, 9, 0x21, 0, 5, 0x27, 0, 0, 16, 0, 0xE0];
    for position in 0..good.len() {
        for value in [0, 1, 2, 0x20, 0x40, 0x7F, 0x80, 0xFF] {
            let mut bytes = good;
            bytes[position] = value;
            // The peer closes after it, so whatever the sink makes of it, it ends with a fault.
            fault_of(MqttVersion::V5, &bytes[..]).await;
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_ends_the_session() {
    for (version, connack) in [(MqttVersion::V311, &CONNACK[..0]), (MqttVersion::V5, CONNACK)] {
        let connack = if connack.is_empty() { &[0x20, 2, 0, 0][..] } else { connack };
        let fault = fault_of(version, &[connack, &[0x40, 2, 0, 99]].concat()).await;
        assert_eq!((fault.class, fault.code), (FaultClass::Peer, Code::SinkProtocol));
    }
}

#[tokio::test]
async fn refused_connections_are_classified() {
    let v5 = MqttVersion::V5;
    for (version, answer, expected) in [
        (v5, [0x20, 3, 0, 0x86, 0], (FaultClass::Auth, Code::SinkAuth)),
        (v5, [0x20, 3, 0, 0x88, 0], (FaultClass::Unreachable, Code::SinkUnavailable)),
        (v5, [0x20, 3, 0, 0x89, 0], (FaultClass::Overload, Code::SinkUnavailable)),
        (v5, [0x20, 3, 0, 0x84, 0], (FaultClass::Config, Code::SinkProtocol)),
    ] {
        let fault = fault_of(version, &answer).await;
        assert_eq!((fault.class, fault.code), expected, "{}", fault.chain());
    }
    for (code, expected) in [
        (1, (FaultClass::Config, Code::SinkProtocol)),
        (3, (FaultClass::Unreachable, Code::SinkUnavailable)),
        (4, (FaultClass::Auth, Code::SinkAuth)),
        (5, (FaultClass::Auth, Code::SinkAuth)),
    ] {
        let fault = fault_of(MqttVersion::V311, &[0x20, 2, 0, code]).await;
        assert_eq!((fault.class, fault.code), expected, "{}", fault.chain());
    }
}

#[tokio::test]
async fn a_broker_without_qos_1_is_refused_when_qos_1_is_asked_for() {
    // Property 36 is Maximum QoS (MQTT 5, 3.2.2.3.4).
    let fault = fault_of(MqttVersion::V5, &[0x20, 5, 0, 0, 2, 36, 0]).await;
    assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::SinkProtocol));
}

#[tokio::test]
async fn a_full_quota_ends_the_session_and_rejects_nothing() {
    // The online state has packet id 1; it is taken, and the record's message 2 is not.
    let acks = [CONNACK, &[0x40, 2, 0, 1]].concat();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        stream.write_all(&acks).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|w| w == b"data") {
            let count = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(&[0x40, 4, 0, 2, 0x97, 0]).await.unwrap();
        while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
    });
    let mut running =
        start_with(settings(port, MqttVersion::V5), Default::default(), Secrets::default());
    running.send(record(&origin(1), 1));
    running.connected().await;
    while !running.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.try_settled(), None);
    let fault = running.fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Overload, Code::SinkUnavailable));
}

#[tokio::test]
async fn a_disconnect_is_classified_by_its_reason() {
    for (packet, expected) in [
        (&[0xE0, 0][..], (FaultClass::Unreachable, Code::SinkUnavailable)),
        (&[0xE0, 1, 0x8B], (FaultClass::Unreachable, Code::SinkUnavailable)),
        (&[0xE0, 2, 0x97, 0], (FaultClass::Overload, Code::SinkUnavailable)),
        (&[0xE0, 2, 0x87, 0], (FaultClass::Auth, Code::SinkAuth)),
    ] {
        let fault = fault_of(MqttVersion::V5, &[CONNACK, packet].concat()).await;
        assert_eq!((fault.class, fault.code), expected, "{packet:?}: {}", fault.chain());
    }
}
