//! Events: what changed for the worse or the better, for `kubectl describe`. Sent on
//! transitions only, never more than a few a second, and nothing waits for them for long.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::debug;

use crate::FIELD_MANAGER;
use crate::metrics::Metrics;

/// Events that may be sent at once after a quiet time.
const BURST: f64 = 100.0;
/// Events per second in the long run.
const RATE: f64 = 5.0;
/// Longest wait for one to be taken.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest note, in bytes (events.k8s.io/v1).
const NOTE_MOST: usize = 1024;

/// What is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whether it is for the worse.
    pub warning: bool,
    /// What the operator did, in one word, e.g. `Judge`.
    pub action: &'static str,
    /// Why, in one word: a reason of the diagnostics registry where there is one.
    pub reason: String,
    /// For people.
    pub note: String,
}

/// Sends events.
pub struct Events {
    recorder: Recorder,
    bucket: Mutex<Bucket>,
    metrics: Metrics,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// A sender that calls itself by the name of its pod.
    pub fn new(client: Client, instance: &str, metrics: Metrics) -> Self {
        let reporter =
            Reporter { controller: FIELD_MANAGER.into(), instance: Some(instance.to_owned()) };
        let bucket = Mutex::new(Bucket::new(now()));
        Self { recorder: Recorder::new(client, reporter), bucket, metrics }
    }

    /// Sends an event about an object, or counts it as dropped.
    pub async fn tell(&self, about: &ObjectReference, told: Told) {
        let may = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now());
        if !may {
            self.metrics.event_dropped();
            return;
        }
        let event = Event {
            type_: if told.warning { EventType::Warning } else { EventType::Normal },
            reason: told.reason,
            note: Some(cut(told.note)),
            action: told.action.to_owned(),
            secondary: None,
        };
        let sent = tokio::time::timeout(LIMIT, self.recorder.publish(&event, about)).await;
        if !matches!(sent, Ok(Ok(()))) {
            // The state itself is in the status; an event is a convenience.
            debug!(reason = event.reason, "An event was not taken");
            self.metrics.event_dropped();
        }
    }
}

fn cut(mut note: String) -> String {
    if note.len() > NOTE_MOST {
        let mut end = NOTE_MOST - '…'.len_utf8();
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        note.push('…');
    }
    note
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_events_is_a_burst_and_then_a_few_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let sent = (0..1000).filter(|_| bucket.take(start)).count();
        assert_eq!(sent, 100);
        let later = start + Duration::from_secs(3);
        let sent = (0..1000).filter(|_| bucket.take(later)).count();
        assert_eq!(sent, 15);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = cut("é".repeat(1000));
        assert!(note.len() <= NOTE_MOST && note.ends_with('…'));
        assert_eq!(cut("short".into()), "short");
    }
}
