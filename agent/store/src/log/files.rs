//! How the files of a log are named. Pure.

use std::path::{Path, PathBuf};

pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

pub(crate) fn definition_paths(dir: &Path, first: u64) -> [PathBuf; 2] {
    ["a", "b"].map(|mirror| dir.join(format!("{first:020}.def.{mirror}")))
}

pub(crate) fn cursor_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("sink-{number}.cursor"))
}

pub(crate) fn dead_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("sink-{number}.dead"))
}

/// Name of the checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// A file of a log by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Definitions(u64),
    Cursor(u32),
    Dead(u32),
    Meta,
    Checkpoint,
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
            "" if stem == CHECKPOINT => Some(Self::Checkpoint),
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
        assert_eq!(Name::parse(CHECKPOINT), Some(Name::Checkpoint));
        assert_eq!(Name::parse("log.new"), Some(Name::Temporary));
        assert_eq!(Name::parse("00000000000000000017.seg.corrupt"), Some(Name::Damaged));
        assert_eq!(Name::parse("notes.txt"), None);
    }
}
