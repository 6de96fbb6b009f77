//! MQTT sink: delivers records to an MQTT broker with MQTT 5 (OASIS, 2019) or MQTT 3.1.1
//! (OASIS, 2014). It owns one connection, its in-flight window and the online state; it never
//! dials twice, never retries and never decides when to come back.
//!
//! ```text
//! Feed --record--> encode --messages--> in-flight window --PUBLISH--> broker
//!   ^                                        |                          |
//!   +------------- settle <------------------+<-------- PUBACK ---------+
//! ```
//!
//! The packets are those of `rumqttc`; its event loop is not used. That loop dials again by
//! itself, chooses packet ids inside a window that the sink cannot see, and verifies only the
//! name it dialled, while a sink must end at the first fault, know which record every
//! acknowledgement is for, and accept a server name of its own.

mod identity;
mod inflight;
mod session;
mod topic;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::sink::{Guarantee, Sink, SinkContext};
use lineside_crds::model::{MqttSettings, Qos};

pub use identity::{client_id, state_topic};

/// The sink for these settings.
pub fn build(settings: MqttSettings) -> MqttSink {
    MqttSink { settings: Arc::new(settings), deadlines: Deadlines::default() }
}

/// One MQTT destination.
#[derive(Clone, Debug)]
pub struct MqttSink {
    settings: Arc<MqttSettings>,
    deadlines: Deadlines,
}

/// How long the sink waits for the broker.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the name lookup to CONNACK.
    pub connect: Duration,
    /// Longest silence while an acknowledgement is due; then the session ends.
    pub silence: Duration,
    /// MQTT keep alive in whole seconds: the broker publishes the last will after 1.5 times of
    /// it. The sink sends a PINGREQ after half of it without a packet and expects the answer
    /// within `silence`.
    pub keep_alive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            keep_alive: Duration::from_secs(20),
        }
    }
}

impl MqttSink {
    /// The same sink with other deadlines.
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }
}

impl Sink for MqttSink {
    fn guarantee(&self) -> Guarantee {
        match self.settings.qos {
            Qos::AtLeastOnce => Guarantee::AtLeastOnce,
            Qos::AtMostOnce => Guarantee::BestEffort,
        }
    }

    /// MQTT keeps the order of the publishes of one topic and quality of service
    /// (MQTT 5, 4.6; MQTT 3.1.1, 4.6), and the sink sends in the order of the feed.
    fn ordered(&self) -> bool {
        true
    }

    fn session(&self, context: SinkContext) -> BoxFuture<'static, Ended> {
        session::run(self.settings.clone(), self.deadlines, context).boxed()
    }
}
