//! The Modbus codec: any bytes, cut anywhere, give the same frames; a frame parsed is the frame
//! that was written; an answer's data is what was asked for; any data decodes or is refused.

use lineside_crds::modbus::{Area, ByteOrder, DataType};
use lineside_driver_modbus::decode;
use lineside_driver_modbus::wire::{Answer, Frame, Inbox, MAX_FRAME, Request, Violation, answer};

const AREAS: [Area; 4] =
    [Area::Coil, Area::DiscreteInput, Area::HoldingRegister, Area::InputRegister];

/// What the stream said, in order, up to the first violation.
type Seen = (Vec<(u16, u8, Vec<u8>)>, Option<Violation>);

/// One input: how it is cut, a request, then the bytes of a peer.
pub fn run(data: &[u8]) {
    let &[step, transaction, unit, area, start, quantity, ref peer @ ..] = data else { return };
    let request = Request {
        unit,
        area: AREAS[usize::from(area % 4)],
        start: u16::from_be_bytes([start, quantity]),
        quantity: u16::from(quantity).clamp(1, 125),
    };
    written_and_parsed(&request, u16::from_be_bytes([start, transaction]));

    let (frames, violation) = stream(peer, usize::from(step).max(1));
    assert_eq!(stream(peer, MAX_FRAME), (frames.clone(), violation), "depends on how it is cut");
    for (transaction, unit, pdu) in &frames {
        let frame = Frame { transaction: *transaction, unit: *unit, pdu };
        if let Some(read) = Request::parse(&frame) {
            written_and_parsed(&read, *transaction);
        }
        if let Ok(Answer::Data(data)) = answer(&request, *transaction, &frame) {
            assert_eq!(data.len(), request.answer_bytes());
            decoded(&request, data);
        }
    }
}

fn written_and_parsed(request: &Request, transaction: u16) {
    let bytes = request.encode(transaction);
    let (frame, used) = Frame::parse(&bytes).expect("well formed").expect("whole");
    assert_eq!((used, frame.transaction), (bytes.len(), transaction));
    assert_eq!(Request::parse(&frame), Some(*request));
}

/// Feeds the bytes in pieces of `step` and takes every frame.
fn stream(mut bytes: &[u8], step: usize) -> Seen {
    let mut inbox = Inbox::default();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let room = inbox.room();
        let n = room.len().min(step).min(bytes.len());
        assert!(n > 0, "no room although every frame was taken");
        let (piece, rest) = bytes.split_at(n);
        room[..n].copy_from_slice(piece);
        inbox.filled(n);
        bytes = rest;
        loop {
            match inbox.take() {
                Ok(Some(f)) => frames.push((f.transaction, f.unit, f.pdu.to_vec())),
                Ok(None) => break,
                Err(violation) => return (frames, Some(violation)),
            }
        }
    }
    (frames, None)
}

fn decoded(request: &Request, data: &[u8]) {
    if request.area.is_bits() {
        for index in 0..usize::from(request.quantity) {
            assert!(decode::bit(data, index).is_ok(), "bit {index} of {}", request.quantity);
        }
        return;
    }
    for data_type in DataType::ALL {
        for (_, order) in ByteOrder::PLC4X {
            // Only these have several elements (the address parser refuses the rest).
            let several = matches!(data_type, DataType::Char | DataType::Wchar | DataType::Byte);
            let count = if several { request.quantity } else { 1 };
            let needed = usize::from(data_type.registers(count)) * 2;
            let value = decode::registers(data, *data_type, count, *order);
            let short = value == Err(decode::NotUsable::Short);
            assert_eq!(short, data.len() < needed, "{} x {count}", data_type.name());
        }
    }
}
