//! One file: what a reader sees, what is on the medium, and the writes that are between the two.

use crate::dice::Dice;

/// Smallest unit in which the disk reserves space.
pub const BLOCK: u64 = 4096;

#[derive(Default)]
pub struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Change>,
    /// Space that the file holds, in bytes.
    reserved: u64,
}

enum Change {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Extends only.
    Grow(usize),
    Length(usize),
}

impl Content {
    pub fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    pub fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let Some(rest) = usize::try_from(at).ok().and_then(|at| self.seen.get(at..)) else {
            return 0;
        };
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        n
    }

    /// Space that a write up to `end` takes beyond what is reserved.
    pub fn more_space(&self, end: u64) -> u64 {
        blocks(end).saturating_sub(self.reserved)
    }

    pub fn write(&mut self, bytes: &[u8], at: u64) {
        let at = at as usize;
        self.reserved = self.reserved.max(blocks((at + bytes.len()) as u64));
        self.change(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub fn allocate(&mut self, len: u64) {
        self.reserved = self.reserved.max(blocks(len));
        self.change(Change::Grow(len as usize));
    }

    pub fn set_len(&mut self, len: u64) {
        self.reserved = self.reserved.min(blocks(len));
        self.change(Change::Length(len as usize));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.dirty.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.dirty.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// What Linux does when write-back fails: a page may have arrived, may be called clean though
    /// it never arrived (a reader sees it until the power goes), or may still be dirty. The next
    /// sync succeeds.
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        for change in std::mem::take(&mut self.dirty) {
            match dice.below(3) {
                0 => {}
                1 => change.apply(&mut self.durable),
                _ => self.dirty.push(change),
            }
        }
    }

    /// Power goes: of each change that was not synced nothing, all or a part has arrived.
    pub fn lose_power(&mut self, dice: &mut Dice, fate: Fate) {
        for change in std::mem::take(&mut self.dirty) {
            match fate.of_one(dice) {
                Fate::Lost => {}
                Fate::Kept => change.apply(&mut self.durable),
                Fate::Any => change.apply_part(&mut self.durable, dice),
            }
        }
        self.seen.clone_from(&self.durable);
        self.reserved = self.reserved.min(blocks(self.durable.len() as u64));
    }

    /// One bit rots on the medium, and in what a reader gets from now on.
    pub fn flip(&mut self, at: usize, bit: u8) {
        for bytes in [&mut self.durable, &mut self.seen] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub fn seen(&self) -> &[u8] {
        &self.seen
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(to, *at, bytes),
            Self::Grow(len) if *len > to.len() => to.resize(*len, 0),
            Self::Grow(_) => {}
            Self::Length(len) => to.resize(*len, 0),
        }
    }

    /// A torn write: one run of its bytes, or only the length.
    fn apply_part(&self, to: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { at, bytes } = self else {
            return self.apply(to);
        };
        let end = at + bytes.len();
        if to.len() < end && dice.chance(50) {
            to.resize(end, 0);
        }
        let from = if dice.chance(50) { 0 } else { dice.below(bytes.len()) };
        let until = if dice.chance(30) { bytes.len() } else { dice.within(from..=bytes.len()) };
        if from < until {
            put(to, at + from, &bytes[from..until]);
        }
    }
}

/// What becomes of changes that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None arrived.
    Lost,
    /// All arrived.
    Kept,
    /// Each has its own fate; a single change arrives in part.
    Any,
}

impl Fate {
    pub fn roll(dice: &mut Dice) -> Self {
        *dice.pick(&[Self::Lost, Self::Kept, Self::Any, Self::Any])
    }

    pub fn of_one(self, dice: &mut Dice) -> Self {
        match self {
            Self::Any => *dice.pick(&[Self::Lost, Self::Kept, Self::Any]),
            all => all,
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

fn blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK) * BLOCK
}
