//! A broker that says nothing, and a session that has to end.

use std::time::{Duration, Instant};

use lineside_core::secret::Secrets;
use lineside_core::sink::Outcome;
use lineside_core::{Batch, FaultClass, TimeQuality, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{MqttSettings, MqttVersion, Qos};
use lineside_sink_mqtt::Deadlines;

use crate::broker::{Broker, free_port};
use crate::pipeline::{origin, record, settings, start, start_with, with_id};
use crate::proxy::Proxy;

fn short() -> Deadlines {
    Deadlines {
        connect: Duration::from_millis(700),
        silence: Duration::from_millis(700),
        keep_alive: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_ends_the_session_and_the_next_one_delivers() {
    let broker = Broker::start("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let settings = settings(broker.port, version);
        let mut running = start_with(settings.clone(), short(), Secrets::default());
        running.send(record(&origin(1), 1));
        assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
        broker.freeze();
        for offset in 2..40 {
            running.send(record(&origin(1), offset));
        }
        let started = Instant::now();
        let fault = running.fault().await;
        assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::SinkSilent));
        assert!(started.elapsed() >= short().silence);
        broker.thaw();
        let mut again = start(settings);
        for offset in 2..40 {
            again.send(record(&origin(1), offset));
            assert_eq!(again.settled().await, (offset, Outcome::delivered(1)));
        }
        again.cancelled().await;
    }
}

#[tokio::test]
async fn an_idle_session_notices_a_dead_broker_by_its_ping() {
    let broker = Broker::start("");
    let deadlines = Deadlines { keep_alive: Duration::from_secs(1), ..short() };
    let settings = settings(broker.port, MqttVersion::V5);
    let mut running = start_with(settings, deadlines, Secrets::default());
    running.send(record(&origin(1), 1));
    assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
    broker.freeze();
    let fault = running.fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::SinkSilent));
    assert!(fault.chain().contains("PINGREQ"), "{}", fault.chain());
}

#[tokio::test]
async fn an_idle_session_lives_longer_than_its_keep_alive() {
    let broker = Broker::start("");
    let deadlines = Deadlines { keep_alive: Duration::from_secs(1), ..short() };
    let settings = settings(broker.port, MqttVersion::V311);
    let mut running = start_with(settings, deadlines, Secrets::default());
    running.connected().await;
    let pings = || broker.log().matches("Received PINGREQ from lineside-").count();
    let deadline = Instant::now() + Duration::from_secs(20);
    while pings() < 4 {
        assert!(Instant::now() < deadline, "no pings");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.send(record(&origin(1), 1));
    assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
    running.cancelled().await;
}

#[tokio::test]
async fn best_effort_ends_too_when_the_broker_takes_no_more_bytes() {
    let broker = Broker::start("");
    let mut settings = settings(broker.port, MqttVersion::V5);
    settings.qos = Qos::AtMostOnce;
    let mut running = start_with(settings, short(), Secrets::default());
    running.connected().await;
    broker.freeze();
    let origin = origin(1_000);
    // Far more than the sockets buffer.
    for offset in 0..1_000 {
        running.send(record(&origin, offset));
    }
    let fault = running.fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::SinkSilent));
}

#[tokio::test]
async fn a_session_is_cancelled_within_a_second_even_from_a_dead_broker() {
    let broker = Broker::start("");
    for freeze in [false, true] {
        let mut running = start(settings(broker.port, MqttVersion::V5));
        running.connected().await;
        if freeze {
            broker.freeze();
        }
        let origin = origin(1_000);
        for offset in 0..100 {
            running.send(record(&origin, offset));
        }
        let started = Instant::now();
        running.cancelled().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    // Stopped before the connection is accepted.
    let running = start(settings(broker.port, MqttVersion::V5));
    let started = Instant::now();
    running.cancelled().await;
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_broker_that_never_answers_connect_is_a_timeout() {
    let broker = Broker::start("");
    broker.freeze();
    let settings = settings(broker.port, MqttVersion::V5);
    let fault = start_with(settings, short(), Secrets::default()).fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::SinkTimeout));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let fault = start(settings(free_port(), MqttVersion::V5)).fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::SinkUnavailable));
    let mut unknown = settings(1, MqttVersion::V5);
    unknown.host = "no-such-host.invalid".to_owned();
    let fault = start_with(unknown, Deadlines::default(), Secrets::default()).fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::HostNotFound));
}

#[tokio::test]
async fn a_broker_that_shuts_down_ends_the_session() {
    let broker = Broker::start("");
    let mut running = start(settings(broker.port, MqttVersion::V5));
    running.connected().await;
    drop(broker);
    let fault = running.fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::SinkUnavailable));
}

/// A message that takes the line many times the longest silence.
async fn arrives_over_a_slow_line(settings: MqttSettings, secrets: Secrets) {
    let silence = Duration::from_millis(1_500);
    // Pings become due while the message is under way.
    let deadlines = Deadlines { silence, keep_alive: Duration::from_secs(1), ..Default::default() };
    let qos = settings.qos;
    let mut running = start_with(settings, deadlines, secrets);
    let mut batch = Batch::with_capacity(origin(1), 0, TimeQuality::Synced, 1);
    batch.push_good(0, Value::String("x".repeat(2 * 1024 * 1024).into()), 1);
    let started = Instant::now();
    running.send(with_id(batch, 1));
    running.send(record(&origin(1), 2));
    for offset in [1, 2] {
        assert_eq!(running.settled().await, (offset, Outcome::delivered(1)));
    }
    // Best effort is settled when the connection has taken the bytes.
    assert!(qos == Qos::AtMostOnce || started.elapsed() > 3 * silence);
    running.cancelled().await;
}

/// Bytes per second. What the sockets hide (128 KiB and, with TLS, 64 KiB) leaves in less than
/// the longest silence.
const SLOW: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_is_not_taken_for_a_dead_one() {
    let broker = Broker::start("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let proxy = Proxy::throttled(broker.port, SLOW);
        arrives_over_a_slow_line(settings(proxy.port, version), Secrets::default()).await;
        assert_eq!(proxy.counts().connections, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_with_tls_or_best_effort_is_not_taken_for_a_dead_one_either() {
    let (broker, _dir, secrets) = crate::tls::broker("");
    let proxy = Proxy::throttled(broker.port, SLOW);
    let encrypted = crate::tls::tls_settings(proxy.port, MqttVersion::V5, "ca.pem");
    arrives_over_a_slow_line(encrypted, secrets).await;
    let broker = Broker::start("");
    let proxy = Proxy::throttled(broker.port, SLOW);
    let mut best_effort = settings(proxy.port, MqttVersion::V5);
    best_effort.qos = Qos::AtMostOnce;
    arrives_over_a_slow_line(best_effort, Secrets::default()).await;
}

#[tokio::test]
async fn a_trickle_of_records_does_not_keep_a_dead_connection_alive() {
    let broker = Broker::start("");
    let mut running =
        start_with(settings(broker.port, MqttVersion::V5), short(), Secrets::default());
    running.send(record(&origin(1), 1));
    assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
    broker.freeze();
    let frozen = Instant::now();
    // The sockets would take them for minutes; the window for 20 of them.
    for offset in 2.. {
        if running.is_finished() {
            break;
        }
        running.send(record(&origin(1), offset));
        tokio::time::sleep(short().silence / 4).await;
    }
    assert!(frozen.elapsed() < 3 * short().silence, "{:?}", frozen.elapsed());
    let fault = running.fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Timeout, Code::SinkSilent));
}
