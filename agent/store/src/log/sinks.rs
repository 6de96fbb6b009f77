//! Sinks join, leave and are given up.

use std::io;
use std::sync::Arc;

use lineside_crds::model::Drain;

use super::Log;
use super::files::Name;
use super::letters::Letters;
use super::session::SinkState;
use crate::cursor::{Cursor, MAX_CONFIGURATION, MAX_NAME};
use crate::error::StoreError;
use crate::ledger::{DropReason, Ledger};
use crate::volume::Wanted;

/// A sink of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkInfo {
    /// Its name in the pipeline.
    pub name: Arc<str>,
    /// What the caller of [`Log::add_sink`] gave; enough to make the sink again.
    pub configuration: Arc<[u8]>,
    /// Whether the pipeline has it now; an orphan else.
    pub attached: bool,
    /// Its books.
    pub ledger: Ledger,
}

impl Log {
    /// Adds a sink. A new one joins at the live end; one that was there before goes on where it
    /// was, with this configuration.
    ///
    /// # Errors
    /// The name or the configuration is too long.
    pub fn add_sink(
        &self,
        name: &Arc<str>,
        configuration: &[u8],
        drain: Drain,
    ) -> Result<(), StoreError> {
        if name.len() > MAX_NAME || configuration.len() > MAX_CONFIGURATION {
            return Err(StoreError::TooLong(name.chars().take(64).collect()));
        }
        let mut state = self.state();
        if !state.sinks.contains_key(name) {
            let (number, letters, at) = match state.lost_cursors.pop_last() {
                Some((number, letters)) => (number, letters, state.oldest_place()),
                None => (state.free_number(), Letters::default(), state.next),
            };
            let cursor = Cursor::new(name.clone(), configuration.into(), at);
            let mut sink = SinkState::new(cursor, number);
            sink.is_new = true;
            sink.inherit_letters(&self.seal, letters);
            state.sinks.insert(name.clone(), sink);
        }
        let next = state.next;
        if let Some(sink) = state.sinks.get_mut(name) {
            if sink.cursor.frozen_at.is_some() {
                sink.cursor.thaw(next);
                sink.dirty = true;
            }
            sink.attached = true;
            sink.drain = drain;
            if *sink.cursor.configuration != *configuration {
                sink.cursor.configuration = configuration.into();
                sink.dirty = true;
            }
        }
        Ok(())
    }

    /// The pipeline does not have the sink any more. Nothing that comes now is for it; what waits
    /// for it is kept, and a session of it goes on with that.
    pub fn remove_sink(&self, name: &str) {
        let mut state = self.state();
        let next = state.next;
        if let Some(sink) = state.sinks.get_mut(name) {
            sink.cursor.freeze(next);
            (sink.attached, sink.dirty) = (false, true);
        }
    }

    /// Gives up a sink with what waits for it, and tells its last books: what waited is counted
    /// as discarded. `None` when there is no such sink. What it leaves on disk goes at the next
    /// commit.
    pub fn discard_sink(&self, name: &str) -> Option<Ledger> {
        let mut state = self.state();
        let mut sink = state.sinks.remove(name)?;
        let (start, end) = (sink.cursor.settled.floor(), state.next);
        sink.drop_part(start, end, DropReason::Discarded);
        let number = sink.number;
        state.discarded.push(number);
        let ledger = state.ledger(&sink);
        drop(state);
        self.shared.wake(Wanted::Something);
        Some(ledger)
    }

    /// Gives up all sinks.
    pub(crate) fn discard_all(&self) -> Vec<(Arc<str>, Ledger)> {
        let names: Vec<Arc<str>> = self.state().sinks.keys().cloned().collect();
        names.into_iter().filter_map(|n| self.discard_sink(&n).map(|ledger| (n, ledger))).collect()
    }

    /// Removes the log's directory. Positions go first: what an interruption leaves is a log that
    /// no sink wants anything of.
    pub(crate) fn remove_files(&self) -> io::Result<()> {
        let _writer = self.writer();
        let fs = &*self.shared.fs;
        let mut names = fs.list(&self.dir)?;
        names.sort_by_key(|name| match name.to_str().and_then(Name::parse) {
            Some(Name::Cursor(_) | Name::Dead(_)) => 0,
            Some(Name::Meta) => 2,
            _ => 1,
        });
        for name in names {
            fs.remove(&self.dir.join(name))?;
            fs.sync_dir(&self.dir)?;
        }
        fs.remove_dir(&self.dir)
    }

    /// The sinks of the log, by name.
    pub fn sinks(&self) -> Vec<SinkInfo> {
        let state = self.state();
        let info = |(name, sink): (&Arc<str>, &SinkState)| SinkInfo {
            name: name.clone(),
            configuration: sink.cursor.configuration.clone(),
            attached: sink.attached,
            ledger: state.ledger(sink),
        };
        state.sinks.iter().map(info).collect()
    }
}

impl super::State {
    /// A number for the files of a sink.
    fn free_number(&self) -> u32 {
        let taken = self.sinks.values().map(|s| s.number);
        let taken = taken.chain(self.discarded.iter().copied());
        taken.chain(self.lost_cursors.keys().copied()).max().map_or(0, |n| n + 1)
    }
}
