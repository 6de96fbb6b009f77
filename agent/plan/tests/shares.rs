//! Dead units and lost answers cost those that answer no more than their share.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lineside_plan::{Cause, PointSpec, ReaderConfig, Why};
use sim::{Batch, Device, MS, S, Sim, point};

/// Units 1 to `count`, each with two blocks of one point: ids are ten times the unit, and one more.
fn gateway(count: u16, interval: Duration) -> Vec<PointSpec> {
    let of =
        |u: u16| (0..2).map(move |i| point(usize::from(u) * 10 + i, u, 900 * i as u32, interval));
    (1..=count).flat_map(of).collect()
}

fn config(timeout: Duration) -> ReaderConfig {
    ReaderConfig { request_timeout: timeout, ..ReaderConfig::default() }
}

/// Checks that no point is without an outcome for longer than `bound`.
fn assert_no_point_waits(batches: &[Batch], points: &[PointSpec], bound: Duration, end: Duration) {
    let mut last: BTreeMap<usize, Duration> = BTreeMap::new();
    for b in batches {
        for id in b.good.iter().chain(b.bad.keys()) {
            let since = b.done - last.insert(*id, b.done).unwrap_or_default();
            assert!(since <= bound, "{id} waits {since:?} until {:?}", b.done);
        }
    }
    for p in points {
        assert!(end - last[&p.span.id] <= bound, "{} has no outcome at the end", p.span.id);
    }
}

fn good_at(batches: &[Batch], id: usize) -> Vec<Duration> {
    batches.iter().filter(|b| b.good.contains(&id)).map(|b| b.done).collect()
}

fn longest_gap(times: &[Duration]) -> Duration {
    times.windows(2).map(|w| w[1] - w[0]).max().unwrap()
}

#[test]
fn six_dead_units_of_a_new_session_leave_the_living_one_its_cycles() {
    let timeout = 2 * S;
    for alive in 1..=7_u16 {
        let points = gateway(7, S);
        let silent: BTreeSet<u16> = (1..=7).filter(|u| *u != alive).collect();
        let device = Device { silent, latency: 5 * MS, ..Device::default() };
        let mut sim = Sim::new(points.clone(), device, config(timeout));
        let batches = sim.run(60 * S);
        assert_no_point_waits(&batches, &points, 9 * S, 60 * S);
        let good = good_at(&batches, usize::from(alive) * 10);
        assert!(good.len() >= 55, "unit {alive}: {} cycles", good.len());
        println!("unit {alive}: first cycle {:?}", batches[0].done);
        assert!(longest_gap(&good) <= 2 * timeout + S, "unit {alive}: {good:?}");
        let late = batches.iter().filter(|b| b.done - b.tick > 100 * MS).count();
        assert!(late <= 2, "unit {alive}: {late} cycles were late");
        let wrong =
            batches.iter().flat_map(|b| b.good.iter()).filter(|id| *id / 10 != usize::from(alive));
        assert_eq!(wrong.count(), 0);
        sim.device.silent.clear();
        let back = sim.run(120 * S);
        assert_eq!(back.last().unwrap().good.len(), 14, "unit {alive}");
    }
}

#[test]
fn units_that_die_together_leave_the_living_one_its_cycles() {
    let points = gateway(7, S);
    let device = Device { latency: 5 * MS, ..Device::default() };
    let mut sim = Sim::new(points.clone(), device, config(2 * S));
    sim.run(10 * S);
    sim.device.silent = (1..=6).collect();
    sim.run(70 * S);
    assert_no_point_waits(&sim.batches, &points, 9 * S, 70 * S);
    let good = good_at(&sim.batches, 70);
    assert!(good.len() >= 64, "{} cycles", good.len());
    assert!(longest_gap(&good) <= 5 * S);
}

#[test]
fn slow_units_without_idle_time_come_back_although_two_died_at_once() {
    let points = gateway(7, S);
    let device = Device { latency: 600 * MS, ..Device::default() };
    let mut sim = Sim::new(points, device, config(2 * S));
    sim.run(30 * S);
    for dead in [[1, 2], [3, 4], [6, 7]] {
        let from = sim.at();
        sim.device.silent = dead.into();
        let batches = sim.run(from + 60 * S);
        for unit in (1..=7).filter(|u| !dead.contains(u)) {
            let good = good_at(&batches, usize::from(unit) * 10);
            assert!(longest_gap(&good) <= 15 * S, "{dead:?}: {unit} {good:?}");
        }
        sim.device.silent.clear();
        sim.run(from + 120 * S);
        assert!(sim.reader.report().silent_units.is_empty());
    }
}

#[test]
fn a_unit_that_was_not_asked_is_found_although_there_is_no_idle_time() {
    let alive = [1, 2, 41];
    let silent: BTreeSet<u16> = (1..=41).filter(|u| !alive.contains(u)).collect();
    let device = Device { silent, latency: 50 * MS, ..Device::default() };
    let mut sim = Sim::new(gateway(41, 100 * MS), device, config(2 * S));
    let batches = sim.run(60 * S);
    assert!(good_at(&batches, 410)[0] <= 30 * S, "{:?}", good_at(&batches, 410)[0]);
    let good = good_at(&batches, 10);
    assert!(longest_gap(&good) <= 5 * S, "{:?}", longest_gap(&good));
    let later: Vec<_> = good.into_iter().filter(|at| *at > 5 * S).collect();
    // One probe with the full timeout now and then: the share of the silent ones.
    assert!(longest_gap(&later) <= 2 * S + 500 * MS, "{:?}", longest_gap(&later));
}

#[test]
fn a_segment_of_forty_dead_units_does_not_hide_the_living_one() {
    for alive in [1, 20, 41_u16] {
        let points = gateway(41, S);
        let silent: BTreeSet<u16> = (1..=41).filter(|u| *u != alive).collect();
        let device = Device { silent, latency: 5 * MS, ..Device::default() };
        let mut sim = Sim::new(points.clone(), device, config(2 * S));
        let batches = sim.run(60 * S);
        assert_no_point_waits(&batches, &points, 9 * S, 60 * S);
        let good = good_at(&batches, usize::from(alive) * 10);
        assert!(good[0] <= 15 * S && good.len() >= 45, "unit {alive}: {:?}", good[0]);
    }
}

#[test]
fn one_lost_answer_is_bad_for_the_points_that_were_asked_and_no_others() {
    // Four blocks in each cycle; the answers of the second one are lost, one after the other.
    for lost in 4..8 {
        let points: Vec<_> = (0..4).map(|i| point(i, 1, 500 * i as u32, S)).collect();
        let device = Device { lost: [lost].into(), ..Device::default() };
        let mut sim = Sim::new(points, device, config(200 * MS));
        let batches = sim.run(10 * S);
        let bad: Vec<_> = batches.iter().flat_map(|b| b.bad.iter()).collect();
        assert_eq!(bad, [(&(lost - 4), &Why::Timeout)], "request {lost}");
        assert!(batches[2..].iter().all(|b| b.good.len() == 4));
    }
}

#[test]
fn one_lost_answer_of_a_unit_among_others_is_bad_for_its_points_only() {
    for lost in 6..12 {
        let device = Device { lost: [lost].into(), latency: 5 * MS, ..Device::default() };
        let mut sim = Sim::new(gateway(3, S), device, config(200 * MS));
        let batches = sim.run(10 * S);
        let bad: Vec<_> = batches.iter().flat_map(|b| b.bad.values()).collect();
        assert_eq!(bad, [&Why::Timeout], "request {lost}");
    }
}

#[test]
fn two_lost_answers_in_a_row_silence_the_unit_and_the_rest_is_not_asked() {
    let points: Vec<_> = (0..6).map(|i| point(i, 1, 500 * i as u32, S)).collect();
    let device = Device { lost: [7, 8].into(), ..Device::default() };
    let mut sim = Sim::new(points, device, config(200 * MS));
    let batches = sim.run(10 * S);
    let of = |why| batches[1].bad.values().filter(|w| **w == why).count();
    assert_eq!((of(Why::Timeout), of(Why::UnitSilent(Cause::Timeout))), (2, 3));
    assert_eq!(batches[2].good.len(), 6, "the probe brings it back");
    assert!(batches[2].done < 2 * S, "before its next tick");
}

#[test]
fn another_connection_knows_the_holes_and_the_refused_addresses() {
    let points: Vec<_> = (0..1000).map(|i| point(i, 1, i as u32, S)).collect();
    let bad: BTreeSet<_> = (0..30).map(|i| (sim::space(1), 33 * i)).collect();
    for forget in [true, false] {
        let device = Device { bad: bad.clone(), ..Device::default() };
        let mut sim = Sim::new(points.clone(), device, config(S));
        let first = sim.run(30 * S + 500 * MS)[0].requests;
        let wait = sim.reader.report().quarantined[0].wait;
        sim.reconnect(forget);
        let again = sim.run(31 * S);
        assert_eq!(again[0].good.len(), 970);
        println!("{first} requests, after a reconnect {}", again[0].requests);
        if forget {
            assert_eq!(again[0].requests, first, "as if it had never been there");
        } else {
            assert!(again[0].requests <= 50 && 200 < first, "{} {first}", again[0].requests);
            assert_eq!(sim.reader.report().quarantined[0].wait, wait);
        }
    }
}

#[test]
fn another_connection_asks_silent_units_at_once_last_and_shortly() {
    let points = gateway(3, S);
    let device = Device { silent: [1].into(), latency: 5 * MS, ..Device::default() };
    let mut sim = Sim::new(points.clone(), device, config(2 * S));
    sim.run(20 * S + 500 * MS);
    let before = sim.requests.len();
    sim.reconnect(false);
    sim.run(30 * S);
    let first: Vec<_> = sim.requests[before..].iter().take(5).map(|(_, r)| r.space.unit).collect();
    assert_eq!(first, [2, 2, 3, 3, 1]);
    let again = sim.batches.iter().find(|b| b.tick == 20 * S + 500 * MS).unwrap();
    assert!(again.done - again.tick <= S + 50 * MS, "{:?}", again.done - again.tick);
    assert_eq!((again.good.len(), again.bad.len()), (4, 2));

    sim.device.silent.clear();
    sim.reconnect(false);
    let back = sim.run(31 * S);
    assert_eq!(back[0].good.len(), 6, "answers, and is there at once");
}

#[test]
fn a_connection_after_one_on_which_nobody_answered_asks_everybody_as_if_new() {
    let device = Device { silent: [1, 2, 3].into(), ..Device::default() };
    let mut sim = Sim::new(gateway(3, S), device, config(S));
    sim.run(20 * S + 500 * MS);
    sim.device.silent.clear();
    sim.reconnect(false);
    let back = sim.run(22 * S);
    assert_eq!((back[0].good.len(), back[0].bad.len()), (6, 0));
}
