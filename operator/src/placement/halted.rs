//! Whether no process of an agent runs.

use k8s_openapi::api::core::v1::Pod;

use crate::build::CONTAINER;

/// Whether no process of the agent runs, for certain: its pod is there and its container has never
/// been started, or it never had a pod.
///
/// `node_ready`: without a living kubelet a pod's status says nothing, and one that was deleted by
/// force may run on. `ran_before`: the Agent has ever reported a start; only then can there be
/// such a pod.
pub fn runs_nothing(pod: Option<&Pod>, node_ready: bool, ran_before: bool) -> bool {
    if ran_before && !node_ready {
        return false;
    }
    let Some(pod) = pod else { return !ran_before };
    let status = pod.status.as_ref();
    let containers = status.and_then(|s| s.container_statuses.as_ref());
    match containers.into_iter().flatten().find(|c| c.name == CONTAINER) {
        None => status.and_then(|s| s.phase.as_deref()) == Some("Pending"),
        Some(container) => {
            let waiting = container.state.as_ref().is_some_and(|s| s.waiting.is_some());
            let ended = container.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
            waiting && !ended && container.restart_count == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a-0"}, "status": status}))
            .expect("a pod")
    }

    fn container(state: Value, last: Value, restarts: i32) -> Pod {
        pod(json!({
            "phase": "Pending",
            "containerStatuses": [{
                "name": "agent", "image": "i", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state, "lastState": last
            }]
        }))
    }

    #[test]
    fn a_container_that_was_never_started_reads_nothing() {
        let pulling = container(json!({"waiting": {"reason": "ErrImagePull"}}), json!({}), 0);
        assert!(runs_nothing(Some(&pulling), true, false));
        assert!(runs_nothing(Some(&pod(json!({"phase": "Pending"}))), true, true));
        assert!(runs_nothing(None, true, false), "no pod was ever made");
    }

    #[test]
    fn one_that_runs_or_will_run_again_may_read() {
        let running = container(json!({"running": {}}), json!({}), 0);
        assert!(!runs_nothing(Some(&running), true, true));
        let ended = json!({"terminated": {"exitCode": 1}});
        let crashing = container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), ended, 3);
        assert!(!runs_nothing(Some(&crashing), true, true));
    }

    #[test]
    fn a_node_that_nobody_hears_from_may_run_a_pod_that_was_deleted_by_force() {
        let pending = pod(json!({"phase": "Pending"}));
        assert!(!runs_nothing(Some(&pending), false, true));
        assert!(!runs_nothing(None, true, true));
        assert!(runs_nothing(Some(&pending), false, false), "there never was another one");
    }
}
