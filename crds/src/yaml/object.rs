//! From one document's value to an object: type, metadata, spec.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{Identity, LoadedDocument, Object};
use crate::api::{API_VERSION, GROUP, Kind};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::labels::{is_label_key, is_label_value, is_subdomain};
use crate::model::{ObjectKey, OpenPipeline};
use crate::schema::check;
use crate::suggest::{did_you_mean, shown, suggest};
use crate::validate::{self, Meta, is_discarded};

/// Fills a document from its value.
pub(super) fn load(document: &mut LoadedDocument, value: &Value) {
    let root = FieldPath::root();
    let say = |document: &mut LoadedDocument, code, field: &FieldPath, message: String| {
        let problem = document.problem(code, field, message);
        document.problems.push(problem);
    };
    let Value::Object(map) = value else {
        let message = "wanted a mapping with apiVersion, kind, metadata and spec".to_owned();
        return say(document, Code::NotAnObject, &root, message);
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let (Some(api_version), Some(kind_name)) = (text("apiVersion"), text("kind")) else {
        let missing = if text("kind").is_none() { "kind" } else { "apiVersion" };
        let message = format!("no {missing}; an object has apiVersion, kind, metadata and spec");
        return say(document, Code::NotAnObject, &root, message);
    };
    if api_version != API_VERSION {
        let field = root.key("apiVersion");
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let ours = group == GROUP || api_version == GROUP || suggest(group, [GROUP]).is_some();
        let (code, message) = match ours {
            true => (
                Code::UnknownApiVersion,
                format!("{} does not exist; wanted {API_VERSION}", shown(api_version)),
            ),
            false => (
                Code::ObjectIgnored,
                format!("{} of {} is ignored", shown(kind_name), shown(api_version)),
            ),
        };
        return say(document, code, &field, message);
    }
    let Some(kind) = Kind::parse(kind_name) else {
        let names = || Kind::ALL.iter().map(|k| k.name());
        let hint = match did_you_mean(kind_name, names()) {
            hint if hint.is_empty() => {
                format!("; known are {}", names().collect::<Vec<_>>().join(", "))
            }
            hint => hint,
        };
        let message = format!("no kind {}{hint}", shown(kind_name));
        return say(document, Code::UnknownKind, &root.key("kind"), message);
    };

    let mut found = Vec::new();
    let meta = metadata(map, &root, &mut found);
    document.identity = meta.as_ref().map(|m| Identity { kind, key: m.key.clone() });
    // What only a cluster writes (`kubectl get -o yaml`) is passed over.
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in map.keys().filter(|k| !known.contains(&k.as_str())) {
        let message = format!("no such field{}", did_you_mean(key, known));
        found.push(Diagnostic::new(Code::UnknownField, root.key(key), message));
    }
    // Without a usable name the spec is judged all the same, under a name nobody sees.
    let usable = meta.unwrap_or_else(|| Meta::new(ObjectKey::new("default", "unnamed")));
    let object = match map.get("spec") {
        None => {
            found.push(Diagnostic::new(Code::MissingField, root, "spec is missing"));
            None
        }
        Some(spec) => match kind {
            Kind::DeviceConnection => {
                let judged = validate::judge_device(&usable, spec);
                found.extend(judged.findings);
                judged.object.map(Object::Device)
            }
            Kind::Pipeline => {
                let judged = validate::judge_pipeline(&usable, spec);
                found.extend(judged.findings);
                let whole = |open: OpenPipeline| match open.whole() {
                    Some(pipeline) => Object::Pipeline(pipeline),
                    None => Object::OpenPipeline(open),
                };
                judged.object.map(whole)
            }
            Kind::Sink => {
                let judged = validate::judge_sink(&usable, spec);
                found.extend(judged.findings);
                judged.object.map(|sink| Object::Sink(sink.into()))
            }
            Kind::AgentPool => {
                let judged = validate::judge_agent_pool(&usable, spec);
                found.extend(judged.findings);
                judged.object.map(Object::AgentPool)
            }
            Kind::Agent => {
                let judged = validate::judge_agent(&usable, spec);
                found.extend(judged.findings);
                judged.object.map(Object::Agent)
            }
        },
    };
    let refused = found.iter().any(|f| f.code.level() == Level::Error);
    document.object = object.filter(|_| !refused);
    for finding in found {
        say(document, finding.code, &finding.field, finding.message);
    }
}

/// The metadata; `None` without a name.
fn metadata(
    map: &Map<String, Value>,
    root: &FieldPath,
    found: &mut Vec<Diagnostic>,
) -> Option<Meta> {
    let at = root.key("metadata");
    let Some(value) = map.get("metadata") else {
        found.push(Diagnostic::new(Code::MissingField, root.clone(), "metadata is missing"));
        return None;
    };
    let checked = check::check(&METADATA, value, &at);
    found.extend(checked.problems);
    let text = |key: &str| checked.repaired.get(key).and_then(Value::as_str);
    let name = text("name").filter(|n| !n.is_empty());
    let namespace = text("namespace").filter(|n| !n.is_empty()).unwrap_or("default");
    if let Some(name) = name.filter(|n| !is_subdomain(n)) {
        let message =
            format!("{:?} is no object name (small letters, digits, - and .)", shown(name));
        found.push(Diagnostic::new(Code::InvalidName, at.key("name"), message));
    }
    if !is_label_name(namespace) {
        let message = format!("{:?} is no namespace (small letters, digits, -)", shown(namespace));
        found.push(Diagnostic::new(Code::InvalidName, at.key("namespace"), message));
    }
    let map = |key: &str| -> BTreeMap<String, String> {
        let found = checked.repaired.get(key).and_then(Value::as_object).into_iter().flatten();
        found.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    let labels = map("labels");
    for (key, value) in &labels {
        if !is_label_key(key) || !is_label_value(value) {
            let message = format!("{}: {} is no label", shown(key), shown(value));
            let at = at.key("labels").key(key);
            found.push(Diagnostic::new(Code::InvalidLabel, at, message));
        }
    }
    Some(Meta {
        key: ObjectKey::new(namespace, name?),
        uid: text("uid").map(str::to_owned),
        generation: checked.repaired.get("generation").and_then(Value::as_i64),
        labels,
        discard_backlog: is_discarded(&map("annotations")),
    })
}

/// ObjectMeta as far as a file may hold it: what people write is checked, what only a server
/// writes (`kubectl get -o yaml`) is accepted as it is.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let any = json!({"x-kubernetes-preserve-unknown-fields": true});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "uid": {"type": "string", "maxLength": 128},
            "generation": {"type": "integer", "minimum": 0},
            "creationTimestamp": any,
            "deletionGracePeriodSeconds": any,
            "deletionTimestamp": any,
            "finalizers": any,
            "managedFields": any,
            "ownerReferences": any,
            "resourceVersion": any,
            "selfLink": any
        }
    })
});

/// RFC 1123 label: at most 63 small letters, digits and `-`, no `-` at the edges.
fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
