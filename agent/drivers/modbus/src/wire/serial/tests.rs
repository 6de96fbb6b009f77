use proptest::prelude::*;

use super::*;

#[test]
fn the_crc_is_that_of_the_standards_example() {
    // V1.02, 6.2.2: the frame 02 07 has the CRC 1241 and is sent as 41 12.
    assert_eq!(encode(Framing::Rtu, 2, &[7]).unwrap(), [0x02, 0x07, 0x41, 0x12]);
}

#[test]
fn frames_are_those_that_pymodbus_writes() {
    // Written by the framers of pymodbus 3.16.1.
    type Case = (u8, &'static [u8], &'static [u8], &'static [u8]);
    let cases: [Case; 3] = [
        (17, &[3, 0, 0x6B, 0, 3], &[0x11, 3, 0, 0x6B, 0, 3, 0x76, 0x87], b":1103006B00037E\r\n"),
        (
            1,
            &[3, 4, 0, 1, 0xFF, 0xFE],
            &[1, 3, 4, 0, 1, 0xFF, 0xFE, 0x6B, 0x83],
            b":0103040001FFFEFA\r\n",
        ),
        (2, &[0x83, 2], &[2, 0x83, 2, 0x30, 0xF1], b":02830279\r\n"),
    ];
    for (unit, pdu, rtu, ascii) in cases {
        for (framing, bytes) in [(Framing::Rtu, rtu), (Framing::Ascii, ascii)] {
            assert_eq!(encode(framing, unit, pdu).unwrap(), bytes, "{framing:?}");
            assert_eq!(parse(framing, bytes), Ok((unit, pdu.to_vec())), "{framing:?}");
        }
    }
}

#[test]
fn a_pdu_that_fits_no_frame_is_refused() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        assert_eq!(encode(framing, 1, &[]), Err(Damage::Length(0)));
        assert_eq!(encode(framing, 1, &[3; 254]), Err(Damage::Length(254)));
    }
    assert_eq!(encode(Framing::Rtu, 1, &[3; 253]).unwrap().len(), 256);
    assert_eq!(encode(Framing::Ascii, 1, &[3; 253]).unwrap().len(), 513);
}

#[test]
fn text_without_its_marks_or_in_lower_case_is_no_frame() {
    let good = encode(Framing::Ascii, 1, &[0x83, 0x02]).unwrap();
    assert_eq!(parse(Framing::Ascii, &good), Ok((1, vec![0x83, 0x02])));
    let lower = encode(Framing::Ascii, 1, &[0xAB]).unwrap().to_ascii_lowercase();
    assert_eq!(parse(Framing::Ascii, &lower), Err(Damage::Text));
    for at in [0, good.len() - 1, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] = b'0';
        assert_eq!(parse(Framing::Ascii, &bad), Err(Damage::Text), "{at}");
    }
}

proptest! {
    #[test]
    fn a_frame_is_parsed_as_it_was_written(
        unit: u8, pdu in prop::collection::vec(any::<u8>(), 1..=253), ascii: bool,
    ) {
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        let bytes = encode(framing, unit, &pdu).unwrap();
        prop_assert_eq!(parse(framing, &bytes), Ok((unit, pdu)));
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_a_frame_is_written_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..600), ascii: bool,
    ) {
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        if let Ok((unit, pdu)) = parse(framing, &bytes) {
            prop_assert_eq!(encode(framing, unit, &pdu).unwrap(), bytes);
        }
    }

    #[test]
    fn every_burst_of_up_to_sixteen_bits_in_an_rtu_frame_is_found(
        unit: u8, pdu in prop::collection::vec(any::<u8>(), 1..=253), burst in 1u16.., at: usize,
    ) {
        let mut bytes = encode(Framing::Rtu, unit, &pdu).unwrap();
        let first = at % (bytes.len() * 8 - 15);
        // Bits in the order of the line: the lowest of a byte goes first.
        for bit in (0..16).filter(|bit| burst >> bit & 1 == 1) {
            let place = first + bit;
            bytes[place / 8] ^= 1 << (place % 8);
        }
        prop_assert_eq!(parse(Framing::Rtu, &bytes), Err(Damage::CheckSum));
    }

    #[test]
    fn every_single_bit_of_damage_is_found(
        unit: u8, pdu in prop::collection::vec(any::<u8>(), 1..=20), ascii: bool,
    ) {
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        let good = encode(framing, unit, &pdu).unwrap();
        for place in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[place / 8] ^= 1 << (place % 8);
            prop_assert!(parse(framing, &bytes).is_err(), "bit {}", place);
        }
    }
}
