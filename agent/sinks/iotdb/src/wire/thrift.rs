//! The Thrift binary protocol in its strict form: what any Thrift message is made of.
//!
//! Source: Apache Thrift, `doc/specs/thrift-binary-protocol.md` and `thrift-rpc.md` (framed
//! transport). Integers are big-endian. Every length that a peer names is held against the bytes
//! that are there before anything is made of it.

use bytes::{BufMut, BytesMut};

use super::Malformed;

/// Version 1 in the upper half of a message's first word (section "Message").
const VERSION: u32 = 0x8001_0000;
const VERSION_MASK: u32 = 0xffff_0000;

/// Structs inside structs: IoTDB nests four deep.
const MAX_DEPTH: u32 = 16;

/// Type of a field, element or key (section "Struct").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One byte, 0 or 1.
    Bool,
    /// A signed byte.
    I8,
    /// 64-bit float.
    Double,
    /// 16-bit integer.
    I16,
    /// 32-bit integer; also every enum.
    I32,
    /// 64-bit integer.
    I64,
    /// Length and bytes; text and binary alike.
    Binary,
    /// Fields.
    Struct,
    /// Pairs.
    Map,
    /// Unordered elements.
    Set,
    /// Elements.
    List,
}

impl Type {
    fn code(self) -> u8 {
        match self {
            Self::Bool => 2,
            Self::I8 => 3,
            Self::Double => 4,
            Self::I16 => 6,
            Self::I32 => 8,
            Self::I64 => 10,
            Self::Binary => 11,
            Self::Struct => 12,
            Self::Map => 13,
            Self::Set => 14,
            Self::List => 15,
        }
    }

    fn of(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            2 => Self::Bool,
            3 => Self::I8,
            4 => Self::Double,
            6 => Self::I16,
            8 => Self::I32,
            10 => Self::I64,
            11 => Self::Binary,
            12 => Self::Struct,
            13 => Self::Map,
            14 => Self::Set,
            15 => Self::List,
            _ => return Err(Malformed("a type that Thrift does not have")),
        })
    }

    /// Fewest bytes of a value: bounds how many elements a list can have.
    fn least(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::Struct => 1,
            Self::I16 => 2,
            Self::I32 | Self::Binary => 4,
            Self::Set | Self::List => 5,
            Self::Map => 6,
            Self::Double | Self::I64 => 8,
        }
    }
}

/// What a message is (section "Message").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Call,
    /// Its answer.
    Reply,
    /// The server could not even call the method.
    Exception,
}

/// First bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Name of the method.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Number that an answer has in common with its request.
    pub sequence: i32,
}

/// Writes one framed call: the frame's length is set when the writer is finished.
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Starts a call of `method` at the end of `out`.
    pub fn call(out: &'a mut BytesMut, method: &str, sequence: i32) -> Self {
        let start = out.len();
        out.put_u32(0);
        let mut writer = Self { out, start };
        writer.out.put_u32(VERSION | 1);
        writer.binary(method.as_bytes());
        writer.out.put_i32(sequence);
        writer
    }

    /// Ends the call.
    pub fn finish(self) {
        let Self { out, start } = self;
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Starts a field.
    pub fn field(&mut self, id: i16, of: Type) {
        self.out.put_u8(of.code());
        self.out.put_i16(id);
    }

    /// Ends a struct.
    pub fn stop(&mut self) {
        self.out.put_u8(0);
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(value.into());
    }

    /// A byte.
    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// Text or bytes.
    pub fn binary(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Bytes made of pieces.
    pub fn pieces<'b>(&mut self, length: usize, pieces: impl Iterator<Item = &'b [u8]>) {
        self.length(length);
        self.out.reserve(length);
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
    }

    /// Binary that is made of 64-bit integers.
    pub fn longs(&mut self, values: &[i64]) {
        self.length(values.len() * 8);
        self.out.reserve(values.len() * 8);
        for value in values {
            self.out.put_i64(*value);
        }
    }

    /// Starts a list.
    pub fn list(&mut self, of: Type, count: usize) {
        self.out.put_u8(of.code());
        self.length(count);
    }

    /// A map of texts.
    pub fn texts(&mut self, pairs: &[(&str, &str)]) {
        self.out.put_u8(Type::Binary.code());
        self.out.put_u8(Type::Binary.code());
        self.length(pairs.len());
        for (key, value) in pairs {
            self.binary(key.as_bytes());
            self.binary(value.as_bytes());
        }
    }

    /// Lengths are far below 2 GiB: the sink bounds its requests to some MiB.
    fn length(&mut self, length: usize) {
        self.out.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
    }
}

/// Reads what a peer sent. Every method takes what it gives; what is not there is an error.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// `count` bytes.
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// A truth value.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        Ok(self.u8(what)? != 0)
    }

    /// A 16-bit integer.
    pub fn i16(&mut self, what: &'static str) -> Result<i16, Malformed> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// A 32-bit integer.
    pub fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// A 64-bit integer.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// A length, or a count of things of at least `least` bytes.
    pub fn length(&mut self, least: usize, what: &'static str) -> Result<usize, Malformed> {
        let length = usize::try_from(self.i32(what)?).map_err(|_| Malformed(what))?;
        match length.checked_mul(least) {
            Some(bytes) if bytes <= self.0.len() => Ok(length),
            _ => Err(Malformed(what)),
        }
    }

    /// Text or bytes.
    pub fn binary(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.length(1, what)?;
        self.bytes(length, what)
    }

    /// Text; what is not UTF-8 in it is replaced.
    pub fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.binary(what)?).into_owned())
    }

    /// Type and count of a list or set, whose elements follow.
    pub fn list(&mut self, what: &'static str) -> Result<(Type, usize), Malformed> {
        let of = Type::of(self.u8(what)?)?;
        Ok((of, self.length(of.least(), what)?))
    }

    /// A list of elements of one type.
    pub fn list_of<T>(
        &mut self,
        of: Type,
        what: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let (found, count) = self.list(what)?;
        if count > 0 && found != of {
            return Err(Malformed(what));
        }
        (0..count).map(|_| element(self)).collect()
    }

    /// The next field of a struct; `None` at its end.
    pub fn field(&mut self) -> Result<Option<(i16, Type)>, Malformed> {
        let code = self.u8("a field's type")?;
        if code == 0 {
            return Ok(None);
        }
        let of = Type::of(code)?;
        Ok(Some((self.i16("a field's number")?, of)))
    }

    /// Passes over a value that nobody wants.
    pub fn skip(&mut self, of: Type) -> Result<(), Malformed> {
        self.skip_below(of, MAX_DEPTH)
    }

    fn skip_below(&mut self, of: Type, depth: u32) -> Result<(), Malformed> {
        let what = "a value that is passed over";
        let depth = depth.checked_sub(1).ok_or(Malformed("values nested too deeply"))?;
        match of {
            Type::Bool | Type::I8 => self.bytes(1, what).map(drop),
            Type::I16 => self.bytes(2, what).map(drop),
            Type::I32 => self.bytes(4, what).map(drop),
            Type::I64 | Type::Double => self.bytes(8, what).map(drop),
            Type::Binary => self.binary(what).map(drop),
            Type::Struct => {
                while let Some((_, of)) = self.field()? {
                    self.skip_below(of, depth)?;
                }
                Ok(())
            }
            Type::List | Type::Set => {
                let (of, count) = self.list(what)?;
                (0..count).try_for_each(|_| self.skip_below(of, depth))
            }
            Type::Map => {
                let (key, value) = (self.u8(what)?, self.u8(what)?);
                let count = self.length(1, what)?;
                if count == 0 {
                    return Ok(());
                }
                let (key, value) = (Type::of(key)?, Type::of(value)?);
                (0..count).try_for_each(|_| {
                    self.skip_below(key, depth)?;
                    self.skip_below(value, depth)
                })
            }
        }
    }

    /// The head of a message.
    pub fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let word = u32::from_be_bytes(self.array("a message's version")?);
        if word & VERSION_MASK != VERSION {
            return Err(Malformed("a message's version"));
        }
        let kind = match word & 0xff {
            1 => Kind::Call,
            2 => Kind::Reply,
            3 => Kind::Exception,
            _ => return Err(Malformed("a message's type")),
        };
        let name = self.binary("a message's method")?;
        Ok(Head { name, kind, sequence: self.i32("a message's number")? })
    }
}
