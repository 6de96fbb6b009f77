//! The running agent: engine, configuration, and what it shows, from start to a clean end.
//! `lineside agent` and `lineside demo` both run this. In a cluster the configuration is a mounted
//! set instead of a directory of files, and the agent also tells the API server how it is.

mod mounted;
mod watch;
pub mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use lineside_core::clock::Clock;
use lineside_core::driver::Driver;
use lineside_core::secret::Secrets;
use lineside_crds::yaml::Problem;
use lineside_pipeline::clock::MachineClock;
use lineside_pipeline::engine::View;
use lineside_pipeline::metrics::AgentCounts;
use lineside_pipeline::{Engine, Parts, Windows};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::api::Asker;
use crate::api::listen::{self, PageAt};
use crate::cli::Exit;
use crate::cluster::Cluster;
use crate::cluster::source::Source;
use crate::identity::State;
use crate::{api, http, page, registry};
use watch::Watch;
use watchdog::Watchdog;

/// How often the configuration directory is looked at.
const CONFIG_PERIOD: Duration = Duration::from_millis(500);

/// Most threads of the runtime: two carry millions of points per second (docs/reference/bench.md),
/// and every further one costs memory and wakes up for nothing.
const WORKERS: usize = 2;

/// What an agent is started with.
pub struct Runner {
    /// Directory of YAML; in a cluster the mounted set.
    pub config: PathBuf,
    /// What makes it an agent of a cluster.
    pub cluster: Option<Cluster>,
    /// Directory of secrets.
    pub secrets: Option<PathBuf>,
    /// Identity and lock.
    pub state: State,
    /// Name in topics and logs.
    pub name: String,
    /// Address of `/metrics`, `/livez`, `/readyz`.
    pub http: SocketAddr,
    /// Where the page and the local API are, for browsers on this machine.
    pub page: PageAt,
    /// Longest time to deliver what is held at the end.
    pub drain: Duration,
}

/// What the agent shows of itself.
pub struct Shown {
    /// Its name.
    pub agent: String,
    /// Its configuration directory.
    pub config: PathBuf,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// What runs.
    pub view: Arc<View>,
    /// What happens.
    pub windows: Arc<Windows>,
    /// The drivers, which know wire addresses.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// Problems of the configuration as it is on disk.
    pub problems: Mutex<Vec<Problem>>,
    /// What it counts of itself.
    pub counts: Arc<AgentCounts>,
    /// Whether a configuration was applied, so that work goes on.
    pub ready: AtomicBool,
    /// Whether the agent still turns.
    pub watchdog: Watchdog,
}

/// Where a running agent can be reached.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "demo"), allow(dead_code, reason = "the demo alone reads them"))]
pub struct Addresses {
    /// `/metrics`, `/livez`, `/readyz`.
    pub http: SocketAddr,
    /// The page and the local API; `None` when it is switched off.
    pub page: Option<SocketAddr>,
}

impl Runner {
    /// Runs until `end` completes; `up` is called once everything listens.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn run(
        self,
        end: impl Future<Output = ()>,
        up: impl FnOnce(Addresses, &Arc<Shown>),
    ) -> anyhow::Result<Exit> {
        let clock: Arc<dyn Clock> = Arc::new(MachineClock::default());
        let counts = Arc::<AgentCounts>::default();
        let mut engine = Engine::new(Parts {
            clock: clock.clone(),
            secrets: Secrets::new(self.secrets),
            drivers: registry::drivers(),
            make_sink: registry::sink,
            agent_uid: self.state.uid.clone(),
            agent: self.name.as_str().into(),
            store: Some(self.state.dir.join("store")),
            counts: counts.clone(),
        });
        let shown = Arc::new(Shown {
            agent: self.name.clone(),
            config: self.config.clone(),
            clock,
            view: engine.view(),
            windows: engine.windows(),
            drivers: registry::drivers(),
            problems: Mutex::default(),
            counts,
            ready: false.into(),
            watchdog: Watchdog::default(),
        });
        let (listener, address) = http::bind(self.http).await?;
        let page_listener = listen::bind_page(self.page).await?;
        let page_address = match &page_listener {
            Some(listener) => Some(listener.local_addr().context("listen for the page")?),
            None => None,
        };
        let (socket, socket_file) = listen::bind_socket(&self.state.dir)?;
        let mut servers = JoinSet::new();
        servers.spawn(http::serve(listener, shown.clone()));
        servers.spawn(listen::serve_socket(socket, api::router(shown.clone(), Asker::CommandLine)));
        if let Some(listener) = page_listener {
            let routes = api::router(shown.clone(), Asker::Browser).merge(page::router());
            servers.spawn(listen::serve_page(listener, routes));
        }
        let version = env!("CARGO_PKG_VERSION");
        let page = page_address.map_or_else(|| "off".to_owned(), |a| a.to_string());
        tracing::info!(agent = self.name, http = %address, page, version, "Agent is up");
        up(Addresses { http: address, page: page_address }, &shown);

        let mut watch = Watch::new(&self.config);
        let mut source = self
            .cluster
            .as_ref()
            .map(|cluster| Source::new(cluster.pod.clone(), &self.config, &self.state.dir));
        let mut reporters = match (&self.cluster, &source) {
            (Some(cluster), Some(source)) => cluster.report(shown.clone(), source.standing()),
            _ => JoinSet::new(),
        };
        let mut period = tokio::time::interval(CONFIG_PERIOD);
        tokio::pin!(end);
        loop {
            tokio::select! {
                _ = period.tick() => {
                    shown.watchdog.turn();
                    engine.tidy().await;
                    match &mut source {
                        None => watch.look(&mut engine, &shown).await,
                        Some(source) => {
                            mounted::look(source, &mut watch, &mut engine, &shown).await;
                        }
                    }
                }
                () = &mut end => break,
                Some(ended) = servers.join_next() => {
                    ended.context("serve http")?;
                    bail!("the http server ended");
                }
                Some(ended) = reporters.join_next() => {
                    ended.context("tell the API server")?;
                    bail!("the reports to the API server ended");
                }
            }
        }
        tracing::info!("Agent ends");
        // What ends is no state of the devices that is worth telling.
        reporters.shutdown().await;
        let given_up = engine.shutdown(self.drain).await;
        servers.shutdown().await;
        drop(socket_file);
        if given_up > 0 {
            tracing::error!(samples = given_up, "Ended with undelivered samples");
            return Ok(Exit::Findings);
        }
        Ok(Exit::Ok)
    }
}

/// The runtime of a long-running command.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS))
        .enable_all()
        .thread_name("lineside")
        .build()
        .context("start the runtime")
}

/// Longest wait for threads that are stuck in a system call (a name lookup) when a command ends.
const THREADS_END: Duration = Duration::from_secs(1);

/// Runs a command's future to its end, and does not wait for stuck threads afterwards.
pub fn block_on<F: Future>(runtime: Runtime, future: F) -> F::Output {
    let done = runtime.block_on(future);
    runtime.shutdown_timeout(THREADS_END);
    done
}

/// Completes at SIGTERM or Ctrl-C.
///
/// # Errors
/// When signals cannot be listened for.
pub fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
