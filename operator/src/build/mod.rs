//! What an agent consists of: from an Agent, its pool and what it is to read, to the objects that
//! run and feed it.
//!
//! ```text
//! placement --active--> documents --pack--> ConfigMaps, config hash --.
//! pool, node ----------------------> pod template, template hash -----+--> Children
//! ```
//!
//! The same input gives the same bytes, so an operator that starts afresh finds nothing to write.
//!
//! Order of writing: `spec.configHash` of the Agent first (see [`crate::placement`]), then the
//! service account, its binding, the Lease, the claim, the ConfigMaps, and the StatefulSet last,
//! so that the first pod finds everything.

mod documents;
mod objects;
mod pod;
mod shipped;
#[cfg(test)]
mod tests;

pub use documents::{Current, PipelineNow, Selection};
pub use objects::Children;
pub use shipped::Shipped;

use lineside_crds::api::agent::AssignmentSpec;
use lineside_crds::delivery::{Document, PackError};

use crate::pools::Pool;

/// The ClusterRole that every agent is bound to in its namespace; the chart makes it.
pub const CLUSTER_ROLE: &str = "lineside-agent";
/// Annotation of a pod template and its pods: which template it is.
pub const TEMPLATE_HASH: &str = "lineside.dev/template-hash";
/// Annotation of a pod, changed to make the kubelet look at the ConfigMaps at once: the hash of the
/// configuration that they hold.
pub const CONFIG_HASH: &str = "lineside.dev/config-hash";
/// Name of the one container of an agent's pod.
pub const CONTAINER: &str = "agent";
/// Seconds that an agent has to deliver what it holds when its pod ends.
pub const POD_DRAIN_SECONDS: i64 = 25;

/// An agent, and what it is to run.
#[derive(Clone, Debug)]
pub struct AgentBuild<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Uid of the Agent object.
    pub uid: &'a str,
    /// `spec.node`.
    pub node: &'a str,
    /// The value of the node's label `kubernetes.io/hostname`, which is not always its name.
    pub hostname: &'a str,
    /// Its pool.
    pub pool: &'a Pool,
    /// `spec.assignments` as stored: what it may be reading, what it is about to lose included.
    pub assignments: &'a [AssignmentSpec],
    /// What it is shipped, from [`Selection::documents`].
    pub documents: &'a [Document],
    /// It is being deleted: it stops its devices and delivers what it holds.
    pub draining: bool,
}

impl AgentBuild<'_> {
    /// Everything that belongs to the agent.
    ///
    /// # Errors
    /// When its documents do not fit into eight ConfigMaps; what it runs then stays as it is.
    pub fn children(&self) -> Result<Children, PackError> {
        objects::children(self)
    }
}
