//! Positions that are damaged.

use super::*;
use crate::sealed::SLOT;

/// Damages both copies of a sink's position.
fn damage_position(bench: &Bench, number: u32) {
    let path = files::cursor_path(bench.log.dir(), number);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in [0, SLOT] {
        bytes[at + 40] ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}

fn segments(bench: &Bench) -> usize {
    let names = std::fs::read_dir(bench.log.dir()).unwrap();
    names.filter(|n| n.as_ref().unwrap().path().extension().is_some_and(|e| e == "seg")).count()
}

#[test]
fn a_backlog_whose_position_is_lost_waits_for_its_sink() {
    let small = Store { max_bytes: 4 << 20, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    for _ in 0..60 {
        bench.append(500);
        bench.commit();
    }
    bench.chores();
    damage_position(&bench, 0);
    bench.kill(&[]);
    let before = segments(&bench);
    assert!(before > 3, "{before} segments");
    bench.chores();
    assert_eq!(segments(&bench), before);
    bench.add("a", Drain::InOrder);
    assert_eq!(bench.deliver_all("a"), (0..60).map(|i| i * 500).collect::<Vec<_>>());
    bench.chores();
    assert!(segments(&bench) < before, "then it goes");
}

#[test]
fn letters_of_a_lost_position_are_kept_and_counted_once() {
    let small = Store { max_bytes: 4 << 20, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    let refuse = |bench: &Bench, record: &Record| {
        bench.log.settle("a", record.id.offset, &refused(&[0, 1], None));
    };
    // One whose segment is gone, and one whose record will be handed out again.
    bench.append(2);
    bench.commit();
    refuse(&bench, &bench.take("a").unwrap());
    for _ in 0..60 {
        bench.append(500);
        bench.commit();
        bench.deliver_all("a");
    }
    bench.append(2);
    bench.commit();
    refuse(&bench, &bench.take("a").unwrap());
    bench.chores();
    let dead = |bench: &Bench| bench.log.dead_letters("a", None, 9).unwrap().len();
    assert_eq!((dead(&bench), bench.ledger("a").dead_lettered), (2, 4));
    damage_position(&bench, 0);
    bench.kill(&["a"]);
    assert_eq!((dead(&bench), bench.ledger("a").dead_lettered), (1, 2));
    for record in bench.take_all("a") {
        if record.batch.len() == 2 {
            refuse(&bench, &record);
        } else {
            bench.settle("a", &record);
        }
    }
    for _ in 0..2 {
        assert_eq!((dead(&bench), bench.ledger("a").dead_lettered), (2, 4));
        bench.chores();
        bench.kill(&["a"]);
    }
    assert_eq!(bench.log.drop_dead_letters("a", None).unwrap().samples, 4);
    assert_eq!((dead(&bench), bench.ledger("a").dead_lettered), (0, 0));
}

#[test]
fn what_is_dropped_between_records_does_not_outgrow_a_position() {
    let newest = Store { overflow: Overflow::DropNewest, ..settings() };
    let mut bench = Bench::with_sinks(newest, &["a"]);
    for n in 0..3000 {
        bench.append(1);
        bench.log.refuse(1, bench.now);
        if n % 500 == 0 {
            bench.chores();
        }
    }
    bench.chores();
    assert_eq!(bench.volume.state(), crate::VolumeState::Full);
    let ranges = bench.log.state().sinks["a"].cursor.settled.ranges().len();
    assert!(ranges <= crate::cursor::MAX_RANGES, "{ranges}");
    bench.kill(&["a"]);
    assert_eq!(bench.deliver_all("a").len(), 3000);
    assert_eq!(bench.dropped("a", DropReason::StoreFull), 2999, "the last mark was never written");
}

#[test]
fn a_position_that_does_not_fit_its_slot_is_refused_and_the_one_before_stays() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [0]);
    bench.chores();
    {
        let mut state = bench.log.state();
        let cursor = &mut state.sinks.get_mut("a").unwrap().cursor;
        let far = |n: u64| Place { offset: n << 40, number: n << 40 };
        for n in 1..5000 {
            let samples = cursor.settle(far(2 * n), far(2 * n + 1));
            cursor.count_dropped(DropReason::Corrupt, samples);
        }
        assert!(cursor.encode().len() > crate::sealed::MAX_BODY);
        state.sinks.get_mut("a").unwrap().dirty = true;
    }
    bench.chores();
    assert!(matches!(bench.volume.state(), crate::VolumeState::Degraded { .. }));
    bench.kill(&["a"]);
    assert!(bench.report.entries.is_empty(), "{:?}", bench.report);
    assert_eq!(bench.ledger("a").delivered, 1);
}
