//! The contracts of the agent: what a sample is, how good it is, when it was taken, what can go
//! wrong, and what a driver and a sink owe each other. Specifications with MUST words are in
//! `docs/specs/{sample,driver,sink}.md`; the conformance kits in [`kit`] check them.
//!
//! ```text
//! device <-> Driver session --Batch--> Emit (pipeline) --Record--> Feed --> Sink session --> remote
//!                  ^                      |                          ^            |
//!                  +------- Receipt ------+                          +-- Outcome -+
//! ```
//!
//! This crate knows no protocol and no Kubernetes.

pub mod batch;
pub mod clock;
pub mod driver;
pub mod encode;
pub mod fault;
pub mod secret;
pub mod sink;
pub mod status;
pub mod value;

#[cfg(feature = "kit")]
pub mod kit;

pub use batch::{Batch, Columns, Origin, Sample};
pub use clock::{Clock, SystemClock, TimeQuality, UnixNanos};
pub use fault::{Fault, FaultClass};
pub use status::StatusCode;
pub use value::Value;

/// Read planning: what polling drivers schedule their requests with.
pub use lineside_plan as plan;
