//! Thousands of schedules, in threads; `LINESIDE_SEED=n` runs the one of a seed and tells all
//! that happens in it, `LINESIDE_FIRST_SEED=n` runs as many others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::disk::Lies;
use crate::plan::Mutation;
use crate::reference::Verdict;
use crate::world;

/// The variable that repeats one schedule.
const SEED: &str = "LINESIDE_SEED";

/// Schedules of a run.
const SCHEDULES: u64 = 20_000;

/// Where the seeds begin, for those who want other ones.
const FIRST: &str = "LINESIDE_FIRST_SEED";

/// Where they begin else.
const USUAL: u64 = 1_883_035_338_276_864;

/// Schedules within which each mutation has to be caught.
const TO_CATCH: u64 = 400;

/// Runs one schedule; a panic anywhere in it is a failure.
fn run(seed: u64, mutation: Mutation, trace: bool) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, mutation, trace))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Runs the schedules of `count` seeds from `first` on until `enough` of them have failed; gives
/// how many were run, and what failed.
fn run_all(first: u64, count: u64, mutation: Mutation, enough: usize) -> (u64, Vec<(u64, String)>) {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while failures.lock().unwrap().len() < enough {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            let seed = first.wrapping_add(n);
            if let Err(broken) = run(seed, mutation, false) {
                failures.lock().unwrap().push((seed, broken));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    (next.into_inner().min(count), failures)
}

#[test]
fn no_schedule_breaks_a_promise() {
    if let Ok(text) = std::env::var(SEED) {
        let seed = text.parse().expect("a number");
        return run(seed, Mutation::default(), true).unwrap();
    }
    // The same schedules for everybody, so that only a change of the store changes the result.
    let first = match std::env::var(FIRST) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => USUAL,
    };
    let started = Instant::now();
    let (count, failures) = run_all(first, SCHEDULES, Mutation::default(), 10);
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} schedules from seed {first} in {seconds:.1} s");
    let told: Vec<_> = failures.iter().map(|(s, what)| format!("{SEED}={s}: {what}")).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The checker has to fail when the store or its disk is broken like this.
fn is_caught(mutation: Mutation) {
    let (count, failures) = run_all(1, TO_CATCH, mutation, usize::MAX);
    let first = failures.first().expect("the mutation was not caught");
    println!("{} of {count} schedules fail, e.g. seed {}: {}", failures.len(), first.0, first.1);
}

#[test]
fn a_store_whose_fsyncs_are_removed_is_caught() {
    is_caught(Mutation {
        lies: Lies { sync_data: true, ..Lies::default() },
        ..Mutation::default()
    });
}

#[test]
fn a_store_whose_directory_fsyncs_are_removed_is_caught() {
    is_caught(Mutation { lies: Lies { sync_dir: true, ..Lies::default() }, ..Mutation::default() });
}

#[test]
fn a_store_that_ignores_checksums_is_caught() {
    is_caught(Mutation { blind: true, ..Mutation::default() });
}
