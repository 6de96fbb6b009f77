//! The control plane: from the user's objects to agents, and from what agents say to status.
//!
//! Half of the crate decides and does nothing else: [`names`], [`pools`], [`placement`],
//! [`build`] take values and return values, without client, clock or task. The other half, which
//! does, is thin:
//!
//! ```text
//! API server --watch--> cache --keys--> queue --> reconcile: view (cache) -> decide -> apply
//!      ^                                                                                |
//!      +------------------------------ server-side apply, status -----------------------+
//! ```

pub mod apply;
pub mod build;
pub mod cache;
pub mod cli;
pub mod client;
pub mod events;
pub mod finalize;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod placement;
pub mod poke;
pub mod pools;
pub mod probes;
pub mod queue;
pub mod reconcile;
pub mod rollout;
pub mod run;
pub mod secrets;
pub mod strip;
pub mod verdict;

/// Field manager of what the operator applies.
pub const FIELD_MANAGER: &str = "lineside-operator";
/// Field manager of status.
pub const STATUS_MANAGER: &str = "lineside-operator-status";
/// Label of every child: the name of its agent.
pub const LABEL_AGENT: &str = "lineside.dev/agent";
/// Label of every child: the name of its agent's pool.
pub const LABEL_POOL: &str = "lineside.dev/pool";
/// Label of every object that the operator made, with [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Keeps an Agent until it has delivered what it holds.
pub const FINALIZER: &str = "lineside.dev/drain";

/// A word that no other process has.
pub(crate) fn nonce() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
