//! Whether the agent still turns: the loop that applies configuration says so at each turn, and
//! `/livez` asks. What the loop waits for is bounded, so silence means that the process is stuck.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest time between two turns: applying a configuration ends sessions, each within a second,
/// and an overloaded machine takes its time.
const LONGEST: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Watchdog {
    started: Instant,
    /// Milliseconds from the start to the last turn.
    turned: AtomicU64,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { started: Instant::now(), turned: AtomicU64::new(0) }
    }
}

impl Watchdog {
    /// The loop turns.
    pub fn turn(&self) {
        self.turned.store(millis(self.started.elapsed()), Ordering::Relaxed);
    }

    /// Whether it turned lately.
    pub fn is_alive(&self) -> bool {
        self.alive_after(self.started.elapsed())
    }

    fn alive_after(&self, now: Duration) -> bool {
        let turned = self.turned.load(Ordering::Relaxed);
        millis(now).saturating_sub(turned) <= millis(LONGEST)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stopped_turning_is_found_after_a_minute() {
        let dog = Watchdog::default();
        dog.turn();
        assert!(dog.is_alive());
        assert!(dog.alive_after(LONGEST));
        assert!(!dog.alive_after(LONGEST + Duration::from_secs(1)));
    }
}
