//! One schedule: the store on its disk, the model beside it, and what happens to both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lineside_core::UnixNanos;
use lineside_core::sink::{Outcome, Refusal};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Durability, ObjectKey, Overflow};
use lineside_store::{Appended, Ledger, Now, Reading, Receipt, Stamp, Take, Volume, VolumeState};

use crate::batches::Source;
use crate::dice::Dice;
use crate::disk::{End, Kind, SimFs};
use crate::plan::{Mutation, Plan, Rot};
use crate::reference::{self, Excuses, Loss, Settlement, Verdict, ensure};
use crate::rot;

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

    fn append(&mut self) -> Verdict {
        let n = self.dice.below(self.logs.len());
        let burst = if self.dice.chance(20) { self.dice.within(2..=30) } else { 1 };
        for _ in 0..burst {
            let batch = self.source.batch(&mut self.dice, self.now);
            let gap_from =
                self.dice.chance(40).then(|| self.now - self.dice.below(2000) as i64 * 1_000_000);
            let stamp = Stamp { captured_at: self.now, gap_from };
            let log = &mut self.logs[n];
            let Some(handle) = &log.handle else { return Ok(()) };
            let (receipts, index) = (self.receipts.clone(), log.model.next());
            let receipt: Receipt = Box::new(move |stays| {
                receipts.lock().unwrap().push((n, index, stays));
            });
            let answer = handle.append(batch.clone(), stamp, Some(receipt));
            let model = &mut log.model;
            match answer {
                Appended::Taken(offset) => {
                    model.appended(batch, self.now, gap_from, Some(offset))?;
                }
                Appended::DroppedNewest => {
                    model.appended(batch, self.now, gap_from, None)?;
                    // Its receipt says the same.
                    self.receipts.lock().unwrap().retain(|(l, i, _)| (*l, *i) != (n, index));
                }
                Appended::Full => {
                    ensure!(
                        self.plan.overflow == Overflow::Backpressure,
                        "full without backpressure"
                    );
                    ensure!(self.plan.is_tight(), "full far below the bound");
                }
            }
            if self.trace {
                println!("            {} append {index}: {answer:?}", self.logs[n].key);
            }
            self.check_gap(n)?;
            self.collect_receipts(false)?;
        }
        Ok(())
    }

    /// The first record after a start is preceded by a gap that covers all that was lost.
    fn check_gap(&mut self, n: usize) -> Verdict {
        let log = &mut self.logs[n];
        let (Some(since), Some(handle)) = (log.awaits_gap, &log.handle) else { return Ok(()) };
        // A record that was dropped at once leaves nothing that a gap could stand before.
        if !log.model.items[since..].iter().any(|i| i.offset.is_some()) {
            return Ok(());
        }
        log.awaits_gap = None;
        let gaps = handle.gaps();
        let Some(gap) = gaps.last() else {
            // Nothing was ever committed to this log, so nothing says since when it is there.
            ensure!(
                !log.model.had_records() || self.rotten || log.model.has_rot(),
                "no gap after a start, though the log had records before"
            );
            return Ok(());
        };
        ensure!(gap.to >= gap.from, "{gap:?} ends before it begins");
        if let Some(from) = log
            .model
            .gap_from()
            .filter(|_| !self.rotten && !log.model.has_rot() && log.model.had_records())
        {
            let is_covered = gaps.iter().any(|g| g.from <= from && from <= g.to);
            ensure!(is_covered, "no gap covers {from}: {gaps:?}");
        }
        Ok(())
    }

    fn commit(&mut self) -> Verdict {
        let Some(volume) = self.volume.clone() else { return Ok(()) };
        let committed = volume.commit(self.now());
        self.say(|| format!("commit: {:?} {committed:?}", volume.state()));
        if self.disk.has_ended() {
            self.logs.iter_mut().for_each(|log| log.model.degraded());
            return Ok(());
        }
        self.collect_receipts(true)?;
        if volume.state() == VolumeState::Full {
            for log in &self.logs {
                let open = log.model.pending().next();
                ensure!(open.is_none(), "after a good commit the receipt of {open:?} is open");
            }
        } else {
            ensure!(self.faulty, "degraded without a fault: {:?}", volume.state());
            self.logs.iter_mut().for_each(|log| log.model.degraded());
        }
        Ok(())
    }

    fn collect_receipts(&mut self, by_commit: bool) -> Verdict {
        let excuses = self.excuses();
        let called = std::mem::take(&mut *self.receipts.lock().unwrap());
        for (log, index, stays) in called {
            self.say(|| format!("receipt of log {log} item {index}: {stays}"));
            self.logs[log].model.decided(index, stays, by_commit, excuses)?;
            ensure!(
                stays || self.plan.is_tight() || self.faulty,
                "item {index} was given up with room left"
            );
        }
        Ok(())
    }

    /// A log and one of its sinks.
    fn pick_sink(&mut self) -> Option<(usize, &'static str)> {
        let n = self.dice.below(self.logs.len());
        let attached: Vec<_> =
            self.logs[n].model.sinks.iter().filter(|(_, s)| s.attached).map(|(n, _)| *n).collect();
        if attached.is_empty() {
            return None;
        }
        Some((n, *self.dice.pick(&attached)))
    }

    fn take(&mut self) -> Verdict {
        let Some((n, sink)) = self.pick_sink() else { return Ok(()) };
        for _ in 0..self.dice.within(1..=20) {
            if !self.take_one(n, sink)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one record; false when there is none for now.
    fn take_one(&mut self, n: usize, sink: &'static str) -> Verdict<bool> {
        let early = self.is_degraded();
        let in_order = !self.plan.live_first;
        let now = self.now();
        let Some(handle) = self.logs[n].handle.clone() else { return Ok(false) };
        let log = &mut self.logs[n];
        let Some(state) = log.model.sinks.get_mut(sink) else { return Ok(false) };
        if state.session.is_none() {
            state.begin_session();
            handle.start_session(sink);
        }
        match handle.take(sink, now) {
            Take::Record { record, .. } => {
                let (id, batch) = (&record.id, &record.batch);
                ensure!(
                    Some(&id.store) == self.store_id.as_ref() && Some(id.stream) == log.stream,
                    "a record of another store or stream: {id}"
                );
                let index = log.model.handed_out(sink, id.offset, batch, early, in_order)?;
                let key = self.logs[n].key.clone();
                self.say(|| format!("{key} {sink} took {index} ({})", record.id.offset));
                Ok(true)
            }
            Take::Read(reading) => {
                if self.dice.chance(90) {
                    reading.run();
                } else {
                    self.readings.push(reading);
                }
                Ok(!self.disk.has_ended())
            }
            Take::Wait => {
                let idle = state.session.as_ref().is_some_and(|s| s.in_flight.is_empty());
                if idle && self.readings.is_empty() && !self.disk.has_ended() {
                    log.model.waits(sink);
                }
                self.say(|| format!("{sink} waits"));
                Ok(false)
            }
            Take::WaitUntil(at) => {
                ensure!(at > self.now, "told to wait until {at}, which is past");
                self.say(|| format!("{sink} waits until {at}"));
                Ok(false)
            }
        }
    }

    fn run_reading(&mut self) {
        if !self.readings.is_empty() {
            let n = self.dice.below(self.readings.len());
            self.say(|| "a late reading".to_owned());
            self.readings.remove(n).run();
        }
    }

    fn settle(&mut self) -> Verdict {
        let Some((n, sink)) = self.pick_sink() else { return Ok(()) };
        let mut handed = self.logs[n].model.sinks[sink].handed();
        for _ in 0..self.dice.within(1..=20) {
            if handed.is_empty() {
                break;
            }
            // Usually in order, as most remotes answer.
            let at = if self.dice.chance(70) { 0 } else { self.dice.below(handed.len()) };
            let index = handed.remove(at);
            let said = self.outcome(n, index);
            self.settle_one(n, sink, index, said);
        }
        Ok(())
    }

    fn outcome(&mut self, n: usize, index: usize) -> Settlement {
        let samples = self.logs[n].model.items[index].samples;
        let all = Settlement { delivered: samples, skipped: 0, rejected: 0 };
        match self.dice.below(20) {
            0..16 => all,
            16 => Settlement { delivered: 0, skipped: samples, rejected: 0 },
            17 => Settlement { delivered: 0, skipped: 0, rejected: samples },
            _ => {
                let delivered = self.dice.below(samples as usize + 1) as u64;
                let skipped = self.dice.below((samples - delivered) as usize + 1) as u64;
                Settlement { delivered, skipped, rejected: samples - delivered - skipped }
            }
        }
    }

    fn settle_one(&mut self, n: usize, sink: &'static str, index: usize, said: Settlement) {
        let log = &mut self.logs[n];
        let (Some(handle), Some(offset)) = (&log.handle, log.model.items[index].offset) else {
            return;
        };
        handle.settle(sink, offset, &outcome(said, log.model.items[index].samples));
        if let Some(state) = log.model.sinks.get_mut(sink) {
            state.settled(index, said);
        }
        let key = log.key.clone();
        self.say(|| format!("{key} {sink} settled {index}: {said:?}"));
    }

    fn end_session(&mut self) {
        let Some((n, sink)) = self.pick_sink() else { return };
        let connected = self.plan.poison && self.dice.chance(70);
        self.say(|| format!("the session of {sink} ends, connected: {connected}"));
        let log = &mut self.logs[n];
        let (Some(handle), Some(state)) = (&log.handle, log.model.sinks.get_mut(sink)) else {
            return;
        };
        if state.session.is_some() {
            handle.session_ended(sink, connected);
            state.end_session();
        }
    }

    fn wait_a_while(&mut self) -> Verdict {
        self.now += self.dice.within(1..=10_000) as i64 * 1_000_000;
        self.commit()
    }

    fn change_sinks(&mut self) -> Verdict {
        if !self.plan.churn {
            return Ok(());
        }
        let n = self.dice.below(self.logs.len());
        // The first one stays, for its books tell how long the log is.
        let name = NAMES[self.dice.within(1..=2)];
        let drain = self.plan.drain();
        let log = &mut self.logs[n];
        let Some(handle) = &log.handle else { return Ok(()) };
        match log.model.sinks.get_mut(name) {
            Some(sink) if sink.attached && self.dice.chance(70) => {
                sink.end_session();
                handle.session_ended(name, false);
                handle.remove_sink(name);
                log.model.attach(name, false);
            }
            Some(_) if self.dice.chance(30) => {
                let before = handle.ledgers().into_iter().find(|(n, _)| **n == *name);
                let Some(last) = handle.discard_sink(name) else {
                    return Err(format!("{name} cannot be discarded"));
                };
                let before = before.map(|(_, ledger)| ledger).unwrap_or_default();
                ensure!(
                    last.balances() && last.buffered == 0 && last.captured == before.captured,
                    "{name} was discarded with {last:?}, from {before:?}"
                );
                log.model.sinks.remove(name);
                log.model.discarded.insert(name);
            }
            Some(sink) if !sink.attached => {
                handle.add_sink(&name.into(), b"again", drain).map_err(|e| e.to_string())?;
                log.model.attach(name, true);
            }
            Some(_) => {}
            // One that was given up may still be on disk.
            None if log.model.discarded.contains(name) => {}
            None => {
                handle.add_sink(&name.into(), b"new", drain).map_err(|e| e.to_string())?;
                log.model.join(name);
            }
        }
        let sinks: Vec<_> =
            self.logs[n].model.sinks.iter().map(|(n, s)| (*n, s.attached)).collect();
        self.say(|| format!("log {n} has sinks {sinks:?}"));
        Ok(())
    }

    fn change_faults(&mut self) {
        if self.faulty && self.dice.chance(60) {
            return self.heal();
        }
        let plan = &self.plan;
        if let Some(kind) = (!plan.failing.is_empty()).then(|| *self.dice.pick(&plan.failing)) {
            let often = self.dice.chance(50);
            let n = self.dice.within(1..=8);
            if often {
                self.disk.fail_one_in(kind, n);
            } else {
                self.disk.fail_nth(kind, n - 1);
            }
            self.faulty = true;
            self.say(|| format!("{kind:?} fails, {n}, often: {often}"));
        }
        if self.plan.read_only && self.dice.chance(50) {
            self.disk.set_read_only(true);
            self.faulty = true;
            self.say(|| "read-only".to_owned());
        }
        if self.plan.full && self.dice.chance(50) {
            let more = self.dice.below(200_000) as u64;
            self.disk.set_capacity(self.disk.used() + more);
            self.faulty = true;
            self.say(|| format!("the disk has {more} bytes left"));
        }
    }

    fn heal(&mut self) {
        self.say(|| "the disk is well".to_owned());
        self.disk.heal();
        self.disk.set_capacity(self.plan.capacity);
        // Until a commit has gone well the volume may still be degraded.
        self.faulty = false;
        if let Some(volume) = self.volume.clone() {
            for _ in 0..3 {
                self.now += 6 * SECOND;
                volume.commit(self.now());
            }
        }
    }

    /// Ends the process as the plan has it, and starts the next one.
    fn restart(&mut self) -> Verdict {
        let cut = self.disk.has_ended();
        if self.plan.ends.is_empty() && !cut {
            return self.close();
        }
        let end = *self.dice.pick(&self.plan.ends);
        self.say(|| format!("the process ends: {end:?}"));
        self.collect_receipts(true)?;
        // Power goes first, so that nothing that the old process drops can reach the disk.
        self.disk.restart(end);
        self.drop_process();
        let loss = Loss {
            unsynced: end == End::Machine && self.plan.durability == Durability::Relaxed,
            ..Loss::default()
        };
        self.reopen(loss, end == End::Machine)
    }

    fn close(&mut self) -> Verdict {
        let Some(volume) = self.volume.clone() else { return Ok(()) };
        self.say(|| "close".to_owned());
        volume.close(self.now());
        self.collect_receipts(true)?;
        if self.is_degraded() {
            self.logs.iter_mut().for_each(|log| log.model.degraded());
        }
        let clean = volume.state() == VolumeState::Full && !self.disk.has_ended() && !self.faulty;
        drop(volume);
        self.drop_process();
        self.disk.restart(End::Process);
        self.reopen(Loss { clean, ..Loss::default() }, clean)
    }

    fn drop_process(&mut self) {
        self.readings.clear();
        for log in &mut self.logs {
            log.handle = None;
        }
        self.volume = None;
        self.receipts.lock().unwrap().clear();
    }

    fn reopen(&mut self, mut loss: Loss, on_medium: bool) -> Verdict {
        self.now += self.dice.below(5_000) as i64 * 1_000_000;
        // What is in the page cache alone must not be what proves that a rotten record was
        // committed.
        if self.plan.rot != Rot::None && on_medium && self.dice.chance(60) {
            self.rot();
        }
        loss.rot |= self.rotten;
        loop {
            match self.open() {
                Ok(()) => break,
                Err(_) if self.disk.has_ended() => {
                    self.say(|| "the process ends while it opens".to_owned());
                    self.drop_process();
                    let end = *self.dice.pick(&self.plan.ends);
                    self.disk.restart(end);
                    loss.clean = false;
                    loss.unsynced |=
                        end == End::Machine && self.plan.durability == Durability::Relaxed;
                }
                Err(e) if self.faulty => {
                    self.say(|| format!("cannot open: {e}"));
                    self.drop_process();
                    self.disk.restart(End::Process);
                    self.heal();
                }
                Err(e) => return Err(format!("cannot open: {e}")),
            }
        }
        self.resume(loss)
    }

    /// Opens the volume and the logs that were there, without the sinks.
    fn open(&mut self) -> Verdict {
        let fs = Arc::new(self.disk.clone());
        let options = self.plan.options.clone();
        let (volume, report) =
            Volume::open(fs, Path::new("/store"), options).map_err(|e| chain(&e))?;
        self.say(|| format!("open: {report:?}"));
        match &self.store_id {
            Some(id) => ensure!(id == volume.id(), "the store has another identity"),
            None => self.store_id = Some(volume.id().clone()),
        }
        let settings = self.plan.settings();
        for log in &mut self.logs {
            let handle = volume.open_log(&log.key, settings.clone()).map_err(|e| chain(&e))?;
            let stream = handle.stream();
            log.is_new = log.stream != Some(stream);
            if log.is_new {
                ensure!(!log.model.had_records(), "log {} is another one than before", log.key);
                log.model = reference::Log::default();
                log.awaits_gap = None;
                log.stream = Some(stream);
            }
            log.handle = Some(handle);
        }
        self.volume = Some(volume);
        self.add_sinks()
    }

    /// Adds sinks that the model does not have yet, at the first start.
    fn add_sinks(&mut self) -> Verdict {
        let drain = self.plan.drain();
        for log in &mut self.logs {
            let Some(handle) = &log.handle else { continue };
            if !log.model.sinks.is_empty() {
                continue;
            }
            for name in &NAMES[..self.plan.sinks] {
                handle.add_sink(&(*name).into(), b"first", drain).map_err(|e| e.to_string())?;
                log.model.join(name);
            }
        }
        Ok(())
    }

    /// Compares what is there after a start with what has to be.
    fn resume(&mut self, loss: Loss) -> Verdict {
        let drain = self.plan.drain();
        for log in &mut self.logs {
            let Some(handle) = &log.handle else { continue };
            let ledgers: BTreeMap<String, Ledger> =
                handle.ledgers().into_iter().map(|(n, l)| (n.to_string(), l)).collect();
            if self.trace {
                println!("            {} {ledgers:?} {:?}", log.key, handle.usage());
            }
            if log.is_new {
                continue;
            }
            let had = log.model.next();
            let attached =
                log.model.restarted(&ledgers, loss).map_err(|e| format!("{}: {e}", log.key))?;
            for name in &log.model.discarded {
                handle.discard_sink(name);
            }
            for name in attached {
                handle.add_sink(&name.into(), b"resumed", drain).map_err(|e| e.to_string())?;
                if log.model.sinks.contains_key(name) {
                    log.model.attach(name, true);
                } else if loss.rot {
                    log.model.join_anywhere(name);
                } else {
                    log.model.join(name);
                }
            }
            log.awaits_gap = Some(had);
        }
        self.check()
    }

    fn rot(&mut self) {
        let kind = self.plan.rot;
        let logs = &self.logs;
        let is_rotten = |hit: rot::Hit| {
            logs.iter().any(|l| l.stream == Some(hit.stream) && l.model.is_rotten(hit.offset))
        };
        let flipped = rot::flip(&self.disk, &mut self.dice, kind, is_rotten);
        self.say(|| format!("rot: {flipped:?}"));
        if kind == Rot::Anything {
            self.rotten = true;
        }
        for hit in flipped {
            let log = self.logs.iter_mut().find(|l| l.stream == Some(hit.stream));
            if let Some(log) = log {
                log.model.rot(hit.offset);
            }
        }
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

    /// Delivers everything that waits for a sink.
    fn drain(&mut self, n: usize, sink: &'static str) -> Verdict {
        let drain = self.plan.drain();
        let log = &mut self.logs[n];
        let Some(handle) = log.handle.clone() else { return Ok(()) };
        if let Some(state) = log.model.sinks.get_mut(sink)
            && !state.attached
        {
            handle.add_sink(&sink.into(), b"last", drain).map_err(|e| e.to_string())?;
            log.model.attach(sink, true);
        }
        if let Some(state) = log.model.sinks.get_mut(sink)
            && state.session.is_some()
        {
            handle.session_ended(sink, false);
            state.end_session();
        }
        let mut idle = 0;
        while idle < 5 {
            if self.take_one(n, sink)? {
                idle = 0;
            } else {
                idle += 1;
                self.now += 2 * SECOND;
            }
            while !self.readings.is_empty() {
                self.run_reading();
                idle = 0;
            }
            for index in self.logs[n].model.sinks[sink].in_flight() {
                let samples = self.logs[n].model.items[index].samples;
                let said = Settlement { delivered: samples, skipped: 0, rejected: 0 };
                self.settle_one(n, sink, index, said);
            }
        }
        Ok(())
    }
}

/// The sink's words: the last samples are those that it refused, in one or two messages.
fn outcome(said: Settlement, samples: u64) -> Outcome {
    let Settlement { delivered, skipped, rejected } = said;
    let mut outcome = Outcome { delivered, skipped, ..Outcome::nothing() };
    let refused: Vec<u32> = ((samples - rejected) as u32..samples as u32).collect();
    let parts = if rejected % 3 == 2 { 2 } else { 1 };
    for (n, part) in refused.chunks(refused.len().div_ceil(parts).max(1)).enumerate() {
        let number = (parts > 1).then_some(n as u32);
        outcome.refuse(Refusal::new(Code::RecordRejected, "no", number, part.to_vec()));
    }
    outcome
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
