//! Gaps by clocks that are set late.

use super::*;

const MINUTE: UnixNanos = 60 * SECOND;

/// A batch by a clock that was not set.
fn unsynced(time: UnixNanos) -> Arc<Batch> {
    let mut batch = Batch::with_capacity(origin(), 1, TimeQuality::Unsynced, 1);
    batch.push_good(0, Value::U64(0), time);
    Arc::new(batch)
}

fn append(bench: &Bench, time: UnixNanos) {
    let stamp = Stamp { captured_at: time, gap_from: None };
    bench.log.append(unsynced(time), stamp, None);
}

#[test]
fn a_gap_ends_by_the_clock_that_was_set_later() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(1);
    bench.commit();
    let before = bench.now;
    bench.kill(&["a"]);
    append(&bench, MINUTE);
    bench.commit();
    // The first sample came ten minutes after what was captured last.
    bench.log.correct_clock(before + 9 * MINUTE, before + 20 * MINUTE);
    bench.commit();
    let gap = Gap { from: before, to: before + 10 * MINUTE };
    assert_eq!(bench.log.gaps(), [gap]);
    bench.now += 20 * MINUTE;
    bench.kill(&["a"]);
    assert_eq!(bench.log.gaps(), [gap]);
}

#[test]
fn a_gap_begins_by_the_clock_that_was_set_later() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    append(&bench, MINUTE);
    bench.commit();
    let delta = bench.now;
    bench.log.correct_clock(delta, delta + 20 * MINUTE);
    bench.commit();
    // The correction is in the log's own file, and its record is lost.
    let path = files::path(bench.log.dir(), 0);
    let file = RealFs.open(&path, Open::ReadWrite).unwrap();
    let mut scan = Scan::new(&*file, &bench.log.seal, 0, file.len().unwrap());
    while let Some(spot) = scan.next().unwrap() {
        if spot.found.header.kind == Kind::ClockCorrection {
            file.write_at(&[0; HEADER], spot.position).unwrap();
        }
    }
    bench.now += 30 * MINUTE;
    bench.kill(&["a"]);
    bench.append(1);
    bench.commit();
    assert_eq!(bench.log.gaps(), [Gap { from: delta + MINUTE, to: bench.now }]);
}
