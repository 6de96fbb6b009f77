//! Developer commands: `cargo xtask COMMAND`.
//!
//! This file owns the command line; each command has its own module. Everything that is
//! started runs under [`process`], so that nothing outlives xtask.

mod bench;
mod compat;
mod fuzz;
mod generate;
mod image;
mod lab;
mod long;
mod peers;
mod power;
mod process;
mod results;
mod setup;
mod soak;
mod suites;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use xtask::cache::Cache;

/// Developer commands of Lineside.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                   everything that CI runs
  cargo xtask test unit integration  two suites of it
  cargo xtask lab up                 a real Kubernetes on this machine
  cargo xtask compat                 the oldest Kubernetes that is supported, and Flux
  cargo xtask gen                    write crds/*.yaml and the generated docs pages
  cargo xtask soak --seconds 3600    fuzz every target for an hour in total";

#[derive(Subcommand)]
enum Command {
    /// Install the servers the tests need into a cache outside the checkout.
    ///
    /// Debian packages, a Python environment with pinned peers, the C peers, and the lab's
    /// Kubernetes, which takes ten minutes once. Does only what is missing.
    #[command(after_help = "\
Examples:
  cargo xtask setup
  LINESIDE_CACHE=/var/cache/lineside cargo xtask setup")]
    Setup,
    /// Start real servers: those of examples/first in the foreground, or others in a lab.
    Peers(peers::Args),
    /// Run a real two-node Kubernetes on this machine; wants root.
    Lab(lab::Args),
    /// Make the images of agent and operator as OCI archives.
    Image(image::Args),
    /// Write the generated files: crds/*.yaml and the pages of docs/reference made from types.
    #[command(after_help = "\
Examples:
  cargo xtask gen
  cargo xtask gen --check            fail when a generated file is not up to date")]
    Gen {
        /// Write nothing; fail with the list of files that differ.
        #[arg(long)]
        check: bool,
    },
    /// Run the suites in order, all of them or the ones named.
    ///
    /// Goes on after a failed suite and exits non-zero at the end.
    #[command(after_help = "\
Examples:
  cargo xtask test
  cargo xtask test fmt clippy
  cargo xtask test integration -- broker   only the integration tests with `broker` in the name")]
    Test {
        /// The suites to run; none: all.
        #[arg(value_enum)]
        suites: Vec<suites::Suite>,
        /// Arguments for the test programs of `unit`, `integration` and `e2e`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Check the oldest Kubernetes that is supported, and Flux; wants root.
    ///
    /// Builds an API server of that release and the controllers of Flux, which takes half an hour
    /// once, and prints a row for each check.
    #[command(after_help = "\
Examples:
  cargo xtask compat")]
    Compat,
    /// Run the fuzz targets for long, or something else that takes its time.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
Examples:
  cargo xtask soak --seconds 3600
  cargo xtask soak --seconds 600 modbus_wire
  cargo xtask soak cluster
  cargo xtask soak kills --number 200
  cargo xtask soak iotdb --rounds 100
  cargo xtask soak power --cycles 20"
    )]
    Soak {
        #[command(subcommand)]
        other: Option<Soaked>,
        /// Time on the clock for all targets together; one runs on each core.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
        /// The targets; none: all.
        targets: Vec<String>,
    },
    /// Measure what a point costs, beside others who do the same work.
    ///
    /// Lineside, a C floor, hand-written Python and (when asked) Telegraf read the same simulated
    /// device and publish to the same broker. Prints numbers; not part of `test`.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        other: Option<Measured>,
        #[command(flatten)]
        args: bench::Args,
    },
    /// Run one fuzz target on one file, as it was kept after a crash.
    #[command(after_help = "\
Examples:
  cargo xtask reproduce modbus_wire target/fuzz/artifacts/modbus_wire/crash-0123")]
    Reproduce {
        /// The fuzz target.
        target: String,
        /// The input.
        file: PathBuf,
    },
}

/// What is run for long besides the fuzz targets.
#[derive(Subcommand)]
enum Soaked {
    /// An agent on the lab without an API server for ten minutes; wants root.
    Cluster,
    /// Kill the agent again and again under load; LINESIDE_SEED=N repeats a run that it printed.
    Kills {
        /// How often.
        #[arg(long, default_value_t = 1000)]
        number: u32,
    },
    /// Kill, end and stop agent, broker and IoTDB; LINESIDE_SEED=N repeats a run that it printed.
    ///
    /// With IoTDB as it is by default it takes eleven minutes longer than the rounds, until what it
    /// acknowledged last is safe.
    Iotdb {
        /// How often.
        #[arg(long, default_value_t = 500)]
        rounds: u32,
    },
    /// Start the agent on a large backlog.
    Backlog {
        /// How large, in MiB.
        #[arg(long, default_value_t = 1024)]
        mebibytes: u32,
    },
    /// Cut the power of a virtual machine in which the agent runs; LINESIDE_SEED=N repeats a run.
    ///
    /// Installs the emulator, which needs no KVM; a cycle takes about twenty seconds. Two more
    /// runs have to lose something: one that keeps samples in memory, one whose syncs do nothing.
    Power {
        /// How often.
        #[arg(long, default_value_t = 10)]
        cycles: u32,
        /// How the agent is compiled.
        #[arg(long, value_enum, default_value_t = image::Profile::Release)]
        profile: image::Profile,
    },
}

/// What is measured besides the cost of a point.
#[derive(Subcommand)]
enum Measured {
    /// How long things take on the lab, and what operator and agent cost there; wants root.
    Cluster {
        /// How the programs in the images are compiled.
        #[arg(long, value_enum, default_value_t = image::Profile::Dist)]
        profile: image::Profile,
    },
    /// Values per second into Apache IoTDB, beside its official clients in Java and Python.
    Iotdb(bench::iotdb::Args),
}

/// What every command needs to know.
struct Context {
    /// Root of the checkout.
    workspace: PathBuf,
    /// The cache outside it.
    cache: Cache,
    /// Where cargo builds: `$CARGO_TARGET_DIR`, else in the cache so that a fresh clone is warm.
    target: PathBuf,
}

impl Context {
    fn new() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in a folder of the checkout")?
            .to_path_buf();
        let cache = Cache::of(&workspace)?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => std::path::absolute(dir)?,
            _ => cache.root().join("target"),
        };
        Ok(Self { workspace, cache, target })
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let context = Context::new()?;
    match command {
        Command::Setup => setup::run(&context),
        Command::Peers(args) => peers::run(&context, args),
        Command::Lab(args) => lab::run(&context, args),
        Command::Image(args) => image::run(&context, args),
        Command::Gen { check } => generate::run(&context, *check),
        Command::Test { suites, args } => suites::run(&context, suites, args),
        Command::Compat => compat::run(&context),
        Command::Soak { other: Some(Soaked::Cluster), .. } => {
            long::run(&context, &["outage::"], &[], None)
        }
        Command::Soak { other: Some(Soaked::Kills { number }), .. } => {
            soak::Trial::kills(*number).run(&context)
        }
        Command::Soak { other: Some(Soaked::Backlog { mebibytes }), .. } => {
            soak::Trial::backlog(*mebibytes).run(&context)
        }
        Command::Soak { other: Some(Soaked::Iotdb { rounds }), .. } => {
            soak::Trial::iotdb(*rounds).run(&context)
        }
        Command::Soak { other: Some(Soaked::Power { cycles, profile }), .. } => {
            power::run(&context, *cycles, *profile)
        }
        Command::Soak { other: None, seconds, targets } => {
            fuzz::run(&context, targets, fuzz::Time::Total(*seconds))
        }
        Command::Bench { other: Some(Measured::Cluster { profile }), .. } => {
            bench::cluster::run(&context, *profile)
        }
        Command::Bench { other: Some(Measured::Iotdb(args)), .. } => {
            bench::iotdb::run(&context, args)
        }
        Command::Bench { other: None, args } => bench::run(&context, args),
        Command::Reproduce { target, file } => fuzz::reproduce(&context, target, file),
    }
}
