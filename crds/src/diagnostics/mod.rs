//! Diagnostics: the registry of codes, and one finding with its place in an object.
//!
//! A code and its reason are the same in the command line, in conditions, events, log fields,
//! metric labels and on the docs page, so people search for one word everywhere.

pub mod conditions;
mod path;
mod registry;

pub use path::{FieldPath, Segment};
pub use registry::{Code, Level};

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

/// One finding: what, where in the object, and the particulars for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What it is.
    pub code: Code,
    /// Where it is, from the root of the object, e.g. `spec.points[3].address`.
    pub field: FieldPath,
    /// The particulars: what was found and what is wanted instead. One line, no secret.
    pub message: String,
}

impl Diagnostic {
    /// A finding at a field.
    pub fn new(code: Code, field: FieldPath, message: impl Into<String>) -> Self {
        Self { code, field, message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.code, self.code.reason(), self.field, self.message)
    }
}

/// The docs page of all codes: one section per code with its anchor (`lns-1003`).
pub fn markdown() -> String {
    let mut out = String::from(
        "# Diagnostics\n\n\
         Every problem that Lineside reports has a code and a reason. Both are the same in the \
         command line, in conditions, events, log fields and metric labels. \
         `lineside explain CODE` prints the same text as this page.\n",
    );
    for (family, title) in FAMILIES {
        let mut codes = Code::ALL.iter().filter(|c| c.number() / 1000 == *family).peekable();
        if codes.peek().is_none() {
            continue;
        }
        let _ = write!(out, "\n## {title}\n");
        for code in codes {
            let _ = write!(
                out,
                "\n<a id=\"{}\"></a>\n\n### {} {}\n\n{}\n\n{}\n\n**Next:** {}\n",
                code.anchor(),
                code,
                code.reason(),
                match code.level() {
                    Level::Error => "*Error.*",
                    Level::Warning => "*Warning.*",
                },
                code.text(),
                code.next()
            );
        }
    }
    out
}

/// First digit of a code and what its family is about.
const FAMILIES: &[(u16, &str)] = &[
    (1, "1xxx: configuration"),
    (2, "2xxx: devices"),
    (3, "3xxx: sinks"),
    (4, "4xxx: store"),
    (5, "5xxx: cluster"),
    (6, "6xxx: secrets"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_all_texts_and_is_unique() {
        let mut numbers = BTreeSet::new();
        let mut reasons = BTreeSet::new();
        for code in Code::ALL {
            assert!(numbers.insert(code.number()), "{code} is there twice");
            assert!(reasons.insert(code.reason()), "{} is there twice", code.reason());
            assert!((1000..=9999).contains(&code.number()), "{code} has four digits");
            assert!(FAMILIES.iter().any(|(f, _)| *f == code.number() / 1000), "{code}: no family");
            assert_eq!(code.reason(), format!("{code:?}"), "the reason is the variant's name");
            let reason = code.reason();
            assert!(reason.starts_with(|c: char| c.is_ascii_uppercase()), "{reason}");
            assert!(reason.chars().all(|c| c.is_ascii_alphanumeric()), "{reason}");
            assert!(
                code.text().len() > 30 && code.text().ends_with('.'),
                "{code}: {}",
                code.text()
            );
            assert!(
                code.next().len() > 15 && code.next().ends_with('.'),
                "{code}: {}",
                code.next()
            );
        }
    }

    #[test]
    fn codes_are_in_the_order_of_their_numbers() {
        assert!(Code::ALL.is_sorted_by_key(|c| c.number()));
    }

    #[test]
    fn a_code_is_found_by_id_by_number_and_by_reason() {
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.id()), Some(*code));
            assert_eq!(Code::parse(&code.id().to_lowercase()), Some(*code));
            assert_eq!(Code::parse(&code.number().to_string()), Some(*code));
            assert_eq!(Code::parse(code.reason()), Some(*code));
        }
        for wrong in ["", "LNS-", "LNS-0000", "1", "Nonsense", "LNS-99999", "é"] {
            assert_eq!(Code::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_docs_page_has_one_anchor_per_code() {
        let page = markdown();
        for code in Code::ALL {
            let anchor = format!("<a id=\"{}\"></a>", code.anchor());
            assert_eq!(page.matches(&anchor).count(), 1, "{code}");
            assert!(code.docs().ends_with(&format!("#{}", code.anchor())));
        }
    }
}
