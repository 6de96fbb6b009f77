//! What the broker allows is respected, and what it cannot take costs nothing else.

use lineside_core::sink::Outcome;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::MqttVersion;

use crate::broker::Broker;
use crate::pipeline::{origin, record, settings, start};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_record_above_the_brokers_packet_size_is_rejected_on_the_same_connection() {
    let broker = Broker::start("max_packet_size 5000");
    let proxy = Proxy::start(broker.port).await;
    let mut running = start(settings(proxy.port, MqttVersion::V5));
    running.send(record(&origin(10), 1));
    running.send(record(&origin(500), 2));
    running.send(record(&origin(10), 3));
    // What the sink itself refuses may be settled before what is on its way.
    let (mut rejected, mut delivered) = (None, Vec::new());
    for _ in 0..3 {
        match running.settled().await {
            (2, Outcome::Rejected { code, message }) => rejected = Some((code, message)),
            (offset, Outcome::Delivered) => delivered.push(offset),
            other => panic!("{other:?}"),
        }
    }
    let (code, message) = rejected.unwrap();
    assert_eq!(code, Code::RecordTooLarge);
    assert!(message.contains("5000"), "{message}");
    assert_eq!(delivered, [1, 3]);
    assert_eq!(proxy.counts().connections, 1);
    running.cancelled().await;
}

#[tokio::test]
async fn never_more_is_in_flight_than_the_broker_takes() {
    let broker = Broker::start("max_inflight_messages 3");
    in_flight_is_at_most(3, &broker).await;
}

#[tokio::test]
async fn never_more_than_twenty_are_in_flight() {
    let broker = Broker::start("max_inflight_messages 0");
    in_flight_is_at_most(20, &broker).await;
}

async fn in_flight_is_at_most(limit: i64, broker: &Broker) {
    let proxy = Proxy::start(broker.port).await;
    let mut running = start(settings(proxy.port, MqttVersion::V5));
    running.connected().await;
    broker.freeze();
    let origin = origin(1);
    for offset in 0..200 {
        running.send(record(&origin, offset));
    }
    proxy.until(|counts| counts.published - counts.acknowledged == limit).await;
    broker.thaw();
    for offset in 0..200 {
        assert_eq!(running.settled().await, (offset, Outcome::Delivered));
    }
    assert_eq!(proxy.counts().most_in_flight, limit);
    running.cancelled().await;
}
