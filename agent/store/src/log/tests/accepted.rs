//! What a remote accepted and may still lose.

use super::*;
use lineside_core::sink::Refusal;
use lineside_crds::diagnostics::Code;

#[test]
fn what_a_remote_accepted_is_no_burden_and_counts_when_it_is_confirmed() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..5_000 {
        bench.append(2);
    }
    bench.commit();
    let mut marks = 0;
    while let Some(record) = bench.take("a") {
        marks = record.id.offset / 500;
        bench.log.accepted("a", record.id.offset, Outcome::delivered(2), marks);
    }
    assert_eq!(marks, 9, "all of them were handed out");
    assert_eq!((bench.ledger("a").delivered, bench.ledger("a").buffered), (0, 10_000));
    bench.log.confirmed("a", 4);
    let confirmed = bench.ledger("a").delivered;
    assert!((4_000..=5_000).contains(&confirmed), "{confirmed}");
    bench.chores();
    // The session ends before the rest is confirmed: it comes again, and nothing else.
    bench.log.session_ended("a", false);
    bench.log.start_session("a");
    bench.log.confirmed("a", u64::MAX);
    assert_eq!(bench.ledger("a").delivered, confirmed, "that was said in another session");
    let again = bench.deliver_all("a");
    assert_eq!(again.first().copied(), Some(confirmed));
    assert_eq!(again.len() as u64 * 2, 10_000 - confirmed);
    bench.kill(&["a"]);
    assert_eq!(bench.ledger("a").captured, 10_000);
}

#[test]
fn what_was_merged_on_one_tick_is_dropped_for_that_reason_also_after_a_kill() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..3 {
        bench.append(3);
    }
    bench.commit();
    let merged = Outcome { delivered: 2, merged: 1, ..Outcome::nothing() };
    for _ in 0..2 {
        let record = bench.take("a").unwrap();
        bench.log.accepted("a", record.id.offset, merged.clone(), 1);
    }
    bench.log.confirmed("a", 1);
    let last = bench.take("a").unwrap();
    bench.log.settle("a", last.id.offset, &merged);
    let books = |bench: &Bench| {
        let ledger = bench.ledger("a");
        (ledger.delivered, ledger.buffered, bench.dropped("a", DropReason::SameTick))
    };
    assert_eq!(books(&bench), (6, 0, 3));
    bench.chores();
    bench.commit();
    bench.kill(&["a"]);
    assert_eq!(books(&bench), (6, 0, 3));
}

#[test]
fn what_was_refused_beside_something_accepted_is_a_dead_letter_when_that_is_confirmed() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(3);
    bench.append(3);
    bench.commit();
    let first = bench.take("a").unwrap();
    let mut outcome = Outcome { delivered: 2, ..Outcome::nothing() };
    outcome.refuse(Refusal::new(Code::RecordRejected, "no", None, vec![1]));
    bench.log.accepted("a", first.id.offset, outcome.clone(), 1);
    assert_eq!(bench.ledger("a").dead_lettered, 0);
    bench.log.session_ended("a", false);
    bench.log.start_session("a");
    let again = bench.take("a").unwrap();
    assert_eq!(again.id.offset, first.id.offset);
    bench.log.accepted("a", again.id.offset, outcome, 1);
    bench.log.confirmed("a", 1);
    let books = bench.ledger("a");
    assert_eq!((books.delivered, books.dead_lettered, books.buffered), (2, 1, 3));
}

#[test]
fn what_a_remote_accepted_and_may_lose_does_not_give_way_in_a_later_session_either() {
    let small = Store { max_bytes: 256 * 1024, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    bench.append(300);
    bench.commit();
    let held = bench.take("a").unwrap();
    bench.log.accepted("a", held.id.offset, Outcome::delivered(300), 1);
    bench.log.session_ended("a", false);
    for _ in 0..200 {
        bench.append(300);
        bench.commit();
    }
    bench.log.start_session("a");
    let dropped = bench.dropped("a", DropReason::StoreFull);
    assert!(dropped > 0);
    let delivered = bench.deliver_all("a");
    assert_eq!(delivered[0], 0, "it may have arrived, so it comes again");
    assert_eq!(delivered.len() as u64 * 300 + dropped, 60_300);
}
