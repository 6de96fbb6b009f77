//! `cargo xtask lab`: a real two-node Kubernetes on this machine, for people.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args as Arguments, Subcommand};
use lineside_lab::binaries::Set;
use lineside_lab::shared::wait_for_end;
use lineside_lab::{Component, Lab, Layout, Node, Options, RunId, Storage, left_behind, runs};

use crate::Context;

/// The run of a lab that nobody named.
pub const RUN: &str = "lab";

/// How long the guard of the tests' lab may take.
const TAKEN_DOWN: Duration = Duration::from_secs(120);

/// What to do with which lab.
#[derive(Arguments)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which lab: 1 to 10 of a-z, 0-9, -, a letter first. Two of different names live side by
    /// side.
    #[arg(long, global = true, default_value = RUN, value_name = "NAME")]
    run: RunId,
    #[command(subcommand)]
    command: Action,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask lab up
  cargo xtask lab kubectl get pods -A
  cargo xtask lab load /tmp/agent.tar
  cargo xtask lab logs kubelet-1
  cargo xtask lab kill apiserver; cargo xtask lab start apiserver
  cargo xtask lab up --run second --no-storage
  cargo xtask lab build kwok
  cargo xtask lab down";

#[derive(Subcommand)]
enum Action {
    /// Start etcd, API server, controller manager, scheduler and two nodes; about ten seconds.
    Up {
        /// Without a StorageClass, so that claims of volumes stay pending.
        #[arg(long)]
        no_storage: bool,
    },
    /// Remove a lab: processes, mounts, network namespaces, cgroups, files.
    Down,
    /// Build sets of programs into the cache and print their folders; only `core` is needed by
    /// `up`, and `cargo xtask setup` builds `core` and `helm`.
    Build {
        /// core, helm, kwok, flux, oldest-apiserver.
        #[arg(required = true)]
        sets: Vec<Set>,
    },
    /// Say what runs, of this lab and which others there are.
    Status,
    /// kubectl as the cluster's administrator.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// What kubectl gets.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Give both nodes the image of an OCI archive.
    Load {
        /// As `cargo xtask image` writes it.
        archive: PathBuf,
    },
    /// Print the log of a component or peer; without a name, their names and files.
    Logs {
        /// E.g. apiserver or kubelet-2.
        name: Option<String>,
    },
    /// Stop a component with SIGTERM.
    Stop {
        /// E.g. kubelet-2.
        component: Component,
    },
    /// Stop a component with SIGKILL.
    Kill {
        /// E.g. apiserver.
        component: Component,
    },
    /// Start a component again and wait until it answers.
    Start {
        /// E.g. apiserver.
        component: Component,
    },
    /// Cut the link between the nodes.
    Cut,
    /// Heal the link between the nodes.
    Heal,
    /// Run a program in a node's network, e.g. a shell.
    Enter {
        /// 1 or 2.
        #[arg(value_parser = node)]
        node: Node,
        /// The program with its arguments; none: a shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
}

fn node(text: &str) -> Result<Node> {
    Node::ALL
        .into_iter()
        .find(|node| node.number().to_string() == text || node.name() == text)
        .with_context(|| format!("no node {text}; there are 1 and 2"))
}

/// Does it.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let (root, run) = (context.cache.labs(), args.run.clone());
    let lab = || attach(context, &args.run);
    match &args.command {
        Action::Up { no_storage } => {
            let mut options = Options::new(run, root, Set::Core.build(context.cache.root())?);
            if *no_storage {
                options.storage = Storage::None;
            }
            up(&options).map(drop)
        }
        Action::Down => {
            let started = Instant::now();
            Lab::remove(&root, run)?;
            println!("lab {}: removed in {:.1} s", args.run, started.elapsed().as_secs_f64());
            Ok(())
        }
        Action::Build { sets } => {
            for set in sets {
                println!("{}", set.build(context.cache.root())?.display());
            }
            Ok(())
        }
        Action::Status => status(context, &args.run),
        Action::Kubectl { args } => replace_us(lab()?.kubectl().args(args)),
        Action::Load { archive } => lab()?.load(&std::path::absolute(archive)?),
        Action::Logs { name: Some(name) } => print_log(&lab()?, name),
        Action::Logs { name: None } => {
            let lab = lab()?;
            for (name, _) in lab.programs()? {
                println!("{name:<20} {}", lab.log(&name).display());
            }
            println!("{:<20} {}", "audit", lab.audit_log().display());
            Ok(())
        }
        Action::Stop { component } => lab()?.stop(*component),
        Action::Kill { component } => lab()?.kill(*component),
        Action::Start { component } => lab()?.start(*component),
        Action::Cut => lab()?.cut_link(),
        Action::Heal => lab()?.heal_link(),
        Action::Enter { node, program } => {
            let (first, rest) = match program.split_first() {
                Some((first, rest)) => (first.as_str(), rest),
                None => ("bash", [].as_slice()),
            };
            replace_us(lab()?.command(*node, first.as_ref()).args(rest))
        }
    }
}

/// The lab of this run.
pub fn attach(context: &Context, run: &RunId) -> Result<Lab> {
    Lab::attach(&context.cache.labs(), run.clone())
}

/// Starts a lab and says how long it took.
pub fn up(options: &Options) -> Result<Lab> {
    let started = Instant::now();
    let lab = Lab::up(options)?;
    println!("lab {}: two Ready nodes after {:.1} s", options.run, started.elapsed().as_secs_f64());
    println!("Next: cargo xtask lab kubectl get nodes");
    Ok(lab)
}

/// Waits until the lab that the end-to-end tests share is taken down, and says what is left of
/// it otherwise.
pub fn wait_for_tests(context: &Context) -> Result<()> {
    let (root, run) = (context.cache.labs(), xtask::cache::E2E_RUN.parse::<RunId>()?);
    wait_for_end(&root, &run, TAKEN_DOWN)?;
    let left = left_behind(&Layout::new(&root, run))?;
    if !left.is_empty() {
        bail!("the lab of the tests left behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}

fn status(context: &Context, run: &RunId) -> Result<()> {
    let there = runs(&context.cache.labs())?;
    if there.contains(run) {
        for (name, running) in attach(context, run)?.programs()? {
            println!("{name:<20} {}", if running { "runs" } else { "stopped" });
        }
    } else {
        println!("no lab {run}");
    }
    let others: Vec<_> = there.iter().filter(|other| *other != run).map(RunId::to_string).collect();
    if !others.is_empty() {
        println!("other labs: {}", others.join(" "));
    }
    Ok(())
}

fn print_log(lab: &Lab, name: &str) -> Result<()> {
    let path = if name == "audit" { lab.audit_log() } else { lab.log(name) };
    let mut file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    std::io::copy(&mut file, &mut std::io::stdout())?;
    Ok(())
}

/// The program gets our terminal, our signals and our exit status.
fn replace_us(command: &mut Command) -> Result<()> {
    let error = command.exec();
    bail!("cannot start {}: {error}", command.get_program().display())
}
