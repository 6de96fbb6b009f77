//! From frames on disk to records and point lists.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lineside_core::Origin;

use super::files;
use crate::codec::Encoded;
use crate::definition::{self, DefinitionId};
use crate::entry::{Content, Entry};
use crate::fields::Reader;
use crate::frame::{Kind, Seal};
use crate::fs::{Fs, Open};
use crate::ledger::DropReason;
use crate::meta::Meta;
use crate::scan::{Scan, Spot};
use crate::settled::Place;

/// The record of a frame; `None` when its payload makes no sense.
pub(crate) fn decode_entry(
    spot: &Spot,
    payload: &[u8],
    meta: Option<&Meta>,
    origin: impl FnOnce(DefinitionId) -> Option<Arc<Origin>>,
) -> Option<Entry> {
    let header = spot.found.header;
    let place = Place { offset: header.offset, number: header.number };
    let mut captured_at = header.captured_at;
    let mut bytes = 0;
    let content = match header.kind {
        Kind::Batch => {
            let encoded = Encoded::new(payload).ok()?;
            let preamble = encoded.preamble;
            let correction = meta
                .filter(|_| encoded.is_unsynced())
                .and_then(|meta| meta.correction_of(preamble.era));
            captured_at = captured_at.saturating_add(correction.unwrap_or_default());
            let origin = origin(preamble.definition)?;
            let batch = encoded.batch(header.samples as usize, origin, correction).ok()?;
            bytes = batch.memory_bytes();
            Content::Batch(Arc::new(batch))
        }
        Kind::Gap | Kind::ClockCorrection => Content::Mark,
        Kind::Dropped => Content::Dropped(DropReason::from_disk(header.flags)),
        _ => return None,
    };
    Some(Entry { place, samples: u64::from(header.samples), captured_at, content, bytes })
}

/// Reads a file of definitions; gives the position behind its last good frame, and whether all
/// of it was good.
pub(crate) fn load_definitions(
    fs: &dyn Fs,
    path: &Path,
    seal: &Seal,
    mut found: impl FnMut(DefinitionId, Arc<Origin>),
) -> io::Result<(u64, bool)> {
    let file = fs.open(path, Open::Read)?;
    let length = file.len()?;
    let mut scan = Scan::new(&*file, seal, 0, length);
    let (mut end, mut good) = (0, true);
    while let Some(spot) = scan.next()? {
        good &= !spot.after_damage;
        let Some(payload) = scan.payload(&spot)? else {
            good = false;
            continue;
        };
        end = spot.end();
        if spot.found.header.kind == Kind::Definition
            && let Ok(origin) = definition::decode(&mut Reader(payload))
        {
            let number = u32::try_from(spot.found.header.offset).unwrap_or(u32::MAX);
            found(DefinitionId::new(number, payload), Arc::new(origin));
        }
    }
    Ok((end, good && end == length))
}

/// Reads both mirrors of a generation: what one cannot give, the other may. That a disk refuses
/// to be read is no damage: it is an error, unless the other mirror is whole.
pub(crate) fn load_mirrors(
    fs: &dyn Fs,
    dir: &Path,
    generation: u64,
    seal: &Seal,
    mut found: impl FnMut(DefinitionId, Arc<Origin>),
) -> io::Result<()> {
    let (mut whole, mut refused) = (false, None);
    for path in files::definition_paths(dir, generation) {
        match load_definitions(fs, &path, seal, &mut found) {
            Ok((_, good)) => whole |= good,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if !whole => Err(error),
        _ => Ok(()),
    }
}
