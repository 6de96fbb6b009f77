//! The bytes of a disk with a write cache: what a power cut leaves of them is chance, until it was
//! flushed. Pure.
//!
//! A sector is written as a whole or not at all; everything else may happen to what was not
//! flushed: a later write is kept and an earlier one is not, or some sectors of one are.

use std::fmt;
use std::ops::Range;

use crate::faults::dice::Dice;

/// What a disk writes at once.
const SECTOR: usize = 512;
/// Of a hundred writes that were not flushed, so many are lost as a whole, and so many of the
/// others lose some of their sectors.
const LOST: u64 = 50;
const TORN: u64 = 50;

/// The disk.
pub struct Volatile {
    /// What is read.
    present: Vec<u8>,
    /// What is kept whatever happens.
    kept: Vec<u8>,
    /// Writes since the last flush.
    cached: Vec<Write>,
    flushes: u64,
}

struct Write {
    at: usize,
    bytes: Vec<u8>,
}

/// What became of the writes that were not flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// All of them.
    pub writes: usize,
    /// Lost as a whole.
    pub lost: usize,
    /// Lost in part.
    pub torn: usize,
}

impl fmt::Debug for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { present, cached, flushes, .. } = self;
        let (bytes, cached) = (present.len(), cached.len());
        write!(f, "Volatile {{ bytes: {bytes}, cached: {cached}, flushes: {flushes} }}")
    }
}

impl Volatile {
    /// A disk that holds this.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { kept: bytes.clone(), present: bytes, cached: Vec::new(), flushes: 0 }
    }

    /// Its size.
    pub fn size(&self) -> usize {
        self.present.len()
    }

    /// How many writes are in the cache.
    pub fn cached(&self) -> usize {
        self.cached.len()
    }

    /// How often it was flushed.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// What is there; none: the place is not on the disk.
    pub fn read(&self, offset: u64, length: usize) -> Option<&[u8]> {
        self.present.get(range(offset, length)?)
    }

    /// Puts it into the cache; false: the place is not on the disk.
    pub fn write(&mut self, offset: u64, bytes: Vec<u8>) -> bool {
        let Some(range) = range(offset, bytes.len()) else { return false };
        let at = range.start;
        let Some(place) = self.present.get_mut(range) else { return false };
        place.copy_from_slice(&bytes);
        self.cached.push(Write { at, bytes });
        true
    }

    /// Keeps everything that was written.
    pub fn flush(&mut self) {
        self.flushes += 1;
        for write in self.cached.drain(..) {
            put(&mut self.kept, write.at, &write.bytes);
        }
    }

    /// The power is gone and comes back: of what is in the cache a random part is kept.
    pub fn cut(&mut self, dice: &mut Dice) -> Loss {
        let mut loss = Loss { writes: self.cached.len(), ..Loss::default() };
        for write in &self.cached {
            if dice.chance(LOST) {
                loss.lost += 1;
                continue;
            }
            let torn = write.bytes.len() > SECTOR && dice.chance(TORN);
            loss.torn += usize::from(torn);
            for (i, sector) in write.bytes.chunks(SECTOR).enumerate() {
                if !torn || dice.chance(50) {
                    put(&mut self.kept, write.at + i * SECTOR, sector);
                }
            }
        }
        for write in self.cached.drain(..) {
            let range = write.at..write.at + write.bytes.len();
            if let (Some(to), Some(from)) =
                (self.present.get_mut(range.clone()), self.kept.get(range))
            {
                to.copy_from_slice(from);
            }
        }
        loss
    }
}

fn range(offset: u64, length: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = disk.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: usize = 64;

    fn disk() -> Volatile {
        Volatile::new(vec![0; SECTORS * SECTOR])
    }

    fn sector(disk: &Volatile, place: usize) -> u8 {
        let bytes = disk.read((place * SECTOR) as u64, SECTOR).unwrap();
        assert!(bytes.iter().all(|b| *b == bytes[0]), "sector {place} is torn");
        bytes[0]
    }

    #[test]
    fn what_was_flushed_is_there_after_a_cut() {
        let mut dice = Dice::new(1);
        for _ in 0..100 {
            let mut disk = disk();
            assert!(disk.write(512, vec![7; 4 * SECTOR]));
            disk.flush();
            assert_eq!(disk.cut(&mut dice), Loss::default());
            assert_eq!(disk.read(512, 4 * SECTOR).unwrap(), [7; 4 * SECTOR]);
        }
    }

    #[test]
    fn of_what_was_not_flushed_a_part_is_there_in_any_order_and_whole_sectors_of_it() {
        let mut dice = Dice::new(2);
        let (mut reversed, mut torn, mut sum) = (0, 0, Loss::default());
        for _ in 0..200 {
            let mut disk = disk();
            for place in 0..8 {
                let value = u8::try_from(place + 1).unwrap();
                assert!(disk.write((place * 4 * SECTOR) as u64, vec![value; 4 * SECTOR]));
            }
            let loss = disk.cut(&mut dice);
            assert_eq!(loss.writes, 8);
            (sum.lost, sum.torn) = (sum.lost + loss.lost, sum.torn + loss.torn);
            let kept: Vec<Vec<bool>> = (0..8)
                .map(|place| (0..4).map(|s| sector(&disk, place * 4 + s) != 0).collect())
                .collect();
            torn += kept.iter().filter(|k| k.contains(&true) && k.contains(&false)).count();
            let whole: Vec<bool> = kept.iter().map(|k| k.iter().all(|b| *b)).collect();
            reversed += usize::from(whole.windows(2).any(|w| w == [false, true]));
        }
        assert!((600..1000).contains(&sum.lost), "{sum:?}");
        assert!(sum.torn > 200 && torn > 150 && reversed > 50, "{sum:?} {torn} {reversed}");
    }

    #[test]
    fn a_write_that_was_lost_leaves_what_was_flushed_before() {
        let mut dice = Dice::new(3);
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut disk = disk();
            assert!(disk.write(0, vec![1; SECTOR]));
            disk.flush();
            assert!(disk.write(0, vec![2; SECTOR]));
            assert!(disk.write(0, vec![3; SECTOR]));
            assert_eq!(sector(&disk, 0), 3, "read before the cut");
            disk.cut(&mut dice);
            found.insert(sector(&disk, 0));
            let again = sector(&disk, 0);
            disk.cut(&mut dice);
            assert_eq!(sector(&disk, 0), again, "a second cut finds nothing in the cache");
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn places_behind_the_end_are_refused() {
        let mut disk = disk();
        assert!(disk.read((SECTORS * SECTOR) as u64, 1).is_none());
        assert!(disk.read(u64::MAX, 2).is_none());
        assert!(!disk.write((SECTORS * SECTOR) as u64 - 1, vec![0; 2]));
        assert!(disk.read(0, SECTORS * SECTOR).is_some());
    }
}
