//! Deliveries: taking records, settling them, ending sessions.

use lineside_core::sink::{Outcome, Refusal};
use lineside_crds::diagnostics::Code;
use lineside_store::Take;

use super::{SECOND, World};
use crate::reference::{Settlement, Verdict, ensure};

impl World {
    pub(super) fn take(&mut self) -> Verdict {
        let Some((n, sink)) = self.pick_sink() else { return Ok(()) };
        for _ in 0..self.dice.within(1..=20) {
            if !self.take_one(n, sink)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one record; false when there is none for now.
    pub(super) fn take_one(&mut self, n: usize, sink: &'static str) -> Verdict<bool> {
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

    pub(super) fn run_reading(&mut self) {
        if !self.readings.is_empty() {
            let n = self.dice.below(self.readings.len());
            self.say(|| "a late reading".to_owned());
            self.readings.remove(n).run();
        }
    }

    pub(super) fn settle(&mut self) -> Verdict {
        let Some((n, sink)) = self.pick_sink() else { return Ok(()) };
        let mut handed = self.logs[n].model.sinks[sink].in_flight();
        for _ in 0..self.dice.within(1..=20) {
            if handed.is_empty() {
                break;
            }
            // Usually in order, as most remotes answer.
            let at = if self.dice.chance(70) { 0 } else { self.dice.below(handed.len()) };
            let index = handed.remove(at);
            let said = self.outcome(n, index);
            if self.plan.forgetful && self.dice.chance(70) {
                self.accept_one(n, sink, index, said);
            } else {
                self.settle_one(n, sink, index, said);
            }
        }
        if self.dice.chance(30) {
            self.confirm(n, sink);
        }
        Ok(())
    }

    pub(super) fn outcome(&mut self, n: usize, index: usize) -> Settlement {
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

    pub(super) fn settle_one(
        &mut self,
        n: usize,
        sink: &'static str,
        index: usize,
        said: Settlement,
    ) {
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

    /// The sink has the answer of a remote that may lose what it accepted.
    fn accept_one(&mut self, n: usize, sink: &'static str, index: usize, said: Settlement) {
        let mark = self.now as u64 / 50_000_000;
        let log = &mut self.logs[n];
        let (Some(handle), Some(offset)) = (&log.handle, log.model.items[index].offset) else {
            return;
        };
        handle.accepted(sink, offset, outcome(said, log.model.items[index].samples), mark);
        if let Some(state) = log.model.sinks.get_mut(sink) {
            state.accepted(index, said, mark);
        }
        let key = log.key.clone();
        self.say(|| format!("{key} {sink} accepted {index} at {mark}: {said:?}"));
    }

    /// The remote was seen to live on: what was accepted some time ago is safe.
    fn confirm(&mut self, n: usize, sink: &'static str) {
        let mark = (self.now as u64 / 50_000_000).saturating_sub(self.dice.below(3) as u64);
        let log = &mut self.logs[n];
        let (Some(handle), Some(state)) = (&log.handle, log.model.sinks.get_mut(sink)) else {
            return;
        };
        handle.confirmed(sink, mark);
        state.confirmed(mark);
        let key = log.key.clone();
        self.say(|| format!("{key} {sink} confirmed {mark}"));
    }

    pub(super) fn end_session(&mut self) {
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

    /// Delivers everything that waits for a sink.
    pub(super) fn drain(&mut self, n: usize, sink: &'static str) -> Verdict {
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
        let (mut idle, mut rounds) = (0, 0);
        while idle < 5 {
            rounds += 1;
            ensure!(rounds < 100_000, "{sink} reads for ever");
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
    // What has no place is in equal parts not encodable and replaced by a later sample.
    let merged = skipped / 2;
    let mut outcome =
        Outcome { delivered, skipped: skipped - merged, merged, ..Outcome::nothing() };
    let refused: Vec<u32> = ((samples - rejected) as u32..samples as u32).collect();
    let parts = if rejected % 3 == 2 { 2 } else { 1 };
    for (n, part) in refused.chunks(refused.len().div_ceil(parts).max(1)).enumerate() {
        let number = (parts > 1).then_some(n as u32);
        outcome.refuse(Refusal::new(Code::RecordRejected, "no", number, part.to_vec()));
    }
    outcome
}
