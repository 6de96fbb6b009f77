//! What a pipeline may count on, on the machine's file system.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lineside_core::sink::{Outcome, Record};
use lineside_core::{Batch, Origin, TimeQuality, UnixNanos, Value};
use lineside_crds::model::{Drain, Durability, ObjectKey, Overflow, Store};
use tempfile::TempDir;

use super::*;
use crate::frame::{HEADER, Kind};
use crate::fs::{Fs, Open, RealFs};
use crate::ledger::DropReason;
use crate::scan::Scan;
use crate::volume::{Options, Report, Volume};

mod accepted;
mod gaps;
mod hooked;
mod letters;
mod positions;
mod refused;
mod several;
mod waiting;

const SECOND: UnixNanos = 1_000_000_000;

/// A volume with one log and a clock that tests move.
struct Bench {
    dir: TempDir,
    fs: Arc<dyn Fs>,
    volume: Arc<Volume>,
    log: Arc<Log>,
    report: Report,
    settings: Store,
    now: UnixNanos,
    next: u64,
}

fn settings() -> Store {
    Store {
        durability: Durability::Durable,
        max_bytes: 1 << 30,
        max_age: None,
        overflow: Overflow::DropOldest,
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("plant", "main")
}

fn open(fs: Arc<dyn Fs>, dir: &Path, settings: Store) -> (Arc<Volume>, Arc<Log>, Report) {
    let options = Options { identity: Some([7; 16]), ..Options::default() };
    let (volume, report) = Volume::open(fs, &dir.join("store"), options).unwrap();
    let log = volume.open_log(&key(), settings).unwrap();
    (volume, log, report)
}

fn origin() -> Arc<Origin> {
    let points: Vec<Arc<str>> = vec!["counter".into(), "other".into()];
    let key = ObjectKey::new("plant", "press");
    Arc::new(Origin::new(key, None, points.into(), Vec::new().into()))
}

/// A batch whose samples count from `first` on.
fn batch(first: u64, samples: u64, time: UnixNanos) -> Arc<Batch> {
    let mut batch = Batch::with_capacity(origin(), 1, TimeQuality::Synced, samples as usize);
    for i in 0..samples {
        batch.push_good(0, Value::U64(first + i), time);
    }
    Arc::new(batch)
}

fn first_value(record: &Record) -> u64 {
    match record.batch.get(0).unwrap().value {
        Value::U64(v) => *v,
        other => panic!("not a counter: {other:?}"),
    }
}

impl Bench {
    fn new(settings: Store) -> Self {
        Self::on(RealFs, settings)
    }

    fn on(fs: impl Fs, settings: Store) -> Self {
        let (dir, fs): (_, Arc<dyn Fs>) = (tempfile::tempdir().unwrap(), Arc::new(fs));
        let (volume, log, report) = open(fs.clone(), dir.path(), settings);
        Self { dir, fs, volume, log, report, settings, now: 1_764_000_000 * SECOND, next: 0 }
    }

    fn with_sinks(settings: Store, names: &[&str]) -> Self {
        let bench = Self::new(settings);
        names.iter().for_each(|name| bench.add(name, Drain::InOrder));
        bench.commit();
        bench
    }

    fn add(&self, name: &str, drain: Drain) {
        self.log.add_sink(&name.into(), b"{}", drain).unwrap();
        self.log.start_session(name);
    }

    /// As after `kill -9`: nothing is said to the log, and it is opened again.
    fn kill(&mut self, names: &[&str]) {
        let path = self.dir.path().to_owned();
        // The lock goes with the process; here it is given back by dropping the volume.
        self.log = Bench::new(settings()).log;
        self.volume = Bench::new(settings()).volume;
        let (volume, log, report) = open(self.fs.clone(), &path, self.settings);
        (self.volume, self.log, self.report) = (volume, log, report);
        self.now += SECOND;
        names.iter().for_each(|name| self.add(name, Drain::InOrder));
    }

    fn now(&self) -> Now {
        Now { unix: self.now }
    }

    fn commit(&self) {
        self.volume.commit(self.now());
    }

    /// Moves the clock on so that what is due once a second is done.
    fn chores(&mut self) {
        self.now += 2 * SECOND;
        self.commit();
    }

    fn append(&mut self, samples: u64) -> Appended {
        let stamp = Stamp { captured_at: self.now, gap_from: None };
        let first = self.next;
        self.next += samples;
        self.log.append(batch(first, samples, self.now), stamp, None)
    }

    fn take(&self, sink: &str) -> Option<Record> {
        loop {
            match self.log.take(sink, self.now()) {
                Take::Record { record, .. } => return Some(record),
                Take::Read(reading) => reading.run(),
                Take::Wait | Take::WaitUntil(_) => return None,
            }
        }
    }

    fn take_all(&self, sink: &str) -> Vec<Record> {
        std::iter::from_fn(|| self.take(sink)).collect()
    }

    /// First values of all that is handed out; all of it is settled as delivered.
    fn deliver_all(&self, sink: &str) -> Vec<u64> {
        let mut values = Vec::new();
        while let Some(record) = self.take(sink) {
            values.push(first_value(&record));
            self.settle(sink, &record);
        }
        values
    }

    fn settle(&self, sink: &str, record: &Record) {
        self.log.settle(sink, record.id.offset, &Outcome::delivered(record.batch.len()));
    }

    fn ledger(&self, sink: &str) -> Ledger {
        let all = self.log.ledgers();
        let ledger = all.into_iter().find(|(name, _)| &**name == sink).unwrap().1;
        assert!(ledger.balances(), "{ledger:?}");
        ledger
    }

    fn dropped(&self, sink: &str, reason: DropReason) -> u64 {
        self.ledger(sink).dropped.get(&reason).copied().unwrap_or_default()
    }
}

#[test]
fn a_record_is_handed_out_only_when_it_is_on_disk() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    let done = Arc::new(AtomicU64::new(0));
    let counter = done.clone();
    let receipt: crate::Receipt = Box::new(move |stays| {
        counter.fetch_add(if stays { 1 } else { 100 }, Ordering::SeqCst);
    });
    let stamp = Stamp { captured_at: bench.now, gap_from: None };
    bench.log.append(batch(5, 3, bench.now), stamp, Some(receipt));
    assert!(bench.take("a").is_none());
    assert_eq!(done.load(Ordering::SeqCst), 0);
    bench.commit();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    let record = bench.take("a").unwrap();
    assert_eq!((first_value(&record), record.batch.len()), (5, 3));
    assert!(bench.take("a").is_none());
    assert_eq!(bench.ledger("a").buffered, 3);
    bench.settle("a", &record);
    assert_eq!((bench.ledger("a").buffered, bench.ledger("a").delivered), (0, 3));
    bench.next += 1;
}

#[test]
fn what_was_committed_is_there_after_a_kill_and_has_the_same_identity() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..5 {
        bench.append(2);
    }
    bench.commit();
    let before = bench.take_all("a");
    bench.settle("a", &before[0]);
    bench.chores();
    bench.append(2);
    bench.kill(&["a"]);
    assert!(bench.report.entries.is_empty(), "{:?}", bench.report);
    let after = bench.take_all("a");
    assert_eq!(after.len(), 4, "one was settled, and one was never committed");
    for (b, a) in before[1..].iter().zip(&after) {
        assert_eq!((&b.id, first_value(b)), (&a.id, first_value(a)));
    }
    assert_eq!(
        bench.ledger("a"),
        Ledger { captured: 10, delivered: 2, buffered: 8, ..Ledger::default() }
    );
}

#[test]
fn an_offset_is_never_given_twice_and_the_gap_covers_what_was_not_committed() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    let Appended::Taken(first) = bench.append(1) else { panic!("not taken") };
    bench.commit();
    bench.now += SECOND;
    bench.append(1);
    bench.kill(&["a"]);
    assert!(bench.log.gaps().is_empty(), "an open appends nothing");
    let Appended::Taken(second) = bench.append(1) else { panic!("not taken") };
    assert!(second > first + 1000);
    bench.commit();
    let gap = bench.log.gaps()[0];
    assert!(gap.from <= bench.now - SECOND && gap.to == bench.now, "{gap:?}");
    assert_eq!(bench.deliver_all("a"), [0, 2]);
    bench.chores();
    bench.kill(&["a"]);
    assert_eq!(bench.log.gaps(), [gap], "gaps are known after a start");
    assert_eq!(bench.deliver_all("a"), [] as [u64; 0]);
}

#[test]
fn a_clean_end_goes_on_with_the_next_offset() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    let Appended::Taken(first) = bench.append(1) else { panic!("not taken") };
    bench.volume.close(bench.now());
    bench.kill(&["a"]);
    // The gap takes the offset between them.
    assert_eq!(bench.append(1), Appended::Taken(first + 2));
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [0, 1]);
}

#[test]
fn every_sink_has_its_own_position_and_a_later_one_joins_at_the_live_end() {
    let mut bench = Bench::with_sinks(settings(), &["a", "b"]);
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [0]);
    bench.add("c", Drain::InOrder);
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("c"), [1]);
    assert_eq!(bench.deliver_all("b"), [0, 1]);
    bench.log.remove_sink("a");
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [1], "what waited is for it, what came then is not");
    bench.chores();
    bench.kill(&["a"]);
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [3], "made again it goes on with what is new");
    assert_eq!((bench.ledger("a").captured, bench.ledger("a").delivered), (3, 3));
}

#[test]
fn records_settled_out_of_order_are_not_handed_out_again() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..6 {
        bench.append(1);
    }
    bench.commit();
    let records = bench.take_all("a");
    for i in [4, 1, 2] {
        bench.settle("a", &records[i]);
    }
    bench.chores();
    bench.kill(&["a"]);
    assert_eq!(bench.deliver_all("a"), [0, 3, 5]);
    assert_eq!(bench.ledger("a").delivered, 6);
}

#[test]
fn many_segments_are_read_in_order_and_go_when_every_sink_has_them() {
    let small = Store { max_bytes: 4 << 20, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a", "b"]);
    for _ in 0..60 {
        bench.append(500);
        bench.commit();
    }
    let files = |bench: &Bench| std::fs::read_dir(bench.log.dir()).unwrap().count();
    let full = files(&bench);
    assert!(full > 6, "{full} files");
    let expected: Vec<u64> = (0..60).map(|i| i * 500).collect();
    assert_eq!(bench.deliver_all("a"), expected);
    bench.chores();
    assert_eq!(files(&bench), full, "the other sink still wants them");
    bench.kill(&["a", "b"]);
    assert_eq!(bench.deliver_all("a"), [] as [u64; 0]);
    assert_eq!(bench.deliver_all("b"), expected);
    bench.chores();
    assert!(files(&bench) < full, "{} files", files(&bench));
}

#[test]
fn the_oldest_gives_way_and_is_counted_exactly() {
    let small = Store { max_bytes: 256 * 1024, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    for _ in 0..200 {
        bench.append(300);
        bench.commit();
        assert!(bench.log.usage().bytes <= 256 * 1024, "{:?}", bench.log.usage());
    }
    let dropped = bench.dropped("a", DropReason::StoreFull);
    assert!(dropped > 0);
    let left = bench.deliver_all("a");
    assert_eq!(left.len() as u64 * 300 + dropped, 60_000);
    assert_eq!(left[0], dropped, "the newest are left, without a hole");
    assert_eq!(bench.ledger("a").delivered, 60_000 - dropped);
}

#[test]
fn what_may_have_arrived_does_not_give_way() {
    let small = Store { max_bytes: 256 * 1024, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    bench.append(300);
    bench.commit();
    let held = bench.take("a").unwrap();
    for _ in 0..200 {
        bench.append(300);
        bench.commit();
    }
    let dropped = bench.dropped("a", DropReason::StoreFull);
    bench.settle("a", &held);
    assert_eq!(bench.ledger("a").delivered, 300);
    assert_eq!(bench.deliver_all("a").len() as u64 * 300 + dropped + 300, 60_300);
}

#[test]
fn the_newest_gives_way_when_that_is_the_policy() {
    let small = Store { max_bytes: 256 * 1024, overflow: Overflow::DropNewest, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    let mut refused = 0;
    for _ in 0..200 {
        refused += u64::from(bench.append(300) == Appended::DroppedNewest);
        bench.commit();
    }
    assert!(refused > 50);
    assert!(bench.log.usage().bytes <= 256 * 1024, "{:?}", bench.log.usage());
    assert_eq!(bench.dropped("a", DropReason::StoreFull), refused * 300);
    let kept = bench.deliver_all("a");
    assert_eq!(kept, (0..200 - refused).map(|i| i * 300).collect::<Vec<_>>());
    bench.chores();
    bench.append(300);
    bench.chores();
    bench.kill(&["a"]);
    assert_eq!(bench.deliver_all("a"), [200 * 300]);
    assert_eq!(bench.dropped("a", DropReason::StoreFull), refused * 300);
}

#[test]
fn with_back_pressure_nothing_is_lost() {
    let small = Store { max_bytes: 256 * 1024, overflow: Overflow::Backpressure, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    let mut delivered = 0;
    for _ in 0..300 {
        if bench.append(300) == Appended::Full {
            bench.next -= 300;
            delivered += bench.deliver_all("a").len();
            bench.chores();
        }
        bench.commit();
        assert!(bench.log.usage().bytes <= 256 * 1024, "{:?}", bench.log.usage());
    }
    delivered += bench.deliver_all("a").len();
    assert_eq!(delivered as u64 * 300, bench.next);
    assert_eq!(bench.ledger("a").delivered, bench.next);
}

#[test]
fn what_is_too_old_is_not_delivered_and_is_counted() {
    let brief = Store { max_age: Some(Duration::from_secs(100)), ..settings() };
    let mut bench = Bench::with_sinks(brief, &["a"]);
    bench.append(3);
    bench.commit();
    bench.now += 60 * SECOND;
    bench.append(4);
    bench.commit();
    bench.now += 60 * SECOND;
    assert_eq!(bench.deliver_all("a"), [3]);
    assert_eq!(bench.dropped("a", DropReason::Expired), 3);
}

/// Flips a bit of the record at an offset, so many bytes behind the start of its frame.
fn flip(bench: &Bench, path: &Path, offset: u64, behind: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let file = RealFs.open(path, Open::Read).unwrap();
    let mut scan = Scan::new(&*file, &bench.log.seal, 0, bytes.len() as u64);
    while let Some(spot) = scan.next().unwrap() {
        if spot.found.header.kind == Kind::Batch && spot.found.header.offset == offset {
            bytes[spot.position as usize + behind] ^= 4;
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_costs_its_record_and_is_counted_exactly() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..5 {
        bench.append(7);
    }
    bench.commit();
    bench.append(7);
    bench.commit();
    let path = files::path(bench.log.dir(), 0);
    flip(&bench, &path, 2, HEADER);
    bench.kill(&["a"]);
    assert_eq!(bench.deliver_all("a"), [0, 7, 21, 28, 35]);
    assert_eq!(bench.dropped("a", DropReason::Corrupt), 7);
}

#[test]
fn a_torn_tail_is_cut_and_harms_nothing() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(7);
    bench.commit();
    bench.append(7);
    bench.commit();
    let path = files::path(bench.log.dir(), 0);
    flip(&bench, &path, 1, HEADER);
    bench.kill(&["a"]);
    assert!(bench.report.entries.is_empty(), "{:?}", bench.report);
    bench.append(7);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [0, 14]);
    assert_eq!(bench.ledger("a").captured, 14);
}

#[test]
fn live_first_hands_out_what_is_new_before_what_waited() {
    let mut bench = Bench::new(settings());
    bench.add("a", Drain::LiveFirst);
    for _ in 0..3 {
        bench.append(600);
    }
    bench.commit();
    bench.log.start_session("a");
    bench.append(600);
    bench.commit();
    let mut seen = Vec::new();
    for _ in 0..10 {
        match bench.log.take("a", bench.now()) {
            Take::Record { record, historical } => {
                seen.push((first_value(&record), historical));
                bench.settle("a", &record);
            }
            Take::Read(reading) => reading.run(),
            Take::WaitUntil(at) => {
                assert!(at > bench.now);
                bench.now = at;
            }
            Take::Wait => break,
        }
    }
    assert_eq!(seen, [(1800, false), (0, true), (600, true), (1200, true)]);
    assert_eq!(bench.ledger("a").buffered, 0);
}

#[test]
fn a_second_volume_on_the_same_directory_is_refused() {
    let bench = Bench::new(settings());
    let again = Volume::open(Arc::new(RealFs), &bench.dir.path().join("store"), Options::default());
    assert!(matches!(again, Err(crate::StoreError::InUse(_))));
}

#[test]
fn a_discarded_sink_tells_what_it_gave_up_and_leaves_nothing() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(5);
    bench.chores();
    let last = bench.log.discard_sink("a").unwrap();
    assert_eq!((last.buffered, last.dropped[&DropReason::Discarded]), (0, 5));
    assert!(last.balances());
    bench.chores();
    assert!(!files::cursor_path(bench.log.dir(), 0).exists());
    assert!(bench.log.ledgers().is_empty());
}

#[test]
fn thinning_keeps_every_second_good_record_and_all_others() {
    let small = Store { max_bytes: 512 * 1024, overflow: Overflow::Thin, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    let mut bad = Vec::new();
    for i in 0..120 {
        if i % 10 == 3 {
            let mut batch = Batch::with_capacity(origin(), 1, TimeQuality::Synced, 1);
            batch.push_bad(1, lineside_core::StatusCode::BAD_TIMEOUT, bench.now);
            let stamp = Stamp { captured_at: bench.now, gap_from: None };
            let Appended::Taken(offset) = bench.log.append(Arc::new(batch), stamp, None) else {
                panic!("not taken")
            };
            bad.push(offset);
        } else {
            bench.append(1000);
        }
        bench.commit();
        assert!(bench.log.usage().bytes <= 512 * 1024, "{:?}", bench.log.usage());
        bench.ledger("a");
    }
    let thinned = bench.dropped("a", DropReason::Thinned);
    assert!(thinned > 20_000 && bench.dropped("a", DropReason::StoreFull) == 0, "{thinned}");
    bench.chores();
    bench.kill(&["a"]);
    assert_eq!(bench.dropped("a", DropReason::Thinned), thinned, "known after a start");
    let left = bench.take_all("a");
    let offsets: Vec<u64> = left.iter().map(|r| r.id.offset).collect();
    assert!(bad.iter().all(|b| offsets.contains(b)));
    let samples: u64 = left.iter().map(|r| r.batch.len() as u64).sum();
    assert_eq!(samples + thinned, bench.next + bad.len() as u64);
    assert_eq!(bench.dropped("a", DropReason::Thinned), thinned, "the same when all was read");
    assert_eq!(bench.ledger("a").buffered, samples);
    left.iter().for_each(|record| bench.settle("a", record));
    assert_eq!(bench.ledger("a").buffered, 0);
}

fn refused(samples: &[u32], part: Option<u32>) -> Outcome {
    let code = lineside_crds::diagnostics::Code::RecordRejected;
    let mut outcome = Outcome::nothing();
    outcome.refuse(lineside_core::sink::Refusal::new(code, "no", part, samples.to_vec()));
    outcome
}

#[test]
fn what_a_remote_refuses_is_a_dead_letter_and_the_rest_is_delivered() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(5);
    bench.commit();
    let record = bench.take("a").unwrap();
    let outcome = Outcome { delivered: 3, ..refused(&[1, 4], Some(2)) };
    bench.log.settle("a", record.id.offset, &outcome);
    let check = |bench: &Bench| {
        let ledger = bench.ledger("a");
        assert_eq!((ledger.delivered, ledger.dead_lettered, ledger.buffered), (3, 2, 0));
        let letters = bench.log.dead_letters("a", None, 10).unwrap();
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.id.offset, letter.id.part), (record.id.offset, Some(2)));
        assert_eq!((&*letter.code, &*letter.message), ("LNS-3010", "no"));
        let values: Vec<_> = letter.batch.iter().map(|s| s.value.clone()).collect();
        assert_eq!(values, [Value::U64(1), Value::U64(4)]);
    };
    check(&bench);
    bench.chores();
    check(&bench);
    bench.kill(&["a"]);
    check(&bench);
}

#[test]
fn a_dead_letter_is_sent_again_with_the_same_identity() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    bench.append(2);
    bench.commit();
    let record = bench.take("a").unwrap();
    bench.log.settle("a", record.id.offset, &refused(&[0, 1], None));
    bench.chores();
    bench.kill(&["a"]);
    let one = Handled { letters: 1, samples: 2, left: 0 };
    assert_eq!(bench.log.retry_dead_letters("a", None).unwrap(), one);
    let again = bench.take("a").unwrap();
    assert_eq!((&again.id, first_value(&again)), (&record.id, 0));
    bench.log.settle("a", again.id.offset, &refused(&[0, 1], None));
    assert_eq!(bench.ledger("a").dead_lettered, 2, "refused again it stays");
    assert!(bench.take("a").is_none(), "until it is asked for again");
    bench.log.retry_dead_letters("a", None).unwrap();
    let again = bench.take("a").unwrap();
    bench.settle("a", &again);
    let delivered = |bench: &Bench| {
        let ledger = bench.ledger("a");
        assert_eq!((ledger.delivered, ledger.dead_lettered), (2, 0));
        assert!(bench.log.dead_letters("a", None, 10).unwrap().is_empty());
    };
    delivered(&bench);
    bench.chores();
    bench.kill(&["a"]);
    delivered(&bench);
}

#[test]
fn dropped_dead_letters_are_counted_and_stay_away() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..3 {
        bench.append(1);
    }
    bench.commit();
    let offsets: Vec<u64> = bench.take_all("a").iter().map(|r| r.id.offset).collect();
    for offset in &offsets {
        bench.log.settle("a", *offset, &refused(&[0], None));
    }
    bench.chores();
    let one = Handled { letters: 1, samples: 1, left: 0 };
    assert_eq!(bench.log.drop_dead_letters("a", Some(&[(offsets[1], None)])).unwrap(), one);
    for _ in 0..2 {
        assert_eq!(bench.dropped("a", DropReason::Discarded), 1);
        let left = bench.log.dead_letters("a", None, 10).unwrap();
        let left: Vec<u64> = left.iter().map(|l| l.id.offset).collect();
        assert_eq!(left, [offsets[0], offsets[2]]);
        bench.chores();
        bench.kill(&["a"]);
    }
}

#[test]
fn dead_letters_have_a_bound_and_what_is_beyond_is_counted() {
    let small = Store { max_bytes: 1 << 20, ..settings() };
    let mut bench = Bench::with_sinks(small, &["a"]);
    for _ in 0..40 {
        bench.append(1000);
        bench.commit();
        let record = bench.take("a").unwrap();
        let all: Vec<u32> = (0..1000).collect();
        bench.log.settle("a", record.id.offset, &refused(&all, None));
    }
    let ledger = bench.ledger("a");
    assert!(ledger.dead_lettered > 1000, "{ledger:?}");
    assert_eq!(ledger.dead_lettered + ledger.dropped[&DropReason::DeadLettersFull], 40_000);
}

/// Ends a session as a remote does that breaks the connection.
fn break_off(bench: &Bench) {
    bench.log.session_ended("a", true);
    bench.log.start_session("a");
}

#[test]
fn a_record_that_breaks_every_session_becomes_a_dead_letter_and_no_other_does() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    for _ in 0..20 {
        bench.append(1);
    }
    bench.commit();
    let (mut delivered, mut sessions) = (Vec::new(), 0);
    while sessions < 100 {
        let records = bench.take_all("a");
        if records.is_empty() {
            break;
        }
        // The remote takes nothing of what it is sent together with the poison.
        if records.iter().any(|r| first_value(r) == 11) {
            sessions += 1;
            break_off(&bench);
            continue;
        }
        for record in records {
            delivered.push(first_value(&record));
            bench.settle("a", &record);
        }
    }
    let expected: Vec<u64> = (0..20).filter(|v| *v != 11).collect();
    delivered.sort_unstable();
    assert_eq!(delivered, expected, "after {sessions} sessions");
    let letters = bench.log.dead_letters("a", None, 10).unwrap();
    assert_eq!((letters.len(), &*letters[0].code), (1, "LNS-3012"));
    assert!(sessions < 30, "{sessions}");
}

#[test]
fn a_remote_in_trouble_makes_no_dead_letters_whenever_it_recovers() {
    for broken in 0..60 {
        let mut bench = Bench::with_sinks(settings(), &["a"]);
        for _ in 0..20 {
            bench.append(1);
        }
        bench.commit();
        for _ in 0..broken {
            assert!(!bench.take_all("a").is_empty());
            break_off(&bench);
        }
        bench.log.start_session("a");
        let mut delivered = bench.deliver_all("a");
        delivered.sort_unstable();
        let ledger = bench.ledger("a");
        assert_eq!(delivered, (0..20).collect::<Vec<_>>(), "after {broken} sessions: {ledger:?}");
        assert_eq!((ledger.buffered, ledger.dead_lettered), (0, 0), "after {broken} sessions");
    }
}

#[test]
fn a_gap_begins_when_the_last_record_was_captured_and_not_when_it_was_committed() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    let captured_at = bench.now;
    bench.append(1);
    // A request that begins now has its answer lost with the process.
    bench.now += SECOND / 20;
    bench.commit();
    bench.kill(&["a"]);
    bench.append(1);
    assert_eq!(bench.log.gaps()[0].from, captured_at);
}
