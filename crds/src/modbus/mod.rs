//! Modbus: settings of one connection and the address of one point.
//!
//! Source: MODBUS Application Protocol Specification V1.1b3; tag syntax of Apache PLC4X.

pub mod address;

use std::fmt;
use std::net::Ipv6Addr;

/// A validated Modbus TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Host name or address.
    pub host: String,
    /// TCP port, 502 by default.
    pub port: u16,
    /// Unit identifier for points that name none, 0..=255.
    pub unit_id: u8,
    /// Order of the bytes of a value for points that name none.
    pub byte_order: ByteOrder,
    /// Most registers in one request, 1..=125 (FC 3 and 4).
    pub max_registers: u16,
    /// Most bits in one request, 1..=2000 (FC 1 and 2).
    pub max_bits: u16,
    /// Longest run of unasked registers (or bits) that is read along to save a request.
    pub max_gap: u16,
}

impl Settings {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn endpoint(&self) -> String {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// One of the four primary tables (V1.1b3, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Coils, read with FC 1.
    Coil,
    /// Discrete inputs, read with FC 2.
    DiscreteInput,
    /// Holding registers, read with FC 3.
    HoldingRegister,
    /// Input registers, read with FC 4.
    InputRegister,
}

impl Area {
    /// The function code that reads it (V1.1b3, sections 6.1 to 6.4).
    pub fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::DiscreteInput => 2,
            Self::HoldingRegister => 3,
            Self::InputRegister => 4,
        }
    }

    /// Whether one address holds one bit (else one 16-bit register).
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::DiscreteInput)
    }
}

/// Order of the bytes of a value in the registers, A being its most significant byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// ABCD, the order of the standard.
    #[default]
    BigEndian,
    /// DCBA.
    LittleEndian,
    /// BADC.
    BigEndianByteSwap,
    /// CDAB.
    LittleEndianByteSwap,
}

impl ByteOrder {
    /// The orders by the names that Apache PLC4X gives them.
    pub const PLC4X: &'static [(&'static str, Self)] = &[
        ("BIG_ENDIAN", Self::BigEndian),
        ("LITTLE_ENDIAN", Self::LittleEndian),
        ("BIG_ENDIAN_BYTE_SWAP", Self::BigEndianByteSwap),
        ("LITTLE_ENDIAN_BYTE_SWAP", Self::LittleEndianByteSwap),
    ];

    /// The order of this PLC4X name, exactly as written.
    pub fn from_plc4x(name: &str) -> Option<Self> {
        Self::PLC4X.iter().find(|(n, _)| *n == name).map(|(_, order)| *order)
    }

    /// Its PLC4X name, e.g. `BIG_ENDIAN`.
    pub fn plc4x(self) -> &'static str {
        Self::PLC4X.iter().find(|(_, order)| *order == self).map_or("BIG_ENDIAN", |(n, _)| *n)
    }
}

/// The data type of a point (names of IEC 61131-3, as PLC4X writes them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum DataType {
    Bool,
    Byte,
    Word,
    Dword,
    Lword,
    Sint,
    Usint,
    Int,
    Uint,
    Dint,
    Udint,
    Lint,
    Ulint,
    Real,
    Lreal,
    Char,
    Wchar,
}

impl DataType {
    /// All types.
    pub const ALL: &'static [Self] = &[
        Self::Bool,
        Self::Byte,
        Self::Word,
        Self::Dword,
        Self::Lword,
        Self::Sint,
        Self::Usint,
        Self::Int,
        Self::Uint,
        Self::Dint,
        Self::Udint,
        Self::Lint,
        Self::Ulint,
        Self::Real,
        Self::Lreal,
        Self::Char,
        Self::Wchar,
    ];

    /// The name in an address, e.g. `REAL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Byte => "BYTE",
            Self::Word => "WORD",
            Self::Dword => "DWORD",
            Self::Lword => "LWORD",
            Self::Sint => "SINT",
            Self::Usint => "USINT",
            Self::Int => "INT",
            Self::Uint => "UINT",
            Self::Dint => "DINT",
            Self::Udint => "UDINT",
            Self::Lint => "LINT",
            Self::Ulint => "ULINT",
            Self::Real => "REAL",
            Self::Lreal => "LREAL",
            Self::Char => "CHAR",
            Self::Wchar => "WCHAR",
        }
    }

    /// The type of this name, exactly as written.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// Registers that `count` elements occupy. One BOOL, SINT, USINT or BYTE has a register of
    /// its own; CHAR and several BYTEs are packed two to a register, as PLC4X does.
    pub fn registers(self, count: u16) -> u16 {
        u16::try_from(self.registers_of(u32::from(count))).unwrap_or(u16::MAX)
    }

    fn registers_of(self, count: u32) -> u32 {
        match self {
            Self::Byte | Self::Char => count.div_ceil(2),
            Self::Bool
            | Self::Sint
            | Self::Usint
            | Self::Int
            | Self::Uint
            | Self::Word
            | Self::Wchar => count,
            Self::Dint | Self::Udint | Self::Dword | Self::Real => count.saturating_mul(2),
            Self::Lint | Self::Ulint | Self::Lword | Self::Lreal => count.saturating_mul(4),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The address of one point. Made only by the parser, so it lies inside the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The table.
    pub area: Area,
    /// Zero-based address on the wire (PLC4X counts from one).
    pub offset: u16,
    /// The type of the value.
    pub data_type: DataType,
    /// Number of elements: more than one only for CHAR, WCHAR (a string) and BYTE (bytes).
    pub count: u16,
    /// Unit identifier, when the tag names one.
    pub unit_id: Option<u8>,
    /// Byte order, when the tag names one.
    pub byte_order: Option<ByteOrder>,
}
