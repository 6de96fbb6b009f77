//! Issue 6, M4: an agent that starts on a large backlog polls at once and delivers all of it.
//!
//! The backlog is written by the store's own library, since no device of a test could fill so
//! much in the time; the agent finds it as if it had been its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lineside_core::{Batch, Origin, TimeQuality, Value};
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
use lineside_store::fs::RealFs;
use lineside_store::{Appended, Now, Options, Stamp, Volume};
use lineside_tests::broker::{Broker, Options as BrokerOptions};
use lineside_tests::dir::TestDir;
use lineside_tests::faults::device::{Device, now};
use lineside_tests::faults::line::{self, REQUEST_TIMEOUT, SINK};
use lineside_tests::faults::lives::{Around, Lives};
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;

use crate::plant::SOON;

/// The backlog in `cargo xtask test`; `cargo xtask soak backlog` makes a larger one.
const MEBIBYTES: u64 = 200;
/// A text of the archive, and how many of them are in one record.
const TEXT: usize = 8 * 1024;
const TEXTS: u64 = 8;
/// Longest time from the start of the agent until it asks its device (reliability, row 8).
const START: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(100);
const PIPELINE: &str = "default/archive";

fn mebibytes() -> u64 {
    match std::env::var("LINESIDE_BACKLOG_MIB") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => MEBIBYTES,
    }
}

/// A text that says which it is.
fn text(number: u64) -> String {
    format!("{number:012}{}", "x".repeat(TEXT - 12))
}

/// Fills the store in `dir` for a sink that was never there; gives the number of texts.
fn fill(dir: &Path, mebibytes: u64) -> u64 {
    let (volume, _) = Volume::open(Arc::new(RealFs), dir, Options::default()).unwrap();
    let settings = Store {
        durability: Durability::Durable,
        max_bytes: 4 << 30,
        max_age: None,
        overflow: Overflow::DropOldest,
    };
    let log = volume.open_log(&ObjectKey::new("default", "archive"), settings).unwrap();
    log.add_sink(&SINK.into(), &[], Drain::InOrder).unwrap();
    let device = ObjectKey::new("default", "press");
    let origin = Arc::new(Origin::new(device, None, [Arc::from("t")].into(), [].into()));
    let begin = now().unwrap();
    let texts = (mebibytes << 20) / TEXT as u64;
    for first in (0..texts).step_by(TEXTS as usize) {
        let time = begin + i64::try_from(first).unwrap();
        let mut batch =
            Batch::with_capacity(origin.clone(), 1, TimeQuality::Synced, TEXTS as usize);
        for number in first..texts.min(first + TEXTS) {
            batch.push_good(0, Value::String(text(number).into()), time);
        }
        let stamp = Stamp { captured_at: time, gap_from: None };
        let taken = log.append(Arc::new(batch), stamp, None);
        assert!(matches!(taken, Appended::Taken(_)), "{taken:?}");
        // Long before the memory of what is not yet written has its bound.
        if first % 128 == 0 {
            volume.commit(Now { unix: time });
        }
    }
    volume.close(Now { unix: now().unwrap() });
    texts
}

#[test]
fn a_large_backlog_delays_no_start_and_is_delivered_in_order() {
    let dir = TestDir::new("backlog").unwrap();
    let state = dir.folder("agent-state").unwrap();
    let (mebibytes, begin) = (mebibytes(), Instant::now());
    let texts = fill(&state.join("store"), mebibytes);
    println!("{mebibytes} MiB in {texts} texts written in {:?}", begin.elapsed());

    let device = Device::start(&dir, "press", 0, &[0, 2]).unwrap();
    let broker = Broker::start(&dir, "broker", BrokerOptions::default()).unwrap();
    let mut consumer =
        Subscriber::start(&dir, "consumer", &broker, "lineside/default/press").unwrap();
    line::configure(&dir, "press", &device.yaml(INTERVAL, REQUEST_TIMEOUT)).unwrap();
    let pipeline = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: archive}}\nspec:\n  \
         sources:\n  - {{name: all, devices: {{names: [press]}}}}\n  sinks:\n  - {{name: {SINK}, \
         mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}}}\n  store: {{durability: Durable, maxSize: 4Gi}}\n",
        broker.port
    );
    line::configure(&dir, "archive", &pipeline).unwrap();
    let begin = Instant::now();
    let agent = Lives::start(&dir, &state, &Around::default()).unwrap();
    wait::until("the first poll", SOON, || device.count() > 0).unwrap();
    let started = begin.elapsed();
    println!("first poll {started:?} after the start");
    assert!(started < START, "{started:?}");

    let mut resident = 0;
    let longest = SOON + Duration::from_secs(mebibytes * 2);
    wait::until("the backlog is delivered", longest, || {
        resident = resident.max(agent.server.resident_bytes().unwrap());
        let lag = agent.lag().unwrap();
        let ledger = lag.ledger(PIPELINE, SINK).unwrap();
        assert!(ledger.balances() && ledger.dropped() == 0, "{ledger:?}");
        ledger.delivered >= texts && ledger.buffered < 100
    })
    .unwrap();
    let took = begin.elapsed();
    let polls = device.count() as u128;
    println!(
        "delivered in {took:?} with {} MiB of memory at most, {polls} polls meanwhile",
        resident >> 20
    );
    assert!(polls * 2 > (took - started).as_millis() / INTERVAL.as_millis(), "{polls} polls");

    let mut next = 0;
    wait::until("the consumer has all of it", SOON, || {
        let messages = consumer.messages().unwrap();
        messages.iter().filter(|m| m.payload.contains("\"t\"")).count() as u64 >= texts / TEXTS
    })
    .unwrap();
    for message in consumer.messages().unwrap() {
        let body: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
        for point in body["points"].as_array().unwrap().iter().filter(|p| p["name"] == "t") {
            let got = point["value"].as_str().unwrap();
            // Without a kill and without an outage nothing comes twice.
            assert_eq!(got, text(next), "text {next}");
            next += 1;
        }
    }
    assert_eq!(next, texts);
}
