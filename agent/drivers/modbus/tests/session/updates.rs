//! New versions of a device while its session runs.

use std::time::Duration;

use lineside_core::driver::Ended;
use lineside_core::{StatusCode, Value};
use lineside_crds::model::Protocol;

use crate::harness::{Running, device, until};
use crate::peer::{Do, Peer, register};

#[tokio::test]
async fn points_come_and_go_on_the_same_connection() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1:UINT", 20)]));
    let collected = session.collected.clone();
    until("a", || !collected.good("a").is_empty()).await;
    session.update(device(
        peer.port,
        &[("b", "holding-register:5:UINT", 20), ("c", "holding-register:1:UINT", 20)],
    ));
    until("b and c", || !collected.good("b").is_empty() && !collected.good("c").is_empty()).await;
    assert!(collected.good("b").iter().all(|v| *v == Value::U16(register(4))));
    assert!(collected.good("c").iter().all(|v| *v == Value::U16(register(0))));
    let gone = collected.of("a").len();
    let batches = collected.batches().len();
    until("more batches", || collected.batches().len() > batches + 2).await;
    assert_eq!(collected.of("a").len(), gone);
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn an_update_reaches_a_session_that_waits_for_a_distant_tick() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1", 3_600_000)]));
    let collected = session.collected.clone();
    until("a", || !collected.good("a").is_empty()).await;
    session.update(device(peer.port, &[("b", "holding-register:2", 3_600_000)]));
    until("b", || !collected.good("b").is_empty()).await;
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn a_refused_address_keeps_its_quality_over_an_update() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.covers(9) { ask.exception(4) } else { ask.good() }))
            .await;
    let hole = ("hole", "holding-register:10:UINT", 20);
    let session = Running::start(device(peer.port, &[hole, ("a", "coil:1", 20)]));
    let collected = session.collected.clone();
    until("quarantine", || collected.statuses("hole").len() >= 2).await;
    session.update(device(peer.port, &[("b", "coil:2", 20), hole]));
    until("b", || collected.good("b").len() >= 2).await;
    let statuses = collected.statuses("hole");
    assert!(statuses.iter().all(|s| *s == StatusCode::BAD_DEVICE_FAILURE), "{statuses:?}");
    session.stop().await;
}

#[tokio::test]
async fn limits_timeouts_and_byte_order_change_on_the_same_connection() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let points = [("a", "holding-register:1:UINT", 20), ("b", "holding-register:3:UINT", 20)];
    let session = Running::start(device(peer.port, &points));
    let collected = session.collected.clone();
    until("b", || !collected.good("b").is_empty()).await;
    assert!(peer.asks().iter().all(|a| a.request.quantity == 3));
    let mut changed = device(peer.port, &points);
    changed.timeouts.request = Duration::from_millis(300);
    let Protocol::ModbusTcp(settings) = &mut changed.protocol else { unreachable!() };
    settings.max_gap = 0;
    settings.byte_order = lineside_crds::modbus::ByteOrder::LittleEndian;
    session.update(changed);
    until("swapped", || collected.good("b").last() == Some(&Value::U16(register(2).swap_bytes())))
        .await;
    assert_eq!(peer.asks().last().unwrap().request.quantity, 1);
    assert_eq!(peer.accepts(), 1);
    assert!(collected.statuses("a").iter().all(|s| *s == StatusCode::GOOD));
    session.stop().await;
}

#[tokio::test]
async fn another_port_needs_another_session() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let points = [("a", "holding-register:1", 20)];
    let session = Running::start(device(peer.port, &points));
    let collected = session.collected.clone();
    until("a", || !collected.good("a").is_empty()).await;
    session.update(device(peer.port.wrapping_add(1), &points));
    assert!(matches!(session.ended().await, Ended::Reconfigure));
}

#[tokio::test]
async fn a_session_without_anyone_to_update_it_goes_on() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1", 20)]));
    let (collected, cancel) = (session.collected.clone(), session.cancel.clone());
    let ended = session.without_updates();
    let seen = collected.batches().len();
    until("batches", || collected.batches().len() > seen + 3).await;
    cancel.cancel();
    assert!(matches!(ended.await.unwrap(), Ended::Cancelled));
}
