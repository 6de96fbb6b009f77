//! Placement of one namespace: which Agents there are, and which devices each has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::{Resource, ResourceExt};
use lineside_crds::api::agent::{Agent, AgentSpec};
use lineside_crds::api::agent_pool::POOL_DEFAULT;
use lineside_crds::api::device::DeviceConnection;
use serde_json::{Map, json};
use tracing::info;

use super::{Failure, Reconciler, judged};
use crate::cache::Guarded;
use crate::placement::halted::runs_nothing;
use crate::placement::{
    self, AgentFacts, DesiredAgent, DeviceFacts, Fate, NodeFacts, Placement, View, Wish,
};
use crate::pools::{self, PoolState};
use crate::queue::{Key, Outcome};
use crate::{FIELD_MANAGER, FINALIZER, LABEL_POOL, MANAGED_BY};

impl Reconciler {
    pub(super) async fn namespace(&self, namespace: &str) -> Result<Outcome, Failure> {
        let agents = self.agents(namespace)?;
        let mut view = self.placement_view(namespace, &agents);
        if view.devices.is_empty() && view.agents.is_empty() {
            self.lock_placements().remove(namespace);
            return Ok(Outcome::Gone);
        }
        let mut placement = placement::decide(&view);
        if self.add_halted(namespace, &agents, &placement, &mut view).await? {
            placement = placement::decide(&view);
        }
        let result = self.apply_placement(namespace, &agents, &placement).await;
        // Also after a failure: what could be written is to be worked on.
        self.tell_placement(namespace, placement);
        result?;
        Ok(Outcome::Done)
    }

    /// Looks whether agents that a device waits for run at all. Only these are looked at: what
    /// lies in their ConfigMaps has to be asked for. True when something was learned.
    async fn add_halted(
        &self,
        namespace: &str,
        agents: &BTreeMap<String, Arc<Agent>>,
        placement: &Placement,
        view: &mut View,
    ) -> Result<bool, Failure> {
        let awaited: BTreeSet<&String> = placement
            .devices
            .values()
            .filter_map(|outcome| match outcome {
                placement::Outcome::Moving { agent, .. } => Some(agent),
                _ => None,
            })
            .collect();
        let mut learned = false;
        for name in awaited {
            let (Some(agent), Some(facts)) = (agents.get(name), view.agents.get_mut(name)) else {
                continue;
            };
            let ran = agent.status.as_ref().is_some_and(|s| s.started_at.is_some());
            let ready = view.nodes.get(&agent.spec.node).is_some_and(|node| node.ready);
            let pod = self.pod_of(namespace, name);
            if runs_nothing(pod.as_deref(), ready, ran) {
                let shipped = self.shipped(namespace, name).await?;
                facts.halted = Some(shipped.devices().map(str::to_owned).collect());
                learned = true;
            }
        }
        Ok(learned)
    }

    /// The Agents of a namespace. One that cannot be decoded stops placement: it may be reading
    /// any device.
    pub(super) fn agents(&self, namespace: &str) -> Result<BTreeMap<String, Arc<Agent>>, Failure> {
        let mut agents = BTreeMap::new();
        for agent in self.cache.agents.in_namespace(namespace) {
            match &agent.0 {
                Ok(agent) => {
                    agents.insert(agent.name_any(), Arc::new(agent.clone()));
                }
                Err(invalid) => {
                    return Err(Failure::Undecodable {
                        namespace: namespace.to_owned(),
                        name: invalid.metadata.name.clone().unwrap_or_default(),
                        error: invalid.error.clone(),
                    });
                }
            }
        }
        Ok(agents)
    }

    /// A pool of a namespace, resolved.
    pub(super) fn pool(&self, namespace: &str, name: &str) -> PoolState {
        let object = self.cache.pools.get(namespace, name);
        let model =
            object.map(|object| object.0.as_ref().ok().and_then(|pool| judged::pool(pool).ok()));
        pools::resolve(name, model.as_ref().map(Option::as_ref), &self.default_pool)
    }

    fn placement_view(&self, namespace: &str, agents: &BTreeMap<String, Arc<Agent>>) -> View {
        let devices: BTreeMap<String, DeviceFacts> = self
            .cache
            .devices
            .in_namespace(namespace)
            .iter()
            .filter(|device| device.meta().deletion_timestamp.is_none())
            .map(|device| {
                let name = device.meta().name.clone().unwrap_or_default();
                (name, self.device_facts(device))
            })
            .collect();
        let wished = devices.values().filter_map(|d| d.wish.as_ref()).map(|wish| wish.pool.clone());
        let pools: BTreeSet<String> =
            wished.chain(agents.values().map(|agent| agent.spec.pool.clone())).collect();
        View {
            pools: pools
                .into_iter()
                .map(|name| (name.clone(), self.pool(namespace, &name)))
                .collect(),
            nodes: self
                .cache
                .nodes
                .all()
                .iter()
                .map(|node| (node.name_any(), NodeFacts::new(node)))
                .collect(),
            agents: agents
                .iter()
                .map(|(name, agent)| (name.clone(), AgentFacts::new(agent, None)))
                .collect(),
            devices,
        }
    }

    fn device_facts(&self, device: &Guarded<DeviceConnection>) -> DeviceFacts {
        let uid = device.meta().uid.clone().unwrap_or_default();
        let object = match &device.0 {
            Ok(object) => object,
            Err(_) => {
                return DeviceFacts {
                    uid,
                    wish: None,
                    valid: false,
                    milli_requests: 1,
                    last_node: None,
                    last_epoch: 0,
                };
            }
        };
        let agent = object.status.as_ref().and_then(|status| status.agent.as_ref());
        let verdict = self.judgements.device(object);
        let (wish, valid, milli_requests) = match &*verdict {
            Ok(model) => {
                let wish = Wish {
                    pool: model.placement.pool.to_string(),
                    node_selector: model.placement.node_selector.clone(),
                };
                (Some(wish), true, placement::load::milli_requests(model))
            }
            Err(findings) => {
                let about_place = |path: String| {
                    path.starts_with("spec.placement") || path.starts_with("spec.agentPoolRef")
                };
                let refused = findings.iter().any(|f| about_place(f.field.to_string()));
                ((!refused).then(|| raw_wish(object)), false, 1)
            }
        };
        DeviceFacts {
            uid,
            wish,
            valid,
            milli_requests,
            last_node: agent.map(|agent| agent.node.clone()),
            last_epoch: agent.map_or(0, |agent| agent.epoch),
        }
    }

    async fn apply_placement(
        &self,
        namespace: &str,
        agents: &BTreeMap<String, Arc<Agent>>,
        placement: &Placement,
    ) -> Result<(), Failure> {
        for (name, wish) in &placement.agents {
            let live = agents.get(name).map(Arc::as_ref);
            match live {
                None => self.create_agent(namespace, name, wish).await?,
                Some(live) => self.change_agent(namespace, name, wish, live).await?,
            }
        }
        Ok(())
    }

    async fn create_agent(
        &self,
        namespace: &str,
        name: &str,
        wish: &DesiredAgent,
    ) -> Result<(), Failure> {
        if wish.fate != Fate::Create {
            return Ok(());
        }
        let mut agent = Agent::new(
            name,
            AgentSpec {
                pool: wish.pool.clone(),
                node: wish.node.clone(),
                config_hash: None,
                shards: 0,
                assignments: wish.assignments.clone(),
            },
        );
        agent.metadata.namespace = Some(namespace.to_owned());
        agent.metadata.labels = Some(BTreeMap::from([
            (LABEL_POOL.to_owned(), wish.pool.clone()),
            (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        ]));
        agent.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        info!(
            namespace,
            agent = name,
            node = wish.node,
            devices = wish.assignments.len(),
            "Making an agent"
        );
        match self.writer.create_agent(&agent).await {
            // Nothing can be made in a namespace that is being deleted, and need not be.
            Err(error) if error.is_namespace_terminating() => Ok(()),
            other => Ok(other?),
        }
    }

    async fn change_agent(
        &self,
        namespace: &str,
        name: &str,
        wish: &DesiredAgent,
        live: &Agent,
    ) -> Result<(), Failure> {
        let deleting = live.metadata.deletion_timestamp.is_some();
        match wish.fate {
            Fate::Empty | Fate::NodeGone if !deleting => {
                info!(namespace, agent = name, node = wish.node, fate = ?wish.fate, "Deleting an agent");
                return Ok(self
                    .writer
                    .delete::<Guarded<Agent>>(namespace, name, live.uid())
                    .await?);
            }
            Fate::Empty | Fate::NodeGone => return Ok(()),
            Fate::Create | Fate::Keep | Fate::Deleting => {}
        }
        let mut metadata = Map::new();
        if live.labels().get(LABEL_POOL) != Some(&wish.pool) {
            metadata.insert("labels".into(), json!({LABEL_POOL: wish.pool}));
        }
        // A finalizer cannot be added to what is being deleted.
        if !deleting && !live.finalizers().iter().any(|f| f == FINALIZER) {
            let all = live.finalizers().iter().map(String::as_str).chain([FINALIZER]);
            metadata.insert("finalizers".into(), all.collect());
        }
        let same_spec = live.spec.pool == wish.pool
            && live.spec.node == wish.node
            && live.spec.assignments == wish.assignments;
        if same_spec && metadata.is_empty() {
            return Ok(());
        }
        // Decided from this very version: another writer's change makes this one fail. A merge
        // replaces the list as a whole, so nothing that is not wished for stays in it.
        metadata.insert("resourceVersion".into(), json!(live.resource_version()));
        let body = json!({
            "metadata": metadata,
            "spec": {"pool": wish.pool, "node": wish.node, "assignments": wish.assignments},
        });
        Ok(self.writer.merge::<Guarded<Agent>>(namespace, name, &body).await?)
    }

    /// Keeps the decision for those who work with it, and tells them.
    fn tell_placement(&self, namespace: &str, placement: Placement) {
        let placement = Arc::new(placement);
        let before = self.lock_placements().insert(namespace.to_owned(), placement.clone());
        if before.as_ref() == Some(&placement) {
            return;
        }
        let key = |name: &String| (namespace.to_owned(), name.clone());
        let old = before.unwrap_or_default();
        let mut keys = Vec::new();
        for name in changed(&old.devices, &placement.devices) {
            let (namespace, name) = key(name);
            keys.push(Key::Device(namespace, name));
        }
        let agents: BTreeSet<&String> = old.agents.keys().chain(placement.agents.keys()).collect();
        for name in agents {
            let same = old.agents.get(name) == placement.agents.get(name)
                && old.active(name) == placement.active(name);
            if !same {
                let (namespace, name) = key(name);
                keys.push(Key::Agent(namespace, name));
            }
        }
        for pipeline in self.cache.pipelines.in_namespace(namespace) {
            let name = pipeline.meta().name.clone().unwrap_or_default();
            keys.push(Key::Pipeline(namespace.to_owned(), name));
        }
        for pool in self.cache.pools.in_namespace(namespace) {
            let name = pool.meta().name.clone().unwrap_or_default();
            keys.push(Key::Pool(namespace.to_owned(), name));
        }
        self.queue.push_all(keys);
    }
}

/// The device's own wish, read from a spec that is refused for other reasons.
fn raw_wish(device: &DeviceConnection) -> Wish {
    let spec = &device.spec;
    Wish {
        pool: spec.agent_pool_ref.as_ref().map_or(POOL_DEFAULT, |pool| &pool.name).to_owned(),
        node_selector: spec.placement.as_ref().map(|p| p.node_selector.clone()).unwrap_or_default(),
    }
}

/// Names whose values differ.
fn changed<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect()
}
