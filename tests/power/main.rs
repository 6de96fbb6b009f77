//! Issue 6, M3: power cuts in a virtual machine, by `cargo xtask soak power`. Whatever is cut
//! when, every record that was acknowledged is there afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test code, also the functions the tests share"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use lineside_tests::dir::TestDir;
use lineside_tests::faults::dice::{self, Dice};
use lineside_tests::faults::judge::{Verdict, judge};
use lineside_tests::faults::line::Polled;
use lineside_tests::power::guest::Guest;
use lineside_tests::power::plan::{Boot, Cut, Sink, draw};
use lineside_tests::power::plant::{Cycle, Plant, Seen};

/// Cycles, unless `cargo xtask soak power --cycles` says otherwise.
const CYCLES: usize = 5;
/// Time between two polls of the fast device.
const POLLED: Duration = Duration::from_millis(20);
/// Lines that a cut has to cost a file that nobody syncs: two seconds of them.
const ENOUGH: u64 = 20;

fn cycles() -> usize {
    match std::env::var("LINESIDE_POWER_CYCLES") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => CYCLES,
    }
}

fn start(test: &str, durability: &'static str) -> Plant {
    let dir = TestDir::new(test).unwrap();
    let devices = Polled::fast_and_slow(&dir, POLLED).unwrap();
    let guest = Guest::pack(Path::new(env!("CARGO_BIN_EXE_lineside-guest-clock"))).unwrap();
    Plant::start(&dir, devices, guest, durability).unwrap()
}

/// Does all of it and says what came of it.
fn run(plant: &mut Plant, plans: &[Boot], dice: &mut Dice) -> (Vec<Cycle>, Seen, Verdict) {
    let begin = Instant::now();
    let mut done = Vec::new();
    for plan in plans {
        let cycle = plant.cycle(*plan, dice).unwrap();
        println!("{cycle}");
        done.push(cycle);
    }
    let seen = plant.finish().unwrap();
    let verdict = judge(&seen.evidence);
    println!("lines that nobody synced, written and left, by boot: {:?}", seen.unsynced);
    println!(
        "{} cuts in {:.0} s, {} flushes of the disk, everything delivered {:.1} s after the last \
         boot began; {}; {verdict}",
        done.len(),
        begin.elapsed().as_secs_f64(),
        seen.flushes,
        seen.drained.as_secs_f64(),
        seen.kept
    );
    (done, seen, verdict)
}

#[test]
fn every_acknowledged_record_is_there_after_power_cuts() {
    let (seed, cycles) = (dice::seed().unwrap(), cycles());
    println!("{}={seed} LINESIDE_POWER_CYCLES={cycles}", dice::SEED);
    let mut dice = Dice::new(seed);
    let plans = draw(&mut dice, cycles);
    let mut plant = start("power", "Durable");
    let (done, seen, verdict) = run(&mut plant, &plans, &mut dice);
    assert!(seen.kept.is_clean(), "{}={seed}: {}", dice::SEED, seen.kept);
    assert!(verdict.is_clean(), "{}={seed}: {verdict}", dice::SEED);

    // The trial was one: a journal to play back, records acknowledged, a backlog on the disk,
    // and a disk that forgot what nobody synced.
    assert!(done.iter().skip(1).all(|c| c.recovered || matches!(c.plan.cut, Cut::Mounting(_))));
    let ran = || done.iter().filter(|c| matches!(c.plan.cut, Cut::Running(_)));
    assert!(ran().all(|c| c.witnessed > 0), "{done:?}");
    assert!(ran().any(|c| c.waiting.is_some_and(|waiting| waiting > 100)), "{done:?}");
    assert!(done.iter().any(|cycle| cycle.loss.writes > 0), "{done:?}");
    // The kernel writes some of it by itself, sooner or later.
    let lost = seen.unsynced.iter().filter(|(wrote, left)| left + ENOUGH <= *wrote).count();
    assert!(lost > 0, "{:?}", seen.unsynced);
}

/// Two cuts in full run, the sink away.
fn two_cuts() -> [Boot; 2] {
    [Boot { cut: Cut::Running(Duration::from_secs(6)), sink: Sink::Away, writing: false }; 2]
}

/// The proof that the trial can find something: what waits in memory does not survive a cut.
#[test]
fn what_waits_in_memory_is_lost_in_a_power_cut_and_found_missing() {
    let mut plant = start("power_memory", "Memory");
    let (_, seen, verdict) = run(&mut plant, &two_cuts(), &mut Dice::new(1));
    assert!(seen.kept.gone.len() > 100, "{}", seen.kept);
    assert!(!verdict.is_clean(), "{verdict}");
}

/// The same for a store whose syncs do nothing, after a first boot in which it was made.
#[test]
fn an_agent_whose_syncs_do_nothing_loses_acknowledged_records_and_they_are_found_missing() {
    let mut plant = start("power_syncless", "Durable");
    let mut dice = Dice::new(2);
    let [first, second] = two_cuts();
    println!("{}", plant.cycle(first, &mut dice).unwrap());
    plant.ignore_syncs();
    let (_, seen, verdict) = run(&mut plant, &[second, second], &mut dice);
    assert!(seen.kept.gone.len() > 100, "{}", seen.kept);
    assert!(!verdict.is_clean(), "{verdict}");
}
