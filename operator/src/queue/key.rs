//! What can be reconciled.

use std::fmt;

/// One piece of work: something whose wanted state is computed and applied as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Placement of all devices of a namespace: which Agents there are and what each runs.
    Namespace(String),
    /// The children of one Agent: namespace, name.
    Agent(String, String),
    /// The status of one DeviceConnection: namespace, name.
    Device(String, String),
    /// The status of one Pipeline: namespace, name.
    Pipeline(String, String),
    /// The status of one Sink: namespace, name.
    Sink(String, String),
    /// The status and the rollout of one AgentPool: namespace, name.
    Pool(String, String),
}

impl Key {
    /// The sort of key, a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "Namespace",
            Self::Agent(..) => "Agent",
            Self::Device(..) => "DeviceConnection",
            Self::Pipeline(..) => "Pipeline",
            Self::Sink(..) => "Sink",
            Self::Pool(..) => "AgentPool",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "Namespace {namespace}"),
            Self::Agent(namespace, name)
            | Self::Device(namespace, name)
            | Self::Pipeline(namespace, name)
            | Self::Sink(namespace, name)
            | Self::Pool(namespace, name) => write!(f, "{} {namespace}/{name}", self.kind()),
        }
    }
}
