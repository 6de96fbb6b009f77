//! Where each field stands: an index from path to line and column, made of parser events.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScanError, Span};

use crate::diagnostics::{Code, FieldPath, Segment};

/// Deepest nesting; our own kinds need less than 12.
const MOST_DEPTH: usize = 64;
/// Most values of one document; the largest valid object has less than a tenth of it.
const MOST_NODES: usize = 200_000;
/// Most nodes that aliases may add.
const MOST_ALIASED: usize = 100_000;

/// Line and column from one, counted from the start of the document's text.
pub(super) type Place = (usize, usize);

/// Index from path to place: a tree, so that a large document costs one step per node.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    /// The document's own value is the first.
    nodes: Vec<Node>,
    children: HashMap<(usize, Segment), usize>,
    duplicates: Vec<(FieldPath, Place)>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Of the key in a mapping, of the element in a list.
    head: Place,
    /// Of the value, when it is a scalar.
    scalar: Option<Place>,
}

impl Spans {
    /// Where to point at for a finding: at the value if it is wrong, at the key if the key is
    /// or if the value is a whole block; at the nearest place above what is not there.
    pub(super) fn place(&self, field: &FieldPath, code: Code) -> Option<Place> {
        let mut at = 0;
        let mut whole = true;
        for segment in &field.0 {
            match self.children.get(&(at, segment.clone())) {
                Some(child) => at = *child,
                None => {
                    whole = false;
                    break;
                }
            }
        }
        let node = self.nodes.get(at)?;
        let at_key = matches!(code, Code::UnknownField | Code::MissingField);
        Some(node.scalar.filter(|_| whole && !at_key).unwrap_or(node.head))
    }

    /// Forgets what stands below the key `spec`: a place for each of a thousand points costs more
    /// than the points themselves.
    pub(super) fn forget_spec(&mut self) {
        let spec = self.children.get(&(0, Segment::Key("spec".to_owned()))).copied();
        // Nodes are numbered in the order of the text, so a parent comes before its children.
        let mut below = vec![false; self.nodes.len()];
        let mut links: Vec<(usize, usize)> =
            self.children.iter().map(|((parent, _), child)| (*parent, *child)).collect();
        links.sort_unstable();
        for (parent, child) in links {
            let gone = Some(parent) == spec || below.get(parent).copied().unwrap_or_default();
            if let Some(slot) = below.get_mut(child).filter(|_| gone) {
                *slot = true;
            }
        }
        self.children.retain(|_, child| !below.get(*child).copied().unwrap_or_default());
        self.children.shrink_to_fit();
        let last = self.children.values().copied().max().unwrap_or_default();
        self.nodes.truncate(last + 1);
        self.nodes.shrink_to_fit();
    }

    /// Keys that stand twice in one mapping, with the place of the second.
    pub(super) fn duplicates(&self) -> &[(FieldPath, Place)] {
        &self.duplicates
    }
}

/// Why a document cannot be indexed.
pub(super) struct SpanError {
    pub(super) code: Code,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl From<ScanError> for SpanError {
    fn from(error: ScanError) -> Self {
        let (line, column) = place_of(error.marker().line(), error.marker().col());
        Self { code: Code::YamlSyntax, line, column, message: unquoting(error.info()) }
    }
}

/// Messages of the scanner say what is wrong and quote single characters; anything longer that
/// they quote comes from the document and is left out.
fn unquoting(info: &str) -> String {
    let mut out = String::new();
    for (i, part) in info.split(['\'', '`', '"']).enumerate() {
        let quoted = i % 2 == 1;
        match quoted {
            true if part.chars().count() > 3 => out.push_str("..."),
            _ => out.push_str(part),
        }
        out.push(' ');
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Indexes one document.
pub(super) fn read(text: &str) -> Result<Spans, SpanError> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        reader.event(&event, span)?;
        if reader.spans.nodes.len() > MOST_NODES {
            let at = place_of(span.start.line(), span.start.col());
            return Err(complain(Code::YamlTooComplex, at, "too many values in one document"));
        }
    }
    Ok(reader.spans)
}

#[derive(Default)]
struct Reader {
    spans: Spans,
    open: Vec<Container>,
    /// Nodes below each finished anchor, aliases expanded.
    weights: HashMap<usize, usize>,
    aliased: usize,
    documents: usize,
}

struct Container {
    /// Its node, and how it was reached.
    node: usize,
    segment: Option<Segment>,
    kind: ContainerKind,
    anchor: usize,
    nodes: usize,
    /// Keys seen so far, to find the ones that stand twice.
    keys: HashSet<String>,
}

enum ContainerKind {
    List(usize),
    /// A mapping that waits for a key.
    Key,
    /// A mapping that waits for the value of this key.
    Value(String, Place),
}

impl Reader {
    fn event(&mut self, event: &Event<'_>, span: Span) -> Result<(), SpanError> {
        let at = place_of(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(complain(Code::YamlSyntax, at, "a second document begins here"));
                }
            }
            Event::Scalar(text, ..) if self.take_key(text, at) => {}
            Event::Scalar(_, _, anchor, _) => {
                self.begin(at, Some(at));
                self.done(1, *anchor);
            }
            Event::Alias(anchor) => {
                // An anchor that is still open contains itself.
                let Some(weight) = self.weights.get(anchor).copied() else {
                    let message = "an alias inside of what it stands for";
                    return Err(complain(Code::YamlTooComplex, at, message));
                };
                self.aliased = self.aliased.saturating_add(weight);
                if self.aliased > MOST_ALIASED {
                    let message = "aliases add too many values";
                    return Err(complain(Code::YamlTooComplex, at, message));
                }
                if self.waits_for_key() {
                    return Err(complain(Code::YamlSyntax, at, "an alias as a key"));
                }
                self.begin(at, None);
                self.done(weight, 0);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if self.open.len() >= MOST_DEPTH {
                    let message = "nested too deeply";
                    return Err(complain(Code::YamlTooComplex, at, message));
                }
                let list = matches!(event, Event::SequenceStart(..));
                if self.waits_for_key() {
                    return Err(complain(Code::YamlSyntax, at, "a key that is no text"));
                }
                let (node, segment) = self.begin(at, None);
                let kind = if list { ContainerKind::List(0) } else { ContainerKind::Key };
                let keys = HashSet::new();
                self.open.push(Container { node, segment, kind, anchor: *anchor, nodes: 1, keys });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(closed) = self.open.pop() {
                    self.done(closed.nodes, closed.anchor);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn waits_for_key(&self) -> bool {
        matches!(self.open.last().map(|c| &c.kind), Some(ContainerKind::Key))
    }

    /// Takes a scalar as the key of the innermost mapping, if that waits for one.
    fn take_key(&mut self, text: &str, at: Place) -> bool {
        let Some(container) = self.open.last_mut() else { return false };
        if !matches!(container.kind, ContainerKind::Key) {
            return false;
        }
        container.kind = ContainerKind::Value(text.to_owned(), at);
        if !container.keys.insert(text.to_owned()) {
            let path = self.path().key(text);
            self.spans.duplicates.push((path, at));
        }
        true
    }

    /// Path of the innermost container.
    fn path(&self) -> FieldPath {
        FieldPath(self.open.iter().filter_map(|c| c.segment.clone()).collect())
    }

    /// Adds the value that stands at the innermost container's next place.
    fn begin(&mut self, at: Place, scalar: Option<Place>) -> (usize, Option<Segment>) {
        let node = self.spans.nodes.len();
        let (head, segment) = match self.open.last().map(|c| &c.kind) {
            Some(ContainerKind::List(i)) => (at, Some(Segment::Index(*i))),
            Some(ContainerKind::Value(key, head)) => (*head, Some(Segment::Key(key.clone()))),
            _ => (at, None),
        };
        self.spans.nodes.push(Node { head, scalar });
        if let (Some(container), Some(segment)) = (self.open.last(), &segment) {
            // The second of two equal keys must not hide the first; it is reported by itself.
            self.spans.children.entry((container.node, segment.clone())).or_insert(node);
        }
        (node, segment)
    }

    /// Leaves a value of so many nodes.
    fn done(&mut self, nodes: usize, anchor: usize) {
        if anchor > 0 {
            self.weights.insert(anchor, nodes);
        }
        let Some(container) = self.open.last_mut() else { return };
        container.nodes = container.nodes.saturating_add(nodes);
        match &mut container.kind {
            ContainerKind::List(i) => *i += 1,
            kind @ ContainerKind::Value(..) => *kind = ContainerKind::Key,
            ContainerKind::Key => {}
        }
    }
}

fn complain(code: Code, (line, column): Place, message: &str) -> SpanError {
    SpanError { code, line, column, message: message.to_owned() }
}

/// The library counts lines from one and columns from zero.
fn place_of(line: usize, column: usize) -> Place {
    (line.max(1), column + 1)
}
