//! Expressions of transforms: the part of the Common Expression Language (CEL) that is about one
//! sample.
//!
//! ```text
//! text --lex--> tokens --parse--> tree --check--> Expression --evaluate(Variables)--> Term
//! ```
//!
//! An expression is parsed and checked once per configuration and evaluated once per sample, so
//! it has to be bounded and must not fail in other ways than CEL says. CEL's macros over lists
//! are left out (a sample holds no list), and so are regular expressions, fields and indexes:
//! what remains has no loop, and its cost is linear in the length of the text, which the schema
//! bounds. Everything that is here means what it means in CEL; a test compares both grammar and
//! values with another implementation.

mod check;
mod civil;
mod evaluate;
mod lex;
mod parse;

use std::fmt;
use std::sync::Arc;

pub use evaluate::{EvaluationError, Term, Variables};

/// What an expression is for; it decides which results make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Says whether a sample is kept: true or false.
    Condition,
    /// Makes a value: true or false, a number, or text.
    Value,
}

/// A parsed and checked expression.
#[derive(Clone, PartialEq)]
pub struct Expression {
    text: Arc<str>,
    root: Node,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}")]
pub struct ExpressionError {
    /// Where, counted in characters from 1.
    pub at: usize,
    /// What is wrong, for people.
    pub message: String,
}

impl Expression {
    /// Parses and checks a text.
    ///
    /// # Errors
    /// The first thing that is wrong: syntax, an unknown name, or types that can never fit.
    pub fn parse(text: &str, purpose: Purpose) -> Result<Self, ExpressionError> {
        let tokens = lex::tokens(text)?;
        let root = parse::parse(&tokens, text.chars().count())?;
        check::check(&root, purpose)?;
        Ok(Self { text: text.into(), root: root.node })
    }

    /// The text that it was made of.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

/// One node with its place in the text, for messages.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    at: usize,
    node: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Literal(Term),
    Variable(Variable),
    Not(Box<Placed>),
    Negate(Box<Placed>),
    And(Box<[Placed; 2]>),
    Or(Box<[Placed; 2]>),
    /// Condition, then, else.
    Conditional(Box<[Placed; 3]>),
    Binary(Operator, Box<[Placed; 2]>),
    /// Whether the first is equal to one of the others.
    In(Box<Placed>, Box<[Placed]>),
    Call(Function, Box<[Placed]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Value,
    Status,
    Good,
    Point,
    Device,
    Time,
}

/// Variables by name.
const VARIABLES: [(&str, Variable); 6] = [
    ("value", Variable::Value),
    ("status", Variable::Status),
    ("good", Variable::Good),
    ("point", Variable::Point),
    ("device", Variable::Device),
    ("time", Variable::Time),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Size,
    Int,
    Uint,
    Double,
    Contains,
    StartsWith,
    EndsWith,
    /// A part of a time, in UTC.
    Part(civil::Part),
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `f(x)`
    Global,
    /// `x.f(...)`
    Method,
    /// Both.
    Either,
}

/// Functions by name, how each is called, and how many arguments it has, the receiver included.
const FUNCTIONS: [(&str, Function, Style, usize); 15] = [
    ("size", Function::Size, Style::Either, 1),
    ("int", Function::Int, Style::Global, 1),
    ("uint", Function::Uint, Style::Global, 1),
    ("double", Function::Double, Style::Global, 1),
    ("contains", Function::Contains, Style::Method, 2),
    ("startsWith", Function::StartsWith, Style::Method, 2),
    ("endsWith", Function::EndsWith, Style::Method, 2),
    ("getFullYear", Function::Part(civil::Part::FullYear), Style::Method, 1),
    ("getMonth", Function::Part(civil::Part::Month), Style::Method, 1),
    ("getDate", Function::Part(civil::Part::Date), Style::Method, 1),
    ("getDayOfWeek", Function::Part(civil::Part::DayOfWeek), Style::Method, 1),
    ("getHours", Function::Part(civil::Part::Hours), Style::Method, 1),
    ("getMinutes", Function::Part(civil::Part::Minutes), Style::Method, 1),
    ("getSeconds", Function::Part(civil::Part::Seconds), Style::Method, 1),
    ("getMilliseconds", Function::Part(civil::Part::Milliseconds), Style::Method, 1),
];
