//! The books of one sink, in samples (contracts, section 5).

use std::collections::BTreeMap;

use lineside_crds::diagnostics::Code;

/// Why samples were dropped; a closed set, used as metric label and kept in cursors by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// The store was full.
    StoreFull,
    /// The store was full, and every second of the oldest records gave way (`overflow: Thin`).
    Thinned,
    /// The samples were older than `maxAgeSeconds`.
    Expired,
    /// The remote refused them for good, and they are kept nowhere (`durability: Memory`).
    Rejected,
    /// The remote refused them for good, and there was no room for more dead letters.
    DeadLettersFull,
    /// The sink's encoding has no place for them (only Bad samples in `FlatJSON` or `Value`).
    NotEncodable,
    /// A later sample of the point falls on the same tick of the remote's time, and replaced it.
    SameTick,
    /// The disk no longer gives what was written to it.
    Corrupt,
    /// Given up on request: a discarded backlog, dropped dead letters.
    Discarded,
}

impl DropReason {
    /// Every reason, so that metrics exist before the first drop.
    pub const ALL: [Self; 9] = [
        Self::StoreFull,
        Self::Thinned,
        Self::Expired,
        Self::Rejected,
        Self::DeadLettersFull,
        Self::NotEncodable,
        Self::SameTick,
        Self::Corrupt,
        Self::Discarded,
    ];

    /// Metric label, CamelCase.
    pub fn label(self) -> &'static str {
        match self {
            Self::StoreFull => "StoreFull",
            Self::Thinned => "Thinned",
            Self::Expired => "Expired",
            Self::Rejected => "Rejected",
            Self::DeadLettersFull => "DeadLettersFull",
            Self::NotEncodable => "NotEncodable",
            Self::SameTick => "SameTick",
            Self::Corrupt => "Corrupt",
            Self::Discarded => "Discarded",
        }
    }

    /// The reason with this label.
    pub fn of(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// As a mark of dropped samples has it on disk.
    pub(crate) fn to_disk(self) -> u8 {
        match self {
            Self::StoreFull => 1,
            Self::Thinned => 2,
            Self::Expired => 3,
            Self::Rejected => 4,
            Self::DeadLettersFull => 5,
            Self::NotEncodable => 6,
            Self::Corrupt => 7,
            Self::Discarded => 8,
            Self::SameTick => 9,
        }
    }

    /// The reason of a mark on disk; what a later version may have is counted as corrupt.
    pub(crate) fn from_disk(byte: u8) -> Self {
        Self::ALL.into_iter().find(|r| r.to_disk() == byte).unwrap_or(Self::Corrupt)
    }

    /// The code of a drop that its sink's state does not tell of: the sink may be well and the
    /// samples too many for it.
    pub fn code(self) -> Option<Code> {
        match self {
            Self::StoreFull | Self::Thinned => Some(Code::StoreFull),
            Self::Expired => Some(Code::StoreExpired),
            _ => None,
        }
    }
}

/// `captured = delivered + buffered + dead_lettered + dropped`, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Taken into the store since the sink joined.
    pub captured: u64,
    /// Accepted by the remote.
    pub delivered: u64,
    /// Waiting.
    pub buffered: u64,
    /// Refused by the remote and kept for a person to look at.
    pub dead_lettered: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

impl Ledger {
    /// Whether the books balance.
    pub fn balances(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.captured == self.delivered + self.buffered + self.dead_lettered + dropped
    }

    /// Counts samples that are given up.
    pub fn drop(&mut self, reason: DropReason, samples: u64) {
        if samples > 0 {
            *self.dropped.entry(reason).or_default() += samples;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_by_its_label_and_an_unknown_one_is_not() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::of(reason.label()), Some(reason));
        }
        assert_eq!(DropReason::of("Lost"), None);
    }

    #[test]
    fn every_captured_sample_has_exactly_one_place() {
        let mut ledger = Ledger { captured: 9, delivered: 3, buffered: 2, ..Ledger::default() };
        assert!(!ledger.balances());
        ledger.dead_lettered = 1;
        ledger.drop(DropReason::StoreFull, 2);
        ledger.drop(DropReason::StoreFull, 1);
        assert!(ledger.balances(), "{ledger:?}");
    }
}
