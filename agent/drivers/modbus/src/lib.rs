//! The Modbus TCP driver: reads coils, discrete inputs, holding and input registers.
//!
//! ```text
//! Device -> points -> lineside_core::plan::Reader -> exchange -> connection <-> wire <-> device
//!                            ^                    |
//!                            '----- outcome ------+--> decode -> Batch -> Emit
//! ```
//!
//! What is read when, in which requests, and what is learned from refusals is the reader's
//! business; when to dial again is the supervisor's. This crate owns the rest: the bytes, the
//! deadlines of one connection, and the quality of each sample.

mod connection;
pub mod decode;
mod exchange;
mod once;
mod points;
mod reason;
mod refusal;
mod session;
mod silence;
pub mod wire;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Ended, Reading, SessionContext};
use lineside_core::{Clock, Fault};
use lineside_crds::model::{Device, Point};

/// The driver of `spec.protocol.type: ModbusTCP`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModbusTcp;

impl Driver for ModbusTcp {
    fn protocol(&self) -> &'static str {
        "ModbusTCP"
    }

    fn session(&self, device: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended> {
        session::run(device, context).boxed()
    }

    fn read_once(
        &self,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Vec<Reading>, Fault>> {
        once::read(device, clock).boxed()
    }

    fn wire_address(&self, device: &Device, point: &Point) -> String {
        points::wire_address(device, point)
    }
}
