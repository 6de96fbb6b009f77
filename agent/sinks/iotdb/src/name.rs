//! Names as the tree model takes them: nodes of a path, quoted with backquotes where they have to
//! be. Source: IoTDB user guide, "Syntax rule", identifiers.

use std::borrow::Cow;

/// A node that needs no quotes: letters, digits and `_`, and not digits alone. IoTDB allows some
/// more characters, in a set that differs between releases; quoting those is right in all of them.
fn is_plain(node: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !node.is_empty()
        && node.chars().all(word)
        && !node.chars().next().is_some_and(|c| c.is_ascii_digit())
        && !RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(node))
}

/// Words that cannot stand alone: the root of every path, and the name of the time column.
const RESERVED: [&str; 3] = ["root", "time", "timestamp"];

/// One node of a path. A backquote inside is doubled.
pub fn node(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("`{}`", name.replace('`', "``")))
}

/// `prefix` and one node for each of `names`.
pub fn path<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = prefix.to_owned();
    for name in names {
        path.push('.');
        path.push_str(&node(name));
    }
    path
}

/// The name in a node of a path, as statements and answers have it.
pub fn unquoted(node: &str) -> Cow<'_, str> {
    match node.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        Some(inside) => Cow::Owned(inside.replace("``", "`")),
        None => Cow::Borrowed(node),
    }
}

/// A text inside a statement of the table model.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name inside a statement of the table model.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_it_are_quoted() {
        for plain in ["temperature", "_x", "a1", "T_2_q"] {
            assert_eq!(node(plain), plain);
        }
        for (name, quoted) in [
            ("press-1", "`press-1`"),
            ("a.b/c", "`a.b/c`"),
            ("12", "`12`"),
            ("1a", "`1a`"),
            ("über", "`über`"),
            ("a`b", "`a``b`"),
            ("root", "`root`"),
            ("Time", "`Time`"),
            ("", "``"),
        ] {
            assert_eq!(node(name), quoted);
            assert_eq!(unquoted(quoted), name);
        }
    }

    #[test]
    fn every_name_of_a_path_is_one_node() {
        assert_eq!(path("root.lineside", ["plant", "press.1"]), "root.lineside.plant.`press.1`");
    }
}
