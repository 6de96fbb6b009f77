//! Values as cells of columns, and the names of the columns of one origin.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineside_core::{Origin, Value};

use super::Layout;
use crate::wire::{Category, Cell, Column, DataType};

/// The names of one origin, made once.
pub(super) struct Names {
    pub(super) target: Arc<str>,
    /// Column and quality column of each point.
    columns: Vec<(Arc<str>, Arc<str>)>,
    any_taken: bool,
    /// Values of the tags of a table.
    tags: [Arc<str>; 2],
}

/// Names of the tags of a table.
const TAGS: [&str; 2] = ["namespace", "device"];

impl Names {
    pub(super) fn new(origin: &Origin, layout: &Layout) -> Self {
        let columns: Vec<_> = origin.points.iter().map(|point| layout.columns(point)).collect();
        Self {
            target: layout.target(origin),
            any_taken: columns.iter().any(|(name, _)| Self::is_taken(name)),
            columns,
            tags: [(&*origin.device.namespace).into(), origin.device_name().into()],
        }
    }

    pub(super) fn value(&self, point: u32) -> Option<&Arc<str>> {
        self.columns.get(point as usize).map(|(value, _)| value)
    }

    /// Whether there is a point of this index.
    #[inline]
    pub(super) fn has(&self, point: u32) -> bool {
        (point as usize) < self.columns.len()
    }

    /// Whether a table cannot have columns for some of the points.
    pub(super) fn is_any_taken(&self) -> bool {
        self.any_taken
    }

    pub(super) fn quality(&self, point: u32) -> Option<&Arc<str>> {
        self.columns.get(point as usize).map(|(_, quality)| quality)
    }

    /// A table's columns besides the points.
    pub(super) fn tag_columns(&self) -> Vec<Column> {
        TAGS.iter().map(|tag| Column::new((*tag).into(), DataType::String, Category::Tag)).collect()
    }

    pub(super) fn tags(&self) -> &[Arc<str>; 2] {
        &self.tags
    }

    /// Whether a table cannot have a column of this name for a point.
    pub(super) fn is_taken(name: &str) -> bool {
        TAGS.iter().chain(&["time"]).any(|taken| taken.eq_ignore_ascii_case(name))
    }
}

/// The type of the column for such values; `None` for no value.
#[inline]
pub(super) fn type_of(value: &Value, blobs: bool) -> Option<DataType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => DataType::Boolean,
        Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::U8(_) | Value::U16(_) => {
            DataType::Int32
        }
        Value::U32(_) | Value::I64(_) | Value::U64(_) => DataType::Int64,
        Value::F32(_) => DataType::Float,
        Value::F64(_) => DataType::Double,
        Value::String(_) => DataType::Text,
        Value::Bytes(_) if blobs => DataType::Blob,
        Value::Bytes(_) => DataType::Text,
    })
}

/// Why a value fits no column; `None` when it fits one.
#[inline]
pub(super) fn unfit(value: &Value) -> Option<String> {
    match value {
        Value::U64(number) if i64::try_from(*number).is_err() => {
            Some(format!("{number} is above the largest INT64, {}", i64::MAX))
        }
        _ => None,
    }
}

/// Appends a value to a column of its type; anything else becomes null. By how many bytes the column
/// grows.
#[inline]
pub(super) fn push(column: &mut Column, value: &Value) -> usize {
    let text;
    let cell = match value {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Boolean(*v),
        Value::I8(v) => Cell::Int32((*v).into()),
        Value::I16(v) => Cell::Int32((*v).into()),
        Value::I32(v) => Cell::Int32(*v),
        Value::U8(v) => Cell::Int32((*v).into()),
        Value::U16(v) => Cell::Int32((*v).into()),
        Value::U32(v) => Cell::Int64((*v).into()),
        Value::I64(v) => Cell::Int64(*v),
        Value::U64(v) => i64::try_from(*v).map_or(Cell::Null, Cell::Int64),
        Value::F32(v) => Cell::Float(*v),
        Value::F64(v) => Cell::Double(*v),
        Value::String(v) if column.of == DataType::String => Cell::String(v),
        Value::String(v) => Cell::Text(v),
        Value::Bytes(v) if column.of == DataType::Blob => Cell::Blob(v),
        Value::Bytes(v) => {
            text = STANDARD.encode(v);
            Cell::Text(&text)
        }
    };
    put(column, cell)
}

/// The same for a cell.
#[inline]
pub(super) fn put(column: &mut Column, cell: Cell<'_>) -> usize {
    let before = column.values().len();
    if column.push(cell).is_err() {
        // Tablets are chosen by the types of their rows, so this is never reached.
        column.push_null();
    }
    column.values().len() - before
}

/// Appends values of a column's type and nulls.
pub(super) fn extend<'a>(column: &mut Column, values: impl Iterator<Item = &'a Value>) {
    match column.of {
        DataType::Boolean => column.extend(values.map(|value| match value {
            Value::Bool(v) => Some([u8::from(*v)]),
            _ => None,
        })),
        DataType::Int32 => column.extend(values.map(|value| {
            let number: i32 = match value {
                Value::I8(v) => (*v).into(),
                Value::I16(v) => (*v).into(),
                Value::I32(v) => *v,
                Value::U8(v) => (*v).into(),
                Value::U16(v) => (*v).into(),
                _ => return None,
            };
            Some(number.to_be_bytes())
        })),
        DataType::Int64 => column.extend(values.map(|value| {
            let number: i64 = match value {
                Value::U32(v) => (*v).into(),
                Value::I64(v) => *v,
                Value::U64(v) => i64::try_from(*v).ok()?,
                _ => return None,
            };
            Some(number.to_be_bytes())
        })),
        DataType::Float => column.extend(values.map(|value| match value {
            Value::F32(v) => Some(v.to_be_bytes()),
            _ => None,
        })),
        DataType::Double => column.extend(values.map(|value| match value {
            Value::F64(v) => Some(v.to_be_bytes()),
            _ => None,
        })),
        _ => values.for_each(|value| {
            push(column, value);
        }),
    }
}
