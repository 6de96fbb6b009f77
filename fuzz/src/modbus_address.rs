//! Tag addresses: any text gives an error or an address that lies inside its table, fits one
//! request, and is the same when its canonical form is parsed again.

use lineside_crds::modbus::address;

/// One input: a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = address::parse(text) else { return };
    let length = parsed.length();
    assert!((1..=125).contains(&length), "{text}: {length} registers or bits");
    assert!(u32::from(parsed.offset) + u32::from(length) <= 65_536, "{text}: past the table");
    let canonical = parsed.to_string();
    assert_eq!(address::parse(&canonical), Ok(parsed), "{text} became {canonical}");
}
