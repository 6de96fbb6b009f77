//! What the source of a log remembers beside what it has handed over: memory of its transforms,
//! opaque here. It is kept with the position at which it was taken, and never before everything
//! below that position is on disk: what is in it as handed over is there.

use std::io;
use std::path::Path;
use std::time::Duration;

use lineside_core::{Batch, UnixNanos};

use super::Log;
use super::decode::decode_entry;
use super::files::CHECKPOINT;
use super::reading::{Origins, Part};
use crate::entry::Content;
use crate::error::StoreError;
use crate::fields::Reader;
use crate::frame::{Kind, Seal};
use crate::fs::{Fs, Open};
use crate::scan::Scan;
use crate::sealed;

/// Most bytes of the log that are read again because they were written after a checkpoint.
const MOST_BEHIND: u64 = 32 << 20;

/// A memory and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Offset of the record that would have come next.
    pub position: u64,
    /// The memory.
    pub body: Vec<u8>,
}

impl Checkpoint {
    /// Longest body.
    pub const MOST: usize = 16 << 20;
}

impl Log {
    /// Offset of the next record: a checkpoint is taken with the one that this gave before.
    pub fn position(&self) -> u64 {
        self.state().next.offset
    }

    /// Writes a checkpoint in the place of the one before. `false`: not now, for not everything
    /// below `needed` is on disk yet; that is the [`Self::position`] when everything had been
    /// appended that the memory takes for handed over.
    ///
    /// # Errors
    /// The disk refuses, or it is longer than [`Checkpoint::MOST`]; the one before is still there.
    pub fn save_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        needed: u64,
    ) -> Result<bool, StoreError> {
        let refused = |error| StoreError::io("write", self.dir.join(CHECKPOINT))(error);
        if checkpoint.body.len() > Checkpoint::MOST {
            return Err(refused(io::ErrorKind::FileTooLarge.into()));
        }
        // Nobody removes the log meanwhile.
        let mut writer = self.writer();
        let written = {
            let state = self.state();
            state.pending.front().map_or(state.next.offset, |p| p.entry.place.offset)
        };
        if written < needed {
            return Ok(false);
        }
        // Written is not synced, neither by a Relaxed log nor by a process that was killed.
        self.sync_all(&mut writer).map_err(refused)?;
        let mut bytes = checkpoint.position.to_le_bytes().to_vec();
        bytes.extend_from_slice(&checkpoint.body);
        let fs = &*self.shared.fs;
        sealed::replace(fs, &self.dir, CHECKPOINT, &self.seal, &bytes).map_err(refused)?;
        self.state().former_checkpoint = false;
        Ok(true)
    }

    /// Forgets the checkpoint.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_checkpoint(&self) -> Result<(), StoreError> {
        let _writer = self.writer();
        let path = self.dir.join(CHECKPOINT);
        match self.shared.fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint that a former process left; given once, and not after one of this process.
    ///
    /// # Errors
    /// The disk refuses, or what is there is damaged.
    pub fn take_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        if !std::mem::take(&mut self.state().former_checkpoint) {
            return Ok(None);
        }
        read_checkpoint(&*self.shared.fs, &self.dir, &self.seal)
    }

    /// Shows every batch from `position` on. `false` if some are not shown, because they cannot be
    /// read, are no longer there, or are too many.
    pub fn behind(&self, position: u64, mut show: impl FnMut(&Batch)) -> bool {
        let (parts, meta, gone) = {
            let state = self.state();
            let first = state.segments.front().map_or(state.next.offset, |s| s.first.offset);
            let gone = first > position && state.next.offset > position;
            let all = 0..state.segments.len();
            let parts = all.filter_map(|i| Part::of(&state, &self.dir, i));
            let behind = parts.filter(|part| part.end > position).collect::<Vec<_>>();
            (behind, state.meta.clone(), gone)
        };
        let mut origins = Origins::new(self);
        let (mut bytes, mut whole) = (0, !gone);
        for part in &parts {
            let mut look = || -> io::Result<bool> {
                let file = self.shared.fs.open(&part.path, Open::Read)?;
                let length = file.len()?.min(part.length);
                let mut scan = Scan::new(&*file, &self.seal, 0, length);
                let mut whole = true;
                while let Some(spot) = scan.next()? {
                    let header = spot.found.header;
                    let wanted =
                        header.kind == Kind::Batch && (position..part.end).contains(&header.offset);
                    if header.kind != Kind::Head && header.offset >= part.end {
                        break;
                    }
                    let is_new = header.offset >= position;
                    whole &= !is_new || !(spot.after_damage || header.kind == Kind::Dropped);
                    if !wanted {
                        continue;
                    }
                    bytes += spot.found.size() as u64;
                    if bytes > MOST_BEHIND {
                        return Ok(false);
                    }
                    let payload = scan.payload(&spot)?;
                    let entry = payload.and_then(|payload| {
                        let origin = |id| origins.get(id, part.generation);
                        decode_entry(&spot, payload, Some(&meta), origin)
                    });
                    match entry.map(|entry| entry.content) {
                        Some(Content::Batch(batch)) => show(&batch),
                        _ => whole = false,
                    }
                }
                Ok(whole)
            };
            whole &= look().unwrap_or(false);
        }
        whole
    }

    /// Data is missing for longer than the log knows by itself: the gap that the first record
    /// after a start declares begins there at the latest.
    pub fn missing_since(&self, from: UnixNanos) {
        let mut state = self.state();
        state.gap_from = Some(state.gap_from.map_or(from, |known| known.min(from)));
    }

    /// The same, when only the length is known by which it is more.
    pub fn missing_for(&self, longer: Duration) {
        let longer = i64::try_from(longer.as_nanos()).unwrap_or(i64::MAX);
        let mut state = self.state();
        state.gap_from = state.gap_from.map(|known| known.saturating_sub(longer));
    }
}

/// The checkpoint in the directory of a log, if there is one.
///
/// # Errors
/// The disk refuses, or what is there is damaged.
pub(crate) fn read_checkpoint(
    fs: &dyn Fs,
    dir: &Path,
    seal: &Seal,
) -> Result<Option<Checkpoint>, StoreError> {
    let path = dir.join(CHECKPOINT);
    let bytes = match sealed::read(fs, &path, sealed::PREFIX + 8 + Checkpoint::MOST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let body = sealed::decode(seal, &bytes).map(|(_, body)| body);
    let checkpoint = body.and_then(|body| {
        let mut reader = Reader(body);
        let position = reader.u64("position").ok()?;
        Some(Checkpoint { position, body: reader.0.to_vec() })
    });
    checkpoint.map(Some).ok_or(StoreError::Unreadable(path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lineside_core::sink::Outcome;
    use lineside_core::{Origin, TimeQuality, Value};
    use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
    use tempfile::TempDir;

    use super::*;
    use crate::fs::RealFs;
    use crate::inspect::verify;
    use crate::log::{Now, Stamp, Take};
    use crate::volume::{Options, Volume};

    const NOW: Now = Now { unix: 1_764_000_000_000_000_000 };

    fn open(dir: &TempDir) -> (Arc<Volume>, Arc<Log>) {
        let options = Options { identity: Some([7; 16]), ..Options::default() };
        let (volume, _) =
            Volume::open(Arc::new(RealFs), &dir.path().join("store"), options).unwrap();
        let settings = Store {
            durability: Durability::Durable,
            max_bytes: 1 << 30,
            max_age: None,
            overflow: Overflow::DropOldest,
        };
        let log = volume.open_log(&ObjectKey::new("plant", "main"), settings).unwrap();
        log.add_sink(&"a".into(), b"", Drain::InOrder).unwrap();
        (volume, log)
    }

    fn append(log: &Log, value: u64) {
        let origin = Origin::new(
            ObjectKey::new("plant", "press"),
            None,
            vec!["counter".into()].into(),
            Vec::new().into(),
        );
        let mut batch = Batch::with_capacity(Arc::new(origin), 1, TimeQuality::Synced, 1);
        batch.push_good(0, Value::U64(value), NOW.unix - 50);
        let stamp = Stamp { captured_at: NOW.unix, gap_from: Some(NOW.unix - 5) };
        log.append(Arc::new(batch), stamp, None);
    }

    fn behind(log: &Log, position: u64) -> Vec<Value> {
        let mut values = Vec::new();
        assert!(log.behind(position, |batch| {
            values.extend(batch.iter().map(|sample| sample.value.clone()));
        }));
        values
    }

    fn checkpoint(log: &Log, body: &str) -> Checkpoint {
        Checkpoint { position: log.position(), body: body.into() }
    }

    #[test]
    fn a_checkpoint_is_kept_once_all_before_it_is_on_disk_and_tells_what_came_after() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, log) = open(&dir);
        assert_eq!(log.take_checkpoint().unwrap(), None);
        append(&log, 1);
        let first = checkpoint(&log, "one");
        append(&log, 2);
        assert!(!log.save_checkpoint(&first, first.position).unwrap(), "1 is not on disk");
        volume.commit(NOW);
        assert!(log.save_checkpoint(&first, first.position).unwrap());
        append(&log, 3);
        volume.commit(NOW);
        append(&log, 4);
        drop((volume, log));

        let (volume, log) = open(&dir);
        assert_eq!(log.take_checkpoint().unwrap(), Some(first.clone()));
        assert_eq!(behind(&log, first.position), [Value::U64(2), Value::U64(3)]);
        assert_eq!(log.take_checkpoint().unwrap(), None, "it was taken");
        drop((volume, log));
        let (_volume, log) = open(&dir);
        assert!(log.save_checkpoint(&checkpoint(&log, "two"), 0).unwrap());
        assert_eq!(log.take_checkpoint().unwrap(), None, "it is of this process");
    }

    #[test]
    fn a_checkpoint_that_rots_is_an_error_and_one_that_is_removed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, log) = open(&dir);
        assert!(log.save_checkpoint(&checkpoint(&log, "body"), 0).unwrap());
        let path = log.dir.join(CHECKPOINT);
        drop((volume, log));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (volume, log) = open(&dir);
        assert!(log.take_checkpoint().is_err());
        let found = verify(&RealFs, &dir.path().join("store")).unwrap();
        assert!(found.iter().any(|finding| finding.path == path), "{found:?}");
        log.remove_checkpoint().unwrap();
        drop((volume, log));
        assert_eq!(open(&dir).1.take_checkpoint().unwrap(), None);
    }

    #[test]
    fn what_was_delivered_and_removed_after_a_checkpoint_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, log) = open(&dir);
        let first = checkpoint(&log, "one");
        append(&log, 1);
        volume.commit(NOW);
        drop((volume, log));
        // A start begins a new segment, and what is delivered of the one before is removed.
        let (volume, log) = open(&dir);
        append(&log, 2);
        volume.commit(NOW);
        assert!(log.behind(first.position, |_| {}));
        log.start_session("a");
        loop {
            match log.take("a", NOW) {
                Take::Record { record, .. } => {
                    log.settle("a", record.id.offset, &Outcome::delivered(record.batch.len()));
                }
                Take::Read(reading) => reading.run(),
                Take::Wait | Take::WaitUntil(_) => break,
            }
        }
        volume.commit(Now { unix: NOW.unix + 5_000_000_000 });
        assert!(!log.behind(first.position, |_| {}));
    }

    #[test]
    fn data_that_is_missing_for_longer_widens_the_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, log) = open(&dir);
        append(&log, 1);
        volume.commit(NOW);
        drop((volume, log));
        let (volume, log) = open(&dir);
        log.missing_since(NOW.unix - 100);
        log.missing_since(NOW.unix);
        append(&log, 2);
        volume.commit(NOW);
        // It ends with the capture, however old the first samples are.
        let gap = *log.gaps().last().unwrap();
        assert_eq!((gap.from, gap.to), (NOW.unix - 100, NOW.unix));
    }
}
