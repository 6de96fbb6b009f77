//! Point names are shared: a plant has many devices of one type, and a hundred devices with the
//! same thousand names need a thousand strings, not a hundred thousand. That saves memory, and
//! the names stay in the processor's cache while messages are written.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Names below this number are not worth looking through for ones that nobody uses any more.
const FEW: usize = 4096;

static NAMES: Mutex<Option<Names>> = Mutex::new(None);

/// The names in use.
#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// Size at which unused names are dropped.
    limit: usize,
}

/// The one copy of `name`.
pub(crate) fn shared(name: &str) -> Arc<str> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().shared(name)
}

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if self.known.len() >= self.limit.max(FEW) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            // Doubling keeps the cost of looking through all of them below one step per name.
            self.limit = 2 * self.known.len();
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_string() {
        let first = shared("temperature");
        assert!(Arc::ptr_eq(&first, &shared("temperature")));
        assert_eq!(&*shared("pressure"), "pressure");
    }

    #[test]
    fn names_that_nobody_uses_are_dropped() {
        let mut names = Names::default();
        let kept = names.shared("kept");
        for i in 0..10 * FEW {
            names.shared(&format!("p{i}"));
        }
        assert!(names.known.len() <= FEW + 1, "{}", names.known.len());
        assert!(Arc::ptr_eq(&kept, &names.shared("kept")));
    }
}
