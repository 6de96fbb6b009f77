//! The dead letters of a sink: kept in a file of their own, written before the cursor counts
//! them, looked at, sent again or dropped on request.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use lineside_core::sink::{Counts, Outcome, RecordId, Refusal};
use lineside_core::{Batch, UnixNanos};

use super::session::SinkState;
use super::{Log, files};
use crate::cursor::MAX_GONE;
use crate::error::StoreError;
use crate::frame::{Kind, Seal};
use crate::fs::{Fs, Open};
use crate::ledger::DropReason;
use crate::letter::{self, Key, Why};
use crate::replace::{remove, replace};
use crate::scan::{Scan, Spot};
use crate::settled::Place;
use crate::volume::Wanted;

/// Most letters of a sink.
const MOST_LETTERS: usize = 4096;

/// Most bytes of a sink's letters; less when the log's bound is small.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Most bytes of letters that wait to be written.
const MOST_QUEUED: usize = 1024 * 1024;

/// Most letters that wait to be sent again; who asks for more asks again later.
const MOST_RETRIED: usize = 64;

/// A file smaller than this is not worth rewriting.
const SMALL_FILE: u64 = 64 * 1024;

/// A record, or a part of one, that the remote refused.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its identity, with the part; the same when it is sent again.
    pub id: RecordId,
    /// Code of the registry, e.g. `LNS-3010`.
    pub code: Arc<str>,
    /// What the remote said.
    pub message: Arc<str>,
    /// When it was refused, ns since 1970.
    pub failed_at: UnixNanos,
    /// The samples.
    pub batch: Arc<Batch>,
}

/// What was done with letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Letters that are on their way again, or gone.
    pub letters: u64,
    /// Samples that they have.
    pub samples: u64,
    /// Letters for which there was no room: ask again.
    pub left: u64,
}

/// A letter as it is known in memory.
#[derive(Clone, Copy, Debug)]
struct Kept {
    place: Place,
    samples: u64,
    position: u64,
    length: u64,
    /// The cursor's totals have it. One that was written before a kill and not counted will be
    /// refused again.
    counted: bool,
}

/// A letter to send again.
#[derive(Clone, Debug)]
pub(super) struct Retried {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) batch: Arc<Batch>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Letters {
    kept: BTreeMap<Key, Kept>,
    /// Bytes of the file when what is queued is written.
    end: u64,
    /// Bytes of the letters that are kept.
    live: u64,
    /// Frames that are not in the file yet.
    queued: Vec<u8>,
    exists: bool,
    pub(super) retried: VecDeque<Retried>,
}

impl Letters {
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    pub(super) fn is_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Reads what the file of a sink has.
    pub(super) fn read(fs: &dyn Fs, path: &Path, seal: &Seal) -> io::Result<Self> {
        let mut letters = Self::default();
        let file = match fs.open(path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(letters),
            other => other?,
        };
        letters.exists = true;
        let mut scan = Scan::new(&*file, seal, 0, file.len()?);
        while let Some(spot) = scan.next()? {
            let Some(payload) = scan.payload(&spot)? else { continue };
            letters.end = spot.end();
            letters.take_in(&spot, payload);
        }
        Ok(letters)
    }

    fn take_in(&mut self, spot: &Spot, payload: &[u8]) {
        let header = spot.found.header;
        let Ok(key) = letter::key(&header, payload) else { return };
        match header.kind {
            Kind::DeadLetter => {
                let place = Place { offset: header.offset, number: header.number };
                let (samples, position) = (u64::from(header.samples), spot.position);
                let length = spot.found.size() as u64;
                self.insert(key, Kept { place, samples, position, length, counted: false });
            }
            Kind::DeadLetterGone => {
                self.forget(key);
            }
            _ => {}
        }
    }

    fn insert(&mut self, key: Key, kept: Kept) {
        self.live += kept.length;
        if let Some(before) = self.kept.insert(key, kept) {
            self.live -= before.length;
        }
    }

    fn forget(&mut self, key: Key) -> Option<Kept> {
        let kept = self.kept.remove(&key)?;
        self.live -= kept.length;
        Some(kept)
    }

    fn queue(&mut self, frame: &[u8]) -> u64 {
        let position = self.end;
        self.queued.extend_from_slice(frame);
        self.end += frame.len() as u64;
        position
    }
}

impl SinkState {
    /// After reading cursor and letters: which letters the totals have, and what is lost.
    pub(super) fn reconcile_letters(&mut self) {
        for key in std::mem::take(&mut self.cursor.gone) {
            if self.letters.forget(key).is_some() {
                self.cursor.gone.push(key);
            }
        }
        let mut counted = 0;
        for kept in self.letters.kept.values_mut() {
            kept.counted = self.cursor.settled.contains(kept.place.offset);
            counted += if kept.counted { kept.samples } else { 0 };
        }
        // What the totals count and the file no longer has is lost to rot.
        let lost = self.cursor.dead_lettered.saturating_sub(counted);
        if lost > 0 {
            self.cursor.dead_lettered -= lost;
            self.cursor.count_dropped(DropReason::Corrupt, lost);
            self.dirty = true;
        }
    }

    /// Takes over the letters of a sink whose position is lost. Those of records that are handed
    /// out again wait to be refused again; older ones are what is left of their records, and count.
    pub(super) fn inherit_letters(&mut self, seal: &Seal, letters: Letters) {
        self.letters = letters;
        let floor = self.cursor.settled.floor().offset;
        let older: Vec<Key> =
            self.letters.kept.range(..(floor, None)).map(|(key, _)| *key).collect();
        for key in older {
            let Some(kept) = self.letters.kept.get_mut(&key) else { continue };
            // It was captured before the place where the sink joins now.
            match self.cursor.joined.checked_sub(kept.samples) {
                Some(joined) => {
                    (self.cursor.joined, kept.counted) = (joined, true);
                    self.cursor.dead_lettered += kept.samples;
                }
                // The log's numbers are damaged, too.
                None => self.drop_uncounted(seal, key),
            }
        }
    }

    /// Drops a letter that no totals have, on disk neither, so that its file may say so at once.
    fn drop_uncounted(&mut self, seal: &Seal, key: Key) {
        if self.letters.forget(key).is_some() {
            self.letters.queue(&letter::encode_gone(seal, key));
            self.dirty = true;
        }
    }

    /// Makes the refused samples of a record dead letters as far as there is room. `rejected`
    /// samples are to be counted in all.
    pub(super) fn bury(
        &mut self,
        seal: &Seal,
        place: Place,
        batch: &Arc<Batch>,
        refusals: &[Refusal],
        rejected: u64,
        limits: Limits,
    ) {
        let (mut left, mut seen) = (rejected, Vec::new());
        for refusal in refusals {
            let part = chosen(batch, &refusal.samples);
            let (key, samples) = ((place.offset, refusal.part), part.len() as u64);
            if samples == 0 || samples > left || seen.contains(&key) {
                continue;
            }
            seen.push(key);
            left -= samples;
            let code = refusal.code.id();
            let why = Why { code: &code, message: &refusal.message, failed_at: limits.failed_at };
            if self.keep_letter(seal, place, key, &why, &part, limits) {
                self.cursor.dead_lettered += samples;
            } else {
                self.cursor.count_dropped(DropReason::DeadLettersFull, samples);
            }
        }
        self.cursor.count_dropped(DropReason::Rejected, left);
        self.forget_uncounted(seal, place.offset);
    }

    fn keep_letter(
        &mut self,
        seal: &Seal,
        place: Place,
        key: Key,
        why: &Why<'_>,
        batch: &Batch,
        limits: Limits,
    ) -> bool {
        let samples = batch.len() as u64;
        if let Some(kept) = self.letters.kept.get_mut(&key)
            && kept.samples == samples
        {
            // It was written before a kill.
            kept.counted = true;
            return true;
        }
        let frame = letter::encode(seal, place, key.1, why, batch);
        let letters = &mut self.letters;
        let full = letters.live + frame.len() as u64 > limits.bytes
            || letters.kept.len() >= MOST_LETTERS
            || letters.queued.len() + frame.len() > MOST_QUEUED.max(frame.len());
        if full {
            return false;
        }
        let (position, length) = (letters.queue(&frame), frame.len() as u64);
        letters.insert(key, Kept { place, samples, position, length, counted: true });
        self.dirty = true;
        true
    }

    /// Letters of a record that were written before a kill, and the record was not refused again.
    fn forget_uncounted(&mut self, seal: &Seal, offset: u64) {
        let keys: Vec<Key> = self
            .letters
            .kept
            .range((offset, None)..=(offset, Some(u32::MAX)))
            .filter(|(_, kept)| !kept.counted)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.drop_uncounted(seal, key);
        }
    }

    /// A letter that was sent again has an answer; it stays one unless all of it was taken.
    pub(super) fn settle_letter(&mut self, key: Key, outcome: &Outcome) {
        let Some(kept) = self.letters.kept.get(&key).copied() else { return };
        let Counts { skipped, merged, rejected, .. } = outcome.counts(kept.samples);
        if rejected > 0 {
            return;
        }
        self.letters.forget(key);
        self.cursor.gone.push(key);
        self.cursor.dead_lettered = self.cursor.dead_lettered.saturating_sub(kept.samples);
        self.cursor.delivered += kept.samples - skipped - merged;
        self.cursor.count_dropped(DropReason::NotEncodable, skipped);
        self.cursor.count_dropped(DropReason::SameTick, merged);
        self.dirty = true;
    }

    /// Letters that are wanted and not on their way.
    fn letters_to_retry(&self, which: Option<&[Key]>) -> Vec<(Key, Kept)> {
        let kept = self.letters.kept.iter();
        let wanted = kept.filter(|(key, kept)| {
            kept.counted && is_wanted(which, key) && !self.is_under_way(**key)
        });
        wanted.map(|(key, kept)| (*key, *kept)).collect()
    }

    fn is_under_way(&self, key: Key) -> bool {
        self.letters.retried.iter().any(|r| r.key == key)
            || self.handed.get(&key.0).is_some_and(|h| h.letter == Some(key))
    }

    /// Queues a letter to be sent again, if it is still there and there is room.
    fn retry_letter(&mut self, letter: DeadLetter) -> bool {
        let key = (letter.id.offset, letter.id.part);
        let room = self.letters.retried.len() < MOST_RETRIED && !self.is_under_way(key);
        let Some(kept) = self.letters.kept.get(&key).filter(|_| room) else { return false };
        let (place, batch) = (kept.place, letter.batch);
        self.letters.retried.push_back(Retried { key, place, batch });
        true
    }

    /// Letters that the cursor has to say are gone, or may have to.
    pub(super) fn letters_that_may_go(&self) -> usize {
        self.cursor.gone.len() + self.handed.values().filter(|h| h.letter.is_some()).count()
    }

    fn drop_letter(&mut self, key: Key) -> u64 {
        let Some(kept) = self.letters.forget(key) else { return 0 };
        self.cursor.gone.push(key);
        self.cursor.dead_lettered = self.cursor.dead_lettered.saturating_sub(kept.samples);
        self.cursor.count_dropped(DropReason::Discarded, kept.samples);
        self.dirty = true;
        kept.samples
    }

    /// Letters whose going the cursor on disk knows of: their file may say it now.
    pub(super) fn say_gone(&mut self, seal: &Seal, written: &[Key]) {
        for key in written {
            self.letters.queue(&letter::encode_gone(seal, *key));
            self.dirty = true;
        }
        self.cursor.gone.retain(|key| !written.contains(key));
    }
}

/// What bounds the letters of a sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    bytes: u64,
    failed_at: UnixNanos,
}

impl Limits {
    pub(super) fn new(max_bytes: u64, failed_at: UnixNanos) -> Self {
        Self { bytes: (max_bytes / 16).min(MOST_BYTES), failed_at }
    }
}

fn is_wanted(which: Option<&[Key]>, key: &Key) -> bool {
    which.is_none_or(|which| which.contains(key))
}

/// The samples of a batch with these indices.
fn chosen(batch: &Arc<Batch>, samples: &[u32]) -> Batch {
    let mut wanted = vec![false; batch.len()];
    for index in samples {
        if let Some(wanted) = wanted.get_mut(*index as usize) {
            *wanted = true;
        }
    }
    let mut flags = wanted.into_iter();
    batch.select(|_| flags.next().unwrap_or_default())
}

impl Log {
    /// The dead letters of a sink, oldest first; at most `most` behind the one named by `after`.
    /// Reads the disk.
    ///
    /// # Errors
    /// There is no such sink, or its file cannot be read. A damaged letter is left out.
    pub fn dead_letters(
        &self,
        sink: &str,
        after: Option<(u64, Option<u32>)>,
        most: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let chosen = |sink: &SinkState| {
            let kept = sink.letters.kept.iter();
            let kept = kept.filter(|(key, kept)| kept.counted && after.is_none_or(|a| **key > a));
            kept.take(most).map(|(key, kept)| (*key, *kept)).collect()
        };
        self.read_letters(sink, chosen).map(|(_, letters)| letters)
    }

    /// Reads the letters that are chosen, and tells the number of their sink.
    fn read_letters(
        &self,
        sink: &str,
        choose: impl FnOnce(&SinkState) -> Vec<(Key, Kept)>,
    ) -> Result<(u32, Vec<DeadLetter>), StoreError> {
        let (number, kept, queued, written) = {
            let state = self.state();
            let sink = state.sinks.get(sink).ok_or_else(|| unknown(sink))?;
            let letters = &sink.letters;
            let written = letters.end - letters.queued.len() as u64;
            (sink.number, choose(sink), letters.queued.clone(), written)
        };
        let path = files::dead_path(&self.dir, number);
        let mut found = Vec::new();
        for (key, kept) in kept {
            let frame = match kept.position.checked_sub(written) {
                Some(start) => {
                    let start = usize::try_from(start).unwrap_or(usize::MAX);
                    let end = start.saturating_add(kept.length as usize);
                    queued.get(start..end).unwrap_or_default().to_vec()
                }
                None => {
                    let read = read_frame(&*self.shared.fs, &path, &kept);
                    read.map_err(StoreError::io("read", &path))?
                }
            };
            found.extend(self.open_letter(key, &frame));
        }
        Ok((number, found))
    }

    fn open_letter(&self, key: Key, frame: &[u8]) -> Option<DeadLetter> {
        let found = self.seal.header(frame)?;
        let payload = frame.get(crate::frame::HEADER..)?.get(..found.length)?;
        let ours = letter::key(&found.header, payload) == Ok(key);
        let opened = letter::decode(&found.header, payload).ok()?;
        let id = self.id(key.0, key.1);
        let letter = DeadLetter {
            id,
            code: opened.code,
            message: opened.message,
            failed_at: found.header.captured_at,
            batch: Arc::new(opened.batch),
        };
        (ours && found.holds(payload, &self.seal)).then_some(letter)
    }

    /// Hands letters to their sink again, before anything else: those named, or all. There is room
    /// for some at a time: who wants more asks again when these have an answer.
    ///
    /// # Errors
    /// There is no such sink, or its file cannot be read.
    pub fn retry_dead_letters(
        &self,
        sink: &str,
        which: Option<&[(u64, Option<u32>)]>,
    ) -> Result<Handled, StoreError> {
        let mut handled = Handled::default();
        let (number, letters) = self.read_letters(sink, |sink| {
            let mut chosen = sink.letters_to_retry(which);
            let room = MOST_RETRIED.saturating_sub(sink.letters.retried.len());
            handled.left = chosen.len().saturating_sub(room) as u64;
            chosen.truncate(room);
            chosen
        })?;
        {
            let mut state = self.state();
            let sink = state.sink_numbered(sink, number).ok_or_else(|| unknown(sink))?;
            for letter in letters {
                let samples = letter.batch.len() as u64;
                if sink.retry_letter(letter) {
                    handled.letters += 1;
                    handled.samples += samples;
                }
            }
        }
        self.changed();
        Ok(handled)
    }

    /// Gives up letters: those named, or all. They are counted as discarded. Some at a time: who
    /// wants more asks again after a second.
    ///
    /// # Errors
    /// There is no such sink.
    pub fn drop_dead_letters(
        &self,
        sink: &str,
        which: Option<&[(u64, Option<u32>)]>,
    ) -> Result<Handled, StoreError> {
        let mut state = self.state();
        let sink = state.sinks.get_mut(sink).ok_or_else(|| unknown(sink))?;
        let kept = sink.letters.kept.iter();
        let kept = kept.filter(|(key, kept)| kept.counted && is_wanted(which, key));
        let mut keys: Vec<Key> = kept.map(|(key, _)| *key).collect();
        let room = MAX_GONE.saturating_sub(sink.letters_that_may_go());
        let left = keys.len().saturating_sub(room) as u64;
        keys.truncate(room);
        let letters = keys.len() as u64;
        let samples = keys.into_iter().map(|key| sink.drop_letter(key)).sum();
        drop(state);
        self.shared.wake(Wanted::Something);
        Ok(Handled { letters, samples, left })
    }

    /// Writes the letters that wait for it to the file of a sink and syncs it.
    pub(super) fn flush_letters(&self, sink: &Arc<str>) -> io::Result<()> {
        let (number, frames, position, exists) = {
            let state = self.state();
            let Some(sink) = state.sinks.get(sink) else { return Ok(()) };
            let letters = &sink.letters;
            if letters.queued.is_empty() {
                return Ok(());
            }
            let position = letters.end - letters.queued.len() as u64;
            (sink.number, letters.queued.clone(), position, letters.exists)
        };
        let path = files::dead_path(&self.dir, number);
        let fs = &*self.shared.fs;
        let written = frames.len();
        let file = if exists {
            fs.open(&path, Open::ReadWrite)?
        } else {
            remove(fs, &path)?;
            fs.open(&path, Open::CreateNew)?
        };
        file.write_at(&frames, position)?;
        file.sync_data()?;
        if !exists {
            fs.sync_dir(&self.dir)?;
        }
        let mut state = self.state();
        if let Some(sink) = state.sink_numbered(sink, number) {
            sink.letters.queued.drain(..written);
            sink.letters.exists = true;
        }
        drop(state);
        self.compact_letters(number, sink)
    }

    /// Rewrites a file most of which is gone.
    fn compact_letters(&self, number: u32, sink: &Arc<str>) -> io::Result<()> {
        let kept: Vec<(Key, Kept)> = {
            let state = self.state();
            let Some(sink) = state.sinks.get(sink).filter(|s| s.number == number) else {
                return Ok(());
            };
            let letters = &sink.letters;
            // The cursor on disk must not speak of letters that it would bring back.
            if letters.end < SMALL_FILE
                || letters.live * 2 > letters.end
                || letters.is_queued()
                || !sink.cursor.gone.is_empty()
            {
                return Ok(());
            }
            letters.kept.iter().map(|(key, kept)| (*key, *kept)).collect()
        };
        let fs = &*self.shared.fs;
        let path = files::dead_path(&self.dir, number);
        let (mut position, mut moved) = (0, Vec::new());
        replace(fs, &path, |file| {
            for (key, kept) in kept {
                let frame = read_frame(fs, &path, &kept)?;
                file.write_at(&frame, position)?;
                moved.push((key, position));
                position += frame.len() as u64;
            }
            Ok(())
        })?;
        let mut state = self.state();
        if let Some(sink) = state.sink_numbered(sink, number) {
            let letters = &mut sink.letters;
            let before = letters.end - letters.queued.len() as u64;
            // What was queued meanwhile follows.
            for kept in letters.kept.values_mut().filter(|k| k.position >= before) {
                kept.position = kept.position - before + position;
            }
            for (key, at) in moved {
                if let Some(kept) = letters.kept.get_mut(&key).filter(|k| k.position < before) {
                    kept.position = at;
                }
            }
            letters.end = position + letters.queued.len() as u64;
        }
        Ok(())
    }
}

fn read_frame(fs: &dyn Fs, path: &Path, kept: &Kept) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    let mut frame = vec![0; usize::try_from(kept.length).unwrap_or_default()];
    let got = file.read_at(&mut frame, kept.position)?;
    frame.truncate(got);
    Ok(frame)
}

fn unknown(sink: &str) -> StoreError {
    StoreError::Unknown(format!("sink {sink}"))
}
