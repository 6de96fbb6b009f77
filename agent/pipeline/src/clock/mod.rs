//! The agent's clock: wall-clock time that never jumps back into what was already told, and that
//! knows when it had not been set. Why it does what: ADR 0010.

mod steady;

use std::sync::{Mutex, MutexGuard, PoisonError};

use lineside_core::clock::{Clock, SystemClock, WRITTEN};
use lineside_core::{TimeQuality, UnixNanos};
use rustix::time::{ClockId, clock_gettime};

pub use steady::{Reading, Steady, Told};

/// The machine's wall clock, steadied by its monotonic one.
#[derive(Debug)]
pub struct MachineClock {
    steady: Mutex<Steady>,
}

impl MachineClock {
    fn steady(&self) -> MutexGuard<'_, Steady> {
        // Each step leaves it whole.
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads both clocks under the lock, so that readings come in their order.
    fn tell(&self) -> Told {
        let mut steady = self.steady();
        let before = steady.steps();
        let told = steady.tell(Reading { wall: SystemClock.now(), boot: since_boot() });
        if steady.steps() != before {
            let ahead_seconds = told.ahead as f64 / 1e9;
            tracing::warn!(ahead_seconds, "Wall clock was set while the agent runs");
        }
        told
    }
}

/// A clock that is taken as not set while it is before this program was written.
impl Default for MachineClock {
    fn default() -> Self {
        // No time of a record is taken into account: one that was written while the clock was
        // far ahead would make every right time look wrong from then on.
        Self { steady: Mutex::new(Steady::new(WRITTEN)) }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> UnixNanos {
        self.tell().time
    }

    fn quality(&self) -> TimeQuality {
        self.tell().quality
    }

    fn steps(&self) -> u64 {
        self.steady().steps()
    }

    fn take_correction(&self) -> Option<i64> {
        // Looks first, so that a device that is silent does not delay it.
        self.tell();
        self.steady().take_correction()
    }
}

/// Nanoseconds since the machine started, sleep included.
fn since_boot() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_goes_forward_and_agrees_with_the_system() {
        let clock = MachineClock::default();
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!((clock.now() - SystemClock.now()).abs() < 1_000_000_000);
        assert_eq!((clock.quality(), clock.take_correction()), (TimeQuality::Synced, None));
    }
}
