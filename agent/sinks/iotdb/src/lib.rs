//! Apache IoTDB sink: delivers records to the time series database through its own client
//! protocol. It owns one session, what is under way in it and what was acknowledged too lately to
//! be trusted; it never dials twice, never retries a request that may pass later and never decides
//! when to come back.
//!
//! ```text
//! Feed --records--> pack into tablets --requests--> server
//!   ^                                                 |
//!   +--confirmed <-- wait resendMillis <-- accepted <-+
//!   +--settle <-- refused <-- cut in halves <---------+
//! ```
//!
//! Writing the same again changes nothing in IoTDB: a value is known by device, column and time.

pub mod client;
mod name;
pub mod pack;
pub mod query;
mod session;
mod verdict;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::sink::{Guarantee, Sink, SinkContext};
use lineside_crds::model::IotdbSettings;

/// The sink for these settings.
pub fn build(settings: IotdbSettings) -> IotdbSink {
    IotdbSink {
        settings: Arc::new(settings),
        deadlines: Deadlines::default(),
        first: Arc::new(AtomicUsize::new(0)),
    }
}

/// One IoTDB destination.
#[derive(Clone, Debug)]
pub struct IotdbSink {
    settings: Arc<IotdbSettings>,
    deadlines: Deadlines,
    /// The node that the next session tries first.
    first: Arc<AtomicUsize>,
}

/// How long the sink waits for a server.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the name lookup of one node to an open session.
    pub connect: Duration,
    /// Longest silence while an answer is due; then the session ends. A server that writes to disk
    /// as fast as it can may make a request wait for 10 s before it refuses it.
    pub silence: Duration,
    /// After this long without a request the server is asked whether it is there.
    pub keep_alive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            keep_alive: Duration::from_secs(10),
        }
    }
}

impl IotdbSink {
    /// The same sink with other deadlines.
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }
}

impl Sink for IotdbSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    /// What was refused is sent again in parts, after records that came later.
    fn ordered(&self) -> bool {
        false
    }

    fn session(&self, context: SinkContext) -> BoxFuture<'static, Ended> {
        session::run(self.settings.clone(), self.deadlines, self.first.clone(), context).boxed()
    }
}
