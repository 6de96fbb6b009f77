//! M2: what a device, or the network before it, does wrong shows as quality of exactly the
//! points concerned, in time; nothing old passes as new; nothing else is disturbed; and when
//! it is over, it is over without a restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::PeerLog;
use lineside_tests::peers::libmodbus::Libmodbus;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::process::Server;
use lineside_tests::proxy::{AfterTruncation, Direction, Mode, Proxy, Rewrite};
use lineside_tests::samples::Arrived;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::plant::{self, SOON};

const PERIOD: Duration = Duration::from_millis(500);
const REQUEST: Duration = Duration::from_millis(700);
/// max(3 periods, 2 x timeout + 5 s), contracts section 2.
const DEADLINE: Duration = Duration::from_millis(2 * 700 + 5000);

// OPC UA Part 6, A.2 (status codes).
const BAD_COMMUNICATION_ERROR: u32 = 0x8005_0000;
const BAD_TIMEOUT: u32 = 0x800A_0000;
const BAD_NO_COMMUNICATION: u32 = 0x8031_0000;
const BAD_CONFIGURATION_ERROR: u32 = 0x8089_0000;
const BAD_DEVICE_FAILURE: u32 = 0x808B_0000;
const POINTS: [&str; 2] = ["c", "fixed"];

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

/// The fixture with faults of the unit.
fn with(faults: &Value) -> Value {
    let mut fixture = counter_fixture();
    let unit = fixture["units"]["1"].as_object_mut().unwrap();
    unit.extend(faults.as_object().unwrap().clone());
    fixture
}

/// The device that is disturbed.
enum Device {
    Pymodbus(Pymodbus),
    Libmodbus(Libmodbus),
}

impl Device {
    fn pymodbus(dir: &TestDir) -> Self {
        Self::Pymodbus(Pymodbus::start(dir, "a", &counter_fixture()).unwrap())
    }

    fn libmodbus(dir: &TestDir) -> Self {
        let args = ["--counter", "0", "--set", "4:0:uint16:5"];
        Self::Libmodbus(Libmodbus::start(dir, "a", &args).unwrap())
    }

    fn port(&self) -> u16 {
        match self {
            Self::Pymodbus(peer) => peer.port,
            Self::Libmodbus(peer) => peer.port,
        }
    }

    fn log(&self) -> &PeerLog {
        match self {
            Self::Pymodbus(peer) => &peer.log,
            Self::Libmodbus(peer) => &peer.log,
        }
    }

    fn server(&mut self) -> &mut Server {
        match self {
            Self::Pymodbus(peer) => &mut peer.server,
            Self::Libmodbus(peer) => &mut peer.server,
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Pymodbus(peer) => peer.restart().unwrap(),
            Self::Libmodbus(peer) => peer.restart().unwrap(),
        }
    }
}

/// Device `a` behind a fault proxy, device `b` beside it without one.
struct Plant {
    dir: TestDir,
    a: Device,
    b: Pymodbus,
    proxy: Proxy,
    consumer: Subscriber,
    agent: Agent,
    _broker: Broker,
}

impl Plant {
    fn start(test: &str, device: impl Fn(&TestDir) -> Device) -> Self {
        let dir = TestDir::new(test).unwrap();
        let a = device(&dir);
        let b = Pymodbus::start(&dir, "b", &counter_fixture()).unwrap();
        let proxy = Proxy::start(a.port()).unwrap();
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
        for point in POINTS {
            self.bad_point(point, since, statuses);
        }
    }

    fn bad_point(&mut self, point: &str, since: Instant, statuses: &[u32]) {
        let since_ns = now_ns() - i64::try_from(since.elapsed().as_nanos()).unwrap();
        // Three times the promised length is what fails the test; the time is printed.
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

    /// Waits for one more good sample of both points of `a`: then a cycle has just ended, and
    /// no request is under way.
    fn cycle(&mut self) {
        let since = now_ns();
        let consumer = &mut self.consumer;
        wait::until("a whole cycle", SOON, || {
            POINTS.iter().all(|point| {
                let all = plant::of_point(consumer, "a", point);
                all.iter().any(|s| s.is_good() && s.time_ns > since)
            })
        })
        .unwrap();
    }

    /// Device `a` gives good values again, by itself.
    fn good_again(&mut self) {
        let since = now_ns();
        for device in ["a", "b"] {
            for point in POINTS {
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
        let requests = self.a.log().requests().unwrap();
        let mut last = None;
        for sample in plant::of_point(&mut self.consumer, "a", "c") {
            if !sample.is_good() {
                continue;
            }
            // A good value is one that the device served just before the sample's time.
            let value = sample.counter().unwrap();
            let request = requests
                .iter()
                .rfind(|r| r.counted("c") == Some(value) && r.received_ns <= sample.time_ns)
                .unwrap_or_else(|| panic!("{sample:?} was never served"));
            let age = Duration::from_nanos((sample.time_ns - request.time_ns).max(0) as u64);
            assert!(age <= REQUEST, "{sample:?} is {age:?} old");
            assert_ne!(last, Some(request.received_ns), "{sample:?} came twice");
            last = Some(request.received_ns);
        }
        self.undisturbed();
        let log = self.agent.log().unwrap();
        assert!(!log.iter().any(|e| e["level"] == "ERROR"), "see {}", self.dir.path().display());
    }

    /// Device `b` was asked in time all the while, by its own log, and all of it arrived.
    fn undisturbed(&mut self) {
        let samples: Vec<Arrived> = plant::of_point(&mut self.consumer, "b", "c");
        assert!(samples.iter().all(Arrived::is_good), "b was bad: {samples:?}");
        assert_eq!(self.b.log.accepts().unwrap(), 1, "b kept its connection");
        let requests = self.b.log.requests().unwrap();
        for function in [3, 4] {
            let asked: Vec<_> = requests.iter().filter(|r| r.function == function).collect();
            let gap = asked.windows(2).map(|w| w[1].received_ns - w[0].received_ns).max();
            let gap = Duration::from_nanos(gap.unwrap() as u64);
            assert!(gap <= PERIOD * 2, "FC{function} of b was not asked for {gap:?}");
        }
        // The last answer may not have arrived yet.
        let served: Vec<u64> = requests.iter().filter_map(|r| r.counted("c")).collect();
        let arrived: Vec<u64> = samples.iter().map(|s| s.counter().unwrap()).collect();
        assert!(arrived.len() + 2 >= served.len(), "{} of {}", arrived.len(), served.len());
        assert_eq!(arrived, served[..arrived.len()], "every value of b arrived once");
    }
}

fn killed_stopped_and_restarted(mut plant: Plant) {
    let at = Instant::now();
    plant.a.server().kill().unwrap();
    // The cable end stays (the proxy accepts and closes), so both answers are true.
    plant.bad(at, &[BAD_NO_COMMUNICATION, BAD_TIMEOUT, BAD_COMMUNICATION_ERROR]);
    plant.a.restart();
    plant.good_again();

    let at = Instant::now();
    plant.a.server().stop().unwrap();
    plant.bad(at, &[BAD_TIMEOUT, BAD_NO_COMMUNICATION]);
    plant.a.server().cont().unwrap();
    plant.good_again();
    plant.finish();
}

#[test]
fn a_peer_killed_stopped_and_restarted_shows_and_recovers_by_itself() {
    killed_stopped_and_restarted(Plant::start("faults_peer", Device::pymodbus));
}

#[test]
fn a_libmodbus_peer_killed_stopped_and_restarted_shows_and_recovers_by_itself() {
    killed_stopped_and_restarted(Plant::start("faults_libmodbus", Device::libmodbus));
}

#[test]
fn exceptions_and_silence_that_come_and_go_show_and_recover_by_themselves() {
    let mut plant = Plant::start("faults_switched", Device::pymodbus);
    let switch = |plant: &Plant, faults: &Value| match &plant.a {
        Device::Pymodbus(peer) => peer.switch(&with(faults)).unwrap(),
        Device::Libmodbus(_) => unreachable!("started with pymodbus"),
    };
    // Exception 2 (V1.1b3, 7) for one address: exactly its point.
    let at = Instant::now();
    let since = now_ns();
    switch(&plant, &json!({"exceptions": [{"area": "input", "address": 0, "code": 2}]}));
    plant.bad_point("fixed", at, &[BAD_CONFIGURATION_ERROR]);
    let consumer = &mut plant.consumer;
    wait::until("the other point goes on", SOON, || {
        let own = plant::of_point(consumer, "a", "c").into_iter().filter(|s| s.time_ns > since);
        let own: Vec<_> = own.collect();
        assert!(own.iter().all(Arrived::is_good), "{own:?}");
        own.len() >= 4
    })
    .unwrap();
    switch(&plant, &json!({}));
    plant.good_again();

    // Exceptions of the whole unit, then a unit that says nothing.
    for (faults, statuses) in [
        (json!({"exception": 4}), &[BAD_DEVICE_FAILURE][..]),
        (json!({"exception": 11}), &[BAD_NO_COMMUNICATION]),
        (json!({"silent": true}), &[BAD_TIMEOUT]),
    ] {
        println!("{faults}");
        let at = Instant::now();
        switch(&plant, &faults);
        plant.bad(at, statuses);
        switch(&plant, &json!({}));
        plant.good_again();
    }
    plant.finish();
}

#[test]
fn a_refused_a_cut_and_a_reset_connection_show_and_recover_by_themselves() {
    let mut plant = Plant::start("faults_network", Device::pymodbus);
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
    let mut plant = Plant::start("faults_answers", Device::pymodbus);
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
    plant.finish();
}

#[test]
fn half_an_answer_is_no_value_and_shows_when_no_other_connection_comes() {
    let mut plant = Plant::start("faults_half", Device::pymodbus);
    for (what, then) in [
        ("half frame, closed", AfterTruncation::Close),
        ("half frame, silent", AfterTruncation::Silence),
    ] {
        println!("{what}");
        plant.cycle();
        let passed = plant.proxy.bytes(Direction::ToClient);
        plant.proxy.refuse().unwrap();
        // The header of the frame and nothing of what it carries.
        plant.proxy.set(Direction::ToClient, Mode::Truncate { bytes: 7, then });
        let (at, since) = (Instant::now(), now_ns());
        plant.bad(at, &[BAD_TIMEOUT, BAD_COMMUNICATION_ERROR, BAD_NO_COMMUNICATION]);
        assert_eq!(plant.proxy.bytes(Direction::ToClient), passed + 7, "half a frame, no more");
        let until = now_ns();
        plant.proxy.accept_again().unwrap();
        plant.good_again();
        for point in POINTS {
            let all = plant::of_point(&mut plant.consumer, "a", point);
            let mut meanwhile = all.iter().filter(|s| since < s.time_ns && s.time_ns < until);
            assert!(meanwhile.all(|s| !s.is_good()), "a value of half a frame: {all:?}");
        }
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
