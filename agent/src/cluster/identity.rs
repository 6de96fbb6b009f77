//! Who this agent is in the cluster: what its pod template says.

use std::sync::Arc;

/// Where the operator mounts the state volume; the default state directory inside a pod.
pub const STATE_DIR: &str = "/var/lib/lineside";

/// Where the operator mounts the configuration.
pub const CONFIG_DIR: &str = "/etc/lineside/config";

/// Where the operator mounts the Secrets of the pool, each in a directory of its name.
pub const SECRETS_DIR: &str = "/etc/lineside/secrets";

/// Name of the variable that only an agent's pod has: the uid of its Agent object.
pub const AGENT_UID: &str = "LINESIDE_AGENT_UID";

/// What the state volume promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// It outlives the pod.
    Persistent,
    /// It goes with the pod, or nobody says that it stays.
    Ephemeral,
}

/// The agent as its pod knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace of the Agent object and of everything it works for.
    pub namespace: String,
    /// Name of the Agent object, its Lease and its service account.
    pub agent: String,
    /// Uid of the Agent object for which the pod was made.
    pub uid: Arc<str>,
    /// Node that the pod was made for.
    pub node: String,
    /// Name of the pod.
    pub pod: String,
    /// What the state volume promises.
    pub volume: Volume,
}

/// The pod template lacks something.
#[derive(Debug, thiserror::Error)]
#[error(
    "--cluster is for the pods that the operator makes, and {0} is not set; run the agent with \
     --config DIR alone to use it without Kubernetes"
)]
pub struct NotAPod(&'static str);

impl Pod {
    /// Reads the variables that the operator sets; `pod` is the pod's name.
    ///
    /// # Errors
    /// One of them is missing or empty.
    pub fn read(get: impl Fn(&str) -> Option<String>, pod: String) -> Result<Self, NotAPod> {
        let need = |name| get(name).filter(|value| !value.is_empty()).ok_or(NotAPod(name));
        Ok(Self {
            namespace: need("LINESIDE_NAMESPACE")?,
            agent: need("LINESIDE_AGENT")?,
            uid: need(AGENT_UID)?.into(),
            node: need("LINESIDE_NODE")?,
            pod,
            volume: match get("LINESIDE_STATE").as_deref() {
                Some("Persistent") => Volume::Persistent,
                // Nothing is promised that nobody said.
                _ => Volume::Ephemeral,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: [(&str, &str); 4] = [
        ("LINESIDE_NAMESPACE", "plant"),
        ("LINESIDE_AGENT", "lsa-default-node1-0123abcd"),
        (AGENT_UID, "8c1c"),
        ("LINESIDE_NODE", "node1"),
    ];

    fn read(set: &[(&str, &str)]) -> Result<Pod, NotAPod> {
        let get = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Pod::read(get, "lsa-0".into())
    }

    #[test]
    fn every_variable_is_needed_and_the_message_names_the_missing_one() {
        assert_eq!(&*read(&SET).unwrap().uid, "8c1c");
        for (n, (name, _)) in SET.iter().enumerate() {
            let mut set = SET;
            set[n].1 = "";
            let text = read(&set).unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_state_volume_is_persistent_only_if_the_operator_says_so() {
        let volume = |v| read(&[&SET[..], &[("LINESIDE_STATE", v)]].concat()).unwrap().volume;
        assert_eq!(read(&SET).unwrap().volume, Volume::Ephemeral);
        assert_eq!(volume("Persistent"), Volume::Persistent);
        assert_eq!(volume("Ephemeral"), Volume::Ephemeral);
    }
}
