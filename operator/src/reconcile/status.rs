//! The status of DeviceConnections and Pipelines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use lineside_crds::api::agent::Agent;
use lineside_crds::api::device::DeviceConnection;
use lineside_crds::api::pipeline::Pipeline;
use lineside_crds::api::status::{Condition, ConditionStatus, condition};
use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};
use lineside_crds::model;

use super::{Failure, Reconciler};
use crate::cache::Guarded;
use crate::events::Told;
use crate::placement::{Outcome as Placed, Unplaced};
use crate::queue::{Key, Outcome};
use crate::secrets;
use crate::verdict::conditions::{is_ready, ready_flipped};
use crate::verdict::device::DeviceFacts;
use crate::verdict::pipeline::PipelineFacts;
use crate::verdict::{self, AgentView, Findings, PodState};

impl Reconciler {
    pub(super) async fn device(&self, namespace: &str, name: &str) -> Result<Outcome, Failure> {
        let Some(object) = self.cache.devices.get(namespace, name) else {
            self.judgements.forget_device(namespace, name);
            return Ok(Outcome::Gone);
        };
        let decoded = object.0.as_ref().ok();
        let placement = self.placement(namespace);
        let placed = placement.as_ref().and_then(|p| p.devices.get(name));
        if decoded.is_some() && placed.is_none() && object.meta().deletion_timestamp.is_none() {
            // Placement comes first and tells.
            return Ok(Outcome::Done);
        }
        let previous = match decoded {
            Some(device) => device.status.clone().unwrap_or_default(),
            None => {
                self.writer
                    .status_of_undecodable::<Guarded<DeviceConnection>, _>(namespace, name)
                    .await?
            }
        };
        let verdict = decoded.map(|device| self.judgements.device(device));
        let model = verdict.as_deref().and_then(|verdict| verdict.as_ref().ok());
        let findings = findings(&object, verdict.as_deref());
        let owner = match placed {
            Some(Placed::Assigned { agent, .. } | Placed::Moving { agent, .. }) => Some(agent),
            Some(Placed::Unplaced(_)) | None => None,
        };
        let agent = owner.and_then(|owner| self.cache.agents.get(namespace, owner));
        let agent = agent.as_ref().and_then(|agent| agent.0.as_ref().ok());
        let empty = BTreeMap::new();
        let endpoint = model.map(|device| device.protocol.endpoint());
        let facts = DeviceFacts {
            namespace,
            name,
            uid: object.meta().uid.as_deref().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or_default(),
            previous: &previous.conditions,
            previous_agent: previous.agent.as_ref(),
            findings: &findings,
            node_selector: model.map_or(&empty, |device| &device.placement.node_selector),
            placement: placed,
            agent: agent.map(|agent| self.agent_view(namespace, agent, &previous.conditions)),
            endpoint: endpoint.as_deref(),
            now: jiff::Timestamp::now(),
        };
        let again = facts.agent.as_ref().and_then(AgentView::silent_in);
        let status = verdict::device::status(&facts);
        if previous != status {
            self.write_status::<Guarded<DeviceConnection>>(
                namespace,
                name,
                &status,
                Transition::of(&previous.conditions, &status.conditions),
                object.object_ref(&()),
            )
            .await?;
            if status.agent != previous.agent {
                // A record is cleared once its epoch stands here.
                self.queue.push(Key::Namespace(namespace.to_owned()));
            }
        }
        Ok(silence(again))
    }

    pub(super) async fn pipeline(&self, namespace: &str, name: &str) -> Result<Outcome, Failure> {
        let Some(object) = self.cache.pipelines.get(namespace, name) else {
            self.judgements.forget_pipeline(namespace, name);
            return Ok(Outcome::Gone);
        };
        let decoded = object.0.as_ref().ok();
        let placement = match self.placement(namespace) {
            Some(placement) => placement,
            None if self.cache.devices.in_namespace(namespace).is_empty() => Default::default(),
            // Placement comes first and tells.
            None => return Ok(Outcome::Done),
        };
        let previous = match decoded {
            Some(pipeline) => pipeline.status.clone().unwrap_or_default(),
            None => {
                self.writer.status_of_undecodable::<Guarded<Pipeline>, _>(namespace, name).await?
            }
        };
        let verdict = decoded.map(|pipeline| self.judgements.pipeline(pipeline, &self.cache.sinks));
        let model = verdict.as_deref().and_then(|verdict| verdict.as_ref().ok());
        let selected = self.selected(namespace, model);
        let agent_metrics = model.is_some_and(model::Pipeline::takes_agent_metrics);
        let mut findings = findings(&object, verdict.as_deref());
        if let Some(model) = model {
            findings.errors.extend(self.secrets_not_listed(namespace, model, &selected));
        }

        let mut owners = BTreeSet::new();
        let mut unplaced: Option<(&str, &Unplaced)> = None;
        for device in &selected {
            match placement.devices.get(device) {
                Some(Placed::Assigned { agent, .. } | Placed::Moving { agent, .. }) => {
                    owners.insert(agent.as_str());
                }
                Some(Placed::Unplaced(why)) => {
                    unplaced.get_or_insert((device.as_str(), why));
                }
                None => {}
            }
        }
        let agents: Vec<_> = self
            .cache
            .agents
            .in_namespace(namespace)
            .into_iter()
            .filter(|agent| {
                let name = agent.meta().name.as_deref().unwrap_or_default();
                // An agent that ends tells nothing of itself any more.
                let tells = agent_metrics && agent.meta().deletion_timestamp.is_none();
                // A spec that selects nobody knows what: those that still run it.
                tells || owners.contains(name) || (model.is_none() && reports(agent, &object))
            })
            .collect();
        let facts = PipelineFacts {
            namespace,
            name,
            uid: object.meta().uid.as_deref().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or_default(),
            previous: &previous.conditions,
            findings: &findings,
            devices: selected.len(),
            agent_metrics,
            unplaced,
            agents: agents
                .iter()
                .filter_map(|agent| agent.0.as_ref().ok())
                .map(|agent| self.agent_view(namespace, agent, &previous.conditions))
                .collect(),
            now: jiff::Timestamp::now(),
        };
        let again = facts.agents.iter().filter_map(AgentView::silent_in).min();
        let status = verdict::pipeline::status(&facts);
        if previous != status {
            self.write_status::<Guarded<Pipeline>>(
                namespace,
                name,
                &status,
                Transition::of(&previous.conditions, &status.conditions),
                object.object_ref(&()),
            )
            .await?;
        }
        Ok(silence(again))
    }

    /// Devices that a pipeline selects, by name.
    fn selected(&self, namespace: &str, model: Option<&model::Pipeline>) -> Vec<String> {
        let Some(model) = model else { return Vec::new() };
        let none = BTreeMap::new();
        self.cache
            .devices
            .in_namespace(namespace)
            .iter()
            .filter_map(|device| {
                let meta = device.meta();
                let name = meta.name.as_deref()?;
                let labels = meta.labels.as_ref().unwrap_or(&none);
                let takes = model.sources.iter().any(|source| source.selects_device(name, labels));
                takes.then(|| name.to_owned())
            })
            .collect()
    }

    /// Secrets that the pipeline names and the pool of a selected device, or of an agent that
    /// tells it its metrics, does not mount.
    fn secrets_not_listed(
        &self,
        namespace: &str,
        model: &model::Pipeline,
        selected: &[String],
    ) -> Vec<Diagnostic> {
        let mut pools: BTreeSet<String> = selected
            .iter()
            .filter_map(|device| {
                let device = self.cache.devices.get(namespace, device)?;
                let device = device.0.as_ref().ok()?;
                let verdict = self.judgements.device(device);
                verdict.as_ref().as_ref().ok().map(|device| device.placement.pool.to_string())
            })
            .collect();
        if model.takes_agent_metrics() {
            let agents = self.cache.agents.in_namespace(namespace);
            pools.extend(agents.iter().filter_map(|a| Some(a.0.as_ref().ok()?.spec.pool.clone())));
        }
        let pools: Vec<_> = pools.iter().map(|name| self.pool(namespace, name)).collect();
        let mounted = pools
            .iter()
            .filter_map(|pool| pool.usable())
            .map(|pool| (pool.name.as_str(), &pool.secrets));
        secrets::not_mounted(model, mounted)
    }

    /// An agent as the verdicts see it. `previous`: what was said so far.
    pub(super) fn agent_view<'a>(
        &self,
        namespace: &str,
        agent: &'a Agent,
        previous: &[Condition],
    ) -> AgentView<'a> {
        let name = agent.metadata.name.as_deref().unwrap_or_default();
        let claim = self.cache.claims.get(namespace, name);
        let pod = self.pod_of(namespace, name);
        let now = tokio::time::Instant::now().into_std();
        let beat = self.cache.pulse.beat(namespace, name, now).filter(|beat| beat.renewed);
        let heartbeat = beat.map_or(Duration::from_secs(10), |beat| beat.limit / 3);
        let was_silent =
            condition(previous, "Ready").is_some_and(|c| c.reason == Code::AgentSilent.reason());
        let lease_age = beat.map(|beat| match beat.witnessed || !was_silent {
            true => beat.age,
            // A fresh operator has not heard it yet. That is no news of an agent that was silent.
            false => beat.age.max(beat.limit + Duration::from_secs(1)),
        });
        AgentView {
            name,
            node: &agent.spec.node,
            status: agent.status.as_ref(),
            pod: PodState::of(pod.as_deref(), claim.as_deref()),
            lease_age,
            heartbeat,
        }
    }

    /// Writes a status, and an event if Ready flipped by it.
    pub(super) async fn write_status<K>(
        &self,
        namespace: &str,
        name: &str,
        status: &impl serde::Serialize,
        transition: Option<Transition>,
        about: ObjectReference,
    ) -> Result<(), Failure>
    where
        K: crate::cache::Tracked,
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        match self.writer.status::<K>(namespace, name, status).await {
            Ok(()) => {}
            // It went in between.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if let Some(Transition { warning, reason, note }) = transition {
            self.events.tell(&about, Told { warning, action: "Judge", reason, note }).await;
        }
        Ok(())
    }
}

/// A flip of Ready.
pub(super) struct Transition {
    warning: bool,
    reason: String,
    note: String,
}

impl Transition {
    pub(super) fn of(before: &[Condition], now: &[Condition]) -> Option<Self> {
        let ready = condition(now, "Ready")?;
        ready_flipped(before, now).then(|| Self {
            warning: is_ready(now) != ConditionStatus::True,
            reason: ready.reason.clone(),
            note: match ready.message.is_empty() {
                true => format!("Ready is {:?}", ready.status),
                false => ready.message.clone(),
            },
        })
    }
}

/// What is wrong with a spec, one that cannot be decoded among it.
pub(super) fn findings<K, T>(
    object: &Guarded<K>,
    verdict: Option<&Result<T, Vec<Diagnostic>>>,
) -> Findings {
    let errors = match (&object.0, verdict) {
        (Err(invalid), _) => {
            vec![Diagnostic::new(Code::Undecodable, FieldPath::root(), invalid.error.clone())]
        }
        (Ok(_), Some(Err(findings))) => findings.clone(),
        (Ok(_), Some(Ok(_)) | None) => Vec::new(),
    };
    Findings { errors }
}

/// Whether an agent says that it runs this pipeline.
fn reports(agent: &Guarded<Agent>, pipeline: &Guarded<Pipeline>) -> bool {
    let name = pipeline.meta().name.as_deref().unwrap_or_default();
    agent
        .0
        .as_ref()
        .ok()
        .and_then(|agent| agent.status.as_ref())
        .is_some_and(|status| status.pipelines.iter().any(|report| report.name == name))
}

/// The pulse tells when an agent falls silent; this is for the moment just after that.
pub(super) fn silence(again: Option<Duration>) -> Outcome {
    match again {
        // A second after: whoever is silent is so for certain then. Heartbeats push this out of
        // reach, and only a silent agent's devices are looked at again.
        Some(left) if left < Duration::from_secs(2) => {
            Outcome::Again(left + Duration::from_secs(1))
        }
        Some(_) | None => Outcome::Done,
    }
}
