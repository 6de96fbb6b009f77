//! From tokens to a tree: the grammar of CEL's language definition, without fields, indexes,
//! messages, maps and macros.

use super::lex::{Kind, Token};
use super::{ExpressionError, FUNCTIONS, Node, Operator, Placed, Style, VARIABLES};
use crate::expression::Term;
use crate::suggest::{did_you_mean, shown};

/// Most brackets and prefixes inside each other, so that no text can exhaust the stack.
const DEEPEST: usize = 32;

pub(super) fn parse(tokens: &[Token], chars: usize) -> Result<Placed, ExpressionError> {
    let mut parser = Parser { tokens, next: 0, end: chars + 1, depth: 0 };
    let root = parser.expression()?;
    match parser.peek() {
        None => Ok(root),
        Some(token) => Err(error(token.at, "the expression should end here")),
    }
}

fn error(at: usize, message: impl Into<String>) -> ExpressionError {
    ExpressionError { at, message: message.into() }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    /// Where the text ends.
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    /// Where the next token begins, or where the text ends.
    fn here(&self) -> usize {
        self.peek().map_or(self.end, |t| t.at)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let there = self.peek().is_some_and(|t| matches!(t.kind, Kind::Sign(s) if s == sign));
        self.next += usize::from(there);
        there
    }

    fn want_sign(&mut self, sign: &str) -> Result<(), ExpressionError> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(error(self.here(), format!("{sign:?} is missing"))),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ExpressionError>,
    ) -> Result<T, ExpressionError> {
        if self.depth == DEEPEST {
            return Err(error(self.here(), format!("more than {DEEPEST} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Result<Placed, ExpressionError> {
        self.deeper(|p| {
            let condition = p.or()?;
            let at = p.here();
            if !p.take_sign("?") {
                return Ok(condition);
            }
            let then = p.deeper(Self::or)?;
            p.want_sign(":")?;
            let other = p.expression()?;
            Ok(Placed { at, node: Node::Conditional(Box::new([condition, then, other])) })
        })
    }

    fn or(&mut self) -> Result<Placed, ExpressionError> {
        let mut left = self.and()?;
        loop {
            let at = self.here();
            if !self.take_sign("||") {
                return Ok(left);
            }
            left = Placed { at, node: Node::Or(Box::new([left, self.and()?])) };
        }
    }

    fn and(&mut self) -> Result<Placed, ExpressionError> {
        let mut left = self.relation()?;
        loop {
            let at = self.here();
            if !self.take_sign("&&") {
                return Ok(left);
            }
            left = Placed { at, node: Node::And(Box::new([left, self.relation()?])) };
        }
    }

    fn relation(&mut self) -> Result<Placed, ExpressionError> {
        const SIGNS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let mut left = self.sum()?;
        loop {
            let at = self.here();
            if self.peek().is_some_and(|t| matches!(&t.kind, Kind::Name(n) if n == "in")) {
                self.next += 1;
                let node = Node::In(Box::new(left), self.list()?);
                left = Placed { at, node };
            } else if let Some(operator) = self.take_operator(&SIGNS) {
                let node = Node::Binary(operator, Box::new([left, self.sum()?]));
                left = Placed { at, node };
            } else {
                return Ok(left);
            }
        }
    }

    fn sum(&mut self) -> Result<Placed, ExpressionError> {
        const SIGNS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Subtract)];
        let mut left = self.product()?;
        loop {
            let at = self.here();
            let Some(operator) = self.take_operator(&SIGNS) else { return Ok(left) };
            let node = Node::Binary(operator, Box::new([left, self.product()?]));
            left = Placed { at, node };
        }
    }

    fn product(&mut self) -> Result<Placed, ExpressionError> {
        const SIGNS: [(&str, Operator); 3] =
            [("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)];
        let mut left = self.unary()?;
        loop {
            let at = self.here();
            let Some(operator) = self.take_operator(&SIGNS) else { return Ok(left) };
            let node = Node::Binary(operator, Box::new([left, self.unary()?]));
            left = Placed { at, node };
        }
    }

    fn take_operator(&mut self, signs: &[(&str, Operator)]) -> Option<Operator> {
        let Kind::Sign(sign) = self.peek()?.kind else { return None };
        let (_, operator) = signs.iter().find(|(s, _)| *s == sign)?;
        self.next += 1;
        Some(*operator)
    }

    fn unary(&mut self) -> Result<Placed, ExpressionError> {
        let at = self.here();
        if self.take_sign("!") {
            let inner = self.deeper(Self::unary)?;
            return Ok(Placed { at, node: Node::Not(Box::new(inner)) });
        }
        if !self.take_sign("-") {
            return self.member();
        }
        // The sign belongs to the number that follows it: else -2^63 could not be written.
        let number = match self.peek().map(|t| &t.kind) {
            Some(Kind::Int(digits)) => match 0_i64.checked_sub_unsigned(*digits) {
                Some(number) => Some(Term::Int(number)),
                None => return Err(error(at, "the number is too large")),
            },
            Some(Kind::Double(number)) => Some(Term::Double(-number)),
            _ => None,
        };
        if let Some(number) = number {
            self.next += 1;
            return self.methods(Placed { at, node: Node::Literal(number) });
        }
        let inner = self.deeper(Self::unary)?;
        Ok(Placed { at, node: Node::Negate(Box::new(inner)) })
    }

    fn member(&mut self) -> Result<Placed, ExpressionError> {
        let primary = self.primary()?;
        self.methods(primary)
    }

    fn methods(&mut self, mut receiver: Placed) -> Result<Placed, ExpressionError> {
        loop {
            if self.take_sign("[") {
                return Err(error(self.here(), "a sample holds nothing that has an index"));
            }
            if !self.take_sign(".") {
                return Ok(receiver);
            }
            let at = self.here();
            let Some(Kind::Name(name)) = self.peek().map(|t| &t.kind) else {
                return Err(error(at, "the name of a function is missing"));
            };
            self.next += 1;
            if !self.take_sign("(") {
                let message = format!("a sample has no field {}", shown(name));
                return Err(error(at, message));
            }
            let mut arguments = vec![receiver];
            arguments.extend(self.arguments(")")?);
            receiver = call(at, name, arguments, true)?;
        }
    }

    fn primary(&mut self) -> Result<Placed, ExpressionError> {
        let at = self.here();
        let Some(token) = self.peek() else { return Err(error(at, "something is missing here")) };
        self.next += 1;
        let literal = match &token.kind {
            Kind::Int(number) => match i64::try_from(*number) {
                Ok(number) => Term::Int(number),
                Err(_) => return Err(error(at, "the number is too large")),
            },
            Kind::Uint(number) => Term::Uint(*number),
            Kind::Double(number) => Term::Double(*number),
            Kind::Text(text) => Term::Text(text.as_str().into()),
            Kind::Name(name) => return self.name(at, name),
            Kind::Sign("(") => {
                let inner = self.expression()?;
                self.want_sign(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => return Err(error(at, "a list can only stand after `in`")),
            Kind::Sign(sign) => return Err(error(at, format!("{sign:?} cannot stand here"))),
        };
        Ok(Placed { at, node: Node::Literal(literal) })
    }

    fn name(&mut self, at: usize, name: &str) -> Result<Placed, ExpressionError> {
        if self.take_sign("(") {
            let arguments = self.arguments(")")?;
            return call(at, name, arguments, false);
        }
        let node = match name {
            "true" => Node::Literal(Term::Bool(true)),
            "false" => Node::Literal(Term::Bool(false)),
            "null" => Node::Literal(Term::Null),
            _ => match VARIABLES.iter().find(|(n, _)| *n == name) {
                Some((_, variable)) => Node::Variable(*variable),
                None => {
                    let hint = did_you_mean(name, VARIABLES.iter().map(|(n, _)| *n));
                    let message = format!("nothing is called {}{hint}", shown(name));
                    return Err(error(at, message));
                }
            },
        };
        Ok(Placed { at, node })
    }

    fn list(&mut self) -> Result<Box<[Placed]>, ExpressionError> {
        if !self.take_sign("[") {
            return Err(error(self.here(), "`in` needs a list, for example ['a', 'b']"));
        }
        Ok(self.arguments("]")?.into())
    }

    /// Expressions between commas up to `close`.
    fn arguments(&mut self, close: &str) -> Result<Vec<Placed>, ExpressionError> {
        let mut arguments = Vec::new();
        if self.take_sign(close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if self.take_sign(close) {
                return Ok(arguments);
            }
            self.want_sign(",")?;
        }
    }
}

fn call(
    at: usize,
    name: &str,
    arguments: Vec<Placed>,
    method: bool,
) -> Result<Placed, ExpressionError> {
    let known = FUNCTIONS.iter().filter(|(_, _, style, _)| match style {
        Style::Either => true,
        Style::Method => method,
        Style::Global => !method,
    });
    let Some((_, function, _, wanted)) = known.clone().find(|(n, ..)| *n == name) else {
        let hint = did_you_mean(name, known.map(|(n, ..)| *n));
        let message = format!("there is no function {}{hint}", shown(name));
        return Err(error(at, message));
    };
    if arguments.len() != *wanted {
        let besides = usize::from(method);
        let (wanted, given) = (wanted - besides, arguments.len() - besides);
        return Err(error(at, format!("{name} takes {wanted} arguments, not {given}")));
    }
    Ok(Placed { at, node: Node::Call(*function, arguments.into()) })
}
