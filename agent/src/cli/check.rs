//! `lineside check`: is everything there that an agent needs?

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lineside_core::clock::SystemClock;
use lineside_core::secret::Secrets;

use super::{Exit, Output, local};
use crate::check::{self, Finding};
use crate::cluster::client::{ACCOUNT_DIR, Server};
use crate::cluster::identity::{CONFIG_DIR, Pod, SECRETS_DIR, STATE_DIR};
use crate::config::scan::{self, ScannedFile};
use crate::{cluster, identity, registry};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside check
  lineside check --config plant/ --secrets secrets/ --state state/
  lineside check --pre --namespace lineside-system
  kubectl exec -n plant POD -- lineside check --cluster

Devices and brokers are dialled and nothing is asked of them, so a running agent is not disturbed.
Exit codes: 0 all is well, 1 something is not, 2 usage.")]
pub struct Args {
    /// Directory with DeviceConnection and Pipeline YAML, whose devices and brokers are dialled
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    config: Option<PathBuf>,
    /// Directory with secrets: DIR/<secret>/<key>
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    secrets: Option<PathBuf>,
    /// Directory for state, which is tried by writing a file
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    state: Option<PathBuf>,
    /// Inside an agent's pod: its configuration, its volumes, and what the API server allows it
    #[arg(long)]
    cluster: bool,
    /// Before the charts are installed: version of the cluster, rights, what is there already;
    /// asks through kubectl
    #[arg(long, conflicts_with_all = ["cluster", "config", "secrets", "state"])]
    pre: bool,
    /// Namespace that the charts are to be installed into
    #[arg(short, long, default_value = "lineside-system", requires = "pre")]
    namespace: String,
    /// Context of the kubeconfig
    #[arg(long, requires = "pre")]
    context: Option<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let findings = match args.pre {
        true => check::pre::pre(&options(args), &args.namespace),
        false => local::runtime()?.block_on(look(args))?,
    };
    let ill = findings.iter().filter(|f| f.verdict.is_err()).count();
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            let report = serde_json::json!({"failed": ill, "findings": findings});
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        }
        Output::Text => {
            findings.iter().try_for_each(|finding| print(&mut out, finding))?;
            writeln!(out, "{} of {} checks failed", ill, findings.len())?;
        }
    }
    Ok(if ill > 0 { Exit::Findings } else { Exit::Ok })
}

fn options(args: &Args) -> Vec<String> {
    args.context.iter().map(|context| format!("--context={context}")).collect()
}

fn print(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let Finding { subject, verdict } = finding;
    match verdict {
        Ok(detail) => writeln!(out, "ok    {subject}: {detail}"),
        Err((code, message)) => {
            writeln!(out, "FAIL  {subject}: {message}")?;
            writeln!(out, "      {code} {}. Next: {}", code.reason(), code.next())
        }
    }
}

async fn look(args: &Args) -> anyhow::Result<Vec<Finding>> {
    let drivers: Vec<_> = registry::drivers().iter().map(|d| d.protocol()).collect();
    let build = format!("speaks {}", drivers.join(", "));
    let version = format!("lineside {}", env!("CARGO_PKG_VERSION"));
    let mut findings = vec![Finding::well(version, build), check::clock(&SystemClock)];
    if args.cluster {
        return inside(findings).await;
    }
    // In a pod, as `helm test` runs it.
    if let Some(server) = Server::read(|name| std::env::var(name).ok()) {
        findings.push(check::api_server(&server).await);
    }
    findings.extend(args.state.as_deref().map(check::state));
    if let Some(config) = &args.config {
        let files = scan::read_paths(std::slice::from_ref(config))?;
        findings.extend(whole(files, args.secrets.as_deref()).await);
    }
    Ok(findings)
}

/// Everything that the agent of this pod needs.
async fn inside(mut findings: Vec<Finding>) -> anyhow::Result<Vec<Finding>> {
    let get = |name: &str| std::env::var(name).ok();
    let pod = Pod::read(get, identity::host_name())?;
    let server = Server::read(get).context("this pod knows no API server")?;
    findings.push(check::state(Path::new(STATE_DIR)));
    findings.extend(check::cluster(&pod, &server, Path::new(ACCOUNT_DIR)).await);
    match cluster::source::mounted(Path::new(CONFIG_DIR), &pod) {
        Ok(files) => findings.extend(whole(files, Some(Path::new(SECRETS_DIR))).await),
        Err(trouble) => {
            findings.push(Finding::ill("mounted configuration", trouble.code, trouble.message));
        }
    }
    Ok(findings)
}

async fn whole(files: Vec<ScannedFile>, secrets: Option<&Path>) -> Vec<Finding> {
    let (mut findings, objects) = check::configuration(files);
    let secrets = Secrets::new(secrets.map(Path::to_owned));
    findings.extend(check::outside(&objects, &secrets).await);
    findings
}
