//! One corpus of good and broken objects: every configuration code and every CEL rule has a
//! broken file, every problem stands at its line and column, and a cluster (schema and CEL,
//! evaluated offline) gives the same verdict as our own loading.
//!
//! A broken file says what it expects in comments: `# expect: CODE LINE:COLUMN` for each
//! problem, and `# beyond-cel: WHY` when a cluster would take the object.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use kube_cel::Validator;
use lineside_crds::api::{API_VERSION, Kind};
use lineside_crds::diagnostics::{Code, FieldPath, Level};
use lineside_crds::schema;
use lineside_crds::yaml::{self, LoadedDocument};
use serde_json::Value;

/// Codes that no YAML file can show, and who tests them.
const NOT_IN_FILES: &[Code] = &[
    Code::FileTooLarge,   // yaml: a_file_over_the_bound_is_not_read
    Code::FileUnreadable, // tests, cli: validate_names_files_that_it_cannot_read_...
    Code::ConfigRejected, // the agent, when an object is refused that ran before
    Code::NotInThisBuild, // pipeline: a_device_without_a_driver_says_so_...
];

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => true,
            // The configuration of a peer.
            Some("json") => false,
            _ => panic!("what is {}?", path.display()),
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load(name: &str, text: &str) -> (Vec<LoadedDocument>, Vec<yaml::Problem>) {
    let documents = yaml::load_text(name, text);
    let mut problems: Vec<_> = documents.iter().flat_map(|d| d.problems.clone()).collect();
    problems.extend(yaml::check_set(&documents));
    problems.sort_by_key(|p| (p.line, p.column, p.code));
    (documents, problems)
}

/// The rules of CEL that an object breaks.
fn broken_rules(kind: Kind, object: &Value) -> BTreeSet<String> {
    match Validator::new().validate(&schema::object(kind), object, None) {
        Ok(()) => BTreeSet::new(),
        Err(errors) => errors.into_vec().into_iter().map(|e| e.rule).collect(),
    }
}

fn cluster_accepts(value: &Value) -> bool {
    let kind = value.get("kind").and_then(Value::as_str).and_then(Kind::parse);
    let (Some(kind), Some(API_VERSION)) = (kind, value.get("apiVersion").and_then(Value::as_str))
    else {
        return false;
    };
    let Some(spec) = value.get("spec") else { return false };
    let checked = schema::check::check(schema::spec(kind), spec, &FieldPath::spec());
    checked.problems.is_empty() && broken_rules(kind, value).is_empty()
}

#[test]
fn good_files_have_no_problem_and_a_cluster_takes_them() {
    for (name, text) in files("good") {
        let (documents, problems) = load(&name, &text);
        assert!(problems.is_empty(), "{problems:#?}");
        assert!(documents.iter().all(|d| d.object.is_some()), "{name}");
        for value in yaml::values(&text) {
            assert!(cluster_accepts(&value), "{name}: {value}");
            let kind = Kind::parse(value["kind"].as_str().unwrap()).unwrap();
            if let Some(status) = value.get("status") {
                let at = FieldPath::root().key("status");
                let checked = schema::check::check(&schema::status(kind), status, &at);
                assert!(checked.problems.is_empty(), "{name}: {:#?}", checked.problems);
            }
        }
    }
}

#[test]
fn the_examples_have_no_problem_and_a_cluster_takes_them() {
    for folder in ["demo", "first", "shared-sink", "transforms"] {
        let texts = files(&format!("../../examples/{folder}"));
        let text = texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n---\n");
        let (documents, problems) = load(folder, &text);
        assert!(problems.is_empty(), "{problems:#?}");
        assert!(documents.iter().all(|d| d.object.is_some()), "{folder}");
        for value in yaml::values(&text) {
            assert!(cluster_accepts(&value), "{folder}: {value}");
        }
    }
}

#[test]
fn broken_files_have_exactly_the_problems_they_expect() {
    let mut wrong = Vec::new();
    for (name, text) in files("broken") {
        let mut expected: Vec<String> =
            text.lines().filter_map(|l| l.strip_prefix("# expect: ")).map(str::to_owned).collect();
        expected.sort();
        let (_, problems) = load(&name, &text);
        let mut found: Vec<String> =
            problems.iter().map(|p| format!("{} {}:{}", p.code, p.line, p.column)).collect();
        found.sort();
        if found != expected {
            wrong.push(format!("{name}: wanted {expected:?}, found {found:?}: {problems:#?}"));
        }
        let reason = name.split('-').next().unwrap();
        assert!(problems.iter().any(|p| p.code.reason() == reason), "{name} is misnamed");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_configuration_code_has_a_broken_file() {
    let seen: BTreeSet<Code> = files("broken")
        .iter()
        .flat_map(|(name, text)| load(name, text).1)
        .map(|p| p.code)
        .collect();
    for code in Code::ALL.iter().filter(|c| c.number() < 2000) {
        let exempt = NOT_IN_FILES.contains(code);
        assert_ne!(seen.contains(code), exempt, "{code} {}", code.reason());
    }
}

#[test]
fn a_cluster_and_our_loading_give_the_same_verdict() {
    for (name, text) in files("broken") {
        let (documents, _) = load(&name, &text);
        let refused = documents.iter().any(|d| {
            d.object.is_none() && d.problems.iter().any(|p| p.code.level() == Level::Error)
        });
        let beyond = text.lines().any(|l| l.starts_with("# beyond-cel: "));
        let values = yaml::values(&text);
        if beyond {
            let ours = values.iter().filter(|v| {
                v.get("apiVersion").and_then(Value::as_str) == Some(API_VERSION)
                    && v.get("kind")
                        .and_then(Value::as_str)
                        .is_some_and(|k| Kind::parse(k).is_some())
                    && v.get("spec").is_some()
            });
            for value in ours {
                assert!(cluster_accepts(value), "{name} is not beyond CEL: {value}");
            }
        } else {
            assert!(refused, "{name}");
            assert!(!values.is_empty(), "{name}");
            for value in &values {
                let loaded = yaml::load_text(&name, &yaml::write(value).unwrap());
                let accepted = loaded.iter().all(|d| d.object.is_some());
                assert_eq!(cluster_accepts(value), accepted, "{name}: {value}");
            }
            assert!(values.iter().any(|v| !cluster_accepts(v)), "{name}: a cluster takes it");
        }
    }
}

#[test]
fn every_cel_rule_is_broken_by_a_file_and_names_the_code_that_we_give() {
    let mut rules = Vec::new();
    for kind in Kind::ALL {
        collect_rules(&schema::object(*kind), &mut rules);
    }
    assert!(rules.len() >= 10);
    let mut broken = BTreeSet::new();
    for (name, text) in files("broken") {
        let (_, problems) = load(&name, &text);
        for value in yaml::values(&text) {
            let Some(kind) = value.get("kind").and_then(Value::as_str).and_then(Kind::parse) else {
                continue;
            };
            let spec = value.get("spec").unwrap_or(&Value::Null);
            let checked = schema::check::check(schema::spec(kind), spec, &FieldPath::spec());
            if !checked.problems.is_empty() {
                continue;
            }
            for rule in broken_rules(kind, &value) {
                let code = rules.iter().find(|(r, _)| *r == rule).map(|(_, c)| *c).unwrap();
                assert!(problems.iter().any(|p| p.code == code), "{name}: {rule}");
                broken.insert(rule);
            }
        }
    }
    for (rule, code) in rules {
        assert!(broken.contains(&rule), "no file breaks {rule} ({code})");
    }
}

fn collect_rules(schema: &Value, into: &mut Vec<(String, Code)>) {
    match schema {
        Value::Object(map) => {
            for rule in
                map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                let message = rule["message"].as_str().unwrap();
                let id = message.rsplit_once('(').unwrap().1.strip_suffix(')').unwrap();
                let code = Code::parse(id).unwrap();
                into.push((rule["rule"].as_str().unwrap().to_owned(), code));
            }
            map.values().for_each(|v| collect_rules(v, into));
        }
        Value::Array(list) => list.iter().for_each(|v| collect_rules(v, into)),
        _ => {}
    }
}
