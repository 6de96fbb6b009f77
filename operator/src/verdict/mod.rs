//! What is said of the user's objects: conditions, health, code (contracts, section 2).
//!
//! ```text
//! object, findings, placement, Agent.status, Lease, pod  ->  Judgement  ->  status
//!                                                      (device, pipeline, sink, pool)   (conditions)
//! ```
//!
//! Everything here is a function of values. A [`Judgement`] says what holds now; [`conditions`]
//! makes conditions of it, in which a time changes only when a status flips.

pub mod agent;
pub mod conditions;
pub mod device;
pub mod pipeline;
pub mod pod;
pub mod pool;
mod report;
pub mod sink;
mod words;

#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod tests;

use lineside_crds::api::status::{ConditionStatus, Health};
use lineside_crds::diagnostics::conditions::Word;
use lineside_crds::diagnostics::{Code, Diagnostic};

use agent::Trouble;
pub use agent::{AgentView, Standing};
pub use conditions::conditions;
pub use pod::PodState;
use words::Names;

/// One condition without its type and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// CamelCase, of the diagnostics registry or its words.
    pub reason: String,
    /// For people: code, what was found, the next command. Empty when nothing is to be said.
    pub message: String,
}

impl Claim {
    /// It holds, and there is nothing to explain.
    pub fn holds(word: Word) -> Self {
        Self::plain(ConditionStatus::True, word)
    }

    /// A status with a word that explains nothing bad.
    pub fn plain(status: ConditionStatus, word: Word) -> Self {
        Self { status, reason: word.name().to_owned(), message: String::new() }
    }

    /// A status that a code explains.
    pub fn explained(status: ConditionStatus, code: Code, message: String) -> Self {
        Self { status, reason: code.reason().to_owned(), message }
    }

    /// The same with another status.
    fn but(&self, status: ConditionStatus) -> Self {
        Self { status, ..self.clone() }
    }
}

/// What stands beside Ready while it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Work goes on, or something is awaited that may come by itself.
    Reconciling(Claim),
    /// Nothing changes until a person acts.
    Stalled(Claim),
}

/// What is said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The spec is valid and what it names is there.
    pub accepted: Claim,
    /// The agent runs this generation; `None` for a kind that no agent runs.
    pub programmed: Option<Claim>,
    /// There is a connection; `None` for a kind that has none.
    pub connected: Option<Claim>,
    /// It does what it is for.
    pub ready: Claim,
    /// What stands beside it.
    pub beside: Option<Beside>,
    /// How well it works.
    pub health: Health,
    /// The code of what is wrong, as in `status.code`.
    pub code: Option<String>,
}

impl Judgement {
    /// The spec is refused, or waits for what it names. `runs`: a former version goes on;
    /// `connected` as in the judgement.
    fn refused(refusal: &Claim, code: Code, runs: bool, connected: Option<Claim>) -> Self {
        let waits = code == Code::ReferenceNotFound;
        let reason = match runs && !waits {
            true => Code::ConfigRejected.reason().to_owned(),
            false => refusal.reason.clone(),
        };
        let beside = refusal.but(ConditionStatus::True);
        Self {
            accepted: refusal.clone(),
            programmed: Some(refusal.clone()),
            connected,
            ready: Claim { reason, ..refusal.clone() },
            beside: Some(match waits {
                true => Beside::Reconciling(beside),
                false => Beside::Stalled(beside),
            }),
            health: if runs { Health::Degraded } else { Health::Unavailable },
            code: Some(code.id()),
        }
    }

    /// All is well, in this word.
    fn well(word: Word, health: Health) -> Self {
        Self {
            accepted: Claim::holds(Word::Valid),
            programmed: None,
            connected: None,
            ready: Claim::holds(word),
            beside: None,
            health,
            code: None,
        }
    }

    /// No agent runs it, and `claim` says why. `waits`: that may end by itself.
    fn nowhere(claim: Claim, code: Code, health: Health, waits: bool) -> Self {
        Self {
            accepted: Claim::holds(Word::Valid),
            programmed: Some(claim.clone()),
            connected: None,
            beside: waits.then(|| Beside::Reconciling(claim.but(ConditionStatus::True))),
            ready: claim,
            health,
            code: Some(code.id()),
        }
    }

    /// The agent has not got it yet.
    fn pending(what: &str, names: Names<'_>) -> Self {
        let text = words::message(Code::ConfigPending, what, names);
        let claim = Claim::explained(ConditionStatus::False, Code::ConfigPending, text);
        Self::nowhere(claim, Code::ConfigPending, Health::Unknown, true)
    }

    /// Nothing is known of it while its agent is in trouble.
    fn troubled(trouble: Trouble) -> Self {
        let Trouble { ready, health, code } = trouble;
        Self {
            accepted: Claim::holds(Word::Valid),
            programmed: Some(ready.but(ConditionStatus::Unknown)),
            connected: None,
            ready,
            beside: None,
            health,
            code: Some(code.id()),
        }
    }
}

/// What validation and references say of an object, before any agent is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Errors of the spec, what cannot be decoded, and what it names that is not there; the first
    /// one gives the reason.
    pub errors: Vec<Diagnostic>,
}

impl Findings {
    /// The claim of a spec that is refused, or that waits when nothing else is wrong than that
    /// something is not there yet; and its code.
    fn refusal(&self, namespace: &str) -> Option<(Claim, Code)> {
        let waits = |error: &&Diagnostic| error.code == Code::ReferenceNotFound;
        let first = self.errors.iter().find(|e| !waits(e)).or_else(|| self.errors.first())?;
        let names = Names { namespace, ..Names::default() };
        let message = words::findings(&self.errors, first.code, names);
        Some((Claim::explained(ConditionStatus::False, first.code, message), first.code))
    }
}
