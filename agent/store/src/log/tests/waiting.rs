//! Whoever waits for something of the log is told when it is there.

use super::*;

/// Counts calls at which `is_there` says true.
fn count_calls(bench: &Bench, is_there: fn(&Log) -> bool) -> Arc<AtomicU64> {
    let calls = Arc::new(AtomicU64::new(0));
    let (counter, log) = (calls.clone(), Arc::downgrade(&bench.log));
    bench.log.on_change(Arc::new(move || {
        if log.upgrade().is_some_and(|log| is_there(&log)) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }));
    calls
}

#[test]
fn devices_that_wait_are_told_when_what_was_delivered_is_deleted() {
    let small = Store { max_bytes: 256 * 1024, overflow: Overflow::Backpressure, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    while bench.append(300) != Appended::Full {
        bench.commit();
    }
    assert!(bench.log.presses());
    bench.deliver_all("a");
    assert!(bench.log.presses(), "it is still on disk");
    let calls = count_calls(&bench, |log| !log.presses());
    bench.chores();
    assert!(calls.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_sink_that_waits_is_told_when_letters_that_are_gone_are_noted() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..100 {
        bench.append(1);
    }
    bench.commit();
    for record in bench.take_all("a") {
        bench.log.settle("a", record.id.offset, &refused(&[0], None));
    }
    bench.chores();
    bench.log.drop_dead_letters("a", None).unwrap();
    bench.append(1);
    bench.commit();
    assert!(bench.take("a").is_none(), "no more letters may go before these are noted");
    let calls = count_calls(&bench, |_| true);
    bench.chores();
    assert!(calls.load(Ordering::SeqCst) > 0);
    assert!(bench.take("a").is_some());
}

#[test]
fn a_reading_that_nobody_runs_leaves_the_sink_where_it_was() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(1);
    bench.commit();
    bench.kill(&["a"]);
    let Take::Read(reading) = bench.log.take("a", bench.now()) else { panic!("not on disk") };
    assert!(matches!(bench.log.take("a", bench.now()), Take::Wait));
    let calls = count_calls(&bench, |_| true);
    drop(reading);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(bench.deliver_all("a"), [0]);
}
