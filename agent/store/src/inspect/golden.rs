//! A store of version 1 as it was written once, in `golden/v1/store`, that every later version
//! has to read: `golden/v1/expected.txt` is what is in it. `UPDATE=1` writes both anew, which is
//! right only before the first release or together with a new version of the format.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_core::sink::{Outcome, Refusal};
use lineside_core::{Batch, Origin, Sample, StatusCode, TimeQuality, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};

use super::*;
use crate::fs::RealFs;
use crate::{Log, Now, Options, Stamp, Take, Volume};

/// 2025-11-24T16:00:00Z.
const START: i64 = 1_764_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn key() -> ObjectKey {
    ObjectKey::new("plant", "main")
}

fn settings() -> Store {
    let (durability, overflow) = (Durability::Durable, Overflow::DropOldest);
    Store { durability, max_bytes: 4 << 20, max_age: None, overflow }
}

fn origin(learned: Option<&str>) -> Arc<Origin> {
    let points: Vec<Arc<str>> = vec!["temperature".into(), "state".into(), "name".into()];
    let location = vec!["hall 1".to_owned(), "line 2".to_owned()];
    let key = ObjectKey::new("plant", "press");
    Arc::new(Origin::new(key, learned.map(Arc::from), points.into(), location.into()))
}

/// One sample of every type, of every quality, with and without a time of the source.
fn every_type() -> Batch {
    let values = [
        Value::Bool(true),
        Value::I8(-8),
        Value::I16(-16),
        Value::I32(-32),
        Value::I64(i64::MIN),
        Value::U8(8),
        Value::U16(16),
        Value::U32(32),
        Value::U64(u64::MAX),
        Value::F32(0.1),
        Value::F64(f64::NAN),
        Value::String("Wärme".into()),
        Value::Bytes(vec![0, 255].into()),
        Value::Null,
    ];
    let mut batch = Batch::with_capacity(origin(None), 3, TimeQuality::Synced, values.len());
    for (i, value) in values.into_iter().enumerate() {
        let status = match value {
            Value::Null => StatusCode::BAD_TIMEOUT,
            Value::F64(_) => StatusCode::UNCERTAIN_LAST_USABLE_VALUE,
            _ => StatusCode::GOOD,
        };
        let source_time = (i % 3 == 1).then_some(START - i as i64);
        let (point, agent_time) = (i as u32 % 3, START + i as i64 / 5 * 1_000_000);
        batch.push(Sample { point, value, status, source_time, agent_time });
    }
    batch
}

fn floats(time: i64, quality: TimeQuality, learned: Option<&str>) -> Batch {
    let mut batch = Batch::with_capacity(origin(learned), 3, quality, 2);
    batch.push_good(0, Value::F32(21.5), time);
    batch.push_good(1, Value::F32(-1.0), time);
    batch
}

fn open(dir: &Path) -> (Arc<Volume>, Arc<Log>) {
    let options = Options { identity: Some([0x5A; 16]), ..Options::default() };
    let (volume, report) = Volume::open(Arc::new(RealFs), dir, options).unwrap();
    assert!(report.entries.is_empty(), "{report:?}");
    let log = volume.open_log(&key(), settings()).unwrap();
    (volume, log)
}

fn append(log: &Log, batch: Batch, at: i64) {
    log.append(Arc::new(batch), Stamp { captured_at: at, gap_from: Some(at - SECOND) }, None);
}

/// Everything that the format knows, over two runs of an agent.
fn write(dir: &Path) {
    let (volume, log) = open(dir);
    for sink in ["broker", "series", "former"] {
        log.add_sink(&sink.into(), b"{\"mqtt\":{}}", Drain::InOrder).unwrap();
        log.start_session(sink);
    }
    append(&log, every_type(), START);
    append(&log, floats(START - 9_000 * SECOND, TimeQuality::Unsynced, None), START + SECOND);
    append(&log, floats(START + SECOND, TimeQuality::Synced, Some("urn:x")), START + SECOND);
    log.correct_clock(9_000 * SECOND, START + SECOND);
    volume.commit(Now { unix: START + SECOND });
    let mut offsets = Vec::new();
    while let Take::Record { record, .. } = log.take("broker", Now { unix: START + SECOND }) {
        offsets.push(record.id.offset);
    }
    // Out of order, with a part refused.
    let mut outcome = Outcome { delivered: 1, ..Outcome::nothing() };
    outcome.refuse(Refusal::new(Code::RecordRejected, "not today", Some(1), vec![1]));
    log.settle("broker", offsets[2], &outcome);
    log.remove_sink("former");
    log.refuse(7, START + 2 * SECOND);
    append(&log, floats(START + 2 * SECOND, TimeQuality::Synced, None), START + 2 * SECOND);
    volume.close(Now { unix: START + 3 * SECOND });
    drop((log, volume));
    let (volume, log) = open(dir);
    append(&log, floats(START + 9 * SECOND, TimeQuality::Synced, None), START + 9 * SECOND);
    volume.close(Now { unix: START + 10 * SECOND });
}

/// What is in a store, for people.
fn describe(dir: &Path) -> String {
    let mut text = String::new();
    for record in dump(Arc::new(RealFs), dir).unwrap() {
        let Dumped { pipeline, id, number, captured_at, payload } = record.unwrap();
        let pipeline = pipeline.unwrap();
        writeln!(text, "{id} of {pipeline}, {number} samples before, at {captured_at}").unwrap();
        let Payload::Batch(batch) = payload else {
            writeln!(text, "  {payload:?}").unwrap();
            continue;
        };
        let origin = batch.origin();
        let (epoch, quality) = (batch.epoch, batch.time_quality);
        writeln!(text, "  {} {:?} epoch {epoch} {quality:?}", origin.path, origin.location)
            .unwrap();
        for s in batch.iter() {
            let name = origin.point(s.point).unwrap();
            let times = (s.agent_time, s.source_time);
            writeln!(text, "  {name} {:?} {} {times:?}", s.value, s.status).unwrap();
        }
    }
    let (_volume, log) = open(dir);
    for sink in log.sinks() {
        let configuration = String::from_utf8_lossy(&sink.configuration).into_owned();
        writeln!(text, "sink {} {configuration} {:?}", sink.name, sink.ledger).unwrap();
        for letter in log.dead_letters(&sink.name, None, 10).unwrap() {
            let values: Vec<_> = letter.batch.iter().map(|s| s.value.clone()).collect();
            let (id, code, message, at) =
                (letter.id, letter.code, letter.message, letter.failed_at);
            writeln!(text, "  {id} {code} {message:?} at {at}: {values:?}").unwrap();
        }
    }
    writeln!(text, "gaps {:?}", log.gaps()).unwrap();
    text
}

/// Copies a store without what is of no use in a repository: lock, reserve, zeros at the end.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "lock" && entry.file_name() != "reserve" {
            let bytes = fs::read(entry.path()).unwrap();
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            let used = used.next_multiple_of(4096).min(bytes.len());
            fs::write(target, &bytes[..used]).unwrap();
        }
    }
}

#[test]
fn a_store_of_version_1_is_read_as_it_was_written() {
    let (store, expected) = (golden().join("store"), golden().join("expected.txt"));
    if std::env::var_os("UPDATE").is_some() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("store"));
        let _ = fs::remove_dir_all(&store);
        copy(&dir.path().join("store"), &store);
    }
    let dir = tempfile::tempdir().unwrap();
    let copied = dir.path().join("store");
    copy(&store, &copied);
    assert_eq!(verify(&RealFs, &copied).unwrap(), []);
    let text = describe(&copied);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&expected).unwrap());
    // It is not only read: the agent goes on with it.
    let (volume, log) = open(&copied);
    log.add_sink(&"broker".into(), b"{}", Drain::InOrder).unwrap();
    log.start_session("broker");
    append(&log, floats(START, TimeQuality::Synced, None), START + 20 * SECOND);
    volume.commit(Now { unix: START + 20 * SECOND });
    let mut count = 0;
    loop {
        match log.take("broker", Now { unix: START + 20 * SECOND }) {
            Take::Record { .. } => count += 1,
            Take::Read(reading) => reading.run(),
            Take::Wait | Take::WaitUntil(_) => break,
        }
    }
    assert_eq!(count, 5, "all but the one that was settled");
}

#[test]
fn the_same_content_is_written_as_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (written, trimmed) = (dir.path().join("store"), dir.path().join("trimmed"));
    write(&written);
    copy(&written, &trimmed);
    for name in fs::read_dir(golden().join("store/log-0")).unwrap() {
        let name = name.unwrap().file_name();
        let read = |dir: &Path| fs::read(dir.join("log-0").join(&name)).unwrap();
        assert!(read(&trimmed) == read(&golden().join("store")), "{name:?} has changed");
    }
}

/// Bytes of the newest record.
const LAST_FRAME: usize = 96;

#[test]
fn every_flipped_bit_of_a_store_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let copied = dir.path().join("store");
    copy(&golden().join("store"), &copied);
    let log = copied.join("log-0");
    let mut files: Vec<PathBuf> = fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|e| e == "seg");
    let newest = files.iter().rfind(is_segment).unwrap().clone();
    for path in files {
        let mut bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            // Zeros between slots and behind payloads are nobody's.
            if bytes[at] == 0 {
                continue;
            }
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let found = verify(&RealFs, &copied).unwrap();
            // The last frame of the newest segment may as well have been cut off in writing.
            let last = path == newest && bytes.len() - at <= LAST_FRAME;
            assert!(last || !found.is_empty(), "{} at {at}", path.display());
            bytes[at] ^= 0x10;
        }
        fs::write(&path, &bytes).unwrap();
    }
}
