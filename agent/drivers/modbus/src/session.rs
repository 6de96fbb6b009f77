//! One session: dials, polls as the reader says, ends with the reason. It never waits for a
//! retry and never drops a point: what was due has a sample, good or bad, in the cycle's batch.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use lineside_core::driver::{Ended, SessionContext, Update};
use lineside_core::plan::{Action, Event, Events, Reader, ReaderConfig};
use lineside_core::{Batch, Fault, FaultClass, Origin, StatusCode, UnixNanos};
use lineside_crds::diagnostics::Code;
use lineside_crds::modbus::Settings;
use lineside_crds::model::Device;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::points::{self, Points};
use crate::reason::Reasons;
use crate::silence::Silence;

/// Runs one session until it is cancelled, fails or needs another connection.
pub async fn run(device: Arc<Device>, context: SessionContext) -> Ended {
    let cancel = context.cancel.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ended::Cancelled,
        ended = dial_and_poll(device, context) => ended,
    }
}

async fn dial_and_poll(device: Arc<Device>, context: SessionContext) -> Ended {
    let mut session = match Session::start(device, context).await {
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
    events: Events,
    silence: Silence,
}

impl Session {
    async fn start(device: Arc<Device>, context: SessionContext) -> Result<Self, Fault> {
        let settings = points::settings(&device)?;
        let points = Points::new(&device)?;
        let connection = Connection::dial(settings, device.timeouts.connect).await?;
        context.emit.connected(connection.endpoint());
        let reader = reader(&device, settings, &points);
        Ok(Self {
            batch: empty_batch(&context, &context.origin, points.len()),
            reasons: Reasons::new(points.len()),
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
            let action = self.reader.next(Instant::now().into_std(), &mut self.events);
            self.publish(None).await;
            match action {
                Action::Send(request) => self.ask(&request).await?,
                Action::Wait(until) => self.idle(Instant::from_std(until)).await?,
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

    async fn ask(&mut self, request: &lineside_core::plan::Request) -> Result<(), Ended> {
        let (sent, stale) = (Instant::now(), self.connection.stats().stale);
        let exchange = Exchange::run(&mut self.connection, request).await.map_err(Ended::Failed)?;
        let arrived = Instant::now().into_std();
        self.reader.answer(request.token, arrived, exchange.outcome(), &mut self.events);
        self.publish(Some(exchange)).await;
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

    /// Moves events into the batch and hands it over when a cycle is complete.
    async fn publish(&mut self, exchange: Option<Exchange>) {
        if self.events.is_empty() {
            return;
        }
        let time = self.context.clock.now();
        if self.batch.is_empty() {
            self.batch.time_quality = self.context.clock.quality();
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Good { point, offset } => self.push_good(point, offset, time),
                Event::Bad { point, why } => {
                    let status = self.reasons.of(point, why, exchange).status();
                    self.push_bad(point, status, time);
                }
                Event::CycleDone { .. } => self.emit().await,
            }
        }
        self.events = events;
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
        if self.batch.is_empty() {
            return;
        }
        let next = empty_batch(&self.context, &self.origin, self.batch.len());
        let batch = std::mem::replace(&mut self.batch, next);
        // The device waits for no acknowledgement, so the receipt is of no use.
        drop(self.context.emit.emit(batch).await);
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
        let keeps_plan = (old.max_registers, old.max_bits, old.max_gap)
            == (new.max_registers, new.max_bits, new.max_gap)
            && reader_config(&self.device) == reader_config(&device);
        let points = Points::new(&device).map_err(Ended::Failed)?;
        // The samples so far belong to the points as they were.
        self.emit().await;
        self.reasons = self.reasons.moved(self.points.specs(), points.specs());
        if keeps_plan {
            self.reader.replace_points(points.specs().to_vec(), Instant::now().into_std());
        } else {
            // What was learned was learned with other requests.
            self.reader = reader(&device, new, &points);
        }
        self.batch = empty_batch(&self.context, &origin, points.len());
        (self.points, self.origin, self.device) = (points, origin, device);
        Ok(())
    }
}

fn empty_batch(context: &SessionContext, origin: &Arc<Origin>, capacity: usize) -> Batch {
    Batch::with_capacity(origin.clone(), context.epoch, context.clock.quality(), capacity)
}

/// A reader for all points of the device, due now.
pub(crate) fn reader(device: &Device, settings: &Settings, points: &Points) -> Reader {
    // Devices that fail together are not tried again together.
    let mut seed = DefaultHasher::new();
    device.key.hash(&mut seed);
    Reader::new(
        points.specs().to_vec(),
        points::limits(settings),
        reader_config(device),
        Instant::now().into_std(),
        seed.finish(),
    )
}

fn reader_config(device: &Device) -> ReaderConfig {
    ReaderConfig {
        request_timeout: device.timeouts.request,
        min_request_interval: device
            .max_requests_per_second
            .map(|rate| Duration::from_secs(1) / rate.max(1)),
        ..ReaderConfig::default()
    }
}
