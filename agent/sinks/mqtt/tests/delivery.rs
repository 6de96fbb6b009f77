//! Records reach the consumer, and count as delivered only when the broker said so.

use lineside_core::sink::Outcome;
use lineside_core::{Batch, StatusCode, TimeQuality, Value};
use lineside_crds::model::{Encoding, MqttVersion, Qos, TopicPart};

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::pipeline::{STORE, origin, record, settings, start, with_id};

#[tokio::test]
async fn records_arrive_in_order_with_both_versions_and_both_qualities_of_service() {
    let broker = Broker::start("");
    let origin = origin(2);
    for version in [MqttVersion::V311, MqttVersion::V5] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let mut consumer = Consumer::start(broker.port, "data/#").await;
            let mut settings = settings(broker.port, version);
            settings.qos = qos;
            let mut running = start(settings);
            for offset in 0..50 {
                running.send(record(&origin, offset));
            }
            for offset in 0..50 {
                let seen = consumer.next().await;
                assert_eq!(seen.topic, "data/plant/press");
                assert_eq!(seen.qos, u8::from(qos == Qos::AtLeastOnce));
                let json: serde_json::Value = serde_json::from_str(&seen.payload).unwrap();
                assert_eq!(json["id"], format!("{STORE}/3/{offset}"));
                assert_eq!(json["points"][1]["value"], offset + 1);
                assert_eq!(running.settled().await, (offset, Outcome::delivered(2)));
            }
            running.cancelled().await;
        }
    }
}

#[tokio::test]
async fn mqtt_5_carries_identity_and_content_type() {
    let broker = Broker::start("");
    let mut consumer = Consumer::start(broker.port, "data/#").await;
    let running = start(settings(broker.port, MqttVersion::V5));
    running.send(record(&origin(1), 9));
    let seen = consumer.next().await;
    assert_eq!(seen.content_type, "application/json");
    assert_eq!(seen.user_properties, format!("lineside-id:{STORE}/3/9"));
}

#[tokio::test]
async fn nothing_counts_as_delivered_while_the_broker_is_stopped_and_all_of_it_after() {
    let broker = Broker::start("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let mut consumer = Consumer::start(broker.port, "data/#").await;
        let mut running = start(settings(broker.port, version));
        let origin = origin(1_000);
        running.send(record(&origin, 0));
        assert_eq!(running.settled().await, (0, Outcome::delivered(1_000)));
        broker.freeze();
        for offset in 1..100 {
            running.send(record(&origin, offset));
        }
        // The first of them is on the wire long before this ends; none is acknowledged.
        let wait = tokio::time::timeout(std::time::Duration::from_secs(1), running.settled());
        assert!(wait.await.is_err());
        assert_eq!(running.try_settled(), None);
        broker.thaw();
        for offset in 1..100 {
            assert_eq!(running.settled().await, (offset, Outcome::delivered(1_000)));
        }
        for offset in 0..100 {
            assert_eq!(consumer.json().await["id"], format!("{STORE}/3/{offset}"));
        }
        running.cancelled().await;
    }
}

#[tokio::test]
async fn a_record_of_many_points_arrives_in_numbered_parts_and_settles_once() {
    let broker = Broker::start("");
    let mut consumer = Consumer::start(broker.port, "data/#").await;
    let mut running = start(settings(broker.port, MqttVersion::V5));
    running.send(record(&origin(2_500), 4));
    for (part, points) in [(0, 1_000), (1, 1_000), (2, 500)] {
        let seen = consumer.next().await;
        assert_eq!(seen.user_properties, format!("lineside-id:{STORE}/3/4.{part}"));
        let json: serde_json::Value = serde_json::from_str(&seen.payload).unwrap();
        assert_eq!(json["id"], format!("{STORE}/3/4.{part}"));
        assert_eq!(json["points"].as_array().unwrap().len(), points);
    }
    assert_eq!(running.settled().await, (4, Outcome::delivered(2_500)));
    running.cancelled().await;
}

#[tokio::test]
async fn value_encoding_has_a_topic_per_point_and_skips_records_without_a_value() {
    let broker = Broker::start("");
    let mut consumer = Consumer::start(broker.port, "data/#").await;
    let mut settings = settings(broker.port, MqttVersion::V5);
    settings.encoding = Encoding::Value;
    settings.topic.0.extend([TopicPart::Literal("/".to_owned()), TopicPart::Point]);
    let mut running = start(settings);
    let origin = origin(60);
    let mut bad = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, 1);
    bad.push_bad(0, StatusCode::BAD_TIMEOUT, 1);
    running.send(with_id(bad, 1));
    assert_eq!(running.settled().await, (1, Outcome::skipped(1)));
    running.send(record(&origin, 100));
    for point in 0..60 {
        let seen = consumer.next().await;
        assert_eq!(seen.topic, format!("data/plant/press/p{point}"));
        assert_eq!(seen.payload, (100 + point).to_string());
        assert_eq!(seen.user_properties, format!("lineside-id:{STORE}/3/100.{point}"));
        assert_eq!(seen.content_type, "");
    }
    assert_eq!(running.settled().await, (100, Outcome::delivered(60)));
    running.cancelled().await;
}

#[tokio::test]
async fn flat_json_has_good_values_only() {
    let broker = Broker::start("");
    let mut consumer = Consumer::start(broker.port, "data/#").await;
    let mut settings = settings(broker.port, MqttVersion::V311);
    settings.encoding = Encoding::FlatJson;
    let mut running = start(settings);
    let mut batch = Batch::with_capacity(origin(2), 0, TimeQuality::Synced, 2);
    batch.push_good(0, Value::F32(20.11), 1_500_000_000);
    batch.push_bad(1, StatusCode::BAD_TIMEOUT, 1_500_000_000);
    running.send(with_id(batch, 1));
    assert_eq!(consumer.next().await.payload, r#"{"timestamp":1500,"p0":20.11}"#);
    // The bad one is told apart.
    let outcome = Outcome { skipped: 1, ..Outcome::delivered(1) };
    assert_eq!(running.settled().await, (1, outcome));
    running.cancelled().await;
}
