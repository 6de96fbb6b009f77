//! Read planning: which requests read a set of points, when, and what is learned from refusals.
//!
//! Pure: no IO, no clock, no async. [`plan()`] merges spans into the fewest requests, [`estimate`]
//! tells what that costs, [`Reader`] adds schedule and learning for one connection. Protocols
//! supply addresses as [`Span`]s and outcomes as [`Outcome`]s; nothing here knows a protocol.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use lineside_plan::*;
//!
//! let span = |id, start| Span { id, space: SpaceId::new(1, 3), start, len: 2, group: None };
//! let every = Duration::from_secs(1);
//! let points = (0..10).map(|i| PointSpec { span: span(i, 2 * i as u32), interval: every }).collect();
//! let limits = |_| Limits { max_len: 125, max_gap: 8 };
//! let start = Instant::now();
//! let mut reader = Reader::new(points, limits, ReaderConfig::default(), start, 0);
//! let mut events = Events::new();
//!
//! let Action::Send(request) = reader.next(start, &mut events) else { unreachable!() };
//! assert_eq!((request.start, request.len), (0, 20));
//! reader.answer(request.token, start, Outcome::Data, &mut events);
//! assert_eq!(events[9], Event::Good { point: 9, offset: 18 });
//! assert_eq!(events[10], Event::CycleDone { tick: start, points: 10 });
//! events.clear();
//! assert_eq!(reader.next(start, &mut events), Action::Wait(start + every));
//! ```

mod barrier;
mod load;
mod planner;
mod reader;
mod span;

pub use barrier::{Barrier, Barriers};
pub use load::{Load, estimate};
pub use planner::plan;
pub use reader::{
    Action, Cause, DuePlan, Event, Events, Learned, Outcome, PointSpec, Quarantined, Reader,
    ReaderConfig, Refusal, RefusedSpace, Report, Request, SilentUnit, Why,
};
pub use span::{Block, Limits, SpaceId, Span};
