//! The contracts of this crate, proved on small real implementations before they were frozen: a
//! driver that is pushed to and acknowledges its peer, a driver that listens and learns its
//! devices, a sink with acknowledgements; each passes the kit, and the kit finds what broken
//! versions of them do wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is a test; the lints know only test functions"
)]

mod broken_drivers;
mod broken_sinks;
mod lines;
mod listen;
mod push;
mod sample;
mod sink;
mod specs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lineside_crds::modbus;
use lineside_crds::model::{
    Address, Availability, Device, Mode, ObjectKey, Point, Protocol, Timeouts,
};

/// A device with the points `a` and `b` at an address. The model knows no protocol of these
/// tests, so the Modbus settings carry host and port.
fn device_at(addr: SocketAddr) -> Device {
    let point = |name: &str| Point {
        name: name.into(),
        address: Address::Modbus(modbus::Address {
            area: modbus::Area::HoldingRegister,
            offset: 0,
            data_type: modbus::DataType::Int,
            count: 1,
            unit_id: None,
            byte_order: None,
        }),
        interval: Duration::from_millis(100),
        group: None,
        unit: None,
    };
    Device {
        key: ObjectKey::new("plant", "press"),
        uid: None,
        generation: None,
        labels: Default::default(),
        mode: Mode::Running,
        availability: Availability::Continuous,
        protocol: Protocol::ModbusTcp(modbus::Settings {
            host: addr.ip().to_string(),
            port: addr.port(),
            unit_id: 1,
            byte_order: modbus::ByteOrder::BigEndian,
            max_registers: 125,
            max_bits: 2000,
            max_gap: 0,
        }),
        points: Arc::new([point("a"), point("b")]),
        timeouts: Timeouts {
            connect: Duration::from_millis(300),
            request: Duration::from_millis(300),
        },
        max_requests_per_second: None,
        placement: Default::default(),
        location: Arc::new([]),
    }
}
