//! What the store costs beside the disk itself, in one run on one disk: append and drain against
//! plain sequential writes of as many bytes with as many syncs, bytes per sample, the start with
//! a backlog of 1 GB, and live latency while a backlog drains.
//!
//! `cargo run --release -p lineside-store --example append_drain [DIR]`

use std::error::Error;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lineside_core::sink::{Outcome, Record};
use lineside_core::{Batch, Clock as _, Origin, SystemClock, TimeQuality, Value};
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
use lineside_store::fs::RealFs;
use lineside_store::{Log, Now, Options, Stamp, Take, Volume, spawn};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const SINK: &str = "bench";

/// Samples of a record: one device with as many float32 points.
const POINTS: usize = 1_000;

/// Records of the comparison with plain writes, and how many are committed at once.
const RECORDS: usize = 20_000;
const GROUP: usize = 100;

const BACKLOG: u64 = 1_000_000_000;

/// Records while a backlog drains, and the time between two of them.
const LIVE: usize = 1_000;
const INTERVAL: Duration = Duration::from_millis(5);

fn main() -> Result {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = dir.join(format!("append-drain-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let result = throughput(&dir).and_then(|()| backlog(&dir));
    std::fs::remove_dir_all(&dir)?;
    result
}

/// Append and drain against the disk alone.
fn throughput(dir: &Path) -> Result {
    let origin = origin();
    let batches: Vec<_> = (0..GROUP).map(|n| batch(&origin, n)).collect();

    let (volume, log) = open(&dir.join("stored"), Drain::InOrder)?;
    let (empty, started) = (log.usage().bytes, Instant::now());
    let commits = append(&volume, &log, &batches);
    let appended = started.elapsed();
    volume.close(now());
    let bytes = log.usage().bytes - empty;
    log.start_session(SINK);
    let started = Instant::now();
    let drained = drain(&log);
    let draining = started.elapsed();

    let (volume, log) = open(&dir.join("delivered"), Drain::InOrder)?;
    log.start_session(SINK);
    let started = Instant::now();
    let mut delivered = 0;
    for _ in 0..RECORDS / GROUP {
        append_group(&volume, &log, &batches);
        delivered += drain(&log);
    }
    let both = started.elapsed();

    let plain = plain_writes(&dir.join("plain"), bytes, commits)?;
    let show = |what: &str, records: usize, time: Duration| {
        let seconds = time.as_secs_f64();
        println!(
            "{what:<28} {:>7.0} MB/s {:>8.0} records/s {:>11.0} samples/s",
            bytes as f64 / 1e6 / seconds,
            records as f64 / seconds,
            (records * POINTS) as f64 / seconds,
        );
    };
    println!("{RECORDS} records of {POINTS} f32, {commits} commits, {bytes} bytes");
    println!("{:.2} bytes per sample", bytes as f64 / (RECORDS * POINTS) as f64);
    show("plain writes and fdatasyncs", RECORDS, plain);
    show("append", RECORDS, appended);
    show("drain from disk", drained, draining);
    show("append and drain", delivered, both);
    println!(
        "append and drain: {:.0} % of plain writes",
        100.0 * plain.as_secs_f64() / both.as_secs_f64()
    );
    Ok(())
}

/// The start with a backlog, and how long new records take while it drains.
fn backlog(dir: &Path) -> Result {
    let dir = dir.join("backlog");
    let origin = origin();
    let batches: Vec<_> = (0..GROUP).map(|n| batch(&origin, n)).collect();
    let (volume, log) = open(&dir, Drain::LiveFirst)?;
    while log.usage().bytes < BACKLOG {
        append_group(&volume, &log, &batches);
    }
    drop((volume, log));
    let started = Instant::now();
    let (volume, log) = open(&dir, Drain::LiveFirst)?;
    println!("open with a backlog of {BACKLOG} bytes: {:.1?}", started.elapsed());

    let committer = spawn(volume)?;
    log.start_session(SINK);
    let (mut latencies, mut old) = (Vec::with_capacity(LIVE), 0usize);
    let started = Instant::now();
    let mut appended = Vec::with_capacity(LIVE);
    while latencies.len() < LIVE {
        if appended.len() < LIVE && started.elapsed() >= INTERVAL * appended.len() as u32 {
            log.append(batch(&origin, appended.len()), stamp(), None);
            appended.push(Instant::now());
        }
        match log.take(SINK, now()) {
            Take::Record { record, historical, .. } => {
                if historical {
                    old += 1;
                } else if let Some(at) = appended.get(latencies.len()) {
                    latencies.push(at.elapsed());
                }
                deliver(&log, &record);
            }
            Take::Read(reading) => reading.run(),
            Take::Wait | Take::WaitUntil(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    latencies.sort();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    println!(
        "live latency while {old} old records drained: p50 {:.1?}, p99 {:.1?} (commit window 50 ms)",
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
    );
    drop(committer);
    Ok(())
}

fn now() -> Now {
    Now { unix: SystemClock.now() }
}

fn stamp() -> Stamp {
    Stamp { captured_at: SystemClock.now(), gap_from: None }
}

fn open(dir: &Path, drain: Drain) -> Result<(Arc<Volume>, Arc<Log>)> {
    let options = Options { pending_bytes: 64 << 20, ..Options::default() };
    let (volume, _) = Volume::open(Arc::new(RealFs), dir, options)?;
    let settings = Store {
        durability: Durability::Durable,
        max_bytes: 4 << 30,
        max_age: None,
        overflow: Overflow::Backpressure,
    };
    let log = volume.open_log(&ObjectKey::new("bench", "bench"), settings)?;
    log.add_sink(&SINK.into(), b"", drain)?;
    Ok((volume, log))
}

fn origin() -> Arc<Origin> {
    let names: Vec<Arc<str>> = (0..POINTS).map(|p| format!("point-{p}").into()).collect();
    Arc::new(Origin::new(ObjectKey::new("bench", "press"), None, names.into(), Vec::new().into()))
}

fn batch(origin: &Arc<Origin>, n: usize) -> Arc<Batch> {
    let mut batch = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, POINTS);
    let at = SystemClock.now();
    for point in 0..POINTS {
        batch.push_good(point as u32, Value::F32(n as f32 + point as f32 / 7.0), at);
    }
    Arc::new(batch)
}

/// Appends all records of the comparison; gives the number of commits.
fn append(volume: &Volume, log: &Log, batches: &[Arc<Batch>]) -> usize {
    let groups = RECORDS / GROUP;
    for _ in 0..groups {
        append_group(volume, log, batches);
    }
    groups
}

fn append_group(volume: &Volume, log: &Log, batches: &[Arc<Batch>]) {
    for batch in batches {
        log.append(batch.clone(), stamp(), None);
    }
    volume.commit(now());
}

/// Delivers all that waits; gives the number of records.
fn drain(log: &Arc<Log>) -> usize {
    let mut records = 0;
    loop {
        match log.take(SINK, now()) {
            Take::Record { record, .. } => {
                deliver(log, &record);
                records += 1;
            }
            Take::Read(reading) => reading.run(),
            Take::Wait | Take::WaitUntil(_) => return records,
        }
    }
}

fn deliver(log: &Log, record: &Record) {
    log.settle(SINK, record.id.offset, &Outcome::delivered(record.batch.len()));
}

/// How long the disk alone takes for so many bytes in so many synced writes.
fn plain_writes(path: &Path, bytes: u64, writes: usize) -> Result<Duration> {
    let piece = vec![0x5A; usize::try_from(bytes)? / writes];
    let file = std::fs::File::create_new(path)?;
    let started = Instant::now();
    for n in 0..writes {
        file.write_all_at(&piece, (n * piece.len()) as u64)?;
        file.sync_data()?;
    }
    Ok(started.elapsed())
}
