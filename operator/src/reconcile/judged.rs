//! What validation says of the user's objects, remembered until they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};
use lineside_crds::api::agent_pool::AgentPool;
use lineside_crds::api::device::DeviceConnection;
use lineside_crds::api::pipeline::Pipeline;
use lineside_crds::diagnostics::Diagnostic;
use lineside_crds::model::{self, ObjectKey};
use lineside_crds::validate::{
    Meta, is_discarded, validate_agent_pool, validate_device, validate_pipeline,
};

use crate::cache::Id;

/// Validation of a cluster's objects, each once per generation.
#[derive(Debug, Default)]
pub struct Judgements {
    devices: Mutex<BTreeMap<Id, Known<model::Device>>>,
    pipelines: Mutex<BTreeMap<Id, Known<model::Pipeline>>>,
}

/// What validation says: the model, or what is wrong.
pub type Verdict<T> = Arc<Result<T, Vec<Diagnostic>>>;

#[derive(Debug)]
struct Known<T> {
    of: Meta,
    verdict: Verdict<T>,
}

impl Judgements {
    /// What validation says of a device.
    pub fn device(&self, object: &DeviceConnection) -> Verdict<model::Device> {
        judge(&self.devices, meta(object), |meta| validate_device(meta, &object.spec))
    }

    /// What validation says of a pipeline.
    pub fn pipeline(&self, object: &Pipeline) -> Verdict<model::Pipeline> {
        judge(&self.pipelines, meta(object), |meta| validate_pipeline(meta, &object.spec))
    }

    /// Forgets a device that is gone.
    pub fn forget_device(&self, namespace: &str, name: &str) {
        lock(&self.devices).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets a pipeline that is gone.
    pub fn forget_pipeline(&self, namespace: &str, name: &str) {
        lock(&self.pipelines).remove(&(namespace.to_owned(), name.to_owned()));
    }
}

/// What validation says of a pool. Pools are few and small, so they are judged each time.
///
/// # Errors
/// What is wrong with it.
pub fn pool(object: &AgentPool) -> Result<model::AgentPool, Vec<Diagnostic>> {
    validate_agent_pool(&meta(object), &object.spec)
}

/// What validation looks at besides the spec.
pub fn meta<K: Resource>(object: &K) -> Meta {
    Meta {
        key: ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any()),
        uid: object.uid(),
        generation: object.meta().generation,
        labels: object.labels().clone(),
        discard_backlog: is_discarded(object.annotations()),
    }
}

fn judge<T>(
    known: &Mutex<BTreeMap<Id, Known<T>>>,
    meta: Meta,
    validate: impl FnOnce(&Meta) -> Result<T, Vec<Diagnostic>>,
) -> Verdict<T> {
    let id = (meta.key.namespace.to_string(), meta.key.name.to_string());
    if let Some(known) = lock(known).get(&id)
        && known.of == meta
    {
        return known.verdict.clone();
    }
    let verdict = Arc::new(validate(&meta));
    lock(known).insert(id, Known { of: meta, verdict: verdict.clone() });
    verdict
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Single inserts and removes; a panic elsewhere does not spoil the map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
