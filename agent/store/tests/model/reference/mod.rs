//! What the store promises, in memory: what was appended to a log and what became of it, and for
//! each sink what it was handed and what it said. Every call says what the store did; the answer
//! is an error when it must not have done that.

mod sink;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};
use lineside_store::Ledger;

pub use sink::{Excuses, Settlement, Sink};

use crate::batches;

/// `Err` says which promise was broken.
pub type Verdict<T = ()> = Result<T, String>;

/// Fails the verdict unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// What became of something appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its receipt is open.
    Pending,
    /// Its receipt said that it is on disk.
    Committed,
    /// It was there after a start, though its receipt was still open: it may be in the page cache
    /// alone.
    Found,
    /// It counts as captured and may be unreadable all the same: not synced before a power cut
    /// (`Relaxed`), or handed out before its receipt.
    Uncertain,
    /// The store said that it does not keep it.
    GivenUp,
    /// It was not there after a start.
    Lost,
}

/// Something appended.
pub struct Item {
    /// Without one it was dropped at once.
    pub offset: Option<u64>,
    pub batch: Arc<Batch>,
    pub samples: u64,
    /// Samples of the log up to its end.
    pub end: u64,
    pub captured_at: UnixNanos,
    pub gap_from: Option<UnixNanos>,
    pub fate: Fate,
    /// Its bytes on disk are no longer what was written.
    pub rotten: bool,
    /// Some sink was handed it.
    handed: bool,
}

impl Item {
    fn digest(&self) -> (Option<u64>, u64, Fate, bool) {
        (self.offset, self.end, self.fate, self.rotten)
    }
}

/// How a life ended, and what that may have cost beyond what was never committed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// What was committed and not synced may be gone (`Relaxed` and a power cut).
    pub unsynced: bool,
    /// Bits have rotted where they may hurt anything.
    pub rot: bool,
    /// The log was closed; everything is as it was.
    pub clean: bool,
}

/// One log.
#[derive(Default)]
pub struct Log {
    pub items: Vec<Item>,
    offsets: HashMap<u64, usize>,
    /// The last one given in this life.
    last_offset: Option<u64>,
    /// Samples appended: the number of the next one.
    pub number: u64,
    /// The first item of this life.
    life: usize,
    /// Items before this one are synced whatever the durability.
    synced: usize,
    /// In this life a position may have spoken of something before its receipt: a sink was handed
    /// it early, or the volume could not write.
    early: bool,
    /// Captured samples may have no readable record.
    pub holes: bool,
    /// Times of what was lost since something was last committed.
    lost_from: Option<UnixNanos>,
    pub sinks: BTreeMap<&'static str, Sink>,
    /// Given up in this life: they may be there again after a crash.
    pub discarded: BTreeSet<&'static str>,
}

impl Log {
    /// The index of the next item.
    pub fn next(&self) -> usize {
        self.items.len()
    }

    /// Whether anything was ever on disk for sure.
    pub fn had_records(&self) -> bool {
        self.items.iter().any(|i| i.fate == Fate::Committed)
    }

    /// The store took a batch, or dropped it at once (`offset` is `None`).
    pub fn appended(
        &mut self,
        batch: Arc<Batch>,
        captured_at: UnixNanos,
        gap_from: Option<UnixNanos>,
        offset: Option<u64>,
    ) -> Verdict {
        let index = self.items.len();
        if let Some(offset) = offset {
            ensure!(
                self.last_offset.is_none_or(|last| offset > last),
                "offset {offset} was given after {:?}",
                self.last_offset
            );
            self.last_offset = Some(offset);
            // One that nobody was handed and that was not there after a start is free.
            let before = self.offsets.insert(offset, index).map(|i| &self.items[i]);
            ensure!(
                before
                    .is_none_or(|i| !i.handed && !matches!(i.fate, Fate::Committed | Fate::Found)),
                "offset {offset} was given to two records, the first {:?}",
                before.map(|i| (i.fate, i.handed, i.rotten))
            );
        }
        let samples = batch.len() as u64;
        self.number += samples;
        let fate = if offset.is_some() { Fate::Pending } else { Fate::GivenUp };
        let end = self.number;
        self.items.push(Item {
            offset,
            batch,
            samples,
            end,
            captured_at,
            gap_from,
            fate,
            rotten: false,
            handed: false,
        });
        Ok(())
    }

    /// A receipt was called, `by_commit` or because a record had to give way in memory; such a one
    /// stays if every sink is done with it.
    pub fn decided(
        &mut self,
        index: usize,
        stays: bool,
        by_commit: bool,
        excuses: Excuses,
    ) -> Verdict {
        let Some(item) = self.items.get_mut(index) else {
            return Err(format!("a receipt of item {index}, which is being appended"));
        };
        ensure!(item.fate == Fate::Pending, "a second receipt for {index}: {:?}", item.fate);
        if !by_commit && stays {
            let missing = self.sinks.iter().find(|(_, sink)| !sink.has_settled(index));
            let missing = missing.map(|(name, _)| name);
            // Too old is done with, too.
            let is_done = missing.is_none() || excuses.age;
            ensure!(is_done, "{index} counts as kept, and {missing:?} never got it");
        }
        if !stays || !by_commit {
            item.fate = Fate::GivenUp;
            return Ok(());
        }
        item.fate = Fate::Committed;
        // What was found at the start is made durable before anything is written behind it.
        for item in &mut self.items[..self.life] {
            if item.fate == Fate::Found {
                item.fate = Fate::Committed;
            }
        }
        for sink in self.sinks.values_mut() {
            sink.durable |= sink.joined_at() <= index;
        }
        Ok(())
    }

    /// Items of this life whose receipts are open.
    pub fn pending(&self) -> impl Iterator<Item = usize> + '_ {
        (self.life..self.items.len()).filter(|i| self.items[*i].fate == Fate::Pending)
    }

    /// A sink that is new to the log joins at its end.
    pub fn join(&mut self, name: &'static str) {
        self.sinks.insert(name, Sink::joining(self.number, self.items.len()));
    }

    /// A sink whose position has rotted starts where the log does: of it nothing is known.
    pub fn join_anywhere(&mut self, name: &'static str) {
        let mut sink = Sink::joining(0, 0);
        sink.lose_track();
        self.sinks.insert(name, sink);
    }

    /// A sink is taken out of the pipeline, or put back.
    pub fn attach(&mut self, name: &str, attached: bool) {
        if let Some(sink) = self.sinks.get_mut(name) {
            match attached {
                true => sink.put_back(self.number, self.items.len()),
                false => sink.take_out(self.number, self.items.len()),
            }
        }
    }

    /// Whether the bytes of any record have rotted.
    pub fn has_rot(&self) -> bool {
        self.items.iter().any(|i| i.rotten)
    }

    /// Whether the bytes of a record have rotted.
    pub fn is_rotten(&self, offset: u64) -> bool {
        self.offsets.get(&offset).is_some_and(|index| self.items[*index].rotten)
    }

    /// Whether a position may speak of what is not on disk.
    pub fn is_early(&self) -> bool {
        self.early
    }

    /// Nothing can be written: positions on disk may get ahead of the records.
    pub fn degraded(&mut self) {
        self.early = true;
    }

    /// The bytes of a record have rotted.
    pub fn rot(&mut self, offset: u64) {
        if let Some(index) = self.offsets.get(&offset) {
            self.items[*index].rotten = true;
        }
    }

    /// A sink was handed a record. `early`: the volume cannot write, so it may come before its
    /// receipt.
    pub fn handed_out(
        &mut self,
        name: &str,
        offset: u64,
        batch: &Batch,
        early: bool,
        in_order: bool,
    ) -> Verdict<usize> {
        let Some(&index) = self.offsets.get(&offset) else {
            return Err(format!("{name} was handed offset {offset}, which nothing was given"));
        };
        let Some(sink) = self.sinks.get_mut(name) else {
            return Err(format!("{name} is no sink"));
        };
        let item = &self.items[index];
        match item.fate {
            Fate::Committed | Fate::Uncertain => {}
            Fate::Found => self.early = true,
            Fate::Pending if early => self.early = true,
            // Written by a round that failed, then given up; a crash brought it back.
            Fate::GivenUp if index < self.life => {}
            fate => return Err(format!("{name} was handed {index} ({offset}), which is {fate:?}")),
        }
        ensure!(
            batches::same(&item.batch, batch),
            "{name} was handed other content as {index} ({offset}): {}",
            batches::difference(&item.batch, batch)
        );
        ensure!(!item.rotten, "{name} was handed {index} ({offset}) off rotten bytes");
        sink.handed_out(&self.items, index, in_order, self.holes)?;
        self.items[index].handed = true;
        Ok(index)
    }

    /// A sink was told to wait while it had nothing in flight.
    pub fn waits(&mut self, name: &str) {
        if let Some(sink) = self.sinks.get_mut(name) {
            sink.waits(&self.items);
        }
    }

    /// A life has ended; the next one shows these books of the sinks that have a cursor. Gives
    /// the sinks that were attached.
    pub fn restarted(
        &mut self,
        ledgers: &BTreeMap<String, Ledger>,
        mut loss: Loss,
    ) -> Verdict<Vec<&'static str>> {
        // A position of before a close may be all that is left.
        loss.clean &= !loss.rot;
        let mut number = None;
        for (name, sink) in &self.sinks {
            let Some(ledger) = ledgers.get(*name) else {
                ensure!(!sink.durable || loss.rot, "the position of {name} is gone");
                continue;
            };
            let Some(here) = sink.number(ledger) else { continue };
            ensure!(
                number.is_none_or(|n| n == here) || loss.rot,
                "{name} counts {here} samples in the log, another sink {number:?}"
            );
            number = number.max(Some(here));
        }
        if number.is_none() && loss.rot && !ledgers.is_empty() {
            // No books are left that tell how long the log is.
            self.early = true;
            number = Some(self.number);
        }
        self.find_end(number.unwrap_or_default(), loss)?;
        let attached = self.sinks.iter().filter(|(_, s)| s.attached).map(|(n, _)| *n).collect();
        self.sinks.retain(|name, _| ledgers.contains_key(*name));
        // A removal that a kill cut off may be undone by a power cut of a later life.
        self.discarded.retain(|name| ledgers.contains_key(*name) || !loss.clean);
        for (name, sink) in &mut self.sinks {
            sink.restarted(name, &ledgers[*name], loss, &self.items, self.number)?;
        }
        self.life = self.items.len();
        if loss.clean {
            self.synced = self.life;
        }
        self.early = false;
        self.last_offset = None;
        Ok(attached)
    }

    /// Decides what was not committed by where the log ends after a start.
    fn find_end(&mut self, number: u64, loss: Loss) -> Verdict {
        let sure = if loss.unsynced { self.synced } else { self.items.len() };
        // A rotten record in the newest segment is told from a torn write by what lies behind it;
        // a crash that takes that away takes all from the rotten record on.
        let is_sure = |i: &&Item| i.fate == Fate::Committed;
        let committed = self.items[..sure].iter().take_while(|i| !i.rotten).filter(is_sure);
        let committed = committed.map(|i| i.end).max().unwrap_or_default();
        ensure!(
            number >= committed || loss.rot,
            "{committed} samples were committed and {number} are there after a restart; {:?}",
            self.items.iter().rev().take(8).map(Item::digest).collect::<Vec<_>>()
        );
        ensure!(
            number <= self.number,
            "{} samples were appended and {number} are there after a restart",
            self.number
        );
        ensure!(
            !loss.clean || loss.rot || number == self.number,
            "a clean close kept {number} of {} samples",
            self.number
        );
        let is_end = |i: &Item| i.fate != Fate::Lost && i.end == number;
        ensure!(
            number == 0 || self.items.iter().any(is_end) || loss.rot,
            "the log ends at sample {number}, in the middle of a record"
        );
        // What is there of this life has the gap that was due before it in front.
        if self.items[self.life..].iter().any(|i| i.offset.is_some() && i.end <= number) {
            self.lost_from = None;
        }
        let (synced, early) = (self.synced, self.early);
        for (index, item) in self.items.iter_mut().enumerate() {
            let before = item.fate;
            item.fate = match before {
                Fate::Lost => Fate::Lost,
                // Rotten books say little about where the log ends.
                _ if item.end > number && loss.rot => Fate::Uncertain,
                _ if item.end > number => Fate::Lost,
                Fate::Pending | Fate::Found if loss.clean => Fate::Committed,
                Fate::Pending | Fate::Found if early => Fate::Uncertain,
                Fate::Pending => Fate::Found,
                Fate::Committed if loss.unsynced && index >= synced => Fate::Uncertain,
                fate => fate,
            };
            if item.fate == Fate::Lost && before != Fate::Lost {
                let from = self.lost_from.map_or(item.captured_at, |t| t.min(item.captured_at));
                self.lost_from = Some(from);
            }
        }
        // What was given up in memory leaves a mark, which a position on disk may be ahead of: then
        // other sinks find nothing there.
        let given_up = self.items[self.life..].iter().any(|i| i.fate == Fate::GivenUp);
        self.holes |= given_up && !loss.clean;
        self.holes |= self.items.iter().any(|i| i.fate == Fate::Uncertain);
        self.number = number;
        Ok(())
    }

    /// From when on the next gap has to be at the latest.
    pub fn gap_from(&self) -> Option<UnixNanos> {
        let last = self.items[..self.life].iter().rfind(|i| i.fate != Fate::Lost);
        let is_readable = |i: &&Item| matches!(i.fate, Fate::Committed | Fate::Found);
        let asked = last.filter(is_readable).and_then(|i| i.gap_from);
        self.lost_from.into_iter().chain(asked).min()
    }
}
