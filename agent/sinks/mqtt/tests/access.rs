//! Who may connect and publish.

use std::fs;
use std::process::Command;

use lineside_core::secret::Secrets;
use lineside_core::sink::Outcome;
use lineside_core::{Batch, FaultClass, StatusCode, TimeQuality, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{
    CredentialsRef, Encoding, MqttSettings, MqttVersion, SecretKeyRef, TopicPart,
};
use tempfile::TempDir;

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::pipeline::{origin, record, settings, start_with, with_id};

pub fn secret(key: &str) -> SecretKeyRef {
    SecretKeyRef { secret: "mqtt".to_owned(), key: key.to_owned() }
}

/// A broker with one user, who may publish below `data/plant`, but not everything.
fn broker() -> Broker {
    let dir = TempDir::new().unwrap();
    let users = dir.path().join("users");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c", users.to_str().unwrap(), "agent", "s3cret"])
        .status()
        .expect("mosquitto_passwd is not installed; run `cargo xtask setup`");
    assert!(made.success());
    let rules = "user agent\ntopic readwrite lineside/#\ntopic readwrite data/plant/#\n\
                 topic deny data/plant/press/p20\n";
    fs::write(dir.path().join("rules"), rules).unwrap();
    let conf = "allow_anonymous false\npassword_file {dir}/users\nacl_file {dir}/rules\n\
                max_queued_messages 100000";
    Broker::start_in(dir, conf)
}

fn secrets(password: &str) -> (TempDir, Secrets) {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("mqtt")).unwrap();
    fs::write(dir.path().join("mqtt/user"), "agent\n").unwrap();
    fs::write(dir.path().join("mqtt/password"), password).unwrap();
    let secrets = Secrets::new(Some(dir.path().to_owned()));
    (dir, secrets)
}

fn with_credentials(port: u16, version: MqttVersion) -> MqttSettings {
    let mut settings = settings(port, version);
    let (username, password) = (secret("user"), Some(secret("password")));
    settings.credentials = Some(CredentialsRef { username, password });
    settings
}

#[tokio::test]
async fn user_and_password_come_from_secrets() {
    let broker = broker();
    let (_dir, secrets) = secrets("s3cret\n");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let settings = with_credentials(broker.port, version);
        let mut running = start_with(settings, Default::default(), secrets.clone());
        running.send(record(&origin(1), 1));
        assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
        running.cancelled().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_auth_fault_that_does_not_print_it() {
    let broker = broker();
    let (_dir, secrets) = secrets("wr0ng");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        let settings = with_credentials(broker.port, version);
        let fault = start_with(settings, Default::default(), secrets.clone()).fault().await;
        assert_eq!((fault.class, fault.code), (FaultClass::Auth, Code::SinkAuth));
        assert!(!fault.chain().contains("wr0ng"));
    }
}

#[tokio::test]
async fn a_missing_secret_is_a_config_fault() {
    let settings = with_credentials(1, MqttVersion::V5);
    let fault = start_with(settings, Default::default(), Secrets::default()).fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::SecretNotFound));
}

#[tokio::test]
async fn an_empty_user_name_is_a_config_fault() {
    let (dir, secrets) = secrets("s3cret");
    fs::write(dir.path().join("mqtt/user"), "\n").unwrap();
    let settings = with_credentials(1, MqttVersion::V5);
    let fault = start_with(settings, Default::default(), secrets).fault().await;
    assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::SecretInvalid));
}

#[tokio::test]
async fn a_record_that_may_not_be_published_is_rejected_alone() {
    let broker = broker();
    let (_dir, secrets) = secrets("s3cret");
    let login = ["-u", "agent", "-P", "s3cret"];
    let mut consumer = Consumer::start_with(broker.port, "data/#", &login).await;
    let settings = with_credentials(broker.port, MqttVersion::V5);
    let mut running = start_with(settings, Default::default(), secrets);
    let forbidden = std::sync::Arc::new(lineside_core::Origin::new(
        lineside_crds::model::ObjectKey::new("forbidden", "press"),
        None,
        vec!["p0".into()].into(),
        Vec::new().into(),
    ));
    running.send(record(&origin(1), 1));
    running.send(record(&forbidden, 2));
    running.send(record(&origin(1), 3));
    assert_eq!(running.settled().await, (1, Outcome::delivered(1)));
    let (offset, outcome) = running.settled().await;
    let message = outcome.refusals[0].message.clone();
    let rejected = Outcome::rejected(1, Code::RecordRejected, message.clone());
    assert_eq!((offset, outcome), (2, rejected));
    assert!(message.contains("NotAuthorized"), "{message}");
    assert_eq!(running.settled().await, (3, Outcome::delivered(1)));
    assert_eq!(consumer.json().await["points"][0]["value"], 1);
    assert_eq!(consumer.json().await["points"][0]["value"], 3);
    running.cancelled().await;
}

#[tokio::test]
async fn one_forbidden_topic_costs_its_own_point_and_no_other() {
    let broker = broker();
    let (_dir, secrets) = secrets("s3cret");
    let login = ["-u", "agent", "-P", "s3cret"];
    let mut consumer = Consumer::start_with(broker.port, "data/#", &login).await;
    let mut settings = with_credentials(broker.port, MqttVersion::V5);
    settings.encoding = Encoding::Value;
    settings.topic.0.extend([TopicPart::Literal("/".to_owned()), TopicPart::Point]);
    let mut running = start_with(settings, Default::default(), secrets);
    let origin = origin(1_000);
    // Every cycle is refused in the same place, and every cycle delivers the rest.
    for offset in [1, 2] {
        let mut batch = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, 1_000);
        for point in 0..1_000 {
            match point {
                40 => batch.push_bad(point, StatusCode::BAD_TIMEOUT, 1),
                _ => batch.push_good(point, Value::U32(point), 1),
            }
        }
        running.send(with_id(batch, offset));
        let (settled, outcome) = running.settled().await;
        assert_eq!(settled, offset);
        assert_eq!((outcome.delivered, outcome.skipped, outcome.rejected), (998, 1, 1));
        assert_eq!(outcome.refusals[0].code, Code::RecordRejected);
        for point in (0..1_000).filter(|p| ![20, 40].contains(p)) {
            assert_eq!(consumer.next().await.topic, format!("data/plant/press/p{point}"));
        }
    }
    running.cancelled().await;
}
