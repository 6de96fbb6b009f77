//! `lineside demo` as a newcomer runs it: what its devices hold, seen by pymodbus, is what a
//! consumer gets from its broker; its faults come and go; edits count; nothing is left.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lineside_tests::agent::{binary, lineside};
use lineside_tests::dir::TestDir;
use lineside_tests::process::Server;
use lineside_tests::samples::{self, Arrived};
use lineside_tests::subscriber::Subscriber;
use lineside_tests::terminal::Terminal;
use lineside_tests::{tools, wait};
use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::Value;

use crate::plant::SOON;

/// Longest time to a fault and back: one per minute, with the back-off of a reconnect.
const FAULT: Duration = Duration::from_secs(100);
const PERIOD_NS: i64 = 1_000_000_000;
/// Longest end after Ctrl-C.
const END: Duration = Duration::from_secs(5);
/// The user `nobody` of Debian.
const NOBODY: &str = "65534";

/// A running demo and what it printed.
struct Demo {
    server: Server,
    said: PathBuf,
    dir: PathBuf,
    furnace: u16,
    conveyor: u16,
    broker: u16,
    page: u16,
}

impl Demo {
    /// Starts the binary with these arguments, on a page port of its own.
    fn start(test: &TestDir, more: &[&str]) -> Self {
        let args = ["demo", "--page", "127.0.0.1:0"].iter().chain(more);
        Self::run(test, &binary().unwrap(), args.map(|a| (*a).to_owned()).collect(), &[])
    }

    fn run(test: &TestDir, program: &Path, args: Vec<String>, env: &[(&str, &str)]) -> Self {
        let (said, log) = (test.join("demo.out"), test.join("demo.log"));
        let mut server = Server::start_with("demo", program, args, env, &said, &log).unwrap();
        let text = server
            .wait_ready("its introduction", SOON, || {
                let text = std::fs::read_to_string(&said).ok()?;
                text.contains("Ctrl-C ends it").then_some(text)
            })
            .unwrap();
        let port = |before: &str| -> u16 {
            let (_, rest) = text.split_once(before).expect(before);
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        };
        let yaml = text.lines().find_map(|l| l.trim().strip_prefix("YAML")).unwrap();
        let conveyor = text.lines().find(|l| l.trim().starts_with("conveyor ")).unwrap();
        let (_, conveyor) = conveyor.split_once("127.0.0.1:").unwrap();
        let conveyor: String = conveyor.chars().take_while(char::is_ascii_digit).collect();
        Self {
            furnace: port("modbus-tcp://127.0.0.1:"),
            conveyor: conveyor.parse().unwrap(),
            broker: port("\n  Broker    mqtt://127.0.0.1:"),
            page: port("http://127.0.0.1:"),
            dir: PathBuf::from(yaml.trim()),
            server,
            said,
        }
    }

    fn ports(&self) -> [u16; 4] {
        [self.furnace, self.conveyor, self.broker, self.page]
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.server.pid().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    }
}

/// The samples of one point so far.
fn of_point(consumer: &mut Subscriber, device: &str, point: &str) -> Vec<Arrived> {
    let device = format!("default/{device}");
    let mut all = samples::of(consumer.messages().unwrap()).unwrap();
    all.retain(|a| a.device == device && a.point == point);
    all
}

/// pymodbus, reading one value again and again.
fn reader(test: &TestDir, name: &str, args: &[&str]) -> (Server, PathBuf) {
    let (output, log) = (test.join(&format!("{name}.reads")), test.join(&format!("{name}.log")));
    let script = tools::python_peer("pymodbus_reader.py").display().to_string();
    let args: Vec<&str> = std::iter::once(script.as_str()).chain(args.iter().copied()).collect();
    let python = tools::python().unwrap();
    let server = Server::start_with(name, &python, args, &[], &output, &log).unwrap();
    (server, output)
}

/// What it read so far; the last line may not be whole yet.
fn reads(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn ns(read: &Value) -> i64 {
    read["ns"].as_i64().unwrap()
}

/// As the REAL that it was.
fn real(value: &Value) -> Option<f32> {
    value.as_f64().map(|x| x as f32)
}

#[test]
fn a_consumer_gets_the_values_that_pymodbus_reads_and_the_faults_come_and_go() {
    let test = TestDir::new("demo_values").unwrap();
    let line = test.join("line").display().to_string();
    let demo = Demo::start(&test, &["--dir", &line]);
    let mut consumer =
        Subscriber::on_port(&test, "consumer", demo.broker, "lineside/default/+").unwrap();
    let furnace = demo.furnace.to_string();
    let args = ["--port", &furnace, "--address", "0", "--type", "REAL"];
    let (mut pymodbus, read) = reader(&test, "temperature", &args);
    let args = [
        "--port",
        &furnace,
        "--table",
        "input",
        "--address",
        "0",
        "--type",
        "REAL",
        "--every",
        "1",
    ];
    let (_exhaust, exhaust) = reader(&test, "exhaust", &args);
    let conveyor = demo.conveyor.to_string();
    let args = ["--port", &conveyor, "--address", "1", "--type", "UDINT", "--every", "0.1"];
    let (_parts, parts) = reader(&test, "parts", &args);

    // Each temperature that arrived while pymodbus looked is one that it saw at that time.
    wait::until("ten temperatures", SOON, || {
        let seen = reads(&read);
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return false };
        let arrived = of_point(&mut consumer, "furnace", "temperature");
        arrived.iter().filter(|a| a.time_ns > ns(first) && a.time_ns < ns(last)).count() >= 10
    })
    .unwrap();
    pymodbus.kill().unwrap();
    let seen = reads(&read);
    let (first, last) = (ns(seen.first().unwrap()), ns(seen.last().unwrap()));
    let mut values = Vec::new();
    for a in of_point(&mut consumer, "furnace", "temperature") {
        if a.time_ns > first + PERIOD_NS && a.time_ns < last - PERIOD_NS {
            let value = real(&a.value);
            let near = |r: &&Value| (ns(r) - a.time_ns).abs() < 2 * PERIOD_NS;
            let same = seen.iter().filter(near).any(|r| real(&r["value"]) == value);
            assert!(same && a.is_good(), "{a:?} was not on the device");
            values.push(a.value);
        }
    }
    values.dedup();
    assert!(values.len() >= 5, "{values:?}");

    // The conveyor: gone for pymodbus, all Bad for the consumer, then both have it again.
    let bad = wait::until_some("a bad count of parts", FAULT, || {
        of_point(&mut consumer, "conveyor", "parts").into_iter().find(|a| a.quality == "Bad")
    })
    .unwrap();
    assert_eq!(bad.value, Value::Null);
    // The two look at their own times: what one has seen the other sees soon.
    let gone = wait::until_some("pymodbus without the conveyor", SOON, || {
        reads(&parts).into_iter().find(|r| r["unreachable"] == true)
    })
    .unwrap();
    assert!(bad.time_ns - ns(&gone) < 5 * PERIOD_NS, "{bad:?} {gone}");
    let back = wait::until_some("a good count of parts again", FAULT, || {
        let all = of_point(&mut consumer, "conveyor", "parts");
        all.into_iter().find(|a| a.is_good() && a.time_ns > bad.time_ns)
    })
    .unwrap();
    assert!(back.time_ns - bad.time_ns > 5 * PERIOD_NS, "{bad:?} {back:?}");
    let agrees = |r: &Value| (ns(r) - back.time_ns).abs() < PERIOD_NS && r["value"] == back.value;
    wait::until("the same count for pymodbus", SOON, || reads(&parts).iter().any(agrees))
        .unwrap_or_else(|e| panic!("{e}: {back:?}"));

    // The sensor: an exception for pymodbus, Bad for the consumer, and for no other point.
    let bad = wait::until_some("a bad exhaust temperature", FAULT, || {
        let all = of_point(&mut consumer, "furnace", "exhaust-temperature");
        all.into_iter().find(|a| a.quality == "Bad")
    })
    .unwrap();
    // OPC UA: BadDeviceFailure.
    assert_eq!(bad.status, 0x808B_0000);
    let refused = wait::until_some("the exception that pymodbus gets", SOON, || {
        reads(&exhaust).into_iter().find(|r| r["exception"] == 4)
    })
    .unwrap();
    assert!((bad.time_ns - ns(&refused)).abs() < 3 * PERIOD_NS, "{bad:?} {refused}");
    wait::until("a good exhaust temperature again", FAULT, || {
        let all = of_point(&mut consumer, "furnace", "exhaust-temperature");
        all.iter().any(|a| a.is_good() && a.time_ns > bad.time_ns)
    })
    .unwrap();
    for point in ["temperature", "exhaust-oxygen", "burner-main"] {
        let all = of_point(&mut consumer, "furnace", point);
        assert!(all.len() > 30 && all.iter().all(Arrived::is_good), "{point}");
    }
}

#[test]
fn an_edit_of_a_printed_file_counts_and_a_broken_one_is_reported_and_changes_nothing() {
    let test = TestDir::new("demo_edit").unwrap();
    let line = test.join("line").display().to_string();
    let demo = Demo::start(&test, &["--dir", &line]);
    assert_eq!(demo.dir, test.join("line"));
    let file = demo.dir.join("power-meter.yaml");
    let mut consumer =
        Subscriber::on_port(&test, "consumer", demo.broker, "lineside/default/+").unwrap();
    let steps = |consumer: &mut Subscriber| -> Vec<i64> {
        let all = of_point(consumer, "power-meter", "power");
        all.windows(2).map(|w| w[1].time_ns - w[0].time_ns).collect()
    };
    wait::until("steps of a second", SOON, || {
        steps(&mut consumer).iter().filter(|s| (**s - PERIOD_NS).abs() < PERIOD_NS / 2).count() >= 3
    })
    .unwrap();

    let text = std::fs::read_to_string(&file).unwrap();
    let faster = text.replace("intervalMillis: 1000", "intervalMillis: 200");
    assert_ne!(text, faster);
    std::fs::write(&file, &faster).unwrap();
    wait::until("steps of 200 ms", SOON, || {
        steps(&mut consumer).iter().filter(|s| **s < PERIOD_NS / 3).count() >= 10
    })
    .unwrap();

    let broken = faster.replacen("address:", "adress:", 1);
    let at = broken.lines().position(|l| l.contains("adress:")).unwrap() + 1;
    std::fs::write(&file, &broken).unwrap();
    let place = format!("power-meter.yaml:{at}:");
    wait::until("the report", SOON, || demo.server.log().unwrap().contains(&place)).unwrap();
    let so_far = steps(&mut consumer).len();
    wait::until("more samples", SOON, || steps(&mut consumer).len() > so_far + 10).unwrap();
    let verdict = lineside(["validate", "-f", &line]).unwrap();
    assert_eq!(verdict.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verdict.stdout).contains(&place));
}

/// A directory that everybody may use, removed at the end of the test.
struct Common(PathBuf);

impl Common {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        // Left for the system's cleaner when it cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_runs_as_nobody_without_a_home_and_ctrl_c_leaves_nothing() {
    let test = TestDir::new("demo_end").unwrap();
    let (bin, tmp) = (Common::new("lineside-test-bin"), Common::new("lineside-test-tmp"));
    // Where the user nobody can reach it too.
    let program = bin.0.join("lineside");
    std::fs::copy(binary().unwrap(), &program).unwrap();
    let mut args: Vec<String> = ["-u", "HOME", "-u", "XDG_STATE_HOME"].map(str::to_owned).into();
    if getuid().is_root() {
        args.extend(["setpriv", "--reuid", NOBODY, "--regid", NOBODY].map(str::to_owned));
        args.extend(["--clear-groups", "--pdeathsig", "KILL", "--"].map(str::to_owned));
    }
    args.push(program.display().to_string());
    args.extend(["demo", "--page", "127.0.0.1:0"].map(str::to_owned));
    let env = [("TMPDIR", tmp.0.to_str().unwrap())];
    let mut demo = Demo::run(&test, &tools::program("env").unwrap(), args, &env);

    assert!(demo.dir.starts_with(&tmp.0) && demo.dir.join("furnace.yaml").is_file());
    let open = |port: u16| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    };
    let mut consumer =
        Subscriber::on_port(&test, "consumer", demo.broker, "lineside/default/+").unwrap();
    wait::until("values", SOON, || !of_point(&mut consumer, "conveyor", "parts").is_empty())
        .unwrap();
    for port in demo.ports() {
        assert!(open(port), "{port}");
    }
    demo.interrupt();
    let status = demo.server.wait_end(END).unwrap();
    assert_eq!(status.code(), Some(0), "{}", demo.server.log().unwrap());
    for port in demo.ports() {
        assert!(!open(port), "{port} is still open");
    }
    let left: Vec<_> = std::fs::read_dir(&tmp.0).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(demo.server.log().unwrap(), "", "no log at its usual level");
    let said = std::fs::read_to_string(&demo.said).unwrap();
    assert!(!said.contains('\x1b'), "no terminal, so no control characters: {said}");
}

#[test]
fn on_a_terminal_its_last_line_is_kept_up_to_date_and_ctrl_c_takes_it_away() {
    const COLUMNS: u16 = 60;
    let test = TestDir::new("demo_terminal").unwrap();
    let dir = test.join("line").display().to_string();
    let args = ["demo", "--page", "127.0.0.1:0", "--dir", &dir];
    let mut demo = Terminal::start(&binary().unwrap(), &args, 24, COLUMNS).unwrap();
    // The line is written over from its beginning; the introduction stands above it.
    let lines = |demo: &Terminal| -> Vec<String> {
        let written = demo.written();
        let after = written.split_once("Ctrl-C ends it").map_or("", |(_, after)| after);
        after.split("\r\x1b[2K").skip(1).map(str::to_owned).collect()
    };
    wait::until("three different lines with a value", SOON, || {
        let mut seen = lines(&demo);
        seen.retain(|line| line.starts_with("furnace/temperature ") && line.contains("Cel |"));
        seen.dedup();
        seen.len() >= 3
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", demo.written()));
    for line in lines(&demo) {
        assert!(!line.contains('\n') && line.chars().count() < COLUMNS.into(), "{line:?}");
    }
    demo.press("\u{3}").unwrap();
    let status = demo.wait_end(END).unwrap();
    assert_eq!(status.code(), Some(0), "{:?}", demo.written());
    wait::until("the line to be cleared", SOON, || demo.written().ends_with("\r\x1b[2K")).unwrap();
}

#[test]
fn it_ends_by_itself_and_refuses_a_directory_with_something_in_it() {
    let test = TestDir::new("demo_for").unwrap();
    let dir = test.join("line").display().to_string();
    let args = ["demo", "--page", "127.0.0.1:0", "--for", "1", "--dir", &dir];
    let ended = lineside(args).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(test.join("line/pipeline.yaml").is_file());
    let refused = lineside(args).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"));
}
