//! The conformance kit for sinks (`docs/specs/sink.md`).

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::kit::sink::{Remote, SinkCase, check};
use lineside_core::kit::{ORIGIN_POINT, numbered_origin};
use lineside_core::sink::Sink;
use lineside_core::{Batch, Origin, StatusCode, TimeQuality, Value};
use lineside_crds::model::{Encoding, MqttVersion, ObjectKey, Qos};
use lineside_sink_mqtt::{Deadlines, build};
use tempfile::TempDir;

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::pipeline::settings;

const DEADLINE: Duration = Duration::from_millis(700);

struct Case {
    version: MqttVersion,
    encoding: Encoding,
    qos: Qos,
}

/// Mosquitto with a subscriber that was there first.
struct MosquittoRemote {
    broker: Broker,
    consumer: Mutex<(Consumer, Vec<i64>)>,
}

impl MosquittoRemote {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        // Whatever is not named here is refused: MQTT 5 says so in PUBACK.
        let rules = "topic readwrite lineside/#\ntopic readwrite data/kit/counter\n";
        fs::write(dir.path().join("rules"), rules).unwrap();
        // Room for every burst of the kit. Mosquitto 2.0.11 takes 0 (no limit) for a full queue
        // when it has just refused a message, and closes the connection.
        let conf = "allow_anonymous true\nacl_file {dir}/rules\nmax_queued_messages 100000";
        let broker = Broker::start_in(dir, conf);
        let consumer = Consumer::start(broker.port, "data/kit/counter").await;
        Self { broker, consumer: Mutex::new((consumer, Vec::new())) }
    }
}

impl Remote for MosquittoRemote {
    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.broker.port).into()
    }

    fn received(&self) -> BoxFuture<'_, io::Result<Vec<i64>>> {
        async {
            let mut guard = self.consumer.lock().unwrap();
            let (consumer, numbers) = &mut *guard;
            while let Some(seen) = consumer.try_next() {
                let json: serde_json::Value = serde_json::from_str(&seen.payload).unwrap();
                let number = json.get(ORIGIN_POINT).unwrap_or(&json["points"][0]["value"]);
                numbers.push(number.as_i64().unwrap());
            }
            Ok(numbers.clone())
        }
        .boxed()
    }
}

impl SinkCase for Case {
    fn sink(&self, remote: SocketAddr) -> Arc<dyn Sink> {
        let mut settings = settings(remote.port(), self.version);
        settings.encoding = self.encoding;
        settings.qos = self.qos;
        let deadlines = Deadlines { connect: DEADLINE, silence: DEADLINE, ..Deadlines::default() };
        Arc::new(build(settings).with_deadlines(deadlines))
    }

    fn remote(&self) -> BoxFuture<'_, io::Result<Box<dyn Remote>>> {
        async { Ok(Box::new(MosquittoRemote::start().await) as Box<dyn Remote>) }.boxed()
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn max_in_flight(&self) -> usize {
        20
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        let connack: &[u8] = match self.version {
            MqttVersion::V311 => &[0x20, 2, 0, 0],
            MqttVersion::V5 => &[0x20, 3, 0, 0, 0],
        };
        let after: [&[u8]; 7] = [
            // PUBACK of what was never sent, and one that is cut short.
            &[0x40, 2, 0xFF, 0xFF],
            &[0x40, 1, 0],
            // PUBLISH to a client without a subscription, with a topic longer than the packet.
            &[0x30, 5, 0, 1, b'a', 0, 0],
            &[0x30, 4, 0xFF, 0xFF, b'a', b'b'],
            // A second CONNACK, a packet type that does not exist, a length without an end.
            connack,
            &[0x00, 0],
            &[0x40, 0xFF, 0xFF, 0xFF, 0xFF],
        ];
        let mut all: Vec<Vec<u8>> = after.iter().map(|b| [connack, b].concat()).collect();
        all.push(vec![0x20, 0xFF, 0xFF, 0xFF, 0x7F]);
        all.push(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
        all
    }

    fn poison(&self) -> Option<Arc<Batch>> {
        // MQTT 3.1.1 has no way to refuse a message, and QoS 0 no answer at all.
        if self.version == MqttVersion::V311 || self.qos == Qos::AtMostOnce {
            return None;
        }
        let device = ObjectKey::new("kit", "forbidden");
        let points = vec![ORIGIN_POINT.into()].into();
        let origin = Arc::new(Origin::new(device, None, points, Vec::new().into()));
        let mut batch = Batch::with_capacity(origin, 1, TimeQuality::Synced, 1);
        batch.push_good(0, Value::I64(-1), 1);
        Some(Arc::new(batch))
    }

    fn skipped(&self) -> Option<Arc<Batch>> {
        if self.encoding == Encoding::Json {
            return None;
        }
        let mut batch = Batch::with_capacity(numbered_origin(), 1, TimeQuality::Synced, 1);
        batch.push_bad(0, StatusCode::BAD_TIMEOUT, 1);
        Some(Arc::new(batch))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_5_keeps_the_sink_contract() {
    let case = Case { version: MqttVersion::V5, encoding: Encoding::Json, qos: Qos::AtLeastOnce };
    check(&case).await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_311_keeps_the_sink_contract() {
    let (version, encoding) = (MqttVersion::V311, Encoding::FlatJson);
    check(&Case { version, encoding, qos: Qos::AtLeastOnce }).await.assert();
}

#[tokio::test(flavor = "multi_thread")]
async fn best_effort_keeps_the_sink_contract() {
    let (version, encoding) = (MqttVersion::V5, Encoding::FlatJson);
    check(&Case { version, encoding, qos: Qos::AtMostOnce }).await.assert();
}
