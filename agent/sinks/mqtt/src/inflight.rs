//! Which record every unacknowledged publish belongs to, and what becomes of the record. Pure.
//!
//! A record is settled once, when all of its messages are answered: each of its samples is then
//! delivered, rejected with its message, or was skipped by the encoding. A refused message ends
//! nothing but itself.

use std::collections::VecDeque;

use lineside_core::encode::{Options, samples_of};
use lineside_core::sink::{Outcome, Record, RecordId, Refusal};

use crate::wire::Reason;

/// Most unacknowledged publishes. More does not help: brokers allow 20 by default, and 20
/// messages of 256 KiB are 5 MiB on the way.
const MAX_IN_FLIGHT: u16 = 20;

/// The in-flight window of one connection.
#[derive(Debug)]
pub(crate) struct InFlight {
    limit: usize,
    last_id: u16,
    /// Oldest first, which is the order of the answers (MQTT 5, 4.6).
    publishes: VecDeque<Publish>,
    /// Oldest first.
    records: VecDeque<Progress>,
}

#[derive(Debug)]
struct Publish {
    packet_id: u16,
    owner: Owner,
    /// Position in the stream of the byte after its last one; `None` until it is queued.
    end: Option<u64>,
}

/// What a publish is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The online state.
    State,
    /// A message of the record at this offset, with so many of its samples; `part` as in its
    /// identity.
    Record { offset: u64, part: Option<u32>, samples: u64 },
}

#[derive(Debug)]
struct Progress {
    /// To say which samples were in a message that is refused.
    record: Record,
    options: Options,
    unanswered: u32,
    /// No further message will be sent.
    complete: bool,
    outcome: Outcome,
}

impl Progress {
    /// Counts the samples of an answered message.
    fn count(&mut self, part: Option<u32>, samples: u64, refused: Option<Reason>) {
        match refused {
            None => self.outcome.delivered += samples,
            Some(Reason { code, message }) => {
                let samples = samples_of(&self.record, self.options, part);
                self.outcome.refuse(Refusal::new(code, message, part, samples));
            }
        }
    }
}

/// A record and what became of it.
pub(crate) type Settled = (RecordId, Outcome);

impl InFlight {
    /// A window for a broker that takes `receive_maximum` publishes at once (MQTT 5, 3.2.2.3.3;
    /// MQTT 3.1.1 knows no such limit).
    pub(crate) fn new(receive_maximum: u16) -> Self {
        Self {
            limit: usize::from(receive_maximum.clamp(1, MAX_IN_FLIGHT)),
            last_id: 0,
            publishes: VecDeque::new(),
            records: VecDeque::new(),
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.publishes.len() < self.limit
    }

    /// Whether no answer is due.
    pub(crate) fn is_idle(&self) -> bool {
        self.publishes.is_empty()
    }

    /// Position in the stream of the end of the oldest publish whose answer is due.
    pub(crate) fn oldest_end(&self) -> Option<u64> {
        self.publishes.front().and_then(|publish| publish.end)
    }

    /// Starts a record.
    pub(crate) fn begin(&mut self, record: Record, options: Options) {
        let (unanswered, complete, outcome) = (0, false, Outcome::nothing());
        self.records.push_back(Progress { record, options, unanswered, complete, outcome });
    }

    /// Counts a message that will be acknowledged and gives its packet id.
    pub(crate) fn publish(&mut self, owner: Owner) -> u16 {
        // Ids are not reused before all others were, and the window is far smaller than their
        // number, so a late acknowledgement never meets a new publish of the same id.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.publishes.push_back(Publish { packet_id: self.last_id, owner, end: None });
        if let Owner::Record { offset, .. } = owner
            && let Some(record) = self.progress(offset)
        {
            record.unanswered += 1;
        }
        self.last_id
    }

    /// Notes where in the stream the last [`InFlight::publish`] ends.
    pub(crate) fn queued(&mut self, end: u64) {
        if let Some(publish) = self.publishes.back_mut() {
            publish.end = Some(end);
        }
    }

    /// Takes back the last [`InFlight::publish`], which could not be sent.
    pub(crate) fn take_back(&mut self) {
        if let Some(Publish { owner: Owner::Record { offset, .. }, .. }) = self.publishes.pop_back()
            && let Some(record) = self.progress(offset)
        {
            record.unanswered -= 1;
        }
    }

    /// Counts a message without an answer of the broker: sent with QoS 0, or refused before it
    /// was sent.
    pub(crate) fn count(
        &mut self,
        offset: u64,
        part: Option<u32>,
        samples: u64,
        refused: Option<Reason>,
    ) {
        if let Some(record) = self.progress(offset) {
            record.count(part, samples, refused);
        }
    }

    /// Says that the record has no further message and how many of its samples were in none;
    /// gives its outcome if no answer is due.
    pub(crate) fn complete(&mut self, offset: u64, skipped: u64) -> Option<Settled> {
        let record = self.progress(offset)?;
        record.complete = true;
        record.outcome.skipped = skipped;
        self.settle(offset)
    }

    /// Takes the answer to a publish. `Err` when there is no such publish.
    pub(crate) fn answer(
        &mut self,
        packet_id: u16,
        refused: Option<Reason>,
    ) -> Result<Answer, UnknownPacketId> {
        let index = self.publishes.iter().position(|p| p.packet_id == packet_id);
        let publish = index.and_then(|i| self.publishes.remove(i)).ok_or(UnknownPacketId)?;
        let Owner::Record { offset, part, samples } = publish.owner else {
            return Ok(Answer::State(refused));
        };
        if let Some(record) = self.progress(offset) {
            record.unanswered -= 1;
            record.count(part, samples, refused);
        }
        Ok(Answer::Record(self.settle(offset)))
    }

    fn progress(&mut self, offset: u64) -> Option<&mut Progress> {
        self.records.iter_mut().find(|r| r.record.id.offset == offset)
    }

    fn settle(&mut self, offset: u64) -> Option<Settled> {
        let done = |r: &Progress| r.record.id.offset == offset && r.complete && r.unanswered == 0;
        let index = self.records.iter().position(done)?;
        let record = self.records.remove(index)?;
        Some((record.record.id, record.outcome))
    }
}

/// What an answer was for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The online state, with the reason when it was refused.
    State(Option<Reason>),
    /// A record, with its outcome when that was its last answer.
    Record(Option<Settled>),
}

/// The broker acknowledged what was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownPacketId;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lineside_core::encode::Shape;
    use lineside_core::{Batch, Origin, TimeQuality, Value};
    use lineside_crds::diagnostics::Code;
    use lineside_crds::model::ObjectKey;

    use super::*;

    fn refused(message: &str) -> Reason {
        Reason { code: Code::RecordRejected, message: message.to_owned() }
    }

    fn message(offset: u64, part: u32, samples: u64) -> Owner {
        Owner::Record { offset, part: Some(part), samples }
    }

    fn id(offset: u64) -> RecordId {
        RecordId { store: "store".into(), stream: 0, offset, part: None }
    }

    /// A record that the encoding `Value` sends in one message for each of its samples.
    fn begin(window: &mut InFlight, offset: u64, samples: u32) {
        let points: Vec<Arc<str>> = (0..samples).map(|p| p.to_string().into()).collect();
        let key = ObjectKey::new("plant", "press");
        let origin = Arc::new(Origin::new(key, None, points.into(), Vec::new().into()));
        let mut batch = Batch::with_capacity(origin, 1, TimeQuality::Synced, 0);
        for point in 0..samples {
            batch.push_good(point, Value::U32(point), 0);
        }
        let options = Options { shape: Shape::Value, int64_as_string: false };
        window.begin(Record { id: id(offset), batch: Arc::new(batch) }, options);
    }

    #[test]
    fn a_record_is_delivered_only_when_every_message_is_acknowledged() {
        let mut window = InFlight::new(u16::MAX);
        begin(&mut window, 7, 6);
        let ids: Vec<u16> = (0..3).map(|part| window.publish(message(7, part, 2))).collect();
        assert_eq!(window.answer(ids[0], None), Ok(Answer::Record(None)));
        assert_eq!(window.answer(ids[1], None), Ok(Answer::Record(None)));
        assert_eq!(window.complete(7, 0), None);
        let last = window.answer(ids[2], None);
        assert_eq!(last, Ok(Answer::Record(Some((id(7), Outcome::delivered(6))))));
        assert!(window.is_idle());
    }

    #[test]
    fn a_refused_message_costs_its_own_samples_and_no_others() {
        let mut window = InFlight::new(u16::MAX);
        for offset in [1, 2] {
            begin(&mut window, offset, 4);
            for part in 0..3 {
                window.publish(message(offset, part, 1));
            }
        }
        assert_eq!(window.answer(1, None), Ok(Answer::Record(None)));
        assert_eq!(window.answer(2, Some(refused("first"))), Ok(Answer::Record(None)));
        assert_eq!(window.complete(1, 6), None);
        window.count(1, Some(3), 1, Some(refused("of the sink")));
        let mut outcome = Outcome { delivered: 2, skipped: 6, ..Outcome::nothing() };
        for (message, part) in [("first", 1), ("of the sink", 3)] {
            let code = Code::RecordRejected;
            outcome.refuse(Refusal::new(code, message, Some(part), vec![part]));
        }
        assert_eq!(window.answer(3, None), Ok(Answer::Record(Some((id(1), outcome)))));
        for packet in [4, 5, 6] {
            assert_eq!(window.answer(packet, None), Ok(Answer::Record(None)));
        }
        assert_eq!(window.complete(2, 0), Some((id(2), Outcome::delivered(3))));
    }

    #[test]
    fn a_record_without_a_message_is_skipped() {
        let mut window = InFlight::new(u16::MAX);
        begin(&mut window, 3, 9);
        assert_eq!(window.complete(3, 9), Some((id(3), Outcome::skipped(9))));
    }

    #[test]
    fn the_oldest_publish_is_the_one_whose_bytes_are_owed() {
        let mut window = InFlight::new(u16::MAX);
        assert_eq!(window.oldest_end(), None);
        for end in [100, 250] {
            window.publish(Owner::State);
            window.queued(end);
        }
        assert_eq!(window.oldest_end(), Some(100));
        window.answer(1, None).unwrap();
        assert_eq!(window.oldest_end(), Some(250));
    }

    #[test]
    fn the_window_is_the_smaller_of_ours_and_the_brokers() {
        for (receive_maximum, limit) in [(3, 3), (u16::MAX, 20), (0, 1)] {
            let mut window = InFlight::new(receive_maximum);
            let mut sent = 0;
            while window.has_room() {
                window.publish(Owner::State);
                sent += 1;
            }
            assert_eq!(sent, limit);
        }
    }

    #[test]
    fn packet_ids_start_again_at_one_and_are_never_zero() {
        let mut window = InFlight::new(2);
        let mut last = 0;
        for _ in 0..u32::from(u16::MAX) + 5 {
            let id = window.publish(Owner::State);
            assert_eq!(id, if last == u16::MAX { 1 } else { last + 1 });
            last = id;
            assert_eq!(window.answer(id, None), Ok(Answer::State(None)));
        }
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_noticed() {
        let mut window = InFlight::new(5);
        begin(&mut window, 1, 1);
        let packet = window.publish(message(1, 0, 1));
        assert_eq!(window.answer(packet + 1, None), Err(UnknownPacketId));
        window.take_back();
        assert_eq!(window.answer(packet, None), Err(UnknownPacketId));
        assert_eq!(window.complete(1, 1), Some((id(1), Outcome::skipped(1))));
    }
}
