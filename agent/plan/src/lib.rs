//! Read planning: which requests read a set of points, when, and what is learned from refusals.
//!
//! Pure: no IO, no clock, no async. [`plan()`] merges spans into the fewest requests, [`estimate`]
//! tells what that costs, [`Reader`] adds schedule and learning for one connection. Protocols
//! supply addresses as [`Span`]s and outcomes as [`Outcome`]s; nothing here knows a protocol.

mod barrier;
mod load;
mod planner;
mod reader;
mod span;

pub use barrier::{Barrier, Barriers};
pub use load::{Load, estimate};
pub use planner::plan;
pub use reader::{
    Action, Cause, DuePlan, Event, Events, Outcome, PointSpec, Quarantined, Reader, ReaderConfig,
    Refusal, RefusedSpace, Report, Request, SilentUnit, Why,
};
pub use span::{Block, Limits, SpaceId, Span};
