//! Query strings of the local API: known parameters, percent-encoding, nothing else.

/// Longest query string that is looked at.
const MOST_BYTES: usize = 8 * 1024;

/// The parameters of a query as `(name, value)`, decoded; `+` is a space, as forms write it.
///
/// # Errors
/// Names the parameter that is not one of `known`, or the text that is no encoding.
pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, String> {
    let query = query.unwrap_or_default();
    if query.len() > MOST_BYTES {
        return Err(format!("the query is longer than {MOST_BYTES} bytes"));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if known.contains(&name.as_str()) {
            return Ok((name, value));
        }
        Err(match known {
            [] => format!("unknown parameter {name:?}; there are none here"),
            _ => format!("unknown parameter {name:?}; there are {}", known.join(", ")),
        })
    });
    pairs.collect()
}

/// Text for a value of a query string or a segment of a path.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> Result<String, String> {
    let broken = || format!("{text:?} is not percent-encoded UTF-8");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(broken)?, digit().ok_or_else(broken)?);
                u8::try_from(high * 16 + low).map_err(|_| broken())?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded_to_the_same() {
        for text in ["press-01/temp*", "a b+c&d=e", "é%", ""] {
            let query = format!("device={}", encode(text));
            let parsed = parse(Some(&query), &["device"]).unwrap();
            assert_eq!(parsed, [("device".to_owned(), text.to_owned())]);
        }
    }

    #[test]
    fn unknown_names_and_broken_encodings_are_refused() {
        assert!(parse(Some("devise=x"), &["device"]).unwrap_err().contains("device"));
        assert!(parse(Some("x"), &[]).unwrap_err().contains("none"));
        for broken in ["device=%", "device=%4", "device=%zz", "device=%ff"] {
            assert!(parse(Some(broken), &["device"]).is_err(), "{broken}");
        }
        assert!(parse(Some(&"a".repeat(MOST_BYTES + 1)), &["device"]).is_err());
        assert_eq!(parse(None, &["device"]), Ok(Vec::new()));
    }
}
