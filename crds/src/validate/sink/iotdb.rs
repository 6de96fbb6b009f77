//! The rules of a server of Apache IoTDB.

use std::time::Duration;

use super::{connection_tls, credentials};
use crate::api::sink::{self as api, IotdbSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath};
use crate::model::{IotdbModel, IotdbSettings, Node, TablePart, TopicPart};
use crate::plc4x::host_and_port;
use crate::validate::parse_topic;

/// IoTDB's port for clients.
const PORT: u16 = 6667;
/// Most nodes of one cluster.
const MAX_NODES: usize = 16;
/// First nodes of every path.
const PREFIX: &str = "root.lineside";
/// Database of the table model.
const DATABASE: &str = "lineside";
/// Template of a table's name.
const TABLE: &str = "{device}";
/// How long acknowledged records are kept: until a server with its own settings has flushed them,
/// which is after ten minutes and a look each half minute (ADR 0012).
const RESEND: Duration = Duration::from_secs(660);

pub(super) fn settings(
    spec: &IotdbSpec,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> IotdbSettings {
    let mut say = |code, field: FieldPath, message: String| {
        findings.push(Diagnostic::new(code, field, message));
    };
    let (nodes, secure) = nodes(&spec.url).unwrap_or_else(|message| {
        say(Code::SinkUrlInvalid, at.key("url"), message);
        // Not known, so the rule about tls stays silent.
        (Vec::new(), spec.tls.is_some())
    });
    if spec.tls.is_some() && !secure {
        let message = "tls is given, but url is iotdb://; write iotdbs://".to_owned();
        say(Code::TlsWithoutMqtts, at.key("tls"), message);
    }
    let is_table = spec.model == Some(api::IotdbModel::Table);
    for (field, given, of_table) in [
        ("prefix", spec.prefix.is_some(), false),
        ("database", spec.database.is_some(), true),
        ("table", spec.table.is_some(), true),
    ] {
        if given && of_table != is_table {
            let model = if of_table { "Table" } else { "Tree" };
            let message = format!("{field} belongs to model {model}");
            say(Code::OtherIotdbModel, at.key(field), message);
        }
    }
    let table = table(spec.table.as_deref().unwrap_or(TABLE)).unwrap_or_else(|problems| {
        for (code, message) in problems {
            say(code, at.key("table"), message);
        }
        Vec::new()
    });
    let model = match is_table {
        false => {
            IotdbModel::Tree { prefix: spec.prefix.clone().unwrap_or_else(|| PREFIX.to_owned()) }
        }
        true => {
            let database = spec.database.clone().unwrap_or_else(|| DATABASE.to_owned());
            IotdbModel::Table { database, table }
        }
    };
    let resend = spec.resend_millis.and_then(|millis| u64::try_from(millis).ok());
    IotdbSettings {
        nodes,
        tls: connection_tls(spec.tls.as_ref(), secure, at, findings),
        credentials: credentials(spec.credentials_ref.as_ref(), at, findings),
        model,
        quality: spec.quality != Some(api::IotdbQuality::None),
        resend: resend.map_or(RESEND, Duration::from_millis),
    }
}

/// The nodes of a URL, and whether connections are encrypted. Messages never repeat the URL:
/// people put passwords there.
fn nodes(url: &str) -> Result<(Vec<Node>, bool), String> {
    let (rest, secure) = if let Some(rest) = url.strip_prefix("iotdb://") {
        (rest, false)
    } else if let Some(rest) = url.strip_prefix("iotdbs://") {
        (rest, true)
    } else {
        return Err("the URL does not begin with iotdb:// or iotdbs://".to_owned());
    };
    if rest.contains('?') {
        return Err("the URL of IoTDB has no options".to_owned());
    }
    let nodes = rest.split(',').map(|node| {
        let (host, port) = host_and_port(node, PORT)?;
        Ok(Node { host, port })
    });
    let nodes = nodes.collect::<Result<Vec<_>, String>>()?;
    match nodes.len() > MAX_NODES {
        true => Err(format!("the URL has more than {MAX_NODES} nodes")),
        false => Ok((nodes, secure)),
    }
}

/// A template of a table's name is one of a topic without `{point}` and `{location}`.
fn table(text: &str) -> Result<Vec<TablePart>, Vec<(Code, String)>> {
    let unknown = |name: &str| {
        let message = format!("no placeholder {{{name}}} in the name of a table");
        vec![(Code::TopicPlaceholderUnknown, message)]
    };
    let part = |part| match part {
        TopicPart::Literal(text) => Ok(TablePart::Literal(text)),
        TopicPart::Namespace => Ok(TablePart::Namespace),
        TopicPart::Device => Ok(TablePart::Device),
        TopicPart::Pipeline => Ok(TablePart::Pipeline),
        TopicPart::Point => Err(unknown("point")),
        TopicPart::Location => Err(unknown("location")),
    };
    parse_topic(text)?.0.into_iter().map(part).collect()
}
