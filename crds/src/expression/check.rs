//! Types that can never fit are found when the configuration is read, not at every sample. What
//! `value` holds is known only then, so it fits everything here.

use super::{ExpressionError, Function, Node, Operator, Placed, Purpose, Term, Variable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// Known only when there is a sample.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Time,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Uint => "an unsigned number",
            Self::Double => "a floating-point number",
            Self::Text => "text",
            Self::Time => "a time",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether values of the two can be compared with each other.
    fn compares_with(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self.is_number() && other.is_number())
    }
}

pub(super) fn check(root: &Placed, purpose: Purpose) -> Result<(), ExpressionError> {
    let found = type_of(root)?;
    match (purpose, found) {
        (Purpose::Condition, Type::Bool | Type::Any) => Ok(()),
        (Purpose::Value, Type::Null | Type::Time) | (Purpose::Condition, _) => {
            let wanted = match purpose {
                Purpose::Condition => "true or false is wanted",
                Purpose::Value => "a value is wanted: true or false, a number, or text",
            };
            error(root.at, format!("{wanted}; this gives {}", found.name()))
        }
        (Purpose::Value, _) => Ok(()),
    }
}

fn error<T>(at: usize, message: String) -> Result<T, ExpressionError> {
    Err(ExpressionError { at, message })
}

fn type_of(placed: &Placed) -> Result<Type, ExpressionError> {
    let at = placed.at;
    Ok(match &placed.node {
        Node::Literal(term) => match term {
            Term::Null => Type::Null,
            Term::Bool(_) => Type::Bool,
            Term::Int(_) => Type::Int,
            Term::Uint(_) => Type::Uint,
            Term::Double(_) => Type::Double,
            Term::Text(_) => Type::Text,
            Term::Time(_) => Type::Time,
        },
        Node::Variable(variable) => match variable {
            Variable::Value => Type::Any,
            Variable::Status => Type::Int,
            Variable::Good => Type::Bool,
            Variable::Point | Variable::Device => Type::Text,
            Variable::Time => Type::Time,
        },
        Node::Not(inner) => one_of(inner, &[Type::Bool])?,
        Node::Negate(inner) => one_of(inner, &[Type::Int, Type::Double])?,
        Node::And(both) | Node::Or(both) => {
            for side in both.iter() {
                one_of(side, &[Type::Bool])?;
            }
            Type::Bool
        }
        Node::Conditional(parts) => {
            let [condition, then, other] = &**parts;
            one_of(condition, &[Type::Bool])?;
            let (then, other) = (type_of(then)?, type_of(other)?);
            if then == other { then } else { Type::Any }
        }
        Node::Binary(operator, sides) => binary(at, *operator, sides)?,
        Node::In(wanted, list) => {
            let wanted = type_of(wanted)?;
            for item in list {
                let found = type_of(item)?;
                if !wanted.compares_with(found) {
                    return never_equal(item.at, wanted, found);
                }
            }
            Type::Bool
        }
        Node::Call(function, arguments) => {
            let (wanted, result) = signature(*function);
            for argument in arguments {
                one_of(argument, wanted)?;
            }
            result
        }
    })
}

/// The type of `placed`, which has to be one of `wanted`; `Any` for what is known only later.
fn one_of(placed: &Placed, wanted: &[Type]) -> Result<Type, ExpressionError> {
    fits(placed.at, type_of(placed)?, wanted)
}

fn fits(at: usize, found: Type, wanted: &[Type]) -> Result<Type, ExpressionError> {
    if found == Type::Any || wanted.contains(&found) {
        return Ok(match wanted {
            [only] => *only,
            _ => found,
        });
    }
    let wanted: Vec<_> = wanted.iter().map(|t| t.name()).collect();
    error(at, format!("{} is wanted; this is {}", wanted.join(" or "), found.name()))
}

fn never_equal<T>(at: usize, left: Type, right: Type) -> Result<T, ExpressionError> {
    error(at, format!("{} is never equal to {}", left.name(), right.name()))
}

fn binary(at: usize, operator: Operator, sides: &[Placed; 2]) -> Result<Type, ExpressionError> {
    const NUMBERS: &[Type] = &[Type::Int, Type::Uint, Type::Double];
    let [left, right] = [type_of(&sides[0])?, type_of(&sides[1])?];
    let operands: &[Type] = match operator {
        Operator::Equal | Operator::NotEqual => {
            if !left.compares_with(right) {
                return never_equal(at, left, right);
            }
            return Ok(Type::Bool);
        }
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            if left.compares_with(right) && left != Type::Null && right != Type::Null {
                return Ok(Type::Bool);
            }
            let message = format!("{} has no order with {}", left.name(), right.name());
            return error(at, message);
        }
        Operator::Add => &[Type::Int, Type::Uint, Type::Double, Type::Text],
        Operator::Subtract | Operator::Multiply | Operator::Divide => NUMBERS,
        Operator::Remainder => &[Type::Int, Type::Uint],
    };
    // By the types that are known: asking each side twice would double at every level.
    fits(sides[0].at, left, operands)?;
    fits(sides[1].at, right, operands)?;
    match (left, right) {
        (Type::Any, known) | (known, Type::Any) => Ok(known),
        (left, right) if left == right => Ok(left),
        (left, right) => {
            let hint = match left.is_number() && right.is_number() {
                true => "; convert one with double(), int() or uint()",
                false => "",
            };
            let names = (left.name(), right.name());
            error(at, format!("{} does not go with {}{hint}", names.0, names.1))
        }
    }
}

/// What all arguments of a function may be, and what it gives.
fn signature(function: Function) -> (&'static [Type], Type) {
    match function {
        Function::Size => (&[Type::Text], Type::Int),
        Function::Int => {
            (&[Type::Int, Type::Uint, Type::Double, Type::Text, Type::Time], Type::Int)
        }
        Function::Uint => (&[Type::Int, Type::Uint, Type::Double, Type::Text], Type::Uint),
        Function::Double => (&[Type::Int, Type::Uint, Type::Double, Type::Text], Type::Double),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            (&[Type::Text], Type::Bool)
        }
        Function::Part(_) => (&[Type::Time], Type::Int),
    }
}

#[cfg(test)]
mod tests {
    use crate::expression::{Expression, Purpose};

    #[test]
    fn what_can_never_fit_is_refused_at_its_place() {
        for (text, at) in [
            ("good + 1", 1),
            ("1 + 1.0 > 2.0", 3),
            ("point > 5", 7),
            ("point == 5", 7),
            ("value in ['a', 1 + 1.0]", 18),
            ("5 in [1, 'a']", 10),
            ("value + 1", 7),
            ("!value.size()", 8),
            ("time.contains('a')", 1),
            ("value && 'a'", 10),
            ("value == 1.5 % 2.0", 10),
        ] {
            let error = Expression::parse(text, Purpose::Condition).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        for text in ["null", "time", "value + time"] {
            assert!(Expression::parse(text, Purpose::Value).is_err(), "{text}");
        }
    }

    #[test]
    fn what_depends_on_the_sample_is_taken() {
        for text in ["value", "value > 5 || value == 'a'", "value in [1, 2.0]", "value < time"] {
            assert!(Expression::parse(text, Purpose::Condition).is_ok(), "{text}");
        }
        for text in ["value", "value * 2.0", "good ? 1 : 2.0", "value + '!'", "-value"] {
            assert!(Expression::parse(text, Purpose::Value).is_ok(), "{text}");
        }
    }
}
