//! Segments: what is known of them in memory.

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
    /// Its committed frames end here: what lies behind is allocated, or was never committed.
    pub(super) used: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_about_sixty_four_segments_of_a_sensible_size() {
        let sizes = [1 << 20, 1 << 30, 1 << 40].map(size_for);
        assert_eq!(sizes, [64 * 1024, 16 * 1024 * 1024, 16 * 1024 * 1024]);
    }
}
