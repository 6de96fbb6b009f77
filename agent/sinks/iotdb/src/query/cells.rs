//! Cells of a result set as values of ours.

use lineside_core::{StatusCode, UnixNanos, Value};

use super::Window;
use super::columns::Column;
use crate::pack::Precision;
use crate::wire::{ColumnValues, DataType, Rows};

/// The cell; null where there is none.
pub(super) fn at(rows: &Rows, column: usize, row: usize) -> Value {
    let Some(column) = rows.columns.get(column) else { return Value::Null };
    let found = match &column.values {
        ColumnValues::Boolean(v) => cell(v, row).map(Value::Bool),
        ColumnValues::Int32(v) if column.of == DataType::Date => {
            cell(v, row).map(|day| Value::String(date(day).into()))
        }
        ColumnValues::Int32(v) => cell(v, row).map(Value::I32),
        ColumnValues::Int64(v) => cell(v, row).map(Value::I64),
        ColumnValues::Float(v) => cell(v, row).map(Value::F32),
        ColumnValues::Double(v) => cell(v, row).map(Value::F64),
        ColumnValues::Binary(v) => {
            v.get(row).and_then(Option::as_ref).map(|bytes| match column.of {
                DataType::Blob => Value::Bytes(bytes.as_slice().into()),
                _ => Value::String(String::from_utf8_lossy(bytes).into()),
            })
        }
    };
    found.unwrap_or(Value::Null)
}

fn cell<T: Copy>(values: &[Option<T>], row: usize) -> Option<T> {
    values.get(row).copied().flatten()
}

/// `yyyymmdd` as people write it.
fn date(day: i32) -> String {
    format!("{:04}-{:02}-{:02}", day / 10_000, day / 100 % 100, day % 100)
}

/// A time in a column.
pub(super) fn nanos(value: &Value, precision: Precision) -> Option<UnixNanos> {
    match value {
        Value::I64(tick) => Some(precision.time(*tick)),
        _ => None,
    }
}

/// A quality: its bits are those of the column's number.
pub(super) fn status(value: &Value) -> Option<StatusCode> {
    match value {
        Value::I32(bits) => Some(StatusCode(bits.cast_unsigned())),
        _ => None,
    }
}

/// A window of one point from the columns that [`super::sql::windows`] asks for; `None` when no
/// sample is in it.
pub(super) fn window(
    time: UnixNanos,
    column: &Column,
    take: &mut impl FnMut(bool) -> Value,
) -> Option<Window> {
    let (values, number) = (column.of.is_some(), column.is_number());
    let count = whole(&take(values)).unwrap_or(0);
    let last = take(values);
    let average = match take(number) {
        Value::F64(average) => Some(average),
        _ => None,
    };
    let (least, greatest) = (take(number), take(number));
    let samples = whole(&take(column.quality));
    let (lowest, highest) = (status(&take(column.quality)), status(&take(column.quality)));
    // As signed numbers Bad ones are negative, and Uncertain ones are above Good ones.
    let worst = lowest.filter(|status| status.is_bad()).or(highest);
    (count.max(samples.unwrap_or(0)) > 0).then(|| Window {
        time,
        point: column.point.clone(),
        count,
        samples,
        average,
        least,
        greatest,
        last,
        worst,
    })
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::I64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(quality: bool) -> Column {
        Column { point: "a".into(), of: Some(DataType::Float), quality }
    }

    fn of(column: &Column, cells: &[Value]) -> Option<Window> {
        let mut cells = cells.iter().cloned();
        window(7, column, &mut |wanted| {
            if wanted { cells.next().unwrap() } else { Value::Null }
        })
    }

    #[test]
    fn the_worst_quality_of_a_window_is_bad_before_uncertain_before_good() {
        let bits = |status: StatusCode| Value::I32(status.0.cast_signed());
        let uncertain = StatusCode(0x4000_0000);
        for (lowest, highest, worst) in [
            (StatusCode::GOOD, StatusCode::GOOD, StatusCode::GOOD),
            (StatusCode::GOOD, uncertain, uncertain),
            (StatusCode::BAD_TIMEOUT, uncertain, StatusCode::BAD_TIMEOUT),
        ] {
            let number = Value::F32(1.5);
            let mut cells = vec![Value::I64(2), number.clone(), Value::F64(1.5), number.clone()];
            cells.extend([number, Value::I64(3), bits(lowest), bits(highest)]);
            let window = of(&column(true), &cells).unwrap();
            assert_eq!((window.worst, window.count, window.samples), (Some(worst), 2, Some(3)));
        }
    }

    #[test]
    fn a_window_without_a_sample_is_none() {
        let mut cells = vec![Value::I64(0), Value::Null, Value::Null, Value::Null, Value::Null];
        assert_eq!(of(&column(false), &cells), None);
        cells.extend([Value::I64(1), Value::I32(-1), Value::I32(-1)]);
        let only_bad = of(&column(true), &cells).unwrap();
        assert_eq!((only_bad.count, only_bad.last), (0, Value::Null));
    }
}
