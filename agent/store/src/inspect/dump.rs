//! All records of a store, one after the other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use lineside_core::sink::RecordId;
use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::ObjectKey;

use super::{Layout, LogLayout};
use crate::entry::Content;
use crate::error::StoreError;
use crate::fields::Reader;
use crate::frame::Kind;
use crate::fs::{Fs, Open};
use crate::ledger::DropReason;
use crate::log::{decode_entry, files};
use crate::scan::Scan;

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Samples.
    Batch(Arc<Batch>),
    /// Nothing was captured in between, ns since 1970.
    Gap {
        /// Start.
        from: UnixNanos,
        /// End.
        to: UnixNanos,
    },
    /// Times of an era are to be moved.
    ClockCorrection {
        /// The era.
        era: u32,
        /// By so many nanoseconds.
        delta: i64,
    },
    /// Samples that are not there.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many.
        samples: u64,
    },
    /// It is damaged.
    Unreadable,
}

/// A record of a store.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// The pipeline; `None` when the log's own file is damaged.
    pub pipeline: Option<ObjectKey>,
    /// Its identity.
    pub id: RecordId,
    /// Samples of the log before it.
    pub number: u64,
    /// When it was taken in, ns since 1970.
    pub captured_at: UnixNanos,
    /// What it holds.
    pub payload: Payload,
}

/// Iterator over the records of a store; see [`dump`].
pub struct Dump {
    fs: Arc<dyn Fs>,
    id: Arc<str>,
    logs: VecDeque<LogLayout>,
    /// The next segment of the first of them.
    segment: usize,
    ready: VecDeque<Dumped>,
}

/// All records of the store in `dir`, log by log, oldest first.
///
/// # Errors
/// There is no store, or it cannot be listed.
pub fn dump(fs: Arc<dyn Fs>, dir: &Path) -> Result<Dump, StoreError> {
    let layout = Layout::read(&*fs, dir)?;
    Ok(Dump { fs, id: layout.id, logs: layout.logs.into(), segment: 0, ready: VecDeque::new() })
}

impl Iterator for Dump {
    type Item = Result<Dumped, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(Ok(record));
            }
            let log = self.logs.front()?;
            let Some(first) = log.segments.get(self.segment) else {
                self.logs.pop_front();
                self.segment = 0;
                continue;
            };
            let read = read_segment(&*self.fs, &self.id, log, *first, log.end_of(self.segment));
            self.segment += 1;
            match read {
                Ok(records) => self.ready.extend(records),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn read_segment(
    fs: &dyn Fs,
    store: &Arc<str>,
    log: &LogLayout,
    first: u64,
    end: u64,
) -> Result<Vec<Dumped>, StoreError> {
    let path = files::path(&log.dir, first);
    let mut records = Vec::new();
    let file = match fs.open(&path, Open::Read) {
        // The agent has removed it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(records),
        other => other.map_err(StoreError::io("open", &path))?,
    };
    let origins = log.origins(fs, first);
    let origins = origins.map_err(StoreError::io("read the definitions in", &log.dir))?;
    let length = file.len().map_err(StoreError::io("read", &path))?;
    let mut scan = Scan::new(&*file, &log.seal, 0, length);
    let mut next = first;
    while let Some(spot) = scan.next().map_err(StoreError::io("read", &path))? {
        let header = spot.found.header;
        if header.kind == Kind::Head || header.offset < next {
            continue;
        }
        if header.offset >= end {
            break;
        }
        next = header.offset + 1;
        let payload = scan.payload(&spot).map_err(StoreError::io("read", &path))?;
        let found = payload.and_then(|p| {
            let meta = log.meta.as_ref();
            let entry = decode_entry(&spot, p, meta, |n| origins.get(&n).cloned())?;
            Some(match entry.content {
                Content::Batch(batch) => Payload::Batch(batch),
                Content::Dropped(reason) => Payload::Dropped { reason, samples: entry.samples },
                Content::Mark | Content::End => mark(header.kind, p)?,
            })
        });
        let (stream, offset, part) = (log.stream, header.offset, None);
        records.push(Dumped {
            pipeline: log.meta.as_ref().map(|m| m.key.clone()),
            id: RecordId { store: store.clone(), stream, offset, part },
            number: header.number,
            captured_at: header.captured_at,
            payload: found.unwrap_or(Payload::Unreadable),
        });
    }
    Ok(records)
}

fn mark(kind: Kind, payload: &[u8]) -> Option<Payload> {
    let mut reader = Reader(payload);
    if kind == Kind::Gap {
        let (from, to) = (reader.i64("from").ok()?, reader.i64("to").ok()?);
        return Some(Payload::Gap { from, to });
    }
    let (era, delta) = (reader.u32("era").ok()?, reader.i64("delta").ok()?);
    Some(Payload::ClockCorrection { era, delta })
}
