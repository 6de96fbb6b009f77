//! One sink of one pipeline at run time: its state and its supervisor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::clock::Clock;
use lineside_core::driver::Ended;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::secret::Secrets;
use lineside_core::sink::{
    Feed, Outcome, Record, RecordId, Sink, SinkContext, SinkIdentity, SinkState,
};
use lineside_crds::diagnostics::Code;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Windows;
use crate::backoff::{Backoff, STABLE, random_below};
use crate::device::Owned;
use crate::health::{FlapGuard, Health, SinkFacts, Verdict, judge_sink, suspended};
use crate::stream::Stream;

/// How long a session may take to end after it was cancelled (sink contract).
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// How long a refusal, a delivery beside refusals, or a fault of a remote that is connected again,
/// speaks for the present.
const FRESH: Duration = Duration::from_secs(30);
/// Spread of first connections of one agent.
const START_SPREAD: Duration = Duration::from_millis(100);

/// What is known of one sink.
pub struct Station {
    identity: SinkIdentity,
    clock: Arc<dyn Clock>,
    windows: Arc<Windows>,
    state: Mutex<State>,
}

struct State {
    endpoint: String,
    facts: SinkFacts,
    suspended: bool,
    /// Last refusal and last delivery: both stay true for a while, so that a sink that takes
    /// some records and refuses others is Degraded, and not one or the other by turns.
    refused_at: Option<Instant>,
    delivered_at: Option<Instant>,
    connected_at: Option<Instant>,
    flaps: FlapGuard,
    verdict: Verdict,
    sessions: u64,
    faults: [u64; FaultClass::ALL.len()],
}

/// What a supervisor needs besides the sink.
#[derive(Clone)]
pub struct Surroundings {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Secrets that settings name.
    pub secrets: Secrets,
}

/// State of one sink, for metrics and the local page.
#[derive(Clone, Debug)]
pub struct StationSnapshot {
    /// Where it delivers to.
    pub endpoint: String,
    /// A session is connected.
    pub connected: bool,
    /// Start of the last session that got connected.
    pub connected_at: Option<Instant>,
    /// Health.
    pub verdict: Verdict,
    /// Sessions that got connected.
    pub sessions: u64,
    /// Sessions that failed, by [`FaultClass::ALL`].
    pub faults: [u64; FaultClass::ALL.len()],
}

impl Station {
    /// A sink that was not connected yet.
    pub fn new(
        identity: SinkIdentity,
        endpoint: String,
        clock: Arc<dyn Clock>,
        windows: Arc<Windows>,
    ) -> Self {
        let facts = SinkFacts::default();
        let state = State {
            endpoint,
            verdict: judge_sink(&facts),
            facts,
            suspended: false,
            refused_at: None,
            delivered_at: None,
            connected_at: None,
            flaps: FlapGuard::default(),
            sessions: 0,
            faults: [0; FaultClass::ALL.len()],
        };
        Self { identity, clock, windows, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session that ended so may have ended because of a record: the remote had taken
    /// the connection and then broke it off. Many say nothing when they do, so that it looks like
    /// a lost network; the store makes sure that nobody is convicted for that.
    fn accuses(&self, ended: &Ended) -> bool {
        let Ended::Failed(fault) = ended else { return false };
        matches!(fault.class, FaultClass::Peer | FaultClass::Unreachable)
            && self.lock().facts.connected
    }

    fn closed(&self) {
        let mut state = self.lock();
        state.facts.connected = false;
        self.judge(&mut state);
    }

    /// The pipeline is suspended.
    pub(crate) fn suspend(&self) {
        let mut state = self.lock();
        state.suspended = true;
        self.judge(&mut state);
    }

    /// The session failed, or the sink cannot be made at all.
    pub(crate) fn failed(&self, fault: &Fault) {
        let mut state = self.lock();
        state.facts.fail(fault.class, fault.code, fault.chain());
        let class = FaultClass::ALL.iter().position(|c| *c == fault.class).unwrap_or_default();
        state.faults[class] += 1;
        self.judge(&mut state);
    }

    /// A record has its answer.
    fn settled(&self, outcome: &Outcome) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = Instant::now();
        let mut news = false;
        if outcome.delivered > 0 || !outcome.refusals.is_empty() {
            news |= state.facts.recover();
        }
        if outcome.delivered > 0 {
            news |= !state.facts.delivering;
            state.facts.delivering = true;
        }
        if let Some(refusal) = outcome.refusals.first() {
            news |= state.facts.refusal.is_none();
            state.facts.refusal = Some((refusal.code, refusal.message.clone()));
            state.refused_at = Some(now);
        }
        if outcome.delivered > 0 {
            state.delivered_at = Some(now);
        }
        if news {
            self.judge(state);
        }
    }

    fn judge(&self, state: &mut State) {
        let now = Instant::now();
        if state.refused_at.is_some_and(|at| now - at > FRESH) {
            (state.refused_at, state.facts.refusal) = (None, None);
        }
        // What was not taken may be given up meanwhile, and then there is no answer to wait for.
        if state.facts.connected && state.connected_at.is_some_and(|at| now - at > FRESH) {
            state.facts.recover();
        }
        if state.facts.refusal.is_some() {
            state.facts.delivering = state.delivered_since(now);
        }
        let verdict = match state.suspended {
            true => suspended(),
            false => state.flaps.pass(judge_sink(&state.facts), Instant::now()),
        };
        if (verdict.health, verdict.code) != (state.verdict.health, state.verdict.code) {
            let SinkIdentity { pipeline, sink, .. } = &self.identity;
            let (sink, reason, endpoint) = (&**sink, verdict.reason, &*state.endpoint);
            match verdict.code {
                Some(code) => tracing::warn!(
                    %pipeline, sink, code = %code, reason, endpoint, error = verdict.message,
                    "Sink does not deliver"
                ),
                None if verdict.health == Health::Healthy => {
                    tracing::info!(%pipeline, sink, reason, endpoint, "Sink is well");
                }
                None => tracing::info!(%pipeline, sink, reason, endpoint, "Sink waits"),
            }
            let subject = format!("sink {pipeline}/{sink}");
            self.windows.journal.note(self.clock.now(), subject, &verdict);
        }
        state.verdict = verdict;
    }

    /// What is known.
    pub fn snapshot(&self) -> StationSnapshot {
        let mut state = self.lock();
        // A verdict of flapping is held for a time, and nothing else may come to end it.
        self.judge(&mut state);
        StationSnapshot {
            endpoint: state.endpoint.clone(),
            connected: state.facts.connected,
            connected_at: state.connected_at,
            verdict: state.verdict.clone(),
            sessions: state.sessions,
            faults: state.faults,
        }
    }
}

impl State {
    /// Something was delivered lately.
    fn delivered_since(&self, now: Instant) -> bool {
        self.delivered_at.is_some_and(|at| now - at <= FRESH)
    }
}

impl SinkState for Station {
    fn connected(&self, endpoint: &str) {
        let mut state = self.lock();
        state.facts.connect();
        state.connected_at = Some(Instant::now());
        state.sessions += 1;
        state.endpoint = endpoint.to_owned();
        self.judge(&mut state);
    }
}

/// The feed of one session, which tells the station what became of records.
struct Told {
    feed: Box<dyn Feed>,
    station: Arc<Station>,
}

impl Feed for Told {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        self.feed.next()
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        self.station.settled(&outcome);
        self.feed.settle(id, outcome);
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64) {
        self.station.settled(&outcome);
        self.feed.accepted(id, outcome, mark);
    }

    fn confirmed(&mut self, mark: u64) {
        self.feed.confirmed(mark);
    }
}

/// Keeps a session of the sink running until cancelled.
pub async fn supervise(
    station: Arc<Station>,
    sink: Arc<dyn Sink>,
    stream: Stream,
    around: Surroundings,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut wait = random_below(START_SPREAD);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = cancel.cancelled() => return,
        }
        let started = Instant::now();
        let ended = session(&station, &sink, &stream, &around, &cancel).await;
        stream.session_ended(&station.identity.sink, station.accuses(&ended));
        if station.lock().facts.connected && started.elapsed() >= STABLE {
            backoff.reset();
        }
        wait = match ended {
            Ended::Cancelled => return station.closed(),
            Ended::Reconfigure => {
                station.closed();
                Duration::ZERO
            }
            Ended::Failed(fault) => {
                station.failed(&fault);
                backoff.next_wait()
            }
        };
    }
}

async fn session(
    station: &Arc<Station>,
    sink: &Arc<dyn Sink>,
    stream: &Stream,
    around: &Surroundings,
    cancel: &CancellationToken,
) -> Ended {
    let token = CancellationToken::new();
    let context = SinkContext {
        identity: station.identity.clone(),
        clock: around.clock.clone(),
        secrets: around.secrets.clone(),
        feed: Box::new(Told {
            feed: stream.feed(&station.identity.sink),
            station: station.clone(),
        }),
        state: station.clone(),
        cancel: token.clone(),
    };
    let mut task = Owned(tokio::spawn(sink.session(context)));
    tokio::select! {
        ended = &mut task.0 => ended.unwrap_or_else(|error| {
            let text = "the sink's session panicked";
            let fault = Fault::new(FaultClass::Bug, Code::SinkPanicked, text);
            Ended::Failed(fault.because(error))
        }),
        () = cancel.cancelled() => {
            token.cancel();
            let _ = tokio::time::timeout(CANCEL_GRACE, &mut task.0).await;
            Ended::Cancelled
        }
    }
}
