//! `lineside-operator`: reads the command line and runs the command.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use lineside_operator::cli::{Cli, Command, LogFormat};
use lineside_operator::{client, run};
use tracing::error;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            // --help and --version are answers, everything else is a usage error.
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let log = match &cli.command {
        Command::Run(args) => args.log.format,
        Command::StripFinalizers(args) => args.log.format,
    };
    start_log(log);
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(error = format!("{failure:#}"), "The operator ends");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    client::install_tls()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(*args).await,
            Command::StripFinalizers(args) => run::strip(&args.watch.namespaces()).await,
        }
    })
}

fn start_log(format: Option<LogFormat>) {
    // What a request came to is told by who made it, once.
    let default = || EnvFilter::new("info,kube_client=off,kube_runtime=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    let terminal = std::io::stderr().is_terminal();
    let text = if terminal { LogFormat::Text } else { LogFormat::Json };
    // A second subscriber cannot be there: this is the first thing the process does.
    let _ = match format.unwrap_or(text) {
        LogFormat::Text => log.with_ansi(terminal).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
