//! Issue 6, M2: whatever is killed when, every value that a device gave out is delivered, or its
//! loss is declared.

use std::time::{Duration, Instant};

use lineside_tests::dir::TestDir;
use lineside_tests::faults::dice::{self, Dice};
use lineside_tests::faults::judge::{Violation, judge};
use lineside_tests::faults::line::{Line, Polled, Setup};
use lineside_tests::faults::lives::Around;
use lineside_tests::faults::schedule::{Act, Outage, Step, draw};

/// Kills in `cargo xtask test`; `cargo xtask soak kills` sets more.
const KILLS: usize = 50;

fn kills() -> usize {
    match std::env::var("LINESIDE_KILLS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => KILLS,
    }
}

fn start(test: &str, durability: &str) -> Line {
    let dir = TestDir::new(test).unwrap();
    let devices = Polled::fast_and_slow(&dir, Duration::from_millis(10)).unwrap();
    let state = dir.folder("agent-state").unwrap();
    Line::start(
        &dir,
        devices,
        &Setup {
            durability,
            store: &[],
            more_sinks: &[],
            state: &state,
            around: Around::default(),
        },
    )
    .unwrap()
}

#[test]
fn an_agent_that_is_killed_again_and_again_loses_nothing_silently() {
    let seed = dice::seed().unwrap();
    let kills = kills();
    println!("{}={seed} LINESIDE_KILLS={kills}", dice::SEED);
    let begin = Instant::now();
    let mut line = start("kills", "Durable");
    line.run(&draw(&mut Dice::new(seed), kills)).unwrap();
    let evidence = line.settle().unwrap();
    let verdict = judge(&evidence);
    println!(
        "{kills} kills in {:.0} s, books of {} starts read: {verdict}",
        begin.elapsed().as_secs_f64(),
        line.asked()
    );
    assert!(verdict.is_clean(), "{}={seed}: {verdict}", dice::SEED);
    // The trial was one: samples flowed, kills cost some, and most starts answered.
    assert!(verdict.delivered > kills * 100, "{verdict}");
    assert!(verdict.gaps >= kills / 2, "{verdict}");
    assert!(line.asked() >= kills / 2, "only {} starts were asked", line.asked());
}

/// The proof that the judge can find something: what waits in memory does not survive a kill.
#[test]
fn what_waits_in_memory_is_lost_in_a_kill_and_the_judge_finds_it() {
    let mut line = start("kills_memory", "Memory");
    let at = Duration::from_millis;
    let step = |millis, act| Step { at: at(millis), act };
    line.run(&[
        step(1000, Act::Begin(Outage::Cut)),
        step(5000, Act::Kill),
        step(6000, Act::End(Outage::Cut)),
    ])
    .unwrap();
    line.flow().unwrap();
    let verdict = judge(&line.evidence().unwrap());
    println!("{verdict}");
    let lost = verdict
        .violations
        .iter()
        .filter(|v| matches!(v, Violation::Lost { .. } | Violation::LostLate { .. }));
    // Four seconds of 400 values each second, of which a kill explains about two.
    assert!(lost.count() > 400, "{verdict}");
}
