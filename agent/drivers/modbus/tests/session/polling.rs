//! Good answers and refusals: values, quality, requests.

use std::time::Duration;

use lineside_core::{Clock, StatusCode, SystemClock, Value};
use tokio::time::Instant;

use crate::harness::{Collected, Running, device, until};
use crate::peer::{Do, Peer, register};

#[tokio::test]
async fn points_of_all_four_tables_are_read_in_one_batch() {
    let before = SystemClock.now();
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(
        peer.port,
        &[
            ("coil", "coil:4", 50),
            ("input", "discrete-input:5", 50),
            ("holding", "holding-register:100:UINT", 50),
            ("register", "input-register:7:WORD", 50),
            ("other", "holding-register:100:UINT{unit-id: 9}", 50),
        ],
    ));
    let collected = session.collected.clone();
    until("two batches", || collected.batches().len() >= 2).await;
    let batch = collected.batches().remove(0);
    assert_eq!(batch.epoch, 4);
    let mut values: Vec<_> = batch.iter().map(|s| (s.point, s.value.clone(), s.status)).collect();
    values.sort_by_key(|(point, ..)| *point);
    let good = StatusCode::GOOD;
    // The peer's bits are on where the zero-based address is divisible by three.
    let want = [
        (0, Value::Bool(true), good),
        (1, Value::Bool(false), good),
        (2, Value::U16(register(99)), good),
        (3, Value::U16(register(6)), good),
        (4, Value::U16(register(99)), good),
    ];
    assert_eq!(values, want);
    let times: Vec<_> = batch.iter().map(|s| s.time()).collect();
    assert!(times.iter().all(|t| (before..=SystemClock.now()).contains(t)), "{times:?}");
    assert_eq!(collected.endpoints(), [format!("127.0.0.1:{}", peer.port)]);
    let units: Vec<u8> = peer.asks().iter().map(|a| a.request.unit).collect();
    assert!(units.contains(&1) && units.contains(&9), "{units:?}");
    session.stop().await;
}

#[tokio::test]
async fn neighbours_are_read_with_one_request() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(
        peer.port,
        &[
            ("a", "holding-register:1:UINT", 50),
            ("b", "holding-register:2:UDINT", 50),
            ("c", "holding-register:14:UINT", 50),
        ],
    ));
    let collected = session.collected.clone();
    until("values", || !collected.good("c").is_empty()).await;
    let request = peer.asks()[0].request;
    assert_eq!((request.start, request.quantity), (0, 14));
    let both = u32::from(register(1)) << 16 | u32::from(register(2));
    assert_eq!(collected.good("b")[0], Value::U32(both));
    assert_eq!(collected.good("c")[0], Value::U16(register(13)));
    session.stop().await;
}

#[tokio::test]
async fn a_refused_address_is_bad_alone_and_its_neighbours_are_good_in_the_same_batch() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.covers(6) { ask.exception(2) } else { ask.good() }))
            .await;
    let names: Vec<(String, String)> =
        (1..=12).map(|n| (format!("p{n}"), format!("holding-register:{n}:UINT"))).collect();
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), 50)).collect();
    let session = Running::start(device(peer.port, &points));
    let collected = session.collected.clone();
    until("three batches", || collected.batches().len() >= 3).await;
    for batch in &collected.batches()[..3] {
        assert_eq!(batch.len(), 12);
        for sample in batch.iter() {
            if sample.point == 6 {
                assert_eq!(sample.status, StatusCode::BAD_CONFIGURATION_ERROR);
                assert_eq!(*sample.value, Value::Null);
            } else {
                let address = u16::try_from(sample.point).unwrap();
                assert_eq!(*sample.value, Value::U16(register(address)));
            }
        }
    }
    session.stop().await;
}

#[tokio::test]
async fn each_exception_becomes_the_quality_of_its_point_and_of_no_other() {
    // Registers 200, 300, ... answer with the exception 2, 3, ...
    let codes: [(u8, StatusCode); 8] = [
        (2, StatusCode::BAD_CONFIGURATION_ERROR),
        (3, StatusCode::BAD_CONFIGURATION_ERROR),
        (4, StatusCode::BAD_DEVICE_FAILURE),
        (5, StatusCode::BAD_TOO_MANY_OPERATIONS),
        (6, StatusCode::BAD_TOO_MANY_OPERATIONS),
        (8, StatusCode::BAD_DEVICE_FAILURE),
        (9, StatusCode::BAD_COMMUNICATION_ERROR),
        (99, StatusCode::BAD_COMMUNICATION_ERROR),
    ];
    let peer = Peer::start(move |ask| {
        let hit = codes.iter().find(|(code, _)| ask.covers(u16::from(*code) * 100));
        Do::Send(hit.map_or_else(|| ask.good(), |(code, _)| ask.exception(*code)))
    })
    .await;
    let mut names: Vec<(String, String)> = codes
        .iter()
        .map(|(c, _)| (format!("p{c}"), format!("holding-register:{}", u32::from(*c) * 100 + 1)))
        .collect();
    names.push(("fine".into(), "holding-register:1".into()));
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), 50)).collect();
    let session = Running::start(device(peer.port, &points));
    let collected = session.collected.clone();
    until("three batches", || collected.batches().len() >= 3).await;
    for (code, status) in codes {
        let statuses = collected.statuses(&format!("p{code}"));
        assert!(statuses.iter().all(|s| *s == status), "exception {code}: {statuses:?}");
    }
    assert_eq!(collected.statuses("fine")[..3], [StatusCode::GOOD; 3]);
    session.stop().await;
}

#[tokio::test]
async fn a_table_the_device_does_not_have_is_bad_as_a_whole() {
    let peer = Peer::start(|ask| {
        let input = ask.request.area.function() == 4;
        Do::Send(if input { ask.exception(1) } else { ask.good() })
    })
    .await;
    let session = Running::start(device(
        peer.port,
        &[
            ("a", "input-register:1", 50),
            ("b", "input-register:500", 50),
            ("c", "holding-register:1", 50),
        ],
    ));
    let collected = session.collected.clone();
    until("three batches", || collected.batches().len() >= 3).await;
    for point in ["a", "b"] {
        let statuses = collected.statuses(point);
        assert!(
            statuses.iter().all(|s| *s == StatusCode::BAD_CONFIGURATION_ERROR),
            "{point}: {statuses:?}"
        );
    }
    assert_eq!(collected.good("c").len(), collected.statuses("c").len());
    session.stop().await;
}

#[tokio::test]
async fn a_unit_that_the_gateway_cannot_reach_does_not_disturb_the_others() {
    let peer = Peer::start(|ask| {
        Do::Send(if ask.request.unit == 2 { ask.exception(11) } else { ask.good() })
    })
    .await;
    let session = Running::start(device(
        peer.port,
        &[("a", "holding-register:1", 50), ("b", "holding-register:1{unit-id: 2}", 50)],
    ));
    let collected = session.collected.clone();
    until("five batches", || collected.batches().len() >= 5).await;
    let statuses = collected.statuses("b");
    assert!(statuses.iter().all(|s| *s == StatusCode::BAD_NO_COMMUNICATION), "{statuses:?}");
    assert_eq!(collected.good("a").len(), collected.statuses("a").len());
    session.stop().await;
}

#[tokio::test]
async fn text_that_is_no_text_is_a_decoding_error_of_that_point() {
    let peer = Peer::start(|ask| {
        let function = ask.request.area.function();
        Do::Send(ask.frame(ask.transaction, 1, &[function, 4, 0xFF, 0xFE, 0x41, 0x00]))
    })
    .await;
    let session = Running::start(device(
        peer.port,
        &[("broken", "holding-register:1:CHAR[2]", 50), ("text", "holding-register:2:CHAR[2]", 50)],
    ));
    let collected = session.collected.clone();
    until("a batch", || !collected.batches().is_empty()).await;
    assert_eq!(collected.of("broken")[0], (Value::Null, StatusCode::BAD_DECODING_ERROR));
    assert_eq!(collected.of("text")[0], (Value::String("A".into()), StatusCode::GOOD));
    session.stop().await;
}

#[tokio::test]
async fn no_more_than_the_allowed_requests_are_sent() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let mut device =
        device(peer.port, &[("a", "holding-register:1", 10), ("b", "holding-register:1000", 10)]);
    device.max_requests_per_second = Some(20);
    let began = Instant::now();
    let session = Running::start(device);
    until("ten requests", || peer.asks().len() >= 10).await;
    // Nine pauses of 50 ms.
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    session.stop().await;
}

#[tokio::test]
async fn a_pipeline_that_takes_nothing_stops_the_polling_and_not_the_cancellation() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let collected = Collected::with_permits(1);
    let session =
        Running::with(device(peer.port, &[("a", "holding-register:1", 10)]), collected.clone());
    until("two requests", || peer.asks().len() >= 2).await;
    // The second batch waits; nothing is asked meanwhile, although twenty periods pass.
    let quiet = tokio::time::timeout(Duration::from_millis(200), async {
        until("a third request", || peer.asks().len() > 2).await;
    });
    assert!(quiet.await.is_err(), "polled without room: {}", peer.asks().len());
    collected.permit(1);
    until("a third request", || peer.asks().len() >= 3).await;
    session.stop().await;
}
