//! What is said when a device cannot keep up.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::harness::{Running, device, until};
use crate::peer::{Do, Peer};

/// Keeps the warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_device_that_is_slower_than_its_intervals_is_named_once_a_minute() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let peer = Peer::start(|ask| {
        std::thread::sleep(Duration::from_millis(35));
        Do::Send(ask.good())
    })
    .await;
    let session = Running::start(device(peer.port, &[("a", "holding-register:1", 10)]));
    let collected = session.collected.clone();
    until("ten values", || collected.good("a").len() >= 10).await;
    session.stop().await;
    let said = warnings.0.lock().unwrap().clone();
    let about: Vec<_> =
        said.iter().filter(|s| s.contains("Device is slower than its intervals")).collect();
    assert_eq!(about.len(), 1, "{said:?}");
    assert!(about[0].contains("device=plant/press") && about[0].contains("count="), "{about:?}");
}
