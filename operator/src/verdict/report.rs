//! From an agent's words about a device or pipeline to claims.

use lineside_crds::api::status::{ConditionStatus, Health};
use lineside_crds::diagnostics::Code;
use lineside_crds::diagnostics::conditions::Word;

use super::Claim;
use super::words::{self, Names};

/// What an agent says of one device or pipeline, borrowed from its report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub generation: i64,
    pub health: Health,
    pub code: Option<&'a str>,
    pub reason: &'a str,
    pub message: Option<&'a str>,
}

impl Said<'_> {
    /// The new version was refused by the agent.
    pub(super) fn is_rejected(&self) -> bool {
        self.reason == Code::ConfigRejected.reason()
    }

    /// It waits for something that is not there yet.
    pub(super) fn waits_for_reference(&self) -> bool {
        let code = self.code.and_then(Code::parse);
        matches!(code, Some(Code::SecretNotFound | Code::ReferenceNotFound))
    }

    /// Whether data flows, or is not wanted to. `some_good`: some of it certainly does, which
    /// decides for a state that changes all the time.
    pub(super) fn is_ready(&self, some_good: bool) -> bool {
        let words = [
            Word::Receiving.name(),
            Word::Delivering.name(),
            Word::Suspended.name(),
            // An event source that is silent and may be.
            "Listening",
            Code::SomePointsBad.reason(),
            Code::DeviceOff.reason(),
            Code::StoreFull.reason(),
            Code::StoreExpired.reason(),
        ];
        words.contains(&self.reason) || (some_good && self.reason == Code::Flapping.reason())
    }

    /// The claim of Ready, with `about` (who says so, and where) in its message.
    pub(super) fn ready(&self, some_good: bool, about: &str, names: Names<'_>) -> Claim {
        let status = match self.is_ready(some_good) {
            true => ConditionStatus::True,
            false => ConditionStatus::False,
        };
        let waits = self.waits_for_reference();
        let reason = if waits { Code::ReferenceNotFound.reason() } else { self.reason };
        Claim { status, reason: reason.to_owned(), message: self.text(about, names) }
    }

    /// The message, empty when there is nothing to explain.
    pub(super) fn text(&self, about: &str, names: Names<'_>) -> String {
        let what = match (self.message, self.health) {
            (Some(message), _) => message,
            (None, Health::Healthy) => return String::new(),
            (None, _) if self.code.is_none() => return String::new(),
            (None, _) => self.reason,
        };
        let what = if about.is_empty() { what.to_owned() } else { format!("{what} ({about})") };
        match self.code.and_then(Code::parse) {
            Some(code) => words::message(code, &what, names),
            // A code of a newer agent.
            None => match self.code {
                Some(code) => format!("{code}: {what}"),
                None => what,
            },
        }
    }
}
