//! What becomes of every record that was taken. Pure.
//!
//! A record is settled once, when each of its samples has its end and, if any was accepted, the
//! server has been seen alive long enough afterwards: IoTDB acknowledges before it syncs, and a
//! server that is killed loses what it acknowledged last.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lineside_core::sink::{Feed, Outcome, Record, Refusal};
use tokio::time::Instant;

use crate::pack::{Call, Excluded, Share};
use crate::verdict::Refused;

/// Most records that are taken and not settled.
const MAX_OPEN: usize = 16 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Books {
    open: HashMap<u64, Progress>,
    /// Those whose requests are not made yet.
    begun: Vec<u64>,
    /// Oldest acknowledgement first.
    unconfirmed: VecDeque<(Instant, u64, Outcome)>,
    finished: Vec<(u64, Outcome)>,
}

struct Progress {
    /// Requests with samples of it that have no answer.
    unanswered: u32,
    samples: u64,
    outcome: Outcome,
}

impl Books {
    pub(super) fn has_room(&self) -> bool {
        self.open.len() + self.unconfirmed.len() < MAX_OPEN
    }

    /// When the oldest record was acknowledged that is not settled for that reason.
    pub(super) fn oldest_unconfirmed(&self) -> Option<Instant> {
        self.unconfirmed.front().map(|(at, ..)| *at)
    }

    /// Starts a record, without its requests.
    pub(super) fn begin(&mut self, record: &Record, excluded: Excluded) {
        let (unanswered, outcome) = (0, Outcome::nothing());
        let samples = record.batch.len() as u64;
        let mut progress = Progress { unanswered, samples, outcome };
        progress.exclude(excluded);
        self.open.insert(record.id.offset, progress);
        self.begun.push(record.id.offset);
    }

    /// Counts the requests that were made. A record that was begun and is in none is finished.
    pub(super) fn expect(&mut self, calls: &[Call]) {
        for share in calls.iter().flat_map(|call| &call.shares) {
            if let Some(progress) = self.open.get_mut(&share.record.id.offset) {
                progress.unanswered += 1;
            }
        }
        for offset in std::mem::take(&mut self.begun) {
            self.finish(offset);
        }
    }

    /// A request was answered and another one is made of it: some samples are in none.
    pub(super) fn exclude(&mut self, offset: u64, excluded: Excluded) {
        if let Some(progress) = self.open.get_mut(&offset) {
            progress.exclude(excluded);
        }
        self.answered(offset);
    }

    /// Two requests are made of one that was answered.
    pub(super) fn split(&mut self, offset: u64) {
        if let Some(progress) = self.open.get_mut(&offset) {
            progress.unanswered += 1;
        }
    }

    /// The server has these samples.
    pub(super) fn delivered(&mut self, shares: &[Share]) {
        for share in shares {
            let offset = share.record.id.offset;
            if let Some(progress) = self.open.get_mut(&offset) {
                progress.outcome.delivered += share.count();
            }
            self.answered(offset);
        }
    }

    /// The server will never take these samples.
    pub(super) fn refused(&mut self, offset: u64, refused: &Refused, samples: Vec<u32>) {
        if let Some(progress) = self.open.get_mut(&offset) {
            progress.refuse(Refusal::new(refused.code, &*refused.message, None, samples));
        }
        self.answered(offset);
    }

    fn answered(&mut self, offset: u64) {
        if let Some(progress) = self.open.get_mut(&offset) {
            progress.unanswered = progress.unanswered.saturating_sub(1);
            self.finish(offset);
        }
    }

    /// Takes a record off the open ones when nothing more is due.
    fn finish(&mut self, offset: u64) {
        if self.open.get(&offset).is_none_or(|progress| progress.unanswered > 0) {
            return;
        }
        let Some(progress) = self.open.remove(&offset) else { return };
        let outcome = progress.into_outcome();
        match outcome.delivered {
            0 => self.finished.push((offset, outcome)),
            _ => self.unconfirmed.push_back((Instant::now(), offset, outcome)),
        }
    }

    /// The server has taken a request that was sent at `sent`: what it acknowledged so long before
    /// is safe.
    pub(super) fn confirm(&mut self, sent: Instant, resend: Duration) {
        while let Some((at, ..)) = self.unconfirmed.front() {
            // Without a window an acknowledgement is enough.
            if !resend.is_zero() && *at + resend > sent {
                break;
            }
            let confirmed = self.unconfirmed.pop_front();
            self.finished.extend(confirmed.map(|(_, offset, outcome)| (offset, outcome)));
        }
    }

    /// Settles what is finished.
    pub(super) fn settle_finished(&mut self, feed: &mut dyn Feed) {
        for (offset, outcome) in self.finished.drain(..) {
            feed.settle(offset, outcome);
        }
    }
}

impl Progress {
    fn exclude(&mut self, Excluded { skipped, merged, refused }: Excluded) {
        self.outcome.skipped += skipped + merged;
        refused.into_iter().for_each(|refusal| self.refuse(refusal));
    }

    /// Adds samples to the refusal of the same reason, so that a record has few.
    fn refuse(&mut self, refusal: Refusal) {
        self.outcome.rejected += refusal.samples.len() as u64;
        let same = |r: &&mut Refusal| r.code == refusal.code && r.message == refusal.message;
        match self.outcome.refusals.iter_mut().find(same) {
            Some(known) => known.samples.extend(refusal.samples),
            None => self.outcome.refusals.push(refusal),
        }
    }

    /// The parts are numbered by their first sample, so that they are the same when the record is
    /// sent again.
    fn into_outcome(self) -> Outcome {
        let Self { samples, mut outcome, .. } = self;
        for refusal in &mut outcome.refusals {
            refusal.samples.sort_unstable();
        }
        outcome.refusals.sort_by_key(|refusal| refusal.samples.first().copied());
        let whole = outcome.rejected == samples && outcome.refusals.len() == 1;
        for (part, refusal) in outcome.refusals.iter_mut().enumerate() {
            refusal.part = if whole { None } else { u32::try_from(part).ok() };
        }
        outcome
    }
}
