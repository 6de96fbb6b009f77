//! The value of an expression for one sample. No loop, no allocation but for joined text.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Expression, Function, Node, Operator, Placed, Variable};

/// Longest text that joining may make, in bytes: expressions can follow each other, and each
/// could double what it gets.
const TEXT_BYTES: usize = 64 << 10;

/// A value inside an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// No value: that of a Bad sample.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// An unsigned whole number.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(Arc<str>),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

/// What an expression knows of a sample.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `value`
    pub value: &'a Term,
    /// `status`: the OPC UA StatusCode.
    pub status: u32,
    /// `good`: severity Good.
    pub good: bool,
    /// `point`: name of the point.
    pub point: &'a Arc<str>,
    /// `device`: `namespace/name`.
    pub device: &'a Arc<str>,
    /// `time`: ns since 1970-01-01T00:00:00Z.
    pub time: i64,
}

/// Why an expression has no value for a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// An operator or function does not know values of these types.
    #[error("the value's type does not fit the expression")]
    NoSuchOverload,
    /// The result does not fit its type.
    #[error("the result does not fit its type")]
    Overflow,
    /// A whole number was divided by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// Text that is no number was to become one.
    #[error("the text is no number")]
    NotANumber,
    /// Joined text would be longer than 64 KiB.
    #[error("the text is too long")]
    TooLong,
}

use EvaluationError::{DivisionByZero, NoSuchOverload, NotANumber, Overflow, TooLong};

type Evaluated = Result<Term, EvaluationError>;

impl Expression {
    /// The value for one sample.
    ///
    /// # Errors
    /// Where CEL has no value: types that do not fit, overflow, division by zero.
    pub fn evaluate(&self, variables: &Variables<'_>) -> Result<Term, EvaluationError> {
        value_of(&self.root, variables)
    }
}

fn value_of(node: &Node, variables: &Variables<'_>) -> Evaluated {
    let of = |placed: &Placed| value_of(&placed.node, variables);
    match node {
        Node::Literal(term) => Ok(term.clone()),
        Node::Variable(variable) => Ok(match variable {
            Variable::Value => variables.value.clone(),
            Variable::Status => Term::Int(i64::from(variables.status)),
            Variable::Good => Term::Bool(variables.good),
            Variable::Point => Term::Text(variables.point.clone()),
            Variable::Device => Term::Text(variables.device.clone()),
            Variable::Time => Term::Time(variables.time),
        }),
        Node::Not(inner) => truth(of(inner)?).map(|b| Term::Bool(!b)),
        Node::Negate(inner) => match of(inner)? {
            Term::Int(n) => n.checked_neg().map(Term::Int).ok_or(Overflow),
            Term::Double(n) => Ok(Term::Double(-n)),
            _ => Err(NoSuchOverload),
        },
        Node::And(sides) => decided_by(false, of(&sides[0]), || of(&sides[1])),
        Node::Or(sides) => decided_by(true, of(&sides[0]), || of(&sides[1])),
        Node::Conditional(parts) => match truth(of(&parts[0])?)? {
            true => of(&parts[1]),
            false => of(&parts[2]),
        },
        Node::Binary(operator, sides) => binary(*operator, of(&sides[0])?, of(&sides[1])?),
        Node::In(wanted, list) => {
            let wanted = of(wanted)?;
            let mut found = false;
            for item in list {
                found |= equal(&wanted, &of(item)?);
            }
            Ok(Term::Bool(found))
        }
        Node::Call(function, arguments) => match &**arguments {
            [only] => convert(*function, of(only)?),
            [receiver, argument] => about_text(*function, &of(receiver)?, &of(argument)?),
            _ => Err(NoSuchOverload),
        },
    }
}

fn truth(term: Term) -> Result<bool, EvaluationError> {
    match term {
        Term::Bool(b) => Ok(b),
        _ => Err(NoSuchOverload),
    }
}

/// `&&` and `||`: one side that decides is enough, even if the other has no value.
fn decided_by(deciding: bool, left: Evaluated, right: impl FnOnce() -> Evaluated) -> Evaluated {
    let left = left.and_then(truth);
    if left == Ok(deciding) {
        return Ok(Term::Bool(deciding));
    }
    let right = right().and_then(truth);
    if right == Ok(deciding) {
        return Ok(Term::Bool(deciding));
    }
    left?;
    right.map(Term::Bool)
}

fn binary(operator: Operator, left: Term, right: Term) -> Evaluated {
    use Operator::{
        Add, Divide, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Multiply, NotEqual,
        Remainder, Subtract,
    };
    match operator {
        Equal => return Ok(Term::Bool(equal(&left, &right))),
        NotEqual => return Ok(Term::Bool(!equal(&left, &right))),
        Less | LessOrEqual | Greater | GreaterOrEqual => {
            let order = order(&left, &right)?;
            return Ok(Term::Bool(order.is_some_and(|order| match operator {
                Less => order.is_lt(),
                LessOrEqual => order.is_le(),
                Greater => order.is_gt(),
                _ => order.is_ge(),
            })));
        }
        Add | Subtract | Multiply | Divide | Remainder => {}
    }
    match (left, right) {
        (Term::Int(_), Term::Int(0)) | (Term::Uint(_), Term::Uint(0))
            if matches!(operator, Divide | Remainder) =>
        {
            Err(DivisionByZero)
        }
        (Term::Int(a), Term::Int(b)) => match operator {
            Add => a.checked_add(b),
            Subtract => a.checked_sub(b),
            Multiply => a.checked_mul(b),
            Divide => a.checked_div(b),
            _ => a.checked_rem(b),
        }
        .map(Term::Int)
        .ok_or(Overflow),
        (Term::Uint(a), Term::Uint(b)) => match operator {
            Add => a.checked_add(b),
            Subtract => a.checked_sub(b),
            Multiply => a.checked_mul(b),
            Divide => a.checked_div(b),
            _ => a.checked_rem(b),
        }
        .map(Term::Uint)
        .ok_or(Overflow),
        (Term::Double(a), Term::Double(b)) => match operator {
            Add => Ok(a + b),
            Subtract => Ok(a - b),
            Multiply => Ok(a * b),
            Divide => Ok(a / b),
            _ => Err(NoSuchOverload),
        }
        .map(Term::Double),
        (Term::Text(a), Term::Text(b)) if operator == Add => {
            match a.len() + b.len() <= TEXT_BYTES {
                true => Ok(Term::Text([&*a, &*b].concat().into())),
                false => Err(TooLong),
            }
        }
        _ => Err(NoSuchOverload),
    }
}

/// Equality of any two values: those of different types differ, but numbers are numbers.
fn equal(left: &Term, right: &Term) -> bool {
    match (left, right) {
        (Term::Null, Term::Null) => true,
        _ => order(left, right) == Ok(Some(Ordering::Equal)),
    }
}

/// `None`: one is not a number (IEEE 754), so nothing holds between them.
fn order(left: &Term, right: &Term) -> Result<Option<Ordering>, EvaluationError> {
    Ok(match (left, right) {
        (Term::Bool(a), Term::Bool(b)) => Some(a.cmp(b)),
        (Term::Text(a), Term::Text(b)) => Some(a.cmp(b)),
        (Term::Time(a), Term::Time(b)) => Some(a.cmp(b)),
        (Term::Double(a), Term::Double(b)) => a.partial_cmp(b),
        (Term::Double(a), b) => whole_and_double(whole(b)?, *a).map(Ordering::reverse),
        (a, Term::Double(b)) => whole_and_double(whole(a)?, *b),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    })
}

fn whole(term: &Term) -> Result<i128, EvaluationError> {
    match term {
        Term::Int(n) => Ok(i128::from(*n)),
        Term::Uint(n) => Ok(i128::from(*n)),
        _ => Err(NoSuchOverload),
    }
}

/// Exact, where converting either to the other's type would round.
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Saturates outside of i128, where every 64-bit number is less or greater anyway.
    let floor = double.floor() as i128;
    let above_floor = if double.fract() == 0.0 { Ordering::Equal } else { Ordering::Less };
    Some(whole.cmp(&floor).then(above_floor))
}

fn convert(function: Function, term: Term) -> Evaluated {
    match (function, term) {
        (Function::Size, Term::Text(text)) => Ok(Term::Int(text.chars().count() as i64)),
        (Function::Int, Term::Int(n)) => Ok(Term::Int(n)),
        (Function::Int, Term::Uint(n)) => i64::try_from(n).map(Term::Int).map_err(|_| Overflow),
        // Both bounds are powers of two, so exact; the lower one is left out as CEL does.
        (Function::Int, Term::Double(n)) if n.abs() < 9_223_372_036_854_775_808.0 => {
            Ok(Term::Int(n as i64))
        }
        (Function::Int, Term::Double(_)) => Err(Overflow),
        (Function::Int, Term::Text(text)) => text.parse().map(Term::Int).map_err(|_| NotANumber),
        (Function::Int, Term::Time(nanos)) => Ok(Term::Int(nanos.div_euclid(1_000_000_000))),
        (Function::Uint, Term::Uint(n)) => Ok(Term::Uint(n)),
        (Function::Uint, Term::Int(n)) => u64::try_from(n).map(Term::Uint).map_err(|_| Overflow),
        (Function::Uint, Term::Double(n)) => match (0.0..18_446_744_073_709_551_616.0).contains(&n)
        {
            true => Ok(Term::Uint(n as u64)),
            false => Err(Overflow),
        },
        (Function::Uint, Term::Text(text)) => text.parse().map(Term::Uint).map_err(|_| NotANumber),
        (Function::Double, Term::Double(n)) => Ok(Term::Double(n)),
        (Function::Double, Term::Int(n)) => Ok(Term::Double(n as f64)),
        (Function::Double, Term::Uint(n)) => Ok(Term::Double(n as f64)),
        (Function::Double, Term::Text(text)) => {
            text.parse().map(Term::Double).map_err(|_| NotANumber)
        }
        (Function::Part(part), Term::Time(nanos)) => Ok(Term::Int(part.of(nanos))),
        _ => Err(NoSuchOverload),
    }
}

fn about_text(function: Function, receiver: &Term, argument: &Term) -> Evaluated {
    let (Term::Text(text), Term::Text(part)) = (receiver, argument) else {
        return Err(NoSuchOverload);
    };
    match function {
        Function::Contains => Ok(Term::Bool(text.contains(&**part))),
        Function::StartsWith => Ok(Term::Bool(text.starts_with(&**part))),
        Function::EndsWith => Ok(Term::Bool(text.ends_with(&**part))),
        _ => Err(NoSuchOverload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Purpose;

    fn evaluate(text: &str, value: Term) -> Evaluated {
        let (point, device) = ("temperature".into(), "plant/furnace".into());
        let variables = Variables {
            value: &value,
            status: 0x4090_0000,
            good: false,
            point: &point,
            device: &device,
            time: 1_764_258_245_250_000_000,
        };
        Expression::parse(text, Purpose::Value).unwrap().evaluate(&variables)
    }

    #[test]
    fn variables_say_what_the_sample_is() {
        for text in [
            "value == 5",
            "!good && status == 0x40900000",
            "point == 'temperature' && device.endsWith('/furnace')",
            "time.getFullYear() == 2025 && time.getMonth() == 10 && time.getDate() == 27",
            "time.getHours() == 15 && time.getMinutes() == 44 && time.getSeconds() == 5",
            "time.getMilliseconds() == 250 && time.getDayOfWeek() == 4",
            "int(time) == 1764258245",
            "point in ['pressure', 'temperature'] ? true : false",
        ] {
            assert_eq!(evaluate(text, Term::Int(5)), Ok(Term::Bool(true)), "{text}");
        }
    }

    #[test]
    fn a_side_that_decides_is_enough() {
        let error = Err(NoSuchOverload);
        for (text, wanted) in [
            ("value > 5 || true", Ok(Term::Bool(true))),
            ("true || value > 5", Ok(Term::Bool(true))),
            ("value > 5 && false", Ok(Term::Bool(false))),
            ("value > 5 && true", error.clone()),
            ("false || value > 5", error),
        ] {
            assert_eq!(evaluate(text, Term::Null), wanted, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_never_wraps() {
        for (text, value, wanted) in [
            ("value + 1", Term::Int(i64::MAX), Overflow),
            ("-value", Term::Int(i64::MIN), Overflow),
            ("value / 0", Term::Int(1), DivisionByZero),
            ("value % 0", Term::Int(1), DivisionByZero),
            ("int(value)", Term::Double(1e19), Overflow),
            ("int(value)", Term::Double(f64::NAN), Overflow),
            ("uint(value)", Term::Double(-1.0), Overflow),
            ("uint(value)", Term::Int(-1), Overflow),
            ("int(value)", Term::Text("x".into()), NotANumber),
            ("value + value", Term::Text("x".repeat(TEXT_BYTES / 2 + 1).into()), TooLong),
            ("value * 2", Term::Double(1.0), NoSuchOverload),
        ] {
            assert_eq!(evaluate(text, value), Err(wanted), "{text}");
        }
    }

    #[test]
    fn numbers_of_different_types_are_compared_exactly() {
        let above = Term::Double(9_007_199_254_740_992.0);
        assert_eq!(evaluate("value < 9007199254740993", above), Ok(Term::Bool(true)));
        assert_eq!(evaluate("value == 2u", Term::Int(2)), Ok(Term::Bool(true)));
        assert_eq!(evaluate("value == value", Term::Double(f64::NAN)), Ok(Term::Bool(false)));
        assert_eq!(evaluate("value < -1", Term::Double(-1.5)), Ok(Term::Bool(true)));
        assert_eq!(evaluate("value > 1", Term::Double(f64::INFINITY)), Ok(Term::Bool(true)));
    }
}
