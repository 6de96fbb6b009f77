//! Messages of conditions: code, what was found, the next command with its names filled in.

use lineside_crds::api::status::{CONDITION_MESSAGE_MOST, cut};
use lineside_crds::diagnostics::{Code, Diagnostic};

/// Most findings that a message spells out.
const FINDINGS_MOST: usize = 5;

/// The names that stand for `NAMESPACE`, `AGENT` and `NODE` in a next command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names<'a> {
    pub namespace: &'a str,
    pub agent: &'a str,
    pub node: &'a str,
}

/// `LNS-nnnn: what. Next: command`.
pub(super) fn message(code: Code, what: &str, names: Names<'_>) -> String {
    let what = what.trim().trim_end_matches('.');
    let text = format!("{code}: {what}. Next: {}", fill(code.next(), names));
    cut(&text, CONDITION_MESSAGE_MOST)
}

/// Every finding with code and field path; the next step of the one with this code.
pub(super) fn findings(findings: &[Diagnostic], code: Code, names: Names<'_>) -> String {
    let shown: Vec<String> = findings
        .iter()
        .take(FINDINGS_MOST)
        .map(|f| format!("{} {}: {}", f.code, f.field, f.message))
        .collect();
    let mut text = shown.join("; ");
    if findings.len() > FINDINGS_MOST {
        text.push_str(&format!("; and {} more", findings.len() - FINDINGS_MOST));
    }
    text.push_str(&format!(". Next: {}", fill(code.next(), names)));
    cut(&text, CONDITION_MESSAGE_MOST)
}

/// Puts names where the text of the registry has capital words; one that is not known stays.
fn fill(text: &str, names: Names<'_>) -> String {
    let known = [("NAMESPACE", names.namespace), ("AGENT", names.agent), ("NODE", names.node)];
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let name = known.iter().find(|(k, v)| k == word && !v.is_empty());
        out.push_str(name.map_or(word.as_str(), |(_, v)| v));
        word.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_command_can_be_pasted() {
        let names = Names { namespace: "plant", agent: "lsa-a", node: "n1" };
        let text = message(Code::AgentNotRunning, "kubelet: ErrImagePull.", names);
        assert!(text.starts_with("LNS-5001: kubelet: ErrImagePull. Next: "), "{text}");
        assert!(
            text.contains("kubectl describe pod -n plant -l lineside.dev/agent=lsa-a"),
            "{text}"
        );
    }

    #[test]
    fn a_name_that_is_not_known_stays_a_capital_word() {
        assert_eq!(
            fill("get -n NAMESPACE AGENTS NODE", Names::default()),
            "get -n NAMESPACE AGENTS NODE"
        );
    }
}
