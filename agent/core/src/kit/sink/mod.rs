//! Conformance kit for sinks: `docs/specs/sink.md` as checks.
//!
//! A sink's tests give a [`SinkCase`] and run [`check`] on a multi-threaded runtime. The kit puts
//! a [`Proxy`](super::peer::Proxy) between the sink and the real remote, so that it decides when
//! the remote can have accepted anything; the remote says what it got.
//!
//! ```text
//! struct Case;
//!
//! impl SinkCase for Case {
//!     fn sink(&self, remote: SocketAddr) -> Arc<dyn Sink> { Arc::new(mqtt_to(remote)) }
//!     fn remote(&self) -> BoxFuture<'_, io::Result<Box<dyn Remote>>> {
//!         Box::pin(async { Ok(Box::new(Broker::start().await?) as Box<dyn Remote>) })
//!     }
//!     fn deadline(&self) -> Duration { Duration::from_secs(2) }
//!     fn max_in_flight(&self) -> usize { 100 }
//!     fn hostile(&self) -> Vec<Vec<u8>> { vec![vec![0x40, 0x02, 0xFF, 0xFF]] }
//! }
//!
//! #[tokio::test(flavor = "multi_thread")]
//! async fn keeps_the_sink_contract() {
//!     kit::sink::check(&Case).await.assert();
//! }
//! ```

mod cancel;
mod connection;
mod delivery;
mod hostile;
mod session;

pub use session::{Endpoints, Session};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::Report;
use super::peer::Proxy;
use crate::batch::Batch;
use crate::secret::Secrets;
use crate::sink::Sink;

/// A real remote. It ends when it is dropped.
pub trait Remote: Send + Sync {
    /// Where it listens.
    fn addr(&self) -> SocketAddr;

    /// The numbers of the numbered records (see [`number_of`](super::number_of)) that it has
    /// accepted so far, in order of arrival, with every repetition.
    fn received(&self) -> BoxFuture<'_, io::Result<Vec<i64>>>;
}

/// A sink with what the kit needs to put it to the test.
pub trait SinkCase: Send + Sync {
    /// A sink that delivers to `remote`; the same identity of the remote's session each time.
    fn sink(&self, remote: SocketAddr) -> Arc<dyn Sink>;

    /// Starts a remote that accepts everything but [`SinkCase::poison`].
    fn remote(&self) -> BoxFuture<'_, io::Result<Box<dyn Remote>>>;

    /// Secrets that the sink's settings name.
    fn secrets(&self) -> Secrets {
        Secrets::default()
    }

    /// Longest time after which the sink gives up a remote that does not answer: connecting,
    /// or waiting for an acknowledgement. Short settings are right: checks last as long.
    fn deadline(&self) -> Duration;

    /// Most records that the sink takes without having settled them.
    fn max_in_flight(&self) -> usize;

    /// Bytes that look like the start of an answer and cannot become a right one.
    fn hostile(&self) -> Vec<Vec<u8>>;

    /// A batch that the remote refuses for good; `None` when this remote refuses nothing.
    fn poison(&self) -> Option<Arc<Batch>> {
        None
    }

    /// A batch in which nothing is for this sink; `None` when every batch is.
    fn skipped(&self) -> Option<Arc<Batch>> {
        None
    }
}

/// Runs every check of the kit; takes some seconds. Checks run one after the other, so that each
/// has the machine for its deadlines.
pub async fn check(case: &dyn SinkCase) -> Report {
    let mut report = Report::new();
    report.merge(check_delivery(case).await);
    report.merge(check_cancellation(case).await);
    report.merge(check_connection(case).await);
    report.merge(check_hostile(case).await);
    report
}

/// The part of [`check`] about what becomes of records.
pub async fn check_delivery(case: &dyn SinkCase) -> Report {
    delivery::check(case).await
}

/// The part of [`check`] that cancels and drops sessions in every state.
pub async fn check_cancellation(case: &dyn SinkCase) -> Report {
    cancel::check(case).await
}

/// The part of [`check`] with remotes that are not there, go away or fall silent.
pub async fn check_connection(case: &dyn SinkCase) -> Report {
    connection::check(case).await
}

/// The part of [`check`] with bytes that no remote should send.
pub async fn check_hostile(case: &dyn SinkCase) -> Report {
    hostile::check(case).await
}

/// A remote with a proxy in front of it.
async fn behind_proxy(case: &dyn SinkCase) -> io::Result<(Box<dyn Remote>, Proxy)> {
    let remote = case.remote().await?;
    let proxy = Proxy::start(remote.addr()).await?;
    Ok((remote, proxy))
}

/// The kit cannot check without its own sockets: that is a failure, never a skip.
fn no_socket(report: &mut Report, what: &str, error: &io::Error) {
    report.require("SNK-1", what, false, || format!("the check could not start: {error}"));
}
