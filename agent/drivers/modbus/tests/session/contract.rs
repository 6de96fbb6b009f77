//! The contract of every driver (`docs/specs/driver.md`), checked by its conformance kit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::Driver;
use lineside_core::kit::driver::{DriverCase, GoodPeer, Style, check};
use lineside_crds::model::Device;
use lineside_driver_modbus::ModbusTcp;

use crate::harness::device;
use crate::peer::{Do, Peer};

struct Case;

impl GoodPeer for Peer {
    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

impl DriverCase for Case {
    fn driver(&self) -> Arc<dyn Driver> {
        Arc::new(ModbusTcp::default())
    }

    fn style(&self) -> Style {
        Style::Polls
    }

    fn device(&self, peer: SocketAddr) -> Device {
        let points = [
            ("word", "holding-register:1:UINT", 100),
            ("float", "holding-register:3:REAL", 100),
            ("bit", "coil:1", 100),
            ("far", "input-register:1000:UDINT", 100),
        ];
        let mut device = device(peer.port(), &points);
        device.timeouts.connect = Duration::from_millis(300);
        device.timeouts.request = Duration::from_millis(300);
        device
    }

    fn good_peer(&self) -> BoxFuture<'_, io::Result<Box<dyn GoodPeer>>> {
        async {
            let peer = Peer::start(|ask| Do::Send(ask.good())).await;
            Ok(Box::new(peer) as Box<dyn GoodPeer>)
        }
        .boxed()
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        vec![
            // A transaction that no session reaches within a check.
            vec![0xFF, 0xFE, 0, 0, 0, 5, 1, 3, 2, 0, 1],
            // A foreign transaction that announces the longest frame.
            vec![0xFF, 0xFE, 0, 0, 0, 254, 1, 3, 251],
            // The first transaction, with another unit, function, byte count.
            vec![0, 1, 0, 0, 0, 5, 77, 1, 2, 0, 1],
            vec![0, 1, 0, 0, 0, 5, 1, 0x10, 2, 0, 1],
            vec![0, 1, 0, 0, 0, 5, 1, 1, 200, 0, 1],
            vec![0, 1, 0, 0, 0, 2, 1, 1],
            vec![0, 1, 0, 0, 0, 2, 1, 0x81],
            // Lengths and protocols that do not exist.
            vec![0, 1, 0, 0, 0xFF, 0xFF, 1, 1],
            vec![0, 1, 0, 0, 0, 0],
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        ]
    }

    fn shortest_answer(&self) -> usize {
        // One byte of bits: header, function, byte count, data.
        10
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_driver_contract() {
    check(&Case).await.assert();
}
