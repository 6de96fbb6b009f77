//! From text to tokens.

use super::ExpressionError;

/// One token and where it begins, counted in characters from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub at: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// Digits without a sign: -2^63 has one digit too many for a positive number.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Signs, longer ones first.
const SIGNS: [&str; 23] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")",
    "[", "]", ",", ".", "{",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, next: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    chars: &'a [char],
    next: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.next + ahead).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.chars.get(self.next..).unwrap_or_default();
        let taken: String = rest.iter().copied().take_while(|c| wanted(*c)).collect();
        self.next += taken.chars().count();
        taken
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ExpressionError> {
        Err(ExpressionError { at: self.next + 1, message: message.into() })
    }

    fn token(&mut self) -> Result<Option<Token>, ExpressionError> {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if self.peek(0) != Some('/') || self.peek(1) != Some('/') {
                break;
            }
            self.take_while(|c| c != '\n');
        }
        let at = self.next + 1;
        let Some(first) = self.peek(0) else { return Ok(None) };
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let kind = match first {
            '"' | '\'' => self.string(false)?,
            'r' | 'R' if matches!(self.peek(1), Some('"' | '\'')) => {
                self.next += 1;
                self.string(true)?
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                Kind::Name(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            '0'..='9' => self.number()?,
            '.' if digit(self.peek(1)) => self.number()?,
            _ => match SIGNS.iter().find(|sign| self.starts_with(sign)) {
                Some(sign) => {
                    self.next += sign.len();
                    Kind::Sign(sign)
                }
                None => return self.error(format!("{first:?} means nothing here")),
            },
        };
        Ok(Some(Token { at, kind }))
    }

    fn starts_with(&self, sign: &str) -> bool {
        sign.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    fn number(&mut self) -> Result<Kind, ExpressionError> {
        let begin = self.next;
        let too_large = |at| ExpressionError { at, message: "the number is too large".into() };
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.next += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            if digits.is_empty() {
                return self.error("0x needs hexadecimal digits");
            }
            let number = u64::from_str_radix(&digits, 16).map_err(|_| too_large(begin + 1))?;
            return self.whole(number);
        }
        let mut text = self.take_while(|c| c.is_ascii_digit());
        let mut is_double = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.next += 1;
            is_double = true;
            text.push('.');
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        let exponent = matches!(self.peek(0), Some('e' | 'E'))
            && self.peek(1 + signed).is_some_and(|c| c.is_ascii_digit());
        if exponent {
            is_double = true;
            text.push('e');
            text.extend(self.peek(1).filter(|_| signed == 1));
            self.next += 1 + signed;
            text.push_str(&self.take_while(|c| c.is_ascii_digit()));
        }
        if is_double {
            let number: f64 = text.parse().map_err(|_| too_large(begin + 1))?;
            return self.ends(Kind::Double(number));
        }
        let number: u64 = text.parse().map_err(|_| too_large(begin + 1))?;
        self.whole(number)
    }

    /// A whole number, with or without the suffix of an unsigned one.
    fn whole(&mut self, number: u64) -> Result<Kind, ExpressionError> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.next += 1;
            return self.ends(Kind::Uint(number));
        }
        self.ends(Kind::Int(number))
    }

    /// A number that a letter follows is a slip, not a number and a name.
    fn ends(&self, kind: Kind) -> Result<Kind, ExpressionError> {
        match self.peek(0) {
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                self.error(format!("{c:?} cannot follow a number"))
            }
            _ => Ok(kind),
        }
    }

    fn string(&mut self, raw: bool) -> Result<Kind, ExpressionError> {
        let Some(quote) = self.peek(0) else { return self.error("a quote is missing") };
        self.next += 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                None | Some('\n' | '\r') => return self.error(format!("{quote} is not closed")),
                Some(c) if c == quote => {
                    self.next += 1;
                    return Ok(Kind::Text(text));
                }
                Some('\\') if !raw => text.push(self.escape()?),
                Some(c) => {
                    self.next += 1;
                    text.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, ExpressionError> {
        let code = self.peek(1);
        let digits = match code {
            Some('x' | 'X') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('0'..='3') => {
                let number = self.code_point(1, 3, 8)?;
                self.next += 4;
                return Ok(number);
            }
            _ => {
                let plain = match code {
                    Some('a') => '\u{7}',
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('v') => '\u{b}',
                    Some(c @ ('\\' | '?' | '"' | '\'' | '`')) => c,
                    _ => return self.error("no such escape"),
                };
                self.next += 2;
                return Ok(plain);
            }
        };
        let number = self.code_point(2, digits, 16)?;
        self.next += 2 + digits;
        Ok(number)
    }

    fn code_point(&self, from: usize, digits: usize, base: u32) -> Result<char, ExpressionError> {
        let mut number = 0_u32;
        for i in from..from + digits {
            let Some(digit) = self.peek(i).and_then(|c| c.to_digit(base)) else {
                return self.error(format!("the escape needs {digits} digits"));
            };
            number = number.saturating_mul(base).saturating_add(digit);
        }
        match char::from_u32(number) {
            Some(c) => Ok(c),
            None => self.error("the escape is no character"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn numbers_are_told_apart_by_their_form() {
        assert_eq!(
            kinds("1 0x1F 2u 1.5 .5 2e3 7.e"),
            [
                Kind::Int(1),
                Kind::Int(31),
                Kind::Uint(2),
                Kind::Double(1.5),
                Kind::Double(0.5),
                Kind::Double(2000.0),
                Kind::Int(7),
                Kind::Sign("."),
                Kind::Name("e".into()),
            ]
        );
        for wrong in ["1a", "0x", "18446744073709551616", "1.5f", "0x1g"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn escapes_are_those_of_the_language() {
        assert_eq!(
            kinds(r#"'a\'\n\x41\u00e9\101' r"\n" "'""#),
            [Kind::Text("a'\nAéA".into()), Kind::Text(r"\n".into()), Kind::Text("'".into())]
        );
        for wrong in ["'a", r"'\q'", r"'\x4'", r"'\ud800'", "'a\nb'"] {
            assert!(tokens(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_comment_runs_to_the_end_of_its_line() {
        assert_eq!(kinds("1 // 2\n+ // 3"), [Kind::Int(1), Kind::Sign("+")]);
    }
}
