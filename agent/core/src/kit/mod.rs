//! Conformance kits for drivers and sinks: the MUST words of `docs/specs/{sample,driver,sink}.md`
//! as checks that every implementation runs against itself, with real sockets and real peers.
//!
//! ```text
//! kit::driver::check(case) -> session <-> peer::{Peer, Proxy} <-> the case's own real peer
//!                                |
//!                                +-> Recorder -> Report (violations by requirement id)
//!
//! kit::sink::check(case)   -> ScriptedFeed -> session <-> peer::{Peer, Proxy} <-> real remote
//!                                ^               |
//!                                +--- outcomes --+-> Report
//! ```
//!
//! A check never asserts by itself: it adds to a [`Report`], so that one run names everything
//! that is wrong. A promised deadline is judged at three times its length ([`ALLOWANCE`]).
//!
//! The kits are compiled with feature `kit` only, for tests.

mod feed;
mod memory;
mod record;
mod recorder;
mod report;

pub mod driver;
pub mod peer;
pub mod sink;

pub use feed::{ScriptedFeed, Settled};
pub use record::{ORIGIN_POINT, number_of, numbered_batch, numbered_origin, test_identity};
pub use recorder::{Recorded, Recorder, Tally};
pub use report::{Report, Violation};

use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much longer than promised a deadline may take on a loaded test machine.
pub const ALLOWANCE: u32 = 3;

/// What a session promises after its cancellation (`DRV-3`, `SNK-3`).
pub const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// How a session future ended, seen from outside.
#[derive(Debug)]
pub enum Finish {
    /// It returned.
    Ended(crate::driver::Ended),
    /// It panicked, with this message.
    Panicked(String),
    /// It was still running at the deadline.
    StillRunning,
}

impl Finish {
    /// The fault, when the session returned one.
    pub fn fault(&self) -> Option<&crate::fault::Fault> {
        match self {
            Self::Ended(crate::driver::Ended::Failed(fault)) => Some(fault),
            _ => None,
        }
    }

    /// One line for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Ended(crate::driver::Ended::Failed(f)) => {
                format!("failed ({}: {})", f.class.label(), f.chain())
            }
            Self::Ended(other) => format!("ended ({other:?})"),
            Self::Panicked(text) => format!("panicked: {text}"),
            Self::StillRunning => "was still running".into(),
        }
    }
}

/// The text of a panic.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "a panic without a text".into())
}

/// A lock that a panicking test leaves usable: its data is only appended to.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
