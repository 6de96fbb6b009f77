//! What the disk does wrong on purpose.

use std::collections::BTreeMap;
use std::io;

use crate::dice::Dice;

/// Operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Create,
    Open,
    List,
    Read,
    Write,
    SyncData,
    SyncDir,
    Allocate,
    SetLen,
    Rename,
    Remove,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Open,
        Self::List,
        Self::Read,
        Self::Write,
        Self::SyncData,
        Self::SyncDir,
        Self::Allocate,
        Self::SetLen,
        Self::Rename,
        Self::Remove,
    ];

    /// Whether a read-only file system refuses it. A sync it does not refuse.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Read | Self::SyncData | Self::SyncDir)
    }
}

/// How an operation ends.
#[derive(Debug)]
pub enum Verdict {
    Done,
    /// Something of it is done, then it fails.
    Half(io::Error),
    Refused(io::Error),
}

/// A disk that acknowledges what it has not done: the mutations that a checker has to catch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lies {
    /// `sync_data` does nothing and says it did.
    pub sync_data: bool,
    /// `sync_dir` does nothing and says it did.
    pub sync_dir: bool,
}

#[derive(Default)]
pub struct Faults {
    /// Operations of a kind to come until one fails.
    nth: BTreeMap<Kind, usize>,
    /// One in so many of each kind fails.
    rate: BTreeMap<Kind, usize>,
    read_only: bool,
    /// Operations to come until the machine or the process is gone.
    left: Option<usize>,
    gone: bool,
}

impl Faults {
    pub fn fail_nth(&mut self, kind: Kind, n: usize) {
        self.nth.insert(kind, n);
    }

    pub fn fail_one_in(&mut self, kind: Kind, n: usize) {
        self.rate.insert(kind, n);
    }

    pub fn set_read_only(&mut self, on: bool) {
        self.read_only = on;
    }

    pub fn end_after(&mut self, operations: usize) {
        self.left = Some(operations);
    }

    pub fn end_never(&mut self) {
        self.left = None;
    }

    /// Whether everything fails until the next start.
    pub fn gone(&self) -> bool {
        self.gone
    }

    /// The disk is healthy again.
    pub fn heal(&mut self) {
        *self = Self { left: self.left, gone: self.gone, ..Self::default() };
    }

    /// A new process starts.
    pub fn start(&mut self) {
        self.left = None;
        self.gone = false;
    }

    pub fn judge(&mut self, kind: Kind, dice: &mut Dice) -> Verdict {
        if self.gone {
            return Verdict::Refused(ended());
        }
        match &mut self.left {
            Some(0) => {
                self.gone = true;
                return if dice.chance(50) {
                    Verdict::Half(ended())
                } else {
                    Verdict::Refused(ended())
                };
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if self.read_only && kind.changes() {
            return Verdict::Refused(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let failed_by_count = match self.nth.get_mut(&kind) {
            Some(0) => {
                self.nth.remove(&kind);
                true
            }
            Some(n) => {
                *n -= 1;
                false
            }
            None => false,
        };
        let failed_by_rate = self.rate.get(&kind).is_some_and(|n| dice.below(*n) == 0);
        if !failed_by_count && !failed_by_rate {
            return Verdict::Done;
        }
        // 5 is EIO.
        let error = io::Error::from_raw_os_error(5);
        if dice.chance(50) { Verdict::Half(error) } else { Verdict::Refused(error) }
    }
}

fn ended() -> io::Error {
    io::Error::other("the process has ended")
}
