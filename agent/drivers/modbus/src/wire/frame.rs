//! Frames (ADUs) and the buffer that cuts a byte stream into them.

use super::Violation;

/// Longest frame in bytes (V1.0b, 3.1.2 and V1.1b3, 4.1: 7 bytes of header, PDU of at most 253).
pub const MAX_FRAME: usize = 260;

/// Bytes before the unit identifier: transaction, protocol, length.
const PREFIX: usize = 6;

/// Smallest and largest length field: unit and function, up to unit and the longest PDU.
const LENGTH: std::ops::RangeInclusive<u16> = 2..=254;

/// Bytes that an [`Inbox`] holds; more than one frame, so that a late answer and the one behind
/// it arrive with one read.
const CAPACITY: usize = 4 * MAX_FRAME;

/// One frame, borrowed from the bytes that carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Transaction identifier; an answer repeats that of its request.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: u8,
    /// Function code and data, 1..=253 bytes.
    pub pdu: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in `bytes` and its length in bytes; `None` when more bytes are needed.
    ///
    /// A header field is judged as soon as it is complete, so a peer that speaks something else
    /// is noticed without waiting for the length it seems to announce.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&protocol) = bytes.get(2..).and_then(<[u8]>::first_chunk::<2>) else {
            return Ok(None);
        };
        match u16::from_be_bytes(protocol) {
            0 => {}
            other => return Err(Violation::Protocol(other)),
        }
        let Some(&length) = bytes.get(4..).and_then(<[u8]>::first_chunk::<2>) else {
            return Ok(None);
        };
        let length = u16::from_be_bytes(length);
        if !LENGTH.contains(&length) {
            return Err(Violation::Length(length));
        }
        let end = PREFIX + usize::from(length);
        match bytes.get(..end) {
            Some([t0, t1, _, _, _, _, unit, pdu @ ..]) => {
                let transaction = u16::from_be_bytes([*t0, *t1]);
                Ok(Some((Self { transaction, unit: *unit, pdu }, end)))
            }
            _ => Ok(None),
        }
    }
}

/// Bytes received and not yet taken as frames. Its size is fixed, whatever the peer sends.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: vec![0; CAPACITY].into(), start: 0, end: 0 }
    }
}

impl Inbox {
    /// Room for the next bytes from the peer; not empty as long as [`Inbox::take`] is called
    /// until it has no frame left.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `count` bytes were written to the front of [`Inbox::room`].
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }

    /// The next whole frame; `None` when more bytes are needed. After a violation the stream has
    /// no frame boundaries any more, so the connection has to end.
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, Violation> {
        let pending = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((frame, used)) = Frame::parse(pending)? else {
            return Ok(None);
        };
        self.start += used;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame by the layout of V1.0b, 3.1.3, written out independently of the codec.
    fn bytes(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).unwrap();
        let mut out = transaction.to_be_bytes().to_vec();
        out.extend([0, 0]);
        out.extend(length.to_be_bytes());
        out.push(unit);
        out.extend(pdu);
        out
    }

    fn feed(inbox: &mut Inbox, bytes: &[u8]) {
        inbox.room()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
    }

    #[test]
    fn a_foreign_protocol_is_noticed_before_the_frame_is_complete() {
        assert_eq!(Frame::parse(b"HTTP"), Err(Violation::Protocol(0x5450)));
        assert_eq!(Frame::parse(&[0, 1, 0]), Ok(None));
    }

    #[test]
    fn a_length_outside_the_standard_is_a_violation_whatever_follows() {
        for length in [0u16, 1, 255, 256, 0xFFFF] {
            let [a, b] = length.to_be_bytes();
            assert_eq!(Frame::parse(&[0, 1, 0, 0, a, b]), Err(Violation::Length(length)));
        }
    }

    #[test]
    fn two_frames_in_one_read_come_out_one_after_the_other() {
        let mut inbox = Inbox::default();
        let mut both = bytes(7, 1, &[3, 2, 0, 9]);
        both.extend(bytes(8, 2, &[0x83, 2]));
        feed(&mut inbox, &both);
        assert_eq!(inbox.take().unwrap().unwrap().pdu, [3, 2, 0, 9]);
        let second = inbox.take().unwrap().unwrap();
        assert_eq!((second.transaction, second.unit, second.pdu), (8, 2, &[0x83, 2][..]));
        assert_eq!(inbox.take(), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_stall(stream in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut inbox = Inbox::default();
            'stream: for part in stream.chunks(300) {
                feed(&mut inbox, part);
                loop {
                    match inbox.take() {
                        Ok(Some(frame)) => prop_assert!((1..=253).contains(&frame.pdu.len())),
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(inbox.room().len() >= CAPACITY - MAX_FRAME);
            }
        }

        #[test]
        fn every_frame_is_found_however_the_stream_is_cut(
            frames in prop::collection::vec(
                (any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 1..=253)), 1..8),
            cut in 1usize..300,
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|(t, u, p)| bytes(*t, *u, p)).collect();
            let (mut inbox, mut found) = (Inbox::default(), Vec::new());
            for part in stream.chunks(cut) {
                feed(&mut inbox, part);
                while let Some(f) = inbox.take().unwrap() {
                    found.push((f.transaction, f.unit, f.pdu.to_vec()));
                }
            }
            prop_assert_eq!(found, frames);
        }
    }
}
