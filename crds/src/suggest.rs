//! "Did you mean": the known word that a person most likely meant.

/// The known word closest to `word`, if one is close enough to be worth naming.
///
/// Letter case, `_` and `-` do not count. A word that only begins a known one (`interval` for
/// `intervalMillis`) is close; otherwise about one slip in three letters is.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic in the lengths; no known word is anywhere near this long.
    if word.len() > 64 {
        return None;
    }
    let wanted = plain(word);
    let allowed = (wanted.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter_map(|candidate| {
            let plain = plain(candidate);
            let begins = wanted.len() >= 3 && plain.starts_with(&wanted);
            let distance = match begins {
                true => 1,
                false => strsim::damerau_levenshtein(&wanted, &plain),
            };
            let short = wanted.chars().count() < 3 && distance > 0;
            (distance <= allowed && !short).then_some((distance, candidate))
        })
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean NAME?`, or nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest(word, known).map(|s| format!("; did you mean {s}?")).unwrap_or_default()
}

/// What a message shows of a person's text: bounded and on one line.
pub fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut out: String =
        text.chars().take(MOST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "url",
        "protocol",
        "mode",
        "availability",
        "intervalMillis",
        "points",
        "timeouts",
        "limits",
        "location",
        "name",
        "address",
        "group",
        "connectMillis",
        "requestMillis",
        "sources",
        "sinks",
        "store",
        "durability",
        "maxSize",
        "maxAgeSeconds",
        "overflow",
        "topic",
        "encoding",
        "credentialsRef",
        "serverName",
        "byteOrder",
        "unitId",
        "maxGap",
    ];

    #[test]
    fn forty_typos_find_the_word_that_was_meant() {
        let table = [
            ("Url", "url"),
            ("ulr", "url"),
            ("protocl", "protocol"),
            ("protcol", "protocol"),
            ("Mode", "mode"),
            ("mod", "mode"),
            ("availabilty", "availability"),
            ("avialability", "availability"),
            ("interval", "intervalMillis"),
            ("intervalMilis", "intervalMillis"),
            ("interval_millis", "intervalMillis"),
            ("intervallMillis", "intervalMillis"),
            ("point", "points"),
            ("pionts", "points"),
            ("timeout", "timeouts"),
            ("timeOuts", "timeouts"),
            ("limit", "limits"),
            ("locaton", "location"),
            ("loction", "location"),
            ("nmae", "name"),
            ("Name", "name"),
            ("adress", "address"),
            ("addres", "address"),
            ("goup", "group"),
            ("connectmillis", "connectMillis"),
            ("requestMilis", "requestMillis"),
            ("source", "sources"),
            ("sink", "sinks"),
            ("stor", "store"),
            ("durabilty", "durability"),
            ("max_size", "maxSize"),
            ("maxAge", "maxAgeSeconds"),
            ("overlow", "overflow"),
            ("topci", "topic"),
            ("encodng", "encoding"),
            ("credentials", "credentialsRef"),
            ("servername", "serverName"),
            ("byteorder", "byteOrder"),
            ("unit-id", "unitId"),
            ("unitID", "unitId"),
            ("maxgap", "maxGap"),
        ];
        assert!(table.len() >= 40);
        for (typo, meant) in table {
            assert_eq!(suggest(typo, KNOWN.iter().copied()), Some(meant), "{typo}");
        }
    }

    #[test]
    fn a_word_far_from_all_gets_no_suggestion() {
        for word in ["", "x", "password", "zzzzzz", "replicas", &"a".repeat(1000)] {
            assert_eq!(suggest(word, KNOWN.iter().copied()), None, "{word}");
        }
    }
}
