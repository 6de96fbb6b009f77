//! The API types of group `lineside.dev`, version `v1alpha1`: what a person writes.
//!
//! The doc comments are the documentation of the fields (`kubectl explain`). Rules that span
//! fields are CEL rules attached to the schema; each message ends with its diagnostic code, and
//! [`crate::validate`] gives the same verdict without a cluster.
//!
//! Fields whose default the cluster fills in carry it in the schema; inside lists defaults live
//! in code (`*_DEFAULT` constants), because client-side diff tools would never settle otherwise.

pub mod agent;
pub mod agent_pool;
pub mod device;
pub mod pipeline;
pub mod sink;
pub mod status;
pub mod transform;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The API group.
pub const GROUP: &str = "lineside.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// The `apiVersion` of every object.
pub const API_VERSION: &str = "lineside.dev/v1alpha1";

/// Annotation of a Pipeline or an Agent: what waits to be delivered when it is removed is given up
/// at once, and counted.
pub const DISCARD_BACKLOG: &str = "lineside.dev/discard-backlog";

/// A kind of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// One device and its points.
    DeviceConnection,
    /// Which samples go where.
    Pipeline,
    /// A destination that pipelines share.
    Sink,
    /// Where agents run and with what.
    AgentPool,
    /// One agent pod.
    Agent,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Self] =
        &[Self::DeviceConnection, Self::Pipeline, Self::Sink, Self::AgentPool, Self::Agent];

    /// The value of `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeviceConnection => "DeviceConnection",
            Self::Pipeline => "Pipeline",
            Self::Sink => "Sink",
            Self::AgentPool => "AgentPool",
            Self::Agent => "Agent",
        }
    }

    /// The kind of this name, exactly as written.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }

    /// Lower-case plural, as in URLs and `kubectl get`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::DeviceConnection => "deviceconnections",
            Self::Pipeline => "pipelines",
            Self::Sink => "sinks",
            Self::AgentPool => "agentpools",
            Self::Agent => "agents",
        }
    }
}

/// Whether the object runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Mode {
    /// It runs.
    #[default]
    Running,
    /// It is kept but does nothing.
    Suspended,
}

/// Labels that a node must all carry. Keys are checked by `validate()`: a rule over the keys of
/// a map costs an API server more than it may.
fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"
        }
    })
}
