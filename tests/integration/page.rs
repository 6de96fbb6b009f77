//! The local page in a real browser: what it shows is what the devices hold, it says what is
//! wrong and what to do, and it is never silently old.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use lineside_tests::agent::{Agent, binary};
use lineside_tests::broker::{Broker, Options};
use lineside_tests::browser::Browser;
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::process::Server;
use lineside_tests::{ports, tools, wait};
use serde_json::{Value, json};

use crate::plant::{self, SOON};

/// From an event to its place on the page, beside what the agent itself may take: the stream's
/// second and the drawing of it. All deadlines are asserted at three times their length.
const SHOWN: Duration = Duration::from_secs(2);

/// Of the devices here: max(3 periods of 500 ms, 2 x timeout of 500 ms + 5 s).
const DEVICE: Duration = Duration::from_secs(6);

/// The configuration is read every 500 ms.
const CONFIG: Duration = Duration::from_secs(1);

/// From the start of `lineside demo` to a value that has changed twice on its page.
const FIRST_VALUE: Duration = Duration::from_secs(10);

/// The page calls a silent agent lost after 5 s.
const LOST: Duration = Duration::from_secs(5);

const FAST: [&str; 2] = ["intervalMillis: 500", "timeouts: {requestMillis: 500}"];
const COUNTER: (&str, &str) = ("counter", "holding-register:1:UDINT");

fn fixture() -> Value {
    json!({"units": {"1": {
        "entries": [
            {"area": "holding", "address": 10, "type": "FLOAT32", "order": "ABCD", "value": 21.7},
            {"area": "holding", "address": 12, "type": "UINT64", "order": "ABCD",
             "value": 9_007_199_254_740_993_u64},
            {"area": "holding", "address": 20, "type": "STRING",
             "value": "<img src=x onerror=alert(1)>"}],
        "counters": [{"name": "c", "area": "holding", "address": 0, "type": "UINT32",
                      "order": "ABCD", "start": 1000}],
    }}})
}

/// A page opened on an agent.
struct Screen {
    browser: Browser,
    /// The verdict and the rows at the last look, for the report of a failure.
    last: RefCell<String>,
}

impl Screen {
    fn open(dir: &TestDir, address: SocketAddr) -> Self {
        let browser = Browser::start(dir, "chromium").unwrap();
        browser.open(&format!("http://{address}/")).unwrap();
        Self { browser, last: RefCell::default() }
    }

    fn text(&self, selector: &str) -> String {
        self.browser.text(selector).unwrap().unwrap_or_default()
    }

    fn field(&self, of: &str, name: &str) -> String {
        self.text(&format!("{of} [data-field=\"{name}\"]"))
    }

    fn verdict(&self) -> String {
        self.text("[data-field=verdict]")
    }

    /// Waits for what a person would read, and prints how long it took.
    fn until(&self, what: &str, deadline: Duration, look: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        let result = wait::until(what, deadline * 3, || {
            let seen = look(self);
            if !seen {
                *self.last.borrow_mut() = self.text("main");
            }
            seen
        });
        if let Err(error) = result {
            panic!("{error}; the page says: {}", self.last.borrow());
        }
        let took = started.elapsed().as_secs_f64();
        println!("page: {what}: {took:.2} s (deadline {:.0} s)", deadline.as_secs_f64());
    }

    /// No request has left the machine, and nothing was refused or threw.
    fn assert_kept_to_itself(&self, address: SocketAddr) {
        let requests = self.browser.requests().unwrap();
        assert!(requests.iter().any(|url| url.contains("/api/v1/stream")), "{requests:?}");
        let own = format!("http://{address}/");
        for url in requests {
            assert!(url.starts_with(&own) || url.starts_with("data:"), "a request to {url}");
        }
    }
}

fn row(device: &str) -> String {
    format!("[data-device=\"default/{device}\"]")
}

fn point(device: &str, name: &str) -> String {
    format!("{} [data-point=\"{name}\"]", row(device))
}

fn page_address(agent: &Agent) -> SocketAddr {
    let log = agent.log().unwrap();
    let page = log.iter().find_map(|event| event["page"].as_str()).unwrap();
    page.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}

fn everything(name: &str, port: u16) -> String {
    let points = [
        COUNTER,
        ("level", "holding-register:11:REAL"),
        ("large", "holding-register:13:ULINT"),
        ("label", "holding-register:21:CHAR[28]"),
    ];
    plant::device(name, port, &points, &FAST)
}

#[test]
fn the_page_shows_what_the_device_holds_and_asks_nobody_else() {
    let dir = TestDir::new("page-values").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    plant::write(&dir, "press", &everything("press", peer.port));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let agent =
        Agent::start(&dir, "agent", &dir.join("config"), &["--page", "127.0.0.1:0"]).unwrap();
    let address = page_address(&agent);
    let screen = Screen::open(&dir, address);

    // A newcomer sees values without a click: the first device is open.
    let mut seen = BTreeSet::new();
    let counter = point("press", "counter");
    wait::until("three values of the counter", SOON, || {
        seen.extend(screen.field(&counter, "value").parse::<u64>());
        seen.len() >= 3
    })
    .unwrap();
    let requests = peer.log.requests().unwrap();
    let served: BTreeSet<u64> =
        requests.iter().flat_map(|r| r.counters.values().copied()).collect();
    assert!(seen.is_subset(&served), "the page showed {seen:?}, the device served {served:?}");

    assert_eq!(screen.field(&point("press", "level"), "value"), "21.7");
    assert_eq!(screen.field(&point("press", "level"), "quality"), "Good");
    assert_ne!(screen.field(&point("press", "level"), "wire"), "");
    assert_ne!(screen.field(&point("press", "level"), "age"), "");
    // An integer that a double cannot hold, and text that would be markup.
    assert_eq!(screen.field(&point("press", "large"), "value"), "9007199254740993");
    let label = screen.field(&point("press", "label"), "value");
    assert_eq!(label, "<img src=x onerror=alert(1)>");
    assert_eq!(screen.browser.count("main img").unwrap(), 0);

    screen.until("the verdict", SHOWN, |s| {
        s.verdict() == "The device is read, everything is delivered"
    });
    let sink = "[data-pipeline=\"default/all\"] [data-sink=broker]";
    screen.until("delivered samples", SHOWN, |s| {
        s.field(sink, "connected") == "connected" && s.field(sink, "delivered") != "0"
    });
    screen.until("a trend", SHOWN * 2, |s| {
        s.browser.count(&format!("{counter} .trend .line[d*=L]")).unwrap() == 1
    });
    screen.assert_kept_to_itself(address);
    assert_eq!(screen.browser.complaints().unwrap(), Vec::<String>::new());
}

#[test]
fn the_page_says_what_is_wrong_and_what_to_do_until_it_is_right_again() {
    let dir = TestDir::new("page-faults").unwrap();
    let mut peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let other = Pymodbus::start(&dir, "other", &fixture()).unwrap();
    let mut broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let press = everything("press", peer.port);
    plant::write(&dir, "press", &press);
    plant::write(&dir, "saw", &everything("saw", other.port));
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let agent =
        Agent::start(&dir, "agent", &dir.join("config"), &["--page", "127.0.0.1:0"]).unwrap();
    let address = page_address(&agent);
    let screen = Screen::open(&dir, address);
    let fine = |s: &Screen| s.verdict() == "Both devices are read, everything is delivered";
    screen.until("all is well", SOON, fine);
    let (press_row, saw_row) = (row("press"), row("saw"));
    assert_eq!(screen.field(&press_row, "next"), "", "no advice where nothing is wrong");

    // The device dies.
    peer.server.kill().unwrap();
    screen.until("the dead device with code and next step", DEVICE + SHOWN, |s| {
        s.field(&press_row, "health") == "Unavailable"
            && s.field(&press_row, "code").starts_with("LNS-2")
            && !s.field(&press_row, "message").is_empty()
            && !s.field(&press_row, "next").is_empty()
            && s.verdict().starts_with("1 of 2 devices is not read")
    });
    screen.until("its points without a value", SHOWN, |s| {
        let level = point("press", "level");
        s.field(&level, "quality") == "Bad" && s.field(&level, "value") == "–"
    });
    assert_eq!(screen.field(&saw_row, "health"), "Healthy", "the other device is not concerned");
    let event = "[data-event*=\"default/press\"][data-health=Unavailable]";
    assert!(screen.browser.count(event).unwrap() >= 1, "the event is in the list");
    peer.restart().unwrap();
    // The pause between two attempts grows with the outage; this one was short.
    screen.until("all is well after the device", Duration::from_secs(15), fine);
    assert_eq!(screen.field(&press_row, "code"), "");

    // The broker stops.
    let sink = "[data-sink=broker]";
    broker.term().unwrap();
    screen.until("the stopped broker with code and next step", DEVICE + SHOWN, |s| {
        s.field(sink, "health") == "Unavailable"
            && s.field(sink, "connected") == "not connected"
            && s.field(sink, "code").starts_with("LNS-3")
            && !s.field(sink, "next").is_empty()
            && s.verdict().starts_with("Nothing is delivered")
    });
    screen.until("what waits for the broker", SHOWN, |s| s.field(sink, "buffered") != "0");
    broker.restart().unwrap();
    screen.until("all is well after the broker", Duration::from_secs(15), fine);
    assert_eq!(screen.field(sink, "next"), "");

    // The YAML breaks.
    let broken = press.replace("holding-register:1:UDINT", "holding-register:1:UDINTT");
    let line = broken.lines().position(|l| l.contains("UDINTT")).unwrap() + 1;
    plant::write(&dir, "press", &broken);
    let problem = "[data-problem]";
    screen.until("the broken line with code and next step", CONFIG + SHOWN, |s| {
        s.field(problem, "at").contains(&format!("press.yaml:{line}:"))
            && s.field(problem, "code").starts_with("LNS-1")
            && !s.field(problem, "next").is_empty()
            && s.verdict().contains("1 error in the configuration")
    });
    assert_eq!(screen.field(&press_row, "health"), "Healthy", "its former version runs on");
    plant::write(&dir, "press", &press);
    screen.until("all is well after the repair", CONFIG + SHOWN, fine);
    assert_eq!(screen.browser.count(problem).unwrap(), 0);
    screen.assert_kept_to_itself(address);
}

#[test]
fn the_page_tells_pipelines_apart_and_names_devices_far_down_the_list() {
    let dir = TestDir::new("page-pipelines").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let nobody = ports::free().unwrap();
    let idle = ["mode: Suspended"];
    // More than the page has rows, and names that differ in what an id does not keep.
    let mut many = String::new();
    for i in 0..210 {
        many += &plant::device(&format!("q{i:03}"), peer.port, &[COUNTER], &idle);
        many += "---\n";
    }
    for (file, name) in [("a", "n.a"), ("b", "n-a")] {
        plant::write(&dir, file, &everything(name, peer.port));
    }
    plant::write(&dir, "many", &many);
    plant::write(&dir, "zdead", &plant::device("zdead", nobody, &[COUNTER], &FAST));
    let line = |name, devices| plant::Line { name, devices, ..plant::Line::to(broker.port) }.yaml();
    plant::write(&dir, "some", &line("some", &["n.a", "zdead"]));
    plant::write(&dir, "none", &line("none", &["zdead"]));
    let agent =
        Agent::start(&dir, "agent", &dir.join("config"), &["--page", "127.0.0.1:0"]).unwrap();
    let screen = Screen::open(&dir, page_address(&agent));

    let pipeline = |name: &str| format!("[data-pipeline=\"default/{name}\"]");
    let (some, none) = (pipeline("some"), pipeline("none"));
    screen.until("the pipeline whose only device is silent", SOON, |s| {
        s.field(&none, "pipeline-health") == "Unavailable"
            && s.field(&format!("{none} > .fault"), "code") == "LNS-2036"
            && !s.field(&format!("{none} > .fault"), "next").is_empty()
    });
    assert_eq!(screen.field(&some, "pipeline-health"), "Healthy", "one of its devices is read");
    assert_eq!(screen.text(&format!("{some} > .fault")), "");
    // Five points of each of the two that are read, none of those that are not wanted.
    let points = "[data-station=points]";
    screen.until("the points of what runs", SHOWN, |s| s.field(points, "count") == "8 / 9");

    let zdead = row("zdead");
    assert_eq!(screen.browser.count(&zdead).unwrap(), 0, "it is beyond the rows that are shown");
    screen.until("the device among the causes", SHOWN, |s| s.text("#causes").contains("zdead"));
    let cause = "const of = [...document.querySelectorAll('#causes button')];
        of.find((b) => b.textContent.includes('zdead')).click()";
    screen.browser.run(cause, json!([])).unwrap();
    screen.until("the device of the cause", SHOWN, |s| s.field(&zdead, "code") == "LNS-2001");

    screen.browser.run("location.reload()", json!([])).unwrap();
    screen.until("the page again", SHOWN, |s| s.browser.count(&row("n.a")).unwrap() == 1);
    let twice = "const ids = [...document.querySelectorAll('[id]')].map((n) => n.id);
        return ids.filter((id, i) => ids.indexOf(id) !== i)";
    assert_eq!(screen.browser.run(twice, json!([])).unwrap(), json!([]), "ids are unique");
    // What a screen reader calls a device does not change while its age does.
    let named = "const n = document.querySelector(arguments[0]);
        return [n.getAttribute('aria-labelledby').split(' ')
            .map((id) => document.getElementById(id).textContent).join(' '), n.textContent]";
    let button = format!("{} button.row", row("n.a"));
    let name = || screen.browser.run(named, json!([button])).unwrap();
    let first = name();
    assert_eq!(first[0], "n.a");
    screen.until("another age", SHOWN, |_| name()[1] != first[1]);
    assert_eq!(name()[0], "n.a");
}

#[test]
fn a_page_that_the_agent_has_no_place_for_says_so_until_there_is_one() {
    let dir = TestDir::new("page-crowded").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    plant::write(&dir, "press", &everything("press", peer.port));
    let agent =
        Agent::start(&dir, "agent", &dir.join("config"), &["--page", "127.0.0.1:0"]).unwrap();
    let address = page_address(&agent);
    let mut places: Vec<TcpStream> = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /api/v1/stream HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.0 200");
        places.push(stream);
    }
    let screen = Screen::open(&dir, address);
    screen.until("the refusal", LOST, |s| {
        s.text("#lost").contains("64 streams are open")
            && s.text("#lost").contains("close pages or taps")
            && s.verdict().contains("64 streams are open")
    });
    drop(places);
    screen.until("a live page", LOST + SHOWN, |s| {
        s.text("#lost").is_empty() && s.field(&point("press", "level"), "value") == "21.7"
    });
}

#[test]
fn a_page_left_open_over_a_restart_of_the_agent_recovers_by_itself() {
    let dir = TestDir::new("page-restart").unwrap();
    let peer = Pymodbus::start(&dir, "peer", &fixture()).unwrap();
    plant::write(&dir, "press", &everything("press", peer.port));
    plant::write(&dir, "saw", &everything("saw", peer.port));
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    plant::write(&dir, "pipeline", &plant::pipeline(broker.port, &[]));
    let at = format!("127.0.0.1:{}", ports::free().unwrap());
    let mut agent = Agent::start(&dir, "agent", &dir.join("config"), &["--page", &at]).unwrap();
    let screen = Screen::open(&dir, at.parse().unwrap());
    let value = |s: &Screen, device: &str| s.field(&point(device, "level"), "value");
    screen.until("a value", SOON, |s| value(s, "press") == "21.7");
    screen.browser.click(&format!("{} button", row("saw"))).unwrap();
    screen.until("a value of the second device", SHOWN, |s| value(s, "saw") == "21.7");

    agent.server.kill().unwrap();
    screen.until("the loss is said", LOST, |s| {
        s.verdict() == "Not connected to the agent"
            && s.text("#lost").contains("Not connected to the agent")
            && s.field(&point("press", "level"), "quality") == "Stale"
            && s.field(&row("press"), "health") == "was Healthy"
            && s.field("[data-sink=broker]", "health").starts_with("was ")
    });

    agent.server.spawn().unwrap();
    let live = |s: &Screen| {
        s.text("#lost").is_empty()
            && ["press", "saw"].iter().all(|d| s.field(&point(d, "level"), "quality") == "Good")
    };
    screen.until("both open devices are live again", DEVICE + SHOWN, live);
    let counter = |s: &Screen| s.field(&point("press", "counter"), "value");
    let before = counter(&screen);
    screen.until("values move again", SHOWN, |s| counter(s) != before);

    // Silent, but with its connections: only the watchdog notices.
    agent.server.stop().unwrap();
    screen.until("the silence is said", LOST, |s| s.verdict() == "Not connected to the agent");
    agent.server.cont().unwrap();
    screen.until("live after the silence", DEVICE + SHOWN, live);
    screen.assert_kept_to_itself(at.parse().unwrap());
}

#[test]
fn the_page_works_by_keyboard_and_with_a_thousand_points() {
    let dir = TestDir::new("page-keyboard").unwrap();
    let zeros = json!({"units": {"1": {"entries": [
        {"area": "holding", "address": 0, "type": "REGISTERS", "value": vec![7; 1000]}]}}});
    let peer = Pymodbus::start(&dir, "peer", &zeros).unwrap();
    let points: Vec<_> =
        (1..=1000).map(|i| (format!("p{i:04}"), format!("holding-register:{i}:UINT"))).collect();
    let points: Vec<_> = points.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    plant::write(&dir, "big", &plant::device("big", peer.port, &points, &FAST));
    plant::write(&dir, "small", &plant::device("small", peer.port, &points[..1], &FAST));
    let agent =
        Agent::start(&dir, "agent", &dir.join("config"), &["--page", "127.0.0.1:0"]).unwrap();
    let screen = Screen::open(&dir, page_address(&agent));
    let rows = format!("{} [data-point]", row("big"));
    let value = |s: &Screen, name: &str| s.field(&point("big", name), "value");
    screen.until("the first rows", SOON, |s| value(s, "p0001") == "7");
    assert_eq!(screen.browser.count(&rows).unwrap(), 200, "the rest is found by the filter");

    // Frames go on while events come in.
    let frames =
        "const until = performance.now() + 3000; window.worst = 0; let last = until - 3000;
        const next = (now) => { window.worst = Math.max(window.worst, now - last); last = now;
            if (now < until) requestAnimationFrame(next); else window.done = true; };
        requestAnimationFrame((now) => { last = now; next(now); });";
    screen.browser.run(frames, json!([])).unwrap();
    screen.until("three seconds of frames", SOON, |s| {
        s.browser.run("return window.done === true", json!([])).unwrap() == true
    });
    let worst = screen.browser.run("return window.worst", json!([])).unwrap();
    println!("page: longest pause between frames with 1,000 points: {worst} ms");
    assert!(worst.as_f64().unwrap() < 1000.0, "{worst} ms without a frame");

    let focus = "document.querySelector(arguments[0]).focus()";
    let filter = format!("{} .points-panel input", row("big"));
    screen.browser.run(focus, json!([filter])).unwrap();
    screen.browser.press("p0777").unwrap();
    screen.until("the point that was looked for", SHOWN, |s| {
        value(s, "p0777") == "7" && s.browser.count(&rows).unwrap() == 1
    });

    // From the top by Tab alone: skip link, theme, filters, the first device; Enter closes it.
    screen.browser.run("location.reload()", json!([])).unwrap();
    screen.until("the page again", SHOWN, |s| value(s, "p0001") == "7");
    let opened = format!("{} button.row", row("big"));
    let mut passed = Vec::new();
    for _ in 0..12 {
        screen.browser.press("\u{E004}").unwrap();
        let here = "const n = document.activeElement;
            return [n.textContent, n.matches(arguments[0]), getComputedStyle(n).outlineStyle]";
        let here = screen.browser.run(here, json!([opened])).unwrap();
        assert_ne!(here[2], "none", "the focus is seen on {}", here[0]);
        passed.push(here[0].clone());
        if here[1] == true {
            break;
        }
    }
    screen.browser.press("\u{E007}").unwrap();
    screen.until("the device closed by Enter", SHOWN, |s| {
        s.browser.count(&format!("{opened}[aria-expanded=false]")).unwrap() == 1
            && s.browser.count(&rows).unwrap() == 0
    });
    println!("page: tab order {passed:?}");

    // Only the verdict is read aloud; all that is looked at has a name and a place.
    assert_eq!(screen.browser.count("[aria-live]").unwrap(), 1);
    assert_eq!(screen.browser.count("h1[aria-live=polite]").unwrap(), 1);
    assert_eq!(
        screen.browser.count("header, main, footer, main section[aria-labelledby]").unwrap(),
        8
    );
    assert_eq!(
        screen.browser.count("input:not(label input), svg.shape:not([aria-hidden])").unwrap(),
        0
    );

    // The theme is chosen once and kept.
    let ground = "return getComputedStyle(document.documentElement).backgroundColor";
    screen.browser.click("#theme").unwrap();
    let light = screen.browser.run(ground, json!([])).unwrap();
    screen.browser.click("#theme").unwrap();
    let dark = screen.browser.run(ground, json!([])).unwrap();
    assert_ne!(light, dark);
    screen.browser.run("location.reload()", json!([])).unwrap();
    screen.until("the chosen theme again", SHOWN, |s| s.text("[data-field=theme]") == "dark");
    assert_eq!(screen.browser.run(ground, json!([])).unwrap(), dark);
    screen.browser.screenshot(Path::new(&dir.join("last.png"))).unwrap();
}

#[test]
fn the_page_of_the_demo_shows_within_seconds_what_pymodbus_reads_from_its_device() {
    let dir = TestDir::new("page-demo").unwrap();
    let browser = Browser::start(&dir, "chromium").unwrap();
    let at: SocketAddr = ([127, 0, 0, 1], ports::free().unwrap()).into();
    let page = at.to_string();
    let (said, log) = (dir.join("demo.out"), dir.join("demo.log"));
    let started = Instant::now();
    let line = dir.join("line").display().to_string();
    let args = ["demo", "--page", &page, "--dir", &line];
    let mut demo = Server::start_with("demo", &binary().unwrap(), args, &[], &said, &log).unwrap();
    let conveyor = demo.wait_ready("the port of the conveyor", SOON, || {
        let text = std::fs::read_to_string(&said).ok()?;
        let line = text.lines().find(|line| line.trim_start().starts_with("conveyor "))?;
        let port = line.split_once("127.0.0.1:")?.1.split_whitespace().next()?.to_owned();
        text.contains(&page).then_some(port)
    });
    browser.open(&format!("http://{page}/")).unwrap();
    let screen = Screen { browser, last: RefCell::default() };

    // The oracle: pymodbus reads the same register all the while.
    let script = tools::python_peer("pymodbus_reader.py").display().to_string();
    let conveyor = conveyor.unwrap();
    let every = ["--address", "1", "--type", "UDINT", "--every", "0.05"];
    let args = [&[script.as_str(), "--port", &conveyor], every.as_slice()].concat();
    let reads = dir.join("parts.reads");
    let python = tools::python().unwrap();
    let _reader =
        Server::start_with("parts", &python, args, &[], &reads, &dir.join("parts.log")).unwrap();

    let parts = point("conveyor", "parts");
    let mut shown = Vec::new();
    wait::until("three values of the demo", FIRST_VALUE * 3, || {
        if let Ok(value) = screen.field(&parts, "value").parse::<u64>()
            && shown.last() != Some(&value)
        {
            shown.push(value);
        }
        shown.len() >= 3
    })
    .unwrap();
    let took = started.elapsed().as_secs_f64();
    println!("page: a value of the demo changed twice: {took:.2} s after its start (target 10 s)");
    wait::until("the newest of them read by pymodbus", SOON, || {
        let text = std::fs::read_to_string(&reads).unwrap();
        let read = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let read: BTreeSet<u64> = read.filter_map(|r| r["value"].as_u64()).collect();
        shown.last().is_some_and(|value| read.contains(value))
    })
    .unwrap();
    screen.assert_kept_to_itself(at);
}
