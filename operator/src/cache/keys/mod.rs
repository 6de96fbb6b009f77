//! From a change to what has to be looked at again. Pure: it reads the tables and nothing else.
//!
//! A key too many costs one comparison; a key too few is a wait until the safety run. So when in
//! doubt there is a key, except for what happens all the time: renewals, heartbeats, counters.

use std::collections::BTreeSet;

use kube::{Resource, ResourceExt};
use lineside_crds::api::agent::{Agent, AgentStatus};
use lineside_crds::api::agent_pool::{AgentPool, POOL_DEFAULT};
use lineside_crds::api::device::DeviceConnection;
use lineside_crds::api::pipeline::{Pipeline, PipelineSpec};
use lineside_crds::api::sink::Sink;
use lineside_crds::validate::is_discarded;

use super::kinds::{Claim, Lease, Node, Pod, ServiceAccount, StatefulSet};
use super::table::Change;
use super::{Cache, Guarded};
use crate::queue::Key;
use crate::{LABEL_AGENT, LABEL_POOL};

/// Everything, for a start or a missed change.
pub fn all_keys(cache: &Cache) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut namespaces = BTreeSet::new();
    for (namespace, name) in cache.devices.ids() {
        namespaces.insert(namespace.clone());
        keys.push(Key::Device(namespace, name));
    }
    for (namespace, name) in cache.agents.ids() {
        namespaces.insert(namespace.clone());
        keys.push(Key::Agent(namespace, name));
    }
    keys.extend(cache.pipelines.ids().into_iter().map(|(ns, name)| Key::Pipeline(ns, name)));
    keys.extend(cache.sinks.ids().into_iter().map(|(ns, name)| Key::Sink(ns, name)));
    keys.extend(cache.pools.ids().into_iter().map(|(ns, name)| Key::Pool(ns, name)));
    for namespace in namespaces {
        keys.push(Key::Pool(namespace.clone(), POOL_DEFAULT.to_owned()));
        keys.push(Key::Namespace(namespace));
    }
    keys
}

/// Everything whose status depends on what this agent and its pod do.
pub fn keys_of_agent(cache: &Cache, namespace: &str, name: &str) -> Vec<Key> {
    let mut keys = vec![Key::Agent(namespace.to_owned(), name.to_owned())];
    if let Some(agent) = cache.agents.get(namespace, name)
        && let Ok(agent) = &agent.0
    {
        keys.push(Key::Pool(namespace.to_owned(), agent.spec.pool.clone()));
        keys.extend(devices_of(agent).into_iter().map(|d| Key::Device(namespace.to_owned(), d)));
    }
    keys.extend(pipelines(cache, namespace));
    keys.extend(sinks(cache, namespace));
    keys
}

pub(super) fn of_device(change: &Change<Guarded<DeviceConnection>>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = id(change) else { return Vec::new() };
    let mut keys = vec![Key::Device(namespace.clone(), name.clone())];
    if !differs(change, facts) {
        // Somebody touched the status; it is compared and put right.
        return keys;
    }
    keys.push(Key::Namespace(namespace.clone()));
    for agent in cache.agents.in_namespace(&namespace) {
        let Ok(agent) = &agent.0 else { continue };
        if agent.spec.assignments.iter().any(|a| a.device == name) {
            keys.push(Key::Agent(namespace.clone(), agent.name_any()));
        }
    }
    let labels = |device: &Guarded<DeviceConnection>| device.meta().labels.clone();
    let (old, new) = (change.old.as_deref().map(labels), change.new.as_deref().map(labels));
    for pipeline in cache.pipelines.in_namespace(&namespace) {
        let Ok(object) = &pipeline.0 else { continue };
        let selected = [&old, &new].into_iter().flatten().any(|labels| {
            selects(&object.spec, &name, labels.as_ref().unwrap_or(&Default::default()))
        });
        if selected {
            keys.push(Key::Pipeline(namespace.clone(), object.name_any()));
        }
    }
    keys
}

pub(super) fn of_pipeline(change: &Change<Guarded<Pipeline>>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = id(change) else { return Vec::new() };
    let mut keys = vec![Key::Pipeline(namespace.clone(), name)];
    if !differs(change, facts) {
        return keys;
    }
    let specs: Vec<&PipelineSpec> = [&change.old, &change.new]
        .into_iter()
        .flatten()
        .filter_map(|pipeline| pipeline.0.as_ref().ok())
        .map(|pipeline| &pipeline.spec)
        .collect();
    // What could not be decoded may have selected anything, and named any Sink.
    let unknown = [&change.old, &change.new].into_iter().flatten().any(|p| p.0.is_err());
    match unknown {
        true => keys.extend(sinks(cache, &namespace)),
        false => keys.extend(specs.iter().flat_map(|spec| sinks_of(&namespace, spec))),
    }
    for agent in cache.agents.in_namespace(&namespace) {
        let Ok(agent) = &agent.0 else { continue };
        let concerned = unknown
            || specs.iter().any(|spec| takes_agent_metrics(spec))
            || agent.spec.assignments.iter().any(|assignment| {
                let device = cache.devices.get(&namespace, &assignment.device);
                let labels = device.and_then(|d| d.meta().labels.clone()).unwrap_or_default();
                specs.iter().any(|spec| selects(spec, &assignment.device, &labels))
            });
        if concerned {
            keys.push(Key::Agent(namespace.clone(), agent.name_any()));
        }
    }
    keys
}

pub(super) fn of_sink(change: &Change<Guarded<Sink>>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = id(change) else { return Vec::new() };
    let mut keys = vec![Key::Sink(namespace.clone(), name.clone())];
    if !differs(change, facts) {
        return keys;
    }
    let all = cache.pipelines.in_namespace(&namespace);
    let users: Vec<&Pipeline> = all
        .iter()
        .filter_map(|pipeline| pipeline.0.as_ref().ok())
        .filter(|pipeline| names(&pipeline.spec, &name))
        .collect();
    for agent in cache.agents.in_namespace(&namespace) {
        let Ok(agent) = &agent.0 else { continue };
        // Also one that only delivers what it holds.
        let reports = |user: &Pipeline| {
            let reports = agent.status.iter().flat_map(|status| &status.pipelines);
            reports.into_iter().any(|report| Some(&report.name) == user.metadata.name.as_ref())
        };
        let selected = |user: &Pipeline| {
            agent.spec.assignments.iter().any(|assignment| {
                let device = cache.devices.get(&namespace, &assignment.device);
                let labels = device.and_then(|d| d.meta().labels.clone()).unwrap_or_default();
                selects(&user.spec, &assignment.device, &labels)
            })
        };
        if users.iter().any(|user| reports(user) || selected(user)) {
            keys.push(Key::Agent(namespace.clone(), agent.name_any()));
        }
    }
    keys.extend(users.iter().map(|user| Key::Pipeline(namespace.clone(), user.name_any())));
    keys
}

pub(super) fn of_pool(change: &Change<Guarded<AgentPool>>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = id(change) else { return Vec::new() };
    let mut keys = vec![Key::Pool(namespace.clone(), name.clone())];
    if !differs(change, facts) {
        return keys;
    }
    keys.push(Key::Namespace(namespace.clone()));
    for agent in cache.agents.in_namespace(&namespace) {
        let Ok(agent) = &agent.0 else { continue };
        if agent.spec.pool == name {
            keys.push(Key::Agent(namespace.clone(), agent.name_any()));
        }
    }
    // Pools say which Secrets a device or pipeline may name.
    keys.extend(cache.devices.in_namespace(&namespace).iter().map(|device| {
        Key::Device(namespace.clone(), device.meta().name.clone().unwrap_or_default())
    }));
    keys.extend(pipelines(cache, &namespace));
    keys
}

pub(super) fn of_agent(change: &Change<Guarded<Agent>>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = id(change) else { return Vec::new() };
    let mut keys = vec![Key::Agent(namespace.clone(), name)];
    let ends = [&change.old, &change.new];
    let known = || ends.into_iter().flatten().filter_map(|agent| agent.0.as_ref().ok());
    for agent in known() {
        keys.push(Key::Pool(namespace.clone(), agent.spec.pool.clone()));
    }
    let old = change.old.as_deref().and_then(|agent| agent.0.as_ref().ok());
    let new = change.new.as_deref().and_then(|agent| agent.0.as_ref().ok());
    let (Some(old), Some(new)) = (old, new) else {
        // It came, went, or is undecodable.
        keys.push(Key::Namespace(namespace.clone()));
        keys.extend(known().flat_map(devices_of).map(|d| Key::Device(namespace.clone(), d)));
        keys.extend(pipelines(cache, &namespace));
        keys.extend(sinks(cache, &namespace));
        return keys;
    };
    let deleting = |agent: &Agent| agent.metadata.deletion_timestamp.is_some();
    if old.spec.assignments != new.spec.assignments || deleting(old) != deleting(new) {
        keys.push(Key::Namespace(namespace.clone()));
        keys.extend(
            [old, new].into_iter().flat_map(devices_of).map(|d| Key::Device(namespace.clone(), d)),
        );
        keys.extend(pipelines(cache, &namespace));
    }
    let nothing = AgentStatus::default();
    let (was, is) =
        (old.status.as_ref().unwrap_or(&nothing), new.status.as_ref().unwrap_or(&nothing));
    if was == is {
        return keys;
    }
    let agent_itself = was.config_hash != is.config_hash
        || was.conditions != is.conditions
        || was.started_at != is.started_at;
    if agent_itself {
        keys.push(Key::Namespace(namespace.clone()));
        keys.extend(devices_of(new).into_iter().map(|d| Key::Device(namespace.clone(), d)));
        keys.extend(pipelines(cache, &namespace));
        keys.extend(sinks(cache, &namespace));
        return keys;
    }
    let devices = one_sided(&was.devices, &is.devices, |report| report.name.as_str());
    if !devices.is_empty() {
        // Placement waits for devices to be let go.
        keys.push(Key::Namespace(namespace.clone()));
    }
    keys.extend(devices.into_iter().map(|name| Key::Device(namespace.clone(), name)));
    let reported = one_sided(&was.pipelines, &is.pipelines, |report| report.name.as_str());
    for name in reported {
        if let Some(pipeline) = cache.pipelines.get(&namespace, &name)
            && let Ok(pipeline) = &pipeline.0
        {
            keys.extend(sinks_of(&namespace, &pipeline.spec));
        }
        keys.push(Key::Pipeline(namespace.clone(), name));
    }
    keys
}

/// A child whose every change is looked at.
pub(super) fn of_child<K: Resource>(change: &Change<K>, _: &Cache) -> Vec<Key> {
    agent_key(change).into_iter().collect()
}

/// Pods have tokens of the account that there was when they were made.
pub(super) fn of_service_account(change: &Change<ServiceAccount>, _: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = agent_of(change) else { return Vec::new() };
    let pool = pool_of(change).map(|pool| Key::Pool(namespace.clone(), pool));
    [Key::Agent(namespace, name)].into_iter().chain(pool).collect()
}

pub(super) fn of_stateful_set(change: &Change<StatefulSet>, _: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = agent_of(change) else { return Vec::new() };
    let mut keys = Vec::new();
    if differs(change, |set| (set.metadata.clone_without_version(), set.spec.clone())) {
        keys.push(Key::Agent(namespace.clone(), name));
    }
    keys.extend(pool_of(change).map(|pool| Key::Pool(namespace, pool)));
    keys
}

pub(super) fn of_claim(change: &Change<Claim>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = agent_of(change) else { return Vec::new() };
    match differs(change, |claim| claim.status.as_ref().and_then(|s| s.phase.clone())) {
        true => keys_of_agent(cache, &namespace, &name),
        false => vec![Key::Agent(namespace, name)],
    }
}

/// Renewals are the agents' business; who owns the Lease and how long it holds is ours.
pub(super) fn of_lease(change: &Change<Lease>, _: &Cache) -> Vec<Key> {
    let ours = |lease: &Lease| {
        let duration = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
        (lease.metadata.clone_without_version(), duration)
    };
    match differs(change, ours) {
        true => agent_key(change).into_iter().collect(),
        false => Vec::new(),
    }
}

pub(super) fn of_pod(change: &Change<Pod>, cache: &Cache) -> Vec<Key> {
    let Some((namespace, name)) = agent_of(change) else { return Vec::new() };
    let told = |pod: &Pod| {
        (pod.status.clone(), pod.metadata.deletion_timestamp.clone(), pod.metadata.uid.clone())
    };
    if !differs(change, told) {
        return Vec::new();
    }
    let mut keys = keys_of_agent(cache, &namespace, &name);
    keys.extend(pool_of(change).map(|pool| Key::Pool(namespace.clone(), pool)));
    keys.push(Key::Namespace(namespace));
    keys
}

pub(super) fn of_node(change: &Change<Node>, cache: &Cache) -> Vec<Key> {
    let asked = |node: &Node| {
        let spec = node.spec.clone().unwrap_or_default();
        let ready = node.status.as_ref().and_then(|s| s.conditions.clone());
        (node.metadata.labels.clone(), spec.taints, spec.unschedulable, ready)
    };
    if !differs(change, asked) {
        return Vec::new();
    }
    let name = change.latest().map(ResourceExt::name_any).unwrap_or_default();
    let mut keys = Vec::new();
    let mut namespaces: BTreeSet<String> =
        cache.devices.ids().into_iter().map(|(namespace, _)| namespace).collect();
    for agent in cache.agents.all() {
        let Ok(agent) = &agent.0 else { continue };
        let namespace = agent.namespace().unwrap_or_default();
        if agent.spec.node == name {
            keys.extend(keys_of_agent(cache, &namespace, &agent.name_any()));
        }
        namespaces.insert(namespace);
    }
    keys.extend(namespaces.into_iter().map(Key::Namespace));
    keys
}

/// Devices that the agent owns or still speaks of.
fn devices_of(agent: &Agent) -> BTreeSet<String> {
    let owned = agent.spec.assignments.iter().map(|a| a.device.clone());
    let reported = agent.status.iter().flat_map(|s| &s.devices).map(|d| d.name.clone());
    owned.chain(reported).collect()
}

fn pipelines(cache: &Cache, namespace: &str) -> Vec<Key> {
    let all = cache.pipelines.in_namespace(namespace);
    let name = |pipeline: &Guarded<Pipeline>| pipeline.meta().name.clone().unwrap_or_default();
    all.iter().map(|pipeline| Key::Pipeline(namespace.to_owned(), name(pipeline))).collect()
}

fn sinks(cache: &Cache, namespace: &str) -> Vec<Key> {
    let all = cache.sinks.in_namespace(namespace);
    let name = |sink: &Guarded<Sink>| sink.meta().name.clone().unwrap_or_default();
    all.iter().map(|sink| Key::Sink(namespace.to_owned(), name(sink))).collect()
}

/// The Sinks that a pipeline names.
fn sinks_of(namespace: &str, spec: &PipelineSpec) -> Vec<Key> {
    let named = spec.sinks.iter().filter_map(|sink| sink.sink_ref.as_ref());
    named.map(|sink| Key::Sink(namespace.to_owned(), sink.name.clone())).collect()
}

/// Whether a pipeline names this Sink.
fn names(spec: &PipelineSpec, sink: &str) -> bool {
    spec.sinks.iter().any(|s| s.sink_ref.as_ref().is_some_and(|named| named.name == sink))
}

/// Whether the pipeline runs on every agent of its namespace.
fn takes_agent_metrics(spec: &PipelineSpec) -> bool {
    spec.sources.iter().any(|source| source.agent_metrics.is_some())
}

/// Whether a source of the pipeline selects the device; judged without validation, because an
/// invalid spec is a change too.
fn selects(
    spec: &PipelineSpec,
    device: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    spec.sources.iter().filter_map(|source| source.devices.as_ref()).any(|devices| {
        let names = &devices.names;
        let wanted = devices.selector.as_ref().map(|selector| &selector.match_labels);
        (names.is_empty() && wanted.is_none())
            || names.iter().any(|name| name == device)
            || wanted.is_some_and(|w| w.iter().all(|(k, v)| labels.get(k) == Some(v)))
    })
}

/// Names of entries that are in one list only, or in both but different.
fn one_sided<T: PartialEq>(old: &[T], new: &[T], name: impl Fn(&T) -> &str) -> BTreeSet<String> {
    let missing = |from: &[T], in_: &[T]| -> Vec<String> {
        let known: std::collections::BTreeMap<&str, &T> =
            in_.iter().map(|entry| (name(entry), entry)).collect();
        from.iter()
            .filter(|entry| known.get(name(entry)).is_none_or(|other| other != entry))
            .map(|entry| name(entry).to_owned())
            .collect()
    };
    missing(old, new).into_iter().chain(missing(new, old)).collect()
}

/// Whether what `of` looks at is another after the change.
fn differs<K, T: PartialEq>(change: &Change<K>, of: impl Fn(&K) -> T) -> bool {
    change.old.as_deref().map(&of) != change.new.as_deref().map(&of)
}

/// What placement, configuration and status of an object's neighbours depend on.
fn facts<K: Resource>(object: &Guarded<K>) -> impl PartialEq + use<K> {
    let meta = object.meta();
    (
        meta.uid.clone(),
        meta.generation,
        meta.labels.clone(),
        // The one annotation that agents are told of; it changes no generation.
        meta.annotations.as_ref().is_some_and(is_discarded),
        meta.deletion_timestamp.clone(),
        object.0.is_ok(),
    )
}

fn id<K: Resource>(change: &Change<K>) -> Option<(String, String)> {
    let meta = change.latest()?.meta();
    Some((meta.namespace.clone()?, meta.name.clone()?))
}

/// Namespace and name of the agent that a child belongs to, by its label.
fn agent_of<K: Resource>(change: &Change<K>) -> Option<(String, String)> {
    let meta = |object: &K| object.meta().clone();
    let all = [change.new.as_deref().map(meta), change.old.as_deref().map(meta)];
    all.into_iter()
        .flatten()
        .find_map(|meta| Some((meta.namespace?, meta.labels?.get(LABEL_AGENT)?.clone())))
}

fn agent_key<K: Resource>(change: &Change<K>) -> Option<Key> {
    agent_of(change).map(|(namespace, name)| Key::Agent(namespace, name))
}

fn pool_of<K: Resource>(change: &Change<K>) -> Option<String> {
    change.latest()?.meta().labels.as_ref()?.get(LABEL_POOL).cloned()
}

/// Metadata without what changes with every write.
trait WithoutVersion {
    fn clone_without_version(&self) -> Self;
}

impl WithoutVersion for k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    fn clone_without_version(&self) -> Self {
        let mut meta = self.clone();
        meta.resource_version = None;
        meta.managed_fields = None;
        meta
    }
}

#[cfg(test)]
mod tests;
