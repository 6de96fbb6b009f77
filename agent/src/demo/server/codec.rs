//! A Modbus frame in, the answer's bytes out: the server's side of the protocol, without IO.
//!
//! Source: MODBUS Application Protocol Specification V1.1b3, sections 6.1 to 6.4 and 7.

use lineside_driver_modbus::wire::{Exception, Frame, Request};

use crate::demo::image::Image;

/// Set in the function code of an exception answer.
const EXCEPTION_BIT: u8 = 0x80;
/// The function is not one of this device's.
const ILLEGAL_FUNCTION: Exception = Exception(1);
/// The request is not well formed, or its quantity is outside of the standard's bounds.
const ILLEGAL_DATA_VALUE: Exception = Exception(3);
/// The gateway has no such unit.
const GATEWAY_TARGET_FAILED: Exception = Exception(11);
/// Most bits of one read (6.1, 6.2).
const MOST_BITS: u16 = 2000;
/// Most registers of one read (6.3, 6.4).
const MOST_REGISTERS: u16 = 125;

/// The answer to a frame; `image` gives what a unit holds.
pub fn answer(frame: &Frame<'_>, image: impl FnOnce(u8) -> Option<Image>) -> Vec<u8> {
    let function = frame.pdu.first().copied().unwrap_or_default();
    match data(frame, function, image) {
        Ok(data) => {
            // At most 250: the quantity is bounded.
            let count = u8::try_from(data.len()).unwrap_or(u8::MAX);
            adu(frame, &[&[function, count], data.as_slice()].concat())
        }
        Err(Exception(code)) => adu(frame, &[function | EXCEPTION_BIT, code]),
    }
}

/// The checks in the order of the standard's state diagrams: function, quantity, address.
fn data(
    frame: &Frame<'_>,
    function: u8,
    image: impl FnOnce(u8) -> Option<Image>,
) -> Result<Vec<u8>, Exception> {
    let image = image(frame.unit).ok_or(GATEWAY_TARGET_FAILED)?;
    if !(1..=4).contains(&function) {
        return Err(ILLEGAL_FUNCTION);
    }
    let request = Request::parse(frame).ok_or(ILLEGAL_DATA_VALUE)?;
    let most = if request.area.is_bits() { MOST_BITS } else { MOST_REGISTERS };
    if !(1..=most).contains(&request.quantity) {
        return Err(ILLEGAL_DATA_VALUE);
    }
    image.read(request.area, request.start, request.quantity)
}

/// A frame with the transaction and unit of the one it answers (Messaging on TCP/IP V1.0b, 3.1.3).
fn adu(to: &Frame<'_>, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(7 + pdu.len());
    bytes.extend(to.transaction.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.push(to.unit);
    bytes.extend(pdu);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::image;
    use crate::demo::line::Line;

    /// The answer's PDU of unit 1, the furnace.
    fn ask(unit: u8, pdu: &[u8]) -> Vec<u8> {
        let frame = Frame { transaction: 0x1501, unit, pdu };
        let state = Line::new(1).at(Duration::ZERO);
        let bytes = answer(&frame, |unit| (unit == 1).then(|| image::furnace(&state, true)));
        let length = u16::try_from(bytes.len() - 6).unwrap().to_be_bytes();
        assert_eq!(bytes[..7], [0x15, 0x01, 0, 0, length[0], length[1], unit]);
        bytes[7..].to_vec()
    }

    #[test]
    fn each_read_function_answers_with_its_byte_count() {
        for (function, quantity, count) in [(1u8, 2u8, 1u8), (2, 1, 1), (3, 4, 8)] {
            let pdu = ask(1, &[function, 0, 0, 0, quantity]);
            assert_eq!((pdu[0], pdu[1], pdu.len()), (function, count, usize::from(count) + 2));
        }
        assert_eq!(ask(1, &[4, 0, 2, 0, 2])[..2], [4, 4]);
    }

    #[test]
    fn another_function_is_exception_1() {
        for pdu in [&[5u8, 0, 0, 0xFF, 0][..], &[0x2B, 14, 1, 0], &[0]] {
            assert_eq!(ask(1, pdu), [pdu[0] | 0x80, 1]);
        }
    }

    #[test]
    fn an_address_or_an_end_outside_of_the_table_is_exception_2() {
        assert_eq!(ask(1, &[3, 0, 4, 0, 1]), [0x83, 2]);
        assert_eq!(ask(1, &[3, 0, 3, 0, 2]), [0x83, 2]);
        assert_eq!(ask(1, &[1, 0xFF, 0xFF, 0, 2]), [0x81, 2]);
    }

    #[test]
    fn a_quantity_outside_of_the_standard_or_a_broken_request_is_exception_3() {
        assert_eq!(ask(1, &[3, 0, 0, 0, 0]), [0x83, 3]);
        assert_eq!(ask(1, &[3, 0, 0, 0, 126]), [0x83, 3]);
        assert_eq!(ask(1, &[1, 0, 0, 0x07, 0xD1]), [0x81, 3]);
        assert_eq!(ask(1, &[4, 0, 0, 0]), [0x84, 3]);
        assert_eq!(ask(1, &[4, 0, 0, 0, 1, 0]), [0x84, 3]);
    }

    #[test]
    fn a_broken_sensor_is_exception_4_and_an_absent_unit_exception_11() {
        assert_eq!(ask(1, &[4, 0, 0, 0, 2]), [0x84, 4]);
        assert_eq!(ask(9, &[4, 0, 0, 0, 2]), [0x84, 11]);
    }
}
