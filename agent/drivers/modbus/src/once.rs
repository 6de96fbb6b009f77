//! Reads every point once, for `lineside read`: the same planning and the same exchange as in a
//! session, and the bytes as they came.

use std::sync::Arc;

use lineside_core::driver::Reading;
use lineside_core::plan::{Action, Event, Events, ReaderConfig};
use lineside_core::{Clock, Fault, FaultClass, StatusCode, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::Device;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::points::{self, Points};
use crate::reason::Reasons;
use crate::session;

/// One reading of each point, in the order of the device.
///
/// # Errors
/// There was no connection. What happens later is in the readings.
pub async fn read(device: Arc<Device>, clock: Arc<dyn Clock>) -> Result<Vec<Reading>, Fault> {
    let settings = points::settings(&device)?;
    let (points, specs) = Points::new(&device)?;
    let mut connection = Connection::dial(settings, device.timeouts.connect).await?;
    // Nobody waits for the others, so each unit gets its time.
    let config = ReaderConfig { fair: false, ..session::reader_config(&device) };
    let mut reader = session::reader(&device, settings, specs, config);
    let mut round = Round::new(device, points, clock);
    let mut events = Events::new();
    while round.is_open() {
        let action = reader.next(Instant::now().into_std(), &mut events);
        round.take(&mut events, None, &connection);
        if !round.is_open() {
            break;
        }
        match action {
            Action::Wait(until) => tokio::time::sleep_until(Instant::from_std(until)).await,
            Action::Send(request) => {
                let exchange = match Exchange::run(&mut connection, &request).await {
                    Ok(exchange) => exchange,
                    Err(fault) => {
                        round.close(Arc::new(fault));
                        break;
                    }
                };
                let arrived = Instant::now().into_std();
                reader.answer(request.token, arrived, exchange.outcome(), &mut events);
                round.take(&mut events, Some(exchange), &connection);
            }
        }
    }
    Ok(round.readings.into_iter().flatten().collect())
}

/// The readings so far; open until each point has one.
struct Round {
    device: Arc<Device>,
    points: Points,
    clock: Arc<dyn Clock>,
    reasons: Reasons,
    readings: Vec<Option<Reading>>,
    missing: usize,
}

impl Round {
    fn new(device: Arc<Device>, points: Points, clock: Arc<dyn Clock>) -> Self {
        let count = points.len();
        let reasons = Reasons::default();
        Self { device, points, clock, reasons, readings: vec![None; count], missing: count }
    }

    fn is_open(&self) -> bool {
        self.missing > 0
    }

    fn take(&mut self, events: &mut Events, exchange: Option<Exchange>, connection: &Connection) {
        for event in events.drain(..) {
            match event {
                Event::Good { point, offset } => self.good(point, offset, connection.data()),
                Event::Bad { point, why } => {
                    let reason = self.reasons.of(point, why, exchange);
                    self.bad(point, Vec::new(), reason.status(), Arc::new(reason.fault()));
                }
                Event::CycleDone { .. } => {}
            }
        }
    }

    fn good(&mut self, point: usize, offset: u32, data: &[u8]) {
        let raw = self.points.raw(point, offset, data);
        match self.points.decode(point, offset, data) {
            Ok(value) => self.put(point, raw, value, StatusCode::GOOD, None),
            Err(e) => {
                let text = "the answer is no value of the point's type";
                let fault = Fault::new(FaultClass::Config, Code::AnswerNotUsable, text).because(e);
                self.bad(point, raw, StatusCode::BAD_DECODING_ERROR, Arc::new(fault));
            }
        }
    }

    fn bad(&mut self, point: usize, raw: Vec<u8>, status: StatusCode, fault: Arc<Fault>) {
        self.put(point, raw, Value::Null, status, Some(fault));
    }

    /// Points without a reading get this fault.
    fn close(&mut self, fault: Arc<Fault>) {
        for point in 0..self.readings.len() {
            self.bad(point, Vec::new(), fault.class.status(), fault.clone());
        }
    }

    fn put(
        &mut self,
        index: usize,
        raw: Vec<u8>,
        value: Value,
        status: StatusCode,
        fault: Option<Arc<Fault>>,
    ) {
        let (Some(slot), Some(point)) =
            (self.readings.get_mut(index), self.device.points.get(index))
        else {
            return;
        };
        // A point may be due again before the slowest has answered; its first reading stands.
        if slot.is_some() {
            return;
        }
        let wire_address = points::wire_address(&self.device, point);
        let time = self.clock.now();
        *slot = Some(Reading { point: index, wire_address, raw, value, status, time, fault });
        self.missing -= 1;
    }
}
