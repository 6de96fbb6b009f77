//! Validated transforms.

use std::time::Duration;

pub use crate::api::transform::WindowFunction;

use super::Glob;
use crate::expression::Expression;

/// One step between sources and store.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Name, unique in the pipeline.
    pub name: String,
    /// Globs over the names that points have at this step; empty = all.
    pub points: Vec<Glob>,
    /// What it does.
    pub kind: TransformKind,
}

impl Transform {
    /// Whether it touches a point of this name.
    pub fn touches(&self, point: &str) -> bool {
        self.points.is_empty() || self.points.iter().any(|g| g.matches(point))
    }
}

/// What a transform does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TransformKind {
    /// Gives points other names.
    Rename {
        /// Name now, with one `*` or none.
        from: NamePattern,
        /// Name then, with a `*` exactly if `from` has one.
        to: NamePattern,
    },
    /// `value x factor + offset`.
    Scale {
        /// Factor.
        factor: f64,
        /// Added after that.
        offset: f64,
    },
    /// Absorbs numbers within a band around the last that passed.
    Deadband {
        /// The band in the unit of the value, at least 0.
        band: f64,
    },
    /// Absorbs what does not change.
    OnChange {
        /// A fresh sample this long after the last that passed passes unchanged.
        heartbeat: Option<Duration>,
    },
    /// Absorbs what lies on straight lines.
    SwingingDoor {
        /// Farthest from the line, in the unit of the value, at least 0.
        deviation: f64,
        /// Longest line.
        max_interval: Duration,
    },
    /// Functions over spans of time.
    Window {
        /// Length of a span.
        every: Duration,
        /// What is computed, each at most once.
        functions: Vec<WindowFunction>,
    },
    /// Keeps samples for which the expression is true.
    Filter(Expression),
    /// Makes values.
    Map {
        /// The value.
        expression: Expression,
        /// The further point that gets it; `None` = it takes the place of the old value.
        as_point: Option<NamePattern>,
    },
}

impl WindowFunction {
    /// As in YAML, and at the end of the name of the point that it makes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "Mean",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::First => "First",
            Self::Last => "Last",
            Self::Count => "Count",
            Self::Sum => "Sum",
            Self::StdDev => "StdDev",
        }
    }
}

/// A name with at most one `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// Without: one name.
    Exact(String),
    /// What stands before and behind the `*`.
    Star(String, String),
}

impl NamePattern {
    /// From the text of a field whose pattern allows one `*`.
    pub fn new(text: &str) -> Self {
        match text.split_once('*') {
            Some((before, behind)) => Self::Star(before.to_owned(), behind.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// What `*` stands for in `name` (nothing without one); `None` if the name does not match.
    pub fn capture<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Exact(wanted) => (wanted == name).then_some(""),
            Self::Star(before, behind) => name.strip_prefix(&**before)?.strip_suffix(&**behind),
        }
    }

    /// The name in which `*` is `captured`.
    pub fn fill(&self, captured: &str) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Star(before, behind) => format!("{before}{captured}{behind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NamePattern;

    #[test]
    fn a_star_carries_what_it_stood_for() {
        let (from, to) = (NamePattern::new("t_*_raw"), NamePattern::new("temperature/*"));
        assert_eq!(
            from.capture("t_inlet_raw").map(|c| to.fill(c)),
            Some("temperature/inlet".into())
        );
        assert_eq!(from.capture("t__raw").map(|c| to.fill(c)), Some("temperature/".into()));
        // The two ends of the pattern do not share characters of the name.
        for other in ["t_raw", "x_inlet_raw", "t_inlet"] {
            assert_eq!(from.capture(other), None, "{other}");
        }
        assert_eq!(NamePattern::new("a").capture("a"), Some(""));
        assert_eq!(NamePattern::new("a").capture("ab"), None);
    }
}
