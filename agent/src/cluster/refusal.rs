//! What the API server means when it says no: its `Status` object (meta/v1), and which of a few
//! things follows from it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest text of a server that is shown.
const MOST_CHARS: usize = 300;

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What follows from it.
    pub meaning: Meaning,
    /// The server's reason, e.g. `Forbidden`; empty when it gave none.
    pub reason: String,
    /// The server's words, cut.
    pub message: String,
    /// How long the server wants to be left alone.
    pub wait: Option<Duration>,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The object does not exist (yet, or any more).
    Missing,
    /// The token is not accepted, or gives no right to this.
    Forbidden,
    /// The object is not the one that the request was made for.
    Other,
    /// The server does not take this content: a fault of ours or a newer agent than its schema.
    Invalid,
    /// Try again: too busy, shutting down, or a failure of its own.
    Later,
}

/// `Status`, as far as it is looked at. Everything is optional: a proxy may answer in its place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    kind: String,
}

impl Refusal {
    /// Reads a refusal; `body` may be anything.
    pub fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let told: Status = serde_json::from_slice(body).unwrap_or_default();
        // A JSON patch whose `test` fails is refused as a whole, before the object is looked at:
        // the answer names no kind. An object that breaks its schema is named with its kind.
        let named = told.details.is_some_and(|d| !d.kind.is_empty());
        let meaning = match status {
            401 | 403 => Meaning::Forbidden,
            404 | 410 => Meaning::Missing,
            409 => Meaning::Other,
            422 if !named => Meaning::Other,
            400 | 405 | 406 | 413 | 415 | 422 => Meaning::Invalid,
            _ => Meaning::Later,
        };
        let mut message: String =
            told.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some((at, _)) = message.char_indices().nth(MOST_CHARS) {
            message.truncate(at);
            message.push('…');
        }
        let wait = retry_after.map(|wait| wait.min(LONGEST_WAIT));
        Self { status, meaning, reason: told.reason, message, wait }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, reason, message, .. } = self;
        match (reason.is_empty(), message.is_empty()) {
            (_, false) => write!(f, "{status} {reason}: {message}"),
            (false, true) => write!(f, "{status} {reason}"),
            (true, true) => write!(f, "status {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Meaning {
        Refusal::read(status, None, body.as_bytes()).meaning
    }

    #[test]
    fn a_failed_test_of_a_patch_is_told_apart_from_an_object_that_breaks_its_schema() {
        let failed = r#"{"reason":"Invalid","message":"...","details":{"causes":[{}]}}"#;
        let broken = r#"{"reason":"Invalid","message":"...","details":{"kind":"Agent"}}"#;
        assert_eq!(meaning(422, failed), Meaning::Other);
        assert_eq!(meaning(422, broken), Meaning::Invalid);
    }

    #[test]
    fn the_status_decides_whatever_the_body_is() {
        for body in ["", "<html>", "[]", "{}", "{\"reason\":7}"] {
            assert_eq!(meaning(404, body), Meaning::Missing);
            assert_eq!(meaning(403, body), Meaning::Forbidden);
            assert_eq!(meaning(401, body), Meaning::Forbidden);
            assert_eq!(meaning(429, body), Meaning::Later);
            assert_eq!(meaning(503, body), Meaning::Later);
        }
    }

    #[test]
    fn what_a_server_says_is_bounded() {
        let body = format!("{{\"reason\":\"X\",\"message\":\"{}\"}}", "é".repeat(5000));
        let day = Some(Duration::from_secs(86_400));
        let refusal = Refusal::read(429, day, body.as_bytes());
        assert_eq!(refusal.message.chars().count(), MOST_CHARS + 1);
        assert_eq!(refusal.wait, Some(LONGEST_WAIT));
    }
}
