//! `overflow: Thin`: the oldest segment is written again without every second record of each
//! device whose samples are all Good. Where records were, a mark says how many samples went.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use lineside_core::{Origin, StatusCode};
use lineside_crds::model::ObjectKey;

use super::files;
use super::segment::Segment;
use super::write::Writer;
use super::{Log, State};
use crate::codec::Encoded;
use crate::definition::DefinitionId;
use crate::frame::{Header, Kind, Seal};
use crate::fs::{File, Open};
use crate::ledger::DropReason;
use crate::replace::{replace, temporary};
use crate::scan::Scan;
use crate::settled::Place;

/// Rounds of a segment that cannot be thinned any more.
const SPENT: u32 = u8::MAX as u32;

/// What has to be saved for another round to be worth it: one part in so many.
const WORTH: u64 = 8;

impl Log {
    /// Thins one segment; false when there is none that it would make smaller. Until it is done
    /// no sink begins with that segment.
    pub(super) fn thin_one(&self, writer: &mut Writer) -> io::Result<bool> {
        loop {
            let Some((segment, end)) = self.state().begin_thinning() else { return Ok(false) };
            let first = segment.first.offset;
            let result = self.thin_segment(&segment, end).and_then(|thinned| match thinned {
                Some(thinned) => {
                    self.replace_segment(writer, &thinned)?;
                    Ok(Some(thinned.segment))
                }
                None => Ok(None),
            });
            let mut state = self.state();
            state.thinning = None;
            let known = state.segments.iter_mut().find(|s| s.first.offset == first);
            match (&result, known) {
                (Ok(Some(thinned)), Some(known)) => *known = thinned.clone(),
                (_, Some(known)) => known.rounds = SPENT,
                (_, None) => {}
            }
            drop(state);
            // Sinks that wait for the segment are told when the commit is over.
            writer.freed = true;
            if result?.is_some() {
                return Ok(true);
            }
        }
    }

    /// The bytes of a segment without every second good record; `None` when that saves too little.
    fn thin_segment(&self, segment: &Segment, end: Place) -> io::Result<Option<Thinned>> {
        let file =
            self.shared.fs.open(&files::path(&self.dir, segment.first.offset), Open::Read)?;
        let mut scan = Scan::new(&*file, &self.seal, 0, file.len()?);
        let mut rewriting = Rewriting::new(&self.seal);
        let mut next = segment.first.offset;
        while let Some(spot) = scan.next()? {
            let header = spot.found.header;
            let Some(payload) = scan.payload(&spot)? else { return Ok(None) };
            if spot.after_damage {
                return Ok(None);
            }
            if header.kind == Kind::Head || header.offset < next {
                continue;
            }
            if header.offset >= end.offset {
                break;
            }
            next = header.offset + 1;
            rewriting.take(&header, payload);
        }
        rewriting.finish();
        let thinned = segment.thinned + rewriting.removed;
        let rounds = segment.rounds + 1;
        let first = Header {
            kind: Kind::Head,
            flags: 0,
            samples: 0,
            offset: segment.first.offset,
            number: segment.first.number,
            captured_at: 0,
            gap_from: 0,
            committed_to: 0,
        };
        let (count, round) = (u32::try_from(thinned).ok(), u8::try_from(rounds).ok());
        let (Some(count), Some(round)) = (count, round) else { return Ok(None) };
        let mut bytes = self.head(&first, count, round, segment.begun_at, end.offset);
        bytes.append(&mut rewriting.out);
        let length = bytes.len() as u64;
        if length + segment.bytes / WORTH > segment.bytes {
            return Ok(None);
        }
        let segment = Segment { bytes: length, used: length, thinned, rounds, ..segment.clone() };
        Ok(Some(Thinned { segment, bytes }))
    }

    fn replace_segment(&self, writer: &mut Writer, thinned: &Thinned) -> io::Result<()> {
        let path = files::path(&self.dir, thinned.segment.first.offset);
        let write = |file: &dyn File| file.write_at(&thinned.bytes, 0);
        let written = replace(&*self.shared.fs, &path, write);
        if written.is_err() {
            writer.litter.push(temporary(&path));
        }
        written.map(|_| ())
    }
}

/// A segment as it is to be.
struct Thinned {
    segment: Segment,
    bytes: Vec<u8>,
}

/// The frames of a segment that is written again.
struct Rewriting<'a> {
    seal: &'a Seal,
    out: Vec<u8>,
    /// Of each origin, whether its last good record was removed.
    removed_last: BTreeMap<DefinitionId, bool>,
    /// The mark for what was removed since the last frame that stays.
    mark: Option<Header>,
    /// Samples removed in this round.
    removed: u64,
    stand_in: Arc<Origin>,
}

impl<'a> Rewriting<'a> {
    fn new(seal: &'a Seal) -> Self {
        let key = ObjectKey::new("", "");
        let stand_in = Origin::new(key, None, Vec::new().into(), Vec::new().into());
        let (removed_last, stand_in) = (BTreeMap::new(), Arc::new(stand_in));
        Self { seal, out: Vec::new(), removed_last, mark: None, removed: 0, stand_in }
    }

    fn take(&mut self, header: &Header, payload: &[u8]) {
        let thinned_before =
            header.kind == Kind::Dropped && header.flags == DropReason::Thinned.to_disk();
        if thinned_before {
            self.note(header);
        } else if header.kind == Kind::Batch && self.gives_way(header, payload) {
            self.removed += u64::from(header.samples);
            self.note(header);
        } else {
            self.finish();
            self.seal.put(&mut self.out, header, payload);
        }
    }

    fn gives_way(&mut self, header: &Header, payload: &[u8]) -> bool {
        let Ok(encoded) = Encoded::new(payload) else { return false };
        let definition = encoded.preamble.definition;
        let batch = encoded.batch(header.samples as usize, self.stand_in.clone(), None);
        let good = batch.is_ok_and(|b| b.iter().all(|s| s.status == StatusCode::GOOD));
        if !good {
            return false;
        }
        // The first one goes, so that of two there is always the newer one left.
        let removed_last = self.removed_last.entry(definition).or_default();
        *removed_last = !*removed_last;
        *removed_last
    }

    fn note(&mut self, header: &Header) {
        match &mut self.mark {
            Some(mark) => mark.samples = mark.samples.saturating_add(header.samples),
            none => {
                let (kind, flags) = (Kind::Dropped, DropReason::Thinned.to_disk());
                *none = Some(Header { kind, flags, ..*header });
            }
        }
    }

    fn finish(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.seal.put(&mut self.out, &mark, &[]);
        }
    }
}

impl State {
    /// The oldest segment that was thinned least, if every sink has settled all or nothing of it.
    fn next_to_thin(&self) -> Option<(Segment, Place)> {
        let candidates = self.segments.iter().enumerate().filter_map(|(index, segment)| {
            let end = self.end_of_segment(index);
            let whole = self.is_droppable(index) && !segment.damaged && segment.rounds < SPENT;
            let fits = whole && self.sinks.values().all(|s| s.has_all_or_nothing(segment, end));
            fits.then(|| (segment.clone(), end))
        });
        candidates.min_by_key(|(segment, _)| (segment.rounds, segment.first.offset))
    }

    fn begin_thinning(&mut self) -> Option<(Segment, Place)> {
        let (segment, end) = self.next_to_thin()?;
        self.thinning = Some(segment.first.offset);
        self.forget_tail_below(end);
        for sink in self.sinks.values_mut() {
            sink.forget_read_ahead();
        }
        Some((segment, end))
    }

    fn forget_tail_below(&mut self, end: Place) {
        while self.tail.front().is_some_and(|e| e.place.offset < end.offset) {
            self.forget_tail();
        }
        self.tail_from = self.tail_from.max(end.offset);
    }
}
