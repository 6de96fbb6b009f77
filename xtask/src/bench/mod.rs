//! `cargo xtask bench`: what a point costs, beside others who do the same work on the same
//! device and broker in the same run. Prints numbers and asserts nothing; never part of `test`.

pub mod cluster;
pub mod iotdb;
mod lab;
mod lateness;
mod peer;
mod report;
mod usage;
mod workload;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::process::{cargo, host, run as run_command};
use crate::{Context, setup};
use lab::{Lab, Owned};
use peer::{Peer, Programs};
use report::Measured;
use usage::{Usage, machine_busy};
use workload::Workload;

/// Headers that the C programs need besides what the tests need.
const PACKAGES: [(&str, &str); 1] = [("libmosquitto-dev", "/usr/include/mosquitto.h")];

/// Longest look for a moment between two bursts of messages.
const QUIET_WITHIN: Duration = Duration::from_millis(2500);

/// Arguments of the command.
#[derive(clap::Args)]
#[command(after_help = "\
Workloads:
  A     10 devices x 1,000 float32, 1 s               10,000 points/s
  B     100 devices x 1,000 float32, 1 s              100,000 points/s
  C     200 float32 scattered over 4,000 registers, 100 ms
  D     broken device: 5 refused addresses, 1 dead unit; a connection per unit
  D1    the same over one shared connection, 330 points of each unit
  idle  one device with three points, 1 s

Examples:
  cargo xtask bench
  cargo xtask bench B --seconds 20 --peers lineside,floor
  cargo xtask bench all --peers lineside,lineside-flat,floor,telegraf

Results go to target/bench/results.jsonl (of the target directory) as JSON lines, and to standard
output as a table. Read the CPU columns, not wall times, on a machine that does other work.")]
pub struct Args {
    /// A, B, C, D, D1, idle or all
    #[arg(default_value = "all", value_parser = workloads_of)]
    workload: Workloads,
    /// Length of each measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..))]
    seconds: u64,
    /// Who is measured; default: all but telegraf
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    /// Measure this `lineside` instead of building one, e.g. to compare two versions
    #[arg(long, value_name = "PROGRAM")]
    lineside: Option<PathBuf>,
}

/// The workloads that one word names.
#[derive(Clone, Debug)]
struct Workloads(Vec<Workload>);

fn workloads_of(word: &str) -> Result<Workloads, String> {
    if word == "all" {
        return Ok(Workloads(Workload::value_variants().to_vec()));
    }
    Workload::from_str(word, true).map(|w| Workloads(vec![w]))
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    setup::run(context)?;
    setup::debian_packages(&PACKAGES)?;
    let peers = if args.peers.is_empty() { peer::DEFAULT.to_vec() } else { args.peers.clone() };
    let dir = context.target.join("bench");
    let programs = programs(context, args, &peers, &dir)?;
    let sparse = sparse(&programs.sources)?;
    let mut all = Vec::new();
    for workload in &args.workload.0 {
        for peer in peers.iter().filter(|p| p.can(*workload)) {
            let measured = measure(*workload, *peer, &programs, &sparse, args.seconds, &dir)?;
            println!("{}", measured.json());
            let mut results =
                OpenOptions::new().create(true).append(true).open(dir.join("results.jsonl"))?;
            writeln!(results, "{}", measured.json())?;
            all.push(measured);
        }
    }
    println!("\n{}", report::table(&all));
    Ok(())
}

/// Builds what is measured. Lineside with the features of its image: without the demo.
fn programs(context: &Context, args: &Args, peers: &[Peer], dir: &Path) -> Result<Programs> {
    let sources = context.workspace.join("tests/bench");
    peer::build_c(&sources, &dir.join("programs"))?;
    let lineside = match &args.lineside {
        Some(program) => program.clone(),
        None => {
            let mut build = cargo(context, &host()?);
            build.args(["build", "--release", "-p", "lineside", "--no-default-features"]);
            run_command(build.args(["--features", "modbus,sink-mqtt"]))?;
            context.target.join("release/lineside")
        }
    };
    let telegraf =
        peers.contains(&Peer::Telegraf).then(|| peer::build_telegraf(context)).transpose()?;
    Ok(Programs {
        lineside,
        c: dir.join("programs"),
        sources,
        python: context.cache.python()?,
        telegraf,
    })
}

/// The addresses of workload C.
fn sparse(sources: &Path) -> Result<Vec<u16>> {
    let text = fs::read_to_string(sources.join("sparse.txt"))?;
    text.lines().map(|l| l.parse().context("sparse.txt has one address a line")).collect()
}

/// Counters of all parts at one moment.
struct Moment {
    counted: lab::Counted,
    requests: f64,
    peer: Usage,
    broker: Usage,
    ours: [Usage; 2],
    busy: f64,
}

impl Moment {
    fn take(lab: &mut Lab, peer: u32) -> Result<Self> {
        Ok(Self {
            counted: lab.counted()?,
            requests: lab.requests()?,
            peer: Usage::of(peer).context("the peer")?,
            broker: Usage::of(lab.broker_pid())?,
            ours: [Usage::of(lab.counter_pid())?, Usage::of(lab.device_pid())?],
            busy: machine_busy(),
        })
    }
}

fn measure(
    workload: Workload,
    peer: Peer,
    programs: &Programs,
    sparse: &[u16],
    seconds: u64,
    dir: &Path,
) -> Result<Measured> {
    println!("bench: {} {}", workload.name(), peer.name());
    let folder = dir.join(format!("run-{}-{}", workload.name(), peer.name()));
    let mut lab = Lab::start(workload, &programs.c, folder)?;
    let mut command = peer.command(workload, programs, &lab, sparse)?;
    let log = fs::File::create(lab.dir.join("peer.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = Owned(command.spawn().with_context(|| format!("cannot start {}", peer.name()))?);
    let pid = child.0.id();
    sleep(Duration::from_secs(workload.warm_up()));
    quiet(&mut lab, workload)?;
    lab.arrivals()?;
    let before = Moment::take(&mut lab, pid)?;
    if before.counted.points < 1.0 {
        let log = lab.dir.join("peer.log");
        bail!("{} publishes nothing; see {}", peer.name(), log.display());
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    sleep(until.saturating_duration_since(Instant::now()));
    let after = Moment::take(&mut lab, pid)?;
    let arrivals = lab.arrivals()?;

    let interval = f64::from(workload.interval_ms()) / 1000.0;
    let took = after.counted.time - before.counted.time;
    let cycles = took / interval;
    let points = after.counted.points - before.counted.points;
    let cpu = after.peer.cpu_since(&before.peer);
    let broker_cpu = after.broker.cpu_since(&before.broker);
    let ours: f64 = after.ours.iter().zip(&before.ours).map(|(a, b)| a.cpu_since(b)).sum();
    let others = after.busy - before.busy - cpu - broker_cpu - ours;
    Ok(Measured {
        workload: workload.name(),
        peer: peer.name(),
        seconds: took,
        points,
        percent: 100.0 * points / (cycles * f64::from(workload.good_per_cycle())),
        msgs: after.counted.msgs - before.counted.msgs,
        bytes: after.counted.bytes - before.counted.bytes,
        cpu,
        broker_cpu,
        others: 100.0 * others.max(0.0) / took,
        rss: [before.peer.rss, after.peer.rss, after.peer.peak],
        requests_per_cycle: (after.requests - before.requests) / cycles,
        late: lateness::lateness(&arrivals, interval),
    })
}

/// Waits for the pause between two bursts, so that a window holds whole cycles.
fn quiet(lab: &mut Lab, workload: Workload) -> Result<()> {
    let pause = Duration::from_millis(u64::from(workload.interval_ms()) / 4).min(
        // Peers that spread their devices over the period leave shorter pauses.
        Duration::from_millis(100),
    );
    let started = Instant::now();
    let mut last = (lab.counted()?.points, None);
    while started.elapsed() < QUIET_WITHIN {
        sleep(pause / 10);
        let points = lab.counted()?.points;
        if points > last.0 {
            last = (points, Some(Instant::now()));
        } else if last.1.is_some_and(|at| at.elapsed() > pause) {
            return Ok(());
        }
    }
    Ok(())
}
