//! Result sets. An answer has blocks (`TsBlock`), each with a time column and value columns; which
//! of them a column of the query is differs between releases.
//!
//! ```text
//! columns: i32 | types: u8 each | rows: i32 | encodings: u8 each, time first | columns, time first
//! column: may have nulls: u8 | bitmap, first row in the highest bit | values that are not null
//! ```
//! A boolean column has a bit for every row, null or not. Encoding 4 (run length) is an inner
//! encoding and a column of one row that stands for all. Source: TsFile's
//! `org.apache.tsfile.read.common.block.column.TsBlockSerde` and the encodings beside it.

use super::Malformed;
use super::tablet::DataType;
use super::thrift::Reader;

/// Most values of one block: a run of a single value can stand for any number of them. The server
/// makes blocks of a thousand rows or so.
const MAX_VALUES: usize = 1 << 22;

/// Values of a column, one for each row; `None` is null.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnValues {
    /// BOOLEAN.
    Boolean(Vec<Option<bool>>),
    /// INT32 and DATE.
    Int32(Vec<Option<i32>>),
    /// INT64 and TIMESTAMP.
    Int64(Vec<Option<i64>>),
    /// FLOAT.
    Float(Vec<Option<f32>>),
    /// DOUBLE.
    Double(Vec<Option<f64>>),
    /// TEXT, STRING and BLOB.
    Binary(Vec<Option<Vec<u8>>>),
}

/// One column of a result set.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name as the server gives it.
    pub name: String,
    /// Type.
    pub of: DataType,
    /// Its values.
    pub values: ColumnValues,
}

/// What the blocks of a query look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Names of the query's columns, without the time.
    pub names: Vec<String>,
    /// Names of their types.
    pub types: Vec<String>,
    /// There is no time column.
    pub timeless: bool,
    /// From 2.0 on: the block's column for each of the query's; -1 is the time.
    pub places: Option<Vec<i32>>,
    /// Before 2.0: the same by name, for those that are not in the order of the names.
    pub by_name: Vec<(String, i32)>,
}

/// One block, with columns in the order of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Times; empty when the query has none.
    pub times: Vec<i64>,
    /// The columns.
    pub columns: Vec<Column>,
}

impl ColumnValues {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Binary(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No values of this type.
    fn none(of: DataType) -> Self {
        match of {
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Int32 | DataType::Date => Self::Int32(Vec::new()),
            DataType::Int64 | DataType::Timestamp => Self::Int64(Vec::new()),
            DataType::Float => Self::Float(Vec::new()),
            DataType::Double => Self::Double(Vec::new()),
            DataType::Text | DataType::Blob | DataType::String => Self::Binary(Vec::new()),
        }
    }

    /// Appends values of the same type; whether they were.
    fn append(&mut self, more: Self) -> bool {
        match (self, more) {
            (Self::Boolean(values), Self::Boolean(more)) => values.extend(more),
            (Self::Int32(values), Self::Int32(more)) => values.extend(more),
            (Self::Int64(values), Self::Int64(more)) => values.extend(more),
            (Self::Float(values), Self::Float(more)) => values.extend(more),
            (Self::Double(values), Self::Double(more)) => values.extend(more),
            (Self::Binary(values), Self::Binary(more)) => values.extend(more),
            _ => return false,
        }
        true
    }
}

impl Rows {
    /// Appends the rows of another block of the same query.
    ///
    /// # Errors
    /// A column has another type there.
    pub fn append(&mut self, more: Self) -> Result<(), Malformed> {
        self.times.extend(more.times);
        for (column, more) in self.columns.iter_mut().zip(more.columns) {
            if !column.values.append(more.values) {
                return Err(Malformed("a column whose type changes"));
            }
        }
        Ok(())
    }
}

impl Shape {
    /// A result without rows.
    ///
    /// # Errors
    /// A column has a type that is not known.
    pub fn empty(&self) -> Result<Rows, Malformed> {
        let mut columns = Vec::with_capacity(self.names.len());
        for (i, name) in self.names.iter().enumerate() {
            let of = self.of(i)?;
            columns.push(Column { name: name.clone(), of, values: ColumnValues::none(of) });
        }
        Ok(Rows { times: Vec::new(), columns })
    }

    fn of(&self, i: usize) -> Result<DataType, Malformed> {
        let of = self.types.get(i).and_then(|name| DataType::of_name(name));
        of.ok_or(Malformed("a column's type"))
    }

    /// Reads one block.
    ///
    /// # Errors
    /// It is not whole, or has other columns than the query.
    pub fn read(&self, block: &[u8]) -> Result<Rows, Malformed> {
        let (times, values) = read_block(block)?;
        let mut columns = Vec::with_capacity(self.names.len());
        for (i, name) in self.names.iter().enumerate() {
            let of = self.of(i)?;
            let found = match self.place(i, name)? {
                Some(place) => values.get(place).ok_or(Malformed("a column's place"))?.clone(),
                None => ColumnValues::Int64(times.iter().copied().map(Some).collect()),
            };
            columns.push(Column { name: name.clone(), of, values: found });
        }
        let times = if self.timeless { Vec::new() } else { times };
        Ok(Rows { times, columns })
    }

    /// The block's column for the query's column `i`; `None` is the time.
    fn place(&self, i: usize, name: &str) -> Result<Option<usize>, Malformed> {
        let place = match &self.places {
            Some(places) => *places.get(i).ok_or(Malformed("places of columns"))?,
            None => match self.by_name.iter().find(|(n, _)| n == name) {
                Some((_, place)) => *place,
                None => return Ok(Some(i)),
            },
        };
        if place == -1 {
            return Ok(None);
        }
        usize::try_from(place).map(Some).map_err(|_| Malformed("places of columns"))
    }
}

fn read_block(block: &[u8]) -> Result<(Vec<i64>, Vec<ColumnValues>), Malformed> {
    let mut reader = Reader(block);
    let count = reader.length(2, "a block's columns")?;
    let types = reader.bytes(count, "a block's types")?;
    let rows = usize::try_from(reader.i32("a block's rows")?).unwrap_or(usize::MAX);
    if rows.saturating_mul(count + 1) > MAX_VALUES {
        return Err(Malformed("a block's rows"));
    }
    let encodings = reader.bytes(count + 1, "a block's encodings")?;
    let (time, encodings) = encodings.split_first().ok_or(Malformed("a block's encodings"))?;
    let times = match read_column(&mut reader, *time, DataType::Int64.code(), rows)? {
        ColumnValues::Int64(times) => {
            times.into_iter().collect::<Option<Vec<_>>>().ok_or(Malformed("a time that is null"))?
        }
        _ => return Err(Malformed("a block's times")),
    };
    let mut columns = Vec::with_capacity(count);
    for (encoding, of) in encodings.iter().zip(types) {
        columns.push(read_column(&mut reader, *encoding, *of, rows)?);
    }
    Ok((times, columns))
}

fn read_column(
    reader: &mut Reader<'_>,
    encoding: u8,
    of: u8,
    rows: usize,
) -> Result<ColumnValues, Malformed> {
    match encoding {
        4 => {
            let inner = reader.u8("an inner encoding")?;
            if inner == 4 {
                return Err(Malformed("an inner encoding"));
            }
            let one = read_column(reader, inner, of, 1)?;
            repeat(&one, rows)
        }
        0 if of == 0 => read_booleans(reader, rows),
        1 if matches!(of, 1 | 9) => {
            let read = |r: &mut Reader<'_>| r.i32("an INT32");
            read_values(reader, rows, 4, read).map(ColumnValues::Int32)
        }
        1 if of == 3 => {
            let read = |r: &mut Reader<'_>| r.bytes(4, "a FLOAT").map(float);
            read_values(reader, rows, 4, read).map(ColumnValues::Float)
        }
        2 if matches!(of, 2 | 8) => {
            let read = |r: &mut Reader<'_>| r.i64("an INT64");
            read_values(reader, rows, 8, read).map(ColumnValues::Int64)
        }
        2 if of == 4 => {
            let read = |r: &mut Reader<'_>| r.bytes(8, "a DOUBLE").map(double);
            read_values(reader, rows, 8, read).map(ColumnValues::Double)
        }
        3 if matches!(of, 5 | 10 | 11) => {
            let read = |r: &mut Reader<'_>| r.binary("a text").map(<[u8]>::to_vec);
            read_values(reader, rows, 4, read).map(ColumnValues::Binary)
        }
        _ => Err(Malformed("a column's encoding")),
    }
}

fn float(bytes: &[u8]) -> f32 {
    bytes.first_chunk().map_or(0.0, |b| f32::from_be_bytes(*b))
}

fn double(bytes: &[u8]) -> f64 {
    bytes.first_chunk().map_or(0.0, |b| f64::from_be_bytes(*b))
}

fn repeat(one: &ColumnValues, rows: usize) -> Result<ColumnValues, Malformed> {
    fn fill<T: Clone>(values: &[T], rows: usize) -> Result<Vec<T>, Malformed> {
        let value = values.first().ok_or(Malformed("a run without a value"))?;
        Ok(vec![value.clone(); rows])
    }
    /// A text is not repeated into more memory than a frame may have.
    fn bounded(values: &[Option<Vec<u8>>], rows: usize) -> Result<(), Malformed> {
        let length = values.first().and_then(Option::as_ref).map_or(0, Vec::len);
        match length.checked_mul(rows) {
            Some(bytes) if bytes <= super::LONGEST_FRAME => Ok(()),
            _ => Err(Malformed("a run of a long text")),
        }
    }
    Ok(match one {
        ColumnValues::Boolean(v) => ColumnValues::Boolean(fill(v, rows)?),
        ColumnValues::Int32(v) => ColumnValues::Int32(fill(v, rows)?),
        ColumnValues::Int64(v) => ColumnValues::Int64(fill(v, rows)?),
        ColumnValues::Float(v) => ColumnValues::Float(fill(v, rows)?),
        ColumnValues::Double(v) => ColumnValues::Double(fill(v, rows)?),
        ColumnValues::Binary(v) => {
            bounded(v, rows)?;
            ColumnValues::Binary(fill(v, rows)?)
        }
    })
}

/// Whether each row is null; `None` when none is.
fn read_nulls<'a>(reader: &mut Reader<'a>, rows: usize) -> Result<Option<&'a [u8]>, Malformed> {
    let what = "a column's nulls";
    match reader.u8(what)? {
        0 => Ok(None),
        _ => reader.bytes(rows.div_ceil(8), what).map(Some),
    }
}

fn bit(bitmap: &[u8], row: usize) -> bool {
    bitmap.get(row / 8).is_some_and(|byte| byte & (0x80 >> (row % 8)) != 0)
}

fn read_booleans(reader: &mut Reader<'_>, rows: usize) -> Result<ColumnValues, Malformed> {
    let nulls = read_nulls(reader, rows)?;
    let values = reader.bytes(rows.div_ceil(8), "BOOLEAN values")?;
    let value = |row| match nulls {
        Some(nulls) if bit(nulls, row) => None,
        _ => Some(bit(values, row)),
    };
    Ok(ColumnValues::Boolean((0..rows).map(value).collect()))
}

fn read_values<T>(
    reader: &mut Reader<'_>,
    rows: usize,
    least: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<Option<T>>, Malformed> {
    let nulls = read_nulls(reader, rows)?;
    let there = match nulls {
        None => rows,
        Some(nulls) => (0..rows).filter(|row| !bit(nulls, *row)).count(),
    };
    // Before a vector is made of them.
    if there.saturating_mul(least) > reader.0.len() {
        return Err(Malformed("a column's values"));
    }
    let value = |row| match nulls {
        Some(nulls) if bit(nulls, row) => Ok(None),
        _ => read(reader).map(Some),
    };
    (0..rows).map(value).collect()
}
