//! Names and labels as Kubernetes bounds them.

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            // Kubernetes does not bound the labels of a subdomain by themselves.
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

/// Value of a label; the empty one is one.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified(text)
}

/// Key of a label: a name of at most 63 characters, with a DNS prefix before `/` or none.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_qualified(name),
        None => is_qualified(text),
    }
}

fn is_qualified(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_of_kubernetes() {
        for good in ["a", "furnace-1", "a.b-c.d", "0"] {
            assert!(is_subdomain(good), "{good}");
        }
        for wrong in ["", "A", "-a", "a-", "a..b", ".a", "a_b", "é", &"a".repeat(254)] {
            assert!(!is_subdomain(wrong), "{wrong}");
        }
        assert!(
            is_label_key("app.kubernetes.io/name") && is_label_value("") && is_label_value("A_b.c")
        );
        assert!(!is_label_key("/name") && !is_label_key("a/b/c") && !is_label_value("a b"));
    }
}
