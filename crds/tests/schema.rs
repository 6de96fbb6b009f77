//! Walks every schema: what must hold for each field, and that each field means something.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use kube_cel::{ScopeContext, analyze_rule, compile_schema};
use lineside_crds::api::Kind;
use lineside_crds::api::agent::{AgentSpec, AgentStatus};
use lineside_crds::api::agent_pool::{AgentPoolSpec, AgentPoolStatus};
use lineside_crds::api::device::{DeviceConnectionSpec, DeviceConnectionStatus};
use lineside_crds::api::pipeline::{PipelineSpec, PipelineStatus};
use lineside_crds::api::sink::{SinkSpec, SinkStatus};
use lineside_crds::diagnostics::{Code, FieldPath};
use lineside_crds::model::ObjectKey;
use lineside_crds::schema;
use lineside_crds::validate::{
    Meta, judge_agent, judge_agent_pool, judge_device, judge_pipeline, judge_sink, validate_agent,
    validate_agent_pool, validate_device, validate_pipeline, validate_sink,
};
use lineside_crds::yaml;
use serde_json::Value;

/// Calls `visit` with each schema node, its path and how many elements there may be of it.
fn walk(schema: &Value, path: &str, times: u64, visit: &mut impl FnMut(&Value, &str, u64)) {
    visit(schema, path, times);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, inner) in properties {
            walk(inner, &format!("{path}/{name}"), times, visit);
        }
    }
    if let Some(items) = schema.get("items") {
        let most = schema["maxItems"].as_u64().unwrap_or(1);
        walk(items, &format!("{path}/0"), times * most, visit);
    }
    if let Some(inner) = schema.get("additionalProperties") {
        let most = schema["maxProperties"].as_u64().unwrap_or(1);
        walk(inner, &format!("{path}/*"), times * most, visit);
    }
}

/// Objects that have every field of every kind, each away from its default.
fn full() -> Vec<Value> {
    let user = include_str!("../testdata/good/full.yaml");
    let transforms = include_str!("../testdata/good/transforms.yaml");
    let operator = include_str!("../testdata/broken/WrittenByOperator.yaml");
    [yaml::values(user), yaml::values(transforms), yaml::values(operator)].concat()
}

#[test]
fn every_field_is_described_bounded_and_structural() {
    for kind in Kind::ALL {
        walk(&schema::object(*kind), "", 1, &mut |node, path, _| {
            let in_list = path.contains("/0");
            for never in ["nullable", "anyOf", "oneOf", "allOf", "$ref", "title", "$schema", "not"]
            {
                assert!(node.get(never).is_none(), "{path}: {never}");
            }
            let element = path.ends_with("/0") || path.ends_with("/*");
            let described = node.get("description").and_then(Value::as_str);
            assert!(element || described.is_some_and(|d| d.len() > 10), "{path}: no description");
            assert!(!(in_list && node.get("default").is_some()), "{path}: default inside a list");
            match node["type"].as_str() {
                Some("string") => {
                    let bounded = node.get("maxLength").is_some() || node.get("enum").is_some();
                    assert!(bounded, "{path}: unbounded text");
                    let null = node["enum"].as_array().is_some_and(|e| e.contains(&Value::Null));
                    assert!(!null, "{path}: null in enum");
                }
                Some("integer") => {
                    assert!(node["minimum"].is_number() && node["maximum"].is_number(), "{path}");
                    assert_eq!(node["format"], "int64", "{path}");
                }
                Some("array") => {
                    assert!(node["maxItems"].is_u64(), "{path}: unbounded list");
                    let list_type = node["x-kubernetes-list-type"].as_str();
                    assert!(matches!(list_type, Some("atomic" | "set" | "map")), "{path}");
                }
                Some("object") => {
                    let map = node.get("additionalProperties").is_some();
                    let empty = path == "/spec/stateVolume/emptyDir";
                    assert!(node.get("properties").is_some() != map || empty, "{path}");
                    assert!(!map || node["maxProperties"].is_u64(), "{path}: unbounded map");
                }
                other => panic!("{path}: type {other:?}"),
            }
        });
    }
}

#[test]
fn every_cel_rule_costs_less_than_a_tenth_of_the_budget() {
    for kind in Kind::ALL {
        walk(&schema::object(*kind), "", 1, &mut |node, path, times| {
            let compiled = compile_schema(node);
            assert!(!compiled.has_errors(), "{path}: {:?}", compiled.compilation_errors());
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let rule = rule["rule"].as_str().unwrap();
                // The estimate knows one element and the whole budget: ten times the rule for
                // each element must still fit.
                let most = usize::try_from(10 * times).unwrap();
                assert!(most <= 400, "{path}: a rule for each of {times} elements");
                let all = vec![format!("({rule})"); most].join(" && ");
                let warnings = analyze_rule(&all, &compiled, ScopeContext::CrdValidation);
                assert!(warnings.is_empty(), "{path}: {rule}: {warnings:?}");
            }
        });
    }
}

#[test]
fn every_field_changes_the_model_or_is_refused() {
    let objects = full();
    let mut fields = 0;
    for kind in Kind::ALL {
        let bases: Vec<&Value> =
            objects.iter().filter(|o| o["kind"] == kind.name()).map(|o| &o["spec"]).collect();
        walk(schema::spec(*kind), "", 1, &mut |node, path, _| {
            if matches!(node["type"].as_str(), Some("object" | "array")) {
                return;
            }
            fields += 1;
            let path = path.replace("/*", "/line");
            let base = bases.iter().find(|b| b.pointer(&path).is_some());
            let base = base.unwrap_or_else(|| panic!("full.yaml has no {kind:?} spec{path}"));
            let mut changed = (*base).clone();
            let value = changed.pointer_mut(&path).unwrap();
            *value = another(node, value);
            assert_ne!(verdict(*kind, base), verdict(*kind, &changed), "nothing reads {path}");
        });
    }
    assert!(fields > 40);
}

#[test]
fn whatever_stands_in_a_field_the_rest_is_still_judged() {
    let objects = full();
    let junk = [
        Value::Null,
        Value::from(true),
        Value::from(-7),
        Value::from(u64::MAX),
        Value::from(1.5),
        Value::from("\u{0}é"),
        serde_json::json!([null, {}]),
        serde_json::json!({"x": []}),
    ];
    for object in &objects {
        let kind = Kind::parse(object["kind"].as_str().unwrap()).unwrap();
        walk(schema::spec(kind), "", 1, &mut |_, path, _| {
            let path = path.replace("/*", "/line");
            for junk in &junk {
                let mut changed = object["spec"].clone();
                let Some(value) = changed.pointer_mut(&path) else { return };
                *value = junk.clone();
                let checked =
                    schema::check::check(schema::spec(kind), &changed, &FieldPath::spec());
                let decoded = match kind {
                    Kind::DeviceConnection => {
                        serde_json::from_value::<DeviceConnectionSpec>(checked.repaired).map(drop)
                    }
                    Kind::Pipeline => {
                        serde_json::from_value::<PipelineSpec>(checked.repaired).map(drop)
                    }
                    Kind::Sink => serde_json::from_value::<SinkSpec>(checked.repaired).map(drop),
                    Kind::AgentPool => {
                        serde_json::from_value::<AgentPoolSpec>(checked.repaired).map(drop)
                    }
                    Kind::Agent => serde_json::from_value::<AgentSpec>(checked.repaired).map(drop),
                };
                assert!(decoded.is_ok(), "spec{path} = {junk}: {decoded:?}");
            }
        });
    }
}

#[test]
fn a_typed_spec_and_its_yaml_give_the_same_model() {
    let meta = Meta::new(ObjectKey::new("default", "x"));
    for object in full() {
        let spec = &object["spec"];
        match Kind::parse(object["kind"].as_str().unwrap()).unwrap() {
            Kind::DeviceConnection => {
                let typed: DeviceConnectionSpec = serde_json::from_value(spec.clone()).unwrap();
                assert_eq!(validate_device(&meta, &typed).ok(), judge_device(&meta, spec).object);
            }
            Kind::Pipeline => {
                let typed: PipelineSpec = serde_json::from_value(spec.clone()).unwrap();
                assert_eq!(
                    validate_pipeline(&meta, &typed).ok(),
                    judge_pipeline(&meta, spec).object
                );
            }
            Kind::Sink => {
                let typed: SinkSpec = serde_json::from_value(spec.clone()).unwrap();
                assert_eq!(validate_sink(&meta, &typed).ok(), judge_sink(&meta, spec).object);
            }
            Kind::AgentPool => {
                let typed: AgentPoolSpec = serde_json::from_value(spec.clone()).unwrap();
                assert_eq!(
                    validate_agent_pool(&meta, &typed).ok(),
                    judge_agent_pool(&meta, spec).object
                );
            }
            Kind::Agent => {
                let typed: AgentSpec = serde_json::from_value(spec.clone()).unwrap();
                assert_eq!(validate_agent(&meta, &typed).ok(), judge_agent(&meta, spec).object);
            }
        }
    }
}

#[test]
fn a_typed_spec_out_of_bounds_is_refused() {
    let meta = Meta::new(ObjectKey::new("default", "x"));
    let object = yaml::values(include_str!("../testdata/good/full.yaml")).remove(0);
    let mut typed: DeviceConnectionSpec = serde_json::from_value(object["spec"].clone()).unwrap();
    typed.interval_millis = -1;
    typed.protocol.as_mut().unwrap().modbus_tcp.as_mut().unwrap().max_gap = -1;
    let problems = validate_device(&meta, &typed).unwrap_err();
    let codes: Vec<_> = problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::ValueOutOfBounds; 2]);
}

/// Another value of the same field, a valid one where there is one.
fn another(node: &Value, value: &Value) -> Value {
    if let Some(values) = node["enum"].as_array() {
        return values.iter().find(|v| *v != value).cloned().unwrap_or(Value::from("Other"));
    }
    match value {
        Value::Number(n) => {
            let n = n.as_i64().unwrap();
            let most = node["maximum"].as_i64().unwrap();
            Value::from(if n < most { n + 1 } else { n - 1 })
        }
        Value::String(text) => Value::from(match text.strip_prefix(|c: char| c.is_ascii_digit()) {
            Some(rest) => format!("9{rest}"),
            None => format!("{text}a"),
        }),
        other => panic!("{other} is no leaf"),
    }
}

fn verdict(kind: Kind, spec: &Value) -> String {
    let meta = Meta::new(ObjectKey::new("default", "x"));
    match kind {
        Kind::DeviceConnection => format!("{:?}", judge_device(&meta, spec)),
        Kind::Pipeline => format!("{:?}", judge_pipeline(&meta, spec)),
        Kind::Sink => format!("{:?}", judge_sink(&meta, spec)),
        Kind::AgentPool => format!("{:?}", judge_agent_pool(&meta, spec)),
        Kind::Agent => format!("{:?}", judge_agent(&meta, spec)),
    }
}

#[test]
fn an_object_is_born_unobserved_and_its_status_says_so_when_written() {
    for kind in Kind::ALL {
        let status = schema::status(*kind);
        let born = &status["default"];
        assert_eq!(*born, serde_json::json!({"observedGeneration": -1}));
        let read = match kind {
            Kind::DeviceConnection => round::<DeviceConnectionStatus>(born),
            Kind::Pipeline => round::<PipelineStatus>(born),
            Kind::Sink => round::<SinkStatus>(born),
            Kind::AgentPool => round::<AgentPoolStatus>(born),
            Kind::Agent => round::<AgentStatus>(born),
        };
        assert_eq!(read, *born, "{kind:?}: nothing is made up beside it");
    }
}

#[test]
fn a_status_of_a_newer_release_can_be_read() {
    let status = serde_json::json!({
        "observedGeneration": 4, "later": {"a": 1}, "durability": "Mirrored",
        "conditions": [{
            "type": "Ready", "status": "Perhaps", "lastTransitionTime": "2027-01-01T00:00:00Z",
            "reason": "Tired", "message": "m", "later": 1
        }],
        "devices": [{"name": "d", "health": "Sleepy", "reason": "Tired", "since": "x", "later": []}],
        "pipelines": [{"name": "p", "reason": "Tired", "since": "x"}]
    });
    let read: AgentStatus = serde_json::from_value(status).unwrap();
    assert_eq!(read.observed_generation, 4);
    assert_eq!((read.devices.len(), read.pipelines.len(), read.conditions.len()), (1, 1, 1));
}

fn round<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(value.clone()).unwrap()).unwrap()
}

#[cfg(feature = "kube")]
#[test]
fn crds_are_small_and_hold_the_finished_schema() {
    let files = lineside_crds::crd::manifests().unwrap();
    assert_eq!(files.len(), Kind::ALL.len());
    for (name, text) in files {
        assert!(text.len() < 200 << 10, "{name}: {} bytes", text.len());
        let crd = yaml::values(&text).remove(0);
        let kind = Kind::parse(crd["spec"]["names"]["kind"].as_str().unwrap()).unwrap();
        assert_eq!(name, format!("lineside.dev_{}.yaml", kind.plural()));
        assert_eq!(crd["spec"]["names"]["plural"], kind.plural());
        assert_eq!(crd["spec"]["names"]["categories"][0], "lineside");
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["subresources"]["status"], serde_json::json!({}));
        assert_eq!(version["schema"]["openAPIV3Schema"], schema::object(kind));
        assert!(!version["additionalPrinterColumns"].as_array().unwrap().is_empty());
    }
}
