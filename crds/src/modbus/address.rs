//! Modbus tag addresses in the syntax of Apache PLC4X, verbatim.
//!
//! ```text
//! AREA NUMBER [:TYPE] [[COUNT]] [{unit-id: N, byte-order: 'ORDER'}]
//! holding-register:100:REAL   40100:REAL   4x00100:REAL   coil:1   0x00001
//! ```
//!
//! Facts of that syntax: numbers count from 1 in every form (extended registers from 0); the
//! short forms `4NNNN`, `4NNNNN`, `4xNNNN`, `4xNNNNN` take exactly four or five digits after the
//! area; the type of registers is INT and of bits BOOL when none is written; numbers are decimal.

use std::fmt;

use super::{Address, Area, ByteOrder, DataType};
use crate::diagnostics::Code;
use crate::suggest::{did_you_mean, shown, suggest};

/// Longest address text that is looked at; the API allows 128.
const MOST_BYTES: usize = 512;
/// Number of addresses of one table (V1.1b3, section 4.4).
const TABLE: u32 = 65_536;
/// Most registers of one read (V1.1b3, section 6.3).
const MOST_REGISTERS: u32 = 125;

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not have the form of an address.
    #[error("{0}")]
    Syntax(String),
    /// Number, or end of the value, outside of the table.
    #[error("{0}")]
    OutOfRange(String),
    /// No such data type.
    #[error("{0} is no data type{1}")]
    UnknownType(String, String),
    /// The type cannot be read from the table.
    #[error("{0} cannot be read from a table of bits; only BOOL can")]
    TypeDoesNotFit(DataType),
    /// A count for a type whose points hold one value.
    #[error("{0}[{1}]: write one point per element; only CHAR, WCHAR and BYTE take a count")]
    Array(DataType, u32),
    /// Extended registers are not read.
    #[error("extended registers (function code 20) are not read by this release")]
    Extended,
    /// Unit identifier not within 0 to 255.
    #[error("unit-id {0} is not within 0 to 255")]
    UnitId(String),
    /// The braces hold something unknown.
    #[error("{0}")]
    Option(String),
}

impl AddressError {
    /// Its diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            Self::Syntax(_) => Code::AddressSyntax,
            Self::OutOfRange(_) => Code::AddressOutOfRange,
            Self::UnknownType(..) => Code::UnknownDataType,
            Self::TypeDoesNotFit(_) => Code::TypeDoesNotFitArea,
            Self::Array(..) => Code::ArrayUnsupported,
            Self::Extended => Code::ExtendedRegisterUnsupported,
            Self::UnitId(_) => Code::UnitIdOutOfRange,
            Self::Option(_) => Code::AddressOptionUnknown,
        }
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
    }
}

/// Parses one address. Total: any text gives an address inside its table or an error.
pub fn parse(text: &str) -> Result<Address, AddressError> {
    if text.len() > MOST_BYTES {
        return Err(AddressError::Syntax("the address is too long".into()));
    }
    let (body, options) = match text.split_once('{') {
        Some((body, rest)) => match rest.strip_suffix('}') {
            Some(inner) if !inner.contains(['{', '}']) => (body, inner),
            _ => return Err(AddressError::Syntax("the braces are not closed at the end".into())),
        },
        None => (text, ""),
    };
    let (body, count) = split_count(body)?;
    let (area, number, type_name) = split_area(body)?;
    let (unit_id, byte_order) =
        if text.contains('{') { parse_options(options)? } else { (None, None) };
    let Some(area) = area else { return Err(AddressError::Extended) };

    let data_type = match type_name {
        Some(name) => DataType::parse(name).ok_or_else(|| {
            let known = DataType::ALL.iter().map(|t| t.name());
            let hint = match name.split('(').next() {
                Some("STRING") => "; text is CHAR[n], n being its characters".into(),
                Some("WSTRING") => "; wide text is WCHAR[n], n being its characters".into(),
                _ => did_you_mean(name, known),
            };
            AddressError::UnknownType(shown(name), hint)
        })?,
        None if area.is_bits() => DataType::Bool,
        None => DataType::Int,
    };
    if area.is_bits() && data_type != DataType::Bool {
        return Err(AddressError::TypeDoesNotFit(data_type));
    }
    let counted = matches!(data_type, DataType::Char | DataType::Wchar | DataType::Byte);
    if count != 1 && !counted {
        return Err(AddressError::Array(data_type, count));
    }
    if !(1..=TABLE).contains(&number) {
        let message = format!("{number} is not within 1 to {TABLE}; addresses count from one");
        return Err(AddressError::OutOfRange(message));
    }
    let length = if area.is_bits() { 1 } else { data_type.registers_of(count) };
    if length > MOST_REGISTERS {
        let message = format!("{count} elements are {length} registers; one request holds 125");
        return Err(AddressError::OutOfRange(message));
    }
    if number - 1 + length > TABLE {
        let message = format!("the value ends at {}, beyond {TABLE}", number - 1 + length);
        return Err(AddressError::OutOfRange(message));
    }
    match (u16::try_from(number - 1), u16::try_from(count)) {
        (Ok(offset), Ok(count)) => {
            Ok(Address { area, offset, data_type, count, unit_id, byte_order })
        }
        _ => Err(AddressError::OutOfRange(format!("{number} is not within 1 to {TABLE}"))),
    }
}

/// Takes `[COUNT]` off the end.
fn split_count(body: &str) -> Result<(&str, u32), AddressError> {
    let Some(open) = body.find('[') else { return Ok((body, 1)) };
    let (head, rest) = body.split_at(open);
    let digits = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']'));
    match digits.and_then(decimal) {
        Some(0) => Err(AddressError::OutOfRange("a count of 0 reads nothing".into())),
        Some(n) => Ok((head, n)),
        None => Err(AddressError::Syntax(format!(
            "{} is no count; write it at the end, for example CHAR[10]",
            shown(rest)
        ))),
    }
}

/// `None` = extended registers.
type Split<'a> = (Option<Area>, u32, Option<&'a str>);

/// Splits `AREA NUMBER [:TYPE]`.
fn split_area(body: &str) -> Result<Split<'_>, AddressError> {
    for (name, area) in LONG {
        if let Some(rest) = body.strip_prefix(name).and_then(|r| r.strip_prefix(':')) {
            let (number, type_name) = split_type(rest);
            let number = decimal(number).ok_or_else(|| no_number(number))?;
            return Ok((*area, number, type_name));
        }
    }
    let (number, type_name) = split_type(body);
    let mut chars = number.chars();
    let area = match chars.next() {
        Some('0') => Some(Area::Coil),
        Some('1') => Some(Area::DiscreteInput),
        Some('3') => Some(Area::InputRegister),
        Some('4') => Some(Area::HoldingRegister),
        Some('6') => None,
        _ => {
            let word = body.split(':').next().unwrap_or_default();
            let hint = match suggest(word, LONG.iter().map(|(n, _)| *n)) {
                Some(name) => format!("; did you mean {name}?"),
                None => "; wanted coil, discrete-input, input-register or holding-register".into(),
            };
            return Err(AddressError::Syntax(format!("{} is no table{hint}", shown(word))));
        }
    };
    let digits = chars.as_str();
    let digits = digits.strip_prefix('x').unwrap_or(digits);
    if !matches!(digits.len(), 4 | 5) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::Syntax(format!(
            "{}: the short form is one digit for the table and four or five for the number, \
             for example 40100",
            shown(number)
        )));
    }
    let number = decimal(digits).ok_or_else(|| no_number(digits))?;
    Ok((area, number, type_name))
}

fn split_type(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((number, type_name)) => (number, Some(type_name)),
        None => (text, None),
    }
}

fn no_number(text: &str) -> AddressError {
    AddressError::Syntax(format!("{:?} is no decimal number", shown(text)))
}

/// A decimal number without sign; numbers too large for any table become the largest.
fn decimal(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

/// `unit-id: 10, byte-order: 'LITTLE_ENDIAN'`, in any order.
fn parse_options(text: &str) -> Result<(Option<u8>, Option<ByteOrder>), AddressError> {
    let (mut unit_id, mut byte_order) = (None, None);
    for option in text.split(',').map(str::trim) {
        let Some((key, value)) = option.split_once(':') else {
            let message = format!("{:?} is no option of the form name: value", shown(option));
            return Err(AddressError::Option(message));
        };
        let (key, value) = (key.trim(), unquoted(value.trim()));
        let twice = || AddressError::Option(format!("{key} stands there twice"));
        match key {
            "unit-id" => {
                let n = value.parse::<u8>().map_err(|_| AddressError::UnitId(shown(value)))?;
                if unit_id.replace(n).is_some() {
                    return Err(twice());
                }
            }
            "byte-order" => {
                let order = ByteOrder::from_plc4x(value).ok_or_else(|| {
                    let hint = did_you_mean(value, ByteOrder::PLC4X.iter().map(|(n, _)| *n));
                    AddressError::Option(format!("{} is no byte order{hint}", shown(value)))
                })?;
                if byte_order.replace(order).is_some() {
                    return Err(twice());
                }
            }
            _ => {
                let hint = did_you_mean(key, ["unit-id", "byte-order"]);
                return Err(AddressError::Option(format!("no option {}{hint}", shown(key))));
            }
        }
    }
    Ok((unit_id, byte_order))
}

fn unquoted(text: &str) -> &str {
    ['\'', '"']
        .iter()
        .find_map(|q| text.strip_prefix(*q).and_then(|t| t.strip_suffix(*q)))
        .unwrap_or(text)
}

impl Address {
    /// How many registers (or bits, in a table of bits) the value occupies.
    pub fn length(&self) -> u16 {
        if self.area.is_bits() { self.count } else { self.data_type.registers(self.count) }
    }

    /// The address on the wire, for people, e.g. `unit 1 FC3 @99 x2`; `default_unit` is the
    /// connection's unit identifier.
    pub fn wire(&self, default_unit: u8) -> Wire<'_> {
        Wire { address: self, unit: self.unit_id.unwrap_or(default_unit) }
    }
}

/// Displays an address as it goes over the wire: zero-based, with its function code.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    address: &'a Address,
    unit: u8,
}

impl fmt::Display for Wire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { area, offset, .. } = self.address;
        write!(f, "unit {} FC{} @{offset} x{}", self.unit, area.function(), self.address.length())
    }
}

impl fmt::Display for Address {
    /// The canonical PLC4X form; parsing it gives the same address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = LONG.iter().find(|(_, a)| *a == Some(self.area)).map_or("", |(n, _)| *n);
        write!(f, "{area}:{}:{}", u32::from(self.offset) + 1, self.data_type)?;
        if self.count != 1 {
            write!(f, "[{}]", self.count)?;
        }
        match (self.unit_id, self.byte_order) {
            (None, None) => Ok(()),
            (Some(unit), None) => write!(f, "{{unit-id: {unit}}}"),
            (None, Some(order)) => write!(f, "{{byte-order: '{}'}}", order.plc4x()),
            (Some(unit), Some(order)) => {
                write!(f, "{{unit-id: {unit}, byte-order: '{}'}}", order.plc4x())
            }
        }
    }
}

/// The areas by their long names.
const LONG: &[(&str, Option<Area>)] = &[
    ("coil", Some(Area::Coil)),
    ("discrete-input", Some(Area::DiscreteInput)),
    ("input-register", Some(Area::InputRegister)),
    ("holding-register", Some(Area::HoldingRegister)),
    ("extended-register", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> String {
        parse(text).map(|a| a.wire(1).to_string()).unwrap_or_else(|e| format!("{:?}", e.code()))
    }

    #[test]
    fn every_form_counts_from_one() {
        for (text, expected) in [
            ("holding-register:1", "unit 1 FC3 @0 x1"),
            ("holding-register:100:REAL", "unit 1 FC3 @99 x2"),
            ("40100:REAL", "unit 1 FC3 @99 x2"),
            ("400100:REAL", "unit 1 FC3 @99 x2"),
            ("4x0100:LREAL", "unit 1 FC3 @99 x4"),
            ("4x00100", "unit 1 FC3 @99 x1"),
            ("input-register:65536:UINT", "unit 1 FC4 @65535 x1"),
            ("30001", "unit 1 FC4 @0 x1"),
            ("3x00001:DINT", "unit 1 FC4 @0 x2"),
            ("coil:1", "unit 1 FC1 @0 x1"),
            ("00001", "unit 1 FC1 @0 x1"),
            ("0x00017:BOOL", "unit 1 FC1 @16 x1"),
            ("discrete-input:7", "unit 1 FC2 @6 x1"),
            ("10007", "unit 1 FC2 @6 x1"),
            ("1x0007", "unit 1 FC2 @6 x1"),
            ("holding-register:5:CHAR[10]", "unit 1 FC3 @4 x5"),
            ("holding-register:5:CHAR[11]", "unit 1 FC3 @4 x6"),
            ("holding-register:5:WCHAR[10]", "unit 1 FC3 @4 x10"),
            ("holding-register:5:BYTE[3]", "unit 1 FC3 @4 x2"),
            ("holding-register:5:BYTE", "unit 1 FC3 @4 x1"),
            ("holding-register:5:BOOL", "unit 1 FC3 @4 x1"),
            ("holding-register:1{unit-id: 10}", "unit 10 FC3 @0 x1"),
            ("40001:DINT{byte-order: 'LITTLE_ENDIAN', unit-id: 0}", "unit 0 FC3 @0 x2"),
            ("40001:DINT{unit-id:255,byte-order:BIG_ENDIAN_BYTE_SWAP}", "unit 255 FC3 @0 x2"),
        ] {
            assert_eq!(wire(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_code() {
        for (text, code) in [
            ("", Code::AddressSyntax),
            ("holding-register", Code::AddressSyntax),
            ("holding-register:", Code::AddressSyntax),
            ("holding-registr:1", Code::AddressSyntax),
            ("holding-register:0x10", Code::AddressSyntax),
            ("holding-register:-1", Code::AddressSyntax),
            ("holding-register:+1", Code::AddressSyntax),
            ("holding-register:1[2]:INT", Code::AddressSyntax),
            ("400", Code::AddressSyntax),
            ("4000000", Code::AddressSyntax),
            ("4x", Code::AddressSyntax),
            ("holding-register:1{unit-id: 1", Code::AddressSyntax),
            ("holding-register:1:INT[", Code::AddressSyntax),
            ("holding-register:0", Code::AddressOutOfRange),
            ("40000", Code::AddressOutOfRange),
            ("holding-register:65537", Code::AddressOutOfRange),
            ("holding-register:99999999999999999999", Code::AddressOutOfRange),
            ("holding-register:65536:REAL", Code::AddressOutOfRange),
            ("holding-register:1:CHAR[0]", Code::AddressOutOfRange),
            ("holding-register:1:CHAR[251]", Code::AddressOutOfRange),
            ("holding-register:1:CHAR[4294967295]", Code::AddressOutOfRange),
            ("holding-register:1:FLOAT", Code::UnknownDataType),
            ("holding-register:1:real", Code::UnknownDataType),
            ("holding-register:1:STRING(20)", Code::UnknownDataType),
            ("holding-register:1:", Code::UnknownDataType),
            ("coil:1:INT", Code::TypeDoesNotFitArea),
            ("holding-register:1:INT[2]", Code::ArrayUnsupported),
            ("coil:1:BOOL[8]", Code::ArrayUnsupported),
            ("extended-register:0", Code::ExtendedRegisterUnsupported),
            ("6x0001", Code::ExtendedRegisterUnsupported),
            ("60001", Code::ExtendedRegisterUnsupported),
            ("holding-register:1{unit-id: 256}", Code::UnitIdOutOfRange),
            ("holding-register:1{unit-id: -1}", Code::UnitIdOutOfRange),
            ("holding-register:1{}", Code::AddressOptionUnknown),
            ("holding-register:1{unit: 1}", Code::AddressOptionUnknown),
            ("holding-register:1{unit-id: 1, unit-id: 1}", Code::AddressOptionUnknown),
            ("holding-register:1{byte-order: 'MIDDLE'}", Code::AddressOptionUnknown),
        ] {
            assert_eq!(wire(text), format!("{code:?}"), "{text}");
        }
    }

    #[test]
    fn displayed_addresses_parse_to_themselves() {
        for text in
            ["40100:REAL", "00001", "4x0005:CHAR[10]{unit-id: 3, byte-order: 'LITTLE_ENDIAN'}"]
        {
            let address = parse(text).unwrap();
            assert_eq!(parse(&address.to_string()), Ok(address));
        }
    }
}
