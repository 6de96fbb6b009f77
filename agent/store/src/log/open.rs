//! Opening a log after any end: what its files say, without reading more than the last segment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_core::UnixNanos;
use lineside_crds::model::{Durability, ObjectKey, Overflow, Store};

use super::State;
use super::decode::load_mirrors;
use super::files::{self, Name};
use super::letters::Letters;
use super::persist::{open_cursor, read_cursor};
use super::segment::Segment;
use super::session::SinkState;
use super::write::{Cut, JUMP, Writer};
use crate::codec::Encoded;
use crate::definition::{DefinitionId, Definitions};
use crate::error::StoreError;
use crate::fields::Reader;
use crate::frame::{Header, Kind, Seal};
use crate::fs::{Fs, Open};
use crate::meta::Meta;
use crate::scan::Scan;
use crate::sealed;
use crate::settled::Place;
use crate::volume::{Report, Shared};

/// The bound of a log that nobody has opened yet, e.g. an orphan: the largest, so that nothing of
/// it gives way.
const UNBOUNDED: Store = Store {
    durability: Durability::Durable,
    max_bytes: u64::MAX,
    max_age: None,
    overflow: Overflow::Backpressure,
};

/// What a log starts from.
pub(crate) struct Recovered {
    pub(super) stream: u32,
    pub(super) dir: PathBuf,
    pub(super) seal: Seal,
    pub(super) state: State,
    pub(super) writer: Writer,
}

/// The files of a log's directory by kind.
#[derive(Default)]
struct Files {
    segments: Vec<u64>,
    generations: Vec<u64>,
    cursors: Vec<u32>,
    others: Vec<PathBuf>,
    aside: Vec<PathBuf>,
}

fn files(fs: &dyn Fs, dir: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    for name in fs.list(dir)? {
        match name.to_str().and_then(Name::parse) {
            Some(Name::Segment(first)) => files.segments.push(first),
            Some(Name::Definitions(first)) => files.generations.push(first),
            Some(Name::Cursor(number)) => files.cursors.push(number),
            Some(Name::Temporary) => files.others.push(dir.join(name)),
            Some(Name::Damaged) => files.aside.push(dir.join(name)),
            Some(Name::Meta | Name::Dead(_) | Name::Checkpoint) | None => {}
        }
    }
    files.segments.sort_unstable();
    files.generations.sort_unstable();
    files.generations.dedup();
    Ok(files)
}

/// Makes the files of a new log; its directory's entry is synced by the caller.
pub(crate) fn create(
    shared: &Arc<Shared>,
    stream: u32,
    dir: PathBuf,
    key: ObjectKey,
) -> io::Result<Recovered> {
    let seal = shared.seal(stream);
    let meta = Meta::new(key);
    shared.fs.create_dir(&dir)?;
    sealed::replace(&*shared.fs, &dir, "log", &seal, &meta.encode())?;
    let writer = Writer::new(Some(meta.clone()), Vec::new());
    Ok(Recovered { stream, dir, seal, state: State::new(meta, Place::default()), writer })
}

/// Reads what the files of a log say.
pub(crate) fn recover(
    shared: &Arc<Shared>,
    stream: u32,
    dir: PathBuf,
    report: &mut Report,
) -> Result<Recovered, StoreError> {
    let seal = shared.seal(stream);
    let fs = &*shared.fs;
    let files = files(fs, &dir).map_err(StoreError::io("list", &dir))?;
    let on_disk = read_meta(fs, &dir, &seal).map_err(StoreError::io("read", dir.join("log")))?;
    let mut writer = Writer::new(on_disk.clone(), files.others);
    let mut found = Found::default();
    for first in files.segments.iter().rev() {
        let io = StoreError::io("read", files::path(&dir, *first));
        found.look_at(fs, &dir, &seal, *first, &files.generations).map_err(io)?;
    }
    let mut sinks = BTreeMap::new();
    let mut lost_cursors = BTreeMap::new();
    for number in &files.cursors {
        let path = files::dead_path(&dir, *number);
        let letters = Letters::read(fs, &path, &seal);
        let letters = letters.map_err(StoreError::io("read", &path))?;
        let path = files::cursor_path(&dir, *number);
        let io = StoreError::io("read", &path);
        let Some((cursor, sequence)) = read_cursor(fs, &path, &seal).map_err(io)? else {
            report.note(&dir, format!("both copies of the position in sink-{number} are damaged"));
            lost_cursors.insert(*number, letters);
            continue;
        };
        let io = StoreError::io("open", &path);
        writer.cursors.insert(*number, open_cursor(fs, &path, sequence).map_err(io)?);
        let mut sink = SinkState::new(cursor, *number);
        // What was read may be in memory alone: nothing is deleted by it before it is written again.
        (sink.persisted_floor, sink.dirty) = (0, true);
        sink.letters = letters;
        sink.reconcile_letters();
        sinks.insert(sink.cursor.name.clone(), sink);
    }
    let Some(mut meta) = on_disk.clone().or_else(|| found.key.clone().map(Meta::new)) else {
        return Err(StoreError::Unreadable(dir.join("log")));
    };
    if on_disk.is_none() {
        report.note(&dir, "its file `log` is damaged and is made again".to_owned());
    }
    let touched = sinks.values().filter(|s: &&SinkState| !s.cursor.is_untouched());
    let known = touched.map(|s| s.cursor.settled.top()).max();
    let known = known.into_iter().chain(meta.closed_at).fold(Place::default(), Place::furthest);
    let tail = found.tail(fs, &dir, &seal, known.offset).map_err(StoreError::io("read", &dir))?;
    for problem in tail.problems {
        report.note(&dir, problem);
    }
    let end = tail.end.furthest(known);
    let next = match meta.closed_at.take() {
        Some(closed) if closed.offset >= end.offset => closed,
        _ if found.segments.is_empty() && sinks.is_empty() && meta.reserved == 0 => end,
        _ => {
            let offset = (end.offset + JUMP).max(meta.reserved);
            Place { offset, ..end }
        }
    };
    for sink in sinks.values_mut() {
        sink.is_amended = sink.cursor.not_joined_behind(next);
        sink.is_amended |= sink.cursor.not_frozen_behind(next);
    }
    (writer.cut, writer.written, writer.durable) = (tail.cut, next, tail.end.offset);
    writer.litter.extend(tail.litter);
    meta.era += u32::from(!found.segments.is_empty());
    let mut state = State::new(meta, next);
    // The last record may be of a clock that was not set, and what was wrong with it may be known.
    let delta = tail.era.and_then(|era| state.meta.correction_of(era)).unwrap_or_default();
    state.gap_from = tail.gap_from.map(|from| from.saturating_add(delta));
    state.segments = found.segments.into_iter().map(|(segment, _)| segment).collect();
    state.lost_cursors = lost_cursors;
    state.sinks = sinks;
    for generation in &files.generations {
        let paths = files::definition_paths(&dir, *generation);
        let bytes = |p: &PathBuf| fs.open(p, Open::Read).and_then(|f| f.len()).unwrap_or(0);
        writer.generations.insert(*generation, paths.iter().map(bytes).sum());
        // Numbers go on behind the largest one that was given.
        let definitions = &mut state.definitions;
        load_mirrors(fs, &dir, *generation, &seal, |id, _| definitions.not_below(id.number + 1))
            .map_err(StoreError::io("read the definitions in", &dir))?;
    }
    for path in files.aside {
        let bytes = fs.open(&path, Open::Read).and_then(|f| f.len()).unwrap_or(0);
        writer.kept_aside.push((path, bytes));
    }
    state.other_bytes = writer.other_bytes();
    Ok(Recovered { stream, dir, seal, state, writer })
}

/// What the log's own file says; `None` when it is damaged or missing. That the disk refuses to be
/// read is neither.
fn read_meta(fs: &dyn Fs, dir: &Path, seal: &Seal) -> io::Result<Option<Meta>> {
    match sealed::read(fs, &dir.join("log"), sealed::SLOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => {
            let body = sealed::decode(seal, &bytes).map(|(_, body)| body);
            Ok(body.and_then(|body| Meta::decode(body).ok()))
        }
    }
}

/// Segments as their heads describe them, newest last, with the lengths of their files.
#[derive(Default)]
struct Found {
    segments: VecDeque<(Segment, u64)>,
    key: Option<ObjectKey>,
}

impl Found {
    /// Reads the head of a segment that is older than those found so far.
    fn look_at(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        seal: &Seal,
        first: u64,
        generations: &[u64],
    ) -> io::Result<()> {
        let file = fs.open(&files::path(dir, first), Open::Read)?;
        let bytes = file.len()?;
        let mut scan = Scan::new(&*file, seal, 0, bytes);
        let spot = scan.next()?;
        let newer = self.segments.front().map(|(s, _)| s.first.number);
        // Without a head the first frame that is there says what it can.
        let header = spot.map(|s| s.found.header);
        let is_head = header.is_some_and(|h| h.kind == Kind::Head && h.offset == first);
        let number = header.map(|h| h.number).or(newer).unwrap_or_default();
        if let Some(spot) = spot.filter(|_| is_head && self.key.is_none())
            && let Some(payload) = scan.payload(&spot)?
        {
            self.key = key(payload);
        }
        let generation = generations.iter().copied().rfind(|g| *g <= first);
        self.segments.push_front((
            Segment {
                first: Place { offset: first, number },
                bytes,
                used: bytes,
                generation: generation.unwrap_or(first),
                begun_at: header.map_or(UnixNanos::MAX, |h| h.captured_at),
                damaged: !is_head,
                thinned: header.filter(|_| is_head).map_or(0, |h| u64::from(h.samples)),
                rounds: header.filter(|_| is_head).map_or(0, |h| u32::from(h.flags)),
            },
            bytes,
        ));
        Ok(())
    }

    /// Where the log ends. What is left of a segment without a record is not a segment.
    fn tail(&mut self, fs: &dyn Fs, dir: &Path, seal: &Seal, mut known: u64) -> io::Result<Tail> {
        let mut tail = Tail::default();
        while let Some((segment, bytes)) = self.segments.back() {
            let first = segment.first.offset;
            let path = files::path(dir, first);
            let file = fs.open(&path, Open::Read)?;
            let scan = Scan::new(&*file, seal, 0, *bytes);
            let mut defined = BTreeSet::new();
            load_mirrors(fs, dir, segment.generation, seal, |id, _| {
                defined.insert(id);
            })?;
            let ending = Ending::of(scan, segment.first, known, &defined)?;
            tail.end = tail.end.furthest(ending.end);
            if tail.cut.is_none() && tail.litter.is_empty() {
                let end = ending.position;
                if ending.last.is_some() {
                    if let Some((segment, _)) = self.segments.back_mut() {
                        (segment.bytes, segment.used) = (end, end);
                    }
                    tail.cut = Some(Cut { first, end, unsure_from: ending.unsure_from });
                }
            }
            if ending.damaged {
                tail.problems.push(format!("{} has unreadable records", path.display()));
                if let Some((segment, _)) = self.segments.back_mut() {
                    segment.damaged = true;
                }
            }
            if let Some(last) = ending.last {
                (tail.gap_from, tail.era) = (Some(last.gap_from), ending.era);
                break;
            }
            // What is older was synced before this one was begun.
            known = known.max(first);
            tail.litter.push(path);
            self.segments.pop_back();
        }
        Ok(tail)
    }
}

fn key(payload: &[u8]) -> Option<ObjectKey> {
    let mut reader = Reader(payload);
    reader.bytes(20, "identity").ok()?;
    Some(ObjectKey::new(reader.text("namespace").ok()?, reader.text("name").ok()?))
}

/// Where a log ends.
#[derive(Default)]
struct Tail {
    end: Place,
    cut: Option<Cut>,
    litter: Vec<PathBuf>,
    gap_from: Option<UnixNanos>,
    /// Of the clock that this is by, if it was not set.
    era: Option<u32>,
    problems: Vec<String>,
}

/// Where the good frames of the newest segment end.
#[derive(Default)]
struct Ending {
    end: Place,
    position: u64,
    unsure_from: u64,
    /// The last record.
    last: Option<Header>,
    /// Of its clock, if that was not set.
    era: Option<u32>,
    damaged: bool,
}

impl Ending {
    /// Invalid bytes with nothing valid behind them are what a write was cut off in. With
    /// something behind them that was written when they were durable, they are rot.
    ///
    /// A record whose point list is not there was cut off as well: lists are synced first.
    fn of(
        mut scan: Scan<'_>,
        first: Place,
        known: u64,
        defined: &BTreeSet<DefinitionId>,
    ) -> io::Result<Self> {
        let mut spots = Vec::new();
        let mut committed = known;
        while let Some(spot) = scan.next()? {
            let kind = spot.found.header.kind;
            let payload = scan.payload(&spot)?;
            let batch = payload.filter(|_| kind == Kind::Batch).map(Encoded::new);
            let known = |encoded: &Encoded<'_>| defined.contains(&encoded.preamble.definition);
            let intact = match &batch {
                Some(encoded) => encoded.as_ref().is_ok_and(known),
                None => payload.is_some(),
            };
            let era = batch.and_then(Result::ok).filter(Encoded::is_unsynced);
            let era = era.map(|encoded| encoded.preamble.era);
            committed = committed.max(spot.found.header.committed_to);
            spots.push((spot, intact, era));
        }
        let mut ending = Self { end: first, unsure_from: u64::MAX, ..Self::default() };
        for (spot, intact, era) in spots {
            let header = spot.found.header;
            if header.kind == Kind::Head {
                ending.position = spot.end();
                continue;
            }
            if header.offset < ending.end.offset {
                continue;
            }
            if spot.after_damage && ending.end.offset >= committed {
                break;
            }
            if !intact && header.offset >= committed {
                break;
            }
            ending.damaged |= spot.after_damage || !intact;
            if header.offset >= committed {
                ending.unsure_from = ending.unsure_from.min(spot.position);
            }
            let place = Place { offset: header.offset, number: header.number };
            ending.end = place.after(u64::from(header.samples));
            ending.position = spot.end();
            (ending.last, ending.era) = (Some(header), era);
        }
        ending.unsure_from = ending.unsure_from.min(ending.position);
        Ok(ending)
    }
}

impl State {
    fn new(meta: Meta, next: Place) -> Self {
        Self {
            settings: UNBOUNDED,
            next,
            visible: next,
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_frames: 0,
            longest_pending: 0,
            writing: 0,
            degraded: false,
            handed_limit: 0,
            tail: VecDeque::new(),
            tail_from: next.offset,
            tail_bytes: 0,
            last_burst: 0,
            tail_grew: false,
            segments: VecDeque::new(),
            other_bytes: 0,
            thinning: None,
            share: u64::MAX,
            room: 0,
            sinks: BTreeMap::new(),
            lost_cursors: BTreeMap::new(),
            discarded: Vec::new(),
            definitions: Definitions::default(),
            meta,
            gap_from: None,
            former_checkpoint: true,
            gap_to: None,
            captured: 0,
            live_rate: 0,
            seen_at: 0,
            rated: None,
        }
    }

    /// Where a sink starts whose position is lost: everything that is left is sent again.
    pub(super) fn oldest_place(&self) -> Place {
        self.segments.front().map_or(self.next, |s| s.first)
    }
}
