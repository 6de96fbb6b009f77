//! Read requests: functions 1 to 4 (V1.1b3, sections 6.1 to 6.4).

use lineside_crds::modbus::Area;

use super::Frame;

/// Bytes of a read request on the wire: header, unit, function, address, quantity.
const REQUEST: usize = 12;

/// One read request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unit identifier.
    pub unit: u8,
    /// The table; it decides the function.
    pub area: Area,
    /// First address, counted from zero.
    pub start: u16,
    /// Number of bits or registers.
    pub quantity: u16,
}

impl Request {
    /// The request as a frame.
    pub fn encode(&self, transaction: u16) -> [u8; REQUEST] {
        let [t0, t1] = transaction.to_be_bytes();
        let [s0, s1] = self.start.to_be_bytes();
        let [q0, q1] = self.quantity.to_be_bytes();
        [t0, t1, 0, 0, 0, 6, self.unit, self.area.function(), s0, s1, q0, q1]
    }

    /// The request that a frame carries; `None` when it is another function or not well formed.
    pub fn parse(frame: &Frame<'_>) -> Option<Self> {
        let &[function, s0, s1, q0, q1] = frame.pdu else {
            return None;
        };
        let area = [Area::Coil, Area::DiscreteInput, Area::HoldingRegister, Area::InputRegister]
            .into_iter()
            .find(|a| a.function() == function)?;
        Some(Self {
            unit: frame.unit,
            area,
            start: u16::from_be_bytes([s0, s1]),
            quantity: u16::from_be_bytes([q0, q1]),
        })
    }

    /// Number of data bytes in a good answer: two for a register, one for each started eight bits.
    pub fn answer_bytes(&self) -> usize {
        if self.area.is_bits() {
            usize::from(self.quantity.div_ceil(8))
        } else {
            usize::from(self.quantity) * 2
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_those_of_the_standards_examples() {
        // V1.1b3 6.1: coils 20-38; 6.2: inputs 197-218; 6.3: registers 108-110; 6.4: register 9.
        for (area, start, quantity, pdu) in [
            (Area::Coil, 19, 19, [0x01, 0x00, 0x13, 0x00, 0x13]),
            (Area::DiscreteInput, 196, 22, [0x02, 0x00, 0xC4, 0x00, 0x16]),
            (Area::HoldingRegister, 107, 3, [0x03, 0x00, 0x6B, 0x00, 0x03]),
            (Area::InputRegister, 8, 1, [0x04, 0x00, 0x08, 0x00, 0x01]),
        ] {
            let frame = Request { unit: 0x11, area, start, quantity }.encode(0x1501);
            assert_eq!(frame[..7], [0x15, 0x01, 0, 0, 0, 6, 0x11], "{area:?}");
            assert_eq!(frame[7..], pdu, "{area:?}");
        }
    }

    proptest! {
        #[test]
        fn a_request_is_parsed_as_it_was_written(
            transaction: u16, unit: u8, start: u16, quantity: u16, area in 0usize..4,
        ) {
            let area =
                [Area::Coil, Area::DiscreteInput, Area::HoldingRegister, Area::InputRegister][area];
            let request = Request { unit, area, start, quantity };
            let bytes = request.encode(transaction);
            let (frame, used) = Frame::parse(&bytes).unwrap().unwrap();
            prop_assert_eq!((frame.transaction, used), (transaction, bytes.len()));
            prop_assert_eq!(Request::parse(&frame), Some(request));
        }
    }
}
