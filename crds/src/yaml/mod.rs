//! YAML text to validated objects, with every problem at its line and column.
//!
//! The only module that knows a YAML library: values come from `serde_yaml`, places from the
//! events of `saphyr-parser`. Documents are split before either sees them, so a syntax error in
//! one leaves the others. Size, depth and growth through aliases are bounded.

mod documents;
mod object;
mod problem;
mod set;
mod spans;

use std::sync::Arc;

use crate::api::Kind;
use crate::diagnostics::{Code, FieldPath};
use crate::model::{Agent, AgentPool, Device, ObjectKey, OpenPipeline, Pipeline, SharedSink};

pub use problem::Problem;
pub use set::check_set;

use spans::Spans;

/// Largest file that is read, in bytes.
pub const MOST_BYTES: usize = 8 << 20;

/// Kind and key of an object, known even when the rest of it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.key)
    }
}

/// A validated object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A DeviceConnection.
    Device(Device),
    /// A Pipeline that names no Sink.
    Pipeline(Pipeline),
    /// A Pipeline that names Sinks.
    OpenPipeline(OpenPipeline),
    /// A Sink.
    Sink(Arc<SharedSink>),
    /// An AgentPool.
    AgentPool(AgentPool),
    /// An Agent.
    Agent(Agent),
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct LoadedDocument {
    /// What it is, as far as that can be told.
    pub identity: Option<Identity>,
    /// The validated object; `None` when it has an error or is none of ours.
    pub object: Option<Object>,
    /// Errors and warnings, by line.
    pub problems: Vec<Problem>,
    /// Line of the file, from one, on which the document begins.
    pub first_line: usize,
    file: String,
    spans: Spans,
}

impl LoadedDocument {
    /// The file (the label given to [`load_text`]) that the document stands in.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn empty(file: &str, first_line: usize) -> Self {
        Self {
            identity: None,
            object: None,
            problems: Vec::new(),
            first_line,
            file: file.to_owned(),
            spans: Spans::default(),
        }
    }

    fn problem(&self, code: Code, field: &FieldPath, message: impl Into<String>) -> Problem {
        let (line, column) = self.spans.place(field, code).unwrap_or((1, 1));
        Problem {
            code,
            file: self.file.clone(),
            line: self.first_line + line - 1,
            column,
            field: field.to_string(),
            message: message.into(),
            object: self.identity.as_ref().map(ToString::to_string),
        }
    }
}

/// Reads every document of a text; `label` names it in problems (a path). Total: any text gives
/// documents, each with its object or its problems.
pub fn load_text(label: &str, text: &str) -> Vec<LoadedDocument> {
    if text.len() > MOST_BYTES {
        let mut document = LoadedDocument::empty(label, 1);
        let message = format!("{} bytes; at most {MOST_BYTES} are read", text.len());
        let problem = document.problem(Code::FileTooLarge, &FieldPath::root(), message);
        document.problems.push(problem);
        return vec![document];
    }
    documents::split(text).into_iter().map(|part| load_document(label, &part)).collect()
}

fn load_document(label: &str, part: &documents::Part<'_>) -> LoadedDocument {
    let mut document = LoadedDocument::empty(label, part.first_line);
    match spans::read(&part.text) {
        Ok(spans) => document.spans = spans,
        Err(error) => {
            let problem = Problem {
                code: error.code,
                file: label.to_owned(),
                line: part.first_line + error.line - 1,
                column: error.column,
                field: FieldPath::root().to_string(),
                message: error.message,
                object: None,
            };
            document.problems.push(problem);
            bound_lines(&mut document, part);
            return document;
        }
    }
    match serde_yaml::from_str::<serde_json::Value>(&part.text) {
        Ok(value) => object::load(&mut document, &value),
        Err(error) => {
            // The library's text may quote the document, and documents may hold secrets.
            let message = "cannot be read: a key that is no text, an unknown tag, or bad nesting";
            let mut problem = document.problem(Code::YamlSyntax, &FieldPath::root(), message);
            if let Some(place) = error.location() {
                problem.line = part.first_line + place.line().max(1) - 1;
                problem.column = place.column().max(1);
            }
            document.problems.push(problem);
        }
    }
    for (field, (line, column)) in document.spans.duplicates().to_vec() {
        let mut problem = document.problem(Code::DuplicateKey, &field, "the key is there twice");
        problem.line = part.first_line + line - 1;
        problem.column = column;
        document.problems.push(problem);
        // Which of the two was meant is not ours to guess.
        document.object = None;
    }
    bound_lines(&mut document, part);
    document.problems.sort_by_key(|p| (p.line, p.column, p.code));
    if matches!(document.object, Some(Object::Device(_))) {
        // Whatever comes later (check_set) points at its metadata only.
        document.spans.forget_spec();
    }
    document
}

/// The value of every document that can be read, unjudged: for tools and tests that look at
/// objects as a cluster would.
pub fn values(text: &str) -> Vec<serde_json::Value> {
    documents::split(text)
        .iter()
        .filter(|part| spans::read(&part.text).is_ok())
        .filter_map(|part| serde_yaml::from_str(&part.text).ok())
        .collect()
}

/// YAML counts a lone carriage return as a line break (1.2.2, 5.4), most editors do not, and
/// neither does the split into documents: no problem may point beyond the last line feed.
fn bound_lines(document: &mut LoadedDocument, part: &documents::Part<'_>) {
    let last = part.first_line + part.text.matches('\n').count();
    for problem in &mut document.problems {
        problem.line = problem.line.min(last);
    }
}

/// A value could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot be written as YAML")]
pub struct WriteError(#[from] serde_yaml::Error);

/// Writes a value as one YAML document.
///
/// # Errors
/// When the value is nothing that YAML can hold.
pub fn write(value: &impl serde::Serialize) -> Result<String, WriteError> {
    Ok(serde_yaml::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<(Code, usize, usize)> {
        let documents = load_text("f", text);
        documents.iter().flat_map(|d| &d.problems).map(|p| (p.code, p.line, p.column)).collect()
    }

    #[test]
    fn a_syntax_error_leaves_the_other_documents() {
        let good = include_str!("../../testdata/good/first.yaml");
        let text = format!("{good}\n---\na: [1\n---\n{good}");
        let documents = load_text("f", &text);
        let broken: Vec<_> = documents.iter().filter(|d| !d.problems.is_empty()).collect();
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].problems[0].code, Code::YamlSyntax);
        assert_eq!(documents.iter().filter(|d| d.object.is_some()).count(), 4);
    }

    #[test]
    fn a_file_over_the_bound_is_not_read() {
        let text = "#".repeat(MOST_BYTES + 1);
        assert_eq!(codes(&text), [(Code::FileTooLarge, 1, 1)]);
    }

    #[test]
    fn alias_bombs_and_deep_nesting_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let row = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{row}]\n"));
        }
        assert_eq!(codes(&bomb)[0].0, Code::YamlTooComplex);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        // The scanner has a bound of its own, which it reports as a syntax error.
        assert!(matches!(codes(&deep)[0].0, Code::YamlTooComplex | Code::YamlSyntax));
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(codes(&deep)[0].0, Code::YamlTooComplex);
        let wide = format!("a: [{}]", "x,".repeat(200_001));
        assert_eq!(codes(&wide)[0].0, Code::YamlTooComplex);
        let deep = "- ".repeat(5_000);
        assert_eq!(codes(&deep)[0].0, Code::YamlTooComplex);
    }

    #[test]
    fn any_bytes_give_an_answer() {
        for text in [
            "",
            "\u{feff}",
            "---",
            "--- |\n x",
            "...",
            "%YAML 1.2\n---\na: 1",
            "\u{0}",
            "? [a]\n: b",
            "1: 2",
            "a: !x y",
            "<<: *a",
            "- 1",
            "a: .nan",
            "é: &a *a",
            "&a [*a]",
        ] {
            for document in load_text("f", text) {
                assert!(document.object.is_none());
                for problem in &document.problems {
                    assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
                }
            }
        }
    }

    #[test]
    fn values_that_may_be_secrets_are_not_repeated() {
        let text = "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\n\
            spec:\n  password: CANARY\n  sources: [{name: a, devices: {}}]\n  sinks:\n\
            \x20 - {name: b, password: CANARY, mqtt: {url: 'mqtt://user:CANARY@h', password: [CANARY]}}\n\
            \x20 store: {durability: Memory}\n---\napiVersion: lineside.dev/v1alpha1\n\
            kind: DeviceConnection\nmetadata: {name: d}\nspec:\n\
            \x20 url: modbus-tcp://u:CANARY@h?password=CANARY\n  points: {CANARY: CANARY}\n\
            ---\nx: !CANARY CANARY\n---\n'CANARY\n";
        let documents = load_text("f", text);
        let problems: Vec<_> = documents.iter().flat_map(|d| &d.problems).collect();
        assert!(problems.len() >= 8, "{problems:#?}");
        for problem in problems {
            assert!(!problem.to_string().contains("CANARY"), "{problem}");
        }
    }
}
