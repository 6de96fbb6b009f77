//! Which record every unacknowledged publish belongs to, and what becomes of the record. Pure.
//!
//! A record is settled once all of its messages are answered: Delivered when the broker took
//! every one of them, Rejected when it refused one, Skipped when there was none to send.

use std::collections::VecDeque;

use lineside_core::sink::Outcome;
use lineside_crds::diagnostics::Code;

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
}

/// What a publish is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The online state.
    State,
    /// A message of the record at this offset.
    Record(u64),
}

#[derive(Debug)]
struct Progress {
    offset: u64,
    sent: u32,
    unanswered: u32,
    /// No further message will be sent.
    complete: bool,
    rejection: Option<Rejection>,
}

/// Why the broker, or the sink in its place, refuses a message for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// A record and what became of it.
pub(crate) type Settled = (u64, Outcome);

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

    /// Starts a record.
    pub(crate) fn begin(&mut self, offset: u64) {
        self.records.push_back(Progress {
            offset,
            sent: 0,
            unanswered: 0,
            complete: false,
            rejection: None,
        });
    }

    /// Counts a message that will be acknowledged and gives its packet id.
    pub(crate) fn publish(&mut self, owner: Owner) -> u16 {
        // Ids are not reused before all others were, and the window is far smaller than their
        // number, so a late acknowledgement never meets a new publish of the same id.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.publishes.push_back(Publish { packet_id: self.last_id, owner });
        if let Owner::Record(offset) = owner
            && let Some(record) = self.progress(offset)
        {
            record.sent += 1;
            record.unanswered += 1;
        }
        self.last_id
    }

    /// Takes back the last [`InFlight::publish`], which could not be sent.
    pub(crate) fn take_back(&mut self) {
        if let Some(Publish { owner: Owner::Record(offset), .. }) = self.publishes.pop_back()
            && let Some(record) = self.progress(offset)
        {
            record.sent -= 1;
            record.unanswered -= 1;
        }
    }

    /// Counts a message that is never acknowledged (QoS 0).
    pub(crate) fn send_unacknowledged(&mut self, offset: u64) {
        if let Some(record) = self.progress(offset) {
            record.sent += 1;
        }
    }

    /// Notes that a message of the record is refused.
    pub(crate) fn reject(&mut self, offset: u64, rejection: Rejection) {
        if let Some(record) = self.progress(offset) {
            record.rejection.get_or_insert(rejection);
        }
    }

    /// Whether a message of the record was refused, so that sending the rest is of no use.
    pub(crate) fn is_rejected(&self, offset: u64) -> bool {
        self.records.iter().any(|r| r.offset == offset && r.rejection.is_some())
    }

    /// Says that the record has no further message; gives its outcome if nothing is due.
    pub(crate) fn complete(&mut self, offset: u64) -> Option<Settled> {
        self.progress(offset)?.complete = true;
        self.settle(offset)
    }

    /// Takes the answer to a publish. `Err` when there is no such publish.
    pub(crate) fn answer(
        &mut self,
        packet_id: u16,
        refused: Option<Rejection>,
    ) -> Result<Answer, UnknownPacketId> {
        let index = self.publishes.iter().position(|p| p.packet_id == packet_id);
        let publish = index.and_then(|i| self.publishes.remove(i)).ok_or(UnknownPacketId)?;
        let Owner::Record(offset) = publish.owner else {
            return Ok(Answer::State(refused));
        };
        if let Some(record) = self.progress(offset) {
            record.unanswered -= 1;
            if let Some(rejection) = refused {
                record.rejection.get_or_insert(rejection);
            }
        }
        Ok(Answer::Record(self.settle(offset)))
    }

    fn progress(&mut self, offset: u64) -> Option<&mut Progress> {
        self.records.iter_mut().find(|r| r.offset == offset)
    }

    fn settle(&mut self, offset: u64) -> Option<Settled> {
        let done = |r: &Progress| r.offset == offset && r.complete && r.unanswered == 0;
        let index = self.records.iter().position(done)?;
        let record = self.records.remove(index)?;
        let outcome = match record.rejection {
            Some(Rejection { code, message }) => Outcome::Rejected { code, message },
            None if record.sent == 0 => Outcome::Skipped,
            None => Outcome::Delivered,
        };
        Some((offset, outcome))
    }
}

/// What an answer was for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The online state, with the reason when it was refused.
    State(Option<Rejection>),
    /// A record, with its outcome when that was its last answer.
    Record(Option<Settled>),
}

/// The broker acknowledged what was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownPacketId;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Rejection {
        Rejection { code: Code::RecordRejected, message: "no".to_owned() }
    }

    #[test]
    fn a_record_is_delivered_only_when_every_message_is_acknowledged() {
        let mut window = InFlight::new(u16::MAX);
        window.begin(7);
        let ids: Vec<u16> = (0..3).map(|_| window.publish(Owner::Record(7))).collect();
        assert_eq!(window.answer(ids[0], None), Ok(Answer::Record(None)));
        assert_eq!(window.answer(ids[1], None), Ok(Answer::Record(None)));
        assert_eq!(window.complete(7), None);
        let last = window.answer(ids[2], None);
        assert_eq!(last, Ok(Answer::Record(Some((7, Outcome::Delivered)))));
        assert!(window.is_idle());
    }

    #[test]
    fn one_refused_message_rejects_the_record_and_no_other() {
        let mut window = InFlight::new(u16::MAX);
        for offset in [1, 2] {
            window.begin(offset);
            window.publish(Owner::Record(offset));
            window.publish(Owner::Record(offset));
            window.complete(offset);
        }
        assert_eq!(window.answer(1, Some(refused())), Ok(Answer::Record(None)));
        assert!(window.is_rejected(1) && !window.is_rejected(2));
        let Rejection { code, message } = refused();
        let rejected = Outcome::Rejected { code, message };
        assert_eq!(window.answer(2, None), Ok(Answer::Record(Some((1, rejected)))));
        window.answer(3, None).unwrap();
        let second = window.answer(4, None);
        assert_eq!(second, Ok(Answer::Record(Some((2, Outcome::Delivered)))));
    }

    #[test]
    fn a_record_without_a_message_is_skipped() {
        let mut window = InFlight::new(u16::MAX);
        window.begin(3);
        assert_eq!(window.complete(3), Some((3, Outcome::Skipped)));
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
        window.begin(1);
        let id = window.publish(Owner::Record(1));
        assert_eq!(window.answer(id + 1, None), Err(UnknownPacketId));
        window.take_back();
        assert_eq!(window.answer(id, None), Err(UnknownPacketId));
        assert_eq!(window.complete(1), Some((1, Outcome::Skipped)));
    }
}
