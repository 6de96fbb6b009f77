//! The store on the machine's own file system: a directory has one owner, kill -9 loses nothing
//! whose receipt was called, and a large backlog does not slow the start down.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "that is how tests fail"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lineside_core::sink::{Outcome, Record};
use lineside_core::{Batch, Clock, Origin, SystemClock, TimeQuality, Value};
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
use lineside_store::fs::RealFs;
use lineside_store::{Appended, Log, Now, Options, Stamp, StoreError, Take, Volume, spawn};

const SINK: &str = "mqtt";

/// Tells the test that it is the process to be killed, and where its store is.
const CHILD: &str = "LINESIDE_STORE_CHILD";

/// What the child says of a counter that is on disk for sure.
const ON_DISK: &str = "on disk: ";

fn now() -> Now {
    Now { unix: SystemClock.now() }
}

fn open(dir: &Path) -> (Arc<Volume>, Arc<Log>) {
    let (volume, report) = Volume::open(Arc::new(RealFs), dir, Options::default()).unwrap();
    assert!(report.entries.is_empty(), "{report:?}");
    let settings = Store {
        durability: Durability::Durable,
        max_bytes: 1 << 30,
        max_age: None,
        overflow: Overflow::DropOldest,
    };
    let log = volume.open_log(&ObjectKey::new("plant", "line"), settings).unwrap();
    log.add_sink(&SINK.into(), b"", Drain::InOrder).unwrap();
    (volume, log)
}

fn origin(points: usize) -> Arc<Origin> {
    let names: Vec<Arc<str>> = (0..points).map(|p| format!("point-{p}").into()).collect();
    Arc::new(Origin::new(ObjectKey::new("plant", "press"), None, names.into(), Vec::new().into()))
}

fn batch(origin: &Arc<Origin>, counter: u64) -> Arc<Batch> {
    let points = origin.points.len();
    let mut batch = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, points);
    let at = SystemClock.now();
    batch.push_good(0, Value::U64(counter), at);
    for point in 1..points {
        batch.push_good(point as u32, Value::F32(counter as f32 + point as f32), at);
    }
    Arc::new(batch)
}

fn stamp() -> Stamp {
    Stamp { captured_at: SystemClock.now(), gap_from: None }
}

/// The next record; `None` when there is none.
fn take(log: &Arc<Log>) -> Option<Record> {
    loop {
        match log.take(SINK, now()) {
            Take::Record { record, .. } => return Some(record),
            Take::Read(reading) => reading.run(),
            Take::Wait | Take::WaitUntil(_) => return None,
        }
    }
}

#[test]
fn a_second_owner_is_refused_until_the_first_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (volume, log) = open(dir.path());
    let second = Volume::open(Arc::new(RealFs), dir.path(), Options::default());
    assert!(matches!(second, Err(StoreError::InUse(_))), "{:?}", second.err());
    drop((volume, log));
    open(dir.path());
}

#[test]
fn kill_9_loses_nothing_whose_receipt_was_called() {
    if let Some(dir) = std::env::var_os(CHILD) {
        append_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut next, mut delivered) = (0, 0);
    for round in 0..10u64 {
        let on_disk = run_child(dir.path(), Duration::from_millis(60 + 70 * (round * 7 % 5)));
        let (volume, log) = open(dir.path());
        log.start_session(SINK);
        let mut last = None;
        while let Some(record) = take(&log) {
            let Some(Value::U64(counter)) = record.batch.get(0).map(|s| s.value.clone()) else {
                panic!("a record without a counter");
            };
            assert!(counter >= next, "{counter} came again, or out of order, after {next}");
            assert_eq!(counter, next, "a counter is missing");
            (next, last) = (counter + 1, Some(counter));
            delivered += record.batch.len() as u64;
            log.settle(SINK, record.id.offset, &Outcome::delivered(record.batch.len()));
        }
        assert!(last >= on_disk, "{on_disk:?} was on disk, and {last:?} is the last one there");
        let ledger = log.ledgers()[0].1.clone();
        assert!(ledger.balances() && ledger.buffered == 0, "{ledger:?}");
        assert_eq!(ledger.delivered, delivered);
        volume.close(now());
    }
    println!("{next} records of 10 lives, {delivered} samples");
    assert!(next > 20, "{next} records are no load");
}

/// Lets a child append for a while and kills it; gives the last counter that it called on disk.
fn run_child(dir: &Path, time: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill_9_loses_nothing_whose_receipt_was_called", "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut note = |line: std::io::Result<String>| {
        let counter =
            line.ok().and_then(|l| l.strip_prefix(ON_DISK)?.strip_suffix('.')?.parse().ok());
        last = counter.or(last);
        counter.is_some()
    };
    // The time counts from its first success on, however long a loaded machine takes to get there.
    for line in lines.by_ref() {
        if note(line) {
            break;
        }
    }
    let until = Instant::now() + time;
    while Instant::now() < until
        && let Some(line) = lines.next()
    {
        note(line);
    }
    child.kill().unwrap();
    lines.for_each(|line| {
        note(line);
    });
    child.wait().unwrap();
    last
}

fn append_until_killed(dir: &Path) -> ! {
    let (volume, log) = open(dir);
    let _committer = spawn(volume).unwrap();
    let origin = origin(20);
    let first = first_counter(&log);
    for counter in first.. {
        let receipt = Box::new(move |stays: bool| {
            assert!(stays);
            // A line with its end: what a kill cuts off does not count.
            let line = format!("{ON_DISK}{counter}.\n");
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        });
        let answer = log.append(batch(&origin, counter), stamp(), Some(receipt));
        assert!(matches!(answer, Appended::Taken(_)), "{answer:?}");
        std::thread::sleep(Duration::from_micros(500));
    }
    unreachable!("counters do not end");
}

/// Every life goes on where the last one's counters on disk ended: twenty samples each.
fn first_counter(log: &Log) -> u64 {
    log.ledgers()[0].1.captured / 20
}

#[test]
fn a_backlog_of_256_megabytes_opens_at_once() {
    const BYTES: u64 = 256 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (volume, log) = open(dir.path());
    let origin = origin(10_000);
    let mut records = 0;
    while log.usage().bytes < BYTES {
        for _ in 0..10 {
            log.append(batch(&origin, records), stamp(), None);
            records += 1;
        }
        volume.commit(now());
    }
    // As after a kill.
    drop((volume, log));
    let started = Instant::now();
    let (volume, log) = open(dir.path());
    let opened = started.elapsed();
    log.start_session(SINK);
    let first = take(&log).unwrap();
    let delivering = started.elapsed();
    println!("{records} records, {BYTES} bytes: open {opened:?}, first record {delivering:?}");
    assert_eq!(first.batch.get(0).map(|s| s.value.clone()), Some(Value::U64(0)));
    assert_eq!(log.ledgers()[0].1.buffered, records * 10_000);
    assert!(delivering < Duration::from_secs(2), "{delivering:?}");
    drop(volume);
}
