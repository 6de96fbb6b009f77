//! The rules of a destination, be it in a Sink or in a pipeline.

mod iotdb;
mod mqtt;

use super::{Judged, Meta};
use crate::api::sink::{self as api, IotdbSpec, MqttSpec, SinkSpec, TlsSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::model::{ClientCertificate, CredentialsRef, SecretKeyRef, SharedSink, SinkKind, Tls};

pub(super) fn judge(meta: &Meta, spec: &SinkSpec) -> Judged<SharedSink> {
    let mut findings = Vec::new();
    let at = FieldPath::spec();
    let words = ("the Sink", "mqtt and iotdb");
    let kind = destination(&spec.mqtt, &spec.iotdb, &at, words, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = kind.filter(|_| !refused).map(|kind| SharedSink {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        kind,
        spec: spec.clone(),
    });
    Judged { object, findings }
}

/// The one destination among the members of a union at `at`. `words`: what has it, and the names of
/// the members, for people.
pub(super) fn destination(
    mqtt: &Option<MqttSpec>,
    iotdb: &Option<IotdbSpec>,
    at: &FieldPath,
    words: (&str, &str),
    findings: &mut Vec<Diagnostic>,
) -> Option<SinkKind> {
    match (mqtt, iotdb) {
        (Some(mqtt), None) => Some(SinkKind::Mqtt(mqtt::settings(mqtt, &at.key("mqtt"), findings))),
        (None, Some(iotdb)) => {
            Some(SinkKind::Iotdb(iotdb::settings(iotdb, &at.key("iotdb"), findings)))
        }
        (mqtt, _) => {
            let (what, among) = words;
            let has = if mqtt.is_some() { "has two destinations" } else { "has no destination" };
            let message = format!("{what} {has}; write one of {among}");
            findings.push(Diagnostic::new(Code::ExactlyOneSink, at.clone(), message));
            None
        }
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
