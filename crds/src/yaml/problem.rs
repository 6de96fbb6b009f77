//! One problem with its place in a file.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::diagnostics::Code;

/// One problem with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: Code,
    /// The file, as it was named.
    pub file: String,
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// The field, e.g. `spec.points[3].address`.
    pub field: String,
    /// The particulars; one line, no secret.
    pub message: String,
    /// The object, e.g. `Pipeline default/p`, as far as known.
    pub object: Option<String>,
}

impl fmt::Display for Problem {
    /// `file:line:col: LNS-1003 UnknownField spec.point: no such field; did you mean points?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, field, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {code} {} {field}: {message}", code.reason())
    }
}

impl Serialize for Problem {
    /// The fields, with reason and level of the code beside them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 9)?;
        out.serialize_field("code", &self.code)?;
        out.serialize_field("reason", self.code.reason())?;
        out.serialize_field("level", &self.code.level())?;
        out.serialize_field("file", &self.file)?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("column", &self.column)?;
        out.serialize_field("field", &self.field)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("object", &self.object)?;
        out.end()
    }
}
