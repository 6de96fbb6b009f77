//! The servers the other tests stand on do what those tests take for granted.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use lineside_tests::broker::{self, Broker};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::Outcome;
use lineside_tests::peers::libmodbus::Libmodbus;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::process::Server;
use lineside_tests::proxy::Proxy;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::tls::Certificates;
use lineside_tests::{tools, wait};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(10);

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends one read request by hand and gives the bytes from the unit on.
fn read(mut stream: &TcpStream, unit: u8, function: u8, address: u16, count: u16) -> Vec<u8> {
    let mut request = vec![0, 7, 0, 0, 0, 6, unit, function];
    request.extend(address.to_be_bytes());
    request.extend(count.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[..4], [0, 7, 0, 0]);
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    stream.read_exact(&mut rest).unwrap();
    rest
}

#[test]
fn the_pymodbus_log_holds_what_went_over_the_wire() {
    let dir = TestDir::new("pymodbus_log").unwrap();
    let fixture = json!({"units": {
        "1": {
            "entries": [
                {"area": "holding", "address": 0, "type": "FLOAT32", "order": "ABCD", "value": 1.5},
                {"area": "holding", "address": 2, "type": "FLOAT32", "order": "CDAB", "value": 1.5},
                {"area": "holding", "address": 4, "type": "FLOAT32", "order": "BADC", "value": 1.5},
                {"area": "holding", "address": 6, "type": "FLOAT32", "order": "DCBA", "value": 1.5},
                {"area": "coil", "address": 3, "type": "BITS", "value": [true, false, true]},
            ],
            "counters": [{"name": "c", "area": "holding", "address": 8, "type": "UINT16",
                          "order": "ABCD", "start": 40}],
            "exceptions": [{"area": "coil", "address": 5, "code": 4}],
        },
        "2": {"silent": true},
        "3": {"exception": 6},
    }});
    let mut peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let stream = connect(peer.port);
    // IEEE 754: 1.5 is 3f c0 00 00.
    let registers = [0x3f, 0xc0, 0, 0, 0, 0, 0x3f, 0xc0, 0xc0, 0x3f, 0, 0, 0, 0, 0xc0, 0x3f, 0, 40];
    assert_eq!(read(&stream, 1, 3, 0, 9), [&[1, 3, 18], registers.as_slice()].concat());
    assert_eq!(read(&stream, 1, 3, 8, 1), [1, 3, 2, 0, 41]);
    assert_eq!(read(&stream, 1, 1, 3, 2), [1, 1, 1, 0b01]);
    assert_eq!(read(&stream, 1, 1, 3, 3), [1, 0x81, 4]);
    assert_eq!(read(&stream, 3, 3, 0, 1), [3, 0x83, 6]);
    assert_eq!(read(&stream, 9, 3, 0, 1), [9, 0x83, 0x0b]);

    let log = peer.log.requests().unwrap();
    let outcomes: Vec<_> = log.iter().map(|r| (r.unit, r.outcome, r.exception)).collect();
    let (values, exception) = (Outcome::Values, Outcome::Exception);
    assert_eq!(
        outcomes,
        [
            (1, values, None),
            (1, values, None),
            (1, values, None),
            (1, exception, Some(4)),
            (3, exception, Some(6)),
            (9, exception, Some(11)),
        ]
    );
    assert_eq!((log[0].counters["c"], log[1].counters["c"]), (40, 41));
    assert_eq!(log[0].values, [0x3fc0, 0, 0, 0x3fc0, 0xc03f, 0, 0, 0xc03f, 40]);
    assert_eq!(log[2].values, [1, 0]);
    assert!(log.iter().all(|r| r.connection == 1 && r.received_ns <= r.time_ns));

    drop(stream);
    wait::until("close in the log", DEADLINE, || peer.log.closes().unwrap() == 1).unwrap();
    peer.server.kill().unwrap();
    peer.restart().unwrap();
    assert_eq!(read(&connect(peer.port), 1, 3, 8, 1), [1, 3, 2, 0, 40]);
    assert_eq!(peer.log.accepts().unwrap(), 2);
}

#[test]
fn the_libmodbus_log_holds_what_went_over_the_wire() {
    let dir = TestDir::new("libmodbus_log").unwrap();
    let args = [
        "--set",
        "3:0:int32:-2",
        "--set",
        "4:0:uint16:513",
        "--set",
        "2:1:bit:1",
        "--set",
        "3:10:float_abcd:1.5",
        "--counter",
        "100",
        "--exception",
        "3:50:3",
        "--silent",
        "9",
    ];
    let peer = Libmodbus::start(&dir, "peer", &args).unwrap();
    let stream = connect(peer.port);
    assert_eq!(read(&stream, 1, 3, 0, 2), [1, 3, 4, 0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(read(&stream, 1, 4, 0, 1), [1, 4, 2, 2, 1]);
    assert_eq!(read(&stream, 1, 2, 0, 3), [1, 2, 1, 0b010]);
    assert_eq!(read(&stream, 1, 3, 49, 3), [1, 0x83, 3]);
    assert_eq!(read(&stream, 1, 3, 100, 2), [1, 3, 4, 0, 0, 0, 1]);
    assert_eq!(read(&stream, 1, 3, 101, 1), [1, 3, 2, 0, 2]);
    assert_eq!(read(&stream, 1, 3, 65535, 2), [1, 0x83, 2]);
    let float = read(&stream, 1, 3, 10, 2);

    let log = peer.log.requests().unwrap();
    assert_eq!(log[0].values, [0xffff, 0xfffe]);
    assert_eq!((log[4].counter, log[5].counter), (Some(1), Some(2)));
    assert_eq!(log[3].outcome, Outcome::Exception);
    assert_eq!(log[6].outcome, Outcome::Exception);
    // Whatever words the setter of this release makes, the log has them.
    let words: Vec<u8> = log[7].values.iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(float, [&[1, 3, 4], words.as_slice()].concat());
    let mut sorted = words;
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 0, 0x3f, 0xc0]);
}

#[test]
fn a_persistent_subscriber_misses_nothing_over_a_broker_restart() {
    let dir = TestDir::new("subscriber_over_restart").unwrap();
    let mut broker = Broker::start(&dir, "broker", broker::Options::default()).unwrap();
    let mut subscriber = Subscriber::start(&dir, "consumer", &broker, "t/#").unwrap();
    publish(broker.port, &["-t", "t/a", "-m", "one two"]);
    subscriber.wait_until("first message", DEADLINE, |m| m.len() == 1).unwrap();
    subscriber.server.kill().unwrap();
    publish(broker.port, &["-t", "t/b", "-m", "while away", "-r"]);
    broker.term().unwrap();
    broker.restart().unwrap();
    subscriber.server.spawn().unwrap();
    let messages = subscriber.wait_until("second message", DEADLINE, |m| m.len() >= 2).unwrap();
    let got: Vec<_> = messages.iter().map(|m| (m.topic.as_str(), m.payload.as_str())).collect();
    assert_eq!(got[..2], [("t/a", "one two"), ("t/b", "while away")]);
    assert!(messages[0].time_ns <= messages[1].time_ns);
}

#[test]
fn a_broker_with_tls_and_a_password_lets_only_the_right_client_in() {
    let dir = TestDir::new("broker_tls").unwrap();
    let options = broker::Options {
        tls: Some(Certificates::new(&dir, "tls").unwrap()),
        require_client_certificate: true,
        user: Some(("agent".into(), "secret word".into())),
        ..Default::default()
    };
    let broker = Broker::start(&dir, "broker", options).unwrap();
    let mut subscriber = Subscriber::start(&dir, "consumer", &broker, "t").unwrap();
    let tls = broker.options.tls.as_ref().unwrap();
    let (ca, cert) = (tls.ca.to_str().unwrap(), tls.client_cert.to_str().unwrap());
    let key = tls.client_key.to_str().unwrap();
    let message = ["-t", "t", "-m", "x", "--cafile", ca];
    let login = ["-u", "agent", "-P", "secret word"];
    let certificate = ["--cert", cert, "--key", key];
    assert!(!try_publish(broker.port, &[&message[..], &login].concat()));
    assert!(!try_publish(broker.port, &[&message[..], &certificate].concat()));
    assert!(try_publish(broker.port, &[&message[..], &login, &certificate].concat()));
    subscriber.wait_until("message", DEADLINE, |m| m.len() == 1).unwrap();
}

#[test]
fn a_cut_broker_connection_delivers_after_healing() {
    let dir = TestDir::new("proxy_broker").unwrap();
    let broker = Broker::start(&dir, "broker", broker::Options::default()).unwrap();
    let proxy = Proxy::start(broker.port).unwrap();
    let mut subscriber = Subscriber::start(&dir, "consumer", &broker, "t").unwrap();
    proxy.cut();
    let program = tools::program("mosquitto_pub").unwrap();
    let port = proxy.port().to_string();
    let args = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "t", "-m", "late"];
    let mut publisher = Server::start(&dir, "publisher", &program, args).unwrap();
    wait::until("connection", DEADLINE, || proxy.accepts() == 1).unwrap();
    wait::while_true("nothing arrives", Duration::from_millis(300), || {
        subscriber.messages().unwrap().is_empty()
    })
    .unwrap();
    proxy.heal();
    subscriber.wait_until("message", DEADLINE, |m| m.len() == 1).unwrap();
    assert!(publisher.wait_end(DEADLINE).unwrap().success());
}

#[test]
fn a_stopped_server_goes_on_and_a_dropped_one_is_gone() {
    let dir = TestDir::new("stop_and_drop").unwrap();
    let peer = Libmodbus::start(&dir, "peer", &["--set", "3:0:int16:5"]).unwrap();
    let pid = peer.server.pid().unwrap();
    let stream = connect(peer.port);
    peer.server.stop().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!((&stream).read(&mut [0]).is_err());
    peer.server.cont().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(read(&stream, 1, 3, 0, 1), [1, 3, 2, 0, 5]);
    peer.server.stop().unwrap();
    drop(peer);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

fn publish(port: u16, args: &[&str]) {
    assert!(try_publish(port, args), "mosquitto_pub {args:?}");
}

fn try_publish(port: u16, args: &[&str]) -> bool {
    let port = port.to_string();
    let mut command = Command::new(tools::program("mosquitto_pub").unwrap());
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1"]).args(args);
    command.output().unwrap().status.success()
}
