//! What the broker allows is respected, and what it cannot take costs nothing else.

use lineside_core::sink::Outcome;
use lineside_core::{Batch, StatusCode, TimeQuality, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Encoding, MqttVersion, Qos, TopicPart};

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::pipeline::{origin, record, settings, start, with_id};
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
            (2, outcome) => rejected = Some(outcome),
            (offset, outcome) => {
                assert_eq!(outcome, Outcome::delivered(10));
                delivered.push(offset);
            }
        }
    }
    let rejected = rejected.unwrap();
    let message = rejected.refusals[0].message.clone();
    assert_eq!(rejected, Outcome::rejected(500, Code::RecordTooLarge, message.clone()));
    assert!(message.contains("5000"), "{message}");
    assert_eq!(delivered, [1, 3]);
    assert_eq!(proxy.counts().connections, 1);
    running.cancelled().await;
}

#[tokio::test]
async fn a_message_above_the_brokers_packet_size_costs_the_rest_of_its_record_nothing() {
    let broker = Broker::start("max_packet_size 5000");
    let mut consumer = Consumer::start(broker.port, "data/#").await;
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut settings = settings(broker.port, MqttVersion::V5);
        settings.encoding = Encoding::Value;
        settings.qos = qos;
        settings.topic.0.extend([TopicPart::Literal("/".to_owned()), TopicPart::Point]);
        let mut running = start(settings);
        let mut batch = Batch::with_capacity(origin(4), 0, TimeQuality::Synced, 4);
        batch.push_good(0, Value::U8(1), 1);
        batch.push_good(1, Value::String("x".repeat(6_000).into()), 1);
        batch.push_bad(2, StatusCode::BAD_TIMEOUT, 1);
        batch.push_good(3, Value::U8(4), 1);
        running.send(with_id(batch, 1));
        let (_, outcome) = running.settled().await;
        assert_eq!((outcome.delivered, outcome.skipped, outcome.rejected), (2, 1, 1));
        assert_eq!(outcome.refusals[0].code, Code::RecordTooLarge);
        assert_eq!(consumer.next().await.topic, "data/plant/press/p0");
        assert_eq!(consumer.next().await.topic, "data/plant/press/p3");
        running.cancelled().await;
    }
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
        assert_eq!(running.settled().await, (offset, Outcome::delivered(1)));
    }
    assert_eq!(proxy.counts().most_in_flight, limit);
    running.cancelled().await;
}
