//! A tablet: rows of one device or table, packed by columns as the wire has them.
//!
//! All columns' values one after the other, big-endian; text and bytes with a 32-bit length. When
//! any value is null, one byte for each column follows: 0, or 1 and a bitmap of
//! `rows / 8 + 1` bytes in which the lowest bit of the first byte is the first row.

use std::sync::Arc;

use thiserror::Error;

/// Type of a column; the numbers are those of TsFile's `TSDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// One byte, 0 or 1.
    Boolean,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// 32-bit float.
    Float,
    /// 64-bit float.
    Double,
    /// UTF-8.
    Text,
    /// A time in the server's unit.
    Timestamp,
    /// A day as `yyyymmdd`.
    Date,
    /// Bytes.
    Blob,
    /// UTF-8, with statistics.
    String,
}

impl DataType {
    /// Every type, by number.
    pub const ALL: [Self; 10] = [
        Self::Boolean,
        Self::Int32,
        Self::Int64,
        Self::Float,
        Self::Double,
        Self::Text,
        Self::Timestamp,
        Self::Date,
        Self::Blob,
        Self::String,
    ];

    /// Number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Boolean => 0,
            Self::Int32 => 1,
            Self::Int64 => 2,
            Self::Float => 3,
            Self::Double => 4,
            Self::Text => 5,
            Self::Timestamp => 8,
            Self::Date => 9,
            Self::Blob => 10,
            Self::String => 11,
        }
    }

    /// Name in statements and answers, e.g. `INT32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Text => "TEXT",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Blob => "BLOB",
            Self::String => "STRING",
        }
    }

    /// The type of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }
}

/// What a column is for a table; in the tree model all are fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Part of the row's identity.
    Tag,
    /// A measured value.
    Field,
    /// Describes what the tags identify.
    Attribute,
}

impl Category {
    /// Number on the wire.
    pub fn code(self) -> i8 {
        match self {
            Self::Tag => 0,
            Self::Field => 1,
            Self::Attribute => 2,
        }
    }
}

/// One value for a column.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are the types")]
pub enum Cell<'a> {
    Null,
    Boolean(bool),
    Int32(i32),
    Int64(i64),
    Float(f32),
    Double(f64),
    Text(&'a str),
    Timestamp(i64),
    Date(i32),
    Blob(&'a [u8]),
    String(&'a str),
}

impl Cell<'_> {
    /// Its type; a null has any.
    #[inline]
    pub fn of(&self) -> Option<DataType> {
        Some(match self {
            Self::Null => return None,
            Self::Boolean(_) => DataType::Boolean,
            Self::Int32(_) => DataType::Int32,
            Self::Int64(_) => DataType::Int64,
            Self::Float(_) => DataType::Float,
            Self::Double(_) => DataType::Double,
            Self::Text(_) => DataType::Text,
            Self::Timestamp(_) => DataType::Timestamp,
            Self::Date(_) => DataType::Date,
            Self::Blob(_) => DataType::Blob,
            Self::String(_) => DataType::String,
        })
    }
}

/// A value of another type than its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a column of {column:?} takes no {cell:?}")]
pub struct TypeMismatch {
    /// The column's.
    pub column: DataType,
    /// The value's.
    pub cell: DataType,
}

/// One column of a tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name as the server takes it: in the tree model quoted where it has to be.
    pub name: Arc<str>,
    /// Type.
    pub of: DataType,
    /// What it is for a table.
    pub category: Category,
    values: Vec<u8>,
    /// One bit for each row up to the last null; empty without one.
    nulls: Vec<u8>,
    rows: usize,
}

impl Column {
    /// A column without a row.
    pub fn new(name: Arc<str>, of: DataType, category: Category) -> Self {
        Self { name, of, category, values: Vec::new(), nulls: Vec::new(), rows: 0 }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The packed values.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Appends a value.
    ///
    /// # Errors
    /// It is of another type; nothing is appended.
    #[inline]
    pub fn push(&mut self, cell: Cell<'_>) -> Result<(), TypeMismatch> {
        let Some(of) = cell.of() else {
            self.push_null();
            return Ok(());
        };
        if of != self.of {
            return Err(TypeMismatch { column: self.of, cell: of });
        }
        match cell {
            Cell::Null => {}
            Cell::Boolean(value) => self.values.push(value.into()),
            Cell::Int32(value) | Cell::Date(value) => self.put(value.to_be_bytes()),
            Cell::Int64(value) | Cell::Timestamp(value) => self.put(value.to_be_bytes()),
            Cell::Float(value) => self.put(value.to_be_bytes()),
            Cell::Double(value) => self.put(value.to_be_bytes()),
            Cell::Text(text) | Cell::String(text) => self.put_bytes(text.as_bytes()),
            Cell::Blob(bytes) => self.put_bytes(bytes),
        }
        self.rows += 1;
        Ok(())
    }

    /// Appends values in the form in which the wire has them, each of the length that the column's
    /// type has there, and nulls.
    pub(crate) fn extend<const N: usize>(&mut self, values: impl Iterator<Item = Option<[u8; N]>>) {
        self.values.reserve(values.size_hint().0 * N);
        for value in values {
            match value {
                Some(bytes) => {
                    self.put(bytes);
                    self.rows += 1;
                }
                None => self.push_null(),
            }
        }
    }

    /// Appends a null: on the wire a zero, or an empty text, that a bit says to ignore.
    pub fn push_null(&mut self) {
        match self.of {
            DataType::Boolean => self.values.push(0),
            DataType::Int32 | DataType::Float | DataType::Date => self.put([0; 4]),
            DataType::Int64 | DataType::Double | DataType::Timestamp => self.put([0; 8]),
            DataType::Text | DataType::Blob | DataType::String => self.put([0; 4]),
        }
        let (byte, bit) = (self.rows / 8, self.rows % 8);
        self.nulls.resize(byte + 1, 0);
        if let Some(byte) = self.nulls.get_mut(byte) {
            *byte |= 1 << bit;
        }
        self.rows += 1;
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.values.extend_from_slice(&bytes);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        // A record is some hundred KiB at most, so its length fits.
        self.put(i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.values.extend_from_slice(bytes);
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablet {
    /// Path of the device in the tree model, quoted where it has to be; name of a table else.
    pub target: Arc<str>,
    /// Times of the rows in the server's unit, rising.
    pub times: Vec<i64>,
    /// The columns; each has as many rows as there are times.
    pub columns: Vec<Column>,
}

impl Tablet {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Bytes of times and values.
    pub fn bytes(&self) -> usize {
        self.times.len() * 8 + self.columns.iter().map(|c| c.values.len()).sum::<usize>()
    }

    /// What follows the values: nothing when no value is null.
    pub fn null_flags(&self) -> Vec<u8> {
        let mut flags = Vec::new();
        if self.columns.iter().all(|column| column.nulls.is_empty()) {
            return flags;
        }
        let bitmap = self.rows() / 8 + 1;
        for column in &self.columns {
            flags.push(u8::from(!column.nulls.is_empty()));
            if !column.nulls.is_empty() {
                flags.extend_from_slice(&column.nulls);
                flags.resize(flags.len() + bitmap.saturating_sub(column.nulls.len()), 0);
            }
        }
        flags
    }
}
