//! What the process does beside deliveries, and what is done to its disk.

use lineside_crds::model::Overflow;
use lineside_store::{Appended, Receipt, Stamp, VolumeState};

use super::{NAMES, SECOND, World};
use crate::reference::{Verdict, ensure};

impl World {
    pub(super) fn append(&mut self) -> Verdict {
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
    pub(super) fn check_gap(&mut self, n: usize) -> Verdict {
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

    pub(super) fn commit(&mut self) -> Verdict {
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

    pub(super) fn collect_receipts(&mut self, by_commit: bool) -> Verdict {
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
    pub(super) fn pick_sink(&mut self) -> Option<(usize, &'static str)> {
        let n = self.dice.below(self.logs.len());
        let attached: Vec<_> =
            self.logs[n].model.sinks.iter().filter(|(_, s)| s.attached).map(|(n, _)| *n).collect();
        if attached.is_empty() {
            return None;
        }
        Some((n, *self.dice.pick(&attached)))
    }

    pub(super) fn change_sinks(&mut self) -> Verdict {
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

    pub(super) fn wait_a_while(&mut self) -> Verdict {
        self.now += self.dice.within(1..=10_000) as i64 * 1_000_000;
        self.commit()
    }

    pub(super) fn change_faults(&mut self) {
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

    pub(super) fn heal(&mut self) {
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
}
