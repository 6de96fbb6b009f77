//! Segments: what is known of them in memory, and how their files are named.

use std::path::{Path, PathBuf};

use lineside_core::UnixNanos;

use crate::settled::Place;

/// Smallest and largest segment.
const LEAST: u64 = 64 * 1024;
const MOST: u64 = 16 * 1024 * 1024;

/// Bytes of a segment of a log with this bound.
pub(super) fn size_for(max_bytes: u64) -> u64 {
    (max_bytes / 64).clamp(LEAST, MOST).next_multiple_of(4096)
}

/// A segment on disk. It ends where the next one starts.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: Place,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// The definitions it refers to: those of the file with this offset.
    pub(super) generation: u64,
    /// When it was begun.
    pub(super) begun_at: UnixNanos,
    /// Something in it is unreadable.
    pub(super) damaged: bool,
    /// Samples that `Thin` has taken out of it.
    pub(super) thinned: u64,
    /// How often it was thinned.
    pub(super) rounds: u32,
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

pub(super) fn definition_paths(dir: &Path, first: u64) -> [PathBuf; 2] {
    ["a", "b"].map(|mirror| dir.join(format!("{first:020}.def.{mirror}")))
}

pub(super) fn cursor_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("sink-{number}.cursor"))
}

pub(super) fn dead_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("sink-{number}.dead"))
}

/// A file of a log by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Definitions(u64),
    Cursor(u32),
    Dead(u32),
    Meta,
    /// Left by a replacement that was cut off.
    Temporary,
    Damaged,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (stem, kind) = name.split_once('.').unwrap_or((name, ""));
        let sink = || stem.strip_prefix("sink-")?.parse().ok();
        if name.ends_with(".new") {
            return Some(Self::Temporary);
        }
        if name.ends_with(".corrupt") {
            return Some(Self::Damaged);
        }
        match kind {
            "seg" => stem.parse().ok().map(Self::Segment),
            "def.a" | "def.b" => stem.parse().ok().map(Self::Definitions),
            "cursor" => sink().map(Self::Cursor),
            "dead" => sink().map(Self::Dead),
            "" if stem == "log" => Some(Self::Meta),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let dir = Path::new("d");
        let name = |path: PathBuf| Name::parse(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(name(path(dir, 17)), Some(Name::Segment(17)));
        for mirror in definition_paths(dir, 17) {
            assert_eq!(name(mirror), Some(Name::Definitions(17)));
        }
        assert_eq!(name(cursor_path(dir, 3)), Some(Name::Cursor(3)));
        assert_eq!(name(dead_path(dir, 3)), Some(Name::Dead(3)));
        assert_eq!(Name::parse("log"), Some(Name::Meta));
        assert_eq!(Name::parse("log.new"), Some(Name::Temporary));
        assert_eq!(Name::parse("00000000000000000017.seg.corrupt"), Some(Name::Damaged));
        assert_eq!(Name::parse("notes.txt"), None);
    }

    #[test]
    fn a_log_has_about_sixty_four_segments_of_a_sensible_size() {
        let sizes = [1 << 20, 1 << 30, 1 << 40].map(size_for);
        assert_eq!(sizes, [64 * 1024, 16 * 1024 * 1024, 16 * 1024 * 1024]);
    }
}
