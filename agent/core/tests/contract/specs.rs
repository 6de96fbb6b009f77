//! Every requirement of `docs/specs/` is checked, and every check cites one that exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Requirement ids in a text: `DRV-3`, `SNK-3`, `SMP-3`.
fn ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["DRV-", "SNK-", "SMP-"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                found.insert(format!("{prefix}{digits}"));
            }
        }
    }
    found
}

fn ids_below(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(ids_below(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("specs.rs") {
            found.extend(ids(&fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// Ids that a specification defines: lines that start with `- **DRV-1**`.
fn defined(specs: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in ["sample.md", "driver.md", "sink.md"] {
        let text = fs::read_to_string(specs.join(name)).unwrap();
        for line in text.lines().filter(|l| l.starts_with("- **")) {
            let id = line.trim_start_matches("- **").split("**").next().unwrap();
            assert!(ids(id).contains(id), "{name} defines {id:?}, which is not an id");
            assert!(line.contains("MUST") || line.contains("MAY"), "{id} requires nothing");
            assert!(found.insert(id.to_owned()), "{id} is defined twice");
        }
    }
    found
}

#[test]
fn every_requirement_is_checked_and_every_check_cites_a_requirement() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let defined = defined(&core.join("../../docs/specs"));
    assert!(defined.len() > 30, "only {} requirements were found", defined.len());
    let mut cited = ids_below(&core.join("src/kit"));
    cited.extend(ids_below(&core.join("tests")));
    let unchecked: Vec<_> = defined.difference(&cited).collect();
    assert!(unchecked.is_empty(), "no check or test cites {unchecked:?}");
    let unknown: Vec<_> = cited.difference(&defined).collect();
    assert!(unknown.is_empty(), "no specification defines {unknown:?}");
}
