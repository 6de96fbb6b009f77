//! The watches that fill the tables.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::kinds::{self, Tracked};
use super::table::Scope;
use super::{Cache, Guarded};
use crate::apply;
use crate::metrics::Metrics;
use crate::queue::{Key, Queue};

/// Objects per request of a list: what is decoded at once is held in memory at once.
const PAGE_SIZE: u32 = 50;

/// Longest life of one watch request, in seconds. A link that died silently is noticed this
/// late at worst.
const WATCH_SECONDS: u32 = 180;

/// Only what the operator made itself.
const OURS: &str = "app.kubernetes.io/managed-by=lineside-operator";

/// Starts all watches. They run until the set is dropped.
pub fn start(
    client: &Client,
    cache: &Arc<Cache>,
    queue: &Queue<Key>,
    metrics: &Metrics,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let all = Starter { client, cache, queue, metrics };
    for scope in cache.scopes() {
        all.namespaced::<Guarded<kinds::DeviceConnection>>(&mut tasks, scope, None);
        all.namespaced::<Guarded<kinds::Pipeline>>(&mut tasks, scope, None);
        all.namespaced::<Guarded<kinds::Sink>>(&mut tasks, scope, None);
        all.namespaced::<Guarded<kinds::AgentPool>>(&mut tasks, scope, None);
        all.namespaced::<Guarded<kinds::Agent>>(&mut tasks, scope, None);
        all.namespaced::<kinds::StatefulSet>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::ConfigMap>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::ServiceAccount>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::RoleBinding>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::Claim>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::Lease>(&mut tasks, scope, Some(OURS));
        all.namespaced::<kinds::Pod>(&mut tasks, scope, Some(OURS));
    }
    all.cluster::<kinds::Node>(&mut tasks);
    tasks
}

struct Starter<'a> {
    client: &'a Client,
    cache: &'a Arc<Cache>,
    queue: &'a Queue<Key>,
    metrics: &'a Metrics,
}

impl Starter<'_> {
    fn namespaced<K>(&self, tasks: &mut JoinSet<()>, scope: &Scope, labels: Option<&str>)
    where
        K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = match scope {
            Scope::Cluster => Api::all(self.client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(self.client.clone(), namespace),
        };
        self.spawn::<K>(tasks, api, scope.clone(), labels);
    }

    fn cluster<K>(&self, tasks: &mut JoinSet<()>)
    where
        K: Tracked + Resource<DynamicType = (), Scope = ClusterResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        self.spawn::<K>(tasks, Api::all(self.client.clone()), Scope::Cluster, None);
    }

    fn spawn<K>(&self, tasks: &mut JoinSet<()>, api: Api<K>, scope: Scope, labels: Option<&str>)
    where
        K: Tracked + Resource + Clone + Debug + DeserializeOwned,
    {
        let mut config = watcher::Config::default().page_size(PAGE_SIZE).timeout(WATCH_SECONDS);
        if let Some(labels) = labels {
            config = config.labels(labels);
        }
        let stream = watcher(api, config).backoff(Wait::default());
        let (cache, queue) = (self.cache.clone(), self.queue.clone());
        tasks.spawn(follow(stream, scope, cache, queue, self.metrics.clone()));
    }
}

/// Follows one watch for ever.
async fn follow<K: Tracked>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    scope: Scope,
    cache: Arc<Cache>,
    queue: Queue<Key>,
    metrics: Metrics,
) {
    let mut stream = pin!(stream);
    let mut failing = false;
    // The stream never ends by itself.
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let listed = matches!(event, watcher::Event::InitDone);
                let event = event.modify(|object| {
                    object.meta_mut().managed_fields = None;
                    K::prune(object);
                });
                let table = K::table(&cache);
                for change in table.handle(&scope, event) {
                    let now = tokio::time::Instant::now().into_std();
                    queue.push_all(K::noticed(&change, &cache, now));
                }
                metrics.cached(K::KIND, table.len());
                if listed {
                    if std::mem::take(&mut failing) {
                        info!(kind = K::KIND, "Watching again");
                    }
                    metrics.listed(K::KIND);
                }
            }
            Err(error) => {
                metrics.watch_failed(K::KIND);
                // A broken connection is normal and mended by the next try; what goes on is said
                // once.
                if !std::mem::replace(&mut failing, true) {
                    warn!(kind = K::KIND, error = brief(&error), "Watching failed, trying again");
                }
            }
        }
    }
}

fn brief(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(source) => format!("list: {}", apply::brief(source)),
        watcher::Error::WatchStartFailed(source) | watcher::Error::WatchFailed(source) => {
            format!("watch: {}", apply::brief(source))
        }
        watcher::Error::WatchError(status) => format!("watch: {}", status.message),
        other @ watcher::Error::NoResourceVersion => other.to_string(),
    }
}

/// Waits between tries: from half a second, doubling, to eight, each up to half longer. Short,
/// because an API server that is back should find everybody soon, and there are only a dozen
/// watches.
#[derive(Debug, Default)]
struct Wait {
    tries: u32,
    random: RandomState,
}

impl Iterator for Wait {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let base = 500_u64.saturating_mul(1 << self.tries.min(4));
        self.tries = self.tries.saturating_add(1);
        let spread = self.random.hash_one(self.tries) % (base / 2);
        Some(Duration::from_millis(base + spread))
    }
}

impl Backoff for Wait {
    fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_eight_seconds_and_start_over() {
        let mut wait = Wait::default();
        let millis: Vec<u128> = wait.by_ref().take(7).map(|d| d.as_millis()).collect();
        for (wait, base) in millis.iter().zip([500, 1000, 2000, 4000, 8000, 8000, 8000]) {
            assert!((base..base * 3 / 2).contains(wait), "{millis:?}");
        }
        wait.reset();
        assert!(wait.next().unwrap() < Duration::from_millis(750));
    }
}
