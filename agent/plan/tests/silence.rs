//! Units and devices that do not answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod sim;

use std::time::Duration;

use lineside_plan::{Cause, PointSpec, ReaderConfig, Why};
use sim::{Batch, Device, MS, S, Sim, point};

fn units(count: u16, interval: Duration) -> Vec<PointSpec> {
    let of = |u: u16| (0..10).map(move |i| point(usize::from(u) * 10 + i, u, i as u32, interval));
    (0..count).flat_map(of).collect()
}

fn config(timeout: Duration) -> ReaderConfig {
    ReaderConfig { request_timeout: timeout, ..ReaderConfig::default() }
}

fn good_of(batch: &Batch, unit: u16) -> bool {
    (0..10).all(|i| batch.good.contains(&(usize::from(unit) * 10 + i)))
}

#[test]
fn a_dead_unit_costs_its_neighbours_nothing_after_the_first_timeout() {
    for timeout in [200 * MS, S, 2 * S] {
        let device = Device { silent: [1].into(), latency: 5 * MS, ..Device::default() };
        let mut sim = Sim::new(units(3, S), device, config(timeout));
        let batches = sim.run(300 * S);
        let ticks: Vec<u64> = batches.iter().map(|b| b.tick.as_secs()).collect();
        let first = batches[1].tick;
        let expected: Vec<u64> = (first.as_secs()..300).collect();
        assert_eq!(ticks[1..], expected, "no tick is lost with timeout {timeout:?}");
        for b in &batches[1..] {
            assert!(good_of(b, 0) && good_of(b, 2) && b.bad.len() == 10);
            assert_eq!(b.bad[&10], Why::UnitSilent(Cause::Timeout));
            assert!(b.done - b.tick < 50 * MS, "on time: {:?} {:?}", b.tick, b.done);
        }
        sim.device.silent.clear();
        let back = sim.run(335 * S);
        let first = back.iter().find(|b| good_of(b, 1)).expect("the unit comes back");
        println!("timeout {timeout:?}: back after {:?}", first.tick - 300 * S);
        assert!(back.last().unwrap().good.len() == 30);
    }
}

#[test]
fn without_idle_time_a_dead_unit_gets_its_share_and_no_more() {
    // Two healthy units need all of the interval; the third is dead.
    let device = Device { silent: [2].into(), latency: 50 * MS, ..Device::default() };
    let mut sim = Sim::new(units(3, 100 * MS), device, config(S));
    sim.run(120 * S);
    let probes = sim.requests.iter().filter(|(_, r)| r.probe).count();
    assert!((3..=10).contains(&probes), "{probes} probes in two minutes");
    sim.device.silent.clear();
    let back = sim.run(160 * S);
    assert!(back.iter().any(|b| good_of(b, 2)), "within the longest back-off of 30 s");
}

#[test]
fn when_all_units_were_silent_all_are_back_within_the_promised_time() {
    for (interval, timeout) in [(100 * MS, S), (S, 2 * S), (60 * S, 2 * S), (S, 5 * S)] {
        let mut sim = Sim::new(units(3, interval), Device::default(), config(timeout));
        sim.run(10 * S);
        sim.device.silent = [0, 1, 2].into();
        let dark = sim.run(200 * S + 321 * MS);
        assert!(dark.last().unwrap().bad.len() == 30, "bad, every tick");
        sim.device.silent.clear();
        let bound = (3 * interval).max(2 * timeout + 5 * S);
        let batches = sim.run(200 * S + 321 * MS + bound + S);
        for unit in 0..3 {
            let back = batches.iter().find(|b| good_of(b, unit)).expect("back").done - 200 * S;
            assert!(back <= bound, "unit {unit} after {back:?} of {bound:?}");
        }
    }
}

#[test]
fn a_single_silent_unit_comes_back_with_all_its_points_at_once() {
    let points = (0..300).map(|i| point(i, 1, i as u32, 60 * S)).collect();
    let mut sim = Sim::new(points, Device { silent: [1].into(), ..Device::default() }, config(S));
    let batches = sim.run(30 * S);
    assert_eq!((batches.len(), batches[0].bad.len()), (1, 300));
    assert_eq!(batches[0].requests, 2, "two timeouts speak for the unit");
    sim.device.silent.clear();
    let batches = sim.run(37 * S);
    assert_eq!(batches[0].good.len(), 300, "not only at the next tick");
}

#[test]
fn one_block_after_a_timeout_is_enough_for_the_whole_unit() {
    let mut sim = Sim::new(units(1, S), Device::default(), config(400 * MS));
    sim.run(5 * S);
    sim.device.silent.insert(0);
    let batches = sim.run(8 * S);
    assert!(batches.iter().all(|b| b.good.is_empty() && b.bad.len() == 10));
    assert!(batches.len() >= 3, "published at each tick");
}
