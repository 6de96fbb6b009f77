//! Issue 6, M4: a sink that is slow harms no other and no poll, and memory has its limit.

use std::time::{Duration, Instant};

use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::faults::device::Device;
use lineside_tests::faults::evidence::{self, Account};
use lineside_tests::faults::judge::judge;
use lineside_tests::faults::lag::Ledger;
use lineside_tests::faults::limit::MemoryLimit;
use lineside_tests::faults::line::{
    Line, PIPELINE, Polled, REQUEST_TIMEOUT, SINK, Setup, configure,
};
use lineside_tests::faults::lives::Around;
use lineside_tests::faults::schedule::{Act, Outage};
use lineside_tests::faults::throttle::Throttle;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;

use crate::plant::SOON;

const INTERVAL: Duration = Duration::from_millis(50);
/// Time between two messages that the slow sink takes.
const SLOW: Duration = Duration::from_secs(1);
/// How long it is slow.
const SPELL: Duration = Duration::from_secs(15);
const MIB: u64 = 1 << 20;

fn device(dir: &TestDir) -> Vec<Polled> {
    let device = Device::start(dir, "press", 0, &[0, 2, 4, 6]).unwrap();
    vec![Polled { device, interval: INTERVAL }]
}

fn ledger(line: &Line, pipeline: &str, sink: &str) -> Ledger {
    line.agent.lag().unwrap().ledger(pipeline, sink).unwrap().clone()
}

/// Polls in this time from now on, and the time between two of them that only one in a hundred
/// exceeds.
fn rhythm(line: &Line, time: Duration) -> (usize, Duration) {
    let device = &line.devices[0].device;
    let before = device.count();
    wait::while_true("time passes", time, || true).unwrap();
    let answers = device.answers();
    let mut gaps: Vec<i64> =
        answers[before..].windows(2).map(|w| w[1].received - w[0].received).collect();
    gaps.sort_unstable();
    let late = gaps[gaps.len() * 99 / 100];
    (gaps.len() + 1, Duration::from_nanos(u64::try_from(late).unwrap()))
}

#[test]
fn a_sink_that_takes_one_message_a_second_harms_neither_polls_nor_the_fast_sink() {
    let dir = TestDir::new("overload_slow").unwrap();
    let other = Broker::start(&dir, "slow-broker", Options::default()).unwrap();
    let throttle = Throttle::start(other.port, Duration::ZERO).unwrap();
    let mut consumer =
        Subscriber::start(&dir, "slow-consumer", &other, "lineside/default/+").unwrap();
    let slow = format!("{{name: slow, mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}}}", throttle.port);
    let setup = Setup {
        durability: "Durable",
        store: &[],
        more_sinks: &[slow],
        state: &dir.folder("agent-state").unwrap(),
        around: Around::default(),
    };
    let mut line = Line::start(&dir, device(&dir), &setup).unwrap();
    consumer.wait_until("messages at the slow sink", SOON, |m| !m.is_empty()).unwrap();

    let (polls, late) = rhythm(&line, SPELL / 3);
    println!("calm: {polls} polls in {:?}, 99 % within {late:?}", SPELL / 3);
    throttle.set(SLOW);
    let begin = Instant::now();
    let acknowledged = throttle.acknowledged();
    let (polls_then, late_then) = rhythm(&line, SPELL);
    let taken = throttle.acknowledged() - acknowledged;
    let (fast, behind) = (ledger(&line, PIPELINE, SINK), ledger(&line, PIPELINE, "slow"));
    println!(
        "slow: {polls_then} polls in {SPELL:?}, 99 % within {late_then:?}; {taken} messages taken, \
         {} samples wait for the slow sink, {} for the fast one",
        behind.buffered, fast.buffered
    );
    assert!(taken <= begin.elapsed().as_secs() + 1 && taken >= SPELL.as_secs() / 2, "{taken}");
    // Twenty messages a second with four samples each, of which one a second is taken.
    assert!(behind.buffered > SPELL.as_secs() * 4 * 10, "{behind:?}");
    assert!(fast.buffered < 4 * 20 * 2, "{fast:?}");
    assert!(polls_then * 10 >= polls * 3 * 7, "{polls_then} polls after {polls} in a third");
    // A poll that waited for the slow sink would be late by its period.
    assert!(late_then < late + SLOW / 2, "{late_then:?} after {late:?}");

    throttle.set(Duration::ZERO);
    wait::until("the slow sink has caught up", SOON, || {
        ledger(&line, PIPELINE, "slow").buffered < 4 * 20
    })
    .unwrap();
    let of_fast = line.settle().unwrap();
    let found = judge(&of_fast);
    println!("fast: {found}");
    assert!(found.is_clean(), "{found}");
    let mut of_slow = of_fast.clone();
    wait::until("the slow sink has everything", SOON, || {
        of_slow.accounts = vec![Account { life: 0, ledger: ledger(&line, PIPELINE, "slow") }];
        of_slow.messages = evidence::messages(consumer.messages().unwrap()).unwrap();
        judge(&of_slow).is_clean()
    })
    .unwrap_or_else(|error| panic!("{error}: {}", judge(&of_slow)));
    println!("slow: {}", judge(&of_slow));
}

/// Points of each heavy device, and their number.
const HEAVY_POINTS: u16 = 500;
const HEAVY: [&str; 4] = ["h0", "h1", "h2", "h3"];
const HEAVY_INTERVAL: Duration = Duration::from_millis(100);
/// A container with little memory.
const LIMIT: u64 = 64 * MIB;
/// Most that the agent may grow while samples wait: the newest records of two logs, what is
/// being written and read ahead, and what the allocator keeps of it.
const MOST_GROWTH: u64 = 8 * MIB;
/// A sample in memory takes this at least: value, point, status and time.
const LEAST_BYTES: u64 = 32;

/// 80 samples each second whose fate is known, beside 20,000 of another pipeline.
#[test]
fn an_agent_with_64_mib_lives_through_an_outage_under_heavy_load() {
    let dir = TestDir::new("overload_memory").unwrap();
    let limit = MemoryLimit::new("overload", LIMIT).unwrap();
    let addresses: Vec<u16> = (0..HEAVY_POINTS).map(|i| i * 2).collect();
    let heavy: Vec<Device> = (1..)
        .zip(HEAVY)
        .map(|(place, name)| Device::start(&dir, name, place, &addresses).unwrap())
        .collect();
    for device in &heavy {
        configure(&dir, &device.name, &device.yaml(HEAVY_INTERVAL, REQUEST_TIMEOUT)).unwrap();
    }
    // A broker of its own: nobody reads what it gets.
    let broker = Broker::start(&dir, "heavy-broker", Options::default()).unwrap();
    let yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: heavy}}\nspec:\n  \
         sources:\n  - {{name: heavy, devices: {{names: [{}]}}}}\n  sinks:\n  - {{name: {SINK}, \
         mqtt: {{url: \"mqtt://127.0.0.1:{}\"}}}}\n",
        HEAVY.join(", "),
        broker.port
    );
    configure(&dir, "heavy-line", &yaml).unwrap();
    let setup = Setup {
        durability: "Durable",
        store: &[],
        more_sinks: &[],
        state: &dir.folder("agent-state").unwrap(),
        around: limit.around().unwrap(),
    };
    let mut line = Line::start(&dir, device(&dir), &setup).unwrap();
    let at_rest = limit.anonymous().unwrap();
    line.act(Act::Begin(Outage::Cut)).unwrap();
    broker.server.stop().unwrap();
    let begin = Instant::now();
    let before = ledger(&line, "default/heavy", SINK).captured;
    let mut most = 0;
    wait::while_true("within the limit", SPELL * 2, || {
        most = most.max(limit.anonymous().unwrap());
        limit.kills().unwrap() == 0
    })
    .unwrap();
    let at_work = ledger(&line, "default/heavy", SINK);
    let rate = (at_work.captured - before) as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{rate:.0} samples/s; {} KiB of memory at most after {} KiB, {} KiB with page cache; \
         {at_work:?}",
        most / 1024,
        at_rest / 1024,
        limit.most().unwrap() / 1024
    );
    assert!(at_work.balances() && at_work.dropped() == 0, "{at_work:?}");
    assert!(most < at_rest + MOST_GROWTH, "{most} bytes after {at_rest}");
    // The oracle can fail: in memory, what waits would not have fitted.
    assert!(at_work.buffered * LEAST_BYTES > 2 * MOST_GROWTH, "{at_work:?} would fit in memory");
    broker.server.cont().unwrap();
    line.act(Act::End(Outage::Cut)).unwrap();
    // Nobody asks the heavy devices any more, so that their backlog ends soon.
    for device in &heavy {
        let never = Duration::from_secs(3600);
        configure(&dir, &device.name, &device.yaml(never, REQUEST_TIMEOUT)).unwrap();
    }
    let found = judge(&line.settle().unwrap());
    println!("{found}");
    assert!(found.is_clean(), "{found}");
    wait::until("the heavy backlog is delivered", SOON * 6, || {
        let ledger = ledger(&line, "default/heavy", SINK);
        assert!(ledger.balances() && ledger.dropped() == 0, "{ledger:?}");
        ledger.buffered == 0
    })
    .unwrap();
    assert_eq!(limit.kills().unwrap(), 0);
}
