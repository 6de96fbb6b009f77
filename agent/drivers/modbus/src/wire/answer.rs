//! Answers: whether a frame answers a request, and what it says.

use std::fmt;

use super::{Frame, Request, Violation};

/// Set in the function code of an exception answer (V1.1b3, section 7).
const EXCEPTION_BIT: u8 = 0x80;

/// What a frame says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The data bytes, exactly [`Request::answer_bytes`] of them: registers with their high byte
    /// first, or bits with the first one in the lowest bit of the first byte.
    Data(&'a [u8]),
    /// The device refuses.
    Exception(Exception),
    /// The frame belongs to another transaction, e.g. to a request that has timed out. It says
    /// nothing about this request.
    Stale,
}

/// Reads `frame` as the answer to `request`, which was sent as `transaction`.
///
/// # Errors
/// Unit, function or byte count do not fit the request although the transaction does.
pub fn answer<'a>(
    request: &Request,
    transaction: u16,
    frame: &Frame<'a>,
) -> Result<Answer<'a>, Violation> {
    if frame.transaction != transaction {
        return Ok(Answer::Stale);
    }
    if frame.unit != request.unit {
        return Err(Violation::Unit { asked: request.unit, got: frame.unit });
    }
    let asked = request.area.function();
    match frame.pdu {
        [function, rest @ ..] if *function == asked => {
            let wanted = request.answer_bytes();
            match rest {
                [count, data @ ..] if usize::from(*count) == wanted && data.len() == wanted => {
                    Ok(Answer::Data(data))
                }
                [count, data @ ..] => Err(Violation::ByteCount {
                    asked: wanted,
                    count: usize::from(*count),
                    got: data.len(),
                }),
                [] => Err(Violation::ByteCount { asked: wanted, count: 0, got: 0 }),
            }
        }
        [function, rest @ ..] if *function == asked | EXCEPTION_BIT => match rest {
            [code] => Ok(Answer::Exception(Exception(*code))),
            _ => Err(Violation::ExceptionLength(frame.pdu.len())),
        },
        [got, ..] => Err(Violation::Function { asked, got: *got }),
        [] => Err(Violation::Length(1)),
    }
}

/// An exception code (V1.1b3, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    /// The standard's name; `None` for a code that it does not define.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "server device failure",
            5 => "acknowledge",
            6 => "server device busy",
            8 => "memory parity error",
            10 => "gateway path unavailable",
            11 => "gateway target device failed to respond",
            _ => return None,
        })
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "exception {} ({name})", self.0),
            None => write!(f, "exception {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use lineside_crds::modbus::Area;
    use proptest::prelude::*;

    use super::*;

    fn request(area: Area, quantity: u16) -> Request {
        Request { unit: 1, area, start: 0, quantity }
    }

    fn frame(pdu: &[u8]) -> Frame<'_> {
        Frame { transaction: 9, unit: 1, pdu }
    }

    #[test]
    fn the_standards_example_answers_give_their_data() {
        // V1.1b3 6.1: coils 20-38; 6.2: inputs 197-218; 6.3: registers 108-110; 6.4: register 9.
        let cases: [(Area, u16, &[u8], &[u8]); 4] = [
            (Area::Coil, 19, &[0x01, 0x03, 0xCD, 0x6B, 0x05], &[0xCD, 0x6B, 0x05]),
            (Area::DiscreteInput, 22, &[0x02, 0x03, 0xAC, 0xDB, 0x35], &[0xAC, 0xDB, 0x35]),
            (
                Area::HoldingRegister,
                3,
                &[0x03, 0x06, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64],
                &[0x02, 0x2B, 0x00, 0x00, 0x00, 0x64],
            ),
            (Area::InputRegister, 1, &[0x04, 0x02, 0x00, 0x0A], &[0x00, 0x0A]),
        ];
        for (area, quantity, pdu, data) in cases {
            let got = answer(&request(area, quantity), 9, &frame(pdu));
            assert_eq!(got, Ok(Answer::Data(data)), "{area:?}");
        }
    }

    #[test]
    fn an_answer_of_another_transaction_is_stale_even_when_all_else_is_wrong() {
        let got = answer(&request(Area::Coil, 1), 10, &Frame { unit: 77, ..frame(&[0x55]) });
        assert_eq!(got, Ok(Answer::Stale));
    }

    #[test]
    fn an_exception_is_no_violation_but_one_of_another_function_is() {
        let ask = request(Area::HoldingRegister, 1);
        assert_eq!(answer(&ask, 9, &frame(&[0x83, 0x02])), Ok(Answer::Exception(Exception(2))));
        assert_eq!(
            answer(&ask, 9, &frame(&[0x84, 0x02])),
            Err(Violation::Function { asked: 3, got: 0x84 })
        );
        assert_eq!(
            answer(&ask, 9, &frame(&[0x83, 0x02, 0x00])),
            Err(Violation::ExceptionLength(3))
        );
    }

    #[test]
    fn unit_function_and_byte_count_must_fit_the_request() {
        let ask = request(Area::HoldingRegister, 2);
        let good = [3, 4, 0, 1, 0, 2];
        assert_eq!(
            answer(&ask, 9, &Frame { unit: 2, ..frame(&good) }),
            Err(Violation::Unit { asked: 1, got: 2 })
        );
        assert_eq!(
            answer(&ask, 9, &frame(&[4, 4, 0, 1, 0, 2])),
            Err(Violation::Function { asked: 3, got: 4 })
        );
        for short in [&[3u8, 2, 0, 1][..], &[3, 4, 0, 1], &[3, 2, 0, 1, 0, 2], &[3]] {
            assert!(
                matches!(answer(&ask, 9, &frame(short)), Err(Violation::ByteCount { .. })),
                "{short:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic_and_data_is_always_as_long_as_asked(
            pdu in prop::collection::vec(any::<u8>(), 1..=253),
            quantity in 1u16..=125,
            bits: bool,
        ) {
            let ask = request(if bits { Area::Coil } else { Area::HoldingRegister }, quantity);
            if let Ok(Answer::Data(data)) = answer(&ask, 9, &frame(&pdu)) {
                prop_assert_eq!(data.len(), ask.answer_bytes());
            }
        }
    }
}
