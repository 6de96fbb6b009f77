//! `lineside agent --config DIR`: the agent without Kubernetes; with `--cluster` as a pod of one.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Exit;
use crate::api::listen::PageAt;
use crate::cluster::Cluster;
use crate::cluster::client::{ACCOUNT_DIR, Server};
use crate::cluster::identity::Pod;
use crate::identity::{self, State};
use crate::runner::{self, Runner};

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
    /// Run as a pod that the operator made: --config is the volume that it fills, and the API
    /// server is told how the agent is
    #[arg(long, conflicts_with = "name")]
    cluster: bool,
    /// Directory with secrets: DIR/<secret>/<key>, the layout of mounted Kubernetes Secrets
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Directory for state: the agent's id and its socket [default: ~/.local/state/lineside]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Name of this agent in topics and logs [default: the host name]
    #[arg(long, value_parser = identity::parse_name)]
    name: Option<String>,
    /// Address of /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    http: SocketAddr,
    /// Address of the page and the local API, on the loopback interface; port 0 takes a free
    /// one, `off` switches it off [default: 127.0.0.1:9465, or a free port when it is taken]
    #[arg(long, value_name = "ADDRESS|off")]
    page: Option<PageAt>,
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
    let cluster = if args.cluster { Some(cluster()?) } else { None };
    let Some(state_dir) = args.state.clone().or_else(identity::default_dir) else {
        bail!("no home directory for the state; give one with --state DIR");
    };
    let agent = Runner {
        config: args.config,
        secrets: args.secrets,
        state: State::open(&state_dir, cluster.as_ref().map(|c| &c.pod.uid))?,
        name: match &cluster {
            Some(cluster) => cluster.pod.agent.clone(),
            None => args.name.unwrap_or_else(identity::host_name),
        },
        cluster,
        http: args.http,
        page: args.page.unwrap_or_default(),
        drain: Duration::from_secs(args.drain_seconds),
    };
    runner::block_on(runner::runtime()?, async {
        let end = runner::told_to_end()?;
        agent.run(end, |_, _| ()).await
    })
}

/// What the operator and the kubelet say to a pod.
fn cluster() -> anyhow::Result<Cluster> {
    let get = |name: &str| std::env::var(name).ok();
    let pod = Pod::read(get, identity::host_name())?;
    let Some(server) = Server::read(get) else {
        bail!("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set as in a pod");
    };
    Ok(Cluster { pod, server, account: ACCOUNT_DIR.into() })
}

/// Starts the log on standard error.
pub(super) fn start_log(format: Option<LogFormat>) {
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
