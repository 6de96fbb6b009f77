//! Reading records of a sink from disk, outside of every lock.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_core::{Origin, UnixNanos};

use super::decode::{decode_entry, load_mirrors};
use super::files;
use super::segment::Segment;
use super::session::{Resume, Which};
use super::{Log, State};
use crate::definition::DefinitionId;
use crate::entry::{Content, Entry};
use crate::frame::Kind;
use crate::fs::Open;
use crate::meta::Meta;
use crate::scan::{Scan, Spot};
use crate::settled::Place;

/// After so many failed readings in a row, what cannot be read counts as lost.
const PATIENCE: u32 = 3;

/// Until the next try after a reading that failed.
const RETRY: i64 = 1_000_000_000;

/// Most segments of one reading. What is read at once seldom spans more, and a backlog has many.
const MOST_PARTS: usize = 4;

/// A segment to read.
pub(super) struct Part {
    pub(super) path: PathBuf,
    first: u64,
    /// Its records lie below.
    pub(super) end: u64,
    /// Its frames end here at the latest; behind it lies what was never committed.
    pub(super) length: u64,
    pub(super) generation: u64,
}

impl Part {
    /// The segment at an index.
    pub(super) fn of(state: &State, dir: &Path, index: usize) -> Option<Self> {
        let segment = state.segments.get(index)?;
        Some(Self {
            path: files::path(dir, segment.first.offset),
            first: segment.first.offset,
            end: state.end_of_segment(index).offset,
            length: segment.used,
            generation: segment.generation,
        })
    }
}

/// A part of the log that a sink needs next, to be read where a disk may be waited for.
pub struct Reading {
    log: Arc<Log>,
    sink: Arc<str>,
    number: u32,
    session: u64,
    round: u64,
    which: Which,
    /// Nothing below is wanted.
    from: u64,
    parts: Vec<Part>,
    resume: Option<Resume>,
    /// Where it ends: with the last of them, or where the records in memory begin.
    end: Place,
    /// What cannot be read is passed over.
    lenient: bool,
    /// Has the clock corrections.
    meta: Box<Meta>,
    now: UnixNanos,
    has_ended: bool,
}

/// What was read.
#[derive(Default)]
struct Read {
    entries: Vec<Entry>,
    bytes: usize,
    resume: Option<Resume>,
    /// Segments with something unreadable.
    damaged: Vec<u64>,
}

impl Log {
    /// A reading for a head, which from now on waits for it.
    pub(super) fn reading(
        self: &Arc<Self>,
        state: &mut State,
        name: &str,
        which: Which,
        now: UnixNanos,
    ) -> Option<Reading> {
        let meta = Box::new(state.meta.clone());
        let from = state.sinks.get_mut(name)?.head(which)?.at.offset;
        let start = state.segments.partition_point(|s| s.first.offset <= from).saturating_sub(1);
        let in_work = |s: &&Segment| Some(s.first.offset) == state.thinning;
        let chosen = state.segments.iter().skip(start).take(MOST_PARTS);
        let stop = start + chosen.take_while(|s| !in_work(s)).count();
        let mut end = if stop == state.segments.len() {
            // With no segment left this tells the head that nothing is to be had below.
            state.visible
        } else {
            state.end_of_segment(stop.checked_sub(1).filter(|last| *last >= start)?)
        };
        // What is in memory is taken from there.
        if let Some(newer) = state.tail.front().filter(|e| e.place.offset < end.offset) {
            end = newer.place;
        }
        let sink = state.sinks.get_mut(name)?;
        let (number, name) = (sink.number, sink.cursor.name.clone());
        let (session, round) = (sink.session, sink.round);
        let head = sink.head(which)?;
        head.reading = true;
        let resume = head.resume.filter(|r| r.offset <= from);
        let lenient = head.failed >= PATIENCE;
        let parts = (start..stop)
            .filter_map(|index| Part::of(state, &self.dir, index))
            .filter(|part| part.first < end.offset)
            .map(|part| Part { end: part.end.min(end.offset), ..part })
            .collect();
        let log = self.clone();
        Some(Reading {
            log,
            sink: name,
            number,
            session,
            round,
            which,
            from,
            parts,
            resume,
            end,
            lenient,
            meta,
            now,
            has_ended: false,
        })
    }
}

impl Reading {
    /// Reads, and gives what was read to the sink's head. Then the feed is called to go on.
    pub fn run(mut self) {
        let result = self.read();
        self.end(Some(result));
    }

    /// The head waits no more, whatever was read.
    fn end(&mut self, result: Option<io::Result<Read>>) {
        self.has_ended = true;
        let mut state = self.log.state();
        let state_ref = &mut *state;
        if let Some(Ok(read)) = &result {
            for first in &read.damaged {
                if let Some(s) = state_ref.segments.iter_mut().find(|s| s.first.offset == *first) {
                    s.damaged = true;
                }
            }
        }
        if let Some(sink) = state_ref.sink_numbered(&self.sink, self.number)
            && (sink.session, sink.round) == (self.session, self.round)
            && let Some(head) = sink.head(self.which)
        {
            head.reading = false;
            match result {
                Some(Ok(read)) => {
                    head.ahead.extend(read.entries);
                    (head.resume, head.failed, head.not_before) = (read.resume, 0, None);
                }
                Some(Err(_)) => {
                    head.failed += 1;
                    head.not_before = Some(self.now.saturating_add(RETRY));
                }
                None => {}
            }
        }
        drop(state);
        self.log.changed();
    }

    fn read(&self) -> io::Result<Read> {
        let mut read = Read::default();
        let mut origins = Origins::new(&self.log);
        for part in &self.parts {
            if part.end <= self.from {
                continue;
            }
            match self.read_part(part, &mut origins, &mut read) {
                Ok(true) => return Ok(read),
                Ok(false) => {}
                // Deleted meanwhile: its samples are counted by those who do that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // What was read so far is good.
                Err(_) if !read.entries.is_empty() => return Ok(read),
                Err(error) => return Err(error),
            }
        }
        let (place, captured_at) = (self.end, UnixNanos::MAX);
        let content = Content::End;
        read.entries.push(Entry { place, samples: 0, captured_at, content, bytes: 0 });
        Ok(read)
    }

    /// Reads a segment; true when enough was read.
    fn read_part(
        &self,
        part: &Part,
        origins: &mut Origins<'_>,
        read: &mut Read,
    ) -> io::Result<bool> {
        let file = self.log.shared.fs.open(&part.path, Open::Read)?;
        let seal = &self.log.seal;
        let start = Resume { segment: part.first, position: 0, offset: part.first };
        let resume = self.resume.filter(|r| r.segment == part.first).unwrap_or(start);
        let length = file.len()?.min(part.length);
        let mut scan = Scan::new(&*file, seal, resume.position, length).leniently(self.lenient);
        let resume = read.resume.insert(resume);
        while let Some(spot) = scan.next()? {
            let header = spot.found.header;
            if header.kind != Kind::Head && header.offset >= part.end {
                break;
            }
            // Out of order is what an abandoned write has left.
            let is_record = header.kind != Kind::Head && header.offset >= resume.offset;
            if is_record && spot.after_damage {
                read.damaged.push(part.first);
            }
            if !is_record || header.offset < self.from {
                resume.pass(&spot, is_record);
                continue;
            }
            let payload = scan.payload(&spot)?;
            let entry = payload.and_then(|p| self.entry(&spot, p, part, origins));
            if let Some(error) = origins.refused.take_if(|_| entry.is_none() && !self.lenient) {
                return Err(error);
            }
            resume.pass(&spot, true);
            let Some(entry) = entry else {
                read.damaged.push(part.first);
                continue;
            };
            read.bytes += spot.found.size();
            read.entries.push(entry);
            let wanted = self.log.shared.options.read_ahead_bytes;
            // Another piece would be read for what is missing, and most of it for nothing.
            if read.bytes >= wanted || (read.bytes >= wanted / 2 && !scan.has_header()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn entry(
        &self,
        spot: &Spot,
        payload: &[u8],
        part: &Part,
        origins: &mut Origins<'_>,
    ) -> Option<Entry> {
        decode_entry(spot, payload, Some(&self.meta), |id| origins.get(id, part.generation))
    }
}

impl Resume {
    /// Goes on behind a frame that was dealt with.
    fn pass(&mut self, spot: &Spot, is_record: bool) {
        self.position = spot.end();
        if is_record {
            self.offset = spot.found.header.offset + 1;
        }
    }
}

impl Drop for Reading {
    /// One that nobody runs must not leave its head waiting.
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(None);
        }
    }
}

/// Origins by name: those in use, and those of older generations as far as they are needed.
pub(super) struct Origins<'a> {
    log: &'a Log,
    known: BTreeMap<DefinitionId, Arc<Origin>>,
    loaded: Vec<u64>,
    /// The disk refused to be read.
    refused: Option<io::Error>,
}

impl<'a> Origins<'a> {
    pub(super) fn new(log: &'a Log) -> Self {
        Self { log, known: BTreeMap::new(), loaded: Vec::new(), refused: None }
    }

    pub(super) fn get(&mut self, id: DefinitionId, generation: u64) -> Option<Arc<Origin>> {
        if let Some(origin) = self.known.get(&id) {
            return Some(origin.clone());
        }
        let in_use = self.log.state().definitions.get(id).cloned();
        if let Some(origin) = in_use {
            self.known.insert(id, origin.clone());
            return Some(origin);
        }
        if !self.loaded.contains(&generation) {
            self.loaded.push(generation);
            let (log, known) = (self.log, &mut self.known);
            let loaded =
                load_mirrors(&*log.shared.fs, &log.dir, generation, &log.seal, |id, origin| {
                    known.entry(id).or_insert(origin);
                });
            self.refused = loaded.err();
        }
        self.known.get(&id).cloned()
    }
}
