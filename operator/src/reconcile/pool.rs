//! One AgentPool: its status, and which pod is replaced next.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use lineside_crds::api::agent::Agent;
use lineside_crds::api::agent_pool::AgentPool;
use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};
use lineside_crds::model::Availability;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::status::Transition;
use super::{Failure, Reconciler, WAIT, judged};
use crate::build::TEMPLATE_HASH;
use crate::cache::Guarded;
use crate::placement::NodeFacts;
use crate::queue::Outcome;
use crate::rollout::{self, BASELINE, Member, MemberPod, Plan};
use crate::verdict::pool::PoolFacts;
use crate::verdict::{self, Findings};

impl Reconciler {
    pub(super) async fn agent_pool(&self, namespace: &str, name: &str) -> Result<Outcome, Failure> {
        let agents: BTreeMap<String, _> = self
            .agents(namespace)?
            .into_iter()
            .filter(|(_, agent)| agent.spec.pool == name)
            .filter(|(_, agent)| agent.metadata.deletion_timestamp.is_none())
            .collect();
        let members: Vec<Member> =
            agents.values().filter_map(|agent| self.member(namespace, agent)).collect();
        let object = self.cache.pools.get(namespace, name);
        if object.is_none() && agents.is_empty() {
            return Ok(Outcome::Gone);
        }
        let plan = rollout::plan(&members);
        if let Some(object) = object {
            self.pool_status(namespace, name, &object, &agents, &members).await?;
        }
        match plan {
            Plan::Done => Ok(Outcome::Done),
            Plan::Wait(what) => {
                debug!(namespace, pool = name, %what, "A rollout waits");
                Ok(Outcome::Again(WAIT))
            }
            Plan::Finish { agent } => {
                self.set_baseline(namespace, &agent, Value::Null).await?;
                Ok(Outcome::Again(WAIT))
            }
            Plan::Replace { agent, pod, baseline } => {
                // A baseline that cannot be written as JSON does not exist; null removes it.
                let text = serde_json::to_string(&baseline).map_or(Value::Null, Value::String);
                self.set_baseline(namespace, &agent, text).await?;
                info!(namespace, pool = name, agent, pod = pod.name, "Replacing a pod");
                self.writer.delete::<Pod>(namespace, &pod.name, Some(pod.uid)).await?;
                Ok(Outcome::Again(WAIT))
            }
        }
    }

    async fn set_baseline(
        &self,
        namespace: &str,
        agent: &str,
        value: Value,
    ) -> Result<(), Failure> {
        let body = json!({"metadata": {"annotations": {BASELINE: value}}});
        Ok(self.writer.merge::<Guarded<Agent>>(namespace, agent, &body).await?)
    }

    /// An agent as the rollout sees it; `None` before it has a StatefulSet.
    fn member(&self, namespace: &str, agent: &Agent) -> Option<Member> {
        let name = agent.name_any();
        let set = self.cache.stateful_sets.get(namespace, &name)?;
        let template = &set.spec.as_ref()?.template;
        let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
        let node = self.cache.nodes.get("", &agent.spec.node).map(|node| NodeFacts::new(&node));
        let status = agent.status.as_ref();
        let may_be_off = |device: &str| {
            let device = self.cache.devices.get(namespace, device);
            let verdict =
                device.as_ref().and_then(|d| d.0.as_ref().ok()).map(|d| self.judgements.device(d));
            verdict.is_some_and(|v| {
                v.as_ref().as_ref().is_ok_and(|d| d.availability == Availability::Intermittent)
            })
        };
        Some(Member {
            wanted: annotations.get(TEMPLATE_HASH)?.clone(),
            pod: self.pod_of(namespace, &name).map(|pod| {
                let account = self.cache.service_accounts.get(namespace, &name);
                MemberPod::new(&pod, account.as_deref())
            }),
            node_open: node.is_some_and(|node| node.ready && !node.cordoned),
            started_at: status.and_then(|s| s.started_at.clone()),
            devices: status
                .into_iter()
                .flat_map(|s| &s.devices)
                .filter(|device| !may_be_off(&device.name))
                .map(|device| (device.name.clone(), device.health))
                .collect(),
            baseline: agent
                .annotations()
                .get(BASELINE)
                .and_then(|text| serde_json::from_str(text).ok()),
            agent: name,
        })
    }

    async fn pool_status(
        &self,
        namespace: &str,
        name: &str,
        object: &Guarded<AgentPool>,
        agents: &BTreeMap<String, std::sync::Arc<Agent>>,
        members: &[Member],
    ) -> Result<(), Failure> {
        let decoded = object.0.as_ref();
        let previous = match decoded {
            Ok(pool) => pool.status.clone().unwrap_or_default(),
            Err(_) => {
                self.writer.status_of_undecodable::<Guarded<AgentPool>, _>(namespace, name).await?
            }
        };
        let errors = match decoded {
            Ok(pool) => judged::pool(pool).err().unwrap_or_default(),
            Err(invalid) => {
                vec![Diagnostic::new(Code::Undecodable, FieldPath::root(), invalid.error.clone())]
            }
        };
        let outdated = members.iter().find(|member| member.is_outdated());
        let facts = PoolFacts {
            namespace,
            generation: object.meta().generation.unwrap_or_default(),
            previous: &previous.conditions,
            findings: &Findings { errors },
            agents: agents
                .values()
                .map(|agent| self.agent_view(namespace, agent, &previous.conditions))
                .collect(),
            outdated: outdated.map(|member| member.agent.as_str()),
            now: jiff::Timestamp::now(),
        };
        let status = verdict::pool::status(&facts);
        if previous == status {
            return Ok(());
        }
        let transition = Transition::of(&previous.conditions, &status.conditions);
        let about = object.object_ref(&());
        self.write_status::<Guarded<AgentPool>>(namespace, name, &status, transition, about).await
    }
}
