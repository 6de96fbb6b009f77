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
mod memory;
mod once;
mod points;
mod reason;
mod refusal;
mod session;
mod silence;
mod slowness;
pub mod wire;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Ended, Reading, SessionContext};
use lineside_core::{Clock, Fault};
use lineside_crds::model::{Device, Point};

use crate::memory::Memory;

/// The driver of `spec.protocol.type: ModbusTCP`. It remembers what its sessions have learned about
/// their devices, so all sessions of a process are those of one driver (or of its clones).
#[derive(Clone, Debug, Default)]
pub struct ModbusTcp {
    memory: Arc<Memory>,
}

impl Driver for ModbusTcp {
    fn protocol(&self) -> &'static str {
        "ModbusTCP"
    }

    fn session(&self, device: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended> {
        session::run(device, context, self.memory.clone()).boxed()
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
