//! The rules of a Pipeline that the schema cannot say.

mod iotdb;

use std::time::Duration;

use super::device::mode;
use super::quantity;
use super::topic::parse_topic;
use super::transform::transforms;
use super::{Judged, Meta};
use crate::api::pipeline::{self as api, MqttSpec, PipelineSpec, SinkSpec, StoreSpec, TlsSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::model::{
    ClientCertificate, CredentialsRef, Drain, Durability, Encoding, Glob, MqttSettings,
    MqttVersion, Overflow, Pipeline, Qos, SecretKeyRef, Sink, SinkKind, Source, Store, Tls,
    TopicPart, TopicTemplate,
};
use crate::plc4x::host_and_port;

/// Least and most bytes of a store.
const STORE_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 40);
/// Ports registered for MQTT without and with TLS.
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

pub(super) fn judge(meta: &Meta, spec: &PipelineSpec) -> Judged<Pipeline> {
    let at = FieldPath::spec();
    let mut findings = Vec::new();
    let sinks: Vec<Sink> = spec
        .sinks
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| sink(spec, at.key("sinks").index(i), &mut findings))
        .collect();
    let transforms = transforms(&spec.transforms, &at.key("transforms"), &mut findings);
    let store = store(spec.store.as_ref(), &at, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = (!refused).then(|| Pipeline {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        mode: mode(spec.mode),
        sources: spec.sources.iter().map(source).collect(),
        transforms,
        sinks,
        store,
        discard_backlog: meta.discard_backlog,
    });
    Judged { object, findings }
}

fn sink(spec: &SinkSpec, at: FieldPath, findings: &mut Vec<Diagnostic>) -> Option<Sink> {
    let (kind, drain) = match (&spec.mqtt, &spec.iotdb) {
        (Some(mqtt), None) => {
            let settings = mqtt_settings(mqtt, &at.key("mqtt"), findings);
            (SinkKind::Mqtt(settings), Drain::InOrder)
        }
        (None, Some(iotdb)) => {
            let settings = iotdb::settings(iotdb, &at.key("iotdb"), findings);
            (SinkKind::Iotdb(settings), Drain::LiveFirst)
        }
        (mqtt, _) => {
            let has = if mqtt.is_some() { "has two destinations" } else { "has no destination" };
            let message = format!("sink {} {has}; write one of mqtt and iotdb", spec.name);
            findings.push(Diagnostic::new(Code::ExactlyOneSink, at, message));
            return None;
        }
    };
    Some(Sink {
        name: spec.name.as_str().into(),
        kind,
        drain: match spec.drain {
            None => drain,
            Some(api::Drain::InOrder) => Drain::InOrder,
            Some(api::Drain::LiveFirst) => Drain::LiveFirst,
        },
        // String keys and no failing serializer.
        written: serde_json::to_string(spec).unwrap_or_default().into(),
    })
}

/// See [`super::recall_sink`].
pub(super) fn recall(written: &str) -> Option<Sink> {
    let spec: SinkSpec = serde_json::from_str(written).ok()?;
    let mut findings = Vec::new();
    let sink = sink(&spec, FieldPath::spec(), &mut findings)?;
    findings.iter().all(|f| f.code.level() != Level::Error).then_some(sink)
}

fn source(spec: &api::SourceSpec) -> Source {
    let globs = |list: &[String]| list.iter().cloned().map(Glob).collect();
    Source {
        name: spec.name.clone(),
        names: spec.devices.names.clone(),
        labels: spec.devices.selector.as_ref().map(|s| s.match_labels.clone()),
        include: globs(&spec.include),
        exclude: globs(&spec.exclude),
    }
}

fn mqtt_settings(spec: &MqttSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> MqttSettings {
    let mut say = |code, field: FieldPath, message: String| {
        findings.push(Diagnostic::new(code, field, message));
    };
    let (host, port, secure) = broker(&spec.url).unwrap_or_else(|message| {
        say(Code::SinkUrlInvalid, at.key("url"), message);
        // Not known, so the rule about tls stays silent.
        (String::new(), 0, spec.tls.is_some())
    });
    if spec.tls.is_some() && !secure {
        let message = "tls is given, but url is mqtt://; write mqtts://".to_owned();
        say(Code::TlsWithoutMqtts, at.key("tls"), message);
    }
    let encoding = match spec.encoding {
        None | Some(api::Encoding::JSON) => Encoding::Json,
        Some(api::Encoding::FlatJSON) => Encoding::FlatJson,
        Some(api::Encoding::Value) => Encoding::Value,
    };
    if spec.int64.is_some() && encoding == Encoding::Value {
        let message = "int64 has no meaning with encoding Value; remove it".to_owned();
        say(Code::Int64WithoutJson, at.key("int64"), message);
    }
    let default = match encoding {
        Encoding::Value => api::VALUE_TOPIC_DEFAULT,
        _ => api::TOPIC_DEFAULT,
    };
    let topic = parse_topic(spec.topic.as_deref().unwrap_or(default)).unwrap_or_else(|problems| {
        for (code, message) in problems {
            say(code, at.key("topic"), message);
        }
        TopicTemplate(Vec::new())
    });
    let has_point = topic.0.contains(&TopicPart::Point);
    if !topic.0.is_empty() && has_point != (encoding == Encoding::Value) {
        let (code, message) = match has_point {
            true => (Code::TopicPointUnused, "{point} is for encoding Value only"),
            false => (Code::TopicNeedsPoint, "encoding Value needs {point} in the topic"),
        };
        say(code, at.key("topic"), message.to_owned());
    }
    let credentials = credentials(spec.credentials_ref.as_ref(), at, findings);
    let tls = connection_tls(spec.tls.as_ref(), secure, at, findings);
    MqttSettings {
        host,
        port,
        tls,
        version: match spec.version {
            None | Some(api::MqttVersion::V5) => MqttVersion::V5,
            Some(api::MqttVersion::V311) => MqttVersion::V311,
        },
        topic,
        qos: match spec.qos {
            Some(0) => Qos::AtMostOnce,
            _ => Qos::AtLeastOnce,
        },
        encoding,
        int64_as_string: spec.int64 == Some(api::Int64::String),
        credentials,
    }
}

fn credentials(
    spec: Option<&api::CredentialsRefSpec>,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<CredentialsRef> {
    let spec = spec?;
    let key = |key: &Option<String>, default: &str| SecretKeyRef {
        secret: spec.secret.clone(),
        key: key.clone().unwrap_or_else(|| default.to_owned()),
    };
    let username = key(&spec.username_key, "username");
    let password = key(&spec.password_key, "password");
    if username == password {
        let message = "usernameKey and passwordKey are the same key";
        let at = at.key("credentialsRef");
        findings.push(Diagnostic::new(Code::CredentialKeysEqual, at, message));
    }
    Some(CredentialsRef { username, password: Some(password) })
}

fn connection_tls(
    spec: Option<&TlsSpec>,
    secure: bool,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<Tls> {
    match spec {
        Some(tls) => Some(tls_settings(tls, &at.key("tls"), findings)),
        None if secure => Some(Tls { ca: None, client: None, server_name: None }),
        None => None,
    }
}

/// Host, port and whether the connection is encrypted. Messages never repeat the URL: people
/// put passwords there.
fn broker(url: &str) -> Result<(String, u16, bool), String> {
    let (rest, secure) = if let Some(rest) = url.strip_prefix("mqtt://") {
        (rest, false)
    } else if let Some(rest) = url.strip_prefix("mqtts://") {
        (rest, true)
    } else {
        return Err("the URL does not begin with mqtt:// or mqtts://".to_owned());
    };
    if rest.contains('?') {
        return Err("the URL of a broker has no options".to_owned());
    }
    let (host, port) = host_and_port(rest, if secure { MQTTS_PORT } else { MQTT_PORT })?;
    Ok((host, port, secure))
}

fn tls_settings(spec: &TlsSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Tls {
    let key =
        |r: &api::SecretKeyRefSpec| SecretKeyRef { secret: r.secret.clone(), key: r.key.clone() };
    let client = match (&spec.cert_ref, &spec.key_ref) {
        (Some(cert), Some(private)) => {
            Some(ClientCertificate { cert: key(cert), key: key(private) })
        }
        (None, None) => None,
        (cert, _) => {
            let (there, missing) = match cert {
                Some(_) => ("certRef", "keyRef"),
                None => ("keyRef", "certRef"),
            };
            let message = format!("{there} is given without {missing}");
            findings.push(Diagnostic::new(
                Code::ClientCertificateIncomplete,
                at.key(there),
                message,
            ));
            None
        }
    };
    Tls { ca: spec.ca_ref.as_ref().map(key), client, server_name: spec.server_name.clone() }
}

fn store(spec: Option<&StoreSpec>, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Store {
    let (durability, default) = match spec.map(|s| s.durability).unwrap_or_default() {
        api::Durability::Durable => (Durability::Durable, api::DISK_BYTES_DEFAULT),
        api::Durability::Relaxed => (Durability::Relaxed, api::DISK_BYTES_DEFAULT),
        api::Durability::Memory => (Durability::Memory, api::MEMORY_BYTES_DEFAULT),
    };
    let max_bytes = match spec.and_then(|s| s.max_size.as_deref()) {
        None => default,
        Some(text) => match quantity::bytes(text).and_then(|n| u64::try_from(n).ok()) {
            Some(bytes) if STORE_BYTES.contains(&bytes) => bytes,
            _ => {
                let message = format!("{text} is not within 1Mi to 1Ti");
                let at = at.key("store").key("maxSize");
                findings.push(Diagnostic::new(Code::QuantityInvalid, at, message));
                default
            }
        },
    };
    Store {
        durability,
        max_bytes,
        max_age: spec
            .and_then(|s| s.max_age_seconds)
            .map(|s| Duration::from_secs(u64::try_from(s).unwrap_or_default())),
        overflow: match spec.map(|s| s.overflow).unwrap_or_default() {
            api::Overflow::DropOldest => Overflow::DropOldest,
            api::Overflow::DropNewest => Overflow::DropNewest,
            api::Overflow::Thin => Overflow::Thin,
            api::Overflow::Backpressure => Overflow::Backpressure,
        },
    }
}
