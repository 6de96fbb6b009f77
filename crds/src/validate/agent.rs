//! The rules of AgentPool and Agent that the schema cannot say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Judged, Meta, quantity};
use crate::api::agent::AgentSpec;
use crate::api::agent_pool::{
    self as api, AgentPoolSpec, AmountsSpec, ClaimSpec, ResourcesSpec, StateVolumeSpec,
    TaintEffect, TolerationOperator, TolerationSpec,
};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::labels::is_label_key;
use crate::model::{Agent, AgentPool, Assignment, StateVolume};
use crate::suggest::shown;

/// Least and most bytes of a state volume.
const CLAIM_BYTES: std::ops::RangeInclusive<u128> = (16 << 20)..=(64 << 40);
/// Longest name of a pool: it is the value of a label.
const POOL_NAME_MOST: usize = 63;

pub(super) fn judge_pool(meta: &Meta, spec: &AgentPoolSpec) -> Judged<AgentPool> {
    let at = FieldPath::spec();
    let mut findings = Vec::new();
    if meta.key.name.len() > POOL_NAME_MOST {
        let field = FieldPath::root().key("metadata").key("name");
        let message = format!("has {} characters; at most 63 allowed", meta.key.name.len());
        findings.push(Diagnostic::new(Code::InvalidName, field, message));
    }
    node_selector(&spec.node_selector, &at.key("nodeSelector"), &mut findings);
    for (i, toleration) in spec.tolerations.iter().enumerate() {
        tolerated(toleration, &at.key("tolerations").index(i), &mut findings);
    }
    if let Some(resources) = &spec.resources {
        amounts(resources, &at.key("resources"), &mut findings);
    }
    let at_volume = at.key("stateVolume");
    let state_volume = state_volume(spec.state_volume.as_ref(), &at_volume, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = (!refused).then(|| AgentPool {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        image: spec.image.clone(),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        resources: spec.resources.clone(),
        credential_secrets: spec.credential_secrets.clone(),
        state_volume,
        heartbeat: seconds(spec.heartbeat_seconds),
        drain_timeout: seconds(spec.drain_timeout_seconds),
    });
    Judged { object, findings }
}

pub(super) fn judge_agent(meta: &Meta, spec: &AgentSpec) -> Judged<Agent> {
    let message = "an Agent is made by the operator; edit the AgentPool or the devices instead";
    let finding = Diagnostic::new(Code::WrittenByOperator, FieldPath::root().key("kind"), message);
    // The schema keeps the numbers within bounds that fit, as with the numbers of a device.
    let object = Agent {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        pool: spec.pool.clone(),
        node: spec.node.clone(),
        config_hash: spec.config_hash.clone(),
        shards: u8::try_from(spec.shards).unwrap_or_default(),
        assignments: spec
            .assignments
            .iter()
            .map(|a| Assignment {
                device: a.device.clone(),
                uid: a.uid.clone(),
                epoch: u64::try_from(a.epoch).unwrap_or_default(),
                wish: a.wish.clone(),
            })
            .collect(),
    };
    Judged { object: Some(object), findings: vec![finding] }
}

/// Keys of a node selector that no node can carry. (The schema checks the values.)
pub(super) fn node_selector(
    labels: &BTreeMap<String, String>,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) {
    for key in labels.keys().filter(|key| !is_label_key(key)) {
        let message = format!("{} is no key of a label", shown(key));
        findings.push(Diagnostic::new(Code::InvalidLabel, at.key(key), message));
    }
}

/// What Kubernetes asks of a toleration of a Pod.
fn tolerated(spec: &TolerationSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) {
    let mut say = |field: FieldPath, message: &str| {
        findings.push(Diagnostic::new(Code::TolerationInvalid, field, message));
    };
    let exists = spec.operator == Some(TolerationOperator::Exists);
    if spec.key.is_none() && !exists {
        say(at.clone(), "a toleration without key needs operator Exists");
    }
    if spec.value.is_some() && exists {
        say(at.key("value"), "operator Exists takes no value");
    }
    if let Some(key) = spec.key.as_deref().filter(|key| !is_label_key(key)) {
        say(at.key("key"), &format!("{} is no key of a taint", shown(key)));
    }
    if spec.toleration_seconds.is_some() && spec.effect != Some(TaintEffect::NoExecute) {
        say(at.key("tolerationSeconds"), "tolerationSeconds needs effect NoExecute");
    }
}

/// No request above its limit.
fn amounts(spec: &ResourcesSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) {
    let (Some(requests), Some(limits)) = (&spec.requests, &spec.limits) else { return };
    type Pick = fn(&AmountsSpec) -> Option<u128>;
    let amounts: [(&str, Pick); 2] = [
        ("cpu", |a| quantity::thousandths(a.cpu.as_deref()?)),
        ("memory", |a| quantity::bytes(a.memory.as_deref()?)),
    ];
    for (what, pick) in amounts {
        if let (Some(request), Some(limit)) = (pick(requests), pick(limits))
            && request > limit
        {
            let message = format!("requests.{what} is more than limits.{what}");
            let field = at.key("requests").key(what);
            findings.push(Diagnostic::new(Code::RequestAboveLimit, field, message));
        }
    }
}

fn state_volume(
    spec: Option<&StateVolumeSpec>,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> StateVolume {
    let default = ClaimSpec::default();
    let claim = match spec {
        None => &default,
        Some(StateVolumeSpec { persistent_volume_claim: Some(claim), empty_dir: None }) => claim,
        Some(StateVolumeSpec { persistent_volume_claim: None, empty_dir: Some(_) }) => {
            return StateVolume::EmptyDir;
        }
        Some(StateVolumeSpec { persistent_volume_claim, .. }) => {
            let message = match persistent_volume_claim {
                Some(_) => "persistentVolumeClaim and emptyDir are both there; write exactly one",
                None => "neither persistentVolumeClaim nor emptyDir is there; write exactly one",
            };
            findings.push(Diagnostic::new(Code::ExactlyOneVolume, at.clone(), message));
            &default
        }
    };
    let size = claim.size.as_deref().unwrap_or(api::STATE_SIZE_DEFAULT);
    if !quantity::bytes(size).is_some_and(|bytes| CLAIM_BYTES.contains(&bytes)) {
        let message = format!("{size} is not within 16Mi to 64Ti");
        let field = at.key("persistentVolumeClaim").key("size");
        findings.push(Diagnostic::new(Code::QuantityInvalid, field, message));
    }
    StateVolume::Claim { storage_class: claim.storage_class_name.clone(), size: size.to_owned() }
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or_default())
}
