//! Cursors on disk: written at most once a second, and always before something below them goes.

use std::io;
use std::sync::Arc;

use lineside_core::UnixNanos;

use super::files;
use super::session::SinkState;
use super::write::{Writer, write_again};
use super::{Log, Now};
use crate::cursor::Cursor;
use crate::frame::{Kind, Seal};
use crate::fs::{File, Fs, Open};
use crate::replace::replace;
use crate::sealed::{self, MAX_BODY, SLOT};

/// Between two writes of cursors.
const PAUSE: i64 = 1_000_000_000;

/// The file of a cursor: two slots, written in turn.
pub(super) struct CursorFile {
    file: Arc<dyn File>,
    /// Of the newest slot.
    sequence: u64,
    /// That slot was read and may be in memory alone.
    unsure: bool,
}

impl Log {
    /// What is due once a second: cursors, and what they allow to delete.
    pub(crate) fn keep_house(&self, now: Now, force: bool) -> io::Result<()> {
        let mut writer = self.writer();
        if !is_due(writer.persisted_at, PAUSE, now) && !force {
            return Ok(());
        }
        let kept = self.keep(&mut writer, now);
        let freed = std::mem::take(&mut writer.freed);
        drop(writer);
        if freed {
            self.changed();
        }
        kept
    }

    fn keep(&self, writer: &mut Writer, now: Now) -> io::Result<()> {
        self.measure_rate(now);
        {
            // Of a burst that is over only the usual part stays in memory.
            let mut state = self.state();
            if !std::mem::take(&mut state.tail_grew) {
                state.shorten_tail(self.shared.options.tail_bytes);
            }
        }
        self.clear_end(writer)?;
        self.expire_segments(writer, now);
        self.persist_cursors(writer, |sink| sink.dirty)?;
        self.remove_settled(writer)?;
        writer.persisted_at = Some(now.unix);
        Ok(())
    }

    /// Says in the log's own file that all of it is on disk, if it is.
    pub(crate) fn mark_closed(&self) -> io::Result<()> {
        let mut writer = self.writer();
        let next = {
            let state = self.state();
            let unwritten = state.pending.iter().any(|p| p.kind != Kind::Dropped);
            if unwritten || state.sinks.values().any(|s| s.dirty || s.is_new) {
                return Ok(());
            }
            state.next
        };
        self.clear_end(&mut writer)?;
        writer.give_back()?;
        self.persist_meta(&mut writer, Some(next))
    }

    fn measure_rate(&self, now: Now) {
        let mut state = self.state();
        let captured = state.captured;
        if let Some((at, before)) = state.rated
            && now.unix > at
        {
            let samples = u128::from(captured - before) * PAUSE as u128;
            let rate = samples / u128::from(now.unix.abs_diff(at));
            // The mean of this and the past, so that one burst is no rate.
            state.live_rate = state.live_rate.midpoint(u64::try_from(rate).unwrap_or(u64::MAX));
        }
        state.rated = Some((now.unix, captured));
    }

    /// Writes the cursors for which `which` says true and that are not on disk as they are.
    pub(super) fn persist_cursors(
        &self,
        writer: &mut Writer,
        which: impl Fn(&SinkState) -> bool,
    ) -> io::Result<()> {
        loop {
            let due = {
                let state = self.state();
                let due = state
                    .sinks
                    .values()
                    .find(|s| (s.dirty || s.is_new || s.is_amended) && which(s));
                due.map(|sink| sink.cursor.name.clone())
            };
            let Some(name) = due else { return Ok(()) };
            // Letters are on disk before the totals count them.
            self.flush_letters(&name)?;
            let (number, body, floor, is_new, gone) = {
                let mut state = self.state();
                let Some(sink) = state.sinks.get_mut(&name) else { continue };
                if sink.letters.is_queued() {
                    continue;
                }
                sink.dirty = false;
                // One that is done with all that was for it holds nothing back.
                let done = sink.cursor.is_done();
                let floor = if done { u64::MAX } else { sink.cursor.settled.floor().offset };
                debug_assert!(sink.cursor.balances());
                let gone = sink.cursor.gone.clone();
                (sink.number, sink.cursor.encode(), floor, sink.is_new, gone)
            };
            let result = if is_new {
                self.create_cursor(writer, number, &body)
            } else {
                self.write_slot(writer, number, &body)
            };
            let mut state = self.state();
            // It may have been given up meanwhile, and there may be another one of its name.
            let Some(sink) = state.sink_numbered(&name, number) else {
                result?;
                continue;
            };
            match result {
                Ok(()) => {
                    writer.freed |= !gone.is_empty();
                    (sink.is_new, sink.is_amended) = (false, false);
                    sink.persisted_floor = floor;
                    sink.say_gone(&self.seal, &gone);
                }
                Err(error) => {
                    sink.dirty = true;
                    return Err(error);
                }
            }
        }
    }

    fn create_cursor(&self, writer: &mut Writer, number: u32, body: &[u8]) -> io::Result<()> {
        let path = files::cursor_path(&self.dir, number);
        let slot = self.slot(1, body)?;
        let file = replace(&*self.shared.fs, &path, |file| {
            file.allocate(2 * SLOT as u64)?;
            file.write_at(&slot, SLOT as u64)
        })?;
        writer.cursors.insert(number, CursorFile { file, sequence: 1, unsure: false });
        Ok(())
    }

    /// What is written to a slot. One that does not fit would damage the other.
    fn slot(&self, sequence: u64, body: &[u8]) -> io::Result<Vec<u8>> {
        if body.len() > MAX_BODY {
            let what = format!("a position of {} bytes does not fit its slot", body.len());
            return Err(io::Error::other(what));
        }
        Ok(sealed::encode(&self.seal, sequence, body))
    }

    fn write_slot(&self, writer: &mut Writer, number: u32, body: &[u8]) -> io::Result<()> {
        let Some(cursor) = writer.cursors.get_mut(&number) else {
            return Err(io::Error::other("no cursor file"));
        };
        let slot = |sequence: u64| (sequence % 2) * SLOT as u64;
        if cursor.unsure {
            // It is the good one while the other is written.
            let at = slot(cursor.sequence);
            write_again(&*cursor.file, at, at + SLOT as u64)?;
            self.shared.fs.sync_dir(&self.dir)?;
            cursor.unsure = false;
        }
        // After a failure the same slot is written again: the other one is the good one.
        let next = cursor.sequence + 1;
        cursor.file.write_at(&self.slot(next, body)?, slot(next))?;
        cursor.file.sync_data()?;
        cursor.sequence = next;
        Ok(())
    }
}

/// The newest good slot of a cursor file; `None` when both are damaged.
pub(crate) fn read_cursor(
    fs: &dyn Fs,
    path: &std::path::Path,
    seal: &Seal,
) -> io::Result<Option<(Cursor, u64)>> {
    let bytes = sealed::read(fs, path, 2 * SLOT)?;
    let slots = [0, SLOT].map(|at| {
        let (sequence, body) = sealed::decode(seal, bytes.get(at..)?)?;
        let cursor = Cursor::decode(body).ok().filter(Cursor::balances)?;
        Some((cursor, sequence))
    });
    Ok(slots.into_iter().flatten().max_by_key(|(_, sequence)| *sequence))
}

/// A cursor file for writing.
pub(super) fn open_cursor(
    fs: &dyn Fs,
    path: &std::path::Path,
    sequence: u64,
) -> io::Result<CursorFile> {
    Ok(CursorFile { file: fs.open(path, Open::ReadWrite)?, sequence, unsure: true })
}

/// When something was last done, for what is done once in a while.
pub(super) fn is_due(last: Option<UnixNanos>, pause: i64, now: Now) -> bool {
    // A clock that was set back starts again.
    last.is_none_or(|at| !(at..at.saturating_add(pause)).contains(&now.unix))
}
