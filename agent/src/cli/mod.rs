//! The commands. Exit codes: 0 ok, 1 findings, 2 usage, 3 unreachable.

mod agent;
mod explain;
mod read;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Reads industrial devices, keeps quality and time honest, and delivers to brokers.
#[derive(Debug, Parser)]
#[command(
    name = "lineside",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  lineside read modbus-tcp://10.20.0.11 --point temp=holding-register:100:REAL
  lineside validate -f plant/
  lineside agent --config plant/
  lineside explain LNS-1003

Exit codes: 0 ok, 1 findings, 2 usage, 3 unreachable."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent on a directory of YAML, without Kubernetes
    Agent(agent::Args),
    /// Check YAML files: every problem of every file, with line and column
    Validate(validate::Args),
    /// Read a device once, without YAML
    Read(read::Args),
    /// Say what a diagnostics code means and what to do
    Explain(explain::Args),
}

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, nothing to report.
    Ok = 0,
    /// Done, and something was found.
    Findings = 1,
    /// The command line or its environment is wrong.
    Usage = 2,
    /// Something could not be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Agent(args) => agent::run(args),
            Command::Validate(args) => validate::run(&args),
            Command::Read(args) => read::run(args),
            Command::Explain(args) => explain::run(&args),
        };
        match done {
            Ok(exit) => exit.into(),
            Err(error) => {
                eprintln!("lineside: {error:#}");
                Exit::Usage.into()
            }
        }
    }
}
