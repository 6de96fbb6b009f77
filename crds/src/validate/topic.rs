//! Topic templates: `lineside/{namespace}/{device}`.

use crate::diagnostics::Code;
use crate::model::{TopicPart, TopicTemplate};
use crate::suggest::{did_you_mean, shown};

/// Placeholders by name.
const PLACEHOLDERS: &[(&str, TopicPart)] = &[
    ("namespace", TopicPart::Namespace),
    ("device", TopicPart::Device),
    ("point", TopicPart::Point),
    ("pipeline", TopicPart::Pipeline),
    ("location", TopicPart::Location),
];

/// Parses a topic template.
///
/// # Errors
/// All problems, each with its code: wildcards, control characters, empty levels, a leading
/// `$` (MQTT 5.0, section 4.7), open braces, unknown placeholders.
pub fn parse_topic(text: &str) -> Result<TopicTemplate, Vec<(Code, String)>> {
    let mut problems = Vec::new();
    let mut syntax = |message: String| problems.push((Code::TopicSyntax, message));
    if let Some(wrong) = text.chars().find(|c| matches!(c, '+' | '#') || c.is_control()) {
        syntax(format!("{wrong:?} is not allowed in a topic that is published to"));
    }
    if text.starts_with('$') {
        syntax("topics that begin with $ belong to the broker".into());
    }
    if text.is_empty() || text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        syntax("a level of the topic is empty".into());
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['{', '}']).unwrap_or(rest.len());
        let (literal, tail) = rest.split_at(end);
        if !literal.is_empty() {
            parts.push(TopicPart::Literal(literal.to_owned()));
        }
        let Some(inner) = tail.strip_prefix('{') else {
            if !tail.is_empty() {
                problems.push((Code::TopicSyntax, "a } has no { before it".into()));
            }
            rest = tail.strip_prefix('}').unwrap_or("");
            continue;
        };
        let Some((name, after)) = inner.split_once('}') else {
            problems.push((Code::TopicSyntax, "a { is not closed".into()));
            break;
        };
        match PLACEHOLDERS.iter().find(|(n, _)| *n == name) {
            Some((_, part)) => parts.push(part.clone()),
            None => {
                let hint = did_you_mean(name, PLACEHOLDERS.iter().map(|(n, _)| *n));
                let message = format!("no placeholder {{{}}}{hint}", shown(name));
                problems.push((Code::TopicPlaceholderUnknown, message));
            }
        }
        rest = after;
    }
    if problems.is_empty() { Ok(TopicTemplate(parts)) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_placeholders_keep_their_order() {
        let topic = parse_topic("a/{namespace}/{location}-x/{device}").unwrap();
        assert_eq!(
            topic.0,
            [
                TopicPart::Literal("a/".into()),
                TopicPart::Namespace,
                TopicPart::Literal("/".into()),
                TopicPart::Location,
                TopicPart::Literal("-x/".into()),
                TopicPart::Device,
            ]
        );
    }

    #[test]
    fn what_cannot_be_published_to_is_refused() {
        for text in ["", "/", "a//b", "a/", "/a", "$SYS/x", "a/+", "a/#", "a{", "a}", "a\u{0}b"] {
            let problems = parse_topic(text).unwrap_err();
            assert!(problems.iter().all(|(c, _)| *c == Code::TopicSyntax), "{text}: {problems:?}");
        }
        let problems = parse_topic("{devcie}/{x}").unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].1.ends_with("did you mean device?"), "{problems:?}");
    }
}
