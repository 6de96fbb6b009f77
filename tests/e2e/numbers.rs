//! How long things take and what they cost on the lab; what docs/reference/cluster-numbers.md
//! says. Asserts nothing but that everything works.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::wait;

use crate::cluster;
use crate::line::{Line, SOON, device_yaml, pipeline_yaml};

/// How many edits are timed.
const EDITS: usize = 30;
/// From one edit to the next: an agent tells less often while changes go on, and begins anew after
/// a pause.
const BETWEEN: Duration = Duration::from_secs(10);
/// How long what is at rest is watched.
const REST: Duration = Duration::from_secs(60);
/// From the last change to the beginning of rest.
const CALM: Duration = Duration::from_secs(15);
/// Devices of the larger plant; all are one server, each with a connection of its own.
const MANY: usize = 50;
/// Clock ticks of `/proc` a second, on every Linux that we know.
const TICKS: f64 = 100.0;

fn measured(what: &str, value: &str) {
    println!("numbers | {what:<58} | {value}");
}

#[test]
fn times_and_costs_on_a_cluster_of_two_nodes() {
    let mut line = Line::alone("numbers");
    let charts = cluster::install(&line.lab);
    measured("helm install --wait of both charts", &seconds(charts));

    let at = line.device_address();
    let device = line.device("furnace", at);
    let first = device_yaml("furnace", at, Some("node1")).replace("500", "1000");
    let started = Instant::now();
    line.apply(&format!("{first}---\n{}", pipeline_yaml("to-broker", &line.broker)));
    wait::until("a sample", SOON, || line.arrived().iter().any(|a| a.is_good()))
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    let sample = started.elapsed();
    measured("apply to first sample at a consumer (new agent pod)", &seconds(sample));
    measured("install to first sample, sum of both", &seconds(charts + sample));
    line.wait_ready("furnace", "to-broker");

    edits(&line, &first);
    rest(&line, "1 device of 2 points, 1 s");
    many(&line, &first, &device);
    rest(&line, &format!("{MANY} devices of 2 points, 1 s"));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// From `kubectl apply` of a changed point until the agent has said that it runs the new
/// configuration, and until the DeviceConnection says so.
fn edits(line: &Line, first: &str) {
    let device = Watch::start(
        line,
        "dconn/furnace",
        r#"{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type=="Programmed")].status} {.status.conditions[?(@.type=="Programmed")].observedGeneration}"#,
    );
    let agent = Watch::start(
        line,
        &format!(
            "lsagent/{}",
            line.list("agents.lineside.dev")[0]["metadata"]["name"].as_str().unwrap()
        ),
        "{.spec.configHash} {.status.configHash}",
    );
    let mut times = [Vec::new(), Vec::new()];
    thread::sleep(CALM);
    for edit in 0..EDITS {
        let former = agent.last_word();
        let unit = format!("REAL', unit: u{edit}}}");
        let generation = line.get("dconn", "furnace").unwrap()["metadata"]["generation"].clone();
        let next = generation.as_i64().unwrap() + 1;
        let started = Instant::now();
        line.apply(&first.replace("REAL'}", &unit));
        let ran = agent.wait(|text| {
            let words: Vec<_> = text.split(' ').collect();
            matches!(words.as_slice(), [wanted, runs] if wanted == runs && Some(*runs) != former.as_deref())
        });
        let said = device.wait(|text| text == format!("{next} {next} True {next}"));
        times[0].push(ran.duration_since(started));
        times[1].push(said.duration_since(started));
        thread::sleep(BETWEEN);
    }
    let what = ["edit applied by the agent", "  and told by the DeviceConnection (Programmed)"];
    for (what, mut times) in what.iter().zip(times) {
        times.sort();
        // Nearest rank.
        let rank = |share: f64| times[((EDITS as f64 * share).ceil() as usize).clamp(1, EDITS) - 1];
        let (half, most) = (rank(0.5).as_secs_f64(), rank(0.99).as_secs_f64());
        measured(what, &format!("p50 {half:.2} s, p99 {most:.2} s of {EDITS}"));
    }
}

/// `kubectl get --watch`, line by line, with the moment of each line.
struct Watch {
    child: Child,
    lines: Receiver<(Instant, String)>,
    last: std::cell::RefCell<String>,
}

impl Watch {
    fn start(line: &Line, object: &str, path: &str) -> Self {
        let mut kubectl = line.lab.kubectl();
        kubectl.args(["-n", &line.namespace, "get", object, "--watch", "-o"]);
        kubectl.arg(format!("jsonpath={path}{{\"\\n\"}}"));
        let mut child = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, last: std::cell::RefCell::default() }
    }

    /// The second word of the newest line.
    fn last_word(&self) -> Option<String> {
        while let Ok((_, line)) = self.lines.try_recv() {
            self.last.replace(line);
        }
        self.last.borrow().split(' ').nth(1).map(str::to_owned)
    }

    /// When the first line came that is as wanted.
    fn wait(&self, wanted: impl Fn(&str) -> bool) -> Instant {
        loop {
            let last = self.last.borrow().clone();
            let (at, line) =
                self.lines.recv_timeout(SOON).unwrap_or_else(|e| panic!("{e}: {last}"));
            let found = wanted(&line);
            self.last.replace(line);
            if found {
                return at;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same device under many names.
fn many(line: &Line, first: &str, device: &Pymodbus) {
    let all: Vec<String> = (1..MANY)
        .map(|n| first.replace("name: furnace\n", &format!("name: furnace-{n}\n")))
        .collect();
    let started = Instant::now();
    line.apply(&all.join("---\n"));
    wait::until("all are Ready", 2 * SOON, || {
        let all = line.list("dconn");
        let ready = |d: &&serde_json::Value| {
            crate::line::of(d, "Ready").is_some_and(|c| c.status == "True")
        };
        all.len() == MANY && all.iter().filter(ready).count() == MANY
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    let what = format!("apply of {} more devices to all Ready", MANY - 1);
    measured(&what, &seconds(started.elapsed()));
    assert!(device.log.accepts().unwrap() >= MANY, "each has a connection of its own");
}

/// Memory and CPU of both programs while nothing changes.
fn rest(line: &Line, plant: &str) {
    thread::sleep(CALM);
    let programs = [("operator", "lineside-operator"), ("agent", "lineside")];
    let before = programs.map(|(name, program)| {
        let pid = process(line, program).unwrap();
        (name, pid, ticks(pid).unwrap())
    });
    let started = Instant::now();
    thread::sleep(REST);
    for (name, pid, before) in before {
        let used = (ticks(pid).unwrap() - before) / TICKS;
        let share = used / started.elapsed().as_secs_f64() * 100.0;
        let resident = resident_kib(pid).unwrap() / 1024.0;
        let what = format!("{name} at rest, {plant}");
        measured(&what, &format!("{resident:.1} MiB resident, {share:.2} % of a core"));
    }
}

/// The process of that name in this lab.
fn process(line: &Line, program: &str) -> Result<u32> {
    let ours = format!("/{}/", line.lab.layout().cgroup());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end between two looks.
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        // Names of processes are cut after 15 bytes.
        let name = format!("{}\n", program.get(..15).unwrap_or(program));
        let is_ours = |cgroups: &String| cgroups.contains(&ours);
        if read("comm").is_ok_and(|n| n == name) && read("cgroup").as_ref().is_ok_and(is_ours) {
            found.push(pid);
        }
    }
    anyhow::ensure!(found.len() == 1, "{program}: {found:?}");
    Ok(found[0])
}

/// User and system time of a process, in clock ticks.
fn ticks(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything, also brackets and spaces.
    let (_, rest) = stat.rsplit_once(") ").context("the name in brackets")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number).copied().unwrap_or_default().parse::<f64>();
    Ok(field(11)? + field(12)?)
}

fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("its value")?.parse()?)
}
