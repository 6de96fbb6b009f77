//! One session: dials, polls as the reader says, ends with the reason. It never waits for a
//! retry and never drops a point: what was due has a sample, good or bad, in the cycle's batch.
//! A cycle that takes long is handed over in parts, so that no value waits for a dead unit.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lineside_core::driver::{Ended, SessionContext, Update};
use lineside_core::plan::{Action, Event, Events, PointSpec, Reader, ReaderConfig, Request};
use lineside_core::{Batch, Fault, FaultClass, Origin, StatusCode, UnixNanos};
use lineside_crds::diagnostics::Code;
use lineside_crds::modbus::Settings;
use lineside_crds::model::Device;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::memory::{Memory, Remembered};
use crate::points::{self, Points};
use crate::reason::Reasons;
use crate::silence::Silence;
use crate::slowness::Slowness;

/// Longest time that a sample waits for the rest of its cycle.
const MAX_HOLD: Duration = Duration::from_millis(500);

/// Runs one session until it is cancelled, fails or needs another connection.
pub async fn run(device: Arc<Device>, context: SessionContext, memory: Arc<Memory>) -> Ended {
    let cancel = context.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ended::Cancelled,
        ended = dial_and_poll(device, context, memory) => ended,
    }
}

async fn dial_and_poll(device: Arc<Device>, context: SessionContext, memory: Arc<Memory>) -> Ended {
    let mut session = match Session::start(device, context, memory).await {
        Ok(session) => session,
        Err(fault) => return Ended::Failed(fault),
    };
    let Err(ended) = session.poll().await;
    if let Ended::Failed(fault) = &ended {
        session.give_up(fault);
    }
    // What was read before the end is as true as the rest.
    session.emit().await;
    tracing::debug!(
        device = %session.device.key,
        endpoint = session.connection.endpoint(),
        stats = ?session.connection.stats(),
        "Session ended"
    );
    ended
}

struct Session {
    context: SessionContext,
    device: Arc<Device>,
    origin: Arc<Origin>,
    points: Points,
    reader: Reader,
    reasons: Reasons,
    connection: Connection,
    batch: Batch,
    /// When the first sample of the batch was made, and how long it may wait for the others.
    since: Option<Instant>,
    hold: Duration,
    /// A request was made since the last batch was handed over.
    asking: bool,
    /// Samples of the last batch: room that the next one will need.
    cycle_len: usize,
    events: Events,
    silence: Silence,
    slowness: Slowness,
    memory: Arc<Memory>,
}

/// When something happened, by both clocks.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    time: UnixNanos,
}

impl Moment {
    fn now(context: &SessionContext) -> Self {
        Self { at: Instant::now(), time: context.clock.now() }
    }
}

impl Session {
    async fn start(
        device: Arc<Device>,
        context: SessionContext,
        memory: Arc<Memory>,
    ) -> Result<Self, Fault> {
        let settings = points::settings(&device)?;
        let (points, specs) = Points::new(&device)?;
        let connection = Connection::dial(settings, device.timeouts.connect).await?;
        context.emit.connected(connection.endpoint());
        let mut reader = reader(&device, settings, specs.clone(), reader_config(&device));
        let (mut reasons, mut slowness) = (Reasons::default(), Slowness::default());
        if let Some(known) = memory.take(&device) {
            let (_, was) = Points::new(&known.device)?;
            reasons = known.reasons.moved(&was, &specs);
            slowness = known.slowness;
            reader = reader.with(known.learned);
        }
        Ok(Self {
            since: None,
            hold: hold(&device),
            asking: false,
            batch: empty_batch(&context, &context.origin),
            cycle_len: points.len(),
            reasons,
            slowness,
            memory,
            origin: context.origin.clone(),
            events: Events::new(),
            silence: Silence::default(),
            context,
            device,
            points,
            reader,
            connection,
        })
    }

    async fn poll(&mut self) -> Result<Infallible, Ended> {
        loop {
            // Not `Receiver::has_changed`: the last update counts even when its sender is gone.
            let changed = self.context.updates.borrow().has_changed();
            if changed {
                self.update().await?;
            }
            self.emit_if_old().await;
            let now = Instant::now();
            let action = self.reader.next(now.into_std(), &mut self.events);
            self.publish(None, None).await;
            self.report_slowness(now);
            match action {
                Action::Send(request) => self.ask(&request).await?,
                Action::Wait(until) => {
                    let until = Instant::from_std(until);
                    self.idle(self.old_at().map_or(until, |at| at.min(until))).await?;
                }
            }
        }
    }

    /// Waits for the next request, an update or the end of the connection.
    async fn idle(&mut self, until: Instant) -> Result<(), Ended> {
        let updates = &mut self.context.updates;
        let changed = async {
            // Without a sender there is no update any more; the session goes on as it is.
            if updates.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            updates.mark_changed();
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            () = changed => Ok(()),
            fault = self.connection.watch() => Err(Ended::Failed(fault)),
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<(), Ended> {
        if !self.asking {
            self.asking = true;
            self.context.emit.asking(Some(self.context.clock.now()));
        }
        let (sent, stale) = (Instant::now(), self.connection.stats().stale);
        let (exchange, moment) = self.exchange(request).await.map_err(Ended::Failed)?;
        let arrived = moment.at.into_std();
        self.reader.answer(request.token, arrived, exchange.outcome(), &mut self.events);
        self.publish(Some(exchange), Some(moment)).await;
        if exchange.answered() || self.connection.stats().stale != stale {
            // An answer that is too late is one all the same: a new connection would not help.
            self.silence.broken();
        } else if let Exchange::Timeout(request, _) = exchange {
            self.silence.lasts(request.unit, sent.into_std());
            let limit = self.device.timeouts.request;
            if let Some(count) = self.silence.verdict(self.points.units(), limit, arrived) {
                let endpoint = self.connection.endpoint();
                let text = format!("no answer from {endpoint} to {count} requests in a row");
                let fault = Fault::new(FaultClass::Timeout, Code::RequestTimeout, text);
                return Err(Ended::Failed(fault));
            }
        }
        Ok(())
    }

    /// Makes one request. What was read before does not wait for an answer that is slow.
    async fn exchange(&mut self, request: &Request) -> Result<(Exchange, Moment), Fault> {
        let (old_at, sent) = (self.old_at(), self.context.clock.now());
        let (connection, context) = (&mut self.connection, &self.context);
        let exchange = async {
            let exchange = Exchange::run(connection, request).await?;
            // Now and not later: the pipeline may make the session wait.
            Ok((exchange, Moment::now(context)))
        };
        let Some(old_at) = old_at else { return exchange.await };
        let mut exchange = pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => return done,
            () = tokio::time::sleep_until(old_at) => {}
        }
        self.since = None;
        let next = empty_batch(context, &self.origin);
        let batch = std::mem::replace(&mut self.batch, next);
        let hand_over = async {
            drop(context.emit.emit(batch).await);
            // Of what is asked for, this request alone has nothing to show yet.
            context.emit.asking(Some(sent));
        };
        tokio::join!(exchange, hand_over).0
    }

    /// When the batch has waited for the rest of its cycle for long enough.
    fn old_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.hold)
    }

    async fn emit_if_old(&mut self) {
        if self.old_at().is_some_and(|at| at <= Instant::now()) {
            self.emit().await;
        }
    }

    fn report_slowness(&mut self, now: Instant) {
        if let Some(count) = self.slowness.news(self.reader.missed_ticks(), now) {
            tracing::warn!(
                device = %self.device.key,
                count,
                "Device is slower than its intervals"
            );
        }
    }

    /// Moves events into the batch and hands it over when a cycle is complete. `moment` is that
    /// of the answer, if there was one.
    async fn publish(&mut self, exchange: Option<Exchange>, moment: Option<Moment>) {
        if self.events.is_empty() {
            return;
        }
        let Moment { at, time } = moment.unwrap_or_else(|| Moment::now(&self.context));
        if self.batch.is_empty() {
            self.since = Some(at);
            self.batch.time_quality = self.context.clock.quality();
            self.batch.reserve(self.cycle_len);
        }
        // Asked once per answer, so that it costs nothing while nobody looks.
        let show_raw = exchange.is_some() && self.context.emit.raw_wanted();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Good { point, offset } => {
                    if show_raw {
                        self.show_raw(point, offset);
                    }
                    self.push_good(point, offset, time);
                }
                Event::Bad { point, why } => {
                    let status = self.reasons.of(point, why, exchange).status();
                    self.push_bad(point, status, time);
                }
                Event::CycleDone { .. } => self.emit().await,
            }
        }
        self.events = events;
    }

    /// Shows the bytes of a value to whoever looks, also when they are no value of its type.
    fn show_raw(&self, point: usize, offset: u32) {
        let Ok(index) = u32::try_from(point) else { return };
        let bytes = self.points.raw(point, offset, self.connection.data());
        self.context.emit.raw(&self.origin, index, &bytes);
    }

    fn push_good(&mut self, point: usize, offset: u32, time: UnixNanos) {
        let Ok(index) = u32::try_from(point) else { return };
        match self.points.decode(point, offset, self.connection.data()) {
            Ok(value) => self.batch.push_good(index, value, time),
            Err(_) => self.batch.push_bad(index, StatusCode::BAD_DECODING_ERROR, time),
        }
    }

    fn push_bad(&mut self, point: usize, status: StatusCode, time: UnixNanos) {
        if let Ok(index) = u32::try_from(point) {
            self.batch.push_bad(index, status, time);
        }
    }

    /// The session fails: points that are due and have no answer are Bad. The others are not due
    /// yet; the supervisor makes them Bad when they are, unless the next session reads them
    /// first. Many devices close an idle connection, and that alone spoils no value.
    fn give_up(&mut self, fault: &Fault) {
        let (time, status) = (self.context.clock.now(), fault.class.status());
        let mut due = Events::new();
        self.reader.abort(&mut due);
        for event in due {
            if let Event::Bad { point, .. } = event {
                self.push_bad(point, status, time);
            }
        }
    }

    /// Hands the batch over and waits as long as the pipeline makes it wait.
    async fn emit(&mut self) {
        self.since = None;
        if self.batch.is_empty() {
            return;
        }
        self.cycle_len = self.batch.len();
        let next = empty_batch(&self.context, &self.origin);
        let batch = std::mem::replace(&mut self.batch, next);
        // The device waits for no acknowledgement, so the receipt is of no use.
        drop(self.context.emit.emit(batch).await);
        self.asking = false;
        self.context.emit.asking(None);
    }

    /// Applies a newer version of the device, without a new connection where that is possible.
    async fn update(&mut self) -> Result<(), Ended> {
        let Update { device, origin } = self.context.updates.borrow_and_update().clone();
        if Arc::ptr_eq(&device, &self.device) {
            return Ok(());
        }
        let (Ok(old), Ok(new)) = (points::settings(&self.device), points::settings(&device)) else {
            return Err(Ended::Reconfigure);
        };
        if (&old.host, old.port) != (&new.host, new.port) {
            return Err(Ended::Reconfigure);
        }
        let keeps_plan = is_read_alike(&self.device, &device);
        let (_, was) = Points::new(&self.device).map_err(Ended::Failed)?;
        let (points, specs) = Points::new(&device).map_err(Ended::Failed)?;
        // The samples so far belong to the points as they were.
        self.emit().await;
        self.reasons = self.reasons.moved(&was, &specs);
        if keeps_plan {
            self.reader.replace_points(specs, Instant::now().into_std());
        } else {
            // What was learned was learned with other requests.
            self.reader = reader(&device, new, specs, reader_config(&device));
        }
        self.batch = empty_batch(&self.context, &origin);
        self.hold = hold(&device);
        (self.points, self.origin, self.device) = (points, origin, device);
        Ok(())
    }
}

/// However it ends, also when it is cancelled: what was learned is there for the next one.
impl Drop for Session {
    fn drop(&mut self) {
        self.memory.put(Remembered {
            device: self.device.clone(),
            learned: self.reader.learned(),
            reasons: std::mem::take(&mut self.reasons),
            slowness: std::mem::take(&mut self.slowness),
        });
    }
}

/// How long a sample may wait for the rest of its cycle.
fn hold(device: &Device) -> Duration {
    device.points.iter().map(|p| p.interval).min().map_or(MAX_HOLD, |i| i.min(MAX_HOLD))
}

/// Whether what was learned about one version of a device holds for the other: same peer, same
/// limits of requests, same times.
pub(crate) fn is_read_alike(old: &Device, new: &Device) -> bool {
    let requests = |device| {
        let s: &Settings = points::settings(device).ok()?;
        Some((s.host.clone(), s.port, s.max_registers, s.max_bits, s.max_gap))
    };
    requests(old) == requests(new) && reader_config(old) == reader_config(new)
}

/// A batch without room: between cycles a session holds no memory for samples.
fn empty_batch(context: &SessionContext, origin: &Arc<Origin>) -> Batch {
    Batch::with_capacity(origin.clone(), context.epoch, context.clock.quality(), 0)
}

/// A reader for all points of the device, due now.
pub(crate) fn reader(
    device: &Device,
    settings: &Settings,
    points: Vec<PointSpec>,
    config: ReaderConfig,
) -> Reader {
    // Devices that fail together are not tried again together.
    let mut seed = DefaultHasher::new();
    device.key.hash(&mut seed);
    Reader::new(points, points::limits(settings), config, Instant::now().into_std(), seed.finish())
}

pub(crate) fn reader_config(device: &Device) -> ReaderConfig {
    ReaderConfig {
        request_timeout: device.timeouts.request,
        min_request_interval: device
            .max_requests_per_second
            .map(|rate| Duration::from_secs(1) / rate.max(1)),
        ..ReaderConfig::default()
    }
}
