//! Whether a node fits a device.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{DeviceFacts, NodeFacts, View};
use crate::pools::{Pool, PoolState};

/// Taints of the node life cycle that every agent bears without limit: a node that is out of
/// reach goes on polling (contracts, section 3).
pub(crate) const ALWAYS_BORNE: [&str; 2] =
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// Says what [`NodeFacts::cordoned`] says.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Whether a device that is on this node, placed under the wish with this mark, may stay there:
/// nobody has changed what it and its pool ask for, or the node fits what they ask for now. Labels
/// that the node has lost, its readiness and its taints do not matter, as they do not for a running
/// pod.
///
/// An unknown wish or a refused pool changes nothing; a pool that is gone does.
pub(super) fn may_stay(
    view: &View,
    device: &DeviceFacts,
    pool: &str,
    placed_under: Option<&str>,
    node: &NodeFacts,
) -> bool {
    if device.wish.as_ref().is_some_and(|wish| wish.pool != pool) {
        return false;
    }
    match (view.pool(pool), &device.wish) {
        (PoolState::NotFound, _) => false,
        (PoolState::Invalid, _) | (PoolState::Usable(_), None) => true,
        (PoolState::Usable(pool), Some(wish)) => {
            let fits = || {
                carries(&node.labels, &pool.node_selector)
                    && carries(&node.labels, &wish.node_selector)
            };
            placed_under == Some(wish.mark(pool).as_str()) || fits()
        }
    }
}

/// Whether labels hold everything that a selector asks for.
pub(super) fn carries(
    labels: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Why a new pod of this pool would not be put on a node whose labels fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// Nothing runs there any more.
    OutOfService,
    /// It takes no new pods.
    Cordoned,
    /// It has a taint that the pool does not bear.
    Tainted,
    /// Its kubelet is not ready.
    NotReady,
}

/// Why a new agent cannot start there; `None` = it can.
pub(super) fn hindrance(pool: &Pool, node: &NodeFacts) -> Option<Hindrance> {
    let keeps_away = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let repelled = |taint: &Taint| {
        !ALWAYS_BORNE.contains(&taint.key.as_str())
            && taint.key != UNSCHEDULABLE
            && !pool.tolerations.iter().any(|t| tolerates(t, taint))
    };
    if node.out_of_service() {
        Some(Hindrance::OutOfService)
    } else if node.cordoned {
        Some(Hindrance::Cordoned)
    } else if node.taints.iter().filter(keeps_away).any(repelled) {
        Some(Hindrance::Tainted)
    } else if !node.ready {
        Some(Hindrance::NotReady)
    } else {
        None
    }
}

/// The rule of the scheduler: an empty effect or key stands for every one. A toleration with a
/// time limit lets the pod in and throws it out later, so it does not count.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().filter(|e| !e.is_empty());
    let key = toleration.key.as_deref().filter(|k| !k.is_empty());
    if toleration.toleration_seconds.is_some() || effect.is_some_and(|e| e != taint.effect) {
        return false;
    }
    match (key, toleration.operator.as_deref()) {
        (None, operator) => operator == Some("Exists"),
        (Some(key), Some("Exists")) => key == taint.key,
        (Some(key), _) => {
            let value = taint.value.as_deref().unwrap_or_default();
            key == taint.key && toleration.value.as_deref().unwrap_or_default() == value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            ..Taint::default()
        }
    }

    fn toleration(key: Option<&str>, operator: &str, value: Option<&str>) -> Toleration {
        Toleration {
            key: key.map(str::to_owned),
            operator: Some(operator.to_owned()),
            value: value.map(str::to_owned),
            ..Toleration::default()
        }
    }

    #[test]
    fn taints_are_borne_as_the_scheduler_bears_them() {
        let edge = taint("dedicated", "edge", "NoSchedule");
        assert!(tolerates(&toleration(Some("dedicated"), "Equal", Some("edge")), &edge));
        assert!(tolerates(&toleration(Some("dedicated"), "Exists", None), &edge));
        assert!(tolerates(&toleration(None, "Exists", None), &edge));
        assert!(!tolerates(&toleration(Some("dedicated"), "Equal", Some("other")), &edge));
        assert!(!tolerates(&toleration(None, "Equal", None), &edge));
        let mut other = toleration(None, "Exists", None);
        other.effect = Some("NoExecute".into());
        assert!(!tolerates(&other, &edge));
        let mut short = toleration(None, "Exists", None);
        short.toleration_seconds = Some(60);
        assert!(!tolerates(&short, &edge), "it would be thrown out after a minute");
    }
}
