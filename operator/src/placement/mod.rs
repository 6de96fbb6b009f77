//! Which agent reads which device.
//!
//! [`decide`] looks at one namespace at a time and answers for all of its devices at once. An
//! assigned device stays where it is, whatever becomes of its node's readiness and labels, for as
//! long as the node exists and nobody edits what is asked of it (docs/adr/0009); a new one goes to
//! the least loaded node that fits.
//!
//! # Never two readers
//!
//! `Agent.spec.assignments` is the record of **who may still be reading**. A device that has to
//! leave an agent stays in that record while its document is no longer shipped. The record is
//! cleared once the agent has acknowledged a configuration without the device, and only a device
//! that no Agent records or reports any more is given to another one:
//!
//! ```text
//! assigned to A --its place does not fit any more--> leaving A     (recorded, not shipped)
//!                                                       | A runs a configuration without it, and
//!                                                       | the device's status has the epoch
//!                                                       v
//!                                                    with nobody   (not recorded)
//!                                                       v
//!                                                    assigned to B (next epoch)
//! ```
//!
//! In the two states between, its outcome is [`Outcome::Moving`], then a new assignment. Nothing
//! is awaited from an agent whose node is gone or marked out-of-service: it is deleted, and then
//! its devices are with nobody. A property test plays this against agents, caches
//! and crashes of its own invention.
//!
//! It holds under five rules of the caller:
//! 1. An Agent is created with `create`, and its `spec` changed with the resourceVersion that the
//!    decision has seen, so that two writers cannot cross.
//! 2. `spec.configHash` is written before the ConfigMaps of that hash, never after.
//! 3. The configuration of an agent holds the documents of [`Placement::active`] and names every
//!    entry of `spec.assignments` in its manifest, so the configuration after a removal is
//!    never equal to the one before an addition.
//! 4. `status.agent` of a device names its latest owner and stays when it has none.
//! 5. A decision sees what earlier decisions have written: the answer to a write goes into the
//!    cache before the next decision, and nothing older replaces it.

mod candidates;
mod decide;
mod facts;
pub(crate) mod fit;
pub mod halted;
pub mod load;
mod outcome;
#[cfg(test)]
mod tests;

pub use decide::decide;
pub use facts::{AgentFacts, DeviceFacts, NodeFacts, Wish};
pub use outcome::{DesiredAgent, Fate, Outcome, Placement, Search, Unplaced};

use std::collections::BTreeMap;

use crate::pools::PoolState;

/// Most devices of one agent (contracts, section 1).
pub const DEVICES_MOST: usize = lineside_crds::api::agent::DEVICES_MOST;

/// One namespace as placement sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Its DeviceConnections, by name.
    pub devices: BTreeMap<String, DeviceFacts>,
    /// The pools that its devices and agents name, resolved, by name. A name that is not here
    /// counts as [`PoolState::NotFound`].
    pub pools: BTreeMap<String, PoolState>,
    /// All nodes of the cluster, by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Its Agents, by name.
    pub agents: BTreeMap<String, AgentFacts>,
}

impl View {
    /// The state of a pool.
    pub fn pool(&self, name: &str) -> &PoolState {
        self.pools.get(name).unwrap_or(&PoolState::NotFound)
    }
}
