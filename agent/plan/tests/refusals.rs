//! Refused addresses, holes, limits and spaces.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod sim;

use std::collections::BTreeSet;
use std::time::Duration;

use lineside_plan::{PointSpec, ReaderConfig, Refusal, SpaceId, Why};
use sim::{Device, MS, S, Sim, point, space};

fn registers(range: std::ops::Range<u32>, interval: Duration) -> Vec<PointSpec> {
    range.enumerate().map(|(id, at)| point(id, 1, at, interval)).collect()
}

fn config() -> ReaderConfig {
    ReaderConfig { request_timeout: S, ..ReaderConfig::default() }
}

#[test]
fn five_bad_registers_of_a_thousand_cost_a_few_requests_once() {
    let bad = [77, 250, 501, 640, 999];
    let device = Device { bad: bad.iter().map(|a| (space(1), *a)).collect(), ..Device::default() };
    let mut sim = Sim::new(registers(0..1000, S), device, config());
    let batches = sim.run(600 * S);
    println!("first cycle {} requests, then {}", batches[0].requests, batches[2].requests);
    for batch in &batches {
        assert_eq!(batch.good.len(), 995, "at {:?}", batch.tick);
        assert_eq!(batch.bad.keys().map(|k| *k as u32).collect::<Vec<_>>(), bad);
    }
    assert_eq!(batches.len(), 600);
    // 8 blocks, and down to each bad register at most 2 x log2(125) more.
    assert!(batches[0].requests <= 8 + 5 * 14, "{}", batches[0].requests);
    assert!(batches[1].requests <= 13, "{}", batches[1].requests);
    assert_eq!(batches[0].bad[&77], Why::Refused(Refusal::Address));
    assert_eq!(batches[1].bad[&77], Why::Quarantined);
    let retries: usize =
        sim.requests.iter().filter(|(at, r)| *at > S && r.start == 77 && r.len == 1).count();
    assert!((6..=9).contains(&retries), "5, 10, 20 ... s: {retries} retries in 10 min");
}

#[test]
fn a_hole_between_points_is_learned_and_not_read_again() {
    let points: Vec<PointSpec> = (0..100).map(|i| point(i, 1, 3 * i as u32, S)).collect();
    let device = Device {
        bad: [100, 103, 200].iter().map(|a| (space(1), *a)).collect(),
        ..Device::default()
    };
    let mut sim = Sim::new(points, device, config());
    let batches = sim.run(30 * S);
    assert!(batches.iter().all(|b| b.good.len() == 100), "no point is lost, not even once");
    let last = batches.last().unwrap();
    assert!(last.requests <= 6, "{} requests", last.requests);
    assert!(sim.reader.report().quarantined.is_empty());
    assert!(!sim.reader.report().barriers.is_empty());
}

#[test]
fn a_device_that_takes_only_ten_registers_is_read_whole() {
    let mut sim =
        Sim::new(registers(0..100, S), Device { max_len: 10, ..Device::default() }, config());
    let batches = sim.run(60 * S);
    assert!(batches.iter().all(|b| b.good.len() == 100), "from the first cycle on");
    let requests: Vec<usize> = batches.iter().map(|b| b.requests).collect();
    println!("at most 10 registers: requests of each cycle {requests:?}");
    assert_eq!(requests.last(), Some(&10), "as few as a device of that limit needs");
    assert_eq!(sim.reader.report().caps, [(space(1), 10)]);
    let refused = sim.requests.iter().filter(|(at, r)| *at > 20 * S && r.len > 10).count();
    assert_eq!(refused, 0, "nothing is refused any more");
}

#[test]
fn what_was_wrongly_learned_is_unlearned() {
    let config = ReaderConfig { retry_max: 20 * S, ..config() };
    let mut sim =
        Sim::new(registers(0..500, S), Device { max_len: 7, ..Device::default() }, config);
    sim.device.bad = (0..20).map(|i| (space(1), 600 + i)).collect();
    assert!(sim.run(120 * S).iter().all(|b| b.good.len() == 500));
    sim.device.max_len = 125;
    let batches = sim.run(7200 * S);
    assert!(batches.iter().all(|b| b.good.len() == 500));
    let last = batches.last().unwrap().requests;
    assert_eq!(last, 4, "the optimum of a healthy device: {:?}", sim.reader.report());
}

#[test]
fn a_repaired_address_is_back_within_its_wait() {
    let device = Device { bad: [(space(1), 5)].into(), ..Device::default() };
    let mut sim = Sim::new(registers(0..20, S), device, config());
    sim.run(12 * S);
    sim.device.bad.clear();
    let wait = sim.reader.report().quarantined[0].wait;
    let batches = sim.run(12 * S + wait + 2 * S);
    let back = batches.iter().find(|b| b.good.contains(&5)).expect("back").tick;
    assert!(back <= 12 * S + wait + S);
    let last = batches.last().unwrap();
    assert_eq!((last.good.len(), last.requests), (20, 1), "and in the block again");
}

#[test]
fn a_wrong_table_costs_one_bisection_and_then_bounded_retries() {
    let mut points = registers(0..300, S);
    points.extend((300..310).map(|id| point(id, 1, 5000 + id as u32, S)));
    let bad = (0..300).map(|a| (space(1), a)).collect();
    let mut sim = Sim::new(points, Device { bad, ..Device::default() }, config());
    let batches = sim.run(120 * S);
    assert!(batches[0].requests <= 2 * 310 + 2 * 9);
    assert!(batches[1..].iter().all(|b| b.requests <= 9 && b.good.len() == 10));
    sim.device.bad.clear();
    let repaired = sim.run(300 * S);
    assert_eq!(repaired.last().unwrap().good.len(), 310);
}

#[test]
fn a_group_with_a_bad_member_is_guilty_as_a_whole() {
    let mut points = registers(0..10, S);
    for p in &mut points[2..5] {
        p.span.group = Some(1);
    }
    let device = Device { bad: [(space(1), 3)].into(), ..Device::default() };
    let mut sim = Sim::new(points, device, config());
    let batches = sim.run(20 * S);
    for b in batches {
        assert_eq!(b.bad.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    }
    sim.device.bad.clear();
    let batches = sim.run(60 * S);
    assert_eq!(batches.last().unwrap().good.len(), 10);
    let whole =
        |r: &lineside_plan::Request| r.start > 2 || r.start + r.len >= 5 || r.start + r.len <= 2;
    assert!(sim.requests.iter().all(|(_, r)| whole(r)), "the group is never cut");
}

#[test]
fn equal_and_overlapping_points_are_all_judged_alone() {
    let mut points = registers(0..6, S);
    points.push(point(6, 1, 3, S));
    points.push(point(7, 1, 1, S));
    points[7].span.len = 4;
    let device = Device { bad: [(space(1), 3)].into(), ..Device::default() };
    let mut sim = Sim::new(points, device, config());
    for b in sim.run(30 * S) {
        assert_eq!(b.bad.keys().copied().collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(b.good.len(), 5);
    }
}

#[test]
fn a_refused_function_is_left_alone_and_probed() {
    let table4 = SpaceId::new(1, 4);
    let mut points = registers(0..500, S);
    for p in &mut points[100..] {
        p.span.space = table4;
    }
    let device = Device { refused: [table4].into(), ..Device::default() };
    let mut sim = Sim::new(points, device, config());
    let batches = sim.run(60 * S);
    assert!(batches.iter().all(|b| b.good.len() == 100));
    let asked = sim.requests.iter().filter(|(_, r)| r.space == table4).count();
    assert!(asked <= 5, "{asked} requests to a refused table in a minute");
    assert!(batches[1].bad.values().all(|w| *w == Why::SpaceQuarantined));
    sim.device.refused.clear();
    let wait = sim.reader.report().refused_spaces[0].retry_at - sim.now;
    let batches = sim.run(60 * S + wait + 2 * S);
    assert_eq!(batches.last().unwrap().good.len(), 500, "all at once");
}

#[test]
fn busy_teaches_nothing() {
    let mut sim =
        Sim::new(registers(0..200, S), Device { busy: true, ..Device::default() }, config());
    let batches = sim.run(5 * S);
    assert!(batches.iter().all(|b| b.bad.len() == 200 && b.requests == 2));
    sim.device.busy = false;
    assert!(sim.run(6 * S).iter().all(|b| b.good.len() == 200));
}

#[test]
fn an_address_that_mutes_the_device_does_not_take_the_unit_with_it() {
    let device = Device { mute: [(space(1), 150)].into(), ..Device::default() };
    let mut sim = Sim::new(registers(0..300, 2 * S), device, config());
    let batches = sim.run(120 * S);
    let last = batches.last().unwrap();
    assert_eq!(last.good.len(), 299, "{:?}", last.bad);
    let timeouts = sim
        .requests
        .iter()
        .filter(|(at, r)| *at > 60 * S && r.start <= 150 && r.start + r.len > 150);
    assert!(timeouts.count() <= 4, "and costs a timeout now and then only");
}

#[test]
fn changed_points_keep_what_was_learned() {
    let device = Device { bad: [(space(1), 5), (space(1), 40)].into(), ..Device::default() };
    let mut sim = Sim::new(registers(0..20, S), device, config());
    sim.run(3 * S + 500 * MS);
    let before = sim.requests.len();
    sim.replace((0..30).map(|i| point(i, 1, i as u32, if i < 20 { S } else { 60 * S })).collect());
    let batches = sim.run(4 * S + 500 * MS);
    assert_eq!(batches[0].good.iter().copied().collect::<Vec<_>>(), (20..30).collect::<Vec<_>>());
    assert_eq!(batches[0].tick, 3 * S + 500 * MS, "new points are read at once");
    assert_eq!(batches[1].tick, 4 * S, "old ones stay in phase");
    assert_eq!(batches[1].bad.keys().copied().collect::<Vec<_>>(), [5]);
    let asked_again =
        sim.requests[before..].iter().any(|(_, r)| r.start <= 5 && 5 < r.start + r.len);
    assert!(!asked_again, "the bad address is still known");
    let left: BTreeSet<usize> = sim.reader.report().quarantined.iter().map(|q| q.point).collect();
    assert_eq!(left, [5].into());
}
