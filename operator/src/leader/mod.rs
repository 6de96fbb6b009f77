//! Leader election: of several operators at most one writes.
//!
//! One Lease says who leads. Clocks of different machines are never compared: a candidate takes
//! the Lease over when it has not seen it change for its whole duration, on its own clock. The
//! leader counts from the moment it *sent* its last acknowledged renewal and stops sooner than
//! anybody may take over. The [`Fence`] holds every writing request to that, also one that was
//! decided before the process was frozen and is sent after it woke up.

mod elector;
mod fence;
mod lease;

pub use elector::{Elector, Record, Timing, Verdict};
pub use fence::Fence;
pub use lease::{Leader, LeaderConfig, SeizeError};
