//! Bits that flip while no process runs. Reads the frames of segments by the description of the
//! format, without the store's own code.

use std::path::{Path, PathBuf};

use crate::dice::Dice;
use crate::disk::SimFs;
use crate::plan::Rot;

/// Bytes of a frame's header.
const HEADER: usize = 64;
const MAGIC: &[u8; 4] = b"LSF1";
/// Kind byte of a record with samples.
const BATCH: u8 = 2;

/// A record whose payload was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    pub stream: u32,
    pub offset: u64,
}

struct Frame {
    at: usize,
    length: usize,
    kind: u8,
    offset: u64,
    committed_to: u64,
}

/// Flips one to three bits; tells the records whose payload was hit. `is_rotten` tells those that
/// were hit before and are spared, for a bit that is turned round twice is a good one.
pub fn flip(disk: &SimFs, dice: &mut Dice, rot: Rot, is_rotten: impl Fn(Hit) -> bool) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    for _ in 0..dice.within(1..=3) {
        match rot {
            Rot::None => {}
            Rot::Payloads => {
                let spared = |hit| is_rotten(hit) || hits.contains(&hit);
                hits.extend(flip_payload(disk, dice, spared));
            }
            Rot::Anything => flip_any(disk, dice),
        }
    }
    hits
}

fn flip_payload(disk: &SimFs, dice: &mut Dice, is_spared: impl Fn(Hit) -> bool) -> Option<Hit> {
    let segments = files(disk, |name| name.ends_with(".seg"));
    if segments.is_empty() {
        return None;
    }
    let dir = dice.pick(&segments).parent()?.to_owned();
    let stream = stream(&dir)?;
    let all: Vec<(&PathBuf, Frame)> = segments
        .iter()
        .filter(|path| path.starts_with(&dir))
        .flat_map(|path| frames(&disk.content(path)).into_iter().map(move |f| (path, f)))
        .collect();
    // Behind what was committed for sure lies perhaps a torn write, whose bytes nobody counts on;
    // and an offset that is there twice was written again.
    let committed = all.iter().map(|(_, f)| f.committed_to).max()?;
    let alone = |f: &Frame| {
        all.iter().filter(|(_, g)| g.offset == f.offset && g.kind == BATCH).count() == 1
    };
    let batches: Vec<_> = all
        .iter()
        .filter(|(_, f)| f.kind == BATCH && f.length > 0 && f.offset < committed && alone(f))
        .filter(|(_, f)| !is_spared(Hit { stream, offset: f.offset }))
        .collect();
    if batches.is_empty() {
        return None;
    }
    let (path, frame) = dice.pick(&batches);
    let at = frame.at + HEADER + dice.below(frame.length);
    disk.flip(path, at, dice.below(8) as u8);
    Some(Hit { stream, offset: frame.offset })
}

fn flip_any(disk: &SimFs, dice: &mut Dice) {
    let files = files(disk, |name| {
        name.ends_with(".seg") || name.contains(".def.") || name.ends_with(".cursor")
    });
    if files.is_empty() {
        return;
    }
    let path = dice.pick(&files);
    let length = disk.content(path).len();
    // Where something is.
    let most = if dice.chance(80) { length.min(4096) } else { length };
    let at = dice.below(most);
    disk.flip(path, at, dice.below(8) as u8);
}

fn files(disk: &SimFs, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let name = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(&wanted);
    disk.files().into_iter().filter(name).collect()
}

fn stream(dir: &Path) -> Option<u32> {
    dir.file_name()?.to_str()?.strip_prefix("log-")?.parse().ok()
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..at + HEADER)
        && header.starts_with(MAGIC)
    {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let (offset, committed_to) = (long(24), long(56));
        frames.push(Frame { at, length, kind: header[16], offset, committed_to });
        at += HEADER + length.next_multiple_of(8);
    }
    frames
}
