//! What gives way: to the bound in bytes, to age, and to every sink having everything.

use std::io;

use lineside_crds::model::Overflow;

use super::feed::oldest;
use super::files;
use super::segment::Segment;
use super::write::Writer;
use super::{Log, Now, State};
use crate::ledger::DropReason;
use crate::replace::remove;
use crate::settled::Place;

/// Damaged segments that are kept for support when they would be deleted.
const KEPT_ASIDE: usize = 2;

impl Log {
    /// Makes room for `bytes` more, as the log's own policy says.
    pub(super) fn make_room(&self, writer: &mut Writer, bytes: u64) -> io::Result<()> {
        loop {
            let fresh: u64 = writer.fresh_bytes();
            {
                let mut state = self.state();
                let wanted = state.disk_bytes() + fresh + bytes;
                let fits =
                    wanted <= state.settings.max_bytes && wanted <= self.shared.share(self.stream);
                let drops =
                    matches!(state.settings.overflow, Overflow::DropOldest | Overflow::Thin);
                if fits || !drops {
                    return Ok(());
                }
                if state.settings.overflow == Overflow::Thin {
                    drop(state);
                    if self.thin_one(writer)? {
                        continue;
                    }
                    state = self.state();
                }
                let Some(victim) = state.oldest_droppable() else { return Ok(()) };
                let doomed = state.give_up(victim, DropReason::StoreFull);
                writer.doomed.extend(doomed);
            }
            self.persist_cursors(writer, |sink| sink.dirty)?;
            self.remove_doomed(writer)?;
        }
    }

    /// Gives up segments whose newest record is too old.
    pub(super) fn expire_segments(&self, writer: &mut Writer, now: Now) {
        let mut state = self.state();
        let Some(oldest) = oldest(state.settings.max_age, now) else { return };
        // A segment's records are not newer than the start of the next one.
        let mut index = 0;
        while let Some(next) = state.segments.get(index + 1)
            && next.begun_at < oldest
        {
            if state.is_droppable(index) {
                let doomed = state.give_up(index, DropReason::Expired);
                writer.doomed.extend(doomed);
            } else {
                index += 1;
            }
        }
    }

    /// Removes segments that every sink has settled, as their cursors on disk say.
    pub(super) fn remove_settled(&self, writer: &mut Writer) -> io::Result<()> {
        self.remove_discarded(writer)?;
        {
            let mut state = self.state();
            // A sink whose position is lost may want all of it.
            let lost = state.lost_cursors.keys().map(|_| 0);
            let floor = state.sinks.values().map(|s| s.persisted_floor).chain(lost).min();
            while state.segments.len() > 1
                && floor.is_none_or(|floor| state.end_of_segment(0).offset <= floor)
            {
                let settled = state.segments.pop_front();
                for sink in state.sinks.values_mut() {
                    sink.forget_segment(settled.as_ref());
                }
                writer.doomed.extend(settled);
            }
        }
        self.remove_doomed(writer)
    }

    /// Removes the files of segments that are given up, and definitions that only they needed.
    pub(super) fn remove_doomed(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.doomed.is_empty() {
            return Ok(());
        }
        writer.freed = true;
        while let Some(doomed) = writer.doomed.last() {
            let path = files::path(&self.dir, doomed.first.offset);
            if doomed.damaged {
                let mut aside = path.clone().into_os_string();
                aside.push(".corrupt");
                match self.shared.fs.rename(&path, aside.as_ref()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => writer.kept_aside.push((aside.into(), doomed.bytes)),
                }
            } else {
                remove(&*self.shared.fs, &path)?;
            }
            writer.doomed.pop();
        }
        while writer.kept_aside.len() > KEPT_ASIDE {
            let (path, _) = writer.kept_aside.remove(0);
            remove(&*self.shared.fs, &path)?;
        }
        self.remove_definitions(writer)?;
        self.shared.fs.sync_dir(&self.dir)?;
        self.state().other_bytes = writer.other_bytes();
        Ok(())
    }

    /// Removes the files of sinks that were given up.
    fn remove_discarded(&self, writer: &mut Writer) -> io::Result<()> {
        loop {
            let Some(number) = self.state().discarded.last().copied() else { return Ok(()) };
            for path in [files::cursor_path(&self.dir, number), files::dead_path(&self.dir, number)]
            {
                remove(&*self.shared.fs, &path)?;
            }
            self.shared.fs.sync_dir(&self.dir)?;
            writer.cursors.remove(&number);
            self.state().discarded.retain(|n| *n != number);
        }
    }

    fn remove_definitions(&self, writer: &mut Writer) -> io::Result<()> {
        let mut needed: Vec<u64> = self.state().segments.iter().map(|s| s.generation).collect();
        needed.extend(writer.current_generation());
        needed.extend(writer.fresh_generations());
        let unneeded: Vec<u64> =
            writer.generations.keys().copied().filter(|g| !needed.contains(g)).collect();
        for first in unneeded {
            for path in files::definition_paths(&self.dir, first) {
                remove(&*self.shared.fs, &path)?;
            }
            writer.generations.remove(&first);
        }
        Ok(())
    }
}

impl State {
    /// Whether no sink may have an unsettled record of the segment; the newest one stays.
    pub(super) fn is_droppable(&self, index: usize) -> bool {
        let Some(segment) = self.segments.get(index) else { return false };
        let end = self.end_of_segment(index);
        index + 1 < self.segments.len()
            && !self.sinks.values().any(|s| s.may_have_some(segment.first, end))
    }

    fn oldest_droppable(&self) -> Option<usize> {
        (0..self.segments.len()).find(|i| self.is_droppable(*i))
    }

    /// Counts for every sink what of a segment it has not settled.
    fn give_up(&mut self, index: usize, reason: DropReason) -> Option<Segment> {
        let end: Place = self.end_of_segment(index);
        let segment = self.segments.remove(index)?;
        for sink in self.sinks.values_mut() {
            sink.drop_segment(&segment, end, reason);
        }
        Some(segment)
    }
}
