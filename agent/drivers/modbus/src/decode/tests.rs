use lineside_crds::modbus::ByteOrder::{
    BigEndian, BigEndianByteSwap, LittleEndian, LittleEndianByteSwap,
};
use proptest::prelude::*;

use super::*;

const ORDERS: [ByteOrder; 4] = [BigEndian, LittleEndian, BigEndianByteSwap, LittleEndianByteSwap];

#[test]
fn a_32_bit_value_is_read_in_each_of_the_four_orders() {
    // 0x3FC00000 is 1.5 (IEEE 754); A = 3F, B = C0, C = D = 00.
    for (order, raw) in [
        (BigEndian, [0x3F, 0xC0, 0x00, 0x00]),
        (LittleEndian, [0x00, 0x00, 0xC0, 0x3F]),
        (BigEndianByteSwap, [0xC0, 0x3F, 0x00, 0x00]),
        (LittleEndianByteSwap, [0x00, 0x00, 0x3F, 0xC0]),
    ] {
        assert_eq!(registers(&raw, DataType::Real, 1, order), Ok(Value::F32(1.5)), "{order:?}");
    }
    for (order, raw) in [
        (BigEndian, [0x12, 0x34, 0x56, 0x78]),
        (LittleEndian, [0x78, 0x56, 0x34, 0x12]),
        (BigEndianByteSwap, [0x34, 0x12, 0x78, 0x56]),
        (LittleEndianByteSwap, [0x56, 0x78, 0x12, 0x34]),
    ] {
        let got = registers(&raw, DataType::Udint, 1, order);
        assert_eq!(got, Ok(Value::U32(0x1234_5678)), "{order:?}");
    }
}

#[test]
fn a_64_bit_value_is_read_in_each_of_the_four_orders() {
    for (order, raw) in [
        (BigEndian, [1, 2, 3, 4, 5, 6, 7, 8]),
        (LittleEndian, [8, 7, 6, 5, 4, 3, 2, 1]),
        (BigEndianByteSwap, [2, 1, 4, 3, 6, 5, 8, 7]),
        (LittleEndianByteSwap, [7, 8, 5, 6, 3, 4, 1, 2]),
    ] {
        let got = registers(&raw, DataType::Ulint, 1, order);
        assert_eq!(got, Ok(Value::U64(0x0102_0304_0506_0708)), "{order:?}");
    }
    // pi, IEEE 754 binary64
    let raw = [0x40, 0x09, 0x21, 0xFB, 0x54, 0x44, 0x2D, 0x18];
    let got = registers(&raw, DataType::Lreal, 1, BigEndian);
    assert_eq!(got, Ok(Value::F64(std::f64::consts::PI)));
}

#[test]
fn a_16_bit_value_changes_its_order_where_bytes_of_a_register_do() {
    for (order, want) in [
        (BigEndian, 0x1234),
        (LittleEndian, 0x3412),
        (BigEndianByteSwap, 0x3412),
        (LittleEndianByteSwap, 0x1234),
    ] {
        let got = registers(&[0x12, 0x34], DataType::Word, 1, order);
        assert_eq!(got, Ok(Value::U16(want)), "{order:?}");
    }
}

#[test]
fn types_narrower_than_a_register_are_its_low_part_in_the_order() {
    for (order, raw) in [
        (BigEndian, [0x00, 0x81]),
        (LittleEndian, [0x81, 0x00]),
        (BigEndianByteSwap, [0x81, 0x00]),
        (LittleEndianByteSwap, [0x00, 0x81]),
    ] {
        assert_eq!(registers(&raw, DataType::Byte, 1, order), Ok(Value::U8(0x81)), "{order:?}");
        assert_eq!(registers(&raw, DataType::Usint, 1, order), Ok(Value::U8(0x81)), "{order:?}");
        assert_eq!(registers(&raw, DataType::Sint, 1, order), Ok(Value::I8(-127)), "{order:?}");
        assert_eq!(registers(&raw, DataType::Bool, 1, order), Ok(Value::Bool(true)), "{order:?}");
    }
    let got = registers(&[0x01, 0x00], DataType::Bool, 1, BigEndian);
    assert_eq!(got, Ok(Value::Bool(false)));
}

#[test]
fn signed_types_keep_their_sign() {
    let ones = [0xFF; 8];
    for order in ORDERS {
        assert_eq!(registers(&ones, DataType::Int, 1, order), Ok(Value::I16(-1)));
        assert_eq!(registers(&ones, DataType::Dint, 1, order), Ok(Value::I32(-1)));
        assert_eq!(registers(&ones, DataType::Lint, 1, order), Ok(Value::I64(-1)));
        assert_eq!(registers(&ones, DataType::Uint, 1, order), Ok(Value::U16(0xFFFF)));
        assert_eq!(registers(&ones, DataType::Dword, 1, order), Ok(Value::U32(u32::MAX)));
        assert_eq!(registers(&ones, DataType::Lword, 1, order), Ok(Value::U64(u64::MAX)));
    }
}

#[test]
fn char_text_is_packed_and_ends_at_nul() {
    let text = |raw: &[u8], count, order| registers(raw, DataType::Char, count, order);
    let abc = Ok(Value::String("ABC".into()));
    assert_eq!(text(b"ABCD", 3, BigEndian), abc);
    assert_eq!(text(b"ABC\0xx", 6, BigEndian), abc);
    assert_eq!(text(b"ABC\0xx", 6, LittleEndian), abc);
    assert_eq!(text(b"BA\0C", 4, BigEndianByteSwap), abc);
    assert_eq!(text(b"BA\0C", 4, LittleEndianByteSwap), abc);
    assert_eq!(text(b"A\0", 1, BigEndian), Ok(Value::String("A".into())));
    assert_eq!(text("grün".as_bytes(), 5, BigEndian), Err(NotUsable::Short));
    assert_eq!(text("grün!".as_bytes(), 5, BigEndian), Ok(Value::String("grün".into())));
}

#[test]
fn wchar_text_is_one_unit_to_a_register() {
    let text = |raw: &[u8], count, order| registers(raw, DataType::Wchar, count, order);
    let want = Ok(Value::String("Aö".into()));
    assert_eq!(text(&[0, 0x41, 0, 0xF6, 0, 0, 0, 0x42], 4, BigEndian), want);
    assert_eq!(text(&[0, 0x41, 0, 0xF6], 2, LittleEndianByteSwap), want);
    assert_eq!(text(&[0x41, 0, 0xF6, 0], 2, LittleEndian), want);
    assert_eq!(text(&[0x41, 0, 0xF6, 0], 2, BigEndianByteSwap), want);
}

#[test]
fn bytes_that_are_no_text_are_an_error_not_a_replacement() {
    assert_eq!(registers(&[0xFF, 0xFE], DataType::Char, 2, BigEndian), Err(NotUsable::Utf8));
    assert_eq!(registers(&[0xD8, 0x00], DataType::Wchar, 1, BigEndian), Err(NotUsable::Utf16));
}

#[test]
fn a_list_of_bytes_keeps_its_odd_end() {
    let list = |order| registers(&[1, 2, 3, 4], DataType::Byte, 3, order);
    assert_eq!(list(BigEndian), Ok(Value::Bytes([1, 2, 3][..].into())));
    assert_eq!(list(LittleEndian), Ok(Value::Bytes([1, 2, 3][..].into())));
    assert_eq!(list(BigEndianByteSwap), Ok(Value::Bytes([2, 1, 4][..].into())));
}

#[test]
fn bits_are_taken_from_the_lowest_of_each_byte_on() {
    // V1.1b3 6.1: coils 27-20 are CD, 35-28 are 6B, 38-36 are 05; 20 is the first.
    let data = [0xCD, 0x6B, 0x05];
    let coils: Vec<bool> = (0..19).map(|i| bit(&data, i).unwrap()).collect();
    let on = |from: usize, text: &str| {
        let want: Vec<bool> = text.chars().rev().map(|c| c == '1').collect();
        assert_eq!(coils[from..from + want.len()], want[..], "from {from}");
    };
    on(0, "11001101");
    on(8, "01101011");
    on(16, "101");
    assert_eq!(bit(&data, 24), Err(NotUsable::Short));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        raw in prop::collection::vec(any::<u8>(), 0..260), kind in 0usize..17, count in 1u16..300,
        order in 0usize..4,
    ) {
        use DataType::*;
        let types = [
            Bool, Byte, Word, Dword, Lword, Sint, Usint, Int, Uint, Dint, Udint, Lint, Ulint, Real,
            Lreal, Char, Wchar,
        ];
        let _ = registers(&raw, types[kind], count, ORDERS[order]);
        let _ = bit(&raw, usize::from(count));
    }
}
