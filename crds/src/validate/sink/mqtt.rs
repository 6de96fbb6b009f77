//! The rules of an MQTT broker.

use super::{connection_tls, credentials};
use crate::api::sink::{self as api, MqttSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath};
use crate::model::{Encoding, MqttSettings, MqttVersion, Qos, TopicPart, TopicTemplate};
use crate::plc4x::host_and_port;
use crate::validate::parse_topic;

/// Ports registered for MQTT without and with TLS.
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

pub(super) fn settings(
    spec: &MqttSpec,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> MqttSettings {
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
