//! The start with a backlog, and how long new records take while it drains.

use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use lineside_crds::model::Drain;
use lineside_store::{Options, Take, spawn};

use crate::Result;
use crate::store::{Bench, SINK, batch, now, origin, stamp};

const BACKLOG: u64 = 1_000_000_000;

/// Records while the backlog drains, and the time between two of them.
const LIVE: usize = 2_000;
const INTERVAL: Duration = Duration::from_millis(5);

pub fn run(dir: &Path) -> Result {
    let dir = dir.join("backlog");
    let origin = origin("press", 1000);
    let batches: Vec<_> = (0..100).map(|n| batch(&origin, n)).collect();
    let open = || Bench::open(&dir, Options::default(), Drain::LiveFirst);
    let bench = open()?;
    let committer = spawn(bench.volume.clone())?;
    let mut again = batches.iter().cycle();
    while bench.log.usage().bytes < BACKLOG {
        again.by_ref().take(1000).for_each(|batch| bench.append(batch));
    }
    drop((committer, bench));
    let started = Instant::now();
    let bench = open()?;
    println!("\nOpen with a backlog of {BACKLOG} bytes: {:.1?}", started.elapsed());

    let committer = spawn(bench.volume.clone())?;
    bench.log.start_session(SINK);
    let appended = Mutex::new(Vec::with_capacity(LIVE));
    let times = || appended.lock().unwrap_or_else(|e| e.into_inner());
    let (mut latencies, mut old) = (Vec::with_capacity(LIVE), 0usize);
    thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            for n in 0..LIVE {
                thread::sleep((INTERVAL * n as u32).saturating_sub(started.elapsed()));
                let batch = batch(&origin, n);
                // Noted first, for the sink may be quick.
                times().push(Instant::now());
                bench.log.append(batch, stamp(), None);
            }
        });
        while latencies.len() < LIVE {
            let seen = bench.bell.seen();
            match bench.log.take(SINK, now()) {
                Take::Record { record, historical: true } => {
                    old += 1;
                    bench.deliver(&record);
                }
                Take::Record { record, historical: false } => {
                    let at = times().get(latencies.len()).copied();
                    latencies.extend(at.map(|at| at.elapsed()));
                    bench.deliver(&record);
                }
                Take::Read(reading) => reading.run(),
                Take::Wait => bench.bell.wait(seen, Duration::from_millis(100)),
                Take::WaitUntil(at) => {
                    let most = u64::try_from(at - now().unix).unwrap_or_default();
                    bench.bell.wait(seen, Duration::from_nanos(most));
                }
            }
        }
    });
    latencies.sort();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    println!(
        "Live latency while {old} old records drained: p50 {:.1?}, p99 {:.1?}; commit window {:?}",
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        Options::default().commit_window,
    );
    drop(committer);
    drop(bench);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
