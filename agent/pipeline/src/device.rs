//! One device at run time: its hub (where sessions put samples, and what is known of it) and
//! its supervisor (which dials, backs off, and notices silence).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::clock::Clock;
use lineside_core::driver::{Driver, Emit, Ended, Receipt, SessionContext, Update};
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::{Batch, Origin, StatusCode, UnixNanos};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, Mode, Pipeline};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Windows;
use crate::backoff::{Backoff, STABLE, random_below};
use crate::health::{DeviceFacts, FlapGuard, Health, Verdict, judge_device, suspended};
use crate::last_value::{LastValues, Passed};
use crate::route::{Route, Selection, select};
use crate::snapshot::{DeviceSnapshot, PointSnapshot, PointsSnapshot};
use crate::stream::{Asking, Gate, Stream};
use crate::tap::Seen;

/// How long a session may take to end after it was cancelled (driver contract).
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// What is known of one device, and the way of its samples into the pipelines.
pub struct Hub {
    clock: Arc<dyn Clock>,
    windows: Arc<Windows>,
    asking: Arc<Asking>,
    state: Mutex<State>,
}

struct State {
    device: Arc<Device>,
    origin: Arc<Origin>,
    /// Under which the device is owned now.
    epoch: u64,
    table: LastValues,
    routes: Vec<(Route, Selection)>,
    facts: DeviceFacts,
    /// An answer came since the supervisor last asked.
    answered: bool,
    endpoint: String,
    flaps: FlapGuard,
    verdict: Verdict,
    since: Instant,
    counters: DeviceCounters,
}

/// Running totals of one device.
#[derive(Clone, Debug, Default)]
pub struct DeviceCounters {
    /// Samples with quality Good or Uncertain that drivers emitted.
    pub good: u64,
    /// Bad samples that drivers or the staleness rule emitted.
    pub bad: u64,
    /// Of those, repetitions of a Bad status that were absorbed.
    pub absorbed: u64,
    /// Sessions that got connected.
    pub sessions: u64,
    /// Sessions that failed, by [`FaultClass::ALL`].
    pub faults: [u64; FaultClass::ALL.len()],
}

/// Whether a sample of this quality was made of an answer, be it a refusal, and not of silence.
fn is_answer(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::BAD_TIMEOUT
            | StatusCode::BAD_NO_COMMUNICATION
            | StatusCode::BAD_COMMUNICATION_ERROR
    )
}

/// The origin of a device's own samples.
pub fn origin_of(device: &Device) -> Arc<Origin> {
    let points: Vec<Arc<str>> = device.points.iter().map(|p| p.name.clone()).collect();
    Arc::new(Origin::new(device.key.clone(), None, points.into(), device.location.clone()))
}

impl Hub {
    /// A hub for a device that was not seen before.
    pub fn new(device: Arc<Device>, clock: Arc<dyn Clock>, windows: Arc<Windows>) -> Self {
        let now = Instant::now();
        let facts = DeviceFacts { waiting: device.points.len(), ..DeviceFacts::default() };
        let state = State {
            origin: origin_of(&device),
            epoch: 0,
            table: LastValues::new(&device, now),
            routes: Vec::new(),
            verdict: match device.mode {
                Mode::Running => judge_device(&facts, device.availability),
                Mode::Suspended => suspended(),
            },
            facts,
            answered: false,
            endpoint: device.protocol.endpoint(),
            flaps: FlapGuard::default(),
            since: now,
            counters: DeviceCounters::default(),
            device,
        };
        Self { clock, windows, asking: Arc::default(), state: Mutex::new(state) }
    }

    /// Since when the device is being asked.
    pub(crate) fn asked(&self) -> &Arc<Asking> {
        &self.asking
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device and its origin, as a session gets them.
    pub fn current(&self) -> Update {
        let state = self.lock();
        Update { device: state.device.clone(), origin: state.origin.clone() }
    }

    /// A new version of the device; what is known of unchanged points stays.
    pub fn replace(&self, device: Arc<Device>) -> Update {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut table = LastValues::new(&device, Instant::now());
        table.carry_over(&device, &state.device, &state.table);
        state.table = table;
        state.origin = origin_of(&device);
        state.endpoint = device.protocol.endpoint();
        state.device = device;
        for (route, selection) in &mut state.routes {
            *selection = select(&route.pipeline, &state.device.labels, &state.origin);
        }
        self.judge(state);
        Update { device: state.device.clone(), origin: state.origin.clone() }
    }

    /// The ownership generation of everything that is emitted from here on. Sessions take it when
    /// they start, so none may run while it changes.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// The pipelines that exist now. `first` runs before any batch takes the new routes, and after
    /// the last one that took the former ones.
    pub fn set_routes(&self, routes: &[Route], first: &dyn Fn()) {
        let mut state = self.lock();
        first();
        let former = std::mem::take(&mut state.routes);
        state.routes = routes
            .iter()
            .filter_map(|route| {
                let same = |(f, _): &&(Route, _)| f.pipeline.key == route.pipeline.key;
                let former = former.iter().find(same).map(|(former, _)| former);
                match select(&route.pipeline, &state.device.labels, &state.origin) {
                    Selection::Nothing => None,
                    some => Some((route.at_device(&state.device.key, former), some)),
                }
            })
            .collect();
        let goes_on = |former: &Route| state.routes.iter().any(|(r, _)| r.goes_on_with(former));
        let now = self.clock.now();
        for (former, _) in former.iter().filter(|(former, _)| !goes_on(former)) {
            former.close(now);
        }
    }

    /// Keeps what waits in the transforms of pipelines that end here.
    pub fn close_routes(&self, ends: impl Fn(&Pipeline) -> bool) {
        let state = self.lock();
        let now = self.clock.now();
        for (route, _) in state.routes.iter().filter(|(route, _)| ends(&route.pipeline)) {
            route.close(now);
        }
    }

    /// Takes a batch from a session.
    fn accept(&self, batch: Batch) -> Receipt {
        self.accept_into(&mut self.lock(), batch)
    }

    /// Stores that make the device wait.
    fn pressing(&self) -> Vec<Stream> {
        let state = self.lock();
        state.routes.iter().map(|(r, _)| &r.stream).filter(|s| s.presses()).cloned().collect()
    }

    /// The session waits for the stores of pipelines, or no longer does.
    fn hold(&self, held: bool) {
        let mut state = self.lock();
        state.facts.held = held;
        self.judge(&mut state);
    }

    fn accept_into(&self, state: &mut State, batch: Batch) -> Receipt {
        let bad = batch.iter().filter(|s| s.status.is_bad()).count() as u64;
        state.counters.bad += bad;
        state.counters.good += batch.len() as u64 - bad;
        // Only the device's own, current points have deadlines and a last value; a batch of an
        // older version or of a learned device goes on as it is.
        let own = Arc::ptr_eq(batch.origin(), &state.origin);
        if own && !batch.is_empty() {
            state.facts.answers =
                state.facts.connected && batch.iter().any(|s| is_answer(s.status));
            if state.facts.answers {
                state.facts.fault = None;
                state.answered = true;
            }
        }
        let batch = if own {
            match state.table.pass(batch, Instant::now()) {
                Passed::Whole(batch) => batch,
                Passed::Part(batch, absorbed) => {
                    state.counters.absorbed += absorbed as u64;
                    batch
                }
            }
        } else {
            batch
        };
        let batch = Arc::new(batch);
        self.windows.tap.show(|| Seen::Decoded(batch.clone()));
        let (part, receipt) = Gate::open();
        let now = self.clock.now();
        for (route, selection) in &state.routes {
            if own {
                route.deliver(&batch, selection, now, &part);
            } else {
                let selection = select(&route.pipeline, &state.device.labels, batch.origin());
                route.deliver(&batch, &selection, now, &part);
            }
        }
        part.done(true);
        self.judge(state);
        receipt
    }

    fn session_connected(&self, endpoint: &str) {
        let mut state = self.lock();
        state.facts.connected = true;
        state.counters.sessions += 1;
        state.endpoint = endpoint.to_owned();
        self.judge(&mut state);
    }

    fn session_failed(&self, fault: &Fault) {
        let mut state = self.lock();
        (state.facts.connected, state.facts.answers) = (false, false);
        state.facts.fault = Some((fault.class, fault.code, fault.chain()));
        let class = FaultClass::ALL.iter().position(|c| *c == fault.class).unwrap_or_default();
        state.counters.faults[class] += 1;
        self.judge(&mut state);
    }

    fn session_closed(&self) {
        let mut state = self.lock();
        (state.facts.connected, state.facts.answers) = (false, false);
        self.judge(&mut state);
    }

    /// Turns silent points Bad, and looks at health again.
    fn tick(&self) {
        let mut state = self.lock();
        let now = self.clock.now();
        state.routes.iter().for_each(|(route, _)| route.tick(now));
        let down = !state.facts.connected;
        let status = match &state.facts.fault {
            _ if state.facts.held => FaultClass::Overload.status(),
            Some((class, ..)) => class.status(),
            None if down => StatusCode::BAD_NO_COMMUNICATION,
            None => StatusCode::BAD_TIMEOUT,
        };
        let overdue: Vec<u32> = state.table.overdue(Instant::now(), down).collect();
        if overdue.is_empty() {
            self.judge(&mut state);
            return;
        }
        // Under the same lock, so that a good sample in between is not overtaken.
        self.tell_bad(&mut state, overdue, status);
    }

    fn tell_bad(&self, state: &mut State, points: Vec<u32>, status: StatusCode) {
        let now = self.clock.now();
        let (origin, epoch) = (state.origin.clone(), state.epoch);
        let mut batch = Batch::with_capacity(origin, epoch, self.clock.quality(), points.len());
        for point in points {
            batch.push_bad(point, status, now);
        }
        // Nobody waits for what the supervisor says.
        drop(self.accept_into(state, batch));
    }

    /// The device is suspended: its points are out of service, and say so once.
    pub fn suspend(&self) {
        let mut state = self.lock();
        let points = (0..state.device.points.len() as u32).collect();
        self.tell_bad(&mut state, points, StatusCode::BAD_OUT_OF_SERVICE);
        drop(state);
        self.close_routes(|_| true);
    }

    /// Sessions begin (again) now: what was known before a suspension is not about them.
    pub fn start(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.table = LastValues::new(&state.device, Instant::now());
        state.facts = DeviceFacts::default();
        state.flaps = FlapGuard::default();
        self.judge(state);
    }

    /// Whether the device has answered since the last call.
    fn take_answered(&self) -> bool {
        std::mem::take(&mut self.lock().answered)
    }

    fn tick_interval(&self) -> Duration {
        let shortest = self.lock().table.shortest_interval();
        (shortest / 2).clamp(Duration::from_millis(100), Duration::from_secs(1))
    }

    fn judge(&self, state: &mut State) {
        (state.facts.good, state.facts.bad, state.facts.waiting) = state.table.counts();
        let now = Instant::now();
        let verdict = match state.device.mode {
            Mode::Running => {
                state.flaps.pass(judge_device(&state.facts, state.device.availability), now)
            }
            Mode::Suspended => suspended(),
        };
        if (verdict.health, verdict.code) != (state.verdict.health, state.verdict.code) {
            state.since = now;
            let device = &state.device.key;
            let (reason, endpoint) = (verdict.reason, &*state.endpoint);
            match verdict.code {
                Some(code) => tracing::warn!(
                    %device, reason, code = %code, endpoint, message = verdict.message,
                    "Device is not healthy"
                ),
                None if verdict.health == Health::Healthy => {
                    tracing::info!(%device, reason, endpoint, "Device is well");
                }
                // It connects, or nobody wants it.
                None => tracing::info!(%device, reason, endpoint, "Device waits"),
            }
            let subject = format!("device {device}");
            self.windows.journal.note(self.clock.now(), subject, &verdict);
        }
        state.verdict = verdict;
    }

    /// Last values of its points.
    pub fn points(&self) -> PointsSnapshot {
        let state = self.lock();
        let points = state.table.entries().iter().map(|e| PointSnapshot {
            value: e.value.clone(),
            status: e.status,
            time: e.time,
        });
        PointsSnapshot { device: state.device.clone(), points: points.collect() }
    }

    /// What is known, for metrics and the local page.
    pub fn snapshot(&self) -> DeviceSnapshot {
        let state = self.lock();
        DeviceSnapshot {
            device: state.device.clone(),
            endpoint: state.endpoint.clone(),
            connected: state.facts.connected,
            verdict: state.verdict.clone(),
            since: state.since.elapsed(),
            good: state.facts.good,
            bad: state.facts.bad,
            waiting: state.facts.waiting,
            counters: state.counters.clone(),
        }
    }
}

/// How long a session waits for one store before it looks which stores press.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// As long as a session waits for the stores of pipelines.
struct Held<'a>(&'a Hub);

impl<'a> Held<'a> {
    fn begin(hub: &'a Hub) -> Self {
        hub.hold(true);
        Self(hub)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.hold(false);
    }
}

impl Emit for Hub {
    #[allow(clippy::async_yields_async, reason = "a receipt is a future of its own, by contract")]
    fn emit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        if self.pressing().is_empty() {
            return Box::pin(std::future::ready(self.accept(batch)));
        }
        Box::pin(async move {
            let held = Held::begin(self);
            // Looked at again now and then: the store that presses may be gone, or others press.
            while let Some(stream) = self.pressing().pop() {
                let _ = tokio::time::timeout(LOOK_AGAIN, stream.room()).await;
            }
            drop(held);
            self.accept(batch)
        })
    }

    fn asking(&self, since: Option<UnixNanos>) {
        self.asking.set(since);
    }

    fn connected(&self, endpoint: &str) {
        self.session_connected(endpoint);
    }

    fn raw_wanted(&self) -> bool {
        self.windows.tap.wanted()
    }

    fn raw(&self, origin: &Arc<Origin>, point: u32, bytes: &[u8]) {
        let (origin, bytes, time) = (origin.clone(), bytes.into(), self.clock.now());
        self.windows.tap.show(|| Seen::Raw { origin, point, bytes, time });
    }
}

/// Keeps a session running until cancelled. Ends the session's task when dropped.
pub async fn supervise(
    hub: Arc<Hub>,
    driver: Option<Arc<dyn Driver>>,
    mut updates: watch::Receiver<Update>,
    cancel: CancellationToken,
) {
    let mut ticker = tokio::time::interval(hub.tick_interval());
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut backoff = Backoff::default();
    let Some(driver) = driver else {
        let text = "this build has no driver for the protocol";
        hub.session_failed(&Fault::new(FaultClass::Config, Code::NotInThisBuild, text));
        while wait(&hub, &mut ticker, &cancel, &mut updates, None).await != Waited::Cancelled {}
        return;
    };
    // Many devices of one agent do not dial in the same instant.
    let jitter = random_below(hub.tick_interval().min(Duration::from_millis(500)));
    if wait(&hub, &mut ticker, &cancel, &mut updates, Some(jitter)).await == Waited::Cancelled {
        return;
    }
    loop {
        let started = Instant::now();
        let asked = updates.borrow().device.protocol.clone();
        let ended = session(&hub, &driver, &mut updates, &mut ticker, &cancel).await;
        // A session that was answered and did not end at once was a success, whatever ended it:
        // many devices close connections that are idle.
        let lasted = hub.take_answered() && started.elapsed() >= STABLE;
        let fault = match ended {
            Ended::Cancelled => return hub.session_closed(),
            Ended::Reconfigure => {
                hub.session_closed();
                continue;
            }
            Ended::Failed(fault) => fault,
        };
        if lasted {
            backoff.reset();
        }
        hub.session_failed(&fault);
        let now = updates.borrow().device.protocol.clone();
        if updates.has_changed().unwrap_or(false) && now == asked {
            // The session has applied it; only another way to the device is worth a redial.
            updates.mark_unchanged();
        }
        let limit = Some(backoff.next_wait());
        match wait(&hub, &mut ticker, &cancel, &mut updates, limit).await {
            Waited::Over => {}
            // Somebody has just corrected the address: no reason to wait for the old one.
            Waited::Updated => backoff.reset(),
            Waited::Cancelled => return,
        }
    }
}

/// Runs one session to its end, ticking meanwhile.
async fn session(
    hub: &Arc<Hub>,
    driver: &Arc<dyn Driver>,
    updates: &mut watch::Receiver<Update>,
    ticker: &mut tokio::time::Interval,
    cancel: &CancellationToken,
) -> Ended {
    // Seen: what the session gets from here on is newer.
    let Update { device, origin } = updates.borrow_and_update().clone();
    let token = CancellationToken::new();
    let context = SessionContext {
        clock: hub.clock.clone(),
        epoch: hub.epoch(),
        origin,
        emit: hub.clone(),
        updates: updates.clone(),
        cancel: token.clone(),
    };
    let mut task = Owned(tokio::spawn(driver.session(device, context)));
    let _asked = Asked(&hub.asking);
    loop {
        tokio::select! {
            ended = &mut task.0 => return ended.unwrap_or_else(panicked),
            _ = ticker.tick() => hub.tick(),
            () = cancel.cancelled() => {
                token.cancel();
                // Past its grace it is aborted by dropping.
                let _ = tokio::time::timeout(CANCEL_GRACE, &mut task.0).await;
                return Ended::Cancelled;
            }
        }
    }
}

/// However a session ends, nothing is asked any more.
struct Asked<'a>(&'a Asking);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

fn panicked(error: tokio::task::JoinError) -> Ended {
    let text = "the driver's session panicked";
    Ended::Failed(Fault::new(FaultClass::Bug, Code::DriverPanicked, text).because(error))
}

#[derive(Debug, PartialEq, Eq)]
enum Waited {
    Over,
    Updated,
    Cancelled,
}

/// Ticks until `limit` is over, the device changes, or it is cancelled.
async fn wait(
    hub: &Hub,
    ticker: &mut tokio::time::Interval,
    cancel: &CancellationToken,
    updates: &mut watch::Receiver<Update>,
    limit: Option<Duration>,
) -> Waited {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Waited::Over,
            () = cancel.cancelled() => return Waited::Cancelled,
            Ok(()) = updates.changed() => return Waited::Updated,
            _ = ticker.tick() => hub.tick(),
        }
    }
}

/// A task that ends with its owner.
pub(crate) struct Owned<T>(pub JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
