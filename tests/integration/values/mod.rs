//! M1: every type and byte order reads the value that the peer holds, at an honest time. What
//! is expected comes from registers written by hand ([`table`]), pymodbus' encoder or
//! libmodbus' setters, never from code of ours.

mod table;

use std::collections::BTreeSet;

use lineside_crds::modbus::DataType;
use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::libmodbus::Libmodbus;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::peers::{Outcome, PeerLog, Request};
use lineside_tests::samples::Arrived;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::plant::{self, SOON};
use table::{ORDERS, TYPES};

/// Tables of registers: pymodbus' name, PLC4X's name, function code.
const REGISTERS: [(&str, &str, u8); 2] =
    [("holding", "holding-register", 3), ("input", "input-register", 4)];
/// Tables of bits, likewise.
const BITS: [(&str, &str, u8); 2] = [("coil", "coil", 1), ("discrete", "discrete-input", 2)];
/// Bits of each table of bits, from wire address 7 on.
const ON_OFF: [bool; 9] = [true, false, true, true, false, false, true, false, true];
const FIRST_BIT: u16 = 7;

/// One point and what it must read.
struct Case {
    point: String,
    /// PLC4X's address.
    address: String,
    /// Type without a count.
    data_type: &'static str,
    /// `None` for a bit, which has no bytes.
    order: Option<&'static str>,
    expected: Value,
    function: u8,
    /// First address on the wire.
    at: u16,
}

impl Case {
    /// A REAL is compared as the 32-bit float it is; everything else must be equal to the
    /// digit.
    fn read_by(&self, got: &Value) -> bool {
        match (self.data_type, self.expected.as_f64(), got.as_f64()) {
            ("REAL", Some(expected), Some(got)) => expected as f32 == got as f32,
            ("LREAL", Some(expected), Some(got)) => expected == got,
            _ => self.expected == *got,
        }
    }
}

/// A run of registers for a peer to hold.
struct Registers {
    area: &'static str,
    function: u8,
    at: u16,
    words: &'static [u16],
}

/// The table by hand in both tables of registers; `at` is the next free one.
fn by_hand(cases: &mut Vec<Case>, at: &mut u16) -> Vec<Registers> {
    let mut held = Vec::new();
    for (area, tag, function) in REGISTERS {
        for (n, row) in table::rows().into_iter().enumerate() {
            for ((order, name), words) in ORDERS.into_iter().zip(row.words) {
                held.push(Registers { area, function, at: *at, words });
                cases.push(Case {
                    point: format!("{area}.{n}.{}.{order}", row.data_type()),
                    // PLC4X counts from one.
                    address: format!("{tag}:{}:{}{{byte-order: '{name}'}}", *at + 1, row.tag),
                    data_type: row.data_type(),
                    order: Some(order),
                    expected: row.value.clone(),
                    function,
                    at: *at,
                });
                *at += u16::try_from(words.len()).unwrap();
            }
        }
    }
    held
}

fn bits(cases: &mut Vec<Case>) {
    for (area, tag, function) in BITS {
        for (at, bit) in (FIRST_BIT..).zip(ON_OFF) {
            cases.push(Case {
                point: format!("{area}.{at}"),
                address: format!("{tag}:{}", at + 1),
                data_type: "BOOL",
                order: None,
                expected: json!(bit),
                function,
                at,
            });
        }
    }
}

/// What pymodbus' own encoder makes of two values of each longer type.
fn by_pymodbus(cases: &mut Vec<Case>, at: &mut u16) -> Vec<Value> {
    let types = [
        ("DINT", "INT32", [json!(-2_000_000_123), json!(1)]),
        ("UDINT", "UINT32", [json!(4_000_000_321_u32), json!(2)]),
        ("DWORD", "UINT32", [json!(0xDEAD_BEEF_u32), json!(3)]),
        ("LINT", "INT64", [json!(-9_000_000_000_000_000_123_i64), json!(4)]),
        ("ULINT", "UINT64", [json!(18_000_000_000_000_000_321_u64), json!(5)]),
        ("LWORD", "UINT64", [json!(0x0102_0304_0506_0708_u64), json!(6)]),
        ("REAL", "FLOAT32", [json!(-21.5), json!(1.0e-30)]),
        ("LREAL", "FLOAT64", [json!(123.456_789_012_345_67), json!(-1.0e300)]),
    ];
    let mut entries = Vec::new();
    for (data_type, pymodbus, values) in types {
        for (order, name) in ORDERS {
            for (n, value) in values.iter().enumerate() {
                entries.push(json!({"area": "holding", "address": *at, "type": pymodbus,
                                    "order": order, "value": value}));
                cases.push(Case {
                    point: format!("pymodbus.{data_type}.{order}.{n}"),
                    address: format!(
                        "holding-register:{}:{data_type}{{byte-order: '{name}'}}",
                        *at + 1
                    ),
                    data_type,
                    order: Some(order),
                    expected: value.clone(),
                    function: 3,
                    at: *at,
                });
                *at += if pymodbus.ends_with("64") { 4 } else { 2 };
            }
        }
    }
    entries
}

/// Every type is read in every order from both tables of registers, and as a bit.
fn assert_complete(cases: &[Case]) {
    let product: Vec<_> = DataType::ALL.iter().map(|t| t.name()).collect();
    let (ours, theirs) = (BTreeSet::from(TYPES), BTreeSet::from_iter(product));
    assert_eq!(ours, theirs, "the product's types are those of the test");
    for function in [1, 2] {
        assert!(cases.iter().any(|c| c.function == function && c.data_type == "BOOL"));
    }
    let read: BTreeSet<_> = cases.iter().map(|c| (c.function, c.data_type, c.order)).collect();
    for (_, tag, function) in REGISTERS {
        for data_type in TYPES {
            for (order, _) in ORDERS {
                let pair = (function, data_type, Some(order));
                assert!(read.contains(&pair), "no {data_type} in the order {order} of {tag}");
            }
        }
    }
}

/// Runs an agent on these points for eight cycles; what arrived is in the subscriber.
fn run(dir: &TestDir, port: u16, cases: &[Case], more: &[(&str, &str)]) -> Subscriber {
    let broker = Broker::start(dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(dir, &broker).unwrap();
    let mut points: Vec<(&str, &str)> =
        cases.iter().map(|c| (c.point.as_str(), c.address.as_str())).collect();
    points.extend(more);
    plant::write(dir, "device", &plant::device("d", port, &points, &["intervalMillis: 300"]));
    plant::write(dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let _agent = Agent::start(dir, "agent", &dir.join("config"), &[]).unwrap();
    let last = points.last().unwrap().0;
    wait::until("eight cycles", SOON, || plant::of_point(&mut consumer, "d", last).len() >= 8)
        .unwrap();
    consumer
}

fn assert_values(cases: &[Case], consumer: &mut Subscriber) {
    let arrived = plant::arrived(consumer);
    let mut wrong = Vec::new();
    for case in cases {
        let got: Vec<_> = arrived.iter().filter(|a| a.point == case.point).collect();
        if got.len() < 3 || got.iter().any(|a| !a.is_good() || !case.read_by(&a.value)) {
            let (point, address, expected) = (&case.point, &case.address, &case.expected);
            let first = got.first();
            wrong.push(format!("{point} at {address}: expected {expected}, got {first:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The i-th answer that covers a point and the i-th sample made of it: the sample's time lies
/// between the peer's receipt of the request and the consumer's receipt of the message, and
/// before the next request. Looked at for points all over the tables.
fn assert_times(cases: &[Case], log: &PeerLog, consumer: &mut Subscriber) {
    let all = log.requests().unwrap();
    let arrived = plant::arrived(consumer);
    for function in [1, 2, 3, 4] {
        let own: Vec<_> = cases.iter().filter(|c| c.function == function).collect();
        for case in [own[0], own[own.len() / 2], own[own.len() - 1]] {
            let covers = |r: &&Request| (r.address..r.address + r.count).contains(&case.at);
            let requests: Vec<_> = all
                .iter()
                .filter(|r| r.function == function && r.outcome == Outcome::Values)
                .filter(covers)
                .collect();
            let samples: Vec<&Arrived> = arrived.iter().filter(|a| a.point == case.point).collect();
            assert!(samples.len() >= 3, "only {} samples of {}", samples.len(), case.point);
            for (sample, request) in samples.iter().zip(&requests) {
                assert!(
                    request.received_ns <= sample.time_ns && sample.time_ns <= sample.received_ns,
                    "{sample:?} for {request:?}"
                );
            }
            for (sample, next) in samples.iter().zip(&requests[1..]) {
                assert!(sample.time_ns < next.received_ns, "{sample:?} is of a later {next:?}");
            }
        }
    }
}

#[test]
fn every_type_and_byte_order_reads_what_pymodbus_holds() {
    let dir = TestDir::new("values_pymodbus").unwrap();
    let (mut cases, mut at) = (Vec::new(), 100);
    bits(&mut cases);
    let held = by_hand(&mut cases, &mut at);
    let mut entries = by_pymodbus(&mut cases, &mut at);
    entries.extend(
        held.iter().map(
            |r| json!({"area": r.area, "address": r.at, "type": "REGISTERS", "value": r.words}),
        ),
    );
    entries.extend(BITS.map(
        |(area, ..)| json!({"area": area, "address": FIRST_BIT, "type": "BITS", "value": ON_OFF}),
    ));
    assert_complete(&cases);
    let fixture = json!({"units": {"1": {"entries": entries}}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let mut consumer = run(&dir, peer.port, &cases, &[]);
    assert_values(&cases, &mut consumer);
    assert_times(&cases, &peer.log, &mut consumer);
}

/// What libmodbus' own setters and macros make of numbers, in the registers 10 to 33.
const SET: [(&str, &str); 12] = [
    ("3:10", "float_abcd:-21.5"),
    ("3:12", "float_dcba:-21.5"),
    ("3:14", "float_badc:-21.5"),
    ("3:16", "float_cdab:-21.5"),
    ("3:20", "int32:-2000000123"),
    ("4:22", "uint32:4000000321"),
    ("3:24", "int64:-9000000000000000123"),
    ("4:28", "uint64:18000000000000000321"),
    ("3:32", "int16:-12345"),
    ("4:33", "uint16:54321"),
    ("1:3", "bit:1"),
    ("2:4", "bit:1"),
];

fn by_libmodbus(cases: &mut Vec<Case>) {
    let mut case = |address: &str, data_type, function, at, expected| {
        cases.push(Case {
            point: format!("libmodbus.{data_type}.{at}"),
            address: address.into(),
            data_type,
            order: None,
            expected,
            function,
            at,
        });
    };
    case("holding-register:21:DINT", "DINT", 3, 20, json!(-2_000_000_123));
    case("input-register:23:UDINT", "UDINT", 4, 22, json!(4_000_000_321_u32));
    case("holding-register:25:LINT", "LINT", 3, 24, json!(-9_000_000_000_000_000_123_i64));
    case("input-register:29:ULINT", "ULINT", 4, 28, json!(18_000_000_000_000_000_321_u64));
    case("40033:INT", "INT", 3, 32, json!(-12_345));
    case("3x00034:UINT", "UINT", 4, 33, json!(54_321));
    case("coil:4", "BOOL", 1, 3, json!(true));
    case("0x00003", "BOOL", 1, 2, json!(false));
    case("1x00005", "BOOL", 2, 4, json!(true));
}

#[test]
fn every_type_and_byte_order_reads_what_libmodbus_holds() {
    let dir = TestDir::new("values_libmodbus").unwrap();
    let (mut cases, mut at) = (Vec::new(), 100);
    by_libmodbus(&mut cases);
    bits(&mut cases);
    let mut specs: Vec<String> = SET.map(|(place, value)| format!("{place}:{value}")).into();
    for run in by_hand(&mut cases, &mut at) {
        let words: Vec<String> = run.words.iter().map(u16::to_string).collect();
        specs.push(format!("{}:{}:words:{}", run.function, run.at, words.join(",")));
    }
    for (_, _, function) in BITS {
        let bits = (FIRST_BIT..).zip(ON_OFF);
        specs.extend(bits.map(|(at, bit)| format!("{function}:{at}:bit:{}", u8::from(bit))));
    }
    assert_complete(&cases);
    let mut args = vec!["--counter", "40"];
    args.extend(specs.iter().flat_map(|spec| ["--set", spec]));
    let peer = Libmodbus::start(&dir, "peer", &args).unwrap();

    // What words libmodbus makes of a float differs between its releases, so every pair of
    // registers is read in every order; the peer's log tells the words that were served.
    let floats: Vec<(String, String)> = [10, 12, 14, 16]
        .iter()
        .flat_map(|at| {
            ORDERS.map(|(order, name)| {
                let address = format!("holding-register:{}:REAL{{byte-order: '{name}'}}", at + 1);
                (format!("float.{at}.{order}"), address)
            })
        })
        .collect();
    let mut more: Vec<(&str, &str)> =
        floats.iter().map(|(point, address)| (point.as_str(), address.as_str())).collect();
    more.push(("counter", "holding-register:41:UDINT"));
    let mut consumer = run(&dir, peer.port, &cases, &more);
    assert_values(&cases, &mut consumer);
    assert_times(&cases, &peer.log, &mut consumer);
    assert_floats(&peer.log, &mut consumer);

    // Each counter value is of one request: value and time belong together.
    let requests = peer.log.requests().unwrap();
    for sample in plant::of_point(&mut consumer, "d", "counter") {
        let value = sample.counter().unwrap();
        let request = requests.iter().find(|r| r.counter == Some(value)).unwrap();
        assert!(
            request.received_ns <= sample.time_ns && sample.time_ns <= sample.received_ns,
            "{sample:?} of {request:?}"
        );
    }
}

/// Each of libmodbus' four layouts of -21.5 in all four orders, by the words that it served.
fn assert_floats(log: &PeerLog, consumer: &mut Subscriber) {
    let requests = log.requests().unwrap();
    let served = |address: u16| -> [u8; 4] {
        let whole = |r: &&Request| r.address <= address && address + 2 <= r.address + r.count;
        let answered = |r: &&Request| r.function == 3 && r.outcome == Outcome::Values;
        let request = requests.iter().filter(answered).find(whole).unwrap();
        let at = usize::from(address - request.address);
        let [a, b] = request.values[at].to_be_bytes();
        let [c, d] = request.values[at + 1].to_be_bytes();
        [a, b, c, d]
    };
    let mut the_set_value = 0;
    for at in [10, 12, 14, 16] {
        let [a, b, c, d] = served(at);
        for (order, bytes) in [
            ("ABCD", [a, b, c, d]),
            ("DCBA", [d, c, b, a]),
            ("BADC", [b, a, d, c]),
            ("CDAB", [c, d, a, b]),
        ] {
            let expected = f32::from_be_bytes(bytes);
            let point = format!("float.{at}.{order}");
            let got = plant::of_point(consumer, "d", &point);
            assert!(!got.is_empty(), "{point} never arrived");
            let same = |s: &Arrived| s.value.as_f64().map(|v| v as f32) == Some(expected);
            assert!(got.iter().all(same), "{point}: expected {expected}, got {:?}", got[0]);
            the_set_value += usize::from(expected == -21.5);
        }
    }
    assert_eq!(the_set_value, 4, "each of libmodbus' four layouts is one of the four orders");
}
