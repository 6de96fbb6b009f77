//! The sink contract (`docs/specs/sink.md`).
//!
//! A sink turns a [`SinkContext`] into one session future: it connects, takes records from its
//! feed, and settles each of them when the remote has accepted or refused it. When to connect
//! again is the supervisor's decision.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::ObjectKey;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock::Clock;
use crate::driver::Ended;
use crate::secret::Secrets;

/// What a sink can promise about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Settled only after the remote accepted it; a redelivery may be seen twice.
    AtLeastOnce,
    /// As before, and a redelivery changes nothing at the remote.
    Idempotent,
    /// The remote gives no answer.
    BestEffort,
}

/// A destination of one pipeline.
pub trait Sink: Send + Sync + 'static {
    /// What it can promise.
    fn guarantee(&self) -> Guarantee;

    /// Whether records reach the remote in the order of the feed.
    fn ordered(&self) -> bool;

    /// One session: connects, delivers, returns why it ended. Everything it started ends when
    /// the future is dropped.
    fn session(&self, context: SinkContext) -> BoxFuture<'static, Ended>;
}

/// Who the sink is; stable over restarts of the process.
#[derive(Clone, Debug)]
pub struct SinkIdentity {
    /// Unique id of the agent (Kubernetes uid, standalone a random id in the state directory).
    pub agent_uid: Arc<str>,
    /// Name of the agent as people know it.
    pub agent: Arc<str>,
    /// The pipeline.
    pub pipeline: ObjectKey,
    /// The sink's name in the pipeline.
    pub sink: Arc<str>,
}

/// What one session gets.
pub struct SinkContext {
    /// Who it is.
    pub identity: SinkIdentity,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Secrets that the settings name.
    pub secrets: Secrets,
    /// Records to deliver.
    pub feed: Box<dyn Feed>,
    /// Where connection state goes.
    pub state: Arc<dyn SinkState>,
    /// Cancelled when the session has to end; it does so within one second.
    pub cancel: CancellationToken,
}

/// Connection state of a sink.
pub trait SinkState: Send + Sync {
    /// The remote accepted the connection; `endpoint` is for people and holds no secret.
    fn connected(&self, endpoint: &str);
}

/// A sink's view of its pipeline's store.
pub trait Feed: Send {
    /// The next record that was not handed out in this session, oldest first. Waits until there
    /// is one. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Record>;

    /// Says what became of a record, for good. In any order; a record settled twice counts once.
    fn settle(&mut self, id: &RecordId, outcome: Outcome);

    /// Says what became of a record at a remote that may still lose what it accepted. It is settled
    /// when a mark as high as `mark` is confirmed, and handed out again when the session ends
    /// before. Until then it costs little: its samples are given back unless some were refused.
    /// Marks never fall within a session; a few dozen of them at a time are enough to tell times
    /// apart.
    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64);

    /// The remote will not lose what this session accepted with this mark or a lower one.
    fn confirmed(&mut self, mark: u64);
}

/// One record: a batch with its identity.
#[derive(Clone, Debug)]
pub struct Record {
    /// Identity, the same at every redelivery.
    pub id: RecordId,
    /// The samples; never empty.
    pub batch: Arc<Batch>,
}

/// `store/stream/offset[.part]`: given at append, the same on redelivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordId {
    /// Random 128-bit id of the store or memory ring, as 32 hexadecimal digits.
    pub store: Arc<str>,
    /// The pipeline's log in it.
    pub stream: u32,
    /// Position in the log.
    pub offset: u64,
    /// When only a part of the record is sent again, because the rest had arrived: the number of
    /// the message that the part was. `None` for a whole record.
    pub part: Option<u32>,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.store, self.stream, self.offset)?;
        self.part.map_or(Ok(()), |part| write!(f, ".{part}"))
    }
}

/// What became of a record, in samples: `delivered + skipped + merged + rejected` is its length. A
/// sink that sends a record in several messages settles it once, when all of them have an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The remote accepted them (for a best-effort sink: they were sent).
    pub delivered: u64,
    /// The sink's encoding has no place for them (e.g. Bad samples in `FlatJSON`).
    pub skipped: u64,
    /// A later one of the same point falls on the same tick of the remote's time and took their
    /// place.
    pub merged: u64,
    /// The remote will never accept them.
    pub rejected: u64,
    /// Which were rejected, and why: at most one refusal for each message of the record, and each
    /// rejected sample in exactly one.
    pub refusals: Vec<Refusal>,
}

/// See [`Outcome::counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// As in [`Outcome`].
    pub delivered: u64,
    /// As in [`Outcome`].
    pub skipped: u64,
    /// As in [`Outcome`].
    pub merged: u64,
    /// The rest.
    pub rejected: u64,
}

/// Why a remote will never accept a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `RecordRejected` or `RecordTooLarge`.
    pub code: Code,
    /// What the remote said, at most [`Refusal::LONGEST`] bytes.
    pub message: String,
    /// Number of the message in its record, as in its identity; `None` when it was the only one.
    pub part: Option<u32>,
    /// The samples in it, by index in the batch.
    pub samples: Vec<u32>,
}

impl Refusal {
    /// Most bytes of what the remote said.
    pub const LONGEST: usize = 1024;

    /// A refusal of one message; a longer text is cut.
    pub fn new(
        code: Code,
        message: impl Into<String>,
        part: Option<u32>,
        samples: Vec<u32>,
    ) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(Self::LONGEST));
        Self { code, message, part, samples }
    }
}

impl Outcome {
    /// Of no sample yet: where counting starts.
    pub fn nothing() -> Self {
        Self { delivered: 0, skipped: 0, merged: 0, rejected: 0, refusals: Vec::new() }
    }

    /// Counts the samples of a message that was refused.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.rejected += refusal.samples.len() as u64;
        self.refusals.push(refusal);
    }

    /// Its numbers for the books of `samples`. A sink that miscounts must not unbalance them: what
    /// it does not account for was not delivered, and so counts as rejected.
    pub fn counts(&self, samples: u64) -> Counts {
        let delivered = self.delivered.min(samples);
        let skipped = self.skipped.min(samples - delivered);
        let merged = self.merged.min(samples - delivered - skipped);
        Counts { delivered, skipped, merged, rejected: samples - delivered - skipped - merged }
    }

    /// All of a record of `samples` was accepted.
    pub fn delivered(samples: usize) -> Self {
        Self { delivered: samples as u64, ..Self::nothing() }
    }

    /// Nothing of a record of `samples` is for this sink.
    pub fn skipped(samples: usize) -> Self {
        Self { skipped: samples as u64, ..Self::nothing() }
    }

    /// All of a record of `samples` was refused.
    pub fn rejected(samples: usize, code: Code, message: impl Into<String>) -> Self {
        let mut outcome = Self::nothing();
        outcome.refuse(Refusal::new(code, message, None, (0..samples as u32).collect()));
        outcome
    }
}
