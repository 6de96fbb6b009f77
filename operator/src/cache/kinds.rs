//! The kinds that are watched: where each is kept and what of it is not worth keeping.

use std::collections::BTreeMap;
use std::time::Instant;

pub use k8s_openapi::api::apps::v1::StatefulSet;
pub use k8s_openapi::api::coordination::v1::Lease;
pub use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolumeClaim as Claim, Pod, ServiceAccount,
};
pub use k8s_openapi::api::rbac::v1::RoleBinding;
pub use lineside_crds::api::agent::Agent;
pub use lineside_crds::api::agent_pool::AgentPool;
pub use lineside_crds::api::device::DeviceConnection;
pub use lineside_crds::api::pipeline::Pipeline;
pub use lineside_crds::api::sink::Sink;

use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use super::table::{Change, Table};
use super::{Cache, Guarded, keys};
use crate::queue::Key;

/// In the cache only: stands for the data of a ConfigMap, which may be a megabyte.
const DATA_DIGEST: &str = "lineside.dev/cached-data-digest";

/// A kind with a table.
pub trait Tracked: Resource + Sized + Send + Sync + 'static {
    /// Its name, a metric label.
    const KIND: &'static str;

    /// Where it is kept.
    fn table(cache: &Cache) -> &Table<Self>;

    /// Removes what no decision looks at. managedFields are removed from all kinds.
    fn prune(&mut self) {}

    /// What has to be looked at after this change.
    fn keys(change: &Change<Self>, cache: &Cache) -> Vec<Key>;

    /// The same for a change that the watch told just now.
    fn noticed(change: &Change<Self>, cache: &Cache, _now: Instant) -> Vec<Key> {
        Self::keys(change, cache)
    }
}

impl Tracked for Lease {
    const KIND: &'static str = "Lease";

    fn table(cache: &Cache) -> &Table<Self> {
        &cache.leases
    }

    fn keys(change: &Change<Self>, cache: &Cache) -> Vec<Key> {
        keys::of_lease(change, cache)
    }

    fn noticed(change: &Change<Self>, cache: &Cache, now: Instant) -> Vec<Key> {
        let mut keys = Self::keys(change, cache);
        match (&change.old, &change.new) {
            (_, Some(lease)) => {
                if cache.pulse.observe(lease, now) {
                    let namespace = lease.namespace().unwrap_or_default();
                    keys.extend(keys::keys_of_agent(cache, &namespace, &lease.name_any()));
                }
            }
            (Some(lease), None) => {
                cache.pulse.forget(&lease.namespace().unwrap_or_default(), &lease.name_any());
            }
            (None, None) => {}
        }
        keys
    }
}

/// The kinds whose whole definition fits one line.
macro_rules! tracked {
    ($($kind:ty, $name:literal, $field:ident, $keys:path $(, $prune:path)?;)*) => {$(
        impl Tracked for $kind {
            const KIND: &'static str = $name;

            fn table(cache: &Cache) -> &Table<Self> {
                &cache.$field
            }
            $(
            fn prune(&mut self) {
                $prune(self);
            }
            )?
            fn keys(change: &Change<Self>, cache: &Cache) -> Vec<Key> {
                $keys(change, cache)
            }
        }
    )*};
}

tracked! {
    Guarded<DeviceConnection>, "DeviceConnection", devices, keys::of_device, prune_guarded;
    Guarded<Pipeline>, "Pipeline", pipelines, keys::of_pipeline, prune_guarded;
    Guarded<Sink>, "Sink", sinks, keys::of_sink, prune_guarded;
    Guarded<AgentPool>, "AgentPool", pools, keys::of_pool, prune_guarded;
    Guarded<Agent>, "Agent", agents, keys::of_agent, prune_guarded;
    StatefulSet, "StatefulSet", stateful_sets, keys::of_stateful_set;
    ConfigMap, "ConfigMap", config_maps, keys::of_child, prune_config_map;
    ServiceAccount, "ServiceAccount", service_accounts, keys::of_service_account;
    RoleBinding, "RoleBinding", role_bindings, keys::of_child;
    Claim, "PersistentVolumeClaim", claims, keys::of_claim;
    Pod, "Pod", pods, keys::of_pod, prune_pod;
    Node, "Node", nodes, keys::of_node, prune_node;
}

/// Digest of the data of a ConfigMap, of the whole one and of the pruned one alike.
pub fn data_digest(map: &ConfigMap) -> String {
    if let Some(digest) = map.metadata.annotations.as_ref().and_then(|a| a.get(DATA_DIGEST)) {
        return digest.clone();
    }
    let mut digest = Sha256::new();
    let mut part = |sort: u8, key: &str, value: &[u8]| {
        digest.update([sort]);
        digest.update((key.len() as u64).to_be_bytes());
        digest.update(key);
        digest.update((value.len() as u64).to_be_bytes());
        digest.update(value);
    };
    for (key, value) in map.data.iter().flatten() {
        part(0, key, value.as_bytes());
    }
    for (key, value) in map.binary_data.iter().flatten() {
        part(1, key, &value.0);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `kubectl apply` leaves behind is a second copy of the object.
fn prune_guarded<K: Resource>(object: &mut Guarded<K>) {
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn prune_config_map(map: &mut ConfigMap) {
    let digest = data_digest(map);
    map.data = None;
    map.binary_data = None;
    map.metadata
        .annotations
        .get_or_insert_with(BTreeMap::new)
        .insert(DATA_DIGEST.to_owned(), digest);
}

fn prune_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        spec.containers.clear();
        spec.volumes = None;
        spec.affinity = None;
        spec.tolerations = None;
    }
}

fn prune_node(node: &mut Node) {
    node.metadata.annotations = None;
    let Some(status) = &mut node.status else { return };
    let conditions = status.conditions.take().map(|all| {
        let ready = all.into_iter().filter(|c| c.type_ == "Ready");
        ready
            .map(|mut c| {
                c.last_heartbeat_time = None;
                c
            })
            .collect()
    });
    *status = k8s_openapi::api::core::v1::NodeStatus { conditions, ..Default::default() };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(data: serde_json::Value) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": data})).unwrap()
    }

    #[test]
    fn a_pruned_config_map_has_the_digest_of_the_whole_one() {
        let whole = map(json!({"a": "1", "b": "2"}));
        let mut pruned = whole.clone();
        prune_config_map(&mut pruned);
        assert_eq!(pruned.data, None);
        assert_eq!(data_digest(&pruned), data_digest(&whole));
        for other in [json!({"a": "1"}), json!({"a": "1", "b": "3"}), json!({"a": "1b", "": "2"})] {
            assert_ne!(data_digest(&map(other)), data_digest(&whole));
        }
    }

    #[test]
    fn a_node_that_only_reports_in_does_not_change() {
        let node = |heartbeat: &str| {
            let mut node: Node = serde_json::from_value(json!({
                "metadata": {"name": "n", "labels": {"a": "b"}},
                "status": {
                    "images": [{"names": ["x"]}],
                    "conditions": [
                        {"type": "DiskPressure", "status": "False", "lastHeartbeatTime": heartbeat},
                        {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat},
                    ],
                }
            }))
            .unwrap();
            prune_node(&mut node);
            node
        };
        assert_eq!(node("2026-01-01T00:00:00Z"), node("2026-01-01T00:05:00Z"));
        assert_eq!(node("2026-01-01T00:00:00Z").status.unwrap().conditions.unwrap().len(), 1);
    }
}
