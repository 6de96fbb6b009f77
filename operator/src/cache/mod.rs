//! What the operator knows of the cluster, for reading without a request.
//!
//! ```text
//! API server --watch--> prune --> Table (one per kind) --change--> keys (pure) --> work queue
//!                                   ^
//! own writes ------ answer ---------+
//! ```
//!
//! The watches are started when this process begins to lead, so that the first list is newer
//! than the last write of the leader before.

mod keys;
pub mod kinds;
mod pulse;
mod table;
mod watch;

pub use keys::{all_keys, keys_of_agent};
pub use kinds::Tracked;
pub use pulse::{Beat, Pulse};
pub use table::{Change, Id, Scope, Table};
pub use watch::start;

use kube::core::DeserializeGuard;

/// An object that may be undecodable. Its metadata is there all the same, so one bad object
/// neither stops a watch nor looks like one that is absent.
pub type Guarded<K> = DeserializeGuard<K>;

/// All tables.
#[derive(Debug)]
pub struct Cache {
    scopes: Vec<Scope>,
    /// DeviceConnections.
    pub devices: Table<Guarded<kinds::DeviceConnection>>,
    /// Pipelines.
    pub pipelines: Table<Guarded<kinds::Pipeline>>,
    /// Sinks.
    pub sinks: Table<Guarded<kinds::Sink>>,
    /// AgentPools.
    pub pools: Table<Guarded<kinds::AgentPool>>,
    /// Agents.
    pub agents: Table<Guarded<kinds::Agent>>,
    /// StatefulSets of agents.
    pub stateful_sets: Table<kinds::StatefulSet>,
    /// ConfigMaps of agents, their data replaced by a digest.
    pub config_maps: Table<kinds::ConfigMap>,
    /// ServiceAccounts of agents.
    pub service_accounts: Table<kinds::ServiceAccount>,
    /// RoleBindings of agents.
    pub role_bindings: Table<kinds::RoleBinding>,
    /// Claims of agents.
    pub claims: Table<kinds::Claim>,
    /// Leases of agents.
    pub leases: Table<kinds::Lease>,
    /// Pods of agents.
    pub pods: Table<kinds::Pod>,
    /// All nodes of the cluster.
    pub nodes: Table<kinds::Node>,
    /// Signs of life of the agents.
    pub pulse: Pulse,
}

impl Cache {
    /// Empty tables for the watches of these namespaces; none = the whole cluster.
    pub fn new(namespaces: &[String]) -> Self {
        let scopes: Vec<Scope> = match namespaces {
            [] => vec![Scope::Cluster],
            some => some.iter().cloned().map(Scope::Namespace).collect(),
        };
        let all = || scopes.iter().cloned();
        Self {
            devices: Table::new(all()),
            pipelines: Table::new(all()),
            sinks: Table::new(all()),
            pools: Table::new(all()),
            agents: Table::new(all()),
            stateful_sets: Table::new(all()),
            config_maps: Table::new(all()),
            service_accounts: Table::new(all()),
            role_bindings: Table::new(all()),
            claims: Table::new(all()),
            leases: Table::new(all()),
            pods: Table::new(all()),
            nodes: Table::new([Scope::Cluster]),
            pulse: Pulse::default(),
            scopes,
        }
    }

    /// What the watches of namespaced kinds cover.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Kinds whose first list is not complete yet.
    pub fn missing(&self) -> Vec<&'static str> {
        fn of<K: Tracked>(cache: &Cache) -> Option<&'static str> {
            (!K::table(cache).is_complete()).then_some(K::KIND)
        }
        let kinds = [
            of::<Guarded<kinds::DeviceConnection>>(self),
            of::<Guarded<kinds::Pipeline>>(self),
            of::<Guarded<kinds::Sink>>(self),
            of::<Guarded<kinds::AgentPool>>(self),
            of::<Guarded<kinds::Agent>>(self),
            of::<kinds::StatefulSet>(self),
            of::<kinds::ConfigMap>(self),
            of::<kinds::ServiceAccount>(self),
            of::<kinds::RoleBinding>(self),
            of::<kinds::Claim>(self),
            of::<kinds::Lease>(self),
            of::<kinds::Pod>(self),
            of::<kinds::Node>(self),
        ];
        kinds.into_iter().flatten().collect()
    }
}
