//! Ticks, rates and fairness.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod sim;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lineside_plan::{
    Action, Event, Limits, Outcome, PointSpec, Reader, ReaderConfig, SpaceId, Why, estimate,
};
use proptest::prelude::*;
use sim::{Device, MS, S, Sim, point};

#[test]
fn intervals_coincide_and_do_not_drift() {
    let points = vec![point(0, 1, 0, S), point(1, 1, 1, 2 * S), point(2, 1, 2, 3 * S)];
    let device = Device { latency: 7 * MS, ..Device::default() };
    let mut sim = Sim::new(points, device, ReaderConfig::default());
    let batches = sim.run(600 * S);
    assert_eq!(batches.len(), 600);
    for (k, b) in batches.iter().enumerate() {
        assert_eq!(b.tick, k as u32 * S);
        assert_eq!(b.requests, 1, "due together, read together");
        assert_eq!(b.good.contains(&1), k % 2 == 0);
        assert_eq!(b.good.contains(&2), k % 3 == 0);
    }
    assert_eq!(sim.reader.missed_ticks(), 0);
}

#[test]
fn missed_ticks_are_counted_and_not_made_up_for() {
    let points = (0..10).map(|i| point(i, 1, 200 * i as u32, 100 * MS)).collect();
    let device = Device { latency: 25 * MS, ..Device::default() };
    let mut sim = Sim::new(points, device, ReaderConfig::default());
    let batches = sim.run(30 * S);
    assert_eq!(batches.len(), 120, "250 ms of work, the latest tick is served late");
    assert!((178..=180).contains(&sim.reader.missed_ticks()));
    let ticks: Vec<u128> = batches.iter().map(|b| b.tick.as_millis()).collect();
    assert_eq!(ticks[..5], [0, 200, 500, 700, 1000]);
}

#[test]
fn the_rate_limit_holds_over_everything() {
    let points = (0..40).map(|i| point(i, (i % 4) as u16, 3 * i as u32, S)).collect();
    let device = Device {
        silent: [2].into(),
        bad: [(SpaceId::new(1, 3), 3), (SpaceId::new(3, 3), 50)].into(),
        ..Device::default()
    };
    let pause = 120 * MS;
    let config = ReaderConfig {
        min_request_interval: Some(pause),
        request_timeout: 300 * MS,
        ..ReaderConfig::default()
    };
    let mut sim = Sim::new(points, device, config);
    sim.run(120 * S);
    let times: Vec<Duration> = sim.requests.iter().map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|w| w[1] - w[0] >= pause));
    assert!(times.len() > 300);
}

#[test]
fn the_estimate_is_what_a_healthy_device_sees() {
    let mut points: Vec<PointSpec> = (0..200).map(|i| point(i, 1, 2 * i as u32, S)).collect();
    points.extend((200..300).map(|i| point(i, 1, 1000 + i as u32, 1500 * MS)));
    let load = estimate(&points, |_| Limits { max_len: 125, max_gap: 16 });
    let mut sim = Sim::new(points, Device::default(), ReaderConfig::default());
    sim.run(300 * S);
    let requests = sim.requests.len() as f64 / 300.0;
    let units: u32 = sim.requests.iter().map(|(_, r)| r.len).sum();
    assert!((load.requests_per_second - requests).abs() < 0.05, "{load:?} {requests}");
    assert!((load.units_per_second - f64::from(units) / 300.0).abs() < 5.0);
    assert_eq!(sim.reader.report().load, load);
}

#[test]
fn while_a_request_is_out_the_reader_waits_for_its_timeout() {
    let (now, mut events) = (Instant::now(), Vec::new());
    let limits = |_| Limits { max_len: 10, max_gap: 0 };
    let mut reader = Reader::new(vec![point(0, 1, 0, S)], limits, ReaderConfig::default(), now, 0);
    assert!(matches!(reader.next(now, &mut events), Action::Send(_)));
    assert_eq!(reader.next(now + S, &mut events), Action::Wait(now + 2 * S));
}

#[test]
fn a_lost_connection_leaves_no_point_without_an_outcome_and_forgets_nothing() {
    let (now, mut events) = (Instant::now(), Vec::new());
    let limits = |_| Limits { max_len: 10, max_gap: 0 };
    let points = (0..30).map(|i| point(i, 1, i as u32, S)).collect();
    let mut reader = Reader::new(points, limits, ReaderConfig::default(), now, 0);
    let Action::Send(first) = reader.next(now, &mut events) else { panic!("due at once") };
    assert!(reader.answer(first.token, now, Outcome::Data, &mut events));
    let Action::Send(second) = reader.next(now, &mut events) else { panic!("three blocks") };
    events.clear();
    reader.abort(&mut events);
    let bad = |e: &&Event| matches!(e, Event::Bad { why: Why::Timeout, .. });
    assert_eq!(events.iter().filter(bad).count(), 20);
    assert_eq!(events.last(), Some(&Event::CycleDone { tick: now, points: 30 }));
    events.clear();
    assert!(!reader.answer(second.token, now, Outcome::Data, &mut events), "stale by now");
    assert_eq!(reader.next(now, &mut events), Action::Wait(now + S));
    assert!(matches!(reader.next(now + S, &mut events), Action::Send(_)));
}

#[test]
fn nothing_to_read_is_nothing_to_do() {
    let now = Instant::now();
    let limits = |_| Limits { max_len: 10, max_gap: 0 };
    let mut reader = Reader::new(Vec::new(), limits, ReaderConfig::default(), now, 0);
    assert!(matches!(reader.next(now, &mut Vec::new()), Action::Wait(at) if at > now + S));
    assert_eq!(estimate(&[], limits), reader.report().load);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_point_starves_whatever_the_intervals_and_the_faults(
        spec in proptest::collection::vec((0..4_u16, 0..300_u32, 1..40_u32), 1..80),
        bad in proptest::collection::btree_set((0..4_u16, 0..300_u32), 0..20),
        silent in proptest::option::of(0..4_u16), max_len in 4..126_u32,
    ) {
        let points: Vec<PointSpec> = spec.iter().enumerate()
            .map(|(i, (unit, at, tenths))| point(i, *unit, *at, *tenths * 100 * MS)).collect();
        let device = Device {
            bad: bad.iter().map(|(u, a)| (SpaceId::new(*u, 3), *a)).collect(),
            silent: silent.into_iter().collect(),
            max_len,
            ..Device::default()
        };
        let config = ReaderConfig { request_timeout: 500 * MS, ..ReaderConfig::default() };
        let mut sim = Sim::new(points.clone(), device.clone(), config);
        sim.run(40 * S);
        let mut last: BTreeMap<usize, (Duration, u32, u32)> = BTreeMap::new();
        for b in sim.batches.iter().filter(|b| b.tick >= 10 * S) {
            for p in &b.good { let e = last.entry(*p).or_default(); e.0 = b.tick; e.1 += 1; }
            for p in b.bad.keys() { let e = last.entry(*p).or_default(); e.0 = b.tick; e.2 += 1; }
        }
        for p in &points {
            let (at, good, bad) = last[&p.span.id];
            prop_assert!(at + p.interval + S >= 40 * S, "{p:?} silent since {at:?}");
            let readable = !device.silent.contains(&p.span.space.unit)
                && !device.bad.contains(&(p.span.space, p.span.start));
            if readable {
                prop_assert!(bad == 0 && good > 0, "{p:?}: {good} good, {bad} bad");
            } else {
                prop_assert_eq!(good, 0);
            }
        }
    }
}
