//! One sink of one pipeline at run time: its state and its supervisor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lineside_core::clock::Clock;
use lineside_core::driver::Ended;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::secret::Secrets;
use lineside_core::sink::{Sink, SinkContext, SinkIdentity, SinkState};
use lineside_crds::diagnostics::Code;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Windows;
use crate::backoff::{Backoff, STABLE, random_below};
use crate::device::Owned;
use crate::health::{Health, Verdict};
use crate::journal::Entry;
use crate::ring::Ring;

/// How long a session may take to end after it was cancelled (sink contract).
const CANCEL_GRACE: Duration = Duration::from_secs(1);
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
    connected: bool,
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
        let verdict = Verdict {
            health: Health::Unknown,
            reason: "Connecting",
            code: None,
            message: String::new(),
        };
        let faults = [0; FaultClass::ALL.len()];
        let state = State { endpoint, connected: false, verdict, sessions: 0, faults };
        Self { identity, clock, windows, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) {
        self.lock().connected = false;
    }

    /// The sink cannot be made at all.
    pub(crate) fn refused(&self, fault: &Fault) {
        self.failed(fault);
    }

    fn failed(&self, fault: &Fault) {
        let mut state = self.lock();
        state.connected = false;
        let class = FaultClass::ALL.iter().position(|c| *c == fault.class).unwrap_or_default();
        state.faults[class] += 1;
        let verdict = Verdict {
            health: Health::Unavailable,
            reason: fault.code.reason(),
            code: Some(fault.code),
            message: fault.chain(),
        };
        if state.verdict.code != verdict.code {
            tracing::warn!(
                pipeline = %self.identity.pipeline, sink = &*self.identity.sink,
                code = %fault.code, reason = fault.code.reason(), error = verdict.message,
                "Sink does not deliver"
            );
        }
        self.set(&mut state, verdict);
    }

    fn set(&self, state: &mut State, verdict: Verdict) {
        if (state.verdict.health, state.verdict.code) != (verdict.health, verdict.code) {
            self.windows.journal.add(Entry {
                number: 0,
                time: self.clock.now(),
                subject: format!("sink {}/{}", self.identity.pipeline, self.identity.sink),
                health: verdict.health,
                reason: verdict.reason,
                code: verdict.code,
                message: verdict.message.clone(),
            });
        }
        state.verdict = verdict;
    }

    /// What is known.
    pub fn snapshot(&self) -> StationSnapshot {
        let state = self.lock();
        StationSnapshot {
            endpoint: state.endpoint.clone(),
            connected: state.connected,
            verdict: state.verdict.clone(),
            sessions: state.sessions,
            faults: state.faults,
        }
    }
}

impl SinkState for Station {
    fn connected(&self, endpoint: &str) {
        let mut state = self.lock();
        state.connected = true;
        state.sessions += 1;
        state.endpoint = endpoint.to_owned();
        let verdict = Verdict {
            health: Health::Healthy,
            reason: "Delivering",
            code: None,
            message: String::new(),
        };
        self.set(&mut state, verdict);
        tracing::info!(
            pipeline = %self.identity.pipeline, sink = &*self.identity.sink, endpoint,
            "Sink is connected"
        );
    }
}

/// Keeps a session of the sink running until cancelled.
pub async fn supervise(
    station: Arc<Station>,
    sink: Arc<dyn Sink>,
    ring: Arc<Ring>,
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
        let ended = session(&station, &sink, &ring, &around, &cancel).await;
        if station.lock().connected && started.elapsed() >= STABLE {
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
    ring: &Arc<Ring>,
    around: &Surroundings,
    cancel: &CancellationToken,
) -> Ended {
    let token = CancellationToken::new();
    let context = SinkContext {
        identity: station.identity.clone(),
        clock: around.clock.clone(),
        secrets: around.secrets.clone(),
        feed: ring.feed(&station.identity.sink),
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
