//! One group commit over all logs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lineside_core::UnixNanos;

use super::retry::{Part, Retries};
use super::{Volume, VolumeState, Wanted, lock};
use crate::error::Trouble;
use crate::log::{Log, Now};

/// Between two looks at what is done once in a while.
const CHORES: Duration = Duration::from_secs(1);

/// What a commit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// When to call again at the latest, if nothing is appended before.
    pub next: Duration,
}

/// What commits remember of those before.
#[derive(Default)]
pub(super) struct Round {
    pub(super) retries: Retries,
    chores_at: Option<UnixNanos>,
}

/// A log, and how its commit went.
type Outcome = (Arc<Log>, io::Result<()>);

impl Volume {
    /// Writes and syncs what was appended to all logs, completes receipts, wakes feeds, and does
    /// what is due once a second. Never fails: what cannot be written stays in memory, the state
    /// says why, and a later commit tries again.
    pub fn commit(&self, now: Now) -> Committed {
        self.run(now, false)
    }

    fn run(&self, now: Now, force: bool) -> Committed {
        let mut round = lock(&self.round);
        if self.fallen.load(Ordering::Acquire) {
            return Committed { next: CHORES };
        }
        *lock(&self.shared.wanted) = Wanted::Nothing;
        let chores = due(round.chores_at, now) || force;
        if chores {
            round.chores_at = Some(now.unix);
        }
        if let Ok(space) = self.shared.fs.space(&self.shared.dir) {
            *lock(&self.shared.limit) = space.total / 10 * 9;
        }
        let mut logs = self.all_logs();
        logs.iter().for_each(|log| log.set_share(self.shared.share(log.stream())));
        logs.retain(|log| force || round.retries.is_due(Part::Log(log.stream()), now));
        let mut outcomes = self.write_all(logs, now, force);
        for (log, result) in &mut outcomes {
            // What failed is tried again as a whole.
            if chores || round.retries.has(Part::Log(log.stream())) {
                let kept = self.do_chores(log, now, force);
                *result = std::mem::replace(result, Ok(())).and(kept);
            }
        }
        for (log, result) in outcomes {
            if result.is_ok() {
                log.write_again();
            }
            self.note(&mut round.retries, Part::Log(log.stream()), result, now);
        }
        if round.retries.has(Part::Reserve) || (chores && round.retries.is_empty()) {
            let restored = lock(&self.reserve).restore(&*self.shared.fs);
            self.note(&mut round.retries, Part::Reserve, restored, now);
        }
        if round.retries.is_empty() {
            *lock(&self.state) = VolumeState::Full;
        }
        let next = round.retries.next(now).unwrap_or(CHORES);
        Committed { next: next.min(CHORES) }
    }

    fn note(&self, retries: &mut Retries, part: Part, result: io::Result<()>, now: Now) {
        match result {
            Ok(()) => retries.forget(part),
            Err(error) => {
                retries.failed(part, now);
                self.degrade(&error, now);
            }
        }
    }

    /// Writes all, then syncs all, then shows all; a log that fails harms no other.
    fn write_all(&self, logs: Vec<Arc<Log>>, now: Now, force: bool) -> Vec<Outcome> {
        let write = |log: Arc<Log>| {
            let written = log.write(now);
            (log, written)
        };
        let written: Vec<_> = logs.into_iter().map(write).collect();
        let finish = |(log, written): (Arc<Log>, io::Result<bool>)| {
            let result = match written {
                Ok(true) => log.sync(now, force).map(|()| self.show(&log)),
                other => other.map(|_| ()),
            };
            if result.is_err() {
                // Feeds may read what is pending now.
                log.notify();
            }
            (log, result)
        };
        written.into_iter().map(finish).collect()
    }

    /// Completes receipts and wakes feeds.
    fn show(&self, log: &Log) {
        let receipts = log.publish();
        lock(&self.shared.bytes).insert(log.stream(), log.usage().bytes);
        for receipt in receipts {
            receipt(true);
        }
        log.notify();
    }

    fn do_chores(&self, log: &Log, now: Now, force: bool) -> io::Result<()> {
        // A position on disk never speaks of a record that is not.
        let kept = log.sync(now, true).and_then(|()| log.keep_house(now, force));
        lock(&self.shared.bytes).insert(log.stream(), log.usage().bytes);
        kept
    }

    fn degrade(&self, error: &io::Error, now: Now) {
        let trouble = Trouble::of(error);
        if trouble == Trouble::DiskFull {
            // An error here is of no more interest than the one that led here.
            let _ = lock(&self.reserve).give_up(&*self.shared.fs);
        }
        let mut state = lock(&self.state);
        let since = match &*state {
            VolumeState::Degraded { since, .. } => *since,
            VolumeState::Full => now.unix,
        };
        *state = VolumeState::Degraded { trouble, message: error.to_string(), since };
    }

    /// Ends all writing: a commit panicked, and what it was about to do is not known. Records stay
    /// in memory as with a disk that fails, and what was committed is there at the next start.
    pub(super) fn fall(&self, now: Now) {
        self.fallen.store(true, Ordering::Release);
        let what =
            "writing has panicked, which is a bug; it goes on when the agent is started anew";
        self.degrade(&io::Error::other(what), now);
        for log in self.all_logs() {
            log.write_no_more();
            log.notify();
        }
    }

    /// Writes all that is left and says in every log that it was closed. What cannot be written
    /// is as after a kill.
    pub fn close(&self, now: Now) {
        self.run(now, true);
        if self.fallen.load(Ordering::Acquire) {
            return;
        }
        for log in self.all_logs() {
            // Without the mark the next start takes it for a kill, which costs nothing.
            let _ = log.mark_closed();
        }
    }
}

fn due(last: Option<UnixNanos>, now: Now) -> bool {
    let pause = CHORES.as_nanos() as i64;
    last.is_none_or(|at| !(at..at.saturating_add(pause)).contains(&now.unix))
}
