//! Whether an agent's pod runs, and if not the reason of the scheduler or the kubelet.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};

/// Whether a pod's container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It does, as far as the kubelet has said.
    Running {
        /// Start of the container.
        since: Option<Timestamp>,
    },
    /// It does not; why.
    NotRunning(String),
}

impl PodState {
    /// The state of an agent's pod with its volume's claim; both `None` when they are not there.
    pub fn of(pod: Option<&Pod>, claim: Option<&PersistentVolumeClaim>) -> Self {
        let Some(pod) = pod else {
            return Self::NotRunning("there is no pod yet".to_owned());
        };
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        if let Some(running) = containers
            .iter()
            .find_map(|c| c.state.as_ref().and_then(|state| state.running.as_ref()))
        {
            return Self::Running { since: running.started_at.as_ref().map(|t| t.0) };
        }
        if let Some(why) = containers.iter().find_map(not_running) {
            return Self::NotRunning(format!("kubelet: {why}"));
        }
        if let Some(reason) = status.reason {
            let text = status.message.map_or(reason.clone(), |m| format!("{reason}: {m}"));
            return Self::NotRunning(format!("kubelet: {text}"));
        }
        let conditions = status.conditions.unwrap_or_default();
        let unscheduled =
            conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False").map(|c| {
                let reason = c.reason.clone().unwrap_or_default();
                let text = c.message.clone().unwrap_or_default();
                format!("scheduler: {reason}: {text}")
            });
        let why = match (unscheduled, claim.and_then(unbound)) {
            (Some(why), Some(volume)) => format!("{why}; {volume}"),
            (Some(why), None) | (None, Some(why)) => why,
            (None, None) => "its pod is being started".to_owned(),
        };
        Self::NotRunning(why)
    }
}

fn not_running(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(ended) = &state.terminated {
        return Some(end(ended.reason.as_deref(), ended.exit_code, ended.message.as_deref()));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.clone().unwrap_or_default();
    let mut text = match &waiting.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    };
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    if let Some(last) = last {
        let last = end(last.reason.as_deref(), last.exit_code, last.message.as_deref());
        text.push_str(&format!(" (before: {last})"));
    }
    Some(text)
}

fn end(reason: Option<&str>, exit: i32, message: Option<&str>) -> String {
    let reason = reason.unwrap_or("ended");
    match message.map(str::trim).filter(|m| !m.is_empty()) {
        Some(message) => format!("{reason}, exit code {exit}: {message}"),
        None => format!("{reason}, exit code {exit}"),
    }
}

fn unbound(claim: &PersistentVolumeClaim) -> Option<String> {
    let phase = claim.status.as_ref()?.phase.as_deref()?;
    if phase == "Bound" {
        return None;
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let class = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    Some(match class {
        Some(class) => format!("PersistentVolumeClaim {name} is {phase} (StorageClass {class})"),
        None => format!("PersistentVolumeClaim {name} is {phase} (no default StorageClass)"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(status: Value) -> PodState {
        let pod = json!({"metadata": {"name": "lsa-a-0"}, "status": status});
        PodState::of(Some(&serde_json::from_value(pod).unwrap()), None)
    }

    fn why(status: Value) -> String {
        match state(status) {
            PodState::NotRunning(why) => why,
            running => panic!("{running:?}"),
        }
    }

    #[test]
    fn a_running_container_runs_since_its_start() {
        let status = json!({"phase": "Running", "containerStatuses": [{"name": "agent", "image": "",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
        let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(state(status), PodState::Running { since });
    }

    #[test]
    fn an_image_that_is_not_there_is_told_in_the_kubelets_words() {
        let text =
            why(json!({"phase": "Pending", "containerStatuses": [{"name": "agent", "image": "",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}));
        assert_eq!(text, "kubelet: ErrImagePull: no such image");
    }

    #[test]
    fn a_container_that_ends_again_and_again_is_told_with_its_exit_code() {
        let text =
            why(json!({"phase": "Running", "containerStatuses": [{"name": "agent", "image": "",
            "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}));
        assert_eq!(text, "kubelet: CrashLoopBackOff (before: Error, exit code 2)");
    }

    #[test]
    fn a_pod_without_node_is_told_in_the_schedulers_words_with_its_volume() {
        let pod = json!({"metadata": {}, "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/2 nodes are available"}]}});
        let claim =
            json!({"metadata": {"name": "lsa-a"}, "spec": {}, "status": {"phase": "Pending"}});
        let state = PodState::of(
            Some(&serde_json::from_value(pod).unwrap()),
            Some(&serde_json::from_value(claim).unwrap()),
        );
        let PodState::NotRunning(text) = state else { panic!("{state:?}") };
        assert_eq!(
            text,
            "scheduler: Unschedulable: 0/2 nodes are available; PersistentVolumeClaim lsa-a is \
             Pending (no default StorageClass)"
        );
    }

    #[test]
    fn no_pod_is_no_running_pod() {
        assert!(matches!(PodState::of(None, None), PodState::NotRunning(_)));
    }
}
