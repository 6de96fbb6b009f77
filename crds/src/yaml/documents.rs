//! Splits a text into documents at the lines that YAML reserves for it (YAML 1.2.2, 9.1.3:
//! `---` and `...` at the start of a line are never content).

use std::borrow::Cow;

/// One document of a text.
pub(super) struct Part<'a> {
    /// Its text, lines and columns as in the file.
    pub(super) text: Cow<'a, str>,
    /// Line of the file, from one, on which `text` begins.
    pub(super) first_line: usize,
}

/// The documents that hold more than comments.
pub(super) fn split(text: &str) -> Vec<Part<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let marker = ["---", "..."].iter().any(|m| {
            line.strip_prefix(m)
                .is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t', '\r', '\n']))
        });
        if marker && at > start {
            push(&mut parts, text.get(start..at).unwrap_or_default(), first_line);
            (start, first_line) = (at, i + 1);
        }
        at += line.len();
    }
    push(&mut parts, text.get(start..).unwrap_or_default(), first_line);
    parts
}

fn push<'a>(parts: &mut Vec<Part<'a>>, text: &'a str, first_line: usize) {
    // The marker gives way to spaces, so that columns stay what they are in the file.
    let text = match text.get(..3) {
        Some("---" | "...") => Cow::Owned(format!("   {}", text.get(3..).unwrap_or_default())),
        _ => Cow::Borrowed(text),
    };
    let nothing = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.starts_with("%YAML")
    };
    if !text.lines().all(nothing) {
        parts.push(Part { text, first_line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_lines() {
        let text = "# head\n---\na: 1\n--- # next\nb: |\n  --- not\n...\n---\n# only a comment\n";
        let parts: Vec<_> = split(text).into_iter().map(|p| (p.first_line, p.text)).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], (2, "   \na: 1\n".into()));
        assert_eq!(parts[1], (4, "    # next\nb: |\n  --- not\n".into()));
    }
}
