//! What one session leaves to the next of the same device.

use lineside_core::StatusCode;
use lineside_core::driver::Ended;
use lineside_crds::model::{Device, Protocol};
use lineside_driver_modbus::ModbusTcp;

use crate::harness::{Collected, Running, device, until};
use crate::peer::{Ask, Do, Peer};

/// 300 registers of which every tenth is refused.
fn holes(port: u16) -> Device {
    let names: Vec<(String, String)> =
        (1..=300).map(|n| (format!("p{n}"), format!("holding-register:{n}:UINT"))).collect();
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), 200)).collect();
    device(port, &points)
}

fn refuses_holes(ask: &Ask) -> Do {
    let hole = (0..30).any(|n| ask.covers(10 * n));
    Do::Send(if hole { ask.exception(4) } else { ask.good() })
}

/// Runs a session until it has emitted all points once; the number of requests that took.
async fn one_cycle(driver: &ModbusTcp, device: Device, peer: &Peer) -> usize {
    let (before, count) = (peer.asks().len(), device.points.len());
    let collected = Collected::with_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let session = Running::of(driver, device, collected.clone());
    until("all points", || collected.samples().len() >= count).await;
    let asked = peer.asks().len() - before;
    let first = &collected.samples()[..count];
    let bad = first.iter().filter(|(_, s)| s.status == StatusCode::BAD_DEVICE_FAILURE).count();
    let good = first.iter().filter(|(_, s)| s.status.is_good()).count();
    assert_eq!((good, bad), (count - 30, 30));
    session.stop().await;
    asked
}

#[tokio::test]
async fn holes_are_not_searched_again_after_a_reconnect() {
    let peer = Peer::start(refuses_holes).await;
    let driver = ModbusTcp::default();
    let first = one_cycle(&driver, holes(peer.port), &peer).await;
    let second = one_cycle(&driver, holes(peer.port), &peer).await;
    assert!(first > 100 && second < 45, "{first} requests, then {second}");

    // Other limits make other requests, so nothing is taken over.
    let mut changed = holes(peer.port);
    let Protocol::ModbusTcp(settings) = &mut changed.protocol else { unreachable!() };
    settings.max_registers = 124;
    assert!(one_cycle(&driver, changed, &peer).await > 100);
}

#[tokio::test]
async fn a_session_that_the_peer_ends_leaves_what_it_learned() {
    let peer = Peer::start(|ask| {
        if ask.covers(9) && ask.request.quantity == 1 {
            return Do::SendAndClose(ask.exception(4));
        }
        Do::Send(if ask.covers(9) { ask.exception(4) } else { ask.good() })
    })
    .await;
    let points = [("a", "holding-register:9", 60_000), ("hole", "holding-register:10", 60_000)];
    let driver = ModbusTcp::default();
    let collected = Collected::with_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let ended = Running::of(&driver, device(peer.port, &points), collected.clone()).ended().await;
    assert!(matches!(ended, Ended::Failed(_)), "{ended:?}");
    let before = peer.asks().len();
    let session = Running::of(&driver, device(peer.port, &points), collected.clone());
    until("both again", || collected.statuses("a").len() + collected.statuses("hole").len() == 4)
        .await;
    assert!(peer.asks()[before..].iter().all(|ask| !ask.covers(9)));
    session.stop().await;
}

#[tokio::test]
async fn a_silent_unit_is_asked_at_once_after_a_reconnect_behind_the_others() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.request.unit == 1 { Vec::new() } else { ask.good() }))
            .await;
    let points = [
        ("dead", "holding-register:1{unit-id: 1}", 300),
        ("a", "holding-register:1{unit-id: 2}", 300),
        ("b", "holding-register:1{unit-id: 3}", 300),
    ];
    let driver = ModbusTcp::default();
    let mut units = Vec::new();
    for _ in 0..2 {
        let before = peer.asks().len();
        let collected = Collected::with_permits(tokio::sync::Semaphore::MAX_PERMITS);
        let session = Running::of(&driver, device(peer.port, &points), collected.clone());
        until("a cycle of each", || {
            ["dead", "a", "b"].iter().all(|p| !collected.statuses(p).is_empty())
        })
        .await;
        session.stop().await;
        units.push(peer.asks()[before..][..3].iter().map(|a| a.request.unit).collect::<Vec<_>>());
    }
    assert_eq!(units, [[1, 2, 3], [2, 3, 1]]);
}
