//! The objects of an agent.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, ServiceAccount,
    VolumeResourceRequirements,
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use lineside_crds::api::{API_VERSION, Kind};
use lineside_crds::delivery::{self, Agent, Assignment, Content, PackError, Packed};
use lineside_crds::model::StateVolume;

use super::{AgentBuild, CLUSTER_ROLE, pod};
use crate::names;

/// Everything that belongs to one agent. All of it is owned by the Agent object and goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// Hash of the configuration, for `spec.configHash`.
    pub config_hash: String,
    /// Which pod template this is, for [`crate::rollout`].
    pub template_hash: String,
    /// Whose token the agent uses.
    pub service_account: ServiceAccount,
    /// What that token may do.
    pub role_binding: RoleBinding,
    /// What the agent renews to say that it lives.
    pub lease: Lease,
    /// The state volume; `None` for one that goes with the pod. Only ever created: what a claim asks
    /// for cannot be changed later.
    pub claim: Option<PersistentVolumeClaim>,
    /// The configuration, by index from 0. Those of higher indices are to be deleted.
    pub config_maps: Vec<ConfigMap>,
    /// The pod.
    pub stateful_set: StatefulSet,
}

pub(super) fn children(agent: &AgentBuild<'_>) -> Result<Children, PackError> {
    let packed = delivery::pack(&facts(agent), agent.documents)?;
    let template = pod::template(agent);
    Ok(Children {
        template_hash: template.hash.clone(),
        service_account: ServiceAccount {
            metadata: metadata(agent, agent.name),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        role_binding: role_binding(agent),
        lease: Lease {
            metadata: metadata(agent, agent.name),
            spec: Some(LeaseSpec {
                lease_duration_seconds: Some(lease_seconds(agent)),
                ..LeaseSpec::default()
            }),
        },
        claim: claim(agent),
        config_maps: config_maps(agent, &packed),
        stateful_set: StatefulSet {
            metadata: metadata(agent, agent.name),
            spec: Some(StatefulSetSpec {
                replicas: Some(1),
                // Nothing resolves the pod by name, so there is no Service; the field names one.
                service_name: Some(agent.name.to_owned()),
                // With OrderedReady a pod that never became ready would not be replaced.
                pod_management_policy: Some("Parallel".to_owned()),
                revision_history_limit: Some(1),
                selector: LabelSelector {
                    match_labels: Some(pod::selector(agent)),
                    ..LabelSelector::default()
                },
                template: template.spec,
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("OnDelete".to_owned()),
                    rolling_update: None,
                }),
                ..StatefulSetSpec::default()
            }),
            status: None,
        },
        config_hash: packed.hash,
    })
}

fn facts(agent: &AgentBuild<'_>) -> delivery::AgentFacts {
    let assignment = |a: &lineside_crds::api::agent::AssignmentSpec| Assignment {
        device: a.device.clone(),
        uid: a.uid.clone(),
        epoch: a.epoch,
    };
    delivery::AgentFacts {
        agent: Agent {
            name: agent.name.to_owned(),
            namespace: agent.namespace.to_owned(),
            uid: agent.uid.to_owned(),
            pool: agent.pool.name.clone(),
            node: agent.node.to_owned(),
        },
        heartbeat_seconds: seconds(agent.pool.heartbeat),
        drain_timeout_seconds: seconds(agent.pool.drain_timeout),
        draining: agent.draining,
        assignments: agent.assignments.iter().map(assignment).collect(),
    }
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Three heartbeats: when they are missed, the agent counts as silent.
fn lease_seconds(agent: &AgentBuild<'_>) -> i32 {
    i32::try_from(seconds(agent.pool.heartbeat).saturating_mul(3)).unwrap_or(i32::MAX)
}

fn metadata(agent: &AgentBuild<'_>, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(agent.namespace.to_owned()),
        labels: Some(pod::labels(agent)),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: Kind::Agent.name().to_owned(),
            name: agent.name.to_owned(),
            uid: agent.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

fn role_binding(agent: &AgentBuild<'_>) -> RoleBinding {
    RoleBinding {
        metadata: metadata(agent, agent.name),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: CLUSTER_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: agent.name.to_owned(),
            namespace: Some(agent.namespace.to_owned()),
            api_group: None,
        }]),
    }
}

fn claim(agent: &AgentBuild<'_>) -> Option<PersistentVolumeClaim> {
    let StateVolume::Claim { storage_class, size } = &agent.pool.state else { return None };
    let storage = BTreeMap::from([("storage".to_owned(), Quantity(size.clone()))]);
    Some(PersistentVolumeClaim {
        metadata: metadata(agent, agent.name),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage_class.clone(),
            resources: Some(VolumeResourceRequirements { limits: None, requests: Some(storage) }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

fn config_maps(agent: &AgentBuild<'_>, packed: &Packed) -> Vec<ConfigMap> {
    let map = |shard: &delivery::Shard| {
        let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
        for (name, content) in &shard.files {
            match content {
                Content::Text(text) => {
                    data.insert(name.clone(), text.clone());
                }
                Content::Binary(bytes) => {
                    binary.insert(name.clone(), ByteString(bytes.clone()));
                }
            }
        }
        ConfigMap {
            metadata: metadata(agent, &names::config_map(agent.name, shard.index)),
            data: (!data.is_empty()).then_some(data),
            binary_data: (!binary.is_empty()).then_some(binary),
            immutable: None,
        }
    };
    packed.shards.iter().map(map).collect()
}
