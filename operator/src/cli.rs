//! The command line of `lineside-operator`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// The Lineside operator: turns DeviceConnections and Pipelines into agents on nodes.
#[derive(Debug, Parser)]
#[command(name = "lineside-operator", version, about)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator until it is told to end
    Run(Box<RunArgs>),
    /// Removes Lineside's finalizers from all Agents, so that they can be deleted without an
    /// operator; the agents go on running
    StripFinalizers(StripArgs),
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside-operator run --agent-image registry.example/lineside/agent:1.0.0
  lineside-operator run --agent-image agent:dev --watch-namespaces line-1 --watch-namespaces line-2
  KUBECONFIG=lab.yaml lineside-operator run --agent-image agent:dev --http 127.0.0.1:8080

In a pod the cluster is found by the service account, elsewhere by KUBECONFIG. SIGTERM and
Ctrl-C end the operator; the agents it made go on without it.")]
pub struct RunArgs {
    /// Namespaces to look at; repeat it or separate them by commas [default: all]
    #[command(flatten)]
    pub watch: WatchArgs,
    /// File with the spec of the pool that a namespace without an AgentPool `default` uses
    #[arg(long, value_name = "FILE", env = "LINESIDE_DEFAULT_POOL")]
    pub default_pool: Option<PathBuf>,
    /// Image of agents whose pool names none
    #[arg(long, value_name = "IMAGE", env = "LINESIDE_AGENT_IMAGE")]
    pub agent_image: String,
    /// When nodes pull the image of agents [default: the cluster's rule]
    #[arg(long, value_name = "POLICY", env = "LINESIDE_AGENT_IMAGE_PULL_POLICY")]
    pub agent_image_pull_policy: Option<PullPolicy>,
    /// Namespace of the Lease that says which operator leads [default: that of the operator]
    #[arg(long, value_name = "NAMESPACE", env = "LINESIDE_LEADER_ELECT_NAMESPACE")]
    pub leader_elect_namespace: Option<String>,
    /// Name of the operator's own pod. With it, a restarted container leads again at once
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Address of /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", env = "LINESIDE_HTTP")]
    pub http: SocketAddr,
    /// Most objects that are worked on at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// How the log is written
    #[command(flatten)]
    pub log: LogArgs,
    /// Ends the process after this many writes, as if it had crashed
    #[arg(long, hide = true)]
    pub exit_after_writes: Option<u64>,
}

/// Arguments of `strip-finalizers`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside-operator strip-finalizers
  lineside-operator strip-finalizers --watch-namespaces line-1")]
pub struct StripArgs {
    /// Namespaces to look at
    #[command(flatten)]
    pub watch: WatchArgs,
    /// How the log is written
    #[command(flatten)]
    pub log: LogArgs,
}

/// Which namespaces.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Namespaces to look at; repeat it or separate them by commas [default: all]
    #[arg(
        long = "watch-namespaces",
        value_name = "NAMESPACE",
        env = "LINESIDE_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_parser = namespace
    )]
    namespaces: Vec<String>,
}

impl WatchArgs {
    /// The namespaces, each once; none = all.
    pub fn namespaces(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// How the log is written.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Log format [default: text on a terminal, else json]
    #[arg(long = "log", value_enum, value_name = "FORMAT", env = "LINESIDE_LOG")]
    pub format: Option<LogFormat>,
}

/// Log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people
    Text,
    /// One JSON object per event
    Json,
}

/// `imagePullPolicy` of the agents' containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// At every start
    #[value(name = "Always")]
    Always,
    /// When the node has none
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    /// Never; the node has it
    #[value(name = "Never")]
    Never,
}

impl PullPolicy {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A namespace's name is an RFC 1123 label. The empty one stands for none, so that a chart can
/// set the variable always.
fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: char| c != '-';
    let good = text.len() <= 63
        && text.chars().all(inner)
        && text.starts_with(edge)
        && text.ends_with(edge);
    match text.is_empty() || good {
        true => Ok(text.to_owned()),
        false => Err("a namespace has small letters, digits and -, at most 63".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn namespaces_may_be_repeated_or_joined_and_none_means_all() {
        let parse = |args: &[&str]| {
            let all = ["lineside-operator", "strip-finalizers"].iter().chain(args);
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Command::StripFinalizers(args)) => Ok(args.watch.namespaces()),
                Ok(_) => panic!("another command"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(parse(&[]).unwrap(), Vec::<String>::new());
        let some = ["--watch-namespaces", "b,a", "--watch-namespaces", "b"];
        assert_eq!(parse(&some).unwrap(), ["a", "b"]);
        assert_eq!(parse(&["--watch-namespaces", ""]).unwrap(), Vec::<String>::new());
        assert!(parse(&["--watch-namespaces", "No_Such"]).unwrap_err().contains("small letters"));
    }
}
