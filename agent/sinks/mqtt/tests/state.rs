//! The retained online state.

use lineside_core::sink::Outcome;
use lineside_crds::model::{MqttVersion, Qos};
use lineside_sink_mqtt::state_topic;

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::pipeline::{identity, origin, record, settings, start};
use crate::proxy::Proxy;

const TOPIC: &str = "lineside/plant/agents/edge-1/all/broker";

async fn retained(broker: &Broker) -> String {
    let seen = Consumer::start(broker.port, TOPIC).await.next().await;
    assert!(seen.retained);
    let json: serde_json::Value = serde_json::from_str(&seen.payload).unwrap();
    json["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_is_online_while_connected_and_offline_after_an_orderly_end() {
    assert_eq!(state_topic(&identity()), TOPIC);
    let broker = Broker::start("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let mut live = Consumer::start(broker.port, TOPIC).await;
            let mut settings = settings(broker.port, version);
            settings.qos = qos;
            let mut running = start(settings);
            running.send(record(&origin(1), 1));
            assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
            let online = loop {
                // The first message may be the one retained by the round before.
                let json = live.json().await;
                if json["state"] == "Online" {
                    break json;
                }
            };
            assert!(online["time"].as_str().unwrap().ends_with('Z'));
            assert_eq!(retained(&broker).await, "Online");
            running.cancelled().await;
            assert_eq!(live.json().await["state"], "Offline");
            assert_eq!(retained(&broker).await, "Offline");
        }
    }
}

#[tokio::test]
async fn the_last_will_says_offline_when_the_connection_is_cut() {
    let broker = Broker::start("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let proxy = Proxy::start(broker.port).await;
        let mut running = start(settings(proxy.port, version));
        running.send(record(&origin(1), 1));
        assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
        let mut live = Consumer::start(broker.port, TOPIC).await;
        assert_eq!(live.json().await["state"], "Online");
        proxy.cut();
        assert_eq!(live.json().await, serde_json::json!({"state": "Offline"}));
        assert_eq!(retained(&broker).await, "Offline");
        running.fault().await;
    }
}
