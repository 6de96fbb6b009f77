//! M2: what a device, or the network before it, does wrong shows as quality of exactly the
//! points concerned, in time; nothing old passes as new; nothing else is disturbed; and when
//! it is over, it is over without a restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::proxy::{AfterTruncation, Direction, Mode, Proxy, Rewrite};
use lineside_tests::samples::Arrived;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::json;

use crate::plant::{self, SOON};

const PERIOD: Duration = Duration::from_millis(500);
const REQUEST: Duration = Duration::from_millis(700);
/// max(3 periods, 2 x timeout + 5 s), contracts section 2.
const DEADLINE: Duration = Duration::from_millis(2 * 700 + 5000);

const BAD_COMMUNICATION_ERROR: u32 = 0x8005_0000;
const BAD_TIMEOUT: u32 = 0x800A_0000;
const BAD_NO_COMMUNICATION: u32 = 0x8031_0000;

fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn counter_fixture() -> serde_json::Value {
    json!({"units": {"1": {
        "counters": [{"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                      "order": "ABCD", "start": 0}],
        "entries": [{"area": "input", "address": 0, "type": "UINT16", "order": "ABCD",
                     "value": 5}],
    }}})
}

/// Device `a` behind a fault proxy, device `b` beside it without one.
struct Plant {
    dir: TestDir,
    a: Pymodbus,
    b: Pymodbus,
    proxy: Proxy,
    consumer: Subscriber,
    agent: Agent,
    _broker: Broker,
}

impl Plant {
    fn start(test: &str) -> Self {
        let dir = TestDir::new(test).unwrap();
        let a = Pymodbus::start(&dir, "a", &counter_fixture()).unwrap();
        let b = Pymodbus::start(&dir, "b", &counter_fixture()).unwrap();
        let proxy = Proxy::start(a.port).unwrap();
        let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
        let consumer = plant::consumer(&dir, &broker).unwrap();
        let points = [("c", "holding-register:1:UDINT"), ("fixed", "input-register:1:UINT")];
        let more = ["intervalMillis: 500", "timeouts: {connectMillis: 700, requestMillis: 700}"];
        for (name, port) in [("a", proxy.port()), ("b", b.port)] {
            plant::write(&dir, name, &plant::device(name, port, &points, &more));
        }
        plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
        let agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
        let mut plant = Self { dir, a, b, proxy, consumer, agent, _broker: broker };
        plant.good_again();
        plant
    }

    /// Both points of `a` are Bad with one of these statuses, told within the deadline.
    fn bad(&mut self, since: Instant, statuses: &[u32]) {
        let since_ns = now_ns() - i64::try_from(since.elapsed().as_nanos()).unwrap();
        // Three times the promised length is what fails the test; the time is printed.
        for point in ["c", "fixed"] {
            let what = format!("{point} bad with {statuses:x?}");
            let consumer = &mut self.consumer;
            let sample = wait::until_some(&what, DEADLINE * 3, || {
                plant::of_point(consumer, "a", point)
                    .into_iter()
                    .find(|s| s.quality == "Bad" && s.time_ns >= since_ns)
            })
            .unwrap();
            assert!(statuses.contains(&sample.status), "{sample:?} is none of {statuses:x?}");
            assert!(sample.value.is_null());
            println!("{what} after {:?}", Duration::from_nanos((sample.time_ns - since_ns) as u64));
        }
    }

    /// Device `a` gives good values again, by itself.
    fn good_again(&mut self) {
        let since = now_ns();
        for device in ["a", "b"] {
            for point in ["c", "fixed"] {
                let consumer = &mut self.consumer;
                wait::until(&format!("{device}/{point} good again"), SOON * 2, || {
                    let all = plant::of_point(consumer, device, point);
                    all.iter().any(|s| s.is_good() && s.time_ns > since)
                })
                .unwrap();
            }
        }
    }

    /// What holds for the whole test, however many faults there were.
    fn finish(mut self) {
        let requests = self.a.log.requests().unwrap();
        let mut last = None;
        for sample in plant::of_point(&mut self.consumer, "a", "c") {
            if !sample.is_good() {
                continue;
            }
            // A good value is one that the device served just before the sample's time.
            let value = sample.counter().unwrap();
            let request = requests
                .iter()
                .rfind(|r| r.counters.get("c") == Some(&value) && r.received_ns <= sample.time_ns)
                .unwrap_or_else(|| panic!("{sample:?} was never served"));
            let age = Duration::from_nanos((sample.time_ns - request.time_ns).max(0) as u64);
            assert!(age <= REQUEST, "{sample:?} is {age:?} old");
            assert_ne!(last, Some(request.received_ns), "{sample:?} came twice");
            last = Some(request.received_ns);
        }
        let undisturbed: Vec<Arrived> = plant::of_point(&mut self.consumer, "b", "c");
        assert!(undisturbed.iter().all(Arrived::is_good), "b was bad: {undisturbed:?}");
        let gap = undisturbed.windows(2).map(|w| w[1].time_ns - w[0].time_ns).max().unwrap();
        let gap = Duration::from_nanos(gap as u64);
        assert!(gap <= PERIOD * 2, "b has a gap of {gap:?}");
        assert_eq!(self.b.log.accepts().unwrap(), 1, "b kept its connection");
        let log = self.agent.log().unwrap();
        assert!(!log.iter().any(|e| e["level"] == "ERROR"), "see {}", self.dir.path().display());
    }
}

#[test]
fn a_peer_killed_stopped_and_restarted_shows_and_recovers_by_itself() {
    let mut plant = Plant::start("faults_peer");
    let at = Instant::now();
    plant.a.server.kill().unwrap();
    // The cable end stays (the proxy accepts and closes), so both answers are true.
    plant.bad(at, &[BAD_NO_COMMUNICATION, BAD_TIMEOUT, BAD_COMMUNICATION_ERROR]);
    plant.a.restart().unwrap();
    plant.good_again();

    let at = Instant::now();
    plant.a.server.stop().unwrap();
    plant.bad(at, &[BAD_TIMEOUT, BAD_NO_COMMUNICATION]);
    plant.a.server.cont().unwrap();
    plant.good_again();
    plant.finish();
}

#[test]
fn a_refused_a_cut_and_a_reset_connection_show_and_recover_by_themselves() {
    let mut plant = Plant::start("faults_network");
    let at = Instant::now();
    plant.proxy.refuse().unwrap();
    plant.proxy.reset().unwrap();
    plant.bad(at, &[BAD_NO_COMMUNICATION]);
    plant.proxy.accept_again().unwrap();
    plant.good_again();

    let at = Instant::now();
    plant.proxy.cut();
    plant.bad(at, &[BAD_TIMEOUT, BAD_NO_COMMUNICATION]);
    plant.proxy.heal();
    plant.good_again();
    plant.finish();
}

#[test]
fn late_foreign_and_half_answers_are_never_taken_for_values() {
    let mut plant = Plant::start("faults_answers");
    let faults = [
        ("late", Mode::Delay(REQUEST * 2)),
        (
            "foreign transaction",
            Mode::Rewrite(Rewrite { transaction_xor: 0x5555, ..Rewrite::default() }),
        ),
        ("foreign unit", Mode::Rewrite(Rewrite { unit: Some(9), ..Rewrite::default() })),
        ("foreign function", Mode::Rewrite(Rewrite { function: Some(4), ..Rewrite::default() })),
    ];
    for (what, mode) in faults {
        println!("{what}");
        let at = Instant::now();
        plant.proxy.set(Direction::ToClient, mode);
        plant.bad(at, &[BAD_TIMEOUT, BAD_COMMUNICATION_ERROR, BAD_NO_COMMUNICATION]);
        plant.proxy.set(Direction::ToClient, Mode::Pass);
        plant.good_again();
    }
    for (what, then) in [
        ("half frame, closed", AfterTruncation::Close),
        ("half frame, silent", AfterTruncation::Silence),
    ] {
        println!("{what}");
        // One frame only; whether a point misses its cycle depends on how soon the next
        // connection stands, so what counts is that nothing false comes and that it recovers.
        plant.proxy.set(Direction::ToClient, Mode::Truncate { bytes: 7, then });
        let open = plant.proxy.accepts();
        let proxy = &plant.proxy;
        wait::until("a new connection", SOON, || proxy.accepts() > open).unwrap();
        plant.good_again();
    }
    plant.finish();
}

#[test]
fn exceptions_and_silent_units_are_bad_for_exactly_their_points() {
    let dir = TestDir::new("faults_exceptions").unwrap();
    let registers: Vec<u16> = (0..200).collect();
    let healthy = json!({"entries": [
        {"area": "holding", "address": 0, "type": "REGISTERS", "value": registers}]});
    let holes = [77, 120, 150];
    let mut broken = healthy.clone();
    broken["exceptions"] = holes
        .iter()
        .map(|a| json!({"area": "holding", "address": a, "code": 2}))
        .collect::<Vec<_>>()
        .into();
    let fixture = json!({"units": {"1": broken, "2": {"silent": true}, "3": healthy}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    // One connection, three units behind it.
    let points: Vec<(String, String)> = [1, 2, 3]
        .iter()
        .flat_map(|unit| {
            (0..200).map(move |a| {
                let address = format!("holding-register:{}:UINT{{unit-id: {unit}}}", a + 1);
                (format!("u{unit}.{a}"), address)
            })
        })
        .collect();
    let points: Vec<(&str, &str)> = points.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    let more = ["intervalMillis: 1000", "timeouts: {requestMillis: 700}"];
    plant::write(&dir, "device", &plant::device("d", peer.port, &points, &more));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    wait::until("fifteen cycles", SOON * 3, || {
        plant::of_point(&mut consumer, "d", "u3.0").iter().filter(|s| s.is_good()).count() >= 15
    })
    .unwrap();
    let arrived = plant::arrived(&mut consumer);
    let cycles = arrived.iter().filter(|s| s.point == "u3.0" && s.is_good()).count();
    for unit in [1, 2, 3] {
        for address in 0..200 {
            let name = format!("u{unit}.{address}");
            let own: Vec<_> = arrived.iter().filter(|s| s.point == name).collect();
            let bad = unit == 2 || (unit == 1 && holes.contains(&address));
            if bad {
                assert!(!own.is_empty(), "{name} is silent");
                assert!(own.iter().all(|s| s.quality == "Bad"), "{name}: {own:?}");
                // Told when it turned, then once a minute: not at every cycle.
                assert!(own.len() <= 3, "{name} told {} times", own.len());
            } else {
                assert!(own.iter().all(|s| s.is_good()), "{name}: {own:?}");
                assert!(
                    own.iter().all(|s| s.value == json!(address)),
                    "{name} carries another register: {own:?}"
                );
                assert!(
                    own.len() + 1 >= cycles,
                    "{name}: {} samples of {cycles} cycles",
                    own.len()
                );
            }
        }
    }
    // The silent unit cost the others nothing but its first time-out.
    let times: Vec<_> = arrived.iter().filter(|s| s.point == "u3.0").map(|s| s.time_ns).collect();
    let longest = times.windows(2).skip(1).map(|w| w[1] - w[0]).max().unwrap();
    assert!(longest < 2_000_000_000, "unit 3 has a gap of {longest} ns: {times:?}");
    assert_eq!(peer.log.accepts().unwrap(), 1, "one connection for all of it");
}
