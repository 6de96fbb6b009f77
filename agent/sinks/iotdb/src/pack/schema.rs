//! Statements that make what a server without automatic schemas (`enable_auto_create_schema=false`)
//! has to have before it takes samples: databases, series, tables, columns.
//!
//! They are tried when the server refuses samples for a reason that may be this one: first for all
//! columns of a share at once, which does for a device that is new; then, when the refusal is cut
//! down to one point, for its columns one by one.

use std::collections::HashSet;
use std::sync::Arc;

use lineside_crds::model::IotdbModel;

use super::{Draft, Layout, Packer, Share};
use crate::name::identifier;
use crate::wire::{Category, Column, Tablet};

/// Most devices and columns that are remembered; beyond it all are forgotten, which costs a trial.
const MOST: usize = 20_000;

/// What was tried in this session: a target whole, or one of its columns.
#[derive(Debug, Default)]
pub(super) struct Tried(HashSet<(Arc<str>, Option<Arc<str>>)>);

impl Tried {
    /// Whether it is the first time.
    fn first(&mut self, target: &Arc<str>, column: Option<&Arc<str>>) -> bool {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert((target.clone(), column.cloned()))
    }
}

impl Packer {
    /// What makes the columns of these samples; nothing when it was tried in this session. `alone`
    /// says that the samples are of one point and were refused alone.
    pub fn schema(&mut self, share: &Share, alone: bool) -> Vec<String> {
        let mut draft = Draft::new(self.layout.is_table());
        // A scratch draft: places in drafts are not known of it.
        self.draft += 1;
        self.add_again(&mut draft, &share.record, &share.indexes());
        let tablets: Vec<_> =
            draft.into_calls().into_iter().flat_map(|call| call.tablets).collect();
        let mut statements = Vec::new();
        for tablet in &tablets {
            let fields = tablet.columns.iter().filter(|c| c.category == Category::Field);
            if self.tried.first(&tablet.target, None) {
                statements.extend(database(&self.layout));
                statements.push(whole(&self.layout, tablet, &columns_of(&tablets, tablet)));
            } else if alone {
                for column in fields {
                    if self.tried.first(&tablet.target, Some(&column.name)) {
                        statements.push(one(&self.layout, tablet, column));
                    }
                }
            }
        }
        statements
    }
}

/// The columns of all tablets for the target of one, each once.
fn columns_of<'a>(tablets: &'a [Tablet], of: &Tablet) -> Vec<&'a Column> {
    let same = tablets.iter().filter(|tablet| tablet.target == of.target);
    let mut seen = HashSet::new();
    same.flat_map(|tablet| &tablet.columns).filter(|column| seen.insert(&column.name)).collect()
}

/// In the tree model, the database: the level that a server makes by itself, which is its default.
/// That of the table model is made when a session begins.
fn database(layout: &Layout) -> Option<String> {
    match &layout.model {
        IotdbModel::Tree { prefix } => Some(format!("create database {}", first_level(prefix))),
        IotdbModel::Table { .. } => None,
    }
}

/// The first two nodes of a path, `root` and one more. Inside of quotes dots are letters.
fn first_level(path: &str) -> &str {
    let mut quoted = false;
    let mut dots = path.char_indices().filter(|(_, c)| {
        quoted ^= *c == '`';
        *c == '.' && !quoted
    });
    dots.nth(1).and_then(|(at, _)| path.get(..at)).unwrap_or(path)
}

fn whole(layout: &Layout, tablet: &Tablet, columns: &[&Column]) -> String {
    let target = &tablet.target;
    let columns: Vec<_> = columns.iter().map(|column| defined(layout, column)).collect();
    let columns = columns.join(", ");
    match layout.is_table() {
        false => format!("create aligned timeseries {target}({columns})"),
        true => format!("create table if not exists {}({columns})", identifier(target)),
    }
}

fn one(layout: &Layout, tablet: &Tablet, column: &Column) -> String {
    let (target, column) = (&tablet.target, defined(layout, column));
    match layout.is_table() {
        false => format!("create aligned timeseries {target}({column})"),
        true => {
            format!("alter table {} add column if not exists {column}", identifier(target))
        }
    }
}

/// Name and type; in a table the category.
fn defined(layout: &Layout, column: &Column) -> String {
    let (name, of) = (&column.name, column.of.name());
    match (layout.is_table(), column.category) {
        (false, _) => format!("{name} {of}"),
        (true, Category::Tag) => format!("{} {of} tag", identifier(name)),
        (true, Category::Attribute) => format!("{} {of} attribute", identifier(name)),
        (true, Category::Field) => format!("{} {of} field", identifier(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::first_level;

    #[test]
    fn the_database_is_the_first_level_below_the_root() {
        for (path, database) in [
            ("root.lineside", "root.lineside"),
            ("root.plant.hall", "root.plant"),
            ("root.`a.b`.c", "root.`a.b`"),
        ] {
            assert_eq!(first_level(path), database);
        }
    }
}
