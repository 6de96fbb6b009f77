//! What a kit run found.

use std::fmt;

/// One requirement that an implementation does not keep.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Requirement id in `docs/specs/`, e.g. `DRV-3`.
    pub requirement: &'static str,
    /// What the check did.
    pub situation: String,
    /// What was seen, and what is required instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violated when {}: {}", self.requirement, self.situation, self.seen)
    }
}

/// The outcome of one kit run: which requirements were put to the test, and which were violated.
#[derive(Clone, Debug, Default)]
pub struct Report {
    checked: Vec<&'static str>,
    violations: Vec<Violation>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a requirement was put to the test, and a violation unless `kept`.
    pub fn require(
        &mut self,
        requirement: &'static str,
        situation: &str,
        kept: bool,
        seen: impl FnOnce() -> String,
    ) {
        if !self.checked.contains(&requirement) {
            self.checked.push(requirement);
        }
        if !kept {
            let situation = situation.to_owned();
            self.violations.push(Violation { requirement, situation, seen: seen() });
        }
    }

    /// Adds what another check found.
    pub fn merge(&mut self, other: Self) {
        for id in other.checked {
            if !self.checked.contains(&id) {
                self.checked.push(id);
            }
        }
        self.violations.extend(other.violations);
    }

    /// Requirements that were put to the test, in the order of their first check.
    pub fn checked(&self) -> &[&'static str] {
        &self.checked
    }

    /// What was violated.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether a requirement was violated.
    pub fn violates(&self, requirement: &str) -> bool {
        self.violations.iter().any(|v| v.requirement == requirement)
    }

    /// Fails the test that calls it when anything was violated or nothing was checked.
    ///
    /// # Panics
    /// With every violation, one per line.
    pub fn assert(&self) {
        assert!(!self.checked.is_empty(), "the kit checked nothing");
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} violations of docs/specs:", self.violations.len())?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}
