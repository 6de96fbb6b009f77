//! What the device answers: pure, from the bytes of a request to those of its answer.
//!
//! Section numbers are those of the Modbus application protocol 1.1b3; the header of Modbus TCP
//! is in the messaging implementation guide 1.0b, 3.1.3.

use std::ops::Range;

/// Header of Modbus TCP: transaction, protocol, length, unit.
pub(super) const HEADER: usize = 7;
/// The longest frame: header and a PDU of 253 bytes.
const LONGEST: usize = 260;
/// Read Holding Registers (6.3).
const READ_HOLDING_REGISTERS: u8 = 0x03;
/// Most registers of one request (6.3).
const MOST_REGISTERS: u16 = 125;
/// Exception codes (7).
const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_DATA_ADDRESS: u8 = 2;
const ILLEGAL_DATA_VALUE: u8 = 3;

/// Points of one device: so many low digits of a value say which point it is.
pub const MOST_POINTS: u32 = 1024;

/// The value that point `place` has in answer `number`; each is given out once.
pub fn value(number: u32, place: u32) -> u32 {
    number * MOST_POINTS + place
}

/// A request that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    transaction: [u8; 2],
    unit: u8,
    function: u8,
    address: u16,
    count: u16,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The points of these places are asked for.
    Points(u32, u32),
    /// It cannot be answered; this exception says why.
    Exception(u8),
}

/// The length of the frame that begins with this header; none: it is no Modbus.
pub(super) fn frame_length(header: &[u8; HEADER]) -> Option<usize> {
    let [_, _, 0, 0, high, low, _] = *header else { return None };
    // The length counts the unit, which the header has already.
    let length = HEADER - 1 + usize::from(u16::from_be_bytes([high, low]));
    (HEADER + 1..=LONGEST).contains(&length).then_some(length)
}

impl Request {
    /// Reads a whole frame; none: the device does not know such a request.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let [t0, t1, _, _, _, _, unit, function, a0, a1, c0, c1] = *frame else { return None };
        Some(Self {
            transaction: [t0, t1],
            unit,
            function,
            address: u16::from_be_bytes([a0, a1]),
            count: u16::from_be_bytes([c0, c1]),
        })
    }

    /// Which points it asks for; point `place` is the two registers from `addresses[place]` on,
    /// which are sorted.
    pub(super) fn outcome(&self, addresses: &[u16]) -> Outcome {
        if self.function != READ_HOLDING_REGISTERS {
            return Outcome::Exception(ILLEGAL_FUNCTION);
        }
        if self.count == 0 || self.count > MOST_REGISTERS {
            return Outcome::Exception(ILLEGAL_DATA_VALUE);
        }
        let asked = u32::from(self.address)..u32::from(self.address) + u32::from(self.count);
        let touches = |a: u16| u32::from(a) < asked.end && u32::from(a) + 1 >= asked.start;
        let within = |a: u16| u32::from(a) >= asked.start && u32::from(a) + 1 < asked.end;
        let first = addresses.iter().position(|a| touches(*a));
        let touched = addresses.iter().filter(|a| touches(**a)).count();
        // Half a counter has no value: a request that cuts one is refused, as is one of no point.
        match first.and_then(|first| u32::try_from(first).ok()) {
            Some(first) if addresses.iter().filter(|a| touches(**a)).all(|a| within(*a)) => {
                Outcome::Points(first, first + u32::try_from(touched).unwrap_or(u32::MAX))
            }
            _ => Outcome::Exception(ILLEGAL_DATA_ADDRESS),
        }
    }

    /// The frame that refuses it.
    pub(super) fn refuse(&self, code: u8) -> Vec<u8> {
        self.frame(&[self.function | 0x80, code])
    }

    /// The frame with the values of answer `number`; registers between points are zero.
    pub(super) fn answer(&self, number: u32, places: Range<u32>, addresses: &[u16]) -> Vec<u8> {
        let bytes = usize::from(self.count) * 2;
        let mut pdu = vec![0; 2 + bytes];
        pdu[0] = self.function;
        pdu[1] = u8::try_from(bytes).unwrap_or(u8::MAX);
        for place in places {
            let address = addresses.get(place as usize).copied().unwrap_or_default();
            let at = 2 + usize::from(address - self.address) * 2;
            pdu[at..at + 4].copy_from_slice(&value(number, place).to_be_bytes());
        }
        self.frame(&pdu)
    }

    fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX).to_be_bytes();
        let mut frame = vec![self.transaction[0], self.transaction[1], 0, 0, length[0], length[1]];
        frame.push(self.unit);
        frame.extend_from_slice(pdu);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u16; 3] = [0, 2, 100];

    fn read(function: u8, address: u16, count: u16) -> Request {
        let mut frame = vec![0, 9, 0, 0, 0, 6, 1, function];
        frame.extend(address.to_be_bytes());
        frame.extend(count.to_be_bytes());
        Request::parse(&frame).unwrap()
    }

    #[test]
    fn an_answer_holds_a_value_of_its_own_for_every_point() {
        let request = read(3, 0, 4);
        assert_eq!(request.outcome(&ADDRESSES), Outcome::Points(0, 2));
        let frame = request.answer(5, 0..2, &ADDRESSES);
        assert_eq!(frame[..9], [0, 9, 0, 0, 0, 11, 1, 3, 8]);
        assert_eq!(frame[9..13], value(5, 0).to_be_bytes());
        assert_eq!(frame[13..], value(5, 1).to_be_bytes());
        assert_ne!(value(5, 1), value(6, 0));
    }

    #[test]
    fn points_lie_where_their_addresses_say_and_registers_between_are_zero() {
        let request = read(3, 2, 102);
        assert_eq!(request.outcome(&ADDRESSES), Outcome::Points(1, 3));
        let frame = request.answer(1, 1..3, &ADDRESSES);
        assert_eq!(frame[9..13], value(1, 1).to_be_bytes());
        assert_eq!(frame[9 + 196..9 + 200], value(1, 2).to_be_bytes());
        assert!(frame[13..9 + 196].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_request_for_half_a_counter_or_for_none_is_refused() {
        for (address, count) in [(0, 3), (1, 3), (50, 4), (101, 1)] {
            let outcome = read(3, address, count).outcome(&ADDRESSES);
            assert_eq!(outcome, Outcome::Exception(2), "{address} {count}");
        }
        assert_eq!(read(3, 0, 0).outcome(&ADDRESSES), Outcome::Exception(3));
        assert_eq!(read(3, 0, 126).outcome(&ADDRESSES), Outcome::Exception(3));
        assert_eq!(read(16, 0, 2).outcome(&ADDRESSES), Outcome::Exception(1));
        assert_eq!(read(16, 0, 2).refuse(1)[7..], [0x90, 1]);
    }

    #[test]
    fn a_header_of_another_protocol_or_length_is_no_modbus() {
        assert_eq!(frame_length(&[0, 1, 0, 0, 0, 6, 1]), Some(12));
        assert_eq!(frame_length(&[0, 1, 0, 1, 0, 6, 1]), None);
        assert_eq!(frame_length(&[0, 1, 0, 0, 0, 1, 1]), None);
        assert_eq!(frame_length(&[0, 1, 0, 0, 1, 6, 1]), None);
    }
}
