//! What one schedule consists of. Each leaves out most of what could happen, so that what does
//! happen meets in many ways, and so that the model can be exact about the rest.

use std::time::Duration;

use lineside_crds::model::{Drain, Durability, Overflow, Store};
use lineside_store::Options;

use crate::dice::Dice;
use crate::disk::{End, Kind, Lies};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A bound that no schedule reaches; segments have their smallest size.
const LARGE: u64 = 4 * MIB;

/// Which bytes rot between two lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    None,
    /// Payloads of records: exactly those are lost.
    Payloads,
    /// Any byte of segments, definitions and cursors.
    Anything,
}

/// What the store is broken with on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutation {
    pub lies: Lies,
    pub blind: bool,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: usize,
    pub logs: usize,
    pub sinks: usize,
    /// Longest string of a sample.
    pub longest: usize,
    pub durability: Durability,
    pub overflow: Overflow,
    pub max_bytes: u64,
    pub max_age: Option<Duration>,
    pub live_first: bool,
    pub capacity: u64,
    pub options: Options,
    /// How processes end; none of them by a crash when it is empty.
    pub ends: Vec<End>,
    /// Processes end in the middle of something, too.
    pub cut_off: bool,
    /// Operations that fail now and then.
    pub failing: Vec<Kind>,
    pub read_only: bool,
    /// The disk is full now and then.
    pub full: bool,
    pub rot: Rot,
    /// Sessions that had connected die with records in flight.
    pub poison: bool,
    /// Remotes may lose what they accepted, so that it is settled later.
    pub forgetful: bool,
    /// Sinks come and go.
    pub churn: bool,
}

impl Plan {
    pub fn roll(dice: &mut Dice, mutation: Mutation) -> Self {
        let small = dice.chance(35);
        let overflow = *dice.pick(&[
            Overflow::DropOldest,
            Overflow::DropOldest,
            Overflow::DropNewest,
            Overflow::Thin,
            Overflow::Backpressure,
        ]);
        let failing = if dice.chance(25) {
            let kinds = dice.within(1..=3);
            (0..kinds).map(|_| *dice.pick(&Kind::ALL)).collect()
        } else {
            Vec::new()
        };
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&dice.number().to_le_bytes());
        Self {
            steps: dice.within(20..=90),
            logs: *dice.pick(&[1, 1, 1, 2, 3]),
            sinks: dice.within(1..=3),
            longest: if small { *dice.pick(&[400, 2000]) } else { *dice.pick(&[10, 100, 1000]) },
            durability: if dice.chance(85) { Durability::Durable } else { Durability::Relaxed },
            overflow,
            max_bytes: if small { *dice.pick(&[192, 256, 448]) * KIB } else { LARGE },
            max_age: dice.chance(12).then(|| Duration::from_secs(dice.within(1..=30) as u64)),
            live_first: dice.chance(15),
            capacity: 8 * MIB,
            options: Options {
                pending_bytes: *dice.pick(&[16 * 1024, 8 << 20, 8 << 20, 8 << 20]),
                tail_bytes: *dice.pick(&[0, 2_000, 1 << 20]),
                burst_bytes: *dice.pick(&[0, 0, 1 << 20]),
                read_ahead_bytes: *dice.pick(&[1, 3_000, 256 * 1024]),
                identity: Some(identity),
                blind: mutation.blind,
                ..Options::default()
            },
            ends: dice
                .pick(&[
                    vec![End::Machine],
                    vec![End::Machine],
                    vec![End::Process],
                    vec![End::Process, End::Machine],
                    vec![],
                ])
                .clone(),
            cut_off: dice.chance(50),
            failing,
            read_only: dice.chance(8),
            full: dice.chance(12),
            rot: *dice.pick(&[Rot::None, Rot::None, Rot::None, Rot::Payloads, Rot::Anything]),
            poison: dice.chance(10),
            forgetful: dice.chance(40),
            churn: dice.chance(25),
        }
    }

    pub fn settings(&self) -> Store {
        Store {
            durability: self.durability,
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            overflow: self.overflow,
        }
    }

    pub fn drain(&self) -> Drain {
        if self.live_first { Drain::LiveFirst } else { Drain::InOrder }
    }

    /// Whether the bound may be reached.
    pub fn is_tight(&self) -> bool {
        self.max_bytes < LARGE || self.full || self.options.pending_bytes < 1 << 20
    }
}
