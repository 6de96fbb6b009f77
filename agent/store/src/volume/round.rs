//! One group commit over all logs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lineside_core::UnixNanos;

use super::{Volume, VolumeState, Wanted, lock};
use crate::error::Trouble;
use crate::log::{Log, Now};

/// How long after a failure writing is tried again: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

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
    retry: Option<(UnixNanos, Duration)>,
    chores_at: Option<UnixNanos>,
}

impl Volume {
    /// Writes and syncs what was appended to all logs, completes receipts, wakes feeds, and does
    /// what is due once a second. Never fails: what cannot be written stays in memory, the state
    /// says why, and a later commit tries again.
    pub fn commit(&self, now: Now) -> Committed {
        self.run(now, false)
    }

    fn run(&self, now: Now, force: bool) -> Committed {
        let mut round = lock(&self.round);
        *lock(&self.shared.wanted) = Wanted::Nothing;
        if let Some((at, pause)) = round.retry
            && now.unix < at
            && at.abs_diff(now.unix) <= pause.as_nanos() as u64
            && !force
        {
            return Committed { next: Duration::from_nanos(at.abs_diff(now.unix)) };
        }
        let logs = self.all_logs();
        let mut result = self.write_all(&logs, now, force);
        if due(round.chores_at, now) || force {
            round.chores_at = Some(now.unix);
            result = result.and(self.do_chores(&logs, now, force));
        }
        match result {
            Ok(()) => {
                round.retry = None;
                *lock(&self.state) = VolumeState::Full;
                Committed { next: CHORES }
            }
            Err(error) => {
                let pause = round.retry.map_or(FIRST_RETRY, |(_, p)| (p * 2).min(LAST_RETRY));
                let wait = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
                round.retry = Some((now.unix.saturating_add(wait), pause));
                self.degrade(&error, now);
                Committed { next: pause }
            }
        }
    }

    /// Writes all, then syncs all, then shows all; a log that fails harms no other.
    fn write_all(&self, logs: &[Arc<Log>], now: Now, force: bool) -> io::Result<()> {
        let mut result = Ok(());
        if let Ok(space) = self.shared.fs.space(&self.shared.dir) {
            *lock(&self.shared.limit) = space.total / 10 * 9;
        }
        let mut written = Vec::new();
        for log in logs {
            match log.write(now) {
                Ok(true) => written.push(log),
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        for log in written {
            match log.sync(now, force) {
                Ok(()) => {
                    let receipts = log.publish();
                    lock(&self.shared.bytes).insert(log.stream(), log.usage().bytes);
                    for receipt in receipts {
                        receipt(true);
                    }
                    log.notify();
                }
                Err(error) => result = Err(error),
            }
        }
        if result.is_err() {
            // Feeds may read what is pending now.
            logs.iter().for_each(|log| log.notify());
        }
        result
    }

    fn do_chores(&self, logs: &[Arc<Log>], now: Now, force: bool) -> io::Result<()> {
        let mut result = Ok(());
        for log in logs {
            // A position on disk never speaks of a record that is not.
            let kept = log.sync(now, true).and_then(|()| log.keep_house(now, force));
            lock(&self.shared.bytes).insert(log.stream(), log.usage().bytes);
            result = result.and(kept);
        }
        if result.is_ok() {
            result = lock(&self.reserve).restore(&*self.shared.fs);
        }
        result
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

    /// Writes all that is left and says in every log that it was closed. What cannot be written
    /// is as after a kill.
    pub fn close(&self, now: Now) {
        self.run(now, true);
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
