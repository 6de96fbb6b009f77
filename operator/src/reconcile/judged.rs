//! What validation says of the user's objects, remembered until they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};
use lineside_crds::api::agent_pool::AgentPool;
use lineside_crds::api::device::DeviceConnection;
use lineside_crds::api::pipeline::Pipeline;
use lineside_crds::api::sink::Sink;
use lineside_crds::diagnostics::Diagnostic;
use lineside_crds::model::{self, NamedSink, ObjectKey, SharedSink};
use lineside_crds::validate::{
    Meta, is_discarded, validate_agent_pool, validate_device, validate_pipeline, validate_sink,
};

use crate::cache::{Guarded, Id, Table};

/// Validation of a cluster's objects, each once per generation.
#[derive(Debug, Default)]
pub struct Judgements {
    devices: All<Meta, model::Device>,
    /// Of a pipeline and of the Sinks that it names.
    pipelines: All<(Meta, Vec<Option<Meta>>), model::Pipeline>,
    sinks: All<Meta, Arc<SharedSink>>,
}

/// What is known of each object of a kind, and of what that was said.
type All<O, T> = Mutex<BTreeMap<Id, Known<O, T>>>;

/// What validation says: the model, or what is wrong.
pub type Verdict<T> = Arc<Result<T, Vec<Diagnostic>>>;

#[derive(Debug)]
struct Known<O, T> {
    of: O,
    verdict: Verdict<T>,
}

impl Judgements {
    /// What validation says of a device.
    pub fn device(&self, object: &DeviceConnection) -> Verdict<model::Device> {
        let meta = meta(object);
        judge(&self.devices, id(&meta), meta, |meta| validate_device(meta, &object.spec))
    }

    /// What validation says of a pipeline and of the Sinks that it names.
    pub fn pipeline(
        &self,
        object: &Pipeline,
        sinks: &Table<Guarded<Sink>>,
    ) -> Verdict<model::Pipeline> {
        let meta = meta(object);
        let find = |name: &str| sinks.get(&meta.key.namespace, name);
        let named = object.spec.sinks.iter().filter_map(|sink| sink.sink_ref.as_ref());
        // An edit of one is an edit of the pipeline. One that cannot be decoded has a generation,
        // too, and is as good as any that is refused.
        let versions = named.map(|sink| find(&sink.name).map(|sink| self::meta(&*sink)));
        let of = (meta.clone(), versions.collect());
        judge(&self.pipelines, id(&meta), of, |(meta, _)| {
            validate_pipeline(meta, &object.spec)?.resolve(|name| match find(name) {
                None => NamedSink::Missing { hint: String::new() },
                Some(sink) => self.named(&sink),
            })
        })
    }

    fn named(&self, sink: &Guarded<Sink>) -> NamedSink {
        let Ok(sink) = &sink.0 else { return NamedSink::Refused };
        match &*self.sink(sink) {
            Ok(sink) => NamedSink::Valid(sink.clone()),
            Err(_) => NamedSink::Refused,
        }
    }

    /// What validation says of a Sink.
    pub fn sink(&self, object: &Sink) -> Verdict<Arc<SharedSink>> {
        let meta = meta(object);
        judge(&self.sinks, id(&meta), meta, |meta| validate_sink(meta, &object.spec).map(Arc::new))
    }

    /// Forgets a device that is gone.
    pub fn forget_device(&self, namespace: &str, name: &str) {
        lock(&self.devices).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets a pipeline that is gone.
    pub fn forget_pipeline(&self, namespace: &str, name: &str) {
        lock(&self.pipelines).remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Forgets a Sink that is gone.
    pub fn forget_sink(&self, namespace: &str, name: &str) {
        lock(&self.sinks).remove(&(namespace.to_owned(), name.to_owned()));
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

fn id(meta: &Meta) -> Id {
    (meta.key.namespace.to_string(), meta.key.name.to_string())
}

fn judge<O: PartialEq, T>(
    known: &All<O, T>,
    id: Id,
    of: O,
    validate: impl FnOnce(&O) -> Result<T, Vec<Diagnostic>>,
) -> Verdict<T> {
    if let Some(known) = lock(known).get(&id)
        && known.of == of
    {
        return known.verdict.clone();
    }
    let verdict = Arc::new(validate(&of));
    lock(known).insert(id, Known { of, verdict: verdict.clone() });
    verdict
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Single inserts and removes; a panic elsewhere does not spoil the map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
