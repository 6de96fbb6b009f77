//! The commands. Exit codes: 0 ok, 1 findings, 2 usage, 3 unreachable.

mod agent;
mod check;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod dlq;
mod explain;
mod lag;
mod local;
mod man;
mod overview;
pub mod plugin;
#[cfg(feature = "sink-iotdb")]
mod query;
mod read;
mod status;
mod store;
mod tap;
mod terminal;
mod top;
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
  lineside status
  lineside tap 'press-*/temp*'
  lineside explain LNS-1003

Exit codes: 0 ok, 1 findings, 2 usage, 3 unreachable."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a simulated furnace line, a broker and the agent, on this machine only
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Run the agent on a directory of YAML, without Kubernetes
    Agent(agent::Args),
    /// Check YAML files: every problem of every file, with line and column
    Validate(validate::Args),
    /// Read a device once, without YAML
    Read(read::Args),
    /// Say whether the running agent works, and if not why
    Status(status::Args),
    /// Say what waits for each sink, how long, and what was given up
    Lag(lag::Args),
    /// Look at what remotes refused, send it again, or give it up
    Dlq(dlq::Args),
    /// Look at the files of a store, for support
    Store(store::Args),
    /// Read back what a pipeline wrote into IoTDB: last values, samples, numbers over time
    #[cfg(feature = "sink-iotdb")]
    Query(query::Args),
    /// Watch devices, rates, deliveries and drops of the running agent
    Top(top::Args),
    /// Look at values as they flow: raw bytes, decoded sample, delivery side by side
    Tap(tap::Args),
    /// Say whether everything is there that an agent needs: devices, brokers, secrets, cluster
    Check(check::Args),
    /// Say what a diagnostics code means and what to do
    Explain(explain::Args),
    /// Print the script that completes commands and options in a shell
    Completions(completions::Args),
    /// Print the manual page, or write all of them
    Man(man::Args),
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
            #[cfg(feature = "demo")]
            Command::Demo(args) => demo::run(&args),
            Command::Agent(args) => agent::run(args),
            Command::Validate(args) => validate::run(&args),
            Command::Read(args) => read::run(args),
            Command::Status(args) => status::run(&args),
            Command::Lag(args) => lag::run(&args),
            Command::Dlq(args) => dlq::run(&args),
            Command::Store(args) => store::run(&args),
            #[cfg(feature = "sink-iotdb")]
            Command::Query(args) => query::run(&args),
            Command::Top(args) => top::run(&args),
            Command::Tap(args) => tap::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn every_command_is_sound_has_words_and_examples() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|c| c.get_name() != "help") {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no words");
            let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(more.contains("Examples:"), "{name} has no examples");
        }
    }
}
