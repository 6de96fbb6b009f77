//! Expressions over samples.

use std::sync::Arc;

use lineside_core::{Sample, Value};
use lineside_crds::expression::{EvaluationError, Expression, Term, Variables};

/// The value of an expression for a sample of `point` of `device`.
///
/// # Errors
/// Where it has none, or one that is no value of a sample.
pub(super) fn value(
    expression: &Expression,
    sample: &Sample,
    point: &Arc<str>,
    device: &Arc<str>,
) -> Result<Value, EvaluationError> {
    let value = term(&sample.value);
    let variables = Variables {
        value: &value,
        status: sample.status.0,
        good: sample.status.is_good(),
        point,
        device,
        time: sample.time(),
    };
    match expression.evaluate(&variables)? {
        Term::Bool(b) => Ok(Value::Bool(b)),
        Term::Int(n) => Ok(Value::I64(n)),
        Term::Uint(n) => Ok(Value::U64(n)),
        Term::Double(n) => Ok(Value::F64(n)),
        Term::Text(text) => Ok(Value::String(text)),
        Term::Null | Term::Time(_) => Err(EvaluationError::NoSuchOverload),
    }
}

/// A value as CEL knows it. Unsigned numbers that fit are whole numbers there, so that literals
/// go with them; bytes are nothing that an expression here could use.
fn term(value: &Value) -> Term {
    match value {
        Value::Null | Value::Bytes(_) => Term::Null,
        Value::Bool(b) => Term::Bool(*b),
        Value::I8(n) => Term::Int(i64::from(*n)),
        Value::I16(n) => Term::Int(i64::from(*n)),
        Value::I32(n) => Term::Int(i64::from(*n)),
        Value::I64(n) => Term::Int(*n),
        Value::U8(n) => Term::Int(i64::from(*n)),
        Value::U16(n) => Term::Int(i64::from(*n)),
        Value::U32(n) => Term::Int(i64::from(*n)),
        Value::U64(n) => Term::Uint(*n),
        Value::F32(n) => Term::Double(f64::from(*n)),
        Value::F64(n) => Term::Double(*n),
        Value::String(text) => Term::Text(text.clone()),
    }
}
