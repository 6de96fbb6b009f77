//! One operator process: stand for leader, lead for a term, stand again.
//!
//! A term starts with empty tables and ends with the leadership; nothing of it is kept, so the
//! next term decides from what is in the cluster and not from what was true before.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lineside_crds::model::ObjectKey;
use lineside_crds::validate::{Meta, judge_agent_pool};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::cache::{self, Cache, all_keys, keys_of_agent};
use crate::cli::RunArgs;
use crate::client::{self, Clients, Stop};
use crate::leader::{Elector, Fence, Leader, LeaderConfig, Timing};
use crate::metrics::Metrics;
use crate::pools::DefaultPool;
use crate::probes::{self, Phase, Probes};
use crate::queue::{self, Queue, Settings};
use crate::reconcile::Reconciler;

/// Name of the Lease that says who leads.
const LEADER_LEASE: &str = "lineside-operator";

/// How often it is looked for agents that fell silent.
const PULSE: Duration = Duration::from_secs(1);

/// How often it is looked whether everything is listed.
const LOADING: Duration = Duration::from_millis(50);

/// After this long without everything being listed it is said what is missing.
const LOADING_LONG: Duration = Duration::from_secs(15);

/// Runs the operator until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot start: no cluster, a bad default pool, an address that is taken.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let metrics = Metrics::new().context("set up the metrics")?;
    let default_pool = default_pool(&args)?;
    let namespaces = args.watch.namespaces();
    let config = client::config().await?;
    let home = args.leader_elect_namespace.clone().unwrap_or(config.default_namespace.clone());
    let fence = Fence::default();
    let stop = args.exit_after_writes.map(Stop::after);
    let clients = client::clients(config, fence.clone(), &metrics, stop)?;

    let probes = Arc::new(Probes::new(metrics.clone()));
    let listener = probes::bind(args.http).await?;
    info!(
        address = %listener.local_addr().context("listen")?,
        version = env!("CARGO_PKG_VERSION"),
        namespaces = ?namespaces,
        "The operator starts"
    );
    let mut server = pin!(probes::serve(listener, probes.clone()));

    let pod = args.pod_name.as_deref().filter(|name| !name.is_empty());
    let elector = Elector::new(pod, &host(), &crate::nonce());
    let instance = elector.identity().to_owned();
    let mut leader = Leader::new(clients.election.clone(), leader_config(home), elector, fence);

    let (mut term_ends, mut interrupt) = (
        signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
    );
    let mut shutdown = pin!(async {
        tokio::select! {
            _ = term_ends.recv() => {}
            _ = interrupt.recv() => {}
        }
    });

    let settings = Settings { concurrency: args.concurrency.into(), ..Settings::default() };
    loop {
        probes.enter(Phase::Standby, None);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            result = &mut server => bail!("the HTTP server ended: {result:?}"),
            () = leader.acquire() => {}
        }
        let (stop, stopped) = watch::channel(false);
        let term = Term {
            clients: &clients,
            namespaces: &namespaces,
            default_pool: &default_pool,
            instance: &instance,
            metrics: &metrics,
            probes: &probes,
            settings,
        };
        let mut term = pin!(term.run(stopped));
        tokio::select! {
            biased;
            () = &mut shutdown => {
                info!("The operator ends");
                // What runs is finished; the right to write outlasts the grace for it.
                stop.send_replace(true);
                term.await;
                leader.release().await;
                return Ok(());
            }
            result = &mut server => bail!("the HTTP server ended: {result:?}"),
            () = leader.hold() => {}
            () = &mut term => error!("The work ended by itself"),
        }
    }
}

/// Runs `strip-finalizers`.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn strip(namespaces: &[String]) -> anyhow::Result<()> {
    let metrics = Metrics::new().context("set up the metrics")?;
    let config = client::config().await?;
    let home = leader_config(config.default_namespace.clone());
    let clients = client::clients(config, Fence::default(), &metrics, None)?;
    let agents = crate::strip::strip(clients.election, namespaces, home).await?;
    info!(agents, "Finalizers are removed; the agents go on running");
    Ok(())
}

fn leader_config(namespace: String) -> LeaderConfig {
    LeaderConfig { namespace, name: LEADER_LEASE.to_owned(), timing: Timing::default() }
}

/// One time of leading.
struct Term<'a> {
    clients: &'a Clients,
    namespaces: &'a [String],
    default_pool: &'a DefaultPool,
    instance: &'a str,
    metrics: &'a Metrics,
    probes: &'a Probes,
    settings: Settings,
}

impl Term<'_> {
    /// Works until told to stop, or until it is dropped, which ends everything at once.
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let cache = Arc::new(Cache::new(self.namespaces));
        let queue = Queue::new(self.settings);
        self.probes.enter(Phase::Loading, Some(queue.clone()));
        // Dropped with this future, and the watches with them.
        let watches = cache::start(&self.clients.watch, &cache, &queue, self.metrics);
        tokio::select! {
            () = loaded(&cache, &queue) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        info!(
            devices = cache.devices.len(),
            pipelines = cache.pipelines.len(),
            agents = cache.agents.len(),
            "Everything is listed"
        );
        self.probes.enter(Phase::Working, Some(queue.clone()));
        queue.push_all(all_keys(&cache));

        let reconciler = Arc::new(Reconciler::new(
            self.clients.fenced.clone(),
            cache.clone(),
            queue.clone(),
            self.default_pool.clone(),
            self.instance,
            self.metrics.clone(),
        ));
        let work = queue::run(
            queue.clone(),
            async move { drop(stopped.wait_for(|stop| *stop).await) },
            move |key| {
                let reconciler = reconciler.clone();
                async move { reconciler.run(key).await }
            },
        );
        tokio::select! {
            () = work => {}
            () = take_pulse(&cache, &queue, self.metrics) => {}
        }
        drop(watches);
    }
}

/// Returns when every kind was listed once.
async fn loaded(cache: &Cache, queue: &Queue<crate::queue::Key>) {
    let started = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let missing = cache.missing();
        if missing.is_empty() {
            return;
        }
        if !told && started.elapsed() > LOADING_LONG {
            told = true;
            let kinds = missing.join(", ");
            error!(kinds, "Some kinds cannot be listed; are the CRDs and the rights there?");
        }
        // The loop of the queue is not running yet, and is not stuck either.
        queue.touch();
        tokio::time::sleep(LOADING).await;
    }
}

/// Notices agents that fell silent, for ever.
async fn take_pulse(cache: &Cache, queue: &Queue<crate::queue::Key>, metrics: &Metrics) {
    let mut ticks = tokio::time::interval(PULSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await.into_std();
        for (namespace, name) in cache.pulse.tick(now) {
            info!(namespace, agent = name, "An agent is silent");
            queue.push_all(keys_of_agent(cache, &namespace, &name));
        }
        metrics.undecodable("DeviceConnection", cache.devices.count(|o| o.0.is_err()));
        metrics.undecodable("Pipeline", cache.pipelines.count(|o| o.0.is_err()));
        metrics.undecodable("Sink", cache.sinks.count(|o| o.0.is_err()));
        metrics.undecodable("AgentPool", cache.pools.count(|o| o.0.is_err()));
    }
}

/// The pool of namespaces that have none of their own.
fn default_pool(args: &RunArgs) -> anyhow::Result<DefaultPool> {
    let spec = match &args.default_pool {
        None => serde_json::json!({}),
        Some(path) => read_yaml(path)?,
    };
    let meta = Meta::new(ObjectKey::new("default", "default"));
    let judged = judge_agent_pool(&meta, &spec);
    let findings: Vec<String> = judged.findings.iter().map(ToString::to_string).collect();
    let Some(pool) = judged.object else {
        bail!("the default pool is refused: {}", findings.join("; "));
    };
    Ok(DefaultPool {
        pool,
        image: args.agent_image.clone(),
        image_pull_policy: args.agent_image_pull_policy.map(|policy| policy.word().to_owned()),
    })
}

fn read_yaml(path: &Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read --default-pool {}", path.display()))?;
    let blank = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
    match lineside_crds::yaml::values(&text).as_slice() {
        [] if text.lines().all(|line| blank(line.trim())) => Ok(serde_json::json!({})),
        [] => bail!("--default-pool {} is not YAML", path.display()),
        [one] => Ok(one.clone()),
        _ => bail!("--default-pool {} has more than one document", path.display()),
    }
}

fn host() -> String {
    // Only a name for people; the nonce makes the identity unique.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "operator".to_owned() } else { name.to_owned() }
}
