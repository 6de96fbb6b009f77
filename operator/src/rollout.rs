//! Which pod of a pool is replaced next.
//!
//! Pods are replaced one at a time (StatefulSets have `OnDelete`): the next once the former runs the
//! wanted template, is ready, and its devices are as healthy as they were before. A pod that does
//! not work anyway is replaced first; replacing it can only help. Pods on nodes that are not
//! ready, or take no pods, are skipped and done when the node is back.
//!
//! What a pod has to live up to is kept in an annotation of its Agent ([`BASELINE`]), written before
//! its predecessor is deleted and removed when it has recovered, so that an operator that starts
//! afresh knows it too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, PodCondition, ServiceAccount};
use lineside_crds::api::status::Health;
use serde::{Deserialize, Serialize};

use crate::build::TEMPLATE_HASH;

/// Annotation of an Agent: [`Baseline`] as JSON.
pub const BASELINE: &str = "lineside.dev/rollout-baseline";

/// What a replaced pod has to live up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// Uid of the pod that was replaced.
    pub pod: String,
    /// `status.startedAt` of the agent before: what it said then does not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Devices that were healthy before.
    #[serde(default)]
    pub healthy: BTreeSet<String>,
}

/// One agent of the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of the Agent.
    pub agent: String,
    /// The template that its StatefulSet has now.
    pub wanted: String,
    /// Its pod; `None` = there is none at present.
    pub pod: Option<MemberPod>,
    /// Its node is ready and takes pods.
    pub node_open: bool,
    /// `status.startedAt` of the agent.
    pub started_at: Option<String>,
    /// Its devices and their health, without those that may be switched off
    /// (`availability: Intermittent`).
    pub devices: Vec<(String, Health)>,
    /// The annotation, if there is a readable one.
    pub baseline: Option<Baseline>,
}

/// The pod of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPod {
    /// Its name.
    pub name: String,
    /// Its uid, so that no later pod of that name is deleted.
    pub uid: String,
    /// The template that it was made from ([`crate::build::TEMPLATE_HASH`]).
    pub template: Option<String>,
    /// It is ready.
    pub ready: bool,
    /// It is being deleted.
    pub ending: bool,
    /// Its service account was made again after it: the API server knows its token no more, and
    /// the kubelet goes on giving it that one until it comes of age.
    pub disowned: bool,
}

impl MemberPod {
    /// What a Pod says, beside the service account that there is now.
    pub fn new(pod: &Pod, account: Option<&ServiceAccount>) -> Self {
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        let is_ready = |c: &PodCondition| c.type_ == "Ready" && c.status == "True";
        let annotations = pod.metadata.annotations.as_ref();
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            template: annotations.and_then(|a| a.get(TEMPLATE_HASH)).cloned(),
            ready: conditions.into_iter().flatten().any(is_ready),
            ending: pod.metadata.deletion_timestamp.is_some(),
            disowned: account
                .and_then(|account| account.metadata.creation_timestamp.as_ref())
                .zip(pod.metadata.creation_timestamp.as_ref())
                .is_some_and(|(account, pod)| account.0 > pod.0),
        }
    }

    fn is_outdated(&self, wanted: &str) -> bool {
        self.disowned || self.template.as_deref() != Some(wanted)
    }
}

impl Baseline {
    /// The baseline among the annotations of an Agent; one that cannot be read counts as none.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(annotations.get(BASELINE)?).ok()
    }
}

/// What to do in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Every pod has the wanted template.
    Done,
    /// First write the baseline to the Agent, then delete this pod.
    Replace {
        /// Name of the Agent.
        agent: String,
        /// Its pod.
        pod: MemberPod,
        /// What it has to live up to.
        baseline: Baseline,
    },
    /// A replaced pod has lived up to its baseline: remove the annotation.
    Finish {
        /// Name of the Agent.
        agent: String,
    },
    /// Nothing now.
    Wait(Waiting),
}

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A replaced pod is not there, not ready, or has not reported yet.
    Start {
        /// Name of the Agent.
        agent: String,
    },
    /// Devices of a replaced pod that were healthy before are not.
    Devices {
        /// Name of the Agent.
        agent: String,
        /// The devices.
        devices: BTreeSet<String>,
    },
    /// What is left is on nodes that are not ready or take no pods.
    Nodes {
        /// Names of the Agents.
        agents: BTreeSet<String>,
    },
}

/// How a member stands.
enum Standing {
    /// It was not replaced, or that is over.
    Idle,
    /// It was replaced and is as well as before.
    Recovered,
    /// Its pod is away, or was replaced and is not as well as before.
    Unfinished(Waiting),
}

/// Decides what to do in a pool, given all of its agents. One thing at a time: it is asked again
/// when that is done.
pub fn plan(members: &[Member]) -> Plan {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by(|a, b| a.agent.cmp(&b.agent));
    let mut waiting = None;
    // Nothing can be learned from a node that does not answer, so nobody waits for it either.
    for member in members.iter().filter(|m| m.node_open) {
        match member.standing() {
            Standing::Idle => {}
            Standing::Recovered => return Plan::Finish { agent: member.agent.clone() },
            Standing::Unfinished(what) => {
                waiting.get_or_insert(what);
            }
        }
    }
    let outdated = |m: &&&Member| m.outdated().is_some();
    let broken = members.iter().filter(|m| m.node_open).find_map(|m| m.broken().map(|p| (m, p)));
    if let Some((member, pod)) = broken {
        return member.replace(pod);
    }
    if let Some(waiting) = waiting {
        return Plan::Wait(waiting);
    }
    let next = members.iter().filter(|m| m.node_open).find_map(|m| m.outdated().map(|p| (m, p)));
    match next {
        Some((member, pod)) => member.replace(pod),
        None => {
            let agents: BTreeSet<String> =
                members.iter().filter(outdated).map(|m| m.agent.clone()).collect();
            match agents.is_empty() {
                true => Plan::Done,
                false => Plan::Wait(Waiting::Nodes { agents }),
            }
        }
    }
}

impl Member {
    /// Whether it has a pod that is to be replaced.
    pub fn is_outdated(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.is_outdated(&self.wanted))
    }

    /// Its pod, if that is to be replaced and nobody has begun to.
    fn outdated(&self) -> Option<&MemberPod> {
        self.pod.as_ref().filter(|pod| !pod.ending && pod.is_outdated(&self.wanted))
    }

    /// Its pod, if that is to be replaced and does not work: replacing it takes nothing away.
    fn broken(&self) -> Option<&MemberPod> {
        self.outdated().filter(|pod| !pod.ready)
    }

    fn standing(&self) -> Standing {
        let start = || Standing::Unfinished(Waiting::Start { agent: self.agent.clone() });
        // A pod that somebody else deletes is as much away as one that is replaced here.
        let Some(pod) = self.pod.as_ref().filter(|pod| !pod.ending) else { return start() };
        let Some(baseline) = self.baseline.as_ref().filter(|b| b.pod != pod.uid) else {
            return Standing::Idle;
        };
        if !pod.ready || self.started_at.is_none() || self.started_at == baseline.started_at {
            return start();
        }
        let ill = |name: &&String| {
            self.devices.iter().any(|(n, health)| n == *name && *health != Health::Healthy)
        };
        let devices: BTreeSet<String> = baseline.healthy.iter().filter(ill).cloned().collect();
        match devices.is_empty() {
            true => Standing::Recovered,
            false => Standing::Unfinished(Waiting::Devices { agent: self.agent.clone(), devices }),
        }
    }

    /// Its replacement. One that has not recovered from the last one still owes what was healthy
    /// then.
    fn replace(&self, pod: &MemberPod) -> Plan {
        let healthy = self.devices.iter().filter(|(_, health)| *health == Health::Healthy);
        let mut healthy: BTreeSet<String> = healthy.map(|(name, _)| name.clone()).collect();
        if let (Standing::Unfinished(_), Some(owed)) = (self.standing(), &self.baseline) {
            healthy.extend(owed.healthy.iter().cloned());
        }
        Plan::Replace {
            agent: self.agent.clone(),
            pod: pod.clone(),
            baseline: Baseline {
                pod: pod.uid.clone(),
                started_at: self.started_at.clone(),
                healthy,
            },
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| {
            let more = names.len().saturating_sub(10);
            let mut text = names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            text
        };
        match self {
            Self::Start { agent } => write!(f, "agent {agent} has to start first"),
            Self::Devices { agent, devices } => write!(
                f,
                "on agent {agent} devices were healthy before its restart and are not: {}",
                list(devices)
            ),
            Self::Nodes { agents } => {
                write!(f, "these agents are on nodes that are not ready: {}", list(agents))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(agent: &str, template: &str, ready: bool) -> Member {
        Member {
            agent: agent.to_owned(),
            wanted: "new".to_owned(),
            pod: Some(MemberPod {
                name: format!("{agent}-0"),
                uid: format!("{agent}-1"),
                template: Some(template.to_owned()),
                ready,
                ending: false,
                disowned: false,
            }),
            node_open: true,
            started_at: Some("1".to_owned()),
            devices: vec![("d".to_owned(), Health::Healthy), ("e".to_owned(), Health::Degraded)],
            baseline: None,
        }
    }

    /// Does what a plan says; the new pod is not ready yet and has said nothing.
    fn obey(members: &mut [Member], plan: &Plan) {
        let find = |members: &mut [Member], name: &str| {
            members.iter().position(|m| m.agent == name).expect("a member")
        };
        match plan {
            Plan::Replace { agent, pod, baseline } => {
                let index = find(members, agent);
                let member = &mut members[index];
                assert_eq!(member.pod.as_ref().map(|p| &p.uid), Some(&pod.uid));
                member.baseline = Some(baseline.clone());
                let wanted = Some(member.wanted.clone());
                let uid = format!("{}+", pod.uid);
                member.pod = Some(MemberPod {
                    uid,
                    template: wanted,
                    ready: false,
                    disowned: false,
                    ..pod.clone()
                });
            }
            Plan::Finish { agent } => {
                let index = find(members, agent);
                members[index].baseline = None;
            }
            Plan::Done | Plan::Wait(_) => {}
        }
    }

    fn start(member: &mut Member) {
        if let Some(pod) = &mut member.pod {
            pod.ready = true;
        }
        member.started_at = Some(format!("{}+", member.started_at.as_deref().unwrap_or("")));
    }

    fn replaced(plan: &Plan) -> &str {
        match plan {
            Plan::Replace { agent, .. } => agent,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_next_pod_is_replaced_once_the_former_is_ready_and_as_healthy_as_before() {
        let mut members = [member("a", "old", true), member("b", "old", true)];
        let first = plan(&members);
        assert_eq!(replaced(&first), "a");
        obey(&mut members, &first);
        let waits = Plan::Wait(Waiting::Start { agent: "a".into() });
        assert_eq!(plan(&members), waits, "not ready");
        members[0].pod.as_mut().expect("a pod").ready = true;
        assert_eq!(plan(&members), waits, "what it says is what its predecessor said");
        start(&mut members[0]);
        members[0].devices[0].1 = Health::Unavailable;
        let devices = BTreeSet::from(["d".to_owned()]);
        assert_eq!(plan(&members), Plan::Wait(Waiting::Devices { agent: "a".into(), devices }));
        members[0].devices[0].1 = Health::Healthy;
        let finish = plan(&members);
        assert_eq!(finish, Plan::Finish { agent: "a".into() });
        obey(&mut members, &finish);
        assert_eq!(replaced(&plan(&members)), "b");
    }

    #[test]
    fn a_device_that_fails_later_or_is_gone_holds_nothing_up() {
        let mut members = [member("a", "old", true)];
        let first = plan(&members);
        obey(&mut members, &first);
        start(&mut members[0]);
        members[0].devices.clear();
        let finish = plan(&members);
        assert_eq!(finish, Plan::Finish { agent: "a".into() });
        obey(&mut members, &finish);
        members[0].devices = vec![("d".to_owned(), Health::Unavailable)];
        assert_eq!(plan(&members), Plan::Done);
    }

    #[test]
    fn a_pod_that_does_not_work_is_replaced_first_and_still_owes_what_worked_before() {
        let mut members = [member("a", "old", true), member("b", "old", true)];
        let first = plan(&members);
        obey(&mut members, &first);
        // The image does not exist. It is corrected.
        for member in &mut members {
            member.wanted = "newer".to_owned();
        }
        members[0].devices.clear();
        let second = plan(&members);
        let Plan::Replace { agent, baseline, .. } = &second else { panic!("{second:?}") };
        assert_eq!((agent.as_str(), &baseline.healthy), ("a", &BTreeSet::from(["d".to_owned()])));
    }

    #[test]
    fn nodes_that_are_not_ready_are_skipped_and_done_when_they_are_back() {
        let mut members = [member("a", "old", false), member("b", "old", true)];
        members[0].node_open = false;
        assert_eq!(replaced(&plan(&members)), "b");
        members[1] = member("b", "new", true);
        let agents = BTreeSet::from(["a".to_owned()]);
        assert_eq!(plan(&members), Plan::Wait(Waiting::Nodes { agents }));
        members[0].node_open = true;
        assert_eq!(replaced(&plan(&members)), "a");
    }

    #[test]
    fn a_pod_that_somebody_else_deletes_is_waited_for() {
        let mut members = [member("a", "new", true), member("b", "old", true)];
        members[0].pod = None;
        assert_eq!(plan(&members), Plan::Wait(Waiting::Start { agent: "a".into() }));
    }

    #[test]
    fn an_interrupted_replacement_is_done_again() {
        let mut members = [member("a", "old", true)];
        let Plan::Replace { baseline, .. } = plan(&members) else { panic!("no replacement") };
        members[0].baseline = Some(baseline);
        assert_eq!(
            replaced(&plan(&members)),
            "a",
            "the annotation was written, the pod not deleted"
        );
    }

    #[test]
    fn a_pod_says_which_template_it_has_and_whether_it_is_ready() {
        let pod = serde_json::json!({
            "metadata": {
                "name": "a-0", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"lineside.dev/template-hash": "t"}
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        let expected = MemberPod {
            name: "a-0".into(),
            uid: "u".into(),
            template: Some("t".into()),
            ready: true,
            ending: true,
            disowned: false,
        };
        assert_eq!(MemberPod::new(&pod, None), expected);
    }

    #[test]
    fn a_pod_is_older_than_its_service_account_only_when_that_was_made_again() {
        let made = |at: &str| serde_json::json!({"metadata": {"creationTimestamp": at}});
        let pod: Pod = serde_json::from_value(made("2026-01-01T00:00:10Z")).expect("a pod");
        let disowned = |at: &str| {
            let account = serde_json::from_value(made(at)).expect("a service account");
            MemberPod::new(&pod, Some(&account)).disowned
        };
        assert!(!disowned("2026-01-01T00:00:09Z"));
        assert!(!disowned("2026-01-01T00:00:10Z"), "made together, in whole seconds");
        assert!(disowned("2026-01-01T00:00:11Z"));
    }

    #[test]
    fn a_pod_whose_token_is_nobodys_is_replaced_once() {
        let mut members = [member("a", "new", true), member("b", "new", true)];
        members[1].pod.as_mut().expect("a pod").disowned = true;
        assert!(!members[0].is_outdated() && members[1].is_outdated());
        let first = plan(&members);
        assert_eq!(replaced(&first), "b");
        obey(&mut members, &first);
        start(&mut members[1]);
        let second = plan(&members);
        assert_eq!(second, Plan::Finish { agent: "b".into() });
        obey(&mut members, &second);
        assert_eq!(plan(&members), Plan::Done);
    }

    #[test]
    fn a_baseline_survives_the_annotation() {
        let baseline = Baseline {
            pod: "u".into(),
            started_at: None,
            healthy: BTreeSet::from(["d".to_owned()]),
        };
        let text = serde_json::to_string(&baseline).expect("JSON");
        assert_eq!(text, r#"{"pod":"u","healthy":["d"]}"#);
        let annotations = BTreeMap::from([(BASELINE.to_owned(), text)]);
        assert_eq!(Baseline::of(&annotations), Some(baseline));
        let broken = BTreeMap::from([(BASELINE.to_owned(), "{".to_owned())]);
        assert_eq!(Baseline::of(&broken), None);
    }

    proptest! {
        #[test]
        fn no_two_working_pods_are_ever_away_and_every_rollout_ends(
            kinds in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
            order in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut members: Vec<Member> = kinds
                .iter()
                .enumerate()
                .map(|(i, (old, ready, open))| {
                    let template = if *old { "old" } else { "new" };
                    let mut member = member(&format!("a{i}"), template, *ready);
                    member.node_open = *open;
                    member
                })
                .collect();
            let away = |members: &[Member]| members.iter().filter(|m| m.baseline.is_some()).count();
            for choice in order {
                let next = plan(&members);
                let working = match &next {
                    Plan::Replace { pod, .. } => pod.ready,
                    _ => false,
                };
                prop_assert!(!working || away(&members) == 0, "{:?} in {:?}", next, members);
                if choice % 2 == 0 {
                    obey(&mut members, &next);
                } else {
                    let index = usize::from(choice / 2) % members.len();
                    let member = &mut members[index];
                    if member.node_open && member.pod.as_ref().is_some_and(|p| !p.ready) {
                        start(member);
                    }
                }
            }
            for _ in 0..members.len() * 4 {
                let next = plan(&members);
                obey(&mut members, &next);
                members.iter_mut().filter(|m| m.node_open && m.baseline.is_some()).for_each(start);
            }
            let left = members.iter().filter(|m| m.node_open && m.outdated().is_some()).count();
            prop_assert_eq!(left, 0, "{:?}", members);
        }
    }
}
