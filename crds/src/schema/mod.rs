//! The finished schema of each kind: structural OpenAPI v3 as a Kubernetes API server takes it.
//! One schema serves both the generated CRDs and [`check`], so a cluster and a laptop give the
//! same verdict.

pub mod check;
pub mod reference;

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::Kind;
use crate::api::agent::{AgentSpec, AgentStatus};
use crate::api::agent_pool::{AgentPoolSpec, AgentPoolStatus};
use crate::api::device::{DeviceConnectionSpec, DeviceConnectionStatus};
use crate::api::pipeline::{PipelineSpec, PipelineStatus};
use crate::api::sink::{SinkSpec, SinkStatus};
use crate::api::status::UNOBSERVED;

/// The schema of `spec` of a kind.
pub fn spec(kind: Kind) -> &'static Value {
    match kind {
        Kind::DeviceConnection => &DEVICE,
        Kind::Pipeline => &PIPELINE,
        Kind::Sink => &SINK,
        Kind::AgentPool => &AGENT_POOL,
        Kind::Agent => &AGENT,
    }
}

/// The schema of `status` of a kind. An object is born with `observedGeneration: -1`, so that
/// tools which wait for it do not take it for finished before anybody has looked at it.
pub fn status(kind: Kind) -> Value {
    let mut schema = match kind {
        Kind::DeviceConnection => finished::<DeviceConnectionStatus>(),
        Kind::Pipeline => finished::<PipelineStatus>(),
        Kind::Sink => finished::<SinkStatus>(),
        Kind::AgentPool => finished::<AgentPoolStatus>(),
        Kind::Agent => finished::<AgentStatus>(),
    };
    without_defaults(&mut schema);
    schema["default"] = json!({"observedGeneration": UNOBSERVED});
    schema
}

/// The schema of a whole object of a kind, as it stands in its CRD.
pub fn object(kind: Kind) -> Value {
    let description = spec(kind).get("description").cloned().unwrap_or_default();
    let mut object = json!({
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {"spec": spec(kind), "status": status(kind)}
    });
    if kind == Kind::AgentPool {
        object["x-kubernetes-validations"] = json!([{
            "rule": "self.metadata.name.size() <= 63",
            "message": "the name of a pool has at most 63 characters (LNS-1015)"
        }]);
    }
    object
}

static DEVICE: LazyLock<Value> = LazyLock::new(finished::<DeviceConnectionSpec>);
static PIPELINE: LazyLock<Value> = LazyLock::new(finished::<PipelineSpec>);
static SINK: LazyLock<Value> = LazyLock::new(finished::<SinkSpec>);
static AGENT_POOL: LazyLock<Value> = LazyLock::new(finished::<AgentPoolSpec>);
static AGENT: LazyLock<Value> = LazyLock::new(finished::<AgentSpec>);

/// Nothing of a status is filled in by the API server but its birth mark: a default would speak
/// where operator or agent were silent on purpose.
fn without_defaults(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("default");
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(without_defaults);
    }
    if let Some(items) = map.get_mut("items") {
        without_defaults(items);
    }
}

fn finished<T: schemars::JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    finish(&mut schema);
    schema
}

/// Makes a generated schema structural: no null, no unions of constants, no titles, no
/// formats that Kubernetes does not know, and descriptions as flowing text.
fn finish(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for dropped in ["$schema", "title", "nullable", "components"] {
        map.remove(dropped);
    }
    drop_null(map);
    merge_constants(map);
    if map.get("type").and_then(Value::as_str) == Some("integer") {
        map.insert("format".into(), json!("int64"));
    }
    // Unknown fields are refused by the API server under strict field validation and by
    // `check`; `additionalProperties: false` is not structural.
    if map.get("additionalProperties") == Some(&Value::Bool(false)) {
        map.remove("additionalProperties");
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = flowing(text);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(finish);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(inner) {
            finish(inner);
        }
    }
}

/// `Option<T>`: absence is how a person says "not given", so null is no value.
fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    if let Some(Value::Array(types)) = map.get("type") {
        let real = types.iter().find(|t| t.as_str() != Some("null")).cloned();
        if let Some(real) = real {
            map.insert("type".into(), real);
        }
    }
    let Some(Value::Array(members)) = map.remove("anyOf") else { return };
    let null = |m: &Value| {
        m.get("type").and_then(Value::as_str) == Some("null")
            || m.get("enum") == Some(&json!([null]))
            || m.get("const") == Some(&Value::Null)
    };
    let mut real = members.into_iter().filter(|m| !null(m));
    if let (Some(Value::Object(only)), None) = (real.next(), real.next()) {
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
        drop_null(map);
    }
}

/// An enum with documented variants: one `enum`, the variants' texts in the description.
fn merge_constants(map: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = map.remove("oneOf") else { return };
    let mut values = Vec::new();
    let mut text = map.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for variant in variants {
        let found = match (variant.get("const"), variant.get("enum")) {
            (Some(one), _) => vec![one.clone()],
            (None, Some(Value::Array(some))) => some.clone(),
            _ => Vec::new(),
        };
        let meaning = variant.get("description").and_then(Value::as_str).map(flowing);
        for value in found.into_iter().filter(|v| !v.is_null()) {
            if let (Some(name), Some(meaning)) = (value.as_str(), &meaning) {
                text.push_str(&format!("\n\n{name}: {meaning}"));
            }
            values.push(value);
        }
    }
    map.insert("type".into(), json!("string"));
    map.insert("enum".into(), Value::Array(values));
    map.insert("description".into(), Value::String(text));
}

/// Joins the lines of one paragraph; blank lines stay.
fn flowing(text: &str) -> String {
    text.split("\n\n")
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}
