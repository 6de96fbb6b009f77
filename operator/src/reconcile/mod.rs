//! One key after the other: view (from the tables) -> decide (pure) -> apply -> status.
//!
//! Nothing here decides. Views are put together from the tables, the decision is a function of
//! another module, and its result is compared with what is there before anything is sent.

mod agent;
mod end;
mod judged;
mod memory;
mod namespace;
mod pool;
mod sink;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tracing::{debug, error, warn};

use crate::apply::{ApplyError, Writer};
use crate::cache::Cache;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::placement::Placement;
use crate::pools::DefaultPool;
use crate::queue::{Key, Outcome, Queue};

use judged::Judgements;
use memory::Memory;

/// How long until a key that waits for another one looks again, should nothing tell it.
const WAIT: Duration = Duration::from_secs(30);

/// Works on keys.
#[derive(Debug)]
pub struct Reconciler {
    cache: Arc<Cache>,
    queue: Queue<Key>,
    writer: Writer,
    events: Events,
    metrics: Metrics,
    default_pool: DefaultPool,
    judgements: Judgements,
    memory: Memory,
    /// The last decision for each namespace.
    placements: Mutex<BTreeMap<String, Arc<Placement>>>,
}

/// Why a run did not do what it should.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The API server did not take a write.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An object of ours cannot be decoded, so nothing may be decided from it.
    #[error("Agent {namespace}/{name} cannot be decoded: {error}")]
    Undecodable {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        error: String,
    },
}

impl Reconciler {
    /// A reconciler of one term.
    pub fn new(
        client: Client,
        cache: Arc<Cache>,
        queue: Queue<Key>,
        default_pool: DefaultPool,
        instance: &str,
        metrics: Metrics,
    ) -> Self {
        Self {
            writer: Writer::new(client.clone(), cache.clone(), queue.clone(), metrics.clone()),
            events: Events::new(client, instance, metrics.clone()),
            cache,
            queue,
            metrics,
            default_pool,
            judgements: Judgements::default(),
            memory: Memory::default(),
            placements: Mutex::default(),
        }
    }

    /// Works on one key.
    pub async fn run(&self, key: Key) -> Outcome {
        let begin = tokio::time::Instant::now();
        let result = match &key {
            Key::Namespace(namespace) => self.namespace(namespace).await,
            Key::Agent(namespace, name) => self.agent(namespace, name).await,
            Key::Device(namespace, name) => self.device(namespace, name).await,
            Key::Pipeline(namespace, name) => self.pipeline(namespace, name).await,
            Key::Sink(namespace, name) => self.sink(namespace, name).await,
            Key::Pool(namespace, name) => self.agent_pool(namespace, name).await,
        };
        let outcome = result.unwrap_or_else(|failure| self.failed(&key, &failure));
        self.metrics.reconciled(key.kind(), outcome, begin.elapsed());
        outcome
    }

    fn failed(&self, key: &Key, failure: &Failure) -> Outcome {
        match failure {
            // The other writer's word reaches us by the watch.
            Failure::Apply(error) if error.is_conflict() || error.is_not_found() => {
                debug!(%key, %failure, "Somebody else wrote in between, trying again");
            }
            Failure::Apply(error) if error.is_namespace_terminating() => {
                debug!(%key, %failure, "The namespace is being deleted");
            }
            Failure::Apply(error) => {
                warn!(%key, %failure, cause = error.cause(), "Reconciling failed, trying again");
            }
            Failure::Undecodable { .. } => error!(%key, %failure, "Nothing is decided"),
        }
        Outcome::Failed
    }

    /// The last decision for a namespace.
    fn placement(&self, namespace: &str) -> Option<Arc<Placement>> {
        self.lock_placements().get(namespace).cloned()
    }

    fn lock_placements(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Placement>>> {
        // Single inserts; a panic elsewhere does not spoil the map.
        self.placements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
