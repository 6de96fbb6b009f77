//! Until when this process may write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Shared by the leader, who opens it, and the client, which asks before each writing request.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    until: Arc<Mutex<Option<Instant>>>,
}

impl Fence {
    /// Writing is allowed before this time.
    pub fn open_until(&self, until: Instant) {
        *self.lock() = Some(until);
    }

    /// Nothing may be written from now on.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// Whether a request sent now may write.
    pub fn is_open(&self, now: Instant) -> bool {
        self.lock().is_some_and(|until| now < until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // A single value; a panic elsewhere cannot leave it half-written.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
