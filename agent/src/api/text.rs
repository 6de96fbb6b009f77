//! Times and values as the API writes them.

use lineside_core::{UnixNanos, Value, encode};
use serde_json::value::RawValue;

/// RFC 3339 in UTC with nanoseconds.
pub fn time(time: UnixNanos) -> String {
    let mut text = Vec::with_capacity(30);
    encode::write_rfc3339(time, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// A value as JSON v1 writes it.
pub fn value(value: &Value) -> Option<Box<RawValue>> {
    let mut text = Vec::new();
    encode::value_text(value, false, &mut text);
    String::from_utf8(text).ok().and_then(|text| RawValue::from_string(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_every_digit() {
        let text = |v| value(&v).map(|raw| raw.get().to_owned()).unwrap_or_default();
        assert_eq!(text(Value::U64(u64::MAX)), "18446744073709551615");
        assert_eq!(text(Value::F32(21.1)), "21.1");
        assert_eq!(text(Value::F64(f64::NAN)), "\"NaN\"");
        assert!(value(&Value::Null).is_some_and(|raw| raw.get() == "null"));
    }
}
