//! Writing to the cluster: server-side apply, and nothing when nothing differs.
//!
//! Whether an object differs is decided twice. The annotation `lineside.dev/applied-hash` says
//! which wish the object was last made from, so a field that is no longer wished for is noticed.
//! And every field of the wish is compared with the live object, so an edit by somebody else is
//! noticed. Both look at the cache: an unchanged cluster costs no request at all.

mod differ;

pub use differ::difference;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    Preconditions, PropagationPolicy,
};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::cache::kinds::{Agent, ConfigMap, data_digest};
use crate::cache::{Cache, Change, Id, Tracked};
use crate::metrics::Metrics;
use crate::queue::{Key, Queue};
use crate::{FIELD_MANAGER, STATUS_MANAGER};

/// Which wish an object was made from.
const APPLIED_HASH: &str = "lineside.dev/applied-hash";

/// Longest wait for one request, its retries included.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A request that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused it or could not be reached.
    #[error("{what}")]
    Request {
        /// What was tried on what.
        what: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// No answer in time.
    #[error("{what}: no answer within {limit:?}")]
    Late {
        /// What was tried on what.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The object cannot be written as JSON.
    #[error("{what}")]
    Encode {
        /// What was tried on what.
        what: String,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
}

impl ApplyError {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Request { source: kube::Error::Api(status), .. } => Some(status),
            _ => None,
        }
    }

    /// Why it failed, in one line.
    pub fn cause(&self) -> String {
        match self {
            Self::Request { source, .. } => brief(source),
            Self::Late { .. } => String::new(),
            Self::Encode { source, .. } => source.to_string(),
        }
    }

    /// The API server has no such object.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// The object is not as the writer thought.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_conflict)
    }

    /// The API server understood and refused; other objects may fare better.
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| (400..500).contains(&status.code) && status.code != 429)
    }

    /// Nothing can be made in the namespace any more.
    pub fn is_namespace_terminating(&self) -> bool {
        let causes = self.status().and_then(|s| s.details.as_ref()).map(|d| d.causes.as_slice());
        causes.unwrap_or_default().iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

/// What an apply came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object is as wished; nothing was sent.
    Unchanged,
    /// It was made or changed because the wish is new.
    Written,
    /// It had been as wished, and somebody else had changed or deleted it.
    Repaired,
}

/// Writes objects.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    cache: Arc<Cache>,
    queue: Queue<Key>,
    metrics: Metrics,
    memory: Arc<Mutex<Memory>>,
}

/// What is remembered of own writes.
#[derive(Debug, Default)]
struct Memory {
    /// Objects that were seen as wished, so that their absence is somebody's doing.
    settled: BTreeSet<(&'static str, Id)>,
    /// Objects that admission makes different from what was sent: the wish, and what became of
    /// it. Sending the same wish again would change nothing, for ever.
    admitted: BTreeMap<(&'static str, Id), (String, Value)>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that keeps this cache up to date with what it writes, and tells the queue what
    /// has to be looked at because of it: the watch will not, since its echo is no news.
    pub fn new(client: Client, cache: Arc<Cache>, queue: Queue<Key>, metrics: Metrics) -> Self {
        Self { client, cache, queue, metrics, memory: Arc::default() }
    }

    /// Makes the object as wished, if it is not.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn apply<K>(&self, wish: &K) -> Result<Applied, ApplyError>
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let namespace = wish.namespace().unwrap_or_default();
        let name = wish.name_any();
        let what = || format!("apply {} {namespace}/{name}", K::KIND);
        let encode = |source| ApplyError::Encode { what: what(), source };
        let mut body = serde_json::to_value(wish).map_err(encode)?;
        let hash = hash(&body);
        annotate(&mut body, &hash);

        let memory_key = (K::KIND, (namespace.clone(), name.clone()));
        let live = K::table(&self.cache).get(&namespace, &name);
        let live = live.map(|live| serde_json::to_value(&*live)).transpose().map_err(encode)?;
        let mut found = None;
        if let Some(live) = &live {
            found = difference(&comparable(&body), &comparable(live));
            let made_from = live.pointer("/metadata/annotations").and_then(|a| a.get(APPLIED_HASH));
            let same_wish = made_from.and_then(Value::as_str) == Some(&hash);
            if same_wish && (found.is_none() || self.is_as_admitted(&memory_key, &hash, live)) {
                self.memory().settled.insert(memory_key);
                return Ok(Applied::Unchanged);
            }
            if !same_wish {
                found = None;
            }
        }
        let missing = live.is_none() && self.memory().settled.contains(&memory_key);

        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let answer = bounded(what, api.patch(&name, &params, &patch)).await?;
        self.metrics.wrote(K::KIND);
        self.learn(memory_key, hash, &body, &answer);
        self.take_in(answer);
        if let Some(field) = &found {
            info!(kind = K::KIND, namespace, name, field, "Repaired what somebody had changed");
        } else if missing {
            info!(kind = K::KIND, namespace, name, "Made again what somebody had deleted");
        } else {
            return Ok(Applied::Written);
        }
        self.metrics.repaired(K::KIND);
        Ok(Applied::Repaired)
    }

    /// Makes an Agent that is not there.
    ///
    /// # Errors
    /// When the API server does not take it, for example because there is one.
    pub async fn create_agent(&self, agent: &Agent) -> Result<(), ApplyError> {
        let (namespace, name) = (agent.namespace().unwrap_or_default(), agent.name_any());
        let api: Api<Agent> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let what = || format!("create Agent {namespace}/{name}");
        let answer = bounded(what, api.create(&params, agent)).await?;
        self.metrics.wrote("Agent");
        self.take_in_and_tell(DeserializeGuard(Ok(answer)));
        Ok(())
    }

    /// The whole of an object of which the cache has a part only.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ApplyError>
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        bounded(|| format!("get {} {namespace}/{name}", K::KIND), api.get_opt(name)).await
    }

    /// The status of an object that cannot be decoded as a whole; the default when there is none
    /// or it cannot be decoded either.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn status_of_undecodable<K, S>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<S, ApplyError>
    where
        K: Tracked + Resource<DynamicType = ()>,
        S: DeserializeOwned + Default,
    {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        // A list of one: the right to list is there anyway.
        let one = ListParams::default().fields(&format!("metadata.name={name}"));
        let what = || format!("list {} {namespace}/{name}", K::KIND);
        let found = bounded(what, api.list(&one)).await?.items.into_iter().next();
        let status = found.and_then(|object| object.data.get("status").cloned());
        Ok(status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default())
    }

    /// Whether a namespace is being deleted, or gone.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn is_terminating(&self, namespace: &str) -> Result<bool, ApplyError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = || format!("get Namespace {namespace}");
        let found = bounded(what, api.get_metadata_opt(namespace)).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// Changes single fields of an object that somebody else owns.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn merge<K>(
        &self,
        namespace: &str,
        name: &str,
        body: &Value,
    ) -> Result<(), ApplyError>
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let patch = Patch::Merge(body);
        let what = || format!("patch {} {namespace}/{name}", K::KIND);
        let answer = bounded(what, api.patch(name, &params, &patch)).await;
        let answer = answer.inspect_err(|error| self.drop_missing::<K>(namespace, name, error))?;
        self.metrics.wrote(K::KIND);
        self.take_in_and_tell(answer);
        Ok(())
    }

    /// Writes the status of an object of the user. The caller knows that it differs.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn status<K>(
        &self,
        namespace: &str,
        name: &str,
        status: &impl Serialize,
    ) -> Result<(), ApplyError>
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(STATUS_MANAGER).force();
        let body = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status,
        });
        let patch = Patch::Apply(&body);
        let what = || format!("write the status of {} {namespace}/{name}", K::KIND);
        let answer = bounded(what, api.patch_status(name, &params, &patch)).await;
        let answer = answer.inspect_err(|error| self.drop_missing::<K>(namespace, name, error))?;
        self.metrics.wrote(K::KIND);
        self.take_in(answer);
        Ok(())
    }

    /// Deletes the object of this uid; one of the same name that was made since stays. No error
    /// if there is none.
    ///
    /// # Errors
    /// When the API server does not do it.
    pub async fn delete<K>(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), ApplyError>
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, ..Default::default() }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..Default::default()
        };
        let what = || format!("delete {} {namespace}/{name}", K::KIND);
        self.memory().settled.remove(&(K::KIND, (namespace.to_owned(), name.to_owned())));
        match bounded(what, api.delete(name, &params)).await {
            Ok(_) => self.metrics.wrote(K::KIND),
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Forgets the objects of an agent that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut memory = self.memory();
        let belongs = |id: &Id| {
            id.0 == namespace
                && id
                    .1
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        memory.settled.retain(|(_, id)| !belongs(id));
        memory.admitted.retain(|(_, id), _| !belongs(id));
    }

    /// What the API server does not know is not kept for real here either.
    fn drop_missing<K: Tracked>(&self, namespace: &str, name: &str, error: &ApplyError) {
        if error.is_not_found()
            && let Some(change) = K::table(&self.cache).forget(namespace, name)
        {
            self.queue.push_all(K::keys(&change, &self.cache));
        }
    }

    fn take_in<K: Tracked>(&self, mut answer: K) -> Option<Change<K>> {
        answer.meta_mut().managed_fields = None;
        K::prune(&mut answer);
        K::table(&self.cache).written(answer)
    }

    fn take_in_and_tell<K: Tracked>(&self, answer: K) {
        if let Some(change) = self.take_in(answer) {
            self.queue.push_all(K::keys(&change, &self.cache));
        }
    }

    fn is_as_admitted(&self, key: &(&'static str, Id), hash: &str, live: &Value) -> bool {
        let memory = self.memory();
        let admitted = memory.admitted.get(key);
        admitted.is_some_and(|(wish, became)| wish == hash && *became == comparable(live))
    }

    /// Compares what was sent with what came back.
    fn learn<K: Serialize + Tracked>(
        &self,
        key: (&'static str, Id),
        hash: String,
        body: &Value,
        answer: &K,
    ) {
        let Ok(answer) = serde_json::to_value(answer) else { return };
        let answer = comparable(&answer);
        let mut memory = self.memory();
        memory.settled.insert(key.clone());
        match difference(&comparable(body), &answer) {
            None => {
                memory.admitted.remove(&key);
            }
            Some(field) => {
                let (namespace, name) = &key.1;
                warn!(kind = key.0, namespace, name, field, "Admission changes what is applied");
                memory.admitted.insert(key, (hash, answer));
            }
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        // Single inserts and removes; a panic elsewhere does not spoil the sets.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API server said, without the dump of its answer.
pub fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match status.message.is_empty() {
            true => format!("{} {}", status.code, status.reason),
            false => status.message.clone(),
        },
        other => other.to_string(),
    }
}

async fn bounded<T>(
    what: impl Fn() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(REQUEST_LIMIT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ApplyError::Request { what: what(), source }),
        Err(_) => Err(ApplyError::Late { what: what(), limit: REQUEST_LIMIT }),
    }
}

fn hash(body: &Value) -> String {
    Sha256::digest(body.to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn annotate(body: &mut Value, hash: &str) {
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(APPLIED_HASH.to_owned(), json!(hash));
    }
}

/// The object without what the API server counts and without what its owner reports. The data
/// of a ConfigMap becomes its digest, as in the cache.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    let digest = (object.get("kind").and_then(Value::as_str) == Some("ConfigMap"))
        .then(|| serde_json::from_value::<ConfigMap>(object.clone()).ok())
        .flatten()
        .map(|map| data_digest(&map));
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(digest) = digest {
            fields.remove("data");
            fields.remove("binaryData");
            fields.insert("digest".to_owned(), json!(digest));
        }
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for counted in ["resourceVersion", "generation", "managedFields"] {
                metadata.remove(counted);
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_config_map_is_compared_although_the_cache_holds_a_digest_only() {
        let map = |value: &str| -> ConfigMap {
            let object = json!({"metadata": {"name": "a", "namespace": "n"}, "data": {"k": value}});
            serde_json::from_value(object).unwrap()
        };
        let wish = serde_json::to_value(map("1")).unwrap();
        let cached = |value: &str| {
            let mut live = map(value);
            ConfigMap::prune(&mut live);
            serde_json::to_value(live).unwrap()
        };
        assert_eq!(difference(&comparable(&wish), &comparable(&cached("1"))), None);
        let field = difference(&comparable(&wish), &comparable(&cached("2")));
        assert_eq!(field.as_deref(), Some("digest"));
    }

    #[test]
    fn the_hash_of_a_wish_does_not_depend_on_the_order_in_which_it_was_made() {
        let one = json!({"a": 1, "b": {"c": 2, "d": 3}});
        let two = json!({"b": {"d": 3, "c": 2}, "a": 1});
        assert_eq!(hash(&one), hash(&two));
        assert_ne!(hash(&one), hash(&json!({"a": 1, "b": {"c": 2, "d": 4}})));
    }
}
