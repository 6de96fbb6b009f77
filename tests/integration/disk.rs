//! Issue 6, M4: a disk that is full, may not be written or rots. The agent goes on, says so, and
//! is well again by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use lineside_tests::dir::TestDir;
use lineside_tests::faults::device::Device;
use lineside_tests::faults::judge::{Violation, judge};
use lineside_tests::faults::line::{Line, PIPELINE, Polled, SINK, Setup};
use lineside_tests::faults::lives::Around;
use lineside_tests::faults::schedule::{Act, Outage};
use lineside_tests::faults::volume::Volume;
use lineside_tests::wait;

use crate::plant::SOON;

/// The size of the small file system in MiB.
const SMALL: u64 = 64;
/// A store with segments of 64 KiB, of which this load fills several in a test.
const SMALL_SEGMENTS: &[&str] = &["maxSize: 4Mi"];

/// Points that are read every 20 ms: about 10 KB each second in the store.
const FEW: u16 = 24;
/// About 500 KB each second in memory.
const MANY: u16 = 240;

fn device(dir: &TestDir, points: u16) -> Vec<Polled> {
    let addresses: Vec<u16> = (0..points).map(|i| i * 2).collect();
    let device = Device::start(dir, "press", 0, &addresses).unwrap();
    vec![Polled { device, interval: Duration::from_millis(20) }]
}

fn start(dir: &TestDir, points: u16, state: &Path, around: Around) -> Line {
    let setup =
        Setup { durability: "Durable", store: SMALL_SEGMENTS, more_sinks: &[], state, around };
    Line::start(dir, device(dir, points), &setup).unwrap()
}

/// State of the store, and the code that says why it is not well.
fn state(line: &Line) -> Option<(String, Option<String>)> {
    let store = line.agent.lag().ok()?.pipeline(PIPELINE).ok()?.store.clone();
    Some((store.state, store.code))
}

/// What is captured is on disk before it counts.
fn is_well(line: &Line) -> bool {
    state(line).is_some_and(|(state, _)| state == "Full")
}

/// Not well, for one of these reasons.
fn is_degraded(line: &Line, codes: &[&str]) -> bool {
    state(line).is_some_and(|(state, code)| {
        state == "Degraded" && codes.iter().any(|known| code.as_deref() == Some(*known))
    })
}

/// Health of the pipeline, as `lineside status` has it.
fn health(line: &Line) -> String {
    let status = line.agent.status().unwrap();
    let all = status["pipelines"].as_array().unwrap();
    let own = all.iter().find(|p| p["name"] == "all").unwrap();
    own["health"].as_str().unwrap_or_default().to_owned()
}

/// The device was asked at half of its rate at least, since the machine is shared.
fn asked(line: &Line, before: usize, time: Duration) {
    let polls = line.devices[0].device.count() - before;
    let due = time.as_millis() / line.devices[0].interval.as_millis();
    assert!(polls as u128 * 2 > due, "{polls} polls of {due} that were due");
}

/// The device goes on being asked.
fn polled(line: &Line, time: Duration) {
    let before = line.devices[0].device.count();
    let begin = Instant::now();
    wait::while_true("time passes", time, || true).unwrap();
    asked(line, before, begin.elapsed());
}

/// What befalls a disk, again and again until it is over: what the agent frees is taken again.
struct Trouble {
    begin: fn(&Volume) -> Result<()>,
    end: fn(&Volume) -> Result<()>,
    codes: &'static [&'static str],
}

impl Trouble {
    fn last(&self, volume: &Volume, line: &Line, time: Duration) {
        let before = line.devices[0].device.count();
        let begin = Instant::now();
        wait::while_true("the disk is in trouble", time, || (self.begin)(volume).is_ok()).unwrap();
        asked(line, before, begin.elapsed());
    }
}

/// The disk is in trouble and the sink away, then both are back: nothing is lost.
fn outlive(test: &str, trouble: &Trouble) {
    let dir = TestDir::new(test).unwrap();
    let at = dir.join("agent-state");
    let volume = Volume::mount(&dir, "volume", &at, SMALL).unwrap();
    let mut line = start(&dir, FEW, &at, volume.around().unwrap());
    wait::until("the store is well", SOON, || is_well(&line)).unwrap();
    // With the sink there, segments that are delivered make room for new ones.
    line.act(Act::Begin(Outage::Cut)).unwrap();
    let begin = Instant::now();
    while !is_degraded(&line, trouble.codes) {
        trouble.last(&volume, &line, Duration::from_millis(300));
        assert!(begin.elapsed() < SOON, "never degraded: {:?}", state(&line));
    }
    println!("degraded after {:.1} s: {:?}", begin.elapsed().as_secs_f64(), state(&line));
    trouble.last(&volume, &line, Duration::from_secs(5));
    assert!(is_degraded(&line, trouble.codes), "{:?}", state(&line));
    assert_ne!(health(&line), "Healthy");
    (trouble.end)(&volume).unwrap();
    let begin = Instant::now();
    wait::until("the store is well", SOON, || is_well(&line)).unwrap();
    println!("well {:.1} s after the trouble", begin.elapsed().as_secs_f64());
    // What came meanwhile was kept in memory and is on disk now: a kill does not cost it.
    line.act(Act::Kill).unwrap();
    line.act(Act::End(Outage::Cut)).unwrap();
    let found = judge(&line.settle().unwrap());
    println!("{found}");
    assert!(found.is_clean(), "{found}");
    assert_eq!(found.declared, 0, "{found}");
    wait::until("the pipeline is well", SOON, || health(&line) == "Healthy").unwrap();
}

#[test]
fn a_full_disk_costs_nothing_and_the_store_is_well_again_by_itself() {
    let full = Trouble { begin: Volume::fill, end: Volume::free, codes: &["LNS-4010"] };
    outlive("disk_full", &full);
}

#[test]
fn a_disk_that_stays_full_costs_what_memory_cannot_hold_to_the_counted_sample() {
    let dir = TestDir::new("disk_stays_full").unwrap();
    let at = dir.join("agent-state");
    let volume = Volume::mount(&dir, "volume", &at, SMALL).unwrap();
    let mut line = start(&dir, MANY, &at, volume.around().unwrap());
    let full = Trouble { begin: Volume::fill, end: Volume::free, codes: &["LNS-4010"] };
    line.act(Act::Begin(Outage::Cut)).unwrap();
    let begin = Instant::now();
    let dropped = |line: &Line| {
        let lag = line.agent.lag().unwrap();
        let ledger = lag.ledger(PIPELINE, SINK).unwrap();
        assert!(ledger.balances(), "{ledger:?}");
        ledger.dropped()
    };
    while dropped(&line) == 0 {
        full.last(&volume, &line, Duration::from_secs(1));
        assert!(begin.elapsed() < SOON * 4, "memory has no bound: {:?}", line.agent.lag());
    }
    println!("dropped after {:.1} s", begin.elapsed().as_secs_f64());
    assert!(is_degraded(&line, full.codes), "{:?}", state(&line));
    full.last(&volume, &line, Duration::from_secs(3));
    (full.end)(&volume).unwrap();
    wait::until("the store is well", SOON, || is_well(&line)).unwrap();
    line.act(Act::End(Outage::Cut)).unwrap();
    let evidence = line.settle().unwrap();
    let found = judge(&evidence);
    let ledger = &evidence.accounts.last().unwrap().ledger;
    println!("{found}; {ledger:?}");
    assert!(found.is_clean(), "{found}");
    assert_eq!(ledger.dropped.get("StoreFull"), Some(&ledger.dropped()), "{ledger:?}");
    assert_eq!(found.declared as u64, ledger.dropped(), "{found}");
}

#[test]
fn a_disk_that_refuses_every_write_costs_nothing_and_the_store_is_well_again_by_itself() {
    let refused = Trouble {
        begin: |volume| volume.refuse_writes("store"),
        end: |volume| volume.allow_writes("store"),
        codes: &["LNS-4011", "LNS-4012"],
    };
    outlive("disk_refuses", &refused);
}

/// What the kernel does to a file system with errors (`errors=remount-ro`). It is not writable
/// again before somebody has repaired it, so all that is asked for is that the agent goes on.
#[test]
fn a_file_system_that_becomes_read_only_stops_neither_polls_nor_deliveries() {
    let dir = TestDir::new("disk_aborted").unwrap();
    let at = dir.join("agent-state");
    let volume = Volume::mount(&dir, "volume", &at, SMALL).unwrap();
    let mut line = start(&dir, FEW, &at, volume.around().unwrap());
    volume.abort().unwrap();
    wait::until("the store says so", SOON, || is_degraded(&line, &["LNS-4011", "LNS-4012"]))
        .unwrap();
    println!("{:?}", state(&line));
    polled(&line, Duration::from_secs(3));
    line.flow().unwrap();
    assert_eq!(health(&line), "Degraded");
}

#[test]
fn an_agent_on_a_read_only_disk_reads_and_delivers_and_keeps_once_it_may_write() {
    let dir = TestDir::new("disk_read_only").unwrap();
    let state_dir = dir.folder("agent-state").unwrap();
    let at = state_dir.join("store");
    let volume = Volume::mount(&dir, "volume", &at, SMALL).unwrap();
    let mut line = start(&dir, FEW, &state_dir, volume.around().unwrap());
    line.agent.end().unwrap();
    volume.read_only().unwrap();
    line.agent.start_again().unwrap();
    line.flow().unwrap();
    // The store cannot even be opened, or it is open and may not be written.
    wait::until("the store says so", SOON, || is_degraded(&line, &["LNS-4011", "LNS-4013"]))
        .unwrap();
    polled(&line, Duration::from_secs(2));
    volume.read_write().unwrap();
    wait::until("the store is well", SOON, || is_well(&line)).unwrap();
    line.act(Act::Begin(Outage::Cut)).unwrap();
    polled(&line, Duration::from_secs(3));
    line.act(Act::Kill).unwrap();
    line.act(Act::End(Outage::Cut)).unwrap();
    let mut found = judge(&line.settle().unwrap());
    println!("{found}");
    // What the disk held from before waited until it could be read, and newer samples did not
    // wait for it; those were delivered from memory, whose books ended with it.
    found.violations.retain(|violation| {
        !matches!(violation, Violation::OutOfOrder { .. } | Violation::Miscounted { .. })
    });
    assert!(found.is_clean(), "{found}");
}

/// The segments of all logs, the oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "seg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn bits_that_flip_on_the_disk_cost_the_records_they_hit_and_are_counted() {
    let dir = TestDir::new("disk_rot").unwrap();
    let state_dir = dir.folder("agent-state").unwrap();
    let mut line = start(&dir, FEW, &state_dir, Around::default());
    line.act(Act::Begin(Outage::Cut)).unwrap();
    wait::until("some segments", SOON * 2, || segments(&state_dir).len() >= 4).unwrap();
    line.agent.kill().unwrap();
    let all = segments(&state_dir);
    for path in &all[1..3] {
        let mut bytes = fs::read(path).unwrap();
        for part in [3, 5, 7] {
            let at = bytes.len() * part / 10;
            bytes[at] ^= 0x10;
        }
        fs::write(path, bytes).unwrap();
    }
    line.agent.start_again().unwrap();
    line.act(Act::End(Outage::Cut)).unwrap();
    let evidence = line.settle().unwrap();
    let found = judge(&evidence);
    println!("{found}");
    assert!(found.is_clean(), "{found}");
    let ledger = &evidence.accounts.last().unwrap().ledger;
    let corrupt = ledger.dropped.get("Corrupt").copied().unwrap_or(0);
    assert_eq!(ledger.dropped(), corrupt, "{ledger:?}");
    // Counted to the sample: what is missing at the consumer is what the books say.
    assert_eq!(found.declared as u64, corrupt, "{found}");
    assert!((24..=24 * 12).contains(&corrupt), "six flips cost {corrupt} samples");
    let kept = fs::read_dir(all[1].parent().unwrap()).unwrap();
    let kept =
        kept.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "corrupt"));
    assert!(kept.count() > 0, "the file is kept aside");
    let lag = line.agent.lag().unwrap();
    assert_eq!(lag.ledger(PIPELINE, SINK).unwrap().buffered, 0);
}
