//! How processes end and start, and what has to be there then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lineside_crds::model::Durability;
use lineside_store::{Ledger, Volume, VolumeState};

use super::{NAMES, World};
use crate::disk::End;
use crate::plan::Rot;
use crate::reference::{self, Loss, Verdict, ensure};
use crate::rot;

impl World {
    /// Ends the process as the plan has it, and starts the next one.
    pub(super) fn restart(&mut self) -> Verdict {
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

    pub(super) fn close(&mut self) -> Verdict {
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

    pub(super) fn drop_process(&mut self) {
        self.readings.clear();
        for log in &mut self.logs {
            log.handle = None;
        }
        self.volume = None;
        self.receipts.lock().unwrap().clear();
    }

    pub(super) fn reopen(&mut self, mut loss: Loss, on_medium: bool) -> Verdict {
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
    pub(super) fn open(&mut self) -> Verdict {
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
            let handle = volume.open_log(&log.key, settings).map_err(|e| chain(&e))?;
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
    pub(super) fn add_sinks(&mut self) -> Verdict {
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
    pub(super) fn resume(&mut self, loss: Loss) -> Verdict {
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

    pub(super) fn rot(&mut self) {
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
