//! Append and drain against plain writes.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lineside_core::Batch;
use lineside_crds::model::Drain;
use lineside_store::{Options, spawn};

use crate::Result;
use crate::counted::Written;
use crate::machine::{cpu_of, cpu_of_thread};
use crate::plain;
use crate::store::{Bench, batch, origin};

/// Bytes of a commit that are aimed at, and how many such commits one run has.
const SIZES: [(u64, u64); 5] =
    [(16 << 10, 1000), (64 << 10, 1000), (256 << 10, 500), (1 << 20, 250), (4 << 20, 80)];

/// How often each pair is run; the median counts.
const ROUNDS: usize = 5;

/// Batches that are appended again and again.
const BATCHES: usize = 100;

/// What one run took.
struct Run {
    took: Duration,
    written: Written,
    records: usize,
    /// CPU time of the threads that append, commit and drain.
    cpu: [Duration; 3],
    /// What plain writes took after it.
    plain: Duration,
}

pub fn run(dir: &Path) -> Result {
    println!("Append and drain at once, durable, beside plain write + fdatasync of as many bytes");
    println!("with as many syncs; medians of {ROUNDS} pairs (lowest to highest).");
    for points in [1000, 10] {
        println!("\nRecords of {points} float32");
        println!(
            "{:>10} {:>8} {:>9} {:>12} {:>18} {:>18} {:>16}   CPU ns/sample: append, commit, drain",
            "commit", "commits", "syncs/s", "bytes/sample", "plain MB/s", "ours MB/s", "of plain"
        );
        let origin = origin("press", points);
        let batches: Vec<_> = (0..BATCHES).map(|n| batch(&origin, n)).collect();
        for (size, commits) in SIZES {
            // Small records are slower; they need not run for as long.
            let commits = if points < 100 { commits / 4 } else { commits };
            let runs: Vec<Run> =
                (0..ROUNDS).map(|_| pair(dir, &batches, size, commits)).collect::<Result<_>>()?;
            show(&runs, points);
        }
    }
    println!();
    from_disk(dir)
}

/// The store and the disk alone, one after the other.
fn pair(dir: &Path, batches: &[Arc<Batch>], size: u64, commits: u64) -> Result<Run> {
    let mut run = delivered(&dir.join("delivered"), batches, size, commits)?;
    run.plain = plain::write(&dir.join("plain"), run.written.bytes(), run.written.syncs)?;
    Ok(run)
}

/// All records appended, committed and drained, each by a thread of its own.
fn delivered(dir: &Path, batches: &[Arc<Batch>], size: u64, commits: u64) -> Result<Run> {
    let [memory, bytes] = sizes(dir, batches)?;
    // A commit begins when a quarter of this waits, and devices wait when half of it does.
    let pending_bytes = usize::try_from(size * memory / bytes * 4)?;
    let burst_bytes = pending_bytes.max(Options::default().burst_bytes);
    let records = usize::try_from(size * commits / bytes)? * batches.len();
    let options = Options { pending_bytes, burst_bytes, ..Options::default() };
    let bench = Bench::open(dir, options, Drain::InOrder)?;
    bench.log.start_session(crate::store::SINK);
    let committer = spawn(bench.volume.clone())?;
    let (start, started) = (bench.counts.now(), Instant::now());
    let [append, drain] = thread::scope(|scope| {
        let append = scope.spawn(|| {
            batches.iter().cycle().take(records).for_each(|batch| bench.append(batch));
            cpu_of_thread()
        });
        let drain = scope.spawn(|| {
            bench.drain(records);
            cpu_of_thread()
        });
        [append, drain].map(|thread| thread.join().unwrap_or_default())
    });
    let (took, written) = (started.elapsed(), bench.counts.since(&start));
    let cpu = [append, cpu_of("store"), drain];
    drop(committer);
    drop(bench);
    std::fs::remove_dir_all(dir)?;
    Ok(Run { took, written, records, cpu, plain: Duration::ZERO })
}

/// Memory and bytes on disk of all batches.
fn sizes(dir: &Path, batches: &[Arc<Batch>]) -> Result<[u64; 2]> {
    let options = Options { pending_bytes: 64 << 20, ..Options::default() };
    let bench = Bench::open(dir, options, Drain::InOrder)?;
    let start = bench.counts.now();
    batches.iter().for_each(|batch| bench.append(batch));
    let memory = bench.log.usage().pending_bytes;
    bench.volume.commit(crate::store::now());
    let written = bench.counts.since(&start).segments;
    drop(bench);
    std::fs::remove_dir_all(dir)?;
    Ok([memory, written])
}

fn show(runs: &[Run], points: usize) {
    let rate = |run: &Run, took: Duration| run.written.bytes() as f64 / 1e6 / took.as_secs_f64();
    let of = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
    let share = of(|run| 100.0 * run.plain.as_secs_f64() / run.took.as_secs_f64());
    let plain = Spread::of(runs.iter().map(|run| rate(run, run.plain)));
    let ours = Spread::of(runs.iter().map(|run| rate(run, run.took)));
    let size = of(|run| run.written.bytes() as f64 / run.written.segment_syncs as f64 / 1024.0);
    let commits = of(|run| run.written.segment_syncs as f64);
    let syncs = of(|run| run.written.syncs as f64 / run.took.as_secs_f64());
    let each = |run: &Run| run.written.bytes() as f64 / (run.records * points) as f64;
    let bytes = Spread::of(runs.iter().map(each));
    let cpu = [0, 1, 2].map(|part| {
        let each = |run: &Run| run.cpu[part].as_nanos() as f64 / (run.records * points) as f64;
        Spread::of(runs.iter().map(each)).median
    });
    println!(
        "{:>7.0}KiB {:>8.0} {:>9.0} {:>12.2} {plain:>18} {ours:>18} {share:>14} %   {:.1} {:.1} {:.1}",
        size.median, commits.median, syncs.median, bytes.median, cpu[0], cpu[1], cpu[2],
    );
}

/// A backlog, drained from files that the operating system still has in memory.
fn from_disk(dir: &Path) -> Result {
    const RECORDS: usize = 100_000;
    let origin = origin("press", 1000);
    let batches: Vec<_> = (0..BATCHES).map(|n| batch(&origin, n)).collect();
    let (mut plain, mut drained, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = dir.join("backlog");
        let bench = Bench::open(&dir, Options::default(), Drain::InOrder)?;
        let committer = spawn(bench.volume.clone())?;
        let start = bench.counts.now();
        batches.iter().cycle().take(RECORDS).for_each(|batch| bench.append(batch));
        drop(committer);
        let written = bench.counts.since(&start);
        bench.log.start_session(crate::store::SINK);
        let (before, started) = (cpu_of_thread(), Instant::now());
        let records = bench.drain(usize::MAX);
        let took = started.elapsed();
        if records != RECORDS {
            return Err(format!("{records} of {RECORDS} records were drained").into());
        }
        cpu.push((cpu_of_thread() - before).as_nanos() as f64 / (RECORDS * 1000) as f64);
        drop(bench);
        std::fs::remove_dir_all(&dir)?;
        let alone = plain::write(&dir, written.bytes(), written.syncs)?;
        let rate = |took: Duration| written.bytes() as f64 / 1e6 / took.as_secs_f64();
        plain.push(rate(alone));
        drained.push(rate(took));
    }
    let share = Spread::of(plain.iter().zip(&drained).map(|(plain, ours)| 100.0 * ours / plain));
    println!(
        "Drain of a backlog from files: {} MB/s, {share} % of plain writes ({} MB/s); {:.1} ns of CPU per sample",
        Spread::of(drained.iter().copied()),
        Spread::of(plain.iter().copied()),
        Spread::of(cpu.into_iter()).median,
    );
    Ok(())
}

/// Median, lowest and highest of some runs.
struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { lowest: at(0), median: at(last / 2), highest: at(last) }
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { lowest, median, highest } = self;
        f.pad(&format!("{median:.0} ({lowest:.0} to {highest:.0})"))
    }
}
