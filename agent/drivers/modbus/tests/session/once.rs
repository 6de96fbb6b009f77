//! Reading once, without a session.

use std::sync::Arc;

use lineside_core::driver::Driver;
use lineside_core::{FaultClass, StatusCode, SystemClock, Value};
use lineside_crds::diagnostics::Code;
use lineside_driver_modbus::ModbusTcp;
use tokio::net::TcpListener;

use crate::harness::device;
use crate::peer::{Do, Peer, register};

#[tokio::test]
async fn every_point_has_its_bytes_its_value_or_its_fault() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.covers(1) { ask.exception(2) } else { ask.good() }))
            .await;
    let device = device(
        peer.port,
        &[
            ("a", "holding-register:1:UINT", 1000),
            ("hole", "holding-register:2:UINT", 1000),
            ("c", "holding-register:3:UDINT", 60_000),
            ("bit", "coil:1", 1000),
        ],
    );
    let readings =
        ModbusTcp::default().read_once(Arc::new(device), Arc::new(SystemClock)).await.unwrap();
    let points: Vec<usize> = readings.iter().map(|r| r.point).collect();
    assert_eq!(points, [0, 1, 2, 3]);
    let a = &readings[0];
    assert_eq!((a.value.clone(), a.status), (Value::U16(register(0)), StatusCode::GOOD));
    assert_eq!(a.raw, register(0).to_be_bytes());
    assert_eq!(a.wire_address, "unit 1 FC3 @0 x1");
    let hole = &readings[1];
    assert_eq!((&hole.value, hole.status), (&Value::Null, StatusCode::BAD_CONFIGURATION_ERROR));
    let fault = hole.fault.as_ref().unwrap();
    assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::IllegalDataAddress));
    assert!(fault.to_string().contains("exception 2"), "{fault}");
    assert_eq!(readings[2].wire_address, "unit 1 FC3 @2 x2");
    assert_eq!(readings[2].raw, [register(2).to_be_bytes(), register(3).to_be_bytes()].concat());
    assert_eq!((&readings[3].raw[..], &readings[3].value), (&[1u8][..], &Value::Bool(true)));
}

#[tokio::test]
async fn a_silent_device_gives_a_timeout_for_each_point() {
    let peer = Peer::start(|_| Do::Send(Vec::new())).await;
    let device =
        device(peer.port, &[("a", "holding-register:1", 1000), ("b", "input-register:1", 1000)]);
    let readings =
        ModbusTcp::default().read_once(Arc::new(device), Arc::new(SystemClock)).await.unwrap();
    assert_eq!(readings.len(), 2);
    for reading in readings {
        assert_eq!(reading.status, StatusCode::BAD_TIMEOUT);
        assert_eq!(reading.fault.unwrap().code, Code::RequestTimeout);
    }
}

#[tokio::test]
async fn each_of_many_dead_units_gets_its_full_timeout() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.request.unit == 9 { ask.good() } else { Vec::new() }))
            .await;
    let names: Vec<(String, String)> =
        (1..=9).map(|unit| (format!("u{unit}"), format!("coil:1{{unit-id: {unit}}}"))).collect();
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), 1000)).collect();
    let mut device = device(peer.port, &points);
    device.timeouts.request = std::time::Duration::from_millis(50);
    let readings =
        ModbusTcp::default().read_once(Arc::new(device), Arc::new(SystemClock)).await.unwrap();
    for reading in &readings[..8] {
        let said = reading.fault.as_ref().unwrap().to_string();
        assert!(said.contains("within 50ms"), "{said}");
    }
    assert_eq!(readings[8].status, StatusCode::GOOD);
}

#[tokio::test]
async fn a_connection_lost_half_way_keeps_what_was_read() {
    let peer = Peer::start(|ask| {
        if ask.number == 0 { Do::Send(ask.good()) } else { Do::SendAndClose(Vec::new()) }
    })
    .await;
    let device = device(
        peer.port,
        &[("a", "holding-register:1", 1000), ("b", "holding-register:900", 1000)],
    );
    let readings =
        ModbusTcp::default().read_once(Arc::new(device), Arc::new(SystemClock)).await.unwrap();
    assert_eq!(readings[0].status, StatusCode::GOOD);
    assert_eq!(readings[1].status, StatusCode::BAD_NO_COMMUNICATION);
    assert_eq!(readings[1].fault.as_ref().unwrap().code, Code::ConnectionLost);
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let device = device(port, &[("a", "holding-register:1", 1000)]);
    let fault =
        ModbusTcp::default().read_once(Arc::new(device), Arc::new(SystemClock)).await.unwrap_err();
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::Unreachable));
}
