//! From an agent's words about a device or pipeline to claims.

use lineside_crds::api::status::{ConditionStatus, Health};
use lineside_crds::diagnostics::Code;
use lineside_crds::diagnostics::conditions::Word;

use super::words::{self, Names};
use super::{Beside, Claim, Judgement};

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
    fn is_rejected(&self) -> bool {
        self.reason == Code::ConfigRejected.reason()
    }

    /// It waits for something that is not there yet.
    fn waits_for_reference(&self) -> bool {
        let code = self.code.and_then(Code::parse);
        matches!(code, Some(Code::SecretNotFound | Code::ReferenceNotFound))
    }

    /// What is said of an object of this generation whose agent says this. `ready` is the claim
    /// made of it, `connected` what it says of the connection, if it has one.
    pub(super) fn judge(
        &self,
        generation: i64,
        ready: Claim,
        connected: Option<Claim>,
        about: &str,
        names: Names<'_>,
    ) -> Judgement {
        let mut judgement = Judgement {
            accepted: Claim::holds(Word::Valid),
            programmed: Some(Claim::holds(Word::Applied)),
            connected,
            beside: None,
            health: self.health,
            code: self.code.map(str::to_owned),
            ready,
        };
        if self.is_rejected() {
            let refusal = judgement.ready.clone();
            judgement.beside = Some(Beside::Stalled(refusal.but(ConditionStatus::True)));
            judgement.programmed = Some(refusal.clone());
            judgement.accepted = refusal;
        } else if self.generation != generation {
            // What it does with the former one is still true.
            let what = match self.generation {
                running if running > 0 => {
                    format!("the agent runs generation {running} of it, not yet {generation}")
                }
                _ => "the agent has not got it yet".to_owned(),
            };
            let pending = Judgement::pending(&format!("{what} ({about})"), names);
            (judgement.programmed, judgement.beside) = (pending.programmed, pending.beside);
        } else if self.waits_for_reference() {
            judgement.accepted = judgement.ready.clone();
            let claim = judgement.ready.but(ConditionStatus::True);
            judgement.beside = Some(Beside::Reconciling(claim));
        }
        judgement
    }

    /// Whether data flows, or is not wanted to. `some_good`: some of it certainly does, which
    /// decides for a state that changes all the time.
    fn is_ready(&self, some_good: bool) -> bool {
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
            Code::StoreDiskFull.reason(),
            Code::StoreReadOnly.reason(),
            Code::StoreDiskFailed.reason(),
            Code::StoreUnavailable.reason(),
        ];
        words.contains(&self.reason) || (some_good && self.reason == Code::Flapping.reason())
    }

    /// Whether it is not wanted to do anything.
    pub(super) fn is_suspended(&self) -> bool {
        self.reason == Word::Suspended.name()
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
    fn text(&self, about: &str, names: Names<'_>) -> String {
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
