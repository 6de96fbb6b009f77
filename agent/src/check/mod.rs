//! What `lineside check` looks at before (or after) an agent runs: the same ways that the agent
//! goes, without taking anything from it. A device or a broker is dialled and hung up again;
//! nothing is asked of it, so a check never takes over a session of a running agent.

mod cluster;
mod outside;
mod place;
pub mod pre;

use lineside_crds::diagnostics::Code;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

pub use cluster::{api_server, cluster};
pub use outside::outside;
pub use place::{clock, configuration, state};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, e.g. `device plant/furnace-1 at 10.20.0.11:502`.
    pub subject: String,
    /// What is well, or what is wrong with its code.
    pub verdict: Result<String, (Code, String)>,
}

impl Finding {
    /// It is as it should be.
    pub fn well(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Ok(detail.into()) }
    }

    /// It is not.
    pub fn ill(subject: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Err((code, message.into())) }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Finding", 6)?;
        out.serialize_field("subject", &self.subject)?;
        out.serialize_field("ok", &self.verdict.is_ok())?;
        let (detail, code) = match &self.verdict {
            Ok(detail) => (detail, None),
            Err((code, message)) => (message, Some(*code)),
        };
        out.serialize_field("message", detail)?;
        out.serialize_field("code", &code)?;
        out.serialize_field("reason", &code.map(Code::reason))?;
        out.serialize_field("next", &code.map(Code::next))?;
        out.end()
    }
}
