//! Checks a value against a finished schema and reports every problem, not only the first.
//!
//! The walk also makes a repaired copy in which each bad part is left out or replaced by
//! something harmless, so that the rules behind the schema can still judge the rest. Nothing of
//! a repaired copy is ever used as configuration.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::api::Kind;
use crate::diagnostics::{Code, Diagnostic, FieldPath};
use crate::suggest::{did_you_mean, shown};

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Every problem, in the order of the document.
    pub problems: Vec<Diagnostic>,
    /// The value with its bad parts left out or replaced; decodes whatever the problems.
    pub repaired: Value,
}

/// Checks `value` against `schema`; paths begin at `at`.
pub fn check(schema: &Value, value: &Value, at: &FieldPath) -> Checked {
    let mut walk = Walk { problems: Vec::new() };
    let repaired = walk.value(schema, value, at).unwrap_or_else(|| placeholder(schema));
    Checked { problems: walk.problems, repaired }
}

struct Walk {
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn say(&mut self, code: Code, at: &FieldPath, message: impl Into<String>) {
        self.problems.push(Diagnostic::new(code, at.clone(), message));
    }

    /// The repaired value; `None` when nothing of it can be kept.
    fn value(&mut self, schema: &Value, value: &Value, at: &FieldPath) -> Option<Value> {
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
            return Some(value.clone());
        }
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match (wanted, value) {
            (_, Value::Null) => {
                self.say(Code::MissingField, at, format!("has no value; wanted {}", a(wanted)));
                None
            }
            ("object", Value::Object(map)) => Some(self.object(schema, map, at)),
            ("array", Value::Array(list)) => Some(self.array(schema, list, at)),
            ("string", Value::String(text)) => self.string(schema, text, at),
            ("integer", Value::Number(n)) if n.is_i64() || n.is_u64() => {
                self.integer(schema, n, at)
            }
            _ => {
                let hint = match (wanted, value) {
                    ("integer", Value::String(s)) if s.trim().parse::<i64>().is_ok() => {
                        "; leave out the quotes"
                    }
                    ("string", Value::Number(_) | Value::Bool(_)) => "; put it in quotes",
                    _ => "",
                };
                let message = format!("is {}; wanted {}{hint}", kind_of(value), a(wanted));
                self.say(Code::WrongType, at, message);
                None
            }
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, at: &FieldPath) -> Value {
        let mut repaired = Map::new();
        if let Some(inner) = schema.get("additionalProperties").filter(|v| v.is_object()) {
            self.count(schema, map.len(), "minProperties", "maxProperties", "entries", at);
            for (key, value) in map {
                if let Some(kept) = self.value(inner, value, &at.key(key)) {
                    repaired.insert(key.clone(), kept);
                }
            }
            return Value::Object(repaired);
        }
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, value) in map {
            let Some(inner) = properties.get(key) else {
                let hint = did_you_mean(key, properties.keys().map(String::as_str));
                let hint = match hint.is_empty() {
                    false => hint,
                    true if properties.is_empty() => "; it takes none, write {}".to_owned(),
                    true => format!("; known are {}", words(properties.keys())),
                };
                self.say(Code::UnknownField, &at.key(key), format!("no such field{hint}"));
                continue;
            };
            match self.value(inner, value, &at.key(key)) {
                Some(kept) => drop(repaired.insert(key.clone(), kept)),
                None if required.contains(&key.as_str()) => {
                    repaired.insert(key.clone(), placeholder(inner));
                }
                None => {}
            }
        }
        for key in required {
            if !map.contains_key(key) {
                let inner = properties.get(key).unwrap_or(&Value::Null);
                // At the object that lacks it: that is the place where a person adds it.
                self.say(Code::MissingField, at, format!("{key} is missing{}", example(inner)));
                repaired.insert(key.to_owned(), placeholder(inner));
            }
        }
        Value::Object(repaired)
    }

    fn array(&mut self, schema: &Value, list: &[Value], at: &FieldPath) -> Value {
        self.count(schema, list.len(), "minItems", "maxItems", "elements", at);
        let most = bound(schema, "maxItems").unwrap_or(list.len());
        let inner = schema.get("items").unwrap_or(&Value::Null);
        let mut repaired = Vec::new();
        for (i, value) in list.iter().take(most).enumerate() {
            let kept = self.value(inner, value, &at.index(i));
            repaired.push(kept.unwrap_or_else(|| placeholder(inner)));
        }
        self.unique(schema, list.get(..most).unwrap_or(list), at);
        Value::Array(repaired)
    }

    /// Names in a map list and values in a set stand once.
    fn unique(&mut self, schema: &Value, list: &[Value], at: &FieldPath) {
        let key = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => None,
            Some("map") => {
                let key = schema.get("x-kubernetes-list-map-keys").and_then(|k| k.get(0));
                let Some(key) = key.and_then(Value::as_str) else { return };
                Some(key)
            }
            _ => return,
        };
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (i, element) in list.iter().enumerate() {
            let name = match key {
                Some(key) => element.get(key),
                None => Some(element),
            };
            let Some(name) = name.and_then(Value::as_str) else { continue };
            if let Some(earlier) = first.get(name) {
                let place = match key {
                    Some(key) => at.index(i).key(key),
                    None => at.index(i),
                };
                let message = format!("{} is already at {}", shown(name), at.index(*earlier));
                self.say(Code::DuplicateName, &place, message);
            } else {
                first.insert(name, i);
            }
        }
    }

    fn string(&mut self, schema: &Value, text: &str, at: &FieldPath) -> Option<Value> {
        if let Some(Value::Array(values)) = schema.get("enum") {
            let known = || values.iter().filter_map(Value::as_str);
            if known().any(|v| v == text) {
                return Some(Value::String(text.to_owned()));
            }
            let hint = did_you_mean(text, known());
            let message = format!("{} is none of {}{hint}", shown(text), words(known()));
            self.say(Code::UnknownValue, at, message);
            return None;
        }
        let chars = text.chars().count();
        if !self.count(schema, chars, "minLength", "maxLength", "characters", at) {
            return Some(Value::String(text.to_owned()));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !PATTERNS.get(pattern).is_some_and(|p| p.is_match(text))
        {
            let message = format!("{:?} does not match {pattern}{}", shown(text), example(schema));
            self.say(Code::PatternMismatch, at, message);
        }
        Some(Value::String(text.to_owned()))
    }

    fn integer(
        &mut self,
        schema: &Value,
        number: &serde_json::Number,
        at: &FieldPath,
    ) -> Option<Value> {
        let bounds = (
            schema.get("minimum").and_then(Value::as_f64).map(|f| f as i64).unwrap_or(i64::MIN),
            schema.get("maximum").and_then(Value::as_f64).map(|f| f as i64).unwrap_or(i64::MAX),
        );
        match number.as_i64() {
            Some(n) if (bounds.0..=bounds.1).contains(&n) => {}
            _ => {
                let message = format!("{number} is not within {} to {}", bounds.0, bounds.1);
                self.say(Code::ValueOutOfBounds, at, message);
            }
        }
        Some(Value::from(number.as_i64().unwrap_or(i64::MAX).clamp(bounds.0, bounds.1)))
    }

    /// Whether a size lies within its bounds; says so if not.
    fn count(
        &mut self,
        schema: &Value,
        size: usize,
        least: &str,
        most: &str,
        what: &str,
        at: &FieldPath,
    ) -> bool {
        let (least, most) = (bound(schema, least), bound(schema, most));
        let message = match (least, most) {
            (Some(least), _) if size < least => {
                format!("has {size} {what}; at least {least} wanted")
            }
            (_, Some(most)) if size > most => format!("has {size} {what}; at most {most} allowed"),
            _ => return true,
        };
        self.say(Code::LengthOutOfBounds, at, message);
        false
    }
}

/// The compiled patterns of all our schemas.
static PATTERNS: LazyLock<HashMap<String, Regex>> = LazyLock::new(|| {
    let mut patterns = HashMap::new();
    for kind in Kind::ALL {
        collect_patterns(&super::object(*kind), &mut patterns);
    }
    patterns
});

fn collect_patterns(schema: &Value, into: &mut HashMap<String, Regex>) {
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Ok(regex) = Regex::new(pattern)
    {
        into.insert(pattern.to_owned(), regex);
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        properties.values().for_each(|p| collect_patterns(p, into));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            collect_patterns(inner, into);
        }
    }
}

/// A harmless value of a schema's type, so that the rest decodes.
fn placeholder(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let properties = schema.get("properties");
            Value::Object(
                required
                    .filter_map(Value::as_str)
                    .filter_map(|k| Some((k.to_owned(), placeholder(properties?.get(k)?))))
                    .collect(),
            )
        }
        Some("array") => Value::Array(Vec::new()),
        Some("integer") => schema.get("minimum").cloned().unwrap_or(Value::from(0)),
        _ => schema.get("enum").and_then(|e| e.get(0)).cloned().unwrap_or(Value::from("")),
    }
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

/// The example of a field's description, for messages.
fn example(schema: &Value) -> String {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let example = description.split("Example: `").nth(1).and_then(|rest| rest.split('`').next());
    example.map(|e| format!(" (for example {e})")).unwrap_or_default()
}

fn words(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    values.into_iter().map(|v| v.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn a(wanted: &str) -> &'static str {
    match wanted {
        "object" => "a mapping",
        "array" => "a list",
        "integer" => "a whole number",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(kind: Kind, value: &Value) -> Vec<(Code, String)> {
        let checked = check(super::super::spec(kind), value, &FieldPath::spec());
        checked.problems.into_iter().map(|d| (d.code, d.field.to_string())).collect()
    }

    #[test]
    fn every_pattern_of_our_schemas_compiles() {
        fn walk(schema: &Value) {
            match schema {
                Value::Object(map) => {
                    if let Some(Value::String(p)) = map.get("pattern") {
                        assert!(PATTERNS.contains_key(p), "{p}");
                    }
                    map.values().for_each(walk);
                }
                Value::Array(list) => list.iter().for_each(walk),
                _ => {}
            }
        }
        Kind::ALL.iter().for_each(|k| walk(&super::super::object(*k)));
    }

    #[test]
    fn every_problem_is_reported_at_its_place() {
        let value = json!({
            "url": 5, "moode": "Running", "mode": "running", "intervalMillis": 1,
            "points": [
                {"name": "a b", "address": "coil:1"},
                {"name": "x", "address": ""},
                {"name": "x", "address": null},
                {"address": "coil:1", "intervalMillis": "5"},
                7
            ],
            "location": ["a/b", "1", "2", "3", "4", "5", "6", "7", "8"]
        });
        let mut found = codes(Kind::DeviceConnection, &value);
        found.sort();
        let mut wanted = vec![
            (Code::WrongType, "spec.url"),
            (Code::UnknownField, "spec.moode"),
            (Code::UnknownValue, "spec.mode"),
            (Code::ValueOutOfBounds, "spec.intervalMillis"),
            (Code::PatternMismatch, "spec.points[0].name"),
            (Code::LengthOutOfBounds, "spec.points[1].address"),
            (Code::DuplicateName, "spec.points[2].name"),
            (Code::MissingField, "spec.points[2].address"),
            (Code::MissingField, "spec.points[3]"),
            (Code::WrongType, "spec.points[3].intervalMillis"),
            (Code::WrongType, "spec.points[4]"),
            (Code::LengthOutOfBounds, "spec.location"),
            (Code::PatternMismatch, "spec.location[0]"),
        ];
        wanted.sort();
        let wanted: Vec<_> = wanted.into_iter().map(|(c, p)| (c, p.to_owned())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_repaired_copy_always_decodes() {
        for value in [json!(null), json!([]), json!({}), json!({"points": 1, "protocol": {}})] {
            let schema = super::super::spec(Kind::DeviceConnection);
            let checked = check(schema, &value, &FieldPath::spec());
            assert!(!checked.problems.is_empty());
            let decoded = serde_json::from_value::<crate::api::device::DeviceConnectionSpec>(
                checked.repaired,
            );
            assert!(decoded.is_ok(), "{value}: {decoded:?}");
        }
    }
}
