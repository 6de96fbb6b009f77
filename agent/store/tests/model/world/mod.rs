//! One schedule: the store on its disk, the model beside it, and what happens to both.

mod lives;
mod sessions;
mod steps;

use std::sync::{Arc, Mutex};

use lineside_core::UnixNanos;
use lineside_crds::model::{ObjectKey, Overflow};
use lineside_store::{Now, Reading, Volume, VolumeState};

use crate::batches::Source;
use crate::dice::Dice;
use crate::disk::{Kind, SimFs};
use crate::plan::{Mutation, Plan};
use crate::reference::{self, Excuses, Verdict, ensure};

const SECOND: i64 = 1_000_000_000;
const START: UnixNanos = 1_790_000_000 * SECOND;
const NAMES: [&str; 3] = ["mqtt", "iotdb", "kafka"];

/// Receipts that were called: log, item, answer.
type Receipts = Arc<Mutex<Vec<(usize, usize, bool)>>>;

pub struct World {
    plan: Plan,
    dice: Dice,
    disk: SimFs,
    volume: Option<Arc<Volume>>,
    logs: Vec<LogWorld>,
    source: Source,
    now: UnixNanos,
    receipts: Receipts,
    readings: Vec<Reading>,
    store_id: Option<Arc<str>>,
    /// Where anything has rotted that more than one record depends on.
    rotten: bool,
    /// Whether a fault may be active.
    faulty: bool,
    trace: bool,
}

struct LogWorld {
    key: ObjectKey,
    handle: Option<Arc<lineside_store::Log>>,
    stream: Option<u32>,
    /// Made in this life.
    is_new: bool,
    model: reference::Log,
    /// Items when the last life ended: those lost since must be covered by the next gap.
    awaits_gap: Option<usize>,
}

/// Runs the schedule of a seed.
pub fn run(seed: u64, mutation: Mutation, trace: bool) -> Verdict {
    let mut dice = Dice::new(seed);
    let plan = Plan::roll(&mut dice, mutation);
    if trace {
        println!("{plan:#?}");
    }
    let mut world = World::new(plan, dice, mutation, trace);
    world.open()?;
    for _ in 0..world.plan.steps {
        world.step()?;
    }
    world.finish()
}

impl World {
    fn new(plan: Plan, mut dice: Dice, mutation: Mutation, trace: bool) -> Self {
        let logs = (0..plan.logs)
            .map(|n| LogWorld {
                key: ObjectKey::new("plant", format!("line-{n}")),
                handle: None,
                stream: None,
                is_new: true,
                model: reference::Log::default(),
                awaits_gap: None,
            })
            .collect();
        Self {
            disk: SimFs::new(dice.number(), plan.capacity, mutation.lies),
            source: Source::new(&mut dice, plan.longest),
            plan,
            dice,
            volume: None,
            logs,
            now: START,
            receipts: Receipts::default(),
            readings: Vec::new(),
            store_id: None,
            rotten: false,
            faulty: false,
            trace,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} ms  {}", (self.now - START) / 1_000_000, what());
        }
    }

    fn now(&self) -> Now {
        Now { unix: self.now }
    }

    fn excuses(&self) -> Excuses {
        Excuses {
            full: self.plan.is_tight(),
            thin: self.plan.overflow == Overflow::Thin,
            age: self.plan.max_age.is_some(),
            corrupt: false,
            rot: self.rotten,
            poison: self.plan.poison,
        }
    }

    /// Whether a sink of the log may find something unreadable.
    fn may_be_corrupt(&self, log: &LogWorld) -> bool {
        let reads = [Kind::Read, Kind::Open];
        log.model.holes
            || log.model.has_rot()
            || reads.iter().any(|kind| self.plan.failing.contains(kind))
    }

    fn is_degraded(&self) -> bool {
        self.volume.as_ref().is_some_and(|v| v.state() != VolumeState::Full)
    }

    fn step(&mut self) -> Verdict {
        self.now += self.dice.below(20) as i64 * 1_000_000;
        match self.dice.below(100) {
            0..30 => self.append()?,
            30..45 => self.commit()?,
            45..68 => self.take()?,
            68..82 => self.settle()?,
            82..85 => self.end_session(),
            85..87 => self.run_reading(),
            87..90 => self.wait_a_while()?,
            90..92 => self.change_sinks()?,
            92..95 => self.change_faults(),
            95..97 if self.plan.cut_off && !self.plan.ends.is_empty() => {
                let operations = self.dice.below(40);
                self.say(|| format!("the process ends in {operations} operations"));
                self.disk.end_after(operations);
            }
            97..99 => self.restart()?,
            _ => self.close()?,
        }
        if self.disk.has_ended() {
            return self.restart();
        }
        self.collect_receipts(true)?;
        self.check()
    }

    /// The books of every sink against the model.
    fn check(&mut self) -> Verdict {
        let mut excuses = self.excuses();
        for log in &self.logs {
            let Some(handle) = &log.handle else { continue };
            excuses.corrupt = self.may_be_corrupt(log);
            for (name, ledger) in handle.ledgers() {
                let Some(sink) = log.model.sinks.get(&*name) else {
                    return Err(format!("{} has a sink {name} of its own", log.key));
                };
                sink.check(&ledger, &log.model.items, log.model.number, excuses)
                    .map_err(|e| format!("{} {name}: {e}", log.key))?;
            }
            let usage = handle.usage();
            // One record more than the bound, and all that a sink may have already.
            let record = 8 * 1024 + self.plan.longest as u64 * 400;
            let most = self.plan.options.pending_bytes as u64 + record;
            ensure!(
                usage.pending_bytes <= most || log.model.is_early(),
                "{} bytes are pending, {most} are allowed",
                usage.pending_bytes
            );
        }
        Ok(())
    }

    /// Everything is well again, and every sink gets all that waits.
    fn finish(mut self) -> Verdict {
        self.say(|| "the end".to_owned());
        self.disk.end_never();
        self.heal();
        if self.disk.has_ended() || self.dice.chance(50) {
            self.restart()?;
            self.heal();
        }
        self.now += 10 * SECOND;
        self.commit()?;
        ensure!(
            !self.is_degraded(),
            "degraded though the disk is well: {:?}",
            self.volume.as_ref().map(|v| v.state())
        );
        self.readings.clear();
        for n in 0..self.logs.len() {
            let names: Vec<_> = self.logs[n].model.sinks.keys().copied().collect();
            for sink in names {
                self.drain(n, sink).map_err(|e| format!("{} {sink}: {e}", self.logs[n].key))?;
            }
        }
        self.check()?;
        let mut excuses = self.excuses();
        for log in &self.logs {
            let Some(handle) = &log.handle else { continue };
            excuses.corrupt = self.may_be_corrupt(log);
            for (name, ledger) in handle.ledgers() {
                log.model.sinks[&*name]
                    .check_drained(&ledger, &log.model.items, excuses)
                    .map_err(|e| format!("{} {name}: {e}", log.key))?;
            }
        }
        self.close()
    }
}
