//! What is written at the pace of a plant, and how long flash lives with it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lineside_crds::model::Drain;
use lineside_store::{Options, spawn};

use crate::Result;
use crate::machine::{peak_memory, written_by_disk};
use crate::store::{Bench, SINK, batch, origin};

/// Devices with a hundred points, each read once a second.
const DEVICES: [usize; 3] = [10, 100, 1000];
const POINTS: usize = 100;
const SECONDS: usize = 30;

/// What a part of 16 GB is rated for.
const RATED: f64 = 100e12;

const DAY: f64 = 86_400.0;

pub fn run(dir: &Path) -> Result {
    println!("\nWhat is written for {SECONDS} s: devices of {POINTS} float32, each once a second,");
    println!(
        "spread over the second; a sink that keeps up. Disk: all that its block device writes."
    );
    for devices in DEVICES {
        pace(&dir.join("paced"), devices)?;
    }
    Ok(())
}

fn pace(dir: &Path, devices: usize) -> Result {
    let bench = Bench::open(dir, Options::default(), Drain::InOrder)?;
    bench.log.start_session(SINK);
    let committer = spawn(bench.volume.clone())?;
    let origins: Vec<_> = (0..devices).map(|n| origin(&format!("device-{n}"), POINTS)).collect();
    let done = AtomicBool::new(false);
    let (files, disk, records) = thread::scope(|scope| {
        let drain = scope.spawn(|| {
            let mut records = 0;
            while !done.load(Ordering::Acquire) {
                let seen = bench.bell.seen();
                records += bench.drain(usize::MAX);
                bench.bell.wait(seen, Duration::from_millis(100));
            }
            records + bench.drain(usize::MAX)
        });
        let mut start = (bench.counts.now(), written_by_disk(dir));
        let started = Instant::now();
        let interval = Duration::from_secs(1) / devices as u32;
        // The first second has what is written once: segment, definitions, the log's own file.
        for n in 0..devices * (SECONDS + 1) {
            if n == devices {
                start = (bench.counts.now(), written_by_disk(dir));
            }
            thread::sleep((interval * n as u32).saturating_sub(started.elapsed()));
            bench.append(&batch(&origins[n % devices], n));
        }
        thread::sleep(Options::default().commit_window * 2);
        let (files, disk) = (bench.counts.since(&start.0), written_by_disk(dir));
        done.store(true, Ordering::Release);
        let disk = disk.zip(start.1).map(|(end, start)| end - start);
        (files, disk, drain.join().unwrap_or_default())
    });
    drop(committer);
    drop(bench);
    std::fs::remove_dir_all(dir)?;
    let expected = devices * (SECONDS + 1);
    if records != expected {
        return Err(format!("{records} of {expected} records were delivered").into());
    }
    let disk = disk.ok_or("nothing says what the disk has written")?;
    let (samples, seconds) = ((devices * POINTS * SECONDS) as f64, SECONDS as f64);
    let days = RATED / (disk as f64 / seconds * DAY);
    println!(
        "{:>7} samples/s: {:.1} commits/s, {:.1} syncs/s ({:.4} per sample); bytes per sample: \
         records {:.2}, all files {:.2}, disk {:.1}; amplification {:.2} in files, {:.1} on disk; \
         {:.2} GB a day, 100 TB in {:.0} years; {:.1} MB of memory at most so far",
        devices * POINTS,
        files.segment_syncs as f64 / seconds,
        files.syncs as f64 / seconds,
        files.syncs as f64 / samples,
        files.segments as f64 / samples,
        files.bytes() as f64 / samples,
        disk as f64 / samples,
        files.bytes() as f64 / files.segments as f64,
        disk as f64 / files.segments as f64,
        disk as f64 / seconds * DAY / 1e9,
        days / 365.0,
        peak_memory() as f64 / 1e6,
    );
    Ok(())
}
