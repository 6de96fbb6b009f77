//! Columns that the server has refused: their samples are refused at once, without asking again
//! for a while, so that one point of a wrong type does not cost its device a search each cycle.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::verdict::Refused;
use crate::wire::DataType;

/// After this the server is asked again: somebody may have mended it.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Most columns that are remembered; beyond it all are forgotten, which costs a search each.
const MOST: usize = 10_000;

/// Target, point and type of the refused values; a Bad sample has none.
type Key = (Arc<str>, Arc<str>, Option<DataType>);

/// See the module.
#[derive(Debug, Default)]
pub struct Refusals {
    columns: HashMap<Key, (Instant, Refused)>,
}

impl Refusals {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Remembers one.
    pub fn note(
        &mut self,
        (target, point, of): (&Arc<str>, &Arc<str>, Option<DataType>),
        refused: Refused,
        now: Instant,
    ) {
        if self.columns.len() >= MOST {
            self.columns.clear();
        }
        self.columns.insert((target.clone(), point.clone(), of), (now, refused));
    }

    /// What the server said of this column.
    pub fn of(
        &self,
        target: &Arc<str>,
        point: &Arc<str>,
        of: Option<DataType>,
    ) -> Option<&Refused> {
        if self.columns.is_empty() {
            return None;
        }
        self.columns.get(&(target.clone(), point.clone(), of)).map(|(_, refused)| refused)
    }

    /// Forgets those that are to be tried again.
    pub fn forget(&mut self, now: Instant) {
        if !self.columns.is_empty() {
            self.columns.retain(|_, (at, _)| now.saturating_duration_since(*at) < ASK_AGAIN);
        }
    }
}
