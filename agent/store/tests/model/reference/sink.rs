//! One sink of a log: what it was handed, what it said, and which books follow from that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use lineside_store::{DropReason, Ledger};

use super::{Fate, Item, Loss, Verdict, ensure};

/// Reasons for which the store gives up what a sink was never handed.
const GIVEN_UP: [DropReason; 4] =
    [DropReason::StoreFull, DropReason::Thinned, DropReason::Expired, DropReason::Corrupt];

/// Reasons that stand for what a remote refused.
const REFUSED: [DropReason; 2] = [DropReason::Rejected, DropReason::DeadLettersFull];

/// Reasons that stand for what has no place at a remote.
const WITHOUT_PLACE: [DropReason; 2] = [DropReason::NotEncodable, DropReason::SameTick];

/// What a sink said of a record, in samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settlement {
    pub delivered: u64,
    pub skipped: u64,
    pub rejected: u64,
}

/// Which reasons for giving up this schedule can have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excuses {
    pub full: bool,
    pub thin: bool,
    pub age: bool,
    /// Captured samples may have no readable record.
    pub corrupt: bool,
    /// The books may have rotted.
    pub rot: bool,
    pub poison: bool,
}

pub struct Sink {
    /// Samples of the log that are not for it: those before it joined, and those of the times
    /// when it was taken out.
    joined: u64,
    /// Since when it is out: samples of the log, and the first item that is not for it.
    out_since: Option<(u64, usize)>,
    /// Items of the times when it was out.
    missed: Vec<Range<usize>>,
    /// It was taken out or put back since the store was last closed, or had been when a life was
    /// cut off: its position may not know.
    moved: bool,
    vague: bool,
    /// The first item that is for it.
    first: usize,
    /// Its position is on disk.
    pub durable: bool,
    pub attached: bool,
    /// Its books when this life began.
    start: Ledger,
    /// What it said in this life.
    said: Settlement,
    /// Settled in this life.
    settled: BTreeSet<usize>,
    /// Settled in a life that was closed.
    sure: BTreeSet<usize>,
    /// Settled in a life that was cut off: the store may not know.
    maybe: BTreeSet<usize>,
    /// Handed out in this life and not settled.
    handed: BTreeMap<usize, u64>,
    /// Passed over in this life: dropped.
    passed: BTreeSet<usize>,
    pub session: Option<Session>,
}

#[derive(Default)]
pub struct Session {
    given: BTreeSet<usize>,
    position: usize,
    pub in_flight: BTreeSet<usize>,
    /// What the sink said and is not confirmed, with its mark.
    accepted: Vec<(u64, usize, Settlement)>,
}

impl Sink {
    pub(super) fn joining(joined: u64, first: usize) -> Self {
        Self {
            joined,
            out_since: None,
            missed: Vec::new(),
            moved: false,
            vague: false,
            first,
            durable: false,
            attached: true,
            start: Ledger::default(),
            said: Settlement::default(),
            settled: BTreeSet::new(),
            sure: BTreeSet::new(),
            maybe: BTreeSet::new(),
            handed: BTreeMap::new(),
            passed: BTreeSet::new(),
            session: None,
        }
    }

    /// Whether it has settled the item, as far as the item is for it.
    pub(super) fn has_settled(&self, index: usize) -> bool {
        !self.is_for_it(index) || self.vague || self.settled.contains(&index)
    }

    /// The first item that is for it.
    pub(super) fn joined_at(&self) -> usize {
        self.first
    }

    /// Nothing is known of its books from here on.
    pub(super) fn lose_track(&mut self) {
        self.vague = true;
    }

    /// It is taken out of the pipeline: nothing from here on is for it.
    pub fn take_out(&mut self, number: u64, next: usize) {
        self.attached = false;
        self.out_since.get_or_insert((number, next));
        self.moved = true;
    }

    /// It is there again.
    pub fn put_back(&mut self, number: u64, next: usize) {
        self.attached = true;
        if let Some((since, from)) = self.out_since.take() {
            self.joined += number - since;
            self.missed.push(from..next);
            self.moved = true;
        }
    }

    /// Samples for it of a log that has so many.
    fn captured(&self, number: u64) -> u64 {
        self.out_since.map_or(number, |(since, _)| since.min(number)).saturating_sub(self.joined)
    }

    /// Samples of the log by its books, if they tell.
    pub(super) fn number(&self, ledger: &Ledger) -> Option<u64> {
        // One that has joined behind what was never written joins again where the log ends.
        let may_join_again = self.joined > 0 && ledger.captured == 0;
        let tells = self.out_since.is_none() && !self.moved && !self.vague && !may_join_again;
        tells.then_some(self.joined + ledger.captured)
    }

    fn is_for_it(&self, index: usize) -> bool {
        index >= self.first
            && self.out_since.is_none_or(|(_, from)| index < from)
            && !self.missed.iter().any(|range| range.contains(&index))
    }

    pub fn begin_session(&mut self) {
        self.session = Some(Session::default());
    }

    pub fn end_session(&mut self) {
        self.session = None;
    }

    /// Everything that the present session has in flight.
    pub fn in_flight(&self) -> Vec<usize> {
        self.session.iter().flat_map(|s| s.in_flight.iter().copied()).collect()
    }

    /// Whether the store owes it this item.
    fn may_expect(&self, items: &[Item], index: usize) -> bool {
        let item = &items[index];
        self.is_for_it(index)
            && !item.rotten
            && matches!(item.fate, Fate::Committed | Fate::Found | Fate::Pending)
            && !self.settled.contains(&index)
            && !self.sure.contains(&index)
            && !self.maybe.contains(&index)
            && !self.passed.contains(&index)
            && self.session.as_ref().is_none_or(|s| !s.given.contains(&index))
    }

    pub(super) fn handed_out(
        &mut self,
        items: &[Item],
        index: usize,
        in_order: bool,
        holes: bool,
    ) -> Verdict {
        ensure!(self.vague || self.is_for_it(index), "{index} is not for the sink");
        ensure!(
            self.vague || !self.settled.contains(&index) && !self.sure.contains(&index),
            "{index} was handed out again after it was settled"
        );
        ensure!(!self.passed.contains(&index), "{index} was handed out after it was dropped");
        let Some(session) = &self.session else {
            return Err(format!("{index} was handed out without a session"));
        };
        ensure!(!session.given.contains(&index), "{index} was handed out twice in a session");
        let position = session.position;
        if in_order && !self.vague {
            ensure!(index >= position, "{index} was handed out after {position}");
            self.pass(items, position, index, holes)?;
        }
        self.handed.insert(index, items[index].samples);
        if let Some(session) = &mut self.session {
            session.given.insert(index);
            session.in_flight.insert(index);
            session.position = session.position.max(index + 1);
        }
        Ok(())
    }

    /// The store went on from one item to another: what it owed in between is dropped.
    fn pass(&mut self, items: &[Item], from: usize, to: usize, holes: bool) -> Verdict {
        for index in from..to {
            if self.may_expect(items, index) {
                ensure!(
                    holes || !self.handed.contains_key(&index),
                    "{index}, which may have arrived, was passed over"
                );
                self.passed.insert(index);
            }
        }
        Ok(())
    }

    pub(super) fn waits(&mut self, items: &[Item]) {
        let from = self.session.as_ref().map_or(0, |s| s.position);
        for index in from..items.len() {
            // What is not committed may come.
            if items[index].fate != Fate::Pending && self.may_expect(items, index) {
                self.passed.insert(index);
            }
        }
    }

    /// The sink settled an item that it was handed in this life.
    pub fn settled(&mut self, index: usize, said: Settlement) {
        if let Some(session) = &mut self.session {
            session.in_flight.remove(&index);
        }
        if self.handed.remove(&index).is_none() {
            return;
        }
        self.settled.insert(index);
        self.said.delivered += said.delivered;
        self.said.skipped += said.skipped;
        self.said.rejected += said.rejected;
    }

    /// The remote answered, and may lose what it accepted.
    pub fn accepted(&mut self, index: usize, said: Settlement, mark: u64) {
        if let Some(session) = &mut self.session
            && session.in_flight.remove(&index)
        {
            session.accepted.push((mark, index, said));
        }
    }

    /// What was accepted with this mark or a lower one counts.
    pub fn confirmed(&mut self, mark: u64) {
        let Some(session) = &mut self.session else { return };
        let safe: Vec<_> = session.accepted.extract_if(.., |(m, ..)| *m <= mark).collect();
        for (_, index, said) in safe {
            self.settled(index, said);
        }
    }

    /// Whether the books are what follows from all that happened.
    pub fn check(&self, ledger: &Ledger, items: &[Item], number: u64, excuses: Excuses) -> Verdict {
        ensure!(ledger.balances(), "the books do not balance: {ledger:?}");
        if self.vague {
            return Ok(());
        }
        let captured = self.captured(number);
        ensure!(ledger.captured == captured, "{} captured, {captured} expected", ledger.captured);
        self.check_excuses(ledger, excuses)?;
        let in_flight: u64 = self.handed.values().sum();
        if excuses.rot {
            return Ok(());
        }
        // What was thinned out of a segment that a sink has begun counts as a whole.
        ensure!(
            excuses.thin || ledger.buffered >= in_flight,
            "{in_flight} in flight of {ledger:?}"
        );
        let delivered = self.start.delivered + self.said.delivered;
        ensure!(ledger.delivered == delivered, "{delivered} delivered, not as in {ledger:?}");
        let skipped = count(&self.start, &WITHOUT_PLACE) + self.said.skipped;
        ensure!(
            count(ledger, &WITHOUT_PLACE) == skipped,
            "{skipped} without a place, not as in {ledger:?}"
        );
        let before = self.start.dead_lettered + count(&self.start, &REFUSED) + self.said.rejected;
        let refused = ledger.dead_lettered + count(ledger, &REFUSED);
        ensure!(
            refused == before || (excuses.poison && refused > before),
            "{before} refused, not as in {ledger:?}"
        );
        let least: u64 = self.passed.iter().map(|i| items[*i].samples).sum();
        let dropped = count(ledger, &GIVEN_UP);
        let poisoned = refused - before;
        ensure!(
            dropped + poisoned >= least,
            "{least} samples were passed over, and {dropped} were dropped: {ledger:?}"
        );
        Ok(())
    }

    fn check_excuses(&self, ledger: &Ledger, excuses: Excuses) -> Verdict {
        let allowed = |reason| match reason {
            DropReason::StoreFull => excuses.full,
            DropReason::Thinned => excuses.thin,
            DropReason::Expired => excuses.age,
            DropReason::Corrupt => excuses.rot || excuses.corrupt,
            DropReason::Discarded => false,
            DropReason::NotEncodable | DropReason::SameTick => true,
            DropReason::Rejected | DropReason::DeadLettersFull => true,
        };
        for (reason, samples) in &ledger.dropped {
            ensure!(
                *samples == 0 || allowed(*reason),
                "{samples} samples dropped as {reason:?} without any cause"
            );
        }
        Ok(())
    }

    /// Whether a sink that has drained the log got everything that the store does not count as
    /// dropped, to the sample.
    pub fn check_drained(&self, ledger: &Ledger, items: &[Item], excuses: Excuses) -> Verdict {
        ensure!(ledger.buffered == 0, "drained, and the books say {ledger:?}");
        if excuses.rot || self.vague {
            return Ok(());
        }
        let (mut least, mut most) = (0, 0);
        for (index, item) in items.iter().enumerate() {
            let sure = self.settled.contains(&index) || self.sure.contains(&index);
            if item.fate == Fate::Lost || sure || !self.is_for_it(index) {
                continue;
            }
            most += item.samples;
            if !self.maybe.contains(&index) && item.fate != Fate::Uncertain {
                least += item.samples;
            }
        }
        let dropped = count(ledger, &GIVEN_UP);
        let poisoned = if excuses.poison { ledger.dead_lettered } else { 0 };
        ensure!(
            (least..=most).contains(&dropped) || (dropped < least && dropped + poisoned >= least),
            "{least} to {most} samples never arrived, and {dropped} are counted as dropped: {ledger:?}"
        );
        Ok(())
    }

    pub(super) fn restarted(
        &mut self,
        name: &str,
        ledger: &Ledger,
        loss: Loss,
        items: &[Item],
        number: u64,
    ) -> Verdict {
        ensure!(
            ledger.balances(),
            "after a restart the books of {name} do not balance: {ledger:?}"
        );
        let delivered = self.start.delivered + self.said.delivered;
        if loss.clean {
            ensure!(
                ledger.delivered == delivered,
                "{name} had {delivered} delivered when closed, now {ledger:?}"
            );
            self.sure.append(&mut self.settled);
        } else {
            ensure!(
                loss.rot || ledger.delivered <= delivered,
                "{name} had {delivered} delivered, and after a restart {ledger:?}"
            );
            self.maybe.append(&mut self.settled);
        }
        // What was not there at the start was never there.
        for index in (0..items.len()).filter(|i| items[*i].fate == Fate::Lost) {
            self.maybe.remove(&index);
            self.sure.remove(&index);
        }
        if let Some((since, _)) = &mut self.out_since {
            *since = number.min(*since);
        }
        if ledger.captured == 0 {
            // One that is out gets to where it will be put back by the samples in between.
            let end = self.out_since.map_or(number, |(since, _)| since);
            self.joined = if loss.rot { end } else { self.joined.min(end) };
        }
        self.vague |= self.moved && !loss.clean;
        self.moved = false;
        self.start = ledger.clone();
        self.said = Settlement::default();
        self.handed.clear();
        self.passed.clear();
        self.session = None;
        self.attached = false;
        self.durable |= loss.clean;
        Ok(())
    }
}

fn count(ledger: &Ledger, reasons: &[DropReason]) -> u64 {
    reasons.iter().filter_map(|r| ledger.dropped.get(r)).sum()
}
