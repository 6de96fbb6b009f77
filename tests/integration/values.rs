//! M1: every type and byte order reads the value that the peer holds, at an honest time. What
//! is expected comes from pymodbus' encoder, libmodbus' setters or the standard.

use lineside_tests::agent::Agent;
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::libmodbus::Libmodbus;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::peers::{Outcome, PeerLog, Request};
use lineside_tests::samples::Arrived;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::plant::{self, SOON};

/// PLC4X's name of each order of bytes.
const ORDERS: [(&str, &str); 4] = [
    ("ABCD", "BIG_ENDIAN"),
    ("DCBA", "LITTLE_ENDIAN"),
    ("BADC", "BIG_ENDIAN_BYTE_SWAP"),
    ("CDAB", "LITTLE_ENDIAN_BYTE_SWAP"),
];

/// Type names of PLC4X, of pymodbus, and two values each.
fn multi_register_types() -> Vec<(&'static str, &'static str, [Value; 2])> {
    vec![
        ("DINT", "INT32", [json!(-2_000_000_123), json!(1)]),
        ("UDINT", "UINT32", [json!(4_000_000_321_u32), json!(2)]),
        ("DWORD", "UINT32", [json!(0xDEAD_BEEF_u32), json!(3)]),
        ("LINT", "INT64", [json!(-9_000_000_000_000_000_123_i64), json!(4)]),
        ("ULINT", "UINT64", [json!(18_000_000_000_000_000_321_u64), json!(5)]),
        ("LWORD", "UINT64", [json!(0x0102_0304_0506_0708_u64), json!(6)]),
        ("REAL", "FLOAT32", [json!(-21.5), json!(1.0e-30)]),
        ("LREAL", "FLOAT64", [json!(123.456_789_012_345_67), json!(-1.0e300)]),
    ]
}

struct Case {
    point: String,
    address: String,
    expected: Value,
}

/// Fixture entries and cases; `at` is the next free register.
fn numbers(entries: &mut Vec<Value>, cases: &mut Vec<Case>, at: &mut u32) {
    for area in ["holding", "input"] {
        let tag = format!("{area}-register");
        for (plc4x, pymodbus, values) in multi_register_types() {
            let words = if pymodbus.ends_with("64") { 4 } else { 2 };
            for (order, name) in ORDERS {
                for (n, value) in values.iter().enumerate() {
                    entries.push(json!({"area": area, "address": *at, "type": pymodbus,
                                        "order": order, "value": value}));
                    cases.push(Case {
                        point: format!("{area}.{plc4x}.{order}.{n}"),
                        // PLC4X counts from one.
                        address: format!("{tag}:{}:{plc4x}{{byte-order: '{name}'}}", *at + 1),
                        expected: value.clone(),
                    });
                    *at += words;
                }
            }
        }
        for (plc4x, pymodbus, value) in [
            ("INT", "INT16", json!(-12_345)),
            ("UINT", "UINT16", json!(54_321)),
            ("WORD", "UINT16", json!(0xABCD)),
        ] {
            entries.push(json!({"area": area, "address": *at, "type": pymodbus,
                                "order": "ABCD", "value": value}));
            let address = format!("{tag}:{}:{plc4x}", *at + 1);
            cases.push(Case { point: format!("{area}.{plc4x}"), address, expected: value });
            *at += 1;
        }
    }
}

/// Bits, and what lies in single registers or runs of them, as the standard and PLC4X lay it out.
fn others(entries: &mut Vec<Value>, cases: &mut Vec<Case>, at: &mut u32) {
    let mut case = |point: &str, address: String, expected: Value| {
        cases.push(Case { point: point.into(), address, expected });
    };
    let bits = [true, false, true, true, false, false, true, false, true];
    for (area, tag) in [("coil", "coil"), ("discrete", "discrete-input")] {
        entries.push(json!({"area": area, "address": 7, "type": "BITS", "value": bits}));
        for (i, bit) in bits.iter().enumerate() {
            case(&format!("{area}.{i}"), format!("{tag}:{}", 8 + i), json!(bit));
        }
    }
    // The first character is the high byte of the first register.
    entries.push(json!({"area": "holding", "address": *at, "type": "STRING",
                        "order": "ABCD", "value": "Line 7"}));
    case("string", format!("holding-register:{}:CHAR[6]", *at + 1), json!("Line 7"));
    *at += 3;
    // One 8-bit number lies in the low byte of its register, a character in the first (high)
    // one, as in a text.
    for (plc4x, word, expected) in [
        ("USINT", 0x00FE, json!(254)),
        ("SINT", 0x00FE, json!(-2)),
        ("BYTE", 0x0081, json!(129)),
        ("CHAR", 0x4100, json!("A")),
        ("WCHAR", 0x00E9, json!("\u{e9}")),
    ] {
        entries.push(json!({"area": "holding", "address": *at, "type": "REGISTERS",
                            "value": [word]}));
        case(plc4x, format!("holding-register:{}:{plc4x}", *at + 1), expected);
        *at += 1;
    }
}

fn equal(expected: &Value, got: &Value) -> bool {
    match (expected.as_f64(), got.as_f64()) {
        // A REAL is compared as the 32-bit float it is; integers must be equal to the digit.
        (Some(e), Some(g)) if expected.is_f64() => e == g || e as f32 == g as f32,
        _ => expected == got,
    }
}

/// The i-th answer that covers `address` and the i-th sample made of it: the sample's time lies
/// between the peer's receipt of the request and the consumer's receipt of the message.
fn assert_times(log: &PeerLog, function: u8, address: u16, samples: &[Arrived]) {
    let requests: Vec<_> = log
        .requests()
        .unwrap()
        .into_iter()
        .filter(|r| r.function == function && r.outcome == Outcome::Values)
        .filter(|r| (r.address..r.address + r.count).contains(&address))
        .collect();
    assert!(samples.len() >= 3, "only {} samples", samples.len());
    for (sample, request) in samples.iter().zip(&requests) {
        assert!(
            request.received_ns <= sample.time_ns && sample.time_ns <= sample.received_ns,
            "{sample:?} for {request:?}"
        );
    }
    for (sample, next) in samples.iter().zip(&requests[1..]) {
        assert!(sample.time_ns < next.received_ns, "{sample:?} is of a later request {next:?}");
    }
}

#[test]
fn every_type_and_byte_order_reads_what_pymodbus_holds() {
    let dir = TestDir::new("values_pymodbus").unwrap();
    let (mut entries, mut cases, mut at) = (Vec::new(), Vec::new(), 100);
    numbers(&mut entries, &mut cases, &mut at);
    others(&mut entries, &mut cases, &mut at);
    let fixture = json!({"units": {"1": {"entries": entries}}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let points: Vec<(&str, &str)> =
        cases.iter().map(|c| (c.point.as_str(), c.address.as_str())).collect();
    plant::write(&dir, "device", &plant::device("d", peer.port, &points, &["intervalMillis: 500"]));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    let last = cases.last().unwrap().point.clone();
    wait::until("four cycles", SOON, || plant::of_point(&mut consumer, "d", &last).len() >= 4)
        .unwrap();
    let arrived = plant::arrived(&mut consumer);
    let mut wrong = Vec::new();
    for case in &cases {
        let got: Vec<_> = arrived.iter().filter(|a| a.point == case.point).collect();
        if got.len() < 3 || got.iter().any(|a| !a.is_good() || !equal(&case.expected, &a.value)) {
            wrong.push(format!(
                "{} at {}: expected {}, got {:?}",
                case.point,
                case.address,
                case.expected,
                got.first()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let first = plant::of_point(&mut consumer, "d", &cases[0].point);
    assert_times(&peer.log, 3, 100, &first);
}

#[test]
fn floats_and_integers_read_what_libmodbus_set() {
    let dir = TestDir::new("values_libmodbus").unwrap();
    let args = [
        "--set",
        "3:10:float_abcd:-21.5",
        "--set",
        "3:12:float_dcba:-21.5",
        "--set",
        "3:14:float_badc:-21.5",
        "--set",
        "3:16:float_cdab:-21.5",
        "--set",
        "3:20:int32:-2000000123",
        "--set",
        "4:22:uint32:4000000321",
        "--set",
        "3:24:int64:-9000000000000000123",
        "--set",
        "4:28:uint64:18000000000000000321",
        "--set",
        "3:32:int16:-12345",
        "--set",
        "4:33:uint16:54321",
        "--set",
        "1:3:bit:1",
        "--set",
        "2:4:bit:1",
        "--counter",
        "40",
    ];
    let peer = Libmodbus::start(&dir, "peer", &args).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
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
    let mut points: Vec<(&str, &str)> =
        floats.iter().map(|(point, address)| (point.as_str(), address.as_str())).collect();
    points.extend([
        ("dint", "holding-register:21:DINT"),
        ("udint", "input-register:23:UDINT"),
        ("lint", "holding-register:25:LINT"),
        ("ulint", "input-register:29:ULINT"),
        ("int", "40033:INT"),
        ("uint", "3x00034:UINT"),
        ("coil", "coil:4"),
        ("off", "0x00003"),
        ("discrete", "1x00005"),
        ("counter", "holding-register:41:UDINT"),
    ]);
    plant::write(&dir, "device", &plant::device("d", peer.port, &points, &["intervalMillis: 300"]));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let _agent = Agent::start(&dir, "agent", &dir.join("config"), &[]).unwrap();
    wait::until("ten cycles", SOON, || plant::of_point(&mut consumer, "d", "counter").len() >= 10)
        .unwrap();
    let requests = peer.log.requests().unwrap();
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
            let got = plant::of_point(&mut consumer, "d", &point);
            assert!(!got.is_empty(), "{point} never arrived");
            let same = |s: &Arrived| s.value.as_f64().map(|v| v as f32) == Some(expected);
            assert!(got.iter().all(same), "{point}: expected {expected}, got {:?}", got[0]);
            the_set_value += usize::from(expected == -21.5);
        }
    }
    assert_eq!(the_set_value, 4, "each of libmodbus' four layouts is one of the four orders");
    for (point, expected) in [
        ("dint", json!(-2_000_000_123)),
        ("udint", json!(4_000_000_321_u32)),
        ("lint", json!(-9_000_000_000_000_000_123_i64)),
        ("ulint", json!(18_000_000_000_000_000_321_u64)),
        ("int", json!(-12_345)),
        ("uint", json!(54_321)),
        ("coil", json!(true)),
        ("off", json!(false)),
        ("discrete", json!(true)),
    ] {
        let got = plant::of_point(&mut consumer, "d", point);
        assert!(!got.is_empty(), "{point} never arrived");
        let all = got.iter().all(|a| a.is_good() && equal(&expected, &a.value));
        assert!(all, "{point}: expected {expected}, got {:?}", got.first());
    }
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
