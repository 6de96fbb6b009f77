//! Raw bytes for somebody who looks.

use lineside_core::StatusCode;

use crate::harness::{Running, device, until};
use crate::peer::{Do, Peer, register};

#[tokio::test]
async fn raw_bytes_are_those_of_the_answer_and_only_for_somebody_who_looks() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let session = Running::start(device(
        peer.port,
        &[
            ("number", "holding-register:100:UDINT", 50),
            ("text", "holding-register:102:WCHAR", 50),
            ("bit", "coil:4", 50),
        ],
    ));
    // All registers are in one answer, the bit is in another.
    let collected = session.collected.clone();
    until("three batches", || collected.batches().len() >= 3).await;
    assert_eq!(collected.raw(), [], "nobody looks");
    let asked = collected.asked_for_raw();
    assert!((1..=peer.asks().len()).contains(&asked), "{asked}: once per answer, not per value");

    collected.look();
    until("raw bytes of all", || collected.raw().len() >= 3).await;
    let raw = collected.raw();
    let of = |name: &str| raw.iter().find(|(point, _)| point == name).unwrap().1.clone();
    let number = [register(99).to_be_bytes(), register(100).to_be_bytes()].concat();
    assert_eq!(of("number"), number);
    assert_eq!(of("text"), register(101).to_be_bytes());
    // The peer's bits are on where the zero-based address is divisible by three.
    assert_eq!(of("bit"), [1]);
    session.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_value_of_the_type_are_shown_all_the_same() {
    // 0xD800 is half of a surrogate pair, so no text.
    let peer = Peer::start(|ask| {
        Do::Send(ask.frame(ask.transaction, ask.request.unit, &[3, 2, 0xD8, 0x00]))
    })
    .await;
    let session = Running::start(device(peer.port, &[("text", "holding-register:1:WCHAR", 50)]));
    let collected = session.collected.clone();
    collected.look();
    until("raw bytes", || !collected.raw().is_empty()).await;
    assert_eq!(collected.raw()[0], ("text".to_owned(), vec![0xD8, 0x00]));
    until("a sample", || !collected.statuses("text").is_empty()).await;
    assert_eq!(collected.statuses("text")[0], StatusCode::BAD_DECODING_ERROR);
    session.stop().await;
}
