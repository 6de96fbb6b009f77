//! What went wrong, in a closed set of classes. The class, never a text, decides retry, quality
//! of the points concerned, metric label and condition reason.

use std::error::Error;
use std::fmt;

use lineside_crds::diagnostics::Code;

use crate::status::StatusCode;

/// The class of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The YAML asks for something that cannot be; a human has to change it.
    Config,
    /// The remote refused who we are.
    Auth,
    /// The remote cannot be reached.
    Unreachable,
    /// The remote did not answer in time.
    Timeout,
    /// The remote broke the protocol.
    Peer,
    /// The device reports a failure of its own.
    Device,
    /// The remote is too busy, or we are.
    Overload,
    /// A fault in this software.
    Bug,
}

impl FaultClass {
    /// Every class, for metrics that must exist before the first fault.
    pub const ALL: [Self; 8] = [
        Self::Config,
        Self::Auth,
        Self::Unreachable,
        Self::Timeout,
        Self::Peer,
        Self::Device,
        Self::Overload,
        Self::Bug,
    ];

    /// Metric label, CamelCase.
    pub fn label(self) -> &'static str {
        match self {
            Self::Config => "Config",
            Self::Auth => "Auth",
            Self::Unreachable => "Unreachable",
            Self::Timeout => "Timeout",
            Self::Peer => "Peer",
            Self::Device => "Device",
            Self::Overload => "Overload",
            Self::Bug => "Bug",
        }
    }

    /// The quality of points that could not be read because of such a fault.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Config => StatusCode::BAD_CONFIGURATION_ERROR,
            Self::Auth => StatusCode::BAD_USER_ACCESS_DENIED,
            Self::Unreachable => StatusCode::BAD_NO_COMMUNICATION,
            Self::Timeout => StatusCode::BAD_TIMEOUT,
            Self::Peer => StatusCode::BAD_COMMUNICATION_ERROR,
            Self::Device => StatusCode::BAD_DEVICE_FAILURE,
            Self::Overload => StatusCode::BAD_TOO_MANY_OPERATIONS,
            Self::Bug => StatusCode::BAD_INTERNAL_ERROR,
        }
    }
}

/// A fault: its class, its code in the diagnostics registry, what was tried, and its cause.
/// Display says what was tried and never repeats the cause; [`Fault::chain`] prints both.
#[derive(Debug)]
pub struct Fault {
    /// The class.
    pub class: FaultClass,
    /// The code.
    pub code: Code,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault; `message` says what was attempted and on what.
    pub fn new(class: FaultClass, code: Code, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into(), source: None }
    }

    /// The same fault with its cause.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The message with all causes, for logs and status.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn Error + 'static))
    }
}
