//! The pod of an agent.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection,
    DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar, HTTPGetAction, KeyToPath,
    LocalObjectReference, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile, SecretVolumeSource,
    SecurityContext, ServiceAccountTokenProjection, Toleration, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lineside_crds::delivery::SHARDS_MOST;
use lineside_crds::model::StateVolume;
use sha2::{Digest, Sha256};

use super::{AgentBuild, CONTAINER, POD_DRAIN_SECONDS, TEMPLATE_HASH};
use crate::placement::fit::ALWAYS_BORNE;
use crate::{FIELD_MANAGER, LABEL_AGENT, LABEL_POOL, names};

const CONFIG_DIR: &str = "/etc/lineside/config";
const SECRETS_DIR: &str = "/etc/lineside/secrets";
const STATE_DIR: &str = "/var/lib/lineside";
const IDENTITY_DIR: &str = "/var/run/secrets/lineside.dev";
/// Port of metrics and probes, on the pod's address.
const HTTP_PORT: i32 = 9464;
/// Address of page and local API: only for who may forward ports of the pod.
const PAGE: &str = "127.0.0.1:9465";
/// The user of the image; it has no name there.
const USER: i64 = 65532;
/// Seconds that the kubelet waits longer than the agent itself does.
const GRACE_SECONDS: i64 = 5;
/// Life of the token; the kubelet renews it in time.
const TOKEN_SECONDS: i64 = 3600;
/// Read for the owner and the group of the volume.
const PRIVATE_MODE: i32 = 0o440;

/// A pod template, and which one it is.
pub(super) struct Template {
    pub(super) spec: PodTemplateSpec,
    pub(super) hash: String,
}

/// What tells the pod of this agent from every other.
pub(super) fn selector(agent: &AgentBuild<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_AGENT.to_owned(), agent.name.to_owned())])
}

/// Labels of everything that belongs to the agent.
pub(super) fn labels(agent: &AgentBuild<'_>) -> BTreeMap<String, String> {
    let mut labels = selector(agent);
    labels.extend([
        ("app.kubernetes.io/name".to_owned(), "lineside-agent".to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
        (LABEL_POOL.to_owned(), agent.pool.name.clone()),
    ]);
    labels
}

pub(super) fn template(agent: &AgentBuild<'_>) -> Template {
    let mut spec = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(agent)), ..ObjectMeta::default() }),
        spec: Some(pod(agent)),
    };
    let hash = hash(&spec);
    if let Some(metadata) = &mut spec.metadata {
        metadata.annotations = Some(BTreeMap::from([(TEMPLATE_HASH.to_owned(), hash.clone())]));
    }
    Template { spec, hash }
}

/// Sixteen hex digits over the template. Fields are in the order of their struct and maps in the
/// order of their keys, so equal templates have equal text.
fn hash(template: &PodTemplateSpec) -> String {
    let text = serde_json::to_vec(template).unwrap_or_default();
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn pod(agent: &AgentBuild<'_>) -> PodSpec {
    let pull_secrets = agent.pool.image_pull_secrets.iter();
    let pull_secrets: Vec<_> =
        pull_secrets.map(|name| LocalObjectReference { name: name.clone() }).collect();
    PodSpec {
        affinity: Some(affinity(agent)),
        automount_service_account_token: Some(false),
        containers: vec![container(agent)],
        enable_service_links: Some(false),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            // A large state volume is not walked through at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(agent.name.to_owned()),
        termination_grace_period_seconds: Some(POD_DRAIN_SECONDS + GRACE_SECONDS),
        tolerations: Some(tolerations(agent)),
        volumes: Some(volumes(agent)),
        ..PodSpec::default()
    }
}

/// The one node, by its label: a pod with `nodeName` would go around the scheduler, and with it
/// around the binding of its volume.
fn affinity(agent: &AgentBuild<'_>) -> Affinity {
    let hostname = NodeSelectorRequirement {
        key: "kubernetes.io/hostname".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![agent.hostname.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![hostname]), match_fields: None };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

/// A node out of reach goes on polling: no time limit, or the pod would be deleted after five
/// minutes.
fn tolerations(agent: &AgentBuild<'_>) -> Vec<Toleration> {
    let always = ALWAYS_BORNE.map(|key| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        value: None,
        toleration_seconds: None,
    });
    always.into_iter().chain(agent.pool.tolerations.iter().cloned()).collect()
}

fn container(agent: &AgentBuild<'_>) -> Container {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let mut args = words(&["agent", "--cluster"]);
    for (flag, value) in [
        ("--config", CONFIG_DIR),
        ("--secrets", SECRETS_DIR),
        ("--state", STATE_DIR),
        ("--http", &format!("0.0.0.0:{HTTP_PORT}")),
        ("--page", PAGE),
        ("--drain-seconds", &POD_DRAIN_SECONDS.to_string()),
    ] {
        args.extend(words(&[flag, value]));
    }
    let state = match &agent.pool.state {
        StateVolume::Claim { .. } => "Persistent",
        StateVolume::EmptyDir => "Ephemeral",
    };
    let env = [
        ("LINESIDE_NAMESPACE", agent.namespace),
        ("LINESIDE_AGENT", agent.name),
        ("LINESIDE_AGENT_UID", agent.uid),
        ("LINESIDE_NODE", agent.node),
        ("LINESIDE_STATE", state),
    ];
    Container {
        name: CONTAINER.to_owned(),
        image: Some(agent.pool.image.clone()),
        image_pull_policy: agent.pool.image_pull_policy.clone(),
        command: Some(words(&["lineside"])),
        args: Some(args),
        env: Some(env.map(|(name, value)| variable(name, value)).to_vec()),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: HTTP_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(probe("/readyz", 5, 3)),
        // Slow to judge: a restart interrupts every device of the agent.
        liveness_probe: Some(probe("/livez", 10, 6)),
        resources: Some(agent.pool.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        // The last words of a container that ends are its reason, in the status of its devices.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(agent)),
        ..Container::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(HTTP_PORT),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// Each Secret in a directory of its own name: keys of two Secrets never collide.
fn mounts(agent: &AgentBuild<'_>) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount("config", CONFIG_DIR, true),
        mount("identity", IDENTITY_DIR, true),
        mount("state", STATE_DIR, false),
    ];
    for (index, secret) in agent.pool.secrets.iter().enumerate() {
        mounts.push(mount(&secret_volume(index), &format!("{SECRETS_DIR}/{secret}"), true));
    }
    mounts
}

/// A volume's name is a DNS label, a Secret's may be longer and have dots.
fn secret_volume(index: usize) -> String {
    format!("secret-{index}")
}

fn volumes(agent: &AgentBuild<'_>) -> Vec<Volume> {
    let mut volumes = vec![config(agent), identity(), state(agent)];
    for (index, secret) in agent.pool.secrets.iter().enumerate() {
        volumes.push(Volume {
            name: secret_volume(index),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.clone()),
                optional: Some(true),
                default_mode: Some(PRIVATE_MODE),
                items: None,
            }),
            ..Volume::default()
        });
    }
    volumes
}

/// All shards that there can ever be, so that growing does not change the pod.
fn config(agent: &AgentBuild<'_>) -> Volume {
    let shard = |index: usize| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: names::config_map(agent.name, index),
            optional: Some(true),
            items: None,
        }),
        ..VolumeProjection::default()
    };
    projected("config", (0..SHARDS_MOST).map(shard).collect(), 0o444)
}

/// Who the agent is towards the API server.
fn identity() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(TOKEN_SECONDS),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let ca = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath {
                key: "ca.crt".to_owned(),
                path: "ca.crt".to_owned(),
                mode: None,
            }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    projected("identity", vec![token, ca, namespace], PRIVATE_MODE)
}

fn projected(name: &str, sources: Vec<VolumeProjection>, mode: i32) -> Volume {
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(mode) }),
        ..Volume::default()
    }
}

fn state(agent: &AgentBuild<'_>) -> Volume {
    let mut volume = Volume { name: "state".to_owned(), ..Volume::default() };
    match &agent.pool.state {
        StateVolume::Claim { .. } => {
            volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: agent.name.to_owned(),
                read_only: None,
            });
        }
        StateVolume::EmptyDir => volume.empty_dir = Some(EmptyDirVolumeSource::default()),
    }
    volume
}
