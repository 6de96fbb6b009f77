//! Conformance kit for drivers: `docs/specs/driver.md` as checks.
//!
//! A driver's tests give a [`DriverCase`] (it dials a peer) or a [`ListenerCase`] (it is dialled,
//! over UDP) and run [`check`] or [`check_listener`] on a multi-threaded runtime:
//!
//! ```text
//! struct Case;
//!
//! impl DriverCase for Case {
//!     fn driver(&self) -> Arc<dyn Driver> { Arc::new(Modbus::new()) }
//!     fn style(&self) -> Style { Style::Polls }
//!     // At least two points, interval 100 ms, timeouts 300 ms.
//!     fn device(&self, peer: SocketAddr) -> Device { device_at(peer) }
//!     fn good_peer(&self) -> BoxFuture<'_, io::Result<Box<dyn GoodPeer>>> {
//!         Box::pin(async { Ok(Box::new(RealServer::start().await?) as Box<dyn GoodPeer>) })
//!     }
//!     // An answer to a foreign transaction: never right, whatever follows.
//!     fn hostile(&self) -> Vec<Vec<u8>> { vec![vec![0xFF, 0xFE, 0, 0, 0, 5, 1, 3, 2]] }
//!     fn shortest_answer(&self) -> usize { 11 }
//! }
//!
//! #[tokio::test(flavor = "multi_thread")]
//! async fn keeps_the_driver_contract() {
//!     kit::driver::check(&Case).await.assert();
//! }
//! ```
//!
//! [`Session`] runs one session with a [`Recorder`](super::Recorder) and serves a driver's own
//! tests as well.

mod cancel;
mod connection;
mod data;
mod half_open;
mod hostile;
mod listener;
mod session;
mod update;

pub use listener::{ListenerCase, check_listener};
pub use session::{KIT_EPOCH, Session, device_with};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_crds::model::Device;

use super::Report;
use crate::driver::Driver;

/// How a driver that dials gets its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It asks for every point in its interval.
    Polls,
    /// The peer sends when it likes; the driver keeps the session alive and notices its end.
    Subscribes,
}

/// A real peer that answers well. It ends when it is dropped.
pub trait GoodPeer: Send + Sync {
    /// Where it listens.
    fn addr(&self) -> SocketAddr;
}

/// A driver that dials, with what the kit needs to put it to the test.
pub trait DriverCase: Send + Sync {
    /// The driver.
    fn driver(&self) -> Arc<dyn Driver>;

    /// How it gets its samples.
    fn style(&self) -> Style;

    /// A device reached at `peer` with at least two points, all of which a good peer serves.
    /// Intervals and timeouts are short (100 ms and 300 ms are right): checks last as long as
    /// they say. The kit replaces them where it needs long ones.
    fn device(&self, peer: SocketAddr) -> Device;

    /// Starts a peer that serves every point of [`DriverCase::device`].
    fn good_peer(&self) -> BoxFuture<'_, io::Result<Box<dyn GoodPeer>>>;

    /// Bytes that look like the start of an answer and cannot become a right one, whatever
    /// follows: a foreign transaction id, a length beyond the limit, the wrong function.
    fn hostile(&self) -> Vec<Vec<u8>>;

    /// Fewest bytes, counted from the start of a connection, after which a good peer's output can
    /// make a good sample: the kit cuts answers before it.
    fn shortest_answer(&self) -> usize;
}

/// Runs every check of the kit for a driver that dials; takes some seconds. Checks run one after
/// the other, so that each has the machine for its deadlines.
pub async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    report.merge(check_data(case).await);
    report.merge(check_updates(case).await);
    report.merge(check_cancellation(case).await);
    report.merge(check_connection(case).await);
    report.merge(check_silence(case).await);
    report.merge(check_hostile(case).await);
    report
}

/// The part of [`check`] with a peer that answers well.
pub async fn check_data(case: &dyn DriverCase) -> Report {
    data::check(case).await
}

/// The part of [`check`] with newer versions of the device.
pub async fn check_updates(case: &dyn DriverCase) -> Report {
    update::check(case).await
}

/// The part of [`check`] that cancels and drops sessions in every state.
pub async fn check_cancellation(case: &dyn DriverCase) -> Report {
    cancel::check(case).await
}

/// The part of [`check`] with connections that fail or are lost.
pub async fn check_connection(case: &dyn DriverCase) -> Report {
    connection::check(case).await
}

/// The part of [`check`] with peers that are or fall silent.
pub async fn check_silence(case: &dyn DriverCase) -> Report {
    half_open::check(case).await
}

/// The part of [`check`] with bytes that nobody should send.
pub async fn check_hostile(case: &dyn DriverCase) -> Report {
    hostile::check(case).await
}

/// The deadline within which silence has to become Bad samples: contracts, section 2, and
/// `DRV-10`.
pub fn silence_deadline(device: &Device) -> Duration {
    let interval = device.points.iter().map(|p| p.interval).max().unwrap_or_default();
    (interval * 3).max(device.timeouts.request * 2 + Duration::from_secs(5))
}

/// The kit cannot check without its own sockets: that is a failure, never a skip.
fn no_socket(report: &mut Report, what: &str, error: &io::Error) {
    report.require("DRV-1", what, false, || format!("the check could not start: {error}"));
}
