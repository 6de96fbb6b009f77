//! Values as numbers.

use lineside_core::Value;

/// The number as floating point; `None` for what is no number, NaN and infinities.
pub(super) fn finite(value: &Value) -> Option<f64> {
    let number = match value {
        Value::F32(n) => f64::from(*n),
        Value::F64(n) => *n,
        _ => whole(value)? as f64,
    };
    number.is_finite().then_some(number)
}

/// How far apart two numbers are; exact for whole numbers, of which 64 bits do not fit into
/// floating point.
pub(super) fn distance(a: &Value, b: &Value) -> Option<f64> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some((a - b).unsigned_abs() as f64),
        _ => Some((finite(a)? - finite(b)?).abs()),
    }
}

/// `value x factor + offset`: 32-bit floating point stays so, every other number becomes 64-bit;
/// `None` for what is no number.
pub(super) fn scaled(value: &Value, factor: f64, offset: f64) -> Option<Value> {
    let scale = |n: f64| n * factor + offset;
    match value {
        Value::F32(n) => Some(Value::F32(scale(f64::from(*n)) as f32)),
        Value::F64(n) => Some(Value::F64(scale(*n))),
        _ => Some(Value::F64(scale(whole(value)? as f64))),
    }
}

/// Whether two values are the same to their last bit, so that NaN is no change of NaN.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

fn whole(value: &Value) -> Option<i128> {
    Some(match value {
        Value::I8(n) => i128::from(*n),
        Value::I16(n) => i128::from(*n),
        Value::I32(n) => i128::from(*n),
        Value::I64(n) => i128::from(*n),
        Value::U8(n) => i128::from(*n),
        Value::U16(n) => i128::from(*n),
        Value::U32(n) => i128::from(*n),
        Value::U64(n) => i128::from(*n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_compared_exactly() {
        let (a, b) = (Value::U64(u64::MAX), Value::U64(u64::MAX - 1));
        assert_eq!(distance(&a, &b), Some(1.0));
        assert_eq!(distance(&Value::I64(i64::MIN), &Value::I64(i64::MAX)), Some(2_f64.powi(64)));
        assert_eq!(distance(&Value::F32(1.5), &Value::I8(1)), Some(0.5));
        assert_eq!(distance(&Value::F64(f64::NAN), &Value::I8(1)), None);
    }

    #[test]
    fn scaling_keeps_short_floats_short() {
        assert_eq!(scaled(&Value::F32(215.0), 0.1, 0.0), Some(Value::F32(21.5)));
        assert_eq!(scaled(&Value::U16(215), 0.5, -40.0), Some(Value::F64(67.5)));
        assert_eq!(scaled(&Value::Bool(true), 2.0, 0.0), None);
    }
}
