//! What the judge can find, in words that say where to look.

use std::fmt;

use super::super::evidence::{Gap, Nanos};
use super::super::lag::Ledger;

/// A value of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    /// `namespace/name` of the device.
    pub device: String,
    /// Point name.
    pub point: String,
    /// The value, which the device gives out once.
    pub value: u32,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Served, never delivered, and no gap says so.
    Lost {
        /// What.
        value: Value,
        /// When it was served.
        sent: Nanos,
    },
    /// Served inside a gap and never delivered, but later than a kill can explain.
    LostLate {
        /// What.
        value: Value,
        /// When it was served.
        sent: Nanos,
        /// The gap.
        gap: Gap,
    },
    /// More was lost than the last books say.
    Undeclared {
        /// Values that were lost outside of all gaps.
        lost: u64,
        /// What the books say was dropped or kept aside.
        declared: u64,
    },
    /// Delivered, but never served, or before it was served.
    Invented {
        /// What.
        value: Value,
        /// In which record.
        id: String,
    },
    /// One value in two records: whoever gets both cannot tell that they are one.
    Doubled {
        /// What.
        value: Value,
        /// The records.
        ids: [String; 2],
    },
    /// One identity with two contents.
    Changed {
        /// Which.
        id: String,
    },
    /// A record came after one with a later value of the same point.
    OutOfOrder {
        /// What came too late.
        value: Value,
        /// The later value, which was there already.
        after: u32,
        /// Its record.
        id: String,
    },
    /// The time of a sample is not that of the answer that carried it.
    Mistimed {
        /// What.
        value: Value,
        /// When it was served.
        sent: Nanos,
        /// The time that it has.
        time: Nanos,
    },
    /// A gap in which the agent was not started, or one that ends before it begins.
    Unfounded {
        /// Which.
        gap: Gap,
    },
    /// The books of a start do not balance.
    Unbalanced {
        /// Which start of the agent, counted from 0.
        life: usize,
        /// The books.
        ledger: Ledger,
    },
    /// The number of captured samples was higher before.
    WentBack {
        /// Which start of the agent, counted from 0.
        life: usize,
        /// Captured as it says.
        captured: u64,
        /// Captured as it had said.
        before: u64,
    },
    /// The last books are not what the consumer has.
    Miscounted {
        /// The books.
        ledger: Ledger,
        /// Samples that the consumer has, each identity once.
        arrived: u64,
    },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} = {}", self.device, self.point, self.value)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { value, sent } => {
                write!(f, "lost: {value}, served at {sent}, outside of every gap")
            }
            Self::LostLate { value, sent, gap } => write!(
                f,
                "lost: {value}, served at {sent}, {} ms into the gap {}..{}",
                (sent - gap.from) / 1_000_000,
                gap.from,
                gap.to
            ),
            Self::Undeclared { lost, declared } => {
                write!(f, "lost: {lost} values, of which the books declare {declared}")
            }
            Self::Invented { value, id } => write!(f, "never served: {value} in {id}"),
            Self::Doubled { value, ids: [one, other] } => {
                write!(f, "two identities: {value} in {one} and {other}")
            }
            Self::Changed { id } => write!(f, "two contents: {id}"),
            Self::OutOfOrder { value, after, id } => {
                write!(f, "out of order: {value} in {id} came after {after}")
            }
            Self::Mistimed { value, sent, time } => {
                write!(f, "mistimed: {value}, served at {sent}, has the time {time}")
            }
            Self::Unfounded { gap } => {
                write!(f, "a gap without a start of the agent: {}..{}", gap.from, gap.to)
            }
            Self::Unbalanced { life, ledger } => {
                write!(f, "books of start {life} do not balance: {ledger:?}")
            }
            Self::WentBack { life, captured, before } => {
                write!(f, "books of start {life} went back: captured {captured} after {before}")
            }
            Self::Miscounted { ledger, arrived } => {
                write!(f, "the consumer has {arrived} samples, the books say {ledger:?}")
            }
        }
    }
}
