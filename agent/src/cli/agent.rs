//! `lineside agent --config DIR`: the agent without Kubernetes.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use lineside_core::clock::SystemClock;
use lineside_core::secret::Secrets;
use lineside_crds::diagnostics::Level;
use lineside_crds::yaml::Problem;
use lineside_pipeline::{Engine, Parts};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Exit;
use crate::config::book::Book;
use crate::config::scan::{self, Fingerprint};
use crate::http::{self, Shown};
use crate::identity::{self, State};
use crate::registry;

/// How often the configuration directory is looked at.
const CONFIG_PERIOD: Duration = Duration::from_millis(500);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside agent --config examples/first/
  lineside agent --config plant/ --secrets /etc/lineside/secrets --http 0.0.0.0:9464

The directory is read again whenever a file changes; only what differs is touched. A broken
document changes nothing and is reported with its line. SIGTERM and Ctrl-C end the agent after
it has delivered what it holds, or after --drain-seconds.")]
pub struct Args {
    /// Directory with DeviceConnection and Pipeline YAML (*.yaml, *.yml)
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// Directory with secrets: DIR/<secret>/<key>, the layout of mounted Kubernetes Secrets
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Directory for state: the agent's id [default: ~/.local/state/lineside]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Name of this agent in topics and logs [default: the host name]
    #[arg(long)]
    name: Option<String>,
    /// Address of /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    http: SocketAddr,
    /// Longest time to deliver what is held when the agent is told to end
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain_seconds: u64,
    /// Log format [default: text on a terminal, else json]
    #[arg(long, value_enum)]
    log: Option<LogFormat>,
}

/// Log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people
    Text,
    /// One JSON object per event
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    start_log(args.log);
    let meta = std::fs::metadata(&args.config)
        .with_context(|| format!("read --config {}", args.config.display()))?;
    if !meta.is_dir() {
        bail!("--config {} is not a directory", args.config.display());
    }
    if let Some(dir) = args.secrets.as_deref().filter(|d| !d.is_dir()) {
        bail!("--secrets {} is not a directory", dir.display());
    }
    let Some(state_dir) = args.state.clone().or_else(identity::default_dir) else {
        bail!("no home directory for the state; give one with --state DIR");
    };
    let state = State::open(&state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("lineside")
        .build()
        .context("start the runtime")?;
    runtime.block_on(work(args, state))
}

async fn work(args: Args, state: State) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let name = args.name.unwrap_or_else(identity::host_name);
    let mut engine = Engine::new(Parts {
        clock: Arc::new(SystemClock),
        secrets: Secrets::new(args.secrets),
        drivers: registry::drivers(),
        make_sink: registry::sink,
        agent_uid: state.uid.clone(),
        agent: name.as_str().into(),
    });
    let shown = Arc::new(Shown {
        view: engine.view(),
        config_applied: 0.into(),
        config_problems: 0.into(),
        config_rejected: 0.into(),
        ready: false.into(),
        started: Instant::now(),
    });
    let (listener, address) = http::bind(args.http).await?;
    let mut server = tokio::spawn(http::serve(listener, shown.clone()));
    tracing::info!(agent = name, http = %address, version = env!("CARGO_PKG_VERSION"), "Agent is up");

    let mut watch = Watch::new(&args.config);
    let mut period = tokio::time::interval(CONFIG_PERIOD);
    loop {
        tokio::select! {
            _ = period.tick() => watch.look(&mut engine, &shown).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut server => {
                ended.context("serve http")?.context("serve http")?;
                bail!("the http server ended");
            }
        }
    }
    tracing::info!("Agent ends");
    let given_up = engine.shutdown(Duration::from_secs(args.drain_seconds)).await;
    server.abort();
    if given_up > 0 {
        tracing::error!(samples = given_up, "Ended with undelivered samples");
        return Ok(Exit::Findings);
    }
    Ok(Exit::Ok)
}

/// The configuration directory and what was last seen of it.
struct Watch<'a> {
    dir: &'a Path,
    book: Book,
    seen: Option<Fingerprint>,
    reported: Vec<Problem>,
}

impl<'a> Watch<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, book: Book::default(), seen: None, reported: Vec::new() }
    }

    async fn look(&mut self, engine: &mut Engine, shown: &Shown) {
        let now = Fingerprint::of(self.dir);
        if self.seen.as_ref() == Some(&now) {
            return;
        }
        let files = match scan::read_dir(self.dir) {
            Ok(files) => files,
            Err(error) => {
                // The directory is gone (or being swapped): what runs goes on.
                if self.seen.take().is_some() {
                    tracing::error!(error = format!("{error:#}"), "Configuration is not readable");
                }
                return;
            }
        };
        self.seen = Some(now);
        let verdict = self.book.turn(&files);
        self.report(&verdict.problems);
        let errors = verdict.problems.iter().filter(|p| p.code.level() == Level::Error).count();
        let (devices, pipelines) = (verdict.desired.devices.len(), verdict.desired.pipelines.len());
        engine.apply(verdict.desired).await;
        shown.config_applied.fetch_add(1, Ordering::Relaxed);
        shown.config_problems.store(errors as u64, Ordering::Relaxed);
        shown.config_rejected.store(verdict.rejected as u64, Ordering::Relaxed);
        shown.ready.store(true, Ordering::Relaxed);
        tracing::info!(
            devices,
            pipelines,
            errors,
            rejected = verdict.rejected,
            "Configuration applied"
        );
    }

    /// Logs what is new since the last reading.
    fn report(&mut self, problems: &[Problem]) {
        for p in problems.iter().filter(|p| !self.reported.contains(p)) {
            let at = format!("{}:{}:{}", p.file, p.line, p.column);
            let (code, reason) = (p.code.id(), p.code.reason());
            let object = p.object.as_deref().unwrap_or_default();
            if p.code.level() == Level::Error {
                tracing::error!(
                    at,
                    code,
                    reason,
                    object,
                    field = p.field,
                    problem = p.message,
                    next = p.code.next(),
                    "Configuration is broken here"
                );
            } else {
                tracing::warn!(
                    at,
                    code,
                    reason,
                    object,
                    field = p.field,
                    problem = p.message,
                    "Configuration warning"
                );
            }
        }
        self.reported = problems.to_vec();
    }
}

fn start_log(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
