//! The data path between drivers and sinks: supervision, routing, the memory store, the
//! last-value table, staleness, reload, and the numbers of all of it.
//!
//! ```text
//! driver session -> device::Hub -> last_value (gate, deadlines) -> route (select) -> ring -> feed -> sink session
//!        ^                                                                                   |
//!        +-- device::supervise (dial, back off)                 sink::supervise (dial, back off)
//! ```
//!
//! When to reconnect is decided here and nowhere else.

pub mod backoff;
pub mod clock;
pub mod device;
pub mod engine;
pub mod health;
pub mod journal;
pub mod last_value;
pub mod metrics;
pub mod own;
pub mod range_set;
pub mod ring;
pub mod route;
pub mod sink;
pub mod snapshot;
pub mod stream;
pub mod tap;
pub mod transform;

pub use engine::{Desired, Engine, Parts};
pub use snapshot::Snapshot;

/// Where the data path shows what happens in it.
#[derive(Debug, Default)]
pub struct Windows {
    /// Recent changes of health.
    pub journal: journal::Journal,
    /// What flows, while somebody looks.
    pub tap: tap::Tap,
}
