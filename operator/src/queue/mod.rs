//! The one work queue of the operator. It knows keys and times, never what a key means to the
//! cluster.
//!
//! ```text
//! event -> keys --push--> Schedule (pure: what is due, what runs, who waits how long)
//!                            |  ^
//!                      due   v  |  outcome
//!                         run() -- at most `concurrency` works at once, one per key
//! ```
//!
//! A key is in the queue at most once, so the queue is as large as the cluster has objects and
//! no larger.

mod key;
mod runner;
mod schedule;

pub use key::Key;
pub use runner::{Queue, run};
pub use schedule::{Next, Outcome, Schedule, Settings};
