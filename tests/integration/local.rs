//! The local API and the commands that use it: what they tell is what the peers did and what
//! the consumer got.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::{Duration, Instant};

use lineside_tests::agent::{Agent, binary, lineside};
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::Outcome;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::process::Server;
use lineside_tests::terminal::Terminal;
use lineside_tests::{ports, wait};
use serde_json::{Value, json};

use crate::plant::{self, SOON};

const PAGE: [&str; 2] = ["--page", "127.0.0.1:0"];
const COUNTER: (&str, &str) = ("c", "holding-register:1:UDINT");
const TEMPERATURE: (&str, &str) = ("t", "holding-register:100:REAL");

fn fixture() -> Value {
    json!({"units": {"1": {
        "entries": [{"area": "holding", "address": 99, "type": "FLOAT32", "order": "ABCD",
                     "value": 21.7}],
        "counters": [{"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                      "order": "ABCD", "start": 70_000}]}}})
}

/// Peer, broker and the configuration of device `d` and pipeline `all` between them.
fn plant(dir: &TestDir) -> (Pymodbus, Broker) {
    let peer = Pymodbus::start(dir, "peer", &fixture()).unwrap();
    let broker = Broker::start(dir, "broker", Options::default()).unwrap();
    let points = [COUNTER, TEMPERATURE];
    let more = ["intervalMillis: 200"];
    plant::write(dir, "d", &plant::device("d", peer.port, &points, &more));
    plant::write(dir, "pipeline", &plant::pipeline(broker.port, &[]));
    (peer, broker)
}

fn start(dir: &TestDir, more: &[&str]) -> Agent {
    Agent::start(dir, "agent", &dir.join("config"), more).unwrap()
}

/// A command against the agent of the test.
fn command(dir: &TestDir, args: &[&str]) -> Output {
    let state = dir.join("agent-state");
    lineside(args.iter().copied().chain(["--state", state.to_str().unwrap()])).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn all_of(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// The field `page` of the agent's log.
fn page_field(agent: &Agent) -> String {
    wait::until_some("the log line with the page", SOON, || {
        let log = agent.log().ok()?;
        log.iter().find_map(|event| {
            Some(event.get("page")?.as_str()?.to_owned())
                .filter(|_| event["message"] == "Agent is up")
        })
    })
    .unwrap()
}

fn page(agent: &Agent) -> SocketAddr {
    page_field(agent).parse().unwrap()
}

/// Asks over an open connection; status code and body.
fn ask(mut stream: impl Read + Write, method: &str, path: &str, host: &str) -> (u16, String) {
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A success over the unix socket.
fn get(dir: &TestDir, path: &str) -> Option<Value> {
    // Test folders may lie too deep for a socket's path; through the working directory they
    // do not.
    let socket = dir.join("agent-state/agent.sock");
    let folder = std::fs::File::open(dir.join("agent-state")).unwrap();
    let short = format!("/proc/self/fd/{}/agent.sock", std::os::fd::AsRawFd::as_raw_fd(&folder));
    let stream = UnixStream::connect(&short).unwrap_or_else(|e| panic!("{socket:?}: {e}"));
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (status, body) = ask(stream, "GET", path, "localhost");
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

fn state(dir: &TestDir) -> Value {
    get(dir, "/api/v1/state").unwrap()
}

fn device(state: &Value, name: &str) -> Value {
    let devices = state["devices"].as_array().unwrap();
    devices.iter().find(|d| d["name"] == name).cloned().unwrap_or_default()
}

/// Waits until device `d` and the sink are healthy.
fn wait_well(dir: &TestDir) {
    wait::until("a healthy device and sink", SOON, || {
        let state = state(dir);
        device(&state, "d")["health"] == "Healthy"
            && state["pipelines"][0]["sinks"][0]["delivered"].as_u64().unwrap_or(0) > 0
    })
    .unwrap();
}

#[test]
fn the_state_tells_what_is_well_what_is_not_and_what_to_do() {
    let dir = TestDir::new("local_state").unwrap();
    let (_peer, _broker) = plant(&dir);
    let nobody = ports::free().unwrap();
    plant::write(&dir, "dead", &plant::device("dead", nobody, &[COUNTER], &[]));
    let _agent = start(&dir, &PAGE);
    wait_well(&dir);
    wait::until("the dead device to be known as such", SOON, || {
        device(&state(&dir), "dead")["health"] == "Unavailable"
    })
    .unwrap();

    let state = state(&dir);
    let (good, dead) = (device(&state, "d"), device(&state, "dead"));
    assert_eq!(good["reason"], "Receiving");
    assert_eq!(good["points"], json!({"total": 2, "good": 2, "bad": 0, "waiting": 0}));
    assert_eq!((&good["code"], &good["next"]), (&Value::Null, &Value::Null));
    assert_eq!((good["intervalMillis"].as_u64(), &good["mode"]), (Some(200), &json!("Running")));
    assert_eq!((&dead["code"], &dead["reason"]), (&json!("LNS-2001"), &json!("Unreachable")));
    assert!(dead["next"].as_str().unwrap().len() > 15, "{dead}");
    assert!(dead["message"].as_str().unwrap().contains(&nobody.to_string()), "{dead}");
    let sink = &state["pipelines"][0]["sinks"][0];
    assert_eq!((&sink["type"], &sink["health"]), (&json!("mqtt"), &json!("Healthy")));
    let journal = state["journal"].as_array().unwrap();
    let entry = journal.iter().find(|e| e["subject"] == "device default/dead").unwrap();
    assert_eq!((&entry["code"], &entry["health"]), (&json!("LNS-2001"), &json!("Unavailable")));

    let answer = get(&dir, "/api/v1/devices/default/d").unwrap();
    let point = &answer["points"][1];
    assert_eq!(point["value"].to_string(), "21.7", "as the peer holds it, to the digit");
    assert_eq!((&point["quality"], &point["statusName"]), (&json!("Good"), &json!("Good")));
    assert_eq!(point["wire"], "unit 1 FC3 @99 x2");
    assert_eq!(point["address"], "holding-register:100:REAL");
    let dead = get(&dir, "/api/v1/devices/default/dead").unwrap();
    assert_eq!(dead["points"][0]["value"], Value::Null, "never a stale or made up value");
}

#[test]
fn status_ends_with_one_until_everything_is_healthy() {
    let dir = TestDir::new("local_status").unwrap();
    let (_peer, _broker) = plant(&dir);
    let nobody = ports::free().unwrap();
    plant::write(&dir, "dead", &plant::device("dead", nobody, &[COUNTER], &[]));
    let _agent = start(&dir, &PAGE);
    wait_well(&dir);
    let ill = wait::until_some("the dead device in the status", SOON, || {
        Some(command(&dir, &["status"])).filter(|out| all_of(out).contains("LNS-2001"))
    })
    .unwrap();
    assert_eq!(code(&ill), 1);
    let text = all_of(&ill);
    assert!(text.contains("default/dead") && text.contains("Next:"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");

    std::fs::remove_file(dir.join("config/dead.yaml")).unwrap();
    // A device that may be off, and is, is no finding of the exit code.
    let off = plant::device("off", nobody, &[COUNTER], &["availability: Intermittent"]);
    plant::write(&dir, "off", &off);
    wait::until("the device to be off", SOON, || device(&state(&dir), "off")["code"] == "LNS-2033")
        .unwrap();
    let well = wait::until_some("a status of zero", SOON, || {
        Some(command(&dir, &["status"])).filter(|out| code(out) == 0)
    })
    .unwrap();
    assert!(all_of(&well).contains("LNS-2033"), "{}", all_of(&well));
    std::fs::remove_file(dir.join("config/off.yaml")).unwrap();
    wait::until("a status without any code", SOON, || {
        !all_of(&command(&dir, &["status"])).contains("LNS-")
    })
    .unwrap();
    let json = command(&dir, &["status", "-o", "json"]);
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((code(&json), &device(&told, "d")["health"]), (0, &json!("Healthy")));
    let top = command(&dir, &["top"]);
    let row = all_of(&top).lines().find(|l| l.starts_with("default/d ")).unwrap().to_owned();
    assert!(row.contains("Healthy") && row.contains("/s"), "{row}");

    // A broken edit: the device runs on, the status says where it is broken, then forgets it.
    let broken = plant::device("d", nobody, &[("c", "holding-registr:1:UDINT")], &[]);
    plant::write(&dir, "d", &broken);
    let ill = wait::until_some("the broken line", SOON, || {
        Some(command(&dir, &["status"])).filter(|out| all_of(out).contains("LNS-1050"))
    })
    .unwrap();
    assert_eq!(code(&ill), 1);
    assert!(all_of(&ill).contains("d.yaml:9:"), "{}", all_of(&ill));
    std::fs::remove_file(dir.join("config/d.yaml")).unwrap();
    wait::until("the journal to have it corrected", SOON, || {
        let state = state(&dir);
        let journal = state["journal"].as_array().unwrap().clone();
        journal.iter().any(|e| e["reason"] == "Corrected" && e["code"].is_null())
    })
    .unwrap();
}

#[test]
fn the_tap_shows_the_bytes_that_the_peer_sent_and_the_record_that_the_consumer_got() {
    let dir = TestDir::new("local_tap").unwrap();
    let (peer, broker) = plant(&dir);
    let mut consumer = plant::consumer(&dir, &broker).unwrap();
    let _agent = start(&dir, &PAGE);
    wait_well(&dir);
    let output = command(&dir, &["tap", "d/c", "--limit", "30", "-o", "json"]);
    assert_eq!(code(&output), 0, "{}", all_of(&output));
    let lines: Vec<Value> = all_of(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    assert_eq!(lines.len(), 30);
    assert!(lines.iter().all(|l| l["device"] == "default/d" && l["point"] == "c"), "{lines:#?}");
    let of =
        |stage: &str| -> Vec<&Value> { lines.iter().filter(|l| l["stage"] == stage).collect() };
    let (raw, decoded, delivered) = (of("raw"), of("decoded"), of("delivered"));
    assert!(raw.len() >= 5 && decoded.len() >= 5 && delivered.len() >= 5, "{lines:#?}");

    // The registers that the peer wrote down, as they lie on the wire.
    let sent: Vec<(u64, String)> = peer
        .log
        .requests()
        .unwrap()
        .iter()
        .filter(|r| r.outcome == Outcome::Values && r.address == 0)
        .map(|r| {
            let bytes = r.values[..2].iter().flat_map(|word| word.to_be_bytes());
            let text: Vec<String> = bytes.map(|b| format!("{b:02X}")).collect();
            (r.counters["c"], text.join(" "))
        })
        .collect();
    for line in &raw {
        let bytes = line["raw"].as_str().unwrap();
        assert!(sent.iter().any(|(_, sent)| sent == bytes), "{bytes} was never sent");
    }
    // A value that was shown in both stages was made of the bytes that the peer sent for it.
    for line in &decoded {
        let value = line["value"].as_u64().unwrap();
        let (_, bytes) = sent.iter().find(|(c, _)| *c == value).expect("a value that was served");
        assert_eq!(bytes, &value_bytes(value));
    }
    let arrived = wait::until_some("all of it at the consumer", SOON, || {
        let arrived = plant::of_point(&mut consumer, "d", "c");
        let last = delivered.last()?["value"].as_u64();
        arrived.iter().any(|a| a.value.as_u64() == last).then_some(arrived)
    })
    .unwrap();
    for line in &delivered {
        let got = arrived.iter().find(|a| a.value == line["value"]).expect("it arrived");
        assert_eq!(line["id"], json!(got.record));
        assert_eq!((&line["pipeline"], &line["sink"]), (&json!("default/all"), &json!("broker")));
    }

    // For people: the three side by side in one row.
    let asked = Instant::now();
    let output = command(&dir, &["tap", "d/c", "--limit", "1"]);
    let took = asked.elapsed();
    println!("tap showed a row within {took:?}; promised is a second");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(all_of(&output).lines().count(), 2, "a heading and a row");
    let output = command(&dir, &["tap", "d/c", "--limit", "3"]);
    let text = all_of(&output);
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{text}");
    for row in rows {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        let value: u64 = cells[3].parse().unwrap();
        assert_eq!(cells[2], value_bytes(value), "{row}");
        let got = plant::of_point(&mut consumer, "d", "c");
        let got = got.iter().find(|a| a.value.as_u64() == Some(value)).expect("it arrived");
        assert_eq!(cells[5], format!("default/all/broker {}", got.record), "{row}");
    }

    let none = command(&dir, &["tap", "nobody/*"]);
    assert_eq!(code(&none), 2);
    assert!(all_of(&none).contains("there are: d"), "{}", all_of(&none));
    let nothing = command(&dir, &["tap", "d/d"]);
    assert_eq!(code(&nothing), 2);
    assert!(all_of(&nothing).contains("there are: c, t"), "{}", all_of(&nothing));
}

/// What a screen of the terminal holds: the text since the cursor was last put to its top left
/// corner, with the colours.
fn last_page(written: &str) -> String {
    let pages: Vec<&str> = written.split("\x1b[H").collect();
    // The last may be written just now.
    pages.iter().rev().find(|page| page.contains("q ends")).unwrap_or(&"").to_string()
}

/// Text without colours and clearing (ECMA-48: CSI, parameters, a letter).
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(
            part.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).get(1..).unwrap_or(""),
        );
    }
    out
}

#[test]
fn top_fits_its_window_waits_for_the_agent_and_gives_the_terminal_back() {
    let dir = TestDir::new("local_top").unwrap();
    let (_peer, _broker) = plant(&dir);
    let mut agent = start(&dir, &PAGE);
    wait_well(&dir);
    let state = dir.join("agent-state").display().to_string();
    let args = ["top", "--state", &state];
    let mut top = Terminal::start(&binary().unwrap(), &args, 24, 100).unwrap();
    wait::until("a page with rates", SOON, || {
        let page = last_page(&top.written());
        let row = plain(&page).lines().find(|l| l.starts_with("default/d ")).map(str::to_owned);
        row.is_some_and(|row| row.contains("Healthy") && row.contains("/s"))
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", top.written()));
    assert!(top.written().starts_with("\x1b[?1049h"), "a screen of its own");
    assert!(last_page(&top.written()).contains("\x1b[32mHealthy"), "colours for a person");
    assert!(!top.is_usual().unwrap(), "keys are not shown");

    top.resize(5, 30).unwrap();
    wait::until("a page of the small window", SOON, || {
        let page = plain(&last_page(&top.written()));
        let lines: Vec<&str> = page.lines().collect();
        lines.len() <= 5
            && lines.iter().all(|line| line.trim_end().chars().count() <= 30)
            && page.contains("q ends; 4 more lines")
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", last_page(&top.written())));

    top.resize(24, 100).unwrap();
    agent.server.kill().unwrap();
    wait::until("the agent to be missed", SOON, || {
        top.written().rsplit("\x1b[H").take(2).any(|page| page.contains("still trying"))
    })
    .unwrap();
    agent.server.spawn().unwrap();
    wait::until("the new agent", SOON, || plain(&last_page(&top.written())).contains("default/d "))
        .unwrap();

    top.press("q").unwrap();
    let status = top.wait_end(SOON).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(top.is_usual().unwrap(), "the terminal is as it was");
    wait::until("the usual screen", SOON, || top.written().ends_with("\x1b[?25h\x1b[?1049l"))
        .unwrap();
}

/// A tap in the background; gives what it says on standard error.
fn tap(dir: &TestDir, what: &str) -> (Server, impl Fn() -> String) {
    let state = dir.join("agent-state");
    let args = ["tap", what, "--state", state.to_str().unwrap()];
    let [rows, said] = ["rows", "said"].map(|end| dir.join(&format!("tap-{what}.{end}")));
    let tap = Server::start_with("tap", &binary().unwrap(), args, &[], &rows, &said).unwrap();
    (tap, move || std::fs::read_to_string(&said).unwrap())
}

#[test]
fn a_tap_on_a_device_that_is_not_read_says_why_and_what_to_do_within_a_second() {
    const WORD: (&str, &str) = ("x", "holding-register:1:UINT");
    let dir = TestDir::new("local_tap_wrong").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let nobody = ports::free().unwrap();
    let right = plant::device("d", peer.port, &[WORD], &[]);
    let named = |name: &str| right.replace("name: d\n", &format!("name: {name}\n"));
    let cases = [
        ("host", named("host").replace("127.0.0.1", "no-such-host.invalid"), "LNS-2003", "getent"),
        (
            "port",
            named("port").replace(&peer.port.to_string(), &nobody.to_string()),
            "LNS-2001",
            "nc -vz",
        ),
        (
            "unit",
            named("unit").replace("identifier=1", "identifier=9"),
            "LNS-2032",
            "lineside read",
        ),
        (
            "address",
            named("address").replace("register:1:", "register:500:"),
            "LNS-2031",
            "lineside read",
        ),
    ];
    for (name, yaml, _, _) in &cases {
        plant::write(&dir, name, yaml);
    }
    let _agent = start(&dir, &PAGE);
    for (name, _, code, _) in &cases {
        wait::until("the device to be known as not read", SOON, || {
            device(&state(&dir), name)["code"] == *code
        })
        .unwrap_or_else(|e| panic!("{e}: {:#}", device(&state(&dir), name)));
    }
    for (name, _, code, next) in &cases {
        let asked = Instant::now();
        let (_tap, said) = tap(&dir, name);
        wait::until("the code and the next step", Duration::from_secs(3), || {
            let said = said();
            said.contains(code) && said.contains("Next:") && said.contains(next)
        })
        .unwrap_or_else(|e| panic!("{e}: {}", said()));
        let took = asked.elapsed();
        println!("tap said what is wrong with the {name} within {took:?}; promised is a second");
    }
    // The command that it names says it to the byte.
    for (name, code) in [("unit", "LNS-2016"), ("address", "LNS-2011")] {
        let (_tap, said) = tap(&dir, name);
        let command = wait::until_some("the command", SOON, || {
            let said = said();
            let (_, command) = said.split_once("Next: lineside ")?;
            Some(command.lines().next()?.replace('\'', ""))
        })
        .unwrap();
        let told = all_of(&lineside(command.split(' ')).unwrap());
        assert!(told.contains(code), "{command}: {told}");
    }
}

#[test]
fn a_tap_says_when_its_device_falls_silent_and_when_it_is_back() {
    let dir = TestDir::new("local_tap_change").unwrap();
    let (mut peer, _broker) = plant(&dir);
    let _agent = start(&dir, &PAGE);
    wait_well(&dir);
    let (_tap, said) = tap(&dir, "d");
    peer.server.kill().unwrap();
    wait::until("the loss to be said", 3 * SOON, || {
        said().contains("default/d is Unavailable: LNS-")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", said()));
    assert!(said().contains("Next:"), "{}", said());
    peer.restart().unwrap();
    wait::until("the return to be said", 3 * SOON, || {
        said().contains("default/d is Healthy again")
    })
    .unwrap_or_else(|e| panic!("{e}: {}", said()));
}

#[test]
fn a_configuration_directory_that_is_gone_is_said_until_it_is_back() {
    let dir = TestDir::new("local_config_gone").unwrap();
    let (_peer, _broker) = plant(&dir);
    let _agent = start(&dir, &PAGE);
    wait_well(&dir);
    let (config, aside) = (dir.join("config"), dir.join("aside"));
    let applied = || state(&dir)["agent"]["config"]["applied"].as_u64().unwrap();
    let before = applied();
    std::fs::rename(&config, &aside).unwrap();
    let told = wait::until_some("the missing directory to be said", SOON, || {
        let state = state(&dir);
        (state["agent"]["config"]["errors"] == json!(1)).then_some(state)
    })
    .unwrap();
    let problem = &told["agent"]["config"]["problems"][0];
    assert_eq!((&problem["code"], &problem["file"]), (&json!("LNS-1020"), &json!(config)));
    let journal = |reason: &str| {
        let entries = state(&dir)["journal"].as_array().unwrap().clone();
        let of_config = |e: &&Value| e["subject"].as_str().unwrap().starts_with("config ");
        entries.iter().filter(of_config).filter(|e| e["reason"] == reason).count()
    };
    assert_eq!(journal("FileUnreadable"), 1);
    let status = command(&dir, &["status"]);
    assert!(code(&status) == 1 && all_of(&status).contains("LNS-1020"), "{}", all_of(&status));
    let samples = || device(&state(&dir), "d")["samples"].as_u64().unwrap();
    let then = samples();
    wait::until("the device to be read on", SOON, || samples() > then + 5).unwrap();
    std::fs::rename(&aside, &config).unwrap();
    wait::until("the problem to be gone", SOON, || {
        state(&dir)["agent"]["config"]["problems"] == json!([])
    })
    .unwrap();
    assert_eq!((journal("FileUnreadable"), journal("Corrected")), (1, 1));
    assert_eq!(applied(), before + 1);
    assert_eq!(code(&command(&dir, &["status"])), 0);
}

/// Big-endian, as the standard has it for one register and PLC4X for two (V1.1b3, 4.2).
fn value_bytes(value: u64) -> String {
    let bytes = u32::try_from(value).unwrap().to_be_bytes();
    bytes.map(|b| format!("{b:02X}")).join(" ")
}

#[test]
fn the_stream_tells_the_state_at_once_and_every_second() {
    let dir = TestDir::new("local_stream").unwrap();
    let (_peer, _broker) = plant(&dir);
    let agent = start(&dir, &PAGE);
    wait_well(&dir);
    let mut stream = TcpStream::connect(page(&agent)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let path = "/api/v1/stream?device=default%2Fd&device=default/none";
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let asked = Instant::now();
    let (mut first, mut event) = (None, String::new());
    let (mut states, mut values) = (0, Vec::new());
    for line in BufReader::new(&mut stream).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("event: ") {
            event = name.to_owned();
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        first.get_or_insert_with(|| asked.elapsed());
        let data: Value = serde_json::from_str(data).unwrap();
        match event.as_str() {
            "state" => {
                states += 1;
                assert_eq!(device(&data, "d")["health"], "Healthy");
            }
            "device" => {
                assert_eq!(data["device"]["name"], "d");
                values.push(data["points"][0]["value"].as_u64().unwrap());
            }
            other => panic!("event {other}"),
        }
        if states == 4 {
            break;
        }
    }
    assert!(first.unwrap() < Duration::from_secs(1), "{first:?}: at once");
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?} for four states", asked.elapsed());
    assert!(values.len() >= 3 && values.is_sorted() && values[0] < values[2], "{values:?}");
}

#[test]
fn a_tap_that_is_not_read_loses_events_is_told_so_and_delays_nobody() {
    let dir = TestDir::new("local_tap_slow").unwrap();
    // A thousand values at ten a second: far more than an unread connection takes up.
    let values: Vec<u16> = (0..1000).collect();
    let fixture = json!({"units": {"1": {"entries": [
        {"area": "holding", "address": 0, "type": "REGISTERS", "value": values}]}}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let points: Vec<(String, String)> =
        (1..=1000).map(|i| (format!("p{i}"), format!("holding-register:{i}:UINT"))).collect();
    let points: Vec<(&str, &str)> =
        points.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
    plant::write(&dir, "d", &plant::device("d", peer.port, &points, &["intervalMillis: 100"]));
    let agent = start(&dir, &PAGE);
    let samples = || device(&state(&dir), "d")["samples"].as_u64().unwrap_or(0);
    wait::until("samples", SOON, || samples() > 1000).unwrap();
    let mut slow = TcpStream::connect(page(&agent)).unwrap();
    slow.set_read_timeout(Some(SOON)).unwrap();
    write!(slow, "GET /api/v1/tap HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let begun = samples();
    wait::until("much more than the tap holds", SOON, || samples() > begun + 40_000).unwrap();
    assert_eq!(device(&state(&dir), "d")["health"], "Healthy");
    let lost = BufReader::new(&mut slow).lines().map_while(Result::ok).find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        (line["stage"] == "lost").then(|| line["events"].as_u64().unwrap())
    });
    assert!(lost.expect("a line that tells of the loss") > 0);
}

#[test]
fn without_an_agent_the_commands_say_how_to_start_one_and_a_new_one_is_found() {
    let dir = TestDir::new("local_absent").unwrap();
    dir.folder("agent-state").unwrap();
    let absent = |what: &str| {
        for args in [&["status"][..], &["top"], &["top", "-o", "json"], &["tap"]] {
            let output = command(&dir, args);
            let text = all_of(&output);
            assert_eq!(code(&output), 3, "{what}, {args:?}: {text}");
            assert!(text.contains("lineside agent --config"), "{what}, {args:?}: {text}");
        }
    };
    absent("never started");
    let (_peer, _broker) = plant(&dir);
    let mut agent = start(&dir, &PAGE);
    wait_well(&dir);
    let socket = dir.join("agent-state/agent.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    agent.server.kill().unwrap();
    assert!(socket.exists(), "a killed agent leaves its socket");
    absent("killed");
    let mut agent = start(&dir, &PAGE);
    wait::until("the new agent to be well", SOON, || code(&command(&dir, &["status"])) == 0)
        .unwrap();
    agent.server.term(SOON).unwrap();
    assert!(!socket.exists(), "an agent that ended leaves nothing");
    absent("ended");
}

#[test]
fn the_page_listener_answers_this_machines_names_and_nothing_but_questions() {
    let dir = TestDir::new("local_page").unwrap();
    let (_peer, _broker) = plant(&dir);
    let agent = start(&dir, &PAGE);
    let address = page(&agent);
    assert!(address.ip().is_loopback());
    let asked = |method: &str, path: &str, host: &str| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        ask(stream, method, path, host)
    };
    let own = [address.to_string(), "localhost".into(), "localhost:1".into(), "[::1]:9".into()];
    for host in own {
        assert_eq!(asked("GET", "/api/v1/state", &host).0, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9465", "localhost.evil.example", "10.0.0.1", ""] {
        for path in ["/api/v1/state", "/"] {
            let (status, body) = asked("GET", path, host);
            assert_eq!(status, 403, "{host} {path}: {body}");
        }
    }
    for (method, path, status) in [
        ("GET", "/api/v1/state?verbose=1", 400),
        ("GET", "/api/v1/tap?limit=0", 400),
        ("GET", "/api/v1/tap?devices=x", 400),
        ("GET", "/api/v1/stream?device=d", 400),
        ("GET", "/api/v1/devices/default/none", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/state", 404),
        ("GET", "/api", 404),
        ("GET", "/nothing.js", 404),
        ("GET", "/api/v1/devices/%ff/d", 400),
        ("POST", "/", 405),
        ("PUT", "/app.js", 405),
        ("POST", "/api/v1/state", 405),
        ("DELETE", "/api/v1/devices/default/d", 405),
    ] {
        let (got, body) = asked(method, path, "localhost");
        assert_eq!(got, status, "{method} {path}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let said = |key: &str| !body["error"][key].as_str().unwrap().is_empty();
        assert!(said("message") && said("next"), "{method} {path}: {body}");
    }
    // A page of another site gets nothing, and no answer may be built into it.
    let stranger = |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for (path, headers, status) in [
        ("/api/v1/state", "", "200"),
        ("/api/v1/state", "Sec-Fetch-Site: same-origin\r\n", "200"),
        ("/api/v1/state", "Origin: http://evil.example\r\n", "403"),
        ("/api/v1/tap", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", "403"),
        ("/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n", "403"),
        ("/", "", "200"),
    ] {
        let answer = stranger(path, headers).to_lowercase();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{path} {headers}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap();
        let policy = "cross-origin-resource-policy: same-origin";
        assert_eq!(head.matches(policy).count(), 1, "{path} {headers}: {head}");
    }
    // A stream has one of 64 places until its reader leaves.
    let open = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET /api/v1/stream HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = String::new();
        BufReader::new(&mut stream).read_line(&mut first).unwrap();
        (stream, first.split(' ').nth(1).unwrap().to_owned())
    };
    let places: Vec<_> = (0..64).map(|_| open()).collect();
    assert!(places.iter().all(|(_, status)| status == "200"));
    assert_eq!(open().1, "503");
    assert!(!state(&dir)["agent"].is_null());
    let tapped = command(&dir, &["tap", "--for", "2"]);
    assert_eq!(code(&tapped), 0, "the command line has places of its own: {}", all_of(&tapped));
    assert_eq!(asked("GET", "/api/v1/state", "localhost").0, 200, "all else goes on");
    drop(places);
    wait::until("places to be free again", SOON, || open().1 == "200").unwrap();
    let seventeen = vec!["device=default/d"; 17].join("&");
    let (status, _) = asked("GET", &format!("/api/v1/stream?{seventeen}"), "localhost");
    assert_eq!(status, 400);
}

#[test]
fn the_page_is_never_served_to_other_machines() {
    let dir = TestDir::new("local_page_address").unwrap();
    let config = dir.folder("config").unwrap();
    for address in ["0.0.0.0:0", "[::]:9465", "10.0.0.1:9465", "localhost:1", "on"] {
        let args = ["agent", "--config", config.to_str().unwrap(), "--page", address];
        let output = command(&dir, &args);
        assert_eq!(code(&output), 2, "{address}: {}", all_of(&output));
        assert!(all_of(&output).contains("127.0.0.1:9465"), "{address}: {}", all_of(&output));
    }
    // Whether the test or somebody else has it: the usual port is taken.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 9465));
    let agent = start(&dir, &[]);
    let address = page(&agent);
    assert!(address.ip().is_loopback() && address.port() != 9465, "{address}");
    let said = agent.log().unwrap();
    let said = said.iter().find(|e| e["message"].as_str().unwrap_or("").contains("port is taken"));
    assert_eq!(said.expect("a line that says so")["page"], json!(address.to_string()));
    let off = Agent::start(&dir, "off", &config, &["--page", "off"]).unwrap();
    assert_eq!(page_field(&off), "off");
    let state = dir.join("off-state");
    let output = lineside(["status", "--state", state.to_str().unwrap()]).unwrap();
    assert!(all_of(&output).contains("No devices."), "the socket serves all the same");
}

#[test]
fn no_secret_is_in_anything_that_the_api_or_the_log_tells() {
    const CANARY: &str = "c4n4ry-9f8e7d6c";
    let dir = TestDir::new("local_secrets").unwrap();
    let login = Some(("plant".to_owned(), "another-password".to_owned()));
    let options = Options { user: login, ..Options::default() };
    let broker = Broker::start(&dir, "broker", options).unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let more = ["intervalMillis: 200"];
    plant::write(&dir, "d", &plant::device("d", peer.port, &[COUNTER], &more));
    let login = "credentialsRef: {secret: login, usernameKey: user, passwordKey: pass}";
    let url = format!("url: mqtt://127.0.0.1:{}", broker.port);
    let yaml = plant::pipeline(broker.port, &[]).replace(&url, &format!("{url}\n      {login}"));
    plant::write(&dir, "pipeline", &yaml);
    dir.write("secrets/login/user", "plant").unwrap();
    // The broker does not know it, so that everything that tells of a refusal tells it.
    dir.write("secrets/login/pass", CANARY).unwrap();
    let agent = start(&dir, &PAGE);
    let told = wait::until_some("the refusal", SOON, || {
        let state = state(&dir);
        let sink = state["pipelines"][0]["sinks"][0].clone();
        (sink["health"] == "Unavailable" && !sink["code"].is_null()).then_some(state)
    })
    .unwrap();
    let mut everything = told.to_string();
    everything += &get(&dir, "/api/v1/devices/default/d").unwrap().to_string();
    everything += &all_of(&command(&dir, &["status"]));
    everything += &all_of(&command(&dir, &["tap", "--limit", "5", "-o", "json"]));
    everything += &agent.server.log().unwrap();
    assert!(everything.contains("default/d"), "something was told");
    assert!(!everything.contains(CANARY), "the password is told");
}

#[test]
fn completions_and_manual_pages_come_out_of_the_binary() {
    let dir = TestDir::new("local_words").unwrap();
    for (shell, says) in [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let output = lineside(["completions", shell]).unwrap();
        let text = all_of(&output);
        assert!(code(&output) == 0 && text.contains(says) && text.contains("status"), "{shell}");
    }
    let pages = dir.join("pages");
    assert_eq!(code(&lineside(["man", "--dir", pages.to_str().unwrap()]).unwrap()), 0);
    for page in ["lineside.1", "lineside-tap.1", "lineside-agent.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("Examples"), "{page}");
    }
    let tap = lineside(["man", "tap"]).unwrap();
    assert!(all_of(&tap).contains("lineside\\-tap"));
    assert_eq!(code(&lineside(["man", "no-such-command"]).unwrap()), 2);
}
