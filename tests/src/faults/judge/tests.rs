//! A flawless made-up run, and for each rule one change that breaks it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::evidence::{Account, Evidence, Gap, Message, Sample, Served};
use super::super::lag::Ledger;
use super::{Violation, judge};

const MS: i64 = 1_000_000;
/// Time between two polls.
const CYCLE: i64 = 100 * MS;
/// The poll after which the agent was killed, and the one that the next start did first.
const KILLED: u32 = 10;
const AGAIN: u32 = 14;
const POLLS: u32 = 30;

fn at(poll: u32) -> i64 {
    1_000 * MS + i64::from(poll) * CYCLE
}

fn served(poll: u32) -> Served {
    Served {
        device: "default/d".into(),
        point: "p".into(),
        value: poll,
        received: at(poll),
        sent: at(poll) + MS,
    }
}

fn message(poll: u32) -> Message {
    let sample =
        Sample { point: "p".into(), value: poll.into(), status: 0, time: at(poll) + 2 * MS };
    Message {
        id: format!("s/1/{poll}"),
        device: "default/d".into(),
        samples: vec![sample],
        arrived: at(poll) + 20 * MS,
    }
}

fn ledger(captured: u64) -> Ledger {
    Ledger { captured, delivered: captured, ..Ledger::default() }
}

/// Polls 0..=10, a kill which costs poll 10, a start before poll 14, polls up to 29. The
/// device saw nobody between.
fn flawless() -> Evidence {
    let polled = || (0..=KILLED).chain(AGAIN..POLLS);
    let arrived = || polled().filter(|poll| *poll != KILLED);
    let count = arrived().count() as u64;
    Evidence {
        served: polled().map(served).collect(),
        messages: arrived().map(message).collect(),
        starts: vec![at(0) - MS, at(AGAIN) - 50 * MS],
        gaps: [Gap { from: at(KILLED) - MS, to: at(AGAIN) + 2 * MS }].into(),
        accounts: vec![
            Account { life: 0, ledger: ledger(5) },
            Account { life: 1, ledger: ledger(count) },
        ],
        allowance: Duration::from_millis(150),
        request_timeout: Duration::from_millis(40),
    }
}

fn found(evidence: &Evidence) -> Vec<Violation> {
    judge(evidence).violations
}

/// The only violation, as text up to its first colon.
fn only(evidence: &Evidence) -> String {
    let found = found(evidence);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_string().split(':').next().unwrap().to_owned()
}

#[test]
fn a_run_in_which_a_kill_costs_what_its_gap_says_is_clean() {
    let verdict = judge(&flawless());
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.served, verdict.delivered, verdict.excused), (27, 26, 1));
    assert_eq!((verdict.gaps, verdict.repeated, verdict.declared), (1, 0, 0));
}

#[test]
fn a_value_that_never_arrived_is_lost() {
    let mut run = flawless();
    let gone = run.messages.remove(20);
    run.accounts[1].ledger = ledger(25);
    assert!(matches!(&found(&run)[..], [Violation::Lost { value, .. }]
        if value.value == gone.samples[0].counter().unwrap()));
}

#[test]
fn the_same_loss_without_the_gap_is_found() {
    let mut run = flawless();
    run.gaps.clear();
    assert_eq!(only(&run), "lost");
}

#[test]
fn a_gap_that_begins_after_the_request_does_not_excuse_its_answer() {
    let mut run = flawless();
    run.gaps = [Gap { from: at(KILLED) + 1, to: at(AGAIN) }].into();
    assert!(matches!(found(&run)[..], [Violation::Lost { .. }]));
}

#[test]
fn a_loss_deeper_in_a_gap_than_a_kill_explains_is_found() {
    let mut run = flawless();
    run.served.insert(11, served(KILLED + 2));
    assert!(matches!(&found(&run)[..], [Violation::LostLate { value, .. }]
        if value.value == KILLED + 2));
}

#[test]
fn a_start_inside_a_gap_excuses_what_it_polled_before_it_committed() {
    let mut run = flawless();
    run.served.insert(11, served(KILLED + 2));
    run.starts.insert(1, at(KILLED + 2) - 50 * MS);
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.excused, 2);
}

#[test]
fn a_start_outside_of_the_gap_excuses_nothing() {
    let mut run = flawless();
    run.served.insert(11, served(KILLED + 2));
    run.gaps = [
        Gap { from: at(KILLED) - MS, to: at(KILLED + 1) },
        Gap { from: at(KILLED + 2) - MS, to: at(AGAIN) },
    ]
    .into();
    run.starts = vec![at(0), at(KILLED) + 5 * MS, at(AGAIN) - 50 * MS];
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "begins a gap of its own: {verdict}");
    run.gaps = [Gap { from: at(KILLED) - MS, to: at(AGAIN) }].into();
    run.starts = vec![at(0), at(KILLED) + 5 * MS, at(AGAIN) - 50 * MS];
    assert!(matches!(found(&run)[..], [Violation::LostLate { .. }]));
}

#[test]
fn losses_are_declared_by_the_books_to_the_sample() {
    let mut run = flawless();
    let _ = run.messages.drain(18..20);
    let dropped: BTreeMap<String, u64> = [("StoreFull".to_owned(), 2)].into();
    run.accounts[1].ledger = Ledger { captured: 26, delivered: 24, dropped, ..Ledger::default() };
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.declared, 2);
    let _ = run.messages.remove(18);
    run.accounts[1].ledger.captured = 25;
    run.accounts[1].ledger.delivered = 23;
    assert_eq!(found(&run), [Violation::Undeclared { lost: 3, declared: 2 }]);
}

#[test]
fn a_value_that_no_device_has_served_is_invented() {
    let mut run = flawless();
    let mut message = message(29);
    (message.id, message.samples[0].value) = ("s/1/99".into(), 99.into());
    run.messages.push(message);
    run.accounts[1].ledger = ledger(27);
    assert!(matches!(&found(&run)[..], [Violation::Invented { id, .. }] if id == "s/1/99"));
}

#[test]
fn a_value_of_another_point_is_invented() {
    let mut run = flawless();
    run.messages[3].samples[0].point = "q".into();
    let found = found(&run);
    assert!(
        matches!(&found[..], [Violation::Invented { .. }, Violation::Lost { .. }]),
        "{found:?}"
    );
}

#[test]
fn a_value_that_arrives_before_it_is_served_is_invented() {
    let mut run = flawless();
    run.messages[3].arrived = at(3) - CYCLE;
    assert_eq!(only(&run), "never served");
}

#[test]
fn one_value_in_two_records_is_found() {
    let mut run = flawless();
    let mut again = run.messages[25].clone();
    again.id = "s/1/77".into();
    run.messages.push(again);
    run.accounts[1].ledger = ledger(27);
    assert_eq!(only(&run), "two identities");
}

#[test]
fn one_identity_with_two_contents_is_found() {
    for change in [
        |m: &mut Message| m.device = "default/e".into(),
        |m: &mut Message| m.samples[0].value = 8.into(),
        |m: &mut Message| m.samples[0].time += 1,
        |m: &mut Message| m.samples.clear(),
    ] {
        let mut run = flawless();
        let mut again = run.messages[7].clone();
        change(&mut again);
        run.messages.push(again);
        assert_eq!(only(&run), "two contents");
    }
}

#[test]
fn a_repetition_at_any_later_time_is_no_violation() {
    let mut run = flawless();
    let again: Vec<_> = run.messages[3..8].to_vec();
    run.messages.splice(12..12, again);
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.repeated, 5);
}

#[test]
fn an_earlier_value_after_a_later_one_is_out_of_order() {
    let mut run = flawless();
    run.messages.swap(4, 5);
    assert_eq!(only(&run), "out of order");
}

#[test]
fn two_points_have_an_order_each() {
    let mut run = flawless();
    run.served.push(Served { point: "q".into(), value: 1, ..served(29) });
    let mut other = message(29);
    (other.id, other.samples[0].point) = ("s/1/98".into(), "q".into());
    other.samples[0].value = 1.into();
    run.messages.push(other);
    run.accounts[1].ledger = ledger(27);
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn a_sample_has_the_time_of_its_answer() {
    for time in [at(3) - 60 * MS, at(3) + 100 * MS] {
        let mut run = flawless();
        run.messages[3].samples[0].time = time;
        assert_eq!(only(&run), "mistimed");
    }
}

#[test]
fn a_gap_without_a_start_is_found_and_so_is_one_that_ends_before_it_begins() {
    for gap in [(at(20), at(21)), (at(AGAIN), at(KILLED))] {
        let mut run = flawless();
        run.gaps.insert(Gap { from: gap.0, to: gap.1 });
        assert_eq!(only(&run), "a gap without a start of the agent");
    }
}

#[test]
fn books_that_do_not_balance_are_found_at_whatever_start() {
    let mut run = flawless();
    run.accounts[0].ledger.buffered += 1;
    assert!(matches!(found(&run)[..], [Violation::Unbalanced { life: 0, .. }]));
}

#[test]
fn books_that_forget_samples_are_found() {
    let mut run = flawless();
    run.accounts.insert(1, Account { life: 0, ledger: ledger(7) });
    run.accounts.insert(2, Account { life: 1, ledger: ledger(6) });
    let want = Violation::WentBack { life: 1, captured: 6, before: 7 };
    assert_eq!(found(&run), [want]);
}

#[test]
fn books_that_end_with_another_number_than_the_consumer_has_are_found() {
    let mut run = flawless();
    run.accounts[1].ledger = ledger(27);
    assert!(matches!(found(&run)[..], [Violation::Miscounted { arrived: 26, .. }]));
}

#[test]
fn a_bad_sample_counts_as_one_and_is_no_value() {
    let mut run = flawless();
    let mut bad = message(29);
    bad.id = "s/1/97".into();
    bad.samples[0].value = serde_json::Value::Null;
    bad.samples[0].status = 0x8000_0000;
    run.messages.push(bad);
    run.accounts[1].ledger = ledger(27);
    let verdict = judge(&run);
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn a_verdict_is_printed_with_its_numbers_and_not_more_than_some_violations() {
    let mut run = flawless();
    run.messages.clear();
    run.accounts.clear();
    let verdict = judge(&run);
    let text = verdict.to_string();
    assert!(text.starts_with("served 27, delivered 0, "), "{text}");
    assert_eq!(text.lines().count(), 1 + super::PRINTED);
}
