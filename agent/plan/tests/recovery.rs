//! Whatever happens to a device: when it ends, everything is read again as before.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod sim;

use std::collections::BTreeSet;
use std::time::Duration;

use lineside_plan::{PointSpec, ReaderConfig, SpaceId};
use proptest::prelude::*;
use sim::{Device, MS, S, Sim, point};

type Address = (u16, u32);

/// Faults of one phase and how long they last, in tenths of a second.
#[derive(Clone, Debug)]
struct Phase {
    bad: BTreeSet<Address>,
    mute: BTreeSet<Address>,
    silent: BTreeSet<u16>,
    refused: Option<u16>,
    busy: bool,
    max_len: u32,
    tenths: u32,
}

fn phase() -> impl Strategy<Value = Phase> {
    let addresses = |n| proptest::collection::btree_set((0..3_u16, 0..200_u32), 0..n);
    (
        addresses(10),
        addresses(2),
        proptest::collection::btree_set(0..3_u16, 0..4),
        proptest::option::weighted(0.3, 0..3_u16),
        proptest::bool::weighted(0.2),
        prop_oneof![Just(125_u32), 5..125_u32],
        1..200_u32,
    )
        .prop_map(|(bad, mute, silent, refused, busy, max_len, tenths)| Phase {
            bad,
            mute,
            silent,
            refused,
            busy,
            max_len,
            tenths,
        })
}

fn device(p: &Phase) -> Device {
    let of = |all: &BTreeSet<Address>| {
        all.iter().map(|(unit, at)| (SpaceId::new(*unit, 3), *at)).collect()
    };
    Device {
        bad: of(&p.bad),
        mute: of(&p.mute),
        silent: p.silent.clone(),
        refused: p.refused.map(|u| SpaceId::new(u, 3)).into_iter().collect(),
        lost: BTreeSet::new(),
        busy: p.busy,
        max_len: p.max_len,
        latency: MS,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_faults_that_ends_is_recovered_from(
        starts in proptest::collection::btree_set((0..3_u16, 0..200_u32), 1..120),
        phases in proptest::collection::vec(phase(), 1..6), timeout in 1..25_u32,
    ) {
        let points: Vec<PointSpec> =
            starts.iter().enumerate().map(|(i, (unit, at))| point(i, *unit, *at, S)).collect();
        let config = ReaderConfig {
            retry_max: 20 * S,
            request_timeout: timeout * 100 * MS,
            ..ReaderConfig::default()
        };
        let count = points.len();
        let mut sim = Sim::new(points, Device::default(), config);
        let mut until = Duration::ZERO;
        for p in &phases {
            sim.device = device(p);
            until += p.tenths * 100 * MS;
            sim.run(until);
        }
        sim.device = Device::default();
        sim.run(until + 70 * S);
        let after = sim.run(until + 90 * S);
        prop_assert!(after.len() >= 19, "{} cycles in 20 s", after.len());
        for batch in after.iter().rev().take(15) {
            prop_assert_eq!(batch.good.len(), count, "{:?} {:?}", batch.bad, sim.reader.report());
        }
    }
}
