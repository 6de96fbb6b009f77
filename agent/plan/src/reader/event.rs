//! What goes in and out of a [`Reader`](super::Reader): points, requests, outcomes, events.

use std::time::{Duration, Instant};

use crate::span::{SpaceId, Span};

/// One point to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointSpec {
    /// Where it lies; `span.id` names it in events.
    pub span: Span,
    /// Its polling period.
    pub interval: Duration,
}

/// Times of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// First wait before a refused address is tried again.
    pub retry_min: Duration,
    /// Longest wait before a refused address is tried again.
    pub retry_max: Duration,
    /// Longest wait for the answer of one request.
    pub request_timeout: Duration,
    /// Shortest time between the sending of two requests.
    pub min_request_interval: Option<Duration>,
    /// Whether a unit that does not answer is cut short for the sake of the others. For a single
    /// round that nobody else waits for it is better to give each its full timeout.
    pub fair: bool,
}

impl Default for ReaderConfig {
    /// 5 s to 10 min between retries, 2 s per request, no rate limit.
    fn default() -> Self {
        Self {
            retry_min: Duration::from_secs(5),
            retry_max: Duration::from_secs(600),
            request_timeout: Duration::from_secs(2),
            min_request_interval: None,
            fair: true,
        }
    }
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this and report the outcome with its token; there is one request at a time.
    Send(Request),
    /// Nothing before this instant.
    Wait(Instant),
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request in [`Reader::answer`](super::Reader::answer).
    pub token: u64,
    /// What is read.
    pub space: SpaceId,
    /// First address.
    pub start: u32,
    /// Number of units.
    pub len: u32,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// Whether it only finds out if a silent unit is back.
    pub probe: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All units arrived.
    Data,
    /// The peer answered, but not with data.
    Refused(Refusal),
    /// No answer within the request's timeout.
    Timeout,
}

/// Why a request brought no data although something answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The range, or an address in it, does not exist or cannot be read: it is bisected.
    Address,
    /// The whole space is refused (function not supported): it is left alone and probed.
    Space,
    /// The device is busy: bad in this cycle, nothing is learned.
    Busy,
    /// A gateway says that the unit behind it does not answer: as a timeout.
    Unit,
    /// The answer cannot be used: bad in this cycle, nothing is learned.
    Fatal,
}

/// Why a unit counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Requests to it ran into their timeout.
    Timeout,
    /// The gateway in front of it said so.
    Gateway,
}

/// Why a point has no value in this cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was asked for and refused.
    Refused(Refusal),
    /// It was asked for and nothing came.
    Timeout,
    /// Not asked: its address was refused before and waits for its next try.
    Quarantined,
    /// Not asked: its space was refused before and waits for its next try.
    SpaceQuarantined,
    /// Not asked: its unit does not answer.
    UnitSilent(Cause),
}

/// What to publish. Small and `Copy`: the hot path only pushes into the caller's `Vec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The point's units begin at `offset` (units, not bytes) of the answer just reported.
    Good {
        /// `span.id` of the point.
        point: usize,
        /// Units from the start of the request.
        offset: u32,
    },
    /// The point has no value in this cycle.
    Bad {
        /// `span.id` of the point.
        point: usize,
        /// The reason.
        why: Why,
    },
    /// Every point that was due has its outcome: one batch is complete.
    CycleDone {
        /// When the cycle was due.
        tick: Instant,
        /// Points with an outcome in it.
        points: usize,
    },
}

/// Events of one call, in order. The caller drains it and uses it again.
pub type Events = Vec<Event>;
