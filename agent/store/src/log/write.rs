//! Writing what is pending: the file side of a commit.
//!
//! ```text
//! pending --write--> definitions, segment --sync--> durable --publish--> tail, receipts, feeds
//!                            | error
//!                            v
//!          the segment is given up at its published end; pending stays and is tried again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lineside_core::{Origin, UnixNanos};
use lineside_crds::model::Durability;

use super::files;
use super::segment::{self, Segment};
use super::{Log, Now, State};
use crate::definition::{self, DefinitionId};
use crate::entry::{Content, Receipt};
use crate::fields::put_block;
use crate::frame::{self, Header, Kind, Packed, Seal};
use crate::fs::{File, Open};
use crate::meta::Meta;
use crate::replace::remove;
use crate::sealed;
use crate::settled::Place;

use super::persist::{CursorFile, is_due};

/// After an unclean end offsets start so far behind the last one known, so that none is given
/// twice.
pub(crate) const JUMP: u64 = 1 << 20;

/// Frames are gathered into writes of at most this size; a longer one is written by itself. Small
/// enough for a processor's cache to hold what is copied twice, here and by the kernel.
pub(crate) const GATHER: usize = 256 * 1024;

/// Definitions of a generation smaller than this never start another one.
const SMALL_GENERATION: u64 = 64 * 1024;

/// Between two syncs of a log with `durability: Relaxed`.
const RELAXED: i64 = 1_000_000_000;

/// The segment that is written.
struct Active {
    segment: Segment,
    file: Arc<dyn File>,
    /// Where the next frame goes.
    position: u64,
    /// Where the frames end that feeds know of.
    published: u64,
}

/// A segment that ends in what was not committed, to be cut before anything is written.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Its first offset.
    pub(super) first: u64,
    /// Its good frames end here.
    pub(super) end: u64,
    /// From here on they may be in memory alone, and are written once more.
    pub(super) unsure_from: u64,
}

/// The definitions of the segments from one on, in two mirrors.
struct Generation {
    first: u64,
    files: [Arc<dyn File>; 2],
    position: u64,
    defined: BTreeSet<DefinitionId>,
    /// Bytes of the definitions that the present segment refers to.
    used: BTreeMap<DefinitionId, u64>,
    dirty: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Writer {
    active: Option<Active>,
    pub(super) cut: Option<Cut>,
    generation: Option<Generation>,
    /// Bytes of each generation's files.
    pub(super) generations: BTreeMap<u64, u64>,
    /// Files to remove before anything is written: what failed attempts have left.
    pub(super) litter: Vec<PathBuf>,
    /// Segments begun in this round.
    fresh: Vec<Segment>,
    /// Final lengths of segments that were filled in this round.
    filled: Vec<(u64, u64)>,
    /// What lies below is in files.
    pub(super) written: Place,
    /// What lies below is durable.
    pub(super) durable: u64,
    dirty: bool,
    dir_dirty: bool,
    synced_at: Option<UnixNanos>,
    meta_on_disk: Option<Meta>,
    pub(super) cursors: BTreeMap<u32, CursorFile>,
    pub(super) persisted_at: Option<UnixNanos>,
    /// Segments that are given up, to be removed when the cursors say so on disk.
    pub(super) doomed: Vec<Segment>,
    /// Something went that feeds or devices may wait for since they were last told.
    pub(super) freed: bool,
    /// Damaged segments kept for support, oldest first, with their bytes.
    pub(super) kept_aside: Vec<(PathBuf, u64)>,
}

/// One frame to write.
struct Write {
    header: Header,
    /// Without it the frame has the time of its commit.
    gap_from: Option<UnixNanos>,
    payload: Arc<Packed>,
    origin: Option<(DefinitionId, Arc<Origin>)>,
}

impl State {
    /// What is to be written. Dropped samples at the end wait for a record behind them: a full
    /// log that drops all it gets writes nothing.
    fn begin_round(&mut self, written: Place) -> Vec<Write> {
        let is_mark = |content: &Content| matches!(content, Content::Dropped(_));
        let trailing = self.pending.iter().rev().take_while(|p| is_mark(&p.entry.content)).count();
        let count = self.pending.len() - trailing;
        let dropped_from = self.pending.iter().skip(count).map(|p| p.entry.captured_at).min();
        let mut round: Vec<Write> = self
            .pending
            .iter()
            .take(count)
            .filter(|p| p.entry.place.offset >= written.offset)
            .map(|p| Write {
                header: Header {
                    kind: p.kind,
                    flags: p.flags,
                    samples: p.entry.samples as u32,
                    offset: p.entry.place.offset,
                    number: p.entry.place.number,
                    captured_at: p.entry.captured_at,
                    gap_from: 0,
                    committed_to: 0,
                },
                gap_from: p.gap_from,
                payload: p.payload.clone(),
                origin: match &p.entry.content {
                    Content::Batch(batch) => Some((p.definition, batch.origin().clone())),
                    _ => None,
                },
            })
            .collect();
        if let Some(last) = round.last_mut() {
            self.writing = last.header.offset + 1;
            // A mark that is never written leaves nothing but the gap to tell of its samples.
            last.gap_from = last.gap_from.into_iter().chain(dropped_from).min();
        }
        round
    }

    /// The length of a segment that is not written any more.
    fn segment_bytes(&mut self, first: u64, bytes: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|s| s.first.offset == first) {
            (segment.bytes, segment.used) = (bytes, bytes);
        }
    }

    /// Forgets origins that a generation on disk has; one that is still in use gets a new number
    /// in the next.
    fn forget_definitions(&mut self, defined: &BTreeSet<DefinitionId>) {
        self.definitions.retain(|id| !defined.contains(&id));
    }
}

impl Log {
    /// Writes what is pending to files; true when something waits to be synced or published.
    pub(crate) fn write(&self, now: Now) -> io::Result<bool> {
        let mut writer = self.writer();
        let round = self.state().begin_round(writer.written);
        if round.is_empty() {
            return Ok(writer.dirty);
        }
        let result = self.write_round(&mut writer, round, now);
        if result.is_err() {
            self.give_up_segment(&mut writer);
        }
        result.map(|()| true)
    }

    fn write_round(&self, writer: &mut Writer, mut round: Vec<Write>, now: Now) -> io::Result<()> {
        set_gap_starts(&mut round, now.unix);
        self.clear_litter(writer)?;
        self.persist_meta(writer, None)?;
        self.persist_cursors(writer, |sink| sink.is_new || sink.is_amended)?;
        self.cut_tail(writer)?;
        let oldest_start = self.oldest_start(now);
        let mut buffer = self.shared.buffer();
        let mut buffer_at = writer.active.as_ref().map_or(0, |a| a.position);
        for write in round {
            let size = frame::size(write.payload.len());
            let position = buffer_at + buffer.len() as u64;
            if writer.must_roll(position + size as u64, oldest_start) {
                flush(writer, &mut buffer, &mut buffer_at)?;
                self.roll(writer, &write.header, size as u64, now)?;
                buffer_at = writer.active.as_ref().map_or(0, |a| a.position);
            }
            if !buffer.is_empty() && buffer.len() + size > GATHER {
                flush(writer, &mut buffer, &mut buffer_at)?;
            }
            if let Some((id, origin)) = &write.origin {
                self.define(writer, *id, origin)?;
            }
            let mut header = write.header;
            header.committed_to = writer.durable;
            self.seal.put_packed(&mut buffer, &header, &write.payload);
            writer.written = Place { offset: header.offset, number: header.number }
                .after(u64::from(header.samples));
        }
        flush(writer, &mut buffer, &mut buffer_at)?;
        self.shared.keep_buffer(buffer);
        Ok(())
    }

    /// A segment begun before this moment is closed although it has room, so that records of it
    /// grow too old at about the same time.
    fn oldest_start(&self, now: Now) -> Option<UnixNanos> {
        let max_age = self.state().settings.max_age?;
        super::feed::oldest(Some(max_age / 8), now)
    }

    /// Removes what failed attempts and an unclean end have left behind the end of the log, so that
    /// a position or a close may count on that end.
    pub(super) fn clear_end(&self, writer: &mut Writer) -> io::Result<()> {
        if !writer.litter.is_empty() {
            self.clear_litter(writer)?;
            self.shared.fs.sync_dir(&self.dir)?;
        }
        self.cut_tail(writer)
    }

    /// Makes the segment that an unclean end has left end where its good frames end.
    fn cut_tail(&self, writer: &mut Writer) -> io::Result<()> {
        let Some(cut) = writer.cut.clone() else { return Ok(()) };
        let fs = &*self.shared.fs;
        if cut.unsure_from < cut.end {
            // What these records refer to may be in memory alone, too.
            let generation = {
                let state = self.state();
                let segment = state.segments.iter().find(|s| s.first.offset == cut.first);
                segment.map_or(cut.first, |s| s.generation)
            };
            for path in files::definition_paths(&self.dir, generation) {
                match fs.open(&path, Open::ReadWrite) {
                    Ok(file) => write_again(&*file, 0, file.len()?)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let file = fs.open(&files::path(&self.dir, cut.first), Open::ReadWrite)?;
        file.set_len(cut.end)?;
        write_again(&*file, cut.unsure_from, cut.end)?;
        fs.sync_dir(&self.dir)?;
        writer.filled.push((cut.first, cut.end));
        writer.cut = None;
        Ok(())
    }

    /// Closes the segment and begins the next one.
    fn roll(&self, writer: &mut Writer, first: &Header, size: u64, now: Now) -> io::Result<()> {
        if let Some(active) = writer.active.take() {
            if let Some(generation) = &mut writer.generation {
                generation.sync()?;
            }
            let closed =
                active.file.sync_data().and_then(|()| active.file.set_len(active.position));
            if closed.is_err() {
                // Its published frames stay, and those behind them are in this round again.
                writer.active = Some(active);
                return closed;
            }
            writer.filled.push((active.segment.first.offset, active.position));
        }
        let wanted = segment::size_for(self.state().settings.max_bytes);
        let head = self.head(first, 0, 0, now.unix, writer.durable);
        let bytes = wanted.max(head.len() as u64 + size);
        self.make_room(writer, bytes)?;
        let path = files::path(&self.dir, first.offset);
        writer.litter.push(path.clone());
        let file = self.shared.fs.open(&path, Open::CreateNew)?;
        file.allocate(bytes)?;
        file.write_at(&head, 0)?;
        writer.dir_dirty = true;
        let generation = self.generation_for(writer, first.offset)?;
        writer.litter.retain(|p| *p != path);
        let segment = Segment {
            first: Place { offset: first.offset, number: first.number },
            bytes,
            used: head.len() as u64,
            generation,
            begun_at: now.unix,
            damaged: false,
            thinned: 0,
            rounds: 0,
        };
        writer.fresh.push(segment.clone());
        let position = head.len() as u64;
        writer.active = Some(Active { segment, file, position, published: position });
        Ok(())
    }

    /// The first frame of a file.
    pub(super) fn head(
        &self,
        first: &Header,
        thinned: u32,
        rounds: u8,
        begun_at: UnixNanos,
        committed_to: u64,
    ) -> Vec<u8> {
        let header = Header {
            kind: Kind::Head,
            flags: rounds,
            samples: thinned,
            captured_at: begun_at,
            gap_from: begun_at,
            committed_to,
            ..*first
        };
        let mut payload = self.shared.id_bytes.to_vec();
        payload.extend_from_slice(&self.stream.to_le_bytes());
        put_block(&mut payload, self.key.namespace.as_bytes());
        put_block(&mut payload, self.key.name.as_bytes());
        let mut frame = Vec::new();
        self.seal.put(&mut frame, &header, &payload);
        frame
    }

    /// The generation that a segment from `first` on refers to; a new one when there is none or
    /// most of it is not used any more.
    fn generation_for(&self, writer: &mut Writer, first: u64) -> io::Result<u64> {
        if let Some(generation) = &mut writer.generation {
            let used: u64 = std::mem::take(&mut generation.used).into_values().sum();
            if generation.position < SMALL_GENERATION.max(used * 4) {
                return Ok(generation.first);
            }
        }
        let old = writer.generation.take();
        let paths = files::definition_paths(&self.dir, first);
        writer.litter.extend(paths.iter().cloned());
        let [a, b] = &paths;
        let files =
            [self.shared.fs.open(a, Open::CreateNew)?, self.shared.fs.open(b, Open::CreateNew)?];
        let header = Header {
            kind: Kind::Head,
            flags: 0,
            samples: 0,
            offset: first,
            number: 0,
            captured_at: 0,
            gap_from: 0,
            committed_to: 0,
        };
        let head = self.head(&header, 0, 0, 0, 0);
        for file in &files {
            file.write_at(&head, 0)?;
        }
        writer.litter.retain(|p| !paths.contains(p));
        writer.dir_dirty = true;
        writer.generations.insert(first, 2 * head.len() as u64);
        writer.generation = Some(Generation {
            first,
            files,
            position: head.len() as u64,
            defined: BTreeSet::new(),
            used: BTreeMap::new(),
            dirty: true,
        });
        if let Some(old) = old {
            self.state().forget_definitions(&old.defined);
        }
        Ok(first)
    }

    /// Writes the definition of an origin unless the generation has it.
    fn define(&self, writer: &mut Writer, id: DefinitionId, origin: &Origin) -> io::Result<()> {
        let Some(generation) = &mut writer.generation else {
            return Err(io::Error::other("no definitions"));
        };
        if let std::collections::btree_map::Entry::Vacant(entry) = generation.used.entry(id) {
            let mut payload = Vec::new();
            definition::encode(origin, &mut payload);
            entry.insert(frame::size(payload.len()) as u64);
            if generation.defined.insert(id) {
                generation.put(&self.seal, id.number, &payload)?;
                writer.generations.insert(generation.first, 2 * generation.position);
                writer.dirty = true;
            }
        }
        Ok(())
    }

    /// Syncs what was written, unless the log is `Relaxed` and it is not time.
    pub(crate) fn sync(&self, now: Now, force: bool) -> io::Result<()> {
        let mut writer = self.writer();
        let relaxed = self.state().settings.durability == Durability::Relaxed;
        if !writer.dirty || (relaxed && !force && !is_due(writer.synced_at, RELAXED, now)) {
            return Ok(());
        }
        let result = self.sync_files(&mut writer);
        match result {
            Ok(()) => writer.synced_at = Some(now.unix),
            Err(_) => self.give_up_segment(&mut writer),
        }
        result
    }

    /// Syncs everything that was written, whatever the log's durability is.
    pub(super) fn sync_all(&self, writer: &mut Writer) -> io::Result<()> {
        self.clear_end(writer)?;
        if !writer.dirty {
            return Ok(());
        }
        let result = self.sync_files(writer);
        if result.is_err() {
            self.give_up_segment(writer);
        }
        result
    }

    fn sync_files(&self, writer: &mut Writer) -> io::Result<()> {
        // Definitions first: a record that is there has its point list.
        if let Some(generation) = &mut writer.generation {
            generation.sync()?;
        }
        if let Some(active) = &writer.active {
            active.file.sync_data()?;
        }
        if writer.dir_dirty {
            self.shared.fs.sync_dir(&self.dir)?;
            writer.dir_dirty = false;
        }
        writer.durable = writer.written.offset;
        writer.dirty = false;
        Ok(())
    }

    /// Shows feeds what was written, and gives the receipts to complete.
    pub(crate) fn publish(&self) -> Vec<Receipt> {
        let mut writer = self.writer();
        let writer = &mut *writer;
        let mut state = self.state();
        let state = &mut *state;
        let (mut receipts, mut fresh) = (Vec::new(), 0);
        state.segments.extend(writer.fresh.drain(..));
        for (first, bytes) in writer.filled.drain(..) {
            state.segment_bytes(first, bytes);
        }
        if let Some(active) = &mut writer.active {
            active.published = active.position;
            state.room = active.segment.bytes.saturating_sub(active.position);
            let first = active.segment.first.offset;
            if let Some(newest) = state.segments.back_mut().filter(|s| s.first.offset == first) {
                newest.used = active.position;
            }
        }
        while let Some(pending) = state.pending.front()
            && pending.entry.place.offset < writer.written.offset
        {
            let Some(mut pending) = state.pending.pop_front() else { break };
            state.pending_bytes = state.pending_bytes.saturating_sub(pending.entry.bytes);
            state.pending_frames -= pending.frame_bytes() as u64;
            receipts.extend(pending.receipt.take());
            if let Content::Batch(batch) = &pending.entry.content {
                pending.entry.bytes = batch.memory_bytes();
            }
            fresh += pending.entry.bytes;
            state.tail.push_back(pending.entry);
        }
        if state.pending.is_empty() {
            state.longest_pending = 0;
        }
        state.visible = state.visible.max(writer.written);
        state.degraded = false;
        state.other_bytes = writer.other_bytes();
        state.tail_bytes += fresh;
        state.tail_grew = true;
        state.forget_delivered();
        let options = &self.shared.options;
        // A sink that is woken by a commit is still at it when the next one is done.
        let burst = fresh + std::mem::replace(&mut state.last_burst, fresh);
        state.shorten_tail(options.tail_bytes.max(burst.min(options.burst_bytes)));
        receipts
    }

    /// After an error: the segment is given up where its published frames end, and the next
    /// attempt begins new files. What a sync could not write is never trusted again.
    fn give_up_segment(&self, writer: &mut Writer) {
        let fresh: Vec<u64> = writer.fresh.drain(..).map(|s| s.first.offset).collect();
        writer.litter.extend(fresh.iter().map(|first| files::path(&self.dir, *first)));
        if let Some(generation) = writer.generation.take()
            && fresh.contains(&generation.first)
        {
            writer.generations.remove(&generation.first);
            writer.litter.extend(files::definition_paths(&self.dir, generation.first));
        }
        if let Some(active) = writer.active.take()
            && !fresh.contains(&active.segment.first.offset)
        {
            // Frames behind it have offsets that the next segment has too; readers go by that.
            let _ = active.file.set_len(active.published);
            writer.filled.push((active.segment.first.offset, active.published));
        }
        let mut state = self.state();
        for (first, bytes) in writer.filled.drain(..) {
            state.segment_bytes(first, bytes);
        }
        writer.written = state.visible;
        writer.dirty = false;
        state.writing = 0;
        state.room = 0;
        state.degraded = true;
    }

    fn clear_litter(&self, writer: &mut Writer) -> io::Result<()> {
        while let Some(path) = writer.litter.last() {
            remove(&*self.shared.fs, path)?;
            writer.litter.pop();
            writer.dir_dirty = true;
        }
        Ok(())
    }

    /// Writes the log's own file if it does not say that the log is open, or with `closed_at`
    /// that it is closed.
    pub(super) fn persist_meta(
        &self,
        writer: &mut Writer,
        closed_at: Option<Place>,
    ) -> io::Result<()> {
        let mut meta = {
            let mut state = self.state();
            let reserved = state.handed_limit;
            if state.next.offset + JUMP / 2 >= reserved {
                state.meta.reserved = state.next.offset + JUMP;
            }
            state.meta.clone()
        };
        meta.closed_at = closed_at;
        if writer.meta_on_disk.as_ref() == Some(&meta) {
            return Ok(());
        }
        let body = meta.encode();
        sealed::replace(&*self.shared.fs, &self.dir, "log", &self.seal, &body)?;
        self.state().handed_limit = meta.reserved;
        writer.meta_on_disk = Some(meta);
        Ok(())
    }
}

/// Writes a part of a file once more and syncs it: after an end or a failed sync that nobody saw,
/// what can be read may not be on disk. The same bytes in the same place: cut off in the middle,
/// this harms nothing.
pub(super) fn write_again(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
    let got = file.read_at(&mut bytes, from)?;
    bytes.truncate(got);
    file.write_at(&bytes, from)?;
    file.sync_data()
}

/// From when on data is missing if a record is the last one that survives: not later than what
/// comes behind it in the same round, of which a power cut may leave nothing.
fn set_gap_starts(round: &mut [Write], now: UnixNanos) {
    let mut behind = now;
    for write in round.iter_mut().rev() {
        // Nothing was asked when the record was captured; what was asked since is behind it.
        let asked = write.gap_from.unwrap_or(write.header.captured_at);
        write.header.gap_from = asked.min(behind);
        behind = write.header.gap_from.min(write.header.captured_at);
    }
}

fn flush(writer: &mut Writer, buffer: &mut Vec<u8>, buffer_at: &mut u64) -> io::Result<()> {
    if buffer.is_empty() {
        return Ok(());
    }
    let Some(active) = &mut writer.active else { return Err(io::Error::other("no segment")) };
    active.file.write_at(buffer, *buffer_at)?;
    *buffer_at += buffer.len() as u64;
    active.position = *buffer_at;
    writer.dirty = true;
    buffer.clear();
    Ok(())
}

impl Writer {
    pub(super) fn new(meta_on_disk: Option<Meta>, litter: Vec<PathBuf>) -> Self {
        Self { meta_on_disk, litter, ..Self::default() }
    }

    /// Gives back what is allocated and not used; the next write begins a new segment.
    pub(super) fn give_back(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        self.filled.push((active.segment.first.offset, active.position));
        active.file.set_len(active.position)
    }

    fn must_roll(&self, end: u64, oldest_start: Option<UnixNanos>) -> bool {
        self.active.as_ref().is_none_or(|active| {
            end > active.segment.bytes || oldest_start.is_some_and(|o| active.segment.begun_at < o)
        }) || self.generation.is_none()
    }

    /// Bytes of the segments begun in this round.
    pub(super) fn fresh_bytes(&self) -> u64 {
        self.fresh.iter().map(|s| s.bytes).sum()
    }

    /// The definitions that those refer to.
    pub(super) fn fresh_generations(&self) -> impl Iterator<Item = u64> + '_ {
        self.fresh.iter().map(|s| s.generation)
    }

    pub(super) fn other_bytes(&self) -> u64 {
        let aside: u64 = self.kept_aside.iter().map(|(_, bytes)| bytes).sum();
        self.generations.values().sum::<u64>() + aside
    }

    /// The generation that is written to, which stays whatever segments are left.
    pub(super) fn current_generation(&self) -> Option<u64> {
        self.generation.as_ref().map(|g| g.first)
    }
}

impl Generation {
    fn put(&mut self, seal: &Seal, number: u32, payload: &[u8]) -> io::Result<()> {
        let header = Header {
            kind: Kind::Definition,
            flags: 0,
            samples: 0,
            offset: u64::from(number),
            number: 0,
            captured_at: 0,
            gap_from: 0,
            committed_to: 0,
        };
        let mut frame = Vec::new();
        seal.put(&mut frame, &header, payload);
        self.dirty = true;
        for file in &self.files {
            file.write_at(&frame, self.position)?;
        }
        self.position += frame.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            for file in &self.files {
                file.sync_data()?;
            }
            self.dirty = false;
        }
        Ok(())
    }
}
