//! One session: connect, deliver until something ends it, leave in order.
//!
//! One task does everything, in one loop, so nothing is shared and dropping the future drops the
//! connection:
//!
//! ```text
//! feed ----> pending record --encode--> outbox --write--> broker
//!                                 |                         |
//! feed <---settle--- in-flight <--+---------- read ---------+
//! ```

mod connect;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lineside_core::driver::Ended;
use lineside_core::encode::{Message, Messages, Options, Shape, write_id};
use lineside_core::sink::{Feed, Record, SinkContext};
use lineside_core::{Clock, Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Encoding, MqttSettings, Qos};
use lineside_net::{Outbox, Stream, broken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Deadlines;
use crate::identity::{offline, online};
use crate::inflight::{Answer, InFlight, Owner, Settled};
use crate::topic::Topics;
use crate::wire::{AckAnswer, EncodeError, Ending, Incoming, Limits, Outgoing, Reason, Wire};

/// Time to say goodbye, inside the second that the contract gives.
const GOODBYE: Duration = Duration::from_millis(700);

pub(crate) async fn run(
    settings: Arc<MqttSettings>,
    deadlines: Deadlines,
    context: SinkContext,
) -> Ended {
    let SinkContext { identity, clock, secrets, mut feed, state, cancel } = context;
    let connected = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ended::Cancelled,
        connected = connect::connect(&settings, deadlines, &identity, &secrets) => connected,
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(fault) => return Ended::Failed(fault),
    };
    let endpoint = connect::endpoint(&settings);
    state.connected(&endpoint);

    let topics = Topics::new(settings.topic.clone(), identity.pipeline);
    let connect::Connection { stream, wire, inbox, limits, state_topic } = connection;
    let keep_alive =
        limits.keep_alive.map_or(deadlines.keep_alive, |s| Duration::from_secs(s.into()));
    let mut session = Session {
        settings,
        wire,
        limits,
        topics,
        state_topic,
        endpoint,
        silence: deadlines.silence,
        // Zero is the broker's way to switch keep alive off (MQTT 5, 3.2.2.3.14).
        ping_after: (!keep_alive.is_zero()).then_some(keep_alive / 2),
        inbox,
        outbox: Outbox::default(),
        in_flight: InFlight::new(limits.receive_maximum),
        unwritten: VecDeque::new(),
        pending: None,
        payload: Vec::new(),
        last_sent: Instant::now(),
        last_progress: Instant::now(),
        pinged: None,
    };
    session.announce(&*clock);
    let mut stream = stream;
    let delivered = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        fault = session.deliver(&mut *stream, &mut *feed) => Some(fault),
    };
    match delivered {
        Some(fault) => Ended::Failed(fault),
        None => {
            // The broker may be the reason for the end, so its part is bounded.
            let goodbye = session.say_goodbye(&mut *stream, &mut *feed, &*clock);
            let _ = timeout(GOODBYE, goodbye).await;
            Ended::Cancelled
        }
    }
}

/// A connected session.
struct Session {
    settings: Arc<MqttSettings>,
    wire: &'static dyn Wire,
    limits: Limits,
    topics: Topics,
    state_topic: String,
    endpoint: String,
    silence: Duration,
    ping_after: Option<Duration>,
    inbox: BytesMut,
    outbox: Outbox,
    in_flight: InFlight,
    /// QoS 0: records by the position in the stream at which they are sent.
    unwritten: VecDeque<(u64, Settled)>,
    /// The record that is being encoded.
    pending: Option<Messages>,
    /// Buffer of the next payload.
    payload: Vec<u8>,
    /// When bytes last left the outbox.
    last_sent: Instant,
    /// When the broker last did what is due: acknowledge, or take bytes that it has to have
    /// before it can.
    last_progress: Instant,
    /// When a PINGREQ without answer was sent.
    pinged: Option<Instant>,
}

impl Session {
    /// Queues the retained online state.
    fn announce(&mut self, clock: &dyn Clock) {
        let packet_id =
            (self.settings.qos == Qos::AtLeastOnce).then(|| self.in_flight.publish(Owner::State));
        let queued = self.queue_state(online(clock), packet_id);
        if packet_id.is_some() {
            self.note(&queued);
        }
        if let Err(e) = queued {
            tracing::warn!(endpoint = %self.endpoint, error = %e, "Online state not published");
        }
    }

    fn queue_state(&mut self, payload: Bytes, packet_id: Option<u16>) -> Result<(), EncodeError> {
        let message = Outgoing {
            topic: &self.state_topic,
            payload,
            retain: true,
            packet_id,
            id: None,
            content_type: Some("application/json"),
        };
        let max = self.limits.max_packet;
        self.wire.publish(message, max, &mut self.outbox.buffer).1
    }

    /// Says to the window whether its last publish is on its way.
    fn note(&mut self, queued: &Result<(), EncodeError>) {
        match queued {
            Ok(()) => self.in_flight.queued(self.outbox.end()),
            Err(_) => self.in_flight.take_back(),
        }
    }

    /// Delivers records until the connection fails.
    async fn deliver(&mut self, stream: &mut dyn Stream, feed: &mut dyn Feed) -> Fault {
        let (mut reader, mut writer) = tokio::io::split(stream);
        loop {
            // Also takes what came in one piece with CONNACK.
            if let Err(fault) = self.take_packets(feed) {
                return fault;
            }
            self.encode(feed);
            let deadline = self.deadline();
            let flushed = self.outbox.flushed();
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.inbox) => match read {
                    Ok(0) => return self.closed(),
                    Ok(_) => {}
                    Err(e) => return broken(&format!("read from {}", self.endpoint), e),
                },
                written = self.outbox.write(&mut writer), if self.outbox.is_pending() => {
                    if let Err(e) = written {
                        return broken(&format!("write to {}", self.endpoint), e);
                    }
                    self.note_written(flushed);
                    self.settle_written(feed);
                },
                () = sleep_until(deadline) => {
                    if let Err(fault) = self.watch() {
                        return fault;
                    }
                }
                record = feed.next(), if self.wants_record() => self.begin(record),
            }
        }
    }

    fn closed(&self) -> Fault {
        let text = format!("read from {}: the broker closed the connection", self.endpoint);
        Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, text)
    }

    fn wants_record(&self) -> bool {
        self.pending.is_none() && self.outbox.has_room() && self.in_flight.has_room()
    }

    fn begin(&mut self, record: Record) {
        let shape = match self.settings.encoding {
            Encoding::Json => Shape::Json,
            Encoding::FlatJson => Shape::FlatJson,
            Encoding::Value => Shape::Value,
        };
        let options = Options { shape, int64_as_string: self.settings.int64_as_string };
        self.in_flight.begin(record.clone(), options);
        self.pending = Some(Messages::new(record, options));
    }

    /// Encodes as many messages of the pending record as window and outbox take.
    fn encode(&mut self, feed: &mut dyn Feed) {
        while let Some(mut messages) = self.pending.take() {
            let offset = messages.record().id.offset;
            if !self.in_flight.has_room() || !self.outbox.has_room() {
                self.pending = Some(messages);
                return;
            }
            match messages.next_into(&mut self.payload) {
                Some(message) => {
                    self.send(messages.record(), message);
                    self.pending = Some(messages);
                }
                None => self.complete(offset, messages.skipped(), feed),
            }
        }
    }

    fn complete(&mut self, offset: u64, skipped: u64, feed: &mut dyn Feed) {
        let Some(settled) = self.in_flight.complete(offset, skipped) else { return };
        match self.settings.qos {
            Qos::AtLeastOnce => feed.settle(&settled.0, settled.1),
            Qos::AtMostOnce => {
                self.unwritten.push_back((self.outbox.end(), settled));
                self.settle_written(feed);
            }
        }
    }

    /// Whether bytes that left the outbox are progress. A slow line takes its time for a large
    /// message, and the broker cannot acknowledge what it has not got. But bytes behind the
    /// publish whose answer is due prove nothing: the sockets of a dead connection take a trickle
    /// of small messages for very long. Everything up to `before` had left earlier.
    fn note_written(&mut self, before: u64) {
        self.last_sent = Instant::now();
        if self.in_flight.oldest_end().is_none_or(|end| before < end) {
            self.last_progress = self.last_sent;
        }
    }

    /// QoS 0: settles what the connection has taken.
    fn settle_written(&mut self, feed: &mut dyn Feed) {
        while let Some((end, _)) = self.unwritten.front() {
            if *end > self.outbox.written() {
                return;
            }
            if let Some((_, (id, outcome))) = self.unwritten.pop_front() {
                feed.settle(&id, outcome);
            }
        }
    }

    /// Queues one message of a record.
    fn send(&mut self, record: &Record, message: Message) {
        let offset = record.id.offset;
        let Message { part, samples, .. } = message;
        let topic = self.topics.get(record.batch.origin(), message.point);
        let id = self.wire.carries_identity().then(|| {
            let mut text = Vec::with_capacity(64);
            write_id(&record.id, part, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        if self.in_flight.is_idle() && !self.outbox.is_pending() {
            self.last_progress = Instant::now();
        }
        let packet_id = match self.settings.qos {
            Qos::AtLeastOnce => {
                Some(self.in_flight.publish(Owner::Record { offset, part, samples }))
            }
            Qos::AtMostOnce => None,
        };
        let is_json = self.settings.encoding != Encoding::Value;
        let outgoing = Outgoing {
            topic: &topic,
            payload: Bytes::from(std::mem::take(&mut self.payload)),
            retain: false,
            packet_id,
            id,
            content_type: is_json.then_some("application/json"),
        };
        let max = self.limits.max_packet;
        let (payload, queued) = self.wire.publish(outgoing, max, &mut self.outbox.buffer);
        // Nobody else holds the payload, so its memory comes back without a copy.
        self.payload = payload.into();
        if packet_id.is_some() {
            self.note(&queued);
        }
        match queued {
            Ok(()) if packet_id.is_some() => {}
            Ok(()) => self.in_flight.count(offset, part, samples, None),
            Err(e) => {
                let code = match e {
                    EncodeError::TooLarge { .. } => Code::RecordTooLarge,
                    EncodeError::TooLong(_) | EncodeError::Codec(_) => Code::RecordRejected,
                };
                let message = format!("{} to topic {topic}: {e}", record.id);
                self.in_flight.count(offset, part, samples, Some(Reason { code, message }));
            }
        }
    }

    /// Takes every complete packet that has arrived.
    fn take_packets(&mut self, feed: &mut dyn Feed) -> Result<(), Fault> {
        loop {
            let packet = self.wire.decode(&mut self.inbox).map_err(|e| {
                let text = format!("read a packet from {}", self.endpoint);
                Fault::new(FaultClass::Peer, Code::SinkProtocol, text).because(e)
            })?;
            let Some(packet) = packet else { return Ok(()) };
            match packet {
                Incoming::Ack { packet_id, answer } => self.take_answer(packet_id, answer, feed)?,
                Incoming::Pong => self.pinged = None,
                Incoming::Closed(refusal) => return Err(self.refused("stay connected", refusal)),
                Incoming::Refused(_) | Incoming::Accepted(_) => {
                    return Err(self.out_of_step("a second CONNACK"));
                }
                Incoming::Unexpected(name) => return Err(self.out_of_step(name)),
            }
        }
    }

    fn take_answer(
        &mut self,
        packet_id: u16,
        answer: AckAnswer,
        feed: &mut dyn Feed,
    ) -> Result<(), Fault> {
        let refusal = match answer {
            AckAnswer::Taken => None,
            AckAnswer::Rejected(refusal) => Some(refusal),
            AckAnswer::Failed(refusal) => return Err(self.refused("publish", refusal)),
        };
        self.last_progress = Instant::now();
        let answer = self
            .in_flight
            .answer(packet_id, refusal)
            .map_err(|_| self.out_of_step("PUBACK for a publish that is not in flight"))?;
        match answer {
            Answer::Record(Some((id, outcome))) => feed.settle(&id, outcome),
            Answer::State(Some(refusal)) => {
                let reason = &refusal.message;
                tracing::warn!(endpoint = %self.endpoint, reason, "Online state refused");
            }
            Answer::Record(None) | Answer::State(None) => {}
        }
        Ok(())
    }

    fn refused(&self, what: &str, refusal: Ending) -> Fault {
        let text = format!("{what} at {}", self.endpoint);
        Fault::new(refusal.class, refusal.code, text).because(refusal.message)
    }

    fn out_of_step(&self, what: &str) -> Fault {
        let text = format!("talk to {}: the broker sent {what}", self.endpoint);
        Fault::new(FaultClass::Peer, Code::SinkProtocol, text)
    }

    /// Whether the broker owes something other than PINGRESP.
    fn is_waiting(&self) -> bool {
        !self.in_flight.is_idle() || self.outbox.is_pending()
    }

    /// When [`Session::watch`] has something to say.
    fn deadline(&self) -> Instant {
        let progress = self.is_waiting().then(|| self.last_progress + self.silence);
        let ping = match self.pinged {
            Some(at) => Some(at + self.silence),
            None if self.outbox.is_pending() => None,
            None => self.ping_after.map(|after| self.last_sent + after),
        };
        // With nothing to wait for, any time will do.
        let idle = Instant::now() + self.silence;
        progress.into_iter().chain(ping).min().unwrap_or(idle)
    }

    /// Ends a silent session and keeps an idle one alive.
    fn watch(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let due = |since: Instant| now >= since + self.silence;
        let silent = if self.is_waiting() && due(self.last_progress) {
            Some("acknowledge")
        } else if self.pinged.is_some_and(due) {
            Some("answer PINGREQ")
        } else {
            None
        };
        if let Some(what) = silent {
            let text =
                format!("{}: the broker did not {what} for {:?}", self.endpoint, self.silence);
            return Err(Fault::new(FaultClass::Timeout, Code::SinkSilent, text));
        }
        // Never behind other bytes: those are a sign of life themselves, and the wait for the
        // answer must not depend on how long they take.
        if let Some(after) = self.ping_after
            && self.pinged.is_none()
            && !self.outbox.is_pending()
            && now >= self.last_sent + after
        {
            if !self.is_waiting() {
                self.last_progress = now;
            }
            self.wire.ping(&mut self.outbox.buffer);
            self.pinged = Some(now);
        }
        Ok(())
    }

    /// Publishes the offline state, disconnects, and takes the acknowledgements that are still on
    /// their way: a broker handles packets in order, so all of them come before it closes.
    async fn say_goodbye(
        &mut self,
        stream: &mut dyn Stream,
        feed: &mut dyn Feed,
        clock: &dyn Clock,
    ) {
        // QoS 0: nobody is left to wait for an acknowledgement, and the window may be full.
        if let Err(e) = self.queue_state(offline(clock), None) {
            tracing::warn!(endpoint = %self.endpoint, error = %e, "Offline state not published");
        }
        self.wire.disconnect(&mut self.outbox.buffer);
        while self.outbox.is_pending() {
            if self.outbox.write(stream).await.is_err() {
                return;
            }
            self.settle_written(feed);
        }
        // A closed sending side tells even a broker that ignores DISCONNECT.
        let _ = stream.shutdown().await;
        loop {
            if self.take_packets(feed).is_err() {
                return;
            }
            match stream.read_buf(&mut self.inbox).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        }
    }
}
