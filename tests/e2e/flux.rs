//! Flux applies the plant of `examples/kubernetes/gitops` from a Git repository, and calls it
//! healthy only once data flows.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lineside_crds::yaml;
use lineside_lab::binaries::Set;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::process::Server;
use lineside_tests::tools::{self, workspace};
use lineside_tests::{broker, wait};
use serde_json::{Value, json};
use xtask::cache::Cache;

use crate::line::{BROKER, Condition, DEVICE, Line, PIPELINE, SOON, Use, of, unix_ns};
use crate::shared;

/// Flux looks at the repository so often, and at a reconciled plant half as often.
const LOOK_SECONDS: u32 = 5;
/// How long the plant is watched with its device off.
const OFF: Duration = Duration::from_secs(20);
/// Where the repository is served.
const GIT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8088);
/// The namespace of Flux.
const FLUX: &str = "flux-system";
/// What the plant's device is called.
const DEVICE_NAME: &str = "furnace-1";

/// One check as a row of the report.
fn checked(what: &str, result: &str) {
    println!("compat | flux     | {what:<62} | {result}");
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "test").env(format!("GIT_{who}_EMAIL"), "test@lab");
    }
    let output = git.args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The repository of the plant: a folder to edit, and what is served.
struct Repository {
    work: PathBuf,
    served: PathBuf,
    _server: Server,
}

impl Repository {
    fn new(line: &Line) -> Self {
        let served = line.dir.folder("git/plant.git").unwrap();
        git(&served, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        let work = line.dir.folder("work").unwrap();
        git(&work, &["init", "--quiet", "--initial-branch=main"]);
        copy(&workspace().join("examples/kubernetes/gitops"), &work);
        let root = line.dir.join("git");
        let port = GIT.port().to_string();
        let script = tools::python_peer("git_server.py");
        let args = [script.as_os_str(), root.as_os_str(), "--port".as_ref(), port.as_ref()];
        let mut server = Server::start(&line.dir, "git", &tools::python().unwrap(), args).unwrap();
        server.wait_address(GIT, SOON).unwrap();
        let repository = Self { work, served, _server: server };
        repository.push("the plant");
        repository
    }

    /// Commits everything and publishes it; the commit.
    fn push(&self, message: &str) -> String {
        git(&self.work, &["add", "--all"]);
        git(&self.work, &["commit", "--quiet", "-m", message]);
        git(&self.work, &["push", "--quiet", &self.served.display().to_string(), "main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// Edits the device of the plant.
    fn edit(&self, from: &str, to: &str) {
        let file = self.work.join(format!("plant/devices/{DEVICE_NAME}.yaml"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = { entry.map(|e| (e.path(), e.file_name())).unwrap() };
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// The controllers of Flux as programs of this machine, as the cluster's administrator.
fn controllers(line: &Line) -> [Server; 2] {
    let cache = Cache::of(workspace()).unwrap();
    let programs = Set::Flux.find(cache.root()).expect("cargo xtask lab build flux");
    let crds = programs.join("crds").display().to_string();
    line.lab.kubectl_output(&["apply", "--server-side", "-f", &crds]).unwrap();
    let _ = line.lab.kubectl_output(&["create", "namespace", FLUX]);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    line.lab.kubectl_output(&wait).unwrap();
    let config = line.lab.kubeconfig().display().to_string();
    let start = |name: &str, ports: u16, more: &[&str]| {
        let home = line.dir.folder(name).unwrap().display().to_string();
        let mut args = vec![
            format!("--metrics-addr=127.0.0.1:{ports}"),
            format!("--health-addr=127.0.0.1:{}", ports + 1),
        ];
        // No notification controller listens, and nobody shall wait for long.
        let every = ["--events-addr=", "--min-retry-delay=1s", "--max-retry-delay=5s"];
        args.extend(every.iter().chain(more).map(|s| (*s).to_owned()));
        let env = [
            ("KUBECONFIG", config.as_str()),
            ("RUNTIME_NAMESPACE", FLUX),
            ("HOME", home.as_str()),
            ("TMPDIR", home.as_str()),
        ];
        let log = line.dir.join(&format!("{name}.log"));
        Server::start_with(name, &programs.join(name), args, &env, &log, &log).unwrap()
    };
    let storage = line.dir.folder("artifacts").unwrap().display().to_string();
    let storage = format!("--storage-path={storage}");
    let artifacts = ["--storage-addr=127.0.0.1:9790", "--storage-adv-addr=127.0.0.1:9790"];
    [
        start("source-controller", 9780, &[&artifacts[..], &[storage.as_str()]].concat()),
        start("kustomize-controller", 9782, &[]),
    ]
}

/// The example as it is, but for the address of the repository and for patience.
fn flux_objects() -> String {
    let file = workspace().join("examples/kubernetes/gitops/flux/plant.yaml");
    let mut objects = yaml::values(&fs::read_to_string(file).unwrap());
    let [source, plant] = objects.as_mut_slice() else { panic!("{objects:?}") };
    assert_eq!(source["kind"], "GitRepository");
    source["spec"]["url"] = json!(format!("http://{GIT}/plant.git"));
    source["spec"]["interval"] = json!(format!("{LOOK_SECONDS}s"));
    assert_eq!((&plant["kind"], &plant["spec"]["wait"]), (&json!("Kustomization"), &json!(true)));
    plant["spec"]["interval"] = json!(format!("{}s", 2 * LOOK_SECONDS));
    plant["spec"]["retryInterval"] = json!(format!("{LOOK_SECONDS}s"));
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn kustomization(line: &Line) -> Value {
    line.lab.get(&["kustomization.kustomize.toolkit.fluxcd.io", "plant", "-n", FLUX]).unwrap()
}

/// Waits until Flux says so of the plant.
fn flux_says(line: &Line, what: &str, wanted: impl Fn(&Value, &Condition) -> bool) -> Condition {
    let mut last = None;
    let found = wait::until_some(what, 2 * SOON, || {
        let object = kustomization(line);
        last = of(&object, "Ready");
        last.clone().filter(|ready| wanted(&object, ready))
    });
    found.unwrap_or_else(|e| panic!("{e}; last: {last:?}\n{}", line.describe()))
}

#[test]
fn flux_calls_the_plant_healthy_only_once_data_flows() {
    let listener = format!("listener 1883 {BROKER}");
    let options = broker::Options { extra: vec![listener], ..broker::Options::default() };
    let mut line = Line::new("flux", Use::Alone(shared::alone()), options);
    let own = std::mem::replace(&mut line.namespace, "plant".to_owned());
    line.lab.kubectl_output(&["delete", "namespace", &own, "--wait=false"]).unwrap();
    let repository = Repository::new(&line);
    let _controllers = controllers(&line);
    line.lab.apply(&flux_objects()).unwrap();

    // The device is off.
    let started = Instant::now();
    line.wait_for("deviceconnection", DEVICE_NAME, "Ready", SOON, |c| {
        c.status == "False" && c.reason == "Unreachable"
    });
    checked("applied from Git, the device is off", &seconds(started));
    wait::while_true("health checks go on", OFF, || {
        let object = kustomization(&line);
        let running = of(&object, "Reconciling").unwrap();
        assert!(running.message.contains("Running health checks"), "{running:?}");
        of(&object, "Ready").unwrap().status == "Unknown"
    })
    .unwrap_or_else(|e| panic!("{e}: {}", kustomization(&line)["status"]));
    assert!(line.arrived().iter().all(|a| !a.is_good()));
    checked("Kustomization with `wait` is not Ready", &format!("for {} s", OFF.as_secs()));

    // The device is on.
    let fixture = fs::read_to_string(workspace().join("examples/first/peer.json")).unwrap();
    let fixture = serde_json::from_str(&fixture).unwrap();
    let at = SocketAddr::new(DEVICE, 502);
    let _device = Pymodbus::start_at(&line.dir, DEVICE_NAME, &fixture, at).unwrap();
    let on = Instant::now();
    let ready = flux_says(&line, "the plant is healthy", |_, c| c.status == "True");
    checked("device on: Kustomization is Ready", &seconds(on));
    let first = line.arrived().into_iter().find(|a| a.is_good()).expect("a sample before Ready");
    // Conditions have whole seconds.
    let since = unix_ns(&ready.since).unwrap() + 1_000_000_000;
    assert!(first.received_ns <= since, "Ready before a consumer had data: {ready:?} {first:?}");
    let ahead = Duration::from_nanos(u64::try_from(since - first.received_ns).unwrap());
    let ahead = format!("up to {:.1} s before", ahead.as_secs_f64());
    checked("  an independent consumer had the first sample", &ahead);

    // An edit in Git.
    repository
        .edit("  points:\n", "  points:\n  - {name: same, address: 'holding-register:1:REAL'}\n");
    let commit = repository.push("another point");
    let pushed = Instant::now();
    wait::until("a sample of the new point", SOON, || {
        line.arrived().iter().any(|a| a.is_good() && a.point == "same")
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    checked("edit in Git: first sample of the new point after the push", &seconds(pushed));
    let applied = |object: &Value| {
        object["status"]["lastAppliedRevision"].as_str().is_some_and(|r| r.contains(&commit))
    };
    flux_says(&line, "the edit is healthy", |object, c| c.status == "True" && applied(object));
    checked("  Kustomization is Ready with that commit", &seconds(pushed));

    // A broken edit, and its way back.
    repository.edit("holding-register:1:REAL'}", "holding-registr:1:REAL'}");
    repository.push("a broken address");
    let failed = flux_says(&line, "the broken edit fails", |_, c| {
        c.status == "False" && c.message.contains(DEVICE_NAME)
    });
    assert!(failed.message.contains("Failed"), "{failed:?}");
    let before = line.arrived().len();
    wait::until("the version before goes on", SOON, || line.arrived().len() > before + 4).unwrap();
    checked("broken edit: not Ready, data of the version before flows", &failed.reason);
    git(&repository.work, &["revert", "--no-edit", "HEAD"]);
    git(&repository.work, &["push", "--quiet", &repository.served.display().to_string(), "main"]);
    flux_says(&line, "the mended plant is healthy", |_, c| c.status == "True");
    checked("reverted: Ready again", "by itself");

    // Taken out of Flux.
    let ended = Instant::now();
    let args = ["delete", "kustomization.kustomize.toolkit.fluxcd.io", "plant", "-n", FLUX];
    line.lab.kubectl_output(&[&args[..], &["--wait=false"]].concat()).unwrap();
    wait::until("the plant is gone", SOON, || {
        let args = ["get", "namespace", "plant", "--ignore-not-found", "-o", "name"];
        line.lab.kubectl_output(&args).unwrap().trim().is_empty()
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    checked("Kustomization deleted: everything is pruned", &seconds(ended));
    assert!(line.get(PIPELINE, "to-broker").is_none());
}

fn seconds(since: Instant) -> String {
    format!("after {:.1} s", since.elapsed().as_secs_f64())
}
