//! Numbers as JSON text (RFC 8259, section 6): shortest text that reads back as the same value
//! of the same type, so an `f32` is `20.11` and not `20.110000610351562`.

use super::Integers;
use crate::value::Value;

pub(super) fn write_unsigned(v: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
}

pub(super) fn write_signed(v: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
}

/// RFC 8259 has no number for these three, so they are strings.
fn write_non_finite(is_nan: bool, is_negative: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(match (is_nan, is_negative) {
        (true, _) => b"\"NaN\"",
        (false, false) => b"\"Infinity\"",
        (false, true) => b"\"-Infinity\"",
    });
}

fn write_f32(v: f32, out: &mut Vec<u8>) {
    if v.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(v).as_bytes());
    } else {
        write_non_finite(v.is_nan(), v.is_sign_negative(), out);
    }
}

fn write_f64(v: f64, out: &mut Vec<u8>) {
    if v.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(v).as_bytes());
    } else {
        write_non_finite(v.is_nan(), v.is_sign_negative(), out);
    }
}

fn write_64(integers: Integers, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if integers.as_string {
        out.push(b'"');
        write(out);
        out.push(b'"');
    } else {
        write(out);
    }
}

/// The value as JSON v1 writes it; [`Value::Null`] is `null`.
pub(super) fn write_value(value: &Value, integers: Integers, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::I8(v) => write_signed(i64::from(*v), out),
        Value::I16(v) => write_signed(i64::from(*v), out),
        Value::I32(v) => write_signed(i64::from(*v), out),
        Value::I64(v) => write_64(integers, out, |out| write_signed(*v, out)),
        Value::U8(v) => write_unsigned(u64::from(*v), out),
        Value::U16(v) => write_unsigned(u64::from(*v), out),
        Value::U32(v) => write_unsigned(u64::from(*v), out),
        Value::U64(v) => write_64(integers, out, |out| write_unsigned(*v, out)),
        Value::F32(v) => write_f32(*v, out),
        Value::F64(v) => write_f64(*v, out),
        Value::String(v) => super::string::write_string(v, out),
        Value::Bytes(v) => super::string::write_base64(v, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Value, as_string: bool) -> String {
        let mut out = Vec::new();
        write_value(&value, Integers { as_string }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_float_is_the_shortest_text_of_its_own_width() {
        assert_eq!(text(Value::F32(20.11), false), "20.11");
        assert_eq!(text(Value::F64(20.11), false), "20.11");
        assert_eq!(text(Value::F64(f64::from(20.11_f32)), false), "20.110000610351562");
        assert_eq!(text(Value::F32(-0.0), false), "-0.0");
    }

    #[test]
    fn non_finite_floats_are_strings() {
        assert_eq!(text(Value::F32(f32::NAN), false), r#""NaN""#);
        assert_eq!(text(Value::F64(-f64::NAN), false), r#""NaN""#);
        assert_eq!(text(Value::F64(f64::INFINITY), false), r#""Infinity""#);
        assert_eq!(text(Value::F32(f32::NEG_INFINITY), false), r#""-Infinity""#);
    }

    #[test]
    fn only_64_bit_integers_become_strings_and_then_always() {
        assert_eq!(text(Value::I64(1), true), r#""1""#);
        assert_eq!(text(Value::U64(u64::MAX), true), r#""18446744073709551615""#);
        assert_eq!(text(Value::U32(1), true), "1");
        assert_eq!(text(Value::I64(i64::MIN), false), "-9223372036854775808");
    }
}
