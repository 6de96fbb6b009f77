//! What becomes of every record that was taken. Pure.
//!
//! A record has its outcome when each of its samples has its end. If any was accepted, the outcome
//! counts when the server has been seen alive long enough afterwards: IoTDB acknowledges before it
//! syncs, and a server that is killed loses what it acknowledged last.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lineside_core::sink::{Feed, Outcome, Record, RecordId, Refusal};
use tokio::time::Instant;

use crate::pack::{Call, Excluded, Share};
use crate::verdict::Refused;

/// Most records that are taken and have no outcome.
const MAX_OPEN: usize = 16 * 1024;
/// Marks in one time of waiting for a sign of life.
const MARKS: u32 = 16;

/// See the module.
pub(super) struct Books {
    /// How long after an acknowledgement the server has to be alive.
    resend: Duration,
    begun_at: Instant,
    open: HashMap<RecordId, Progress>,
    /// Those whose requests are not made yet.
    begun: Vec<RecordId>,
    /// When something was last accepted with which mark; oldest first.
    unconfirmed: VecDeque<(Instant, u64)>,
    finished: Vec<Finished>,
    /// What has the last of these marks, or a lower one, is safe.
    confirmed: Option<u64>,
}

struct Finished {
    id: RecordId,
    /// The server took some of it, which it may still lose.
    accepted: bool,
    outcome: Outcome,
}

struct Progress {
    /// Requests with samples of it that have no answer.
    unanswered: u32,
    samples: u64,
    /// Of its samples, so many take the place of others.
    replacing: u64,
    outcome: Outcome,
}

impl Books {
    pub(super) fn new(resend: Duration) -> Self {
        Self {
            resend,
            begun_at: Instant::now(),
            open: HashMap::new(),
            begun: Vec::new(),
            unconfirmed: VecDeque::new(),
            finished: Vec::new(),
            confirmed: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() < MAX_OPEN
    }

    /// When the server was to be seen alive for the oldest of what it accepted.
    pub(super) fn safe_at(&self) -> Option<Instant> {
        self.unconfirmed.front().map(|(at, _)| *at + self.resend)
    }

    /// Starts a record, without its requests.
    pub(super) fn begin(&mut self, record: &Record, excluded: Excluded) {
        let (unanswered, outcome) = (0, Outcome::nothing());
        let samples = record.batch.len() as u64;
        let mut progress = Progress { unanswered, samples, replacing: 0, outcome };
        progress.exclude(excluded);
        self.open.insert(record.id.clone(), progress);
        self.begun.push(record.id.clone());
    }

    /// Counts the requests that were made. A record that was begun and is in none is finished.
    pub(super) fn expect(&mut self, calls: &[Call]) {
        for share in calls.iter().flat_map(|call| &call.shares) {
            if let Some(progress) = self.open.get_mut(&share.record.id) {
                progress.unanswered += 1;
            }
        }
        for id in std::mem::take(&mut self.begun) {
            self.finish(&id);
        }
    }

    /// A request was answered and another one is made of it: some samples are in none.
    pub(super) fn exclude(&mut self, id: &RecordId, excluded: Excluded) {
        if let Some(progress) = self.open.get_mut(id) {
            progress.exclude(excluded);
        }
        self.answered(id);
    }

    /// Two requests are made of one that was answered.
    pub(super) fn split(&mut self, id: &RecordId) {
        if let Some(progress) = self.open.get_mut(id) {
            progress.unanswered += 1;
        }
    }

    /// The server has these samples.
    pub(super) fn delivered(&mut self, shares: &[Share]) {
        for share in shares {
            let id = &share.record.id;
            if let Some(progress) = self.open.get_mut(id) {
                progress.outcome.delivered += share.count();
            }
            self.answered(id);
        }
    }

    /// The server will never take these samples.
    pub(super) fn refused(&mut self, id: &RecordId, refused: &Refused, samples: Vec<u32>) {
        if let Some(progress) = self.open.get_mut(id) {
            progress.refuse(Refusal::new(refused.code, &*refused.message, None, samples));
        }
        self.answered(id);
    }

    fn answered(&mut self, id: &RecordId) {
        if let Some(progress) = self.open.get_mut(id) {
            progress.unanswered = progress.unanswered.saturating_sub(1);
            self.finish(id);
        }
    }

    /// Takes a record off the open ones when nothing more is due.
    fn finish(&mut self, id: &RecordId) {
        if self.open.get(id).is_none_or(|progress| progress.unanswered > 0) {
            return;
        }
        let Some((id, progress)) = self.open.remove_entry(id) else { return };
        let accepted = progress.outcome.delivered > 0;
        self.finished.push(Finished { id, accepted, outcome: progress.into_outcome() });
    }

    /// The server has taken a request that was sent at `sent`: what it accepted so long before is
    /// safe.
    pub(super) fn confirm(&mut self, sent: Instant) {
        while let Some((at, mark)) = self.unconfirmed.front()
            && *at + self.resend <= sent
        {
            self.confirmed = Some(*mark);
            self.unconfirmed.pop_front();
        }
    }

    /// Tells the feed what is known by now.
    pub(super) fn tell(&mut self, feed: &mut dyn Feed) {
        if let Some(mark) = self.confirmed.take() {
            feed.confirmed(mark);
        }
        for Finished { id, accepted, outcome } in std::mem::take(&mut self.finished) {
            // Without a time to wait, an acknowledgement is enough.
            if accepted && !self.resend.is_zero() {
                feed.accepted(&id, outcome, self.mark(Instant::now()));
            } else {
                feed.settle(&id, outcome);
            }
        }
    }

    /// The mark of what is accepted at `now`. It has changed long before it is confirmed.
    fn mark(&mut self, now: Instant) -> u64 {
        let slice = (self.resend / MARKS).as_nanos().max(1);
        let mark = (now - self.begun_at).as_nanos() / slice;
        let mark = u64::try_from(mark).unwrap_or(u64::MAX);
        match self.unconfirmed.back_mut() {
            Some((at, same)) if *same == mark => *at = now,
            _ => self.unconfirmed.push_back((now, mark)),
        }
        mark
    }
}

impl Progress {
    fn exclude(&mut self, Excluded { skipped, merged, replacing, refused }: Excluded) {
        self.outcome.skipped += skipped;
        self.outcome.merged += merged;
        self.replacing += replacing;
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
        let Self { samples, replacing, mut outcome, .. } = self;
        // Of two samples in one place one is there at the end: the other one is counted here, where
        // that is known.
        let replacing = replacing.min(outcome.delivered);
        outcome.delivered -= replacing;
        outcome.merged += replacing;
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
