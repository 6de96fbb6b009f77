//! Which points a device has in the server, and of which type.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::Value;

use super::cells::at;
use crate::name::unquoted;
use crate::wire::{DataType, Rows};

/// Most columns of a device: a value and a quality of each point, and room for others'.
pub(super) const MOST: usize = 8192;

/// The columns of one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) point: Arc<str>,
    /// Type of its values; `None` when it was only ever Bad.
    pub(super) of: Option<DataType>,
    /// Whether it has a column for its quality.
    pub(super) quality: bool,
}

impl Column {
    /// Whether its values can be added.
    pub(super) fn is_number(&self) -> bool {
        use DataType::{Double, Float, Int32, Int64};
        matches!(self.of, Some(Int32 | Int64 | Float | Double))
    }
}

/// Those of a device, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    all: Vec<Column>,
    /// Upper and lower case do not differ, and the server gives names in lower case.
    folds: bool,
}

impl Columns {
    /// From the answer to [`super::sql::columns`]. Without `quality` every column is a point.
    pub(super) fn read(rows: &Rows, table: bool, quality: bool) -> Self {
        let (name_of, type_of) =
            if table { ("ColumnName", "DataType") } else { ("Timeseries", "DataType") };
        let place = |name: &str| rows.columns.iter().position(|column| column.name == name);
        let (Some(names), Some(types)) = (place(name_of), place(type_of)) else {
            return Self::default();
        };
        let category = place("Category");
        let mut found = BTreeMap::new();
        for row in 0..rows.len() {
            let (Some(name), Some(of)) = (text(rows, names, row), text(rows, types, row)) else {
                continue;
            };
            let field = category.and_then(|at| text(rows, at, row)).is_none_or(|c| c == "FIELD");
            if let (true, Some(of)) = (field, DataType::of_name(&of)) {
                let name = if table { name } else { unquoted(last_node(&name)).into_owned() };
                found.insert(name, of);
            }
        }
        Self { all: pair(found, quality), folds: table }
    }

    /// The named ones, or all; and the names that there are none of.
    pub(super) fn choose(&self, names: &[String]) -> (Self, Vec<String>) {
        if names.is_empty() {
            return (self.clone(), Vec::new());
        }
        let same = |column: &Column, name: &str| match self.folds {
            false => *column.point == *name,
            true => column.point.to_lowercase() == name.to_lowercase(),
        };
        let is = |name: &str| self.all.iter().any(|column| same(column, name));
        let chosen = |column: &&Column| names.iter().any(|name| same(column, name));
        let unknown = names.iter().filter(|name| !is(name)).cloned().collect();
        let all = self.all.iter().filter(chosen).cloned().collect();
        (Self { all, folds: self.folds }, unknown)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Column] {
        &self.all
    }

    /// Some at a time.
    pub(super) fn parts(&self, most: usize) -> impl Iterator<Item = &[Column]> {
        self.all.chunks(most)
    }
}

/// A column `<point>_q` belongs to its point, which may have no column of its own.
fn pair(found: BTreeMap<String, DataType>, quality: bool) -> Vec<Column> {
    let mut points: BTreeMap<&str, (Option<DataType>, bool)> = BTreeMap::new();
    for (name, of) in &found {
        match name.strip_suffix("_q").filter(|_| quality && *of == DataType::Int32) {
            Some(point) => points.entry(point).or_default().1 = true,
            None => points.entry(name).or_default().0 = Some(*of),
        }
    }
    let column = |(point, (of, quality)): (&str, _)| Column { point: point.into(), of, quality };
    points.into_iter().map(column).collect()
}

fn text(rows: &Rows, column: usize, row: usize) -> Option<String> {
    match at(rows, column, row) {
        Value::String(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The last node of a path, in its quotes. Inside of quotes dots are letters.
fn last_node(path: &str) -> &str {
    let mut quoted = false;
    let dots = path.char_indices().filter(|(_, c)| {
        quoted ^= *c == '`';
        *c == '.' && !quoted
    });
    let start = dots.last().map_or(0, |(at, _)| at + 1);
    path.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_node_of_a_path_is_found_behind_quoted_dots() {
        for (path, node) in [
            ("root.lineside.plant.d.a", "a"),
            ("root.`a.b`.`c.d/1`", "`c.d/1`"),
            ("root.`a``.b`.c", "c"),
            ("a", "a"),
        ] {
            assert_eq!(last_node(path), node);
        }
    }

    #[test]
    fn a_quality_belongs_to_its_point_also_when_that_was_only_bad() {
        let found = |names: &[(&str, DataType)]| {
            names.iter().map(|(name, of)| ((*name).to_owned(), *of)).collect::<BTreeMap<_, _>>()
        };
        let all = [
            ("a", DataType::Float),
            ("a_q", DataType::Int32),
            ("b_q", DataType::Int32),
            ("c_q", DataType::Text),
        ];
        let columns = pair(found(&all), true);
        let shown: Vec<_> = columns.iter().map(|c| (&*c.point, c.of, c.quality)).collect();
        assert_eq!(
            shown,
            [
                ("a", Some(DataType::Float), true),
                ("b", None, true),
                ("c_q", Some(DataType::Text), false)
            ]
        );
        assert_eq!(pair(found(&all), false).len(), 4);
    }

    #[test]
    fn a_table_does_not_tell_upper_case_from_lower() {
        let all = vec![Column { point: "temp".into(), of: None, quality: true }];
        for folds in [true, false] {
            let columns = Columns { all: all.clone(), folds };
            let (chosen, unknown) = columns.choose(&["Temp".to_owned()]);
            assert_eq!((chosen.all.len(), unknown.len()), if folds { (1, 0) } else { (0, 1) });
        }
    }
}
