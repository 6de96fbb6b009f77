//! Whether a live object is as wished: every field of the wish is there with its value. What
//! the live object has besides (defaults, fields of others) does not matter.

use serde_json::Value;

/// The path of the first field of `wish` that `live` does not have like that.
pub fn difference(wish: &Value, live: &Value) -> Option<String> {
    compare(wish, Some(live), "")
}

fn compare(wish: &Value, live: Option<&Value>, path: &str) -> Option<String> {
    let at = || Some(path.to_owned());
    match (wish, live) {
        // The API server drops what is empty.
        (Value::Object(map), None) if map.is_empty() => None,
        (Value::Array(items), None) if items.is_empty() => None,
        (Value::Null, None | Some(Value::Null)) => None,
        (_, None) => at(),
        (Value::Object(wish), Some(Value::Object(live))) => wish.iter().find_map(|(key, wish)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if is_amount(key) {
                return amounts(wish, live.get(key), &path);
            }
            compare(wish, live.get(key), &path)
        }),
        (Value::Array(wish), Some(Value::Array(live))) => lists(wish, live, path),
        (wish, Some(live)) if wish == live => None,
        _ => at(),
    }
}

/// Entries with a name are found by it, as server-side apply does; others by their place.
fn lists(wish: &[Value], live: &[Value], path: &str) -> Option<String> {
    fn name(entry: &Value) -> Option<&str> {
        ["name", "uid"].into_iter().find_map(|key| entry.get(key)?.as_str())
    }
    if !wish.is_empty() && wish.iter().all(|entry| name(entry).is_some()) {
        return wish.iter().find_map(|entry| {
            let wanted = name(entry);
            let path = format!("{path}[{}]", wanted.unwrap_or_default());
            compare(entry, live.iter().find(|other| name(other) == wanted), &path)
        });
    }
    if wish.len() != live.len() {
        return Some(path.to_owned());
    }
    let pairs = wish.iter().zip(live).enumerate();
    pairs
        .into_iter()
        .find_map(|(i, (wish, live))| compare(wish, Some(live), &format!("{path}[{i}]")))
}

/// Fields whose values are Quantities, which the API server rewrites (`1024Mi` to `1Gi`).
fn is_amount(key: &str) -> bool {
    matches!(key, "requests" | "limits" | "sizeLimit")
}

fn amounts(wish: &Value, live: Option<&Value>, path: &str) -> Option<String> {
    match (wish, live) {
        (Value::Object(wish), Some(Value::Object(live))) => wish
            .iter()
            .find_map(|(key, wish)| amounts(wish, live.get(key), &format!("{path}.{key}"))),
        (Value::String(wish), Some(Value::String(live))) if same_amount(wish, live) => None,
        _ => compare(wish, live, path),
    }
}

fn same_amount(one: &str, other: &str) -> bool {
    one == other || matches!((amount(one), amount(other)), (Some(a), Some(b)) if a == b)
}

/// The value of a Quantity in billionths; `None` when it is none or does not fit.
fn amount(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    let billionths = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    let binary = |power: u32| billionths.checked_mul(1024_i128.checked_pow(power)?);
    let decimal = |power: u32| billionths.checked_mul(1000_i128.checked_pow(power)?);
    match suffix {
        "n" => billionths.checked_div(1_000_000_000),
        "u" => billionths.checked_div(1_000_000),
        "m" => billionths.checked_div(1000),
        "" => Some(billionths),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            billionths.checked_mul(10_i128.checked_pow(power)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_added_does_not_matter_and_what_was_wished_does() {
        let wish = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "replicas": 1,
                "containers": [{"name": "agent", "image": "x", "args": ["--a", "--b"], "env": []}],
                "emptyDir": {},
            }
        });
        let mut live = json!({
            "metadata": {"labels": {"a": "1", "theirs": "2"}, "uid": "u"},
            "spec": {
                "replicas": 1, "paused": false,
                "containers": [
                    {"name": "sidecar", "image": "y"},
                    {"name": "agent", "image": "x", "args": ["--a", "--b"], "tty": false},
                ],
            }
        });
        assert_eq!(difference(&wish, &live), None);
        for (pointer, value, path) in [
            ("/metadata/labels/a", json!("2"), "metadata.labels.a"),
            ("/spec/replicas", json!(0), "spec.replicas"),
            ("/spec/containers/1/image", json!("evil"), "spec.containers[agent].image"),
            ("/spec/containers/1/args", json!(["--a"]), "spec.containers[agent].args"),
            ("/spec/containers/1/args/1", json!("--c"), "spec.containers[agent].args[1]"),
            ("/spec/containers/1/name", json!("other"), "spec.containers[agent]"),
        ] {
            let before = std::mem::replace(live.pointer_mut(pointer).unwrap(), value);
            assert_eq!(difference(&wish, &live).as_deref(), Some(path));
            *live.pointer_mut(pointer).unwrap() = before;
        }
    }

    #[test]
    fn quantities_are_compared_by_value_where_there_are_quantities() {
        let with = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
        assert_eq!(difference(&with("1000m", "1024Mi"), &with("1", "1Gi")), None);
        assert_eq!(difference(&with("0.5", "1e3"), &with("500m", "1k")), None);
        assert_eq!(
            difference(&with("100m", "1Gi"), &with("100m", "1G")).as_deref(),
            Some("requests.memory")
        );
        assert_eq!(difference(&json!({"a": "1000m"}), &json!({"a": "1"})).as_deref(), Some("a"));
        for (text, value) in [("", None), (".", None), ("x", None), ("1x", None), ("9e99", None)] {
            assert_eq!(amount(text), value, "{text}");
        }
    }
}
