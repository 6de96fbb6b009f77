//! The driver contract (`docs/specs/driver.md`).
//!
//! A driver turns a validated [`Device`] and a [`SessionContext`] into one session future: it
//! connects, runs, and returns why it ended. It may poll, subscribe or listen; this trait knows
//! no difference. When to dial again is the supervisor's decision.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use lineside_crds::model::{Device, Point};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Origin};
use crate::clock::{Clock, UnixNanos};
use crate::fault::Fault;
use crate::status::StatusCode;
use crate::value::Value;

/// A protocol.
pub trait Driver: Send + Sync + 'static {
    /// The value of `spec.protocol.type` that it serves, e.g. `ModbusTCP`.
    fn protocol(&self) -> &'static str;

    /// One session: connects, runs, returns why it ended. Everything it started ends when the
    /// future is dropped.
    fn session(&self, device: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended>;

    /// Reads every point of `device` once, without a session; for `lineside read`.
    fn read_once(
        &self,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Vec<Reading>, Fault>>;

    /// The address of a point as it goes over the wire, e.g. `unit 1 FC3 @99 x2`.
    fn wire_address(&self, device: &Device, point: &Point) -> String;
}

/// What one session gets.
pub struct SessionContext {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Ownership generation, stamped into every batch.
    pub epoch: u64,
    /// The device's own origin; its points are those of the device, in order.
    pub origin: Arc<Origin>,
    /// Where samples and connection state go.
    pub emit: Arc<dyn Emit>,
    /// Newer versions of the device. A driver applies what it can without a new connection, and
    /// ends with [`Ended::Reconfigure`] where it cannot.
    pub updates: watch::Receiver<Update>,
    /// Cancelled when the session has to end; it does so within one second.
    pub cancel: CancellationToken,
}

/// A version of the device with the origin that its batches carry.
#[derive(Clone, Debug)]
pub struct Update {
    /// The device.
    pub device: Arc<Device>,
    /// Its origin.
    pub origin: Arc<Origin>,
}

/// Where a session's output goes.
pub trait Emit: Send + Sync {
    /// Hands a batch over. The future completes when the batch is accepted into the pipelines
    /// (it waits only for back-pressure); the [`Receipt`] completes once every pipeline of the
    /// device has captured it. Polling drivers drop the receipt; drivers whose peer wants an
    /// acknowledgement send it when the receipt completes.
    fn emit(&self, batch: Batch) -> BoxFuture<'_, Receipt>;

    /// Says that the connection is up; `endpoint` is for people and holds no secret.
    fn connected(&self, endpoint: &str);

    /// Says since when the device is being asked for samples that were not emitted yet; `None`
    /// when there is no such request. Should the agent die, this is where the gap in its data
    /// begins. Polling drivers say it before the first request of a cycle and after they emitted;
    /// for others a sample exists when it arrives, and they say nothing.
    fn asking(&self, since: Option<UnixNanos>) {
        let _ = since;
    }

    /// Whether somebody looks at raw bytes now (`lineside tap`). A driver asks once per answer
    /// and calls [`Emit::raw`] only then.
    fn raw_wanted(&self) -> bool {
        false
    }

    /// The bytes that carried the value of a point, as received.
    fn raw(&self, origin: &Arc<Origin>, point: u32, bytes: &[u8]) {
        let _ = (origin, point, bytes);
    }
}

/// Completes once a batch is captured: `Ok` when every pipeline has it, `Err` when one of them
/// refused it (the driver then must not acknowledge it to its peer).
pub struct Receipt(ReceiptState);

enum ReceiptState {
    Done,
    Waiting(oneshot::Receiver<()>),
}

/// The batch was not captured by every pipeline.
#[derive(Debug, thiserror::Error)]
#[error("batch not captured")]
pub struct NotCaptured;

impl Receipt {
    /// A receipt of a batch that is captured already.
    pub fn captured() -> Self {
        Self(ReceiptState::Done)
    }

    /// A receipt that completes when the sender is used, and fails when it is dropped unused.
    pub fn waiting() -> (oneshot::Sender<()>, Self) {
        let (tx, rx) = oneshot::channel();
        (tx, Self(ReceiptState::Waiting(rx)))
    }
}

impl Future for Receipt {
    type Output = Result<(), NotCaptured>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match &mut self.0 {
            ReceiptState::Done => std::task::Poll::Ready(Ok(())),
            ReceiptState::Waiting(rx) => Pin::new(rx).poll(cx).map(|r| r.map_err(|_| NotCaptured)),
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// It was cancelled.
    Cancelled,
    /// An update needs a new connection; the supervisor starts the next session at once.
    Reconfigure,
    /// It failed; the supervisor backs off and starts the next one.
    Failed(Fault),
}

/// One point of [`Driver::read_once`].
#[derive(Clone, Debug)]
pub struct Reading {
    /// Index of the point in the device.
    pub point: usize,
    /// Address as it went over the wire.
    pub wire_address: String,
    /// The bytes that carried the value, as received; empty when there were none.
    pub raw: Vec<u8>,
    /// The decoded value.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
    /// Arrival of the answer.
    pub time: UnixNanos,
    /// For a point that is not Good, what the device or the network said.
    pub fault: Option<Arc<Fault>>,
}
