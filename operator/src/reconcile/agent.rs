//! One Agent: its children, its configuration, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use lineside_crds::api::Kind;
use lineside_crds::api::agent::Agent;
use lineside_crds::delivery::{Document, SHARDS_MOST};
use lineside_crds::diagnostics::Code;
use lineside_crds::model;
use lineside_crds::validate::is_discarded;
use serde_json::json;
use tracing::{info, warn};

use super::{Failure, Reconciler, WAIT, memory::Written};
use crate::apply::{Applied, ApplyError};
use crate::build::{AgentBuild, CONFIG_HASH, Children, Current, PipelineNow, Selection, Shipped};
use crate::cache::Guarded;
use crate::cache::kinds::{self, ConfigMap, data_digest};
use crate::events::Told;
use crate::placement::{Fate, Placement};
use crate::poke::{self, Poke};
use crate::pools::Pool;
use crate::queue::Outcome;
use crate::{names, secrets};

/// Annotation of a pod whose change makes the kubelet look again; its value means nothing.
const CONFIG_POKE: &str = "lineside.dev/config-poke";

impl Reconciler {
    pub(super) async fn agent(&self, namespace: &str, name: &str) -> Result<Outcome, Failure> {
        let Some(agent) = self.decoded_agent(namespace, name)? else {
            self.memory.forget_agent(namespace, name);
            self.writer.forget(namespace, name);
            return Ok(Outcome::Gone);
        };
        let draining = agent.metadata.deletion_timestamp.is_some();
        let mut wait = None;
        if draining {
            match self.end(namespace, &agent).await? {
                Some(until) => wait = Some(until),
                None => return Ok(Outcome::Again(WAIT)),
            }
        }
        // Without the decision for its namespace nothing is known of what it is to read.
        let Some(placement) = self.placement(namespace) else { return Ok(Outcome::Done) };
        let fate = placement.agents.get(name).map(|wish| wish.fate);
        if !draining && !matches!(fate, Some(Fate::Create | Fate::Keep)) {
            return Ok(Outcome::Done);
        }
        let pool = self.pool(namespace, &agent.spec.pool);
        // A pool that is gone or refused leaves what runs as it is.
        let Some(pool) = pool.usable() else {
            return Ok(wait.map_or(Outcome::Done, Outcome::Again));
        };
        let Some(children) = self.children(namespace, &agent, pool, &placement, draining).await?
        else {
            return Ok(Outcome::Again(WAIT));
        };
        self.apply_children(namespace, &agent, &children).await?;
        let poked = self.poke(namespace, name, &children.config_hash).await?;
        Ok([wait, poked].into_iter().flatten().min().map_or(Outcome::Done, Outcome::Again))
    }

    fn decoded_agent(&self, namespace: &str, name: &str) -> Result<Option<Agent>, Failure> {
        let Some(agent) = self.cache.agents.get(namespace, name) else { return Ok(None) };
        match &agent.0 {
            Ok(agent) => Ok(Some(agent.clone())),
            Err(invalid) => Err(Failure::Undecodable {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                error: invalid.error.clone(),
            }),
        }
    }

    /// What belongs to the agent; `None` when its configuration is too large, which is told.
    async fn children(
        &self,
        namespace: &str,
        agent: &Agent,
        pool: &Pool,
        placement: &Placement,
        draining: bool,
    ) -> Result<Option<Children>, Failure> {
        let name = agent.name_any();
        // What is not recorded yet is not shipped yet.
        let recorded: BTreeSet<&str> =
            agent.spec.assignments.iter().map(|a| a.device.as_str()).collect();
        let active: BTreeSet<&str> = placement
            .active(&name)
            .into_iter()
            .filter(|device| recorded.contains(device))
            .collect();
        let pipelines = self.cache.pipelines.in_namespace(namespace);
        let judged: Vec<_> = pipelines
            .iter()
            .map(|pipeline| {
                let name = pipeline.meta().name.clone().unwrap_or_default();
                let judge = |p| self.judgements.pipeline(p, &self.cache.sinks);
                (name, pipeline.0.as_ref().ok().map(judge))
            })
            .collect();
        let now: BTreeMap<&str, PipelineNow<'_>> = judged
            .iter()
            .map(|(name, verdict)| {
                let model = verdict.as_deref().and_then(|verdict| verdict.as_ref().ok());
                let mounted = |model| {
                    let pool = [(pool.name.as_str(), &pool.secrets)];
                    secrets::not_mounted(model, pool).is_empty()
                };
                let now = match model {
                    Some(model) if mounted(model) => PipelineNow::Valid(model),
                    _ => PipelineNow::Refused,
                };
                (name.as_str(), now)
            })
            .collect();
        let usable: BTreeSet<&str> = now
            .iter()
            .filter(|(_, now)| matches!(now, PipelineNow::Valid(_)))
            .map(|(name, _)| *name)
            .collect();
        let current = |kind, name: &str| self.current(namespace, kind, name, &usable, pool);
        let device_refused = |device: &str| {
            matches!(current(Kind::DeviceConnection, device), Some(Current::Refused))
        };
        let selection = Selection { active, pipelines: now, draining };
        let shipped = match selection.needs_shipped(device_refused) {
            true => self.shipped(namespace, &name).await?,
            false => Arc::new(Shipped::default()),
        };
        let documents = selection.documents(&shipped, current);
        let node = self.cache.nodes.get("", &agent.spec.node);
        let hostname = node
            .and_then(|node| node.labels().get("kubernetes.io/hostname").cloned())
            .unwrap_or_else(|| agent.spec.node.clone());
        let build = AgentBuild {
            namespace,
            name: &name,
            uid: agent.metadata.uid.as_deref().unwrap_or_default(),
            node: &agent.spec.node,
            hostname: &hostname,
            pool,
            assignments: &agent.spec.assignments,
            documents: &documents,
            draining,
        };
        match build.children() {
            Ok(children) => {
                self.memory.packed(namespace, &name);
                Ok(Some(children))
            }
            Err(error) => {
                if self.memory.not_packed(namespace, &name, error.to_string()) {
                    warn!(namespace, agent = name, %error, "The configuration does not fit");
                    let told = Told {
                        warning: true,
                        action: "Deliver",
                        reason: Code::CapacityExceeded.reason().to_owned(),
                        note: format!(
                            "{}: {error}. Next: {}",
                            Code::CapacityExceeded,
                            Code::CapacityExceeded.next()
                        ),
                    };
                    self.events.tell(&agent.object_ref(&()), told).await;
                }
                Ok(None)
            }
        }
    }

    /// An object of the user as it stands.
    fn current(
        &self,
        namespace: &str,
        kind: Kind,
        name: &str,
        usable_pipelines: &BTreeSet<&str>,
        pool: &Pool,
    ) -> Option<Current> {
        let document = |meta: &kube::api::ObjectMeta, spec: Result<_, serde_json::Error>| {
            // A spec that was decoded can be written.
            let Ok(spec) = spec else { return Current::Refused };
            Current::Valid(Document {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: meta.uid.clone().unwrap_or_default(),
                generation: meta.generation.unwrap_or_default(),
                labels: meta.labels.clone().unwrap_or_default(),
                discard_backlog: meta.annotations.as_ref().is_some_and(is_discarded),
                spec,
            })
        };
        match kind {
            Kind::DeviceConnection => {
                let device = self.cache.devices.get(namespace, name)?;
                Some(match &device.0 {
                    Ok(device) if self.judgements.device(device).is_ok() => {
                        document(&device.metadata, serde_json::to_value(&device.spec))
                    }
                    _ => Current::Refused,
                })
            }
            Kind::Pipeline => {
                let pipeline = self.cache.pipelines.get(namespace, name)?;
                Some(match &pipeline.0 {
                    Ok(pipeline) if usable_pipelines.contains(name) => {
                        document(&pipeline.metadata, serde_json::to_value(&pipeline.spec))
                    }
                    _ => Current::Refused,
                })
            }
            Kind::Sink => {
                let sink = self.cache.sinks.get(namespace, name)?;
                let mounted = |sink: &model::SharedSink| {
                    secrets::of(&sink.kind).iter().all(|(_, name)| pool.secrets.contains(name))
                };
                Some(match &sink.0 {
                    Ok(sink)
                        if self
                            .judgements
                            .sink(sink)
                            .as_ref()
                            .as_ref()
                            .is_ok_and(|s| mounted(s)) =>
                    {
                        document(&sink.metadata, serde_json::to_value(&sink.spec))
                    }
                    _ => Current::Refused,
                })
            }
            Kind::AgentPool | Kind::Agent => None,
        }
    }

    /// What the agent was shipped last. The cache has digests only, so this asks the API server
    /// once per state of the ConfigMaps.
    pub(super) async fn shipped(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Shipped>, Failure> {
        let maps: Vec<Arc<ConfigMap>> = (0..SHARDS_MOST)
            .filter_map(|shard| {
                self.cache.config_maps.get(namespace, &names::config_map(name, shard))
            })
            .collect();
        let digests: Vec<String> = maps.iter().map(|map| data_digest(map)).collect();
        if let Some(shipped) = self.memory.shipped(namespace, name, &digests) {
            return Ok(shipped);
        }
        let mut files = BTreeMap::new();
        for map in &maps {
            let whole = self.writer.read::<ConfigMap>(namespace, &map.name_any()).await?;
            let Some(whole) = whole else { continue };
            let text = whole.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes()));
            let binary = whole.binary_data.into_iter().flatten().map(|(k, v)| (k, v.0));
            files.extend(text.chain(binary));
        }
        let shipped = match Shipped::read(&files) {
            Ok(shipped) => shipped,
            // Before the first configuration, or somebody changed it; the agent has its own copy.
            Err(_) if files.is_empty() => Shipped::default(),
            Err(error) => {
                warn!(namespace, agent = name, %error, "What was shipped last cannot be read");
                Shipped::default()
            }
        };
        let shipped = Arc::new(shipped);
        self.memory.remember_shipped(namespace, name, digests, shipped.clone());
        Ok(shipped)
    }

    async fn apply_children(
        &self,
        namespace: &str,
        agent: &Agent,
        children: &Children,
    ) -> Result<(), Failure> {
        let name = agent.name_any();
        let shards = i64::try_from(children.config_maps.len()).unwrap_or(i64::MAX);
        if agent.spec.config_hash.as_ref() != Some(&children.config_hash)
            || agent.spec.shards != shards
        {
            // Before the ConfigMaps: an acknowledgement of the former hash is then none of this. Only
            // on the very Agent that it was made from: assignments may have changed meanwhile.
            let body = json!({
                "metadata": {"uid": agent.uid(), "resourceVersion": agent.resource_version()},
                "spec": {"configHash": children.config_hash, "shards": shards},
            });
            self.writer.merge::<Guarded<Agent>>(namespace, &name, &body).await?;
            self.memory.wrote_config(
                namespace,
                &name,
                Written { hash: children.config_hash.clone(), at: now() },
            );
        }
        let mut refused = None;
        let mut repaired = Vec::new();
        let mut note = |kind: &'static str, result: Result<Applied, ApplyError>| match result {
            Ok(Applied::Repaired) => {
                repaired.push(kind);
                Ok(())
            }
            Ok(Applied::Unchanged | Applied::Written) => Ok(()),
            // One child that is refused does not hold up the others.
            Err(error) if error.is_refusal() => {
                refused.get_or_insert(error);
                Ok(())
            }
            Err(error) => Err(error),
        };
        note("ServiceAccount", self.writer.apply(&children.service_account).await)?;
        note("RoleBinding", self.writer.apply(&children.role_binding).await)?;
        note("Lease", self.writer.apply(&children.lease).await)?;
        if let Some(claim) = &children.claim
            && self.cache.claims.get(namespace, &name).is_none()
        {
            note("PersistentVolumeClaim", self.writer.apply(claim).await)?;
        }
        for map in &children.config_maps {
            note("ConfigMap", self.writer.apply(map).await)?;
        }
        for shard in children.config_maps.len()..SHARDS_MOST {
            if let Some(map) =
                self.cache.config_maps.get(namespace, &names::config_map(&name, shard))
            {
                self.writer.delete::<ConfigMap>(namespace, &map.name_any(), map.uid()).await?;
            }
        }
        note("StatefulSet", self.writer.apply(&children.stateful_set).await)?;
        if !repaired.is_empty() {
            let note = format!("put right what somebody had changed: {}", repaired.join(", "));
            let told = Told { warning: true, action: "Repair", reason: "Repaired".into(), note };
            self.events.tell(&agent.object_ref(&()), told).await;
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Makes the kubelet look at the ConfigMaps until the agent runs what they hold. Says when to
    /// look again.
    async fn poke(
        &self,
        namespace: &str,
        name: &str,
        hash: &str,
    ) -> Result<Option<Duration>, Failure> {
        let Some(agent) = self.decoded_agent(namespace, name)? else { return Ok(None) };
        if agent.status.as_ref().and_then(|s| s.config_hash.as_deref()) == Some(hash) {
            if let Some(took) = self.memory.acknowledged(namespace, name, hash, now()) {
                self.metrics.applied(took);
            }
            return Ok(None);
        }
        let pod_name = names::pod(name);
        let Some(pod) = self.cache.pods.get(namespace, &pod_name).filter(|pod| runs(pod)) else {
            return Ok(None);
        };
        let uid = pod.uid().unwrap_or_default();
        let marked = pod.annotations().get(CONFIG_HASH).map(String::as_str) == Some(hash);
        let so_far = self.memory.poking(namespace, name);
        match poke::decide(so_far.as_ref(), hash, &uid, marked, now()) {
            Poke::Never => Ok(None),
            Poke::Later(wait) => {
                if so_far.is_none() {
                    // Another process has poked it; go on from there.
                    let (since, last) = (now(), now());
                    let poking =
                        poke::Poking { hash: hash.into(), pod: uid, times: 1, since, last };
                    self.memory.poked(namespace, name, poking);
                }
                Ok(Some(wait))
            }
            Poke::Now(poking) => {
                let body = json!({"metadata": {"uid": uid, "annotations": {
                    CONFIG_HASH: hash, CONFIG_POKE: poking.times.to_string(),
                }}});
                match self.writer.merge::<Pod>(namespace, &pod_name, &body).await {
                    Ok(()) => {}
                    // The pod is another one by now; that one read the ConfigMaps at its start.
                    Err(error) if error.is_not_found() || error.is_conflict() => {}
                    Err(error) => return Err(error.into()),
                }
                self.memory.poked(namespace, name, poking.clone());
                match poke::decide(Some(&poking), hash, &uid, true, now()) {
                    Poke::Later(wait) => Ok(Some(wait)),
                    Poke::Now(_) | Poke::Never => Ok(None),
                }
            }
        }
    }

    /// The agent's pod, if the API server knows one.
    pub(super) fn pod_of(&self, namespace: &str, name: &str) -> Option<Arc<kinds::Pod>> {
        self.cache.pods.get(namespace, &names::pod(name))
    }

    pub(super) fn log_released(&self, namespace: &str, name: &str, why: impl std::fmt::Display) {
        info!(namespace, agent = name, %why, "The agent is let go");
    }
}

fn runs(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
