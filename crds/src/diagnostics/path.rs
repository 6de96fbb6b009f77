//! The path of a field inside an object, as Kubernetes writes it: `spec.points[3].address`.

use std::fmt;

use serde::{Serialize, Serializer};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A member of a mapping.
    Key(String),
    /// An element of a list, from zero.
    Index(usize),
}

/// A path from the root of an object; empty = the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<Segment>);

impl FieldPath {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// `spec`, where most paths begin.
    pub fn spec() -> Self {
        Self::root().key("spec")
    }

    /// This path followed by a member of a mapping.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.into()));
        path
    }

    /// This path followed by an element of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// The path without its last step; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(document)");
        }
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                // Label keys hold dots and slashes; brackets keep the path unambiguous.
                Segment::Key(k) if k.is_empty() || k.contains(['.', '[', ']', '/', ' ']) => {
                    write!(f, "[{k:?}]")?;
                }
                Segment::Key(k) if i == 0 => f.write_str(k)?,
                Segment::Key(k) => write!(f, ".{k}")?,
                Segment::Index(n) => write!(f, "[{n}]")?,
            }
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_kubernetes_writes_them() {
        let path = FieldPath::spec().key("points").index(3).key("address");
        assert_eq!(path.to_string(), "spec.points[3].address");
        assert_eq!(FieldPath::root().to_string(), "(document)");
        let label = FieldPath::root().key("metadata").key("labels").key("app.io/x");
        assert_eq!(label.to_string(), "metadata.labels[\"app.io/x\"]");
        assert_eq!(path.parent().unwrap().to_string(), "spec.points[3]");
        assert_eq!(FieldPath::root().parent(), None);
    }
}
