//! The lab does what the tests on it take for granted, and goes without a trace.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lineside_lab::shared::{self, wait_for_end};
use lineside_lab::{Component, Lab, Layout, Node, left_behind, output};
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::shared::{GUARD, alone, image, lab, options};

/// For what takes seconds.
const SOON: Duration = Duration::from_secs(60);

/// A run of this process alone.
fn run(letter: &str) -> String {
    format!("{letter}{}", std::process::id())
}

fn timed<T>(what: &str, action: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = action();
    println!("{what}: {:.1} s", started.elapsed().as_secs_f64());
    result
}

/// A namespace that admits restricted pods only, with a claim for each node and a pod on each
/// that writes to it and says what it sees.
fn restricted(namespace: &str) -> String {
    let mut items = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    })];
    for node in Node::ALL {
        let metadata = json!({"name": node.name(), "namespace": namespace});
        items.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }));
        items.push(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod(node)}),
        );
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn pod(node: Node) -> Value {
    let script =
        "id -u; nslookup mosquitto.lab; echo kept >/state/file && cat /state/file; sleep 3600";
    json!({
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/hostname": node.name()},
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "main", "image": "lab.local/busybox:1", "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        }],
        "volumes": [{"name": "state", "persistentVolumeClaim": {"claimName": node.name()}}],
    })
}

/// Pods run on both nodes under `restricted`, know the names of peers, and have volumes.
fn runs_pods(lab: &Lab, namespace: &str) {
    let name = lab.layout().run().to_string();
    lab.apply(&restricted(namespace)).unwrap();
    timed(&format!("lab {name}: restricted pods with volumes Ready on both nodes"), || {
        let all = ["--all", "--for=condition=Ready", "--timeout=45s"];
        let args = [["wait", "-n", namespace, "pod"].as_slice(), &all].concat();
        lab.kubectl_output(&args).unwrap();
    });
    for node in Node::ALL {
        let log = || lab.kubectl_output(&["logs", "-n", namespace, node.name()]).unwrap();
        wait::until("the pod has said everything", SOON, || log().contains("kept")).unwrap();
        let log = log();
        assert!(log.starts_with("65532"), "{log}");
        assert!(log.contains("172.30.0.10"), "{log}");
        let claim = lab.get(&["persistentvolumeclaim", "-n", namespace, node.name()]).unwrap();
        assert_eq!(claim["status"]["phase"], "Bound");
        let pod = lab.get(&["pod", "-n", namespace, node.name()]).unwrap();
        assert_eq!(pod["spec"]["nodeName"], node.name());
    }
}

fn refused(lab: &Lab, namespace: &str) -> String {
    let mut pod = pod(Node::One);
    pod["securityContext"] = json!({});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "privileged", "namespace": namespace}, "spec": pod,
    });
    lab.apply(&pod.to_string()).unwrap_err().to_string()
}

fn reaches_node_2(lab: &Lab) -> bool {
    let mut ping = lab.command(Node::One, Path::new("busybox"));
    ping.args(["ping", "-c", "1", "-W", "1", Node::Two.address()]);
    output(&mut ping, "", SOON).unwrap().status.success()
}

#[test]
fn two_labs_run_pods_side_by_side_and_the_one_that_ends_leaves_nothing() {
    let first = lab();
    let options = options(&run("s")).unwrap();
    let second =
        timed("second lab up", || shared::start(Path::new(GUARD), &options, SOON)).unwrap();
    runs_pods(&first, "lab-side");
    runs_pods(&second, "lab-side");
    let error = refused(&second, "lab-side");
    assert!(error.contains("violates PodSecurity"), "{error}");

    second.kill(Component::ApiServer).unwrap();
    second.cut_link().unwrap();
    assert!(second.kubectl_output(&["get", "nodes"]).is_err());
    assert!(first.kubectl_output(&["get", "nodes"]).is_ok());
    assert!(!reaches_node_2(&second) && reaches_node_2(&first));

    let layout = second.layout().clone();
    let there = left_behind(&layout).unwrap();
    for kind in ["process", "network namespace", "cgroup", "folder"] {
        assert!(there.iter().any(|line| line.starts_with(kind)), "no {kind} in {there:?}");
    }
    timed("second lab down", || second.down()).unwrap();
    assert_eq!(left_behind(&layout).unwrap(), Vec::<String>::new());
    assert_eq!(machine_wide(layout.dir()), Vec::<String>::new());

    assert!(first.get(&["pod", "-n", "lab-side", "node1"]).is_ok());
    first.kubectl_output(&["delete", "namespace", "lab-side", "--wait=false"]).unwrap();
}

#[test]
fn every_component_stops_and_comes_back_and_so_does_the_link() {
    let lab = alone();
    for component in Component::ALL {
        lab.stop(component).unwrap();
        let running = |lab: &Lab| {
            let programs = lab.programs().unwrap();
            programs.into_iter().find(|(name, _)| name == component.name()).unwrap().1
        };
        assert!(!running(&lab), "{component}");
        timed(&format!("{component} back"), || lab.start(component)).unwrap();
        assert!(running(&lab), "{component}");
    }
    lab.pause(Component::Scheduler).unwrap();
    lab.resume(Component::Scheduler).unwrap();
    assert!(reaches_node_2(&lab));
    lab.cut_link().unwrap();
    assert!(!reaches_node_2(&lab));
    lab.heal_link().unwrap();
    wait::until("the link is healed", SOON, || reaches_node_2(&lab)).unwrap();
    lab.kubectl_output(&["wait", "node", "--all", "--for=condition=Ready", "--timeout=45s"])
        .unwrap();
}

/// What containerd, CNI, runc and kubelet keep in places of their own choice, if anything.
fn machine_wide(lab: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let places =
        ["/run/containerd", "/run/runc", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"];
    for place in places {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lab = lab.display().to_string();
    found.extend(mounts.lines().filter(|line| line.contains(&lab)).map(str::to_owned));
    found
}

/// A program that holds the pipe of a guard, killed with this.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lab_ends_with_the_program_that_holds_it_even_when_that_is_killed() {
    let options = options(&run("k")).unwrap();
    let layout = Layout::new(&options.root, options.run.clone());
    let mut holder = Command::new("sleep");
    let holder = holder.arg("3600").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut holder = Holder(holder.stderr(Stdio::null()).spawn().unwrap());
    let mut guard = Command::new(GUARD)
        .arg(&options.root)
        .arg(options.run.to_string())
        .stdin(holder.0.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(guard.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    let lab = Lab::up(&options).unwrap();
    assert!(lab.kubectl_output(&["get", "nodes"]).is_ok());
    assert!(Lab::up(&options).unwrap_err().to_string().contains("already"));
    drop(holder);
    timed("lab of a killed program removed", || {
        wait_for_end(&options.root, &options.run, SOON).unwrap();
    });
    assert!(guard.wait().unwrap().success());
    assert_eq!(left_behind(&layout).unwrap(), Vec::<String>::new());
}

#[test]
fn a_server_in_the_lab_is_found_by_a_name_that_is_made_and_taken_away() {
    let lab = lab();
    let address: IpAddr = [172, 30, 0, 19].into();
    let args = ["nc", "-ll", "-p", "7007", "-e", "echo", "found"];
    let server = lab.spawn("e2e-lab-name", Node::One, Path::new("busybox"), args).unwrap();
    let server = server.guarded();
    assert!(server.is_running().unwrap());
    let look = |node| {
        let mut nslookup = lab.command(node, Path::new("busybox"));
        nslookup.args(["nslookup", "name-of-a-test.lab", Node::One.address()]);
        output(&mut nslookup, "", SOON).unwrap().stdout.contains("172.30.0.19")
    };
    assert!(!look(Node::Two));
    lab.dns("name-of-a-test.lab", Some(address)).unwrap();
    wait::until("the name is there", SOON, || look(Node::Two)).unwrap();
    let mut nc = lab.command(Node::Two, Path::new("busybox"));
    nc.args(["nc", "-w", "2", "172.30.0.19", "7007"]);
    wait::until("the server answers", SOON, || {
        output(&mut nc, "", SOON).unwrap().stdout == "found\n"
    })
    .unwrap();
    lab.dns("name-of-a-test.lab", None).unwrap();
    wait::until("the name is gone", SOON, || !look(Node::Two)).unwrap();
    server.kill().unwrap();
    assert!(!server.is_running().unwrap());
}

#[test]
fn our_images_run_as_nobody_without_a_shell_and_say_their_version() {
    let lab = lab();
    let namespace = "lab-images";
    let mut items = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    })];
    for name in ["agent", "operator"] {
        let (archive, reference) = image(name).unwrap();
        lab.load(&archive).unwrap();
        let container = |name: &str, command: &[&str]| {
            let mut container = json!({
                "name": name, "image": reference, "imagePullPolicy": "Never",
                // The user is the image's own.
                "securityContext": {
                    "runAsNonRoot": true, "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            });
            match command {
                [] => container["args"] = json!(["--version"]),
                command => container["command"] = json!(command),
            }
            container
        };
        items.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                "containers": [container("version", &[]), container("shell", &["sh", "-c", "true"])],
            },
        }));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    lab.apply(&list.to_string()).unwrap();
    for name in ["agent", "operator"] {
        let states = || {
            let pod = lab.get(&["pod", "-n", namespace, name]).unwrap();
            pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default()
        };
        let ended = |states: &[Value]| {
            states.len() == 2 && states.iter().all(|s| s["state"]["terminated"].is_object())
        };
        wait::until("both containers have ended", SOON, || ended(&states())).unwrap();
        for state in states() {
            let end = &state["state"]["terminated"];
            match state["name"].as_str().unwrap() {
                "version" => assert_eq!(end["exitCode"], 0, "{end}"),
                // The runtime finds no program of that name.
                _ => assert!(end["message"].as_str().unwrap().contains("not found"), "{end}"),
            }
        }
        let log = lab.kubectl_output(&["logs", "-n", namespace, name, "-c", "version"]).unwrap();
        assert!(log.contains(env!("CARGO_PKG_VERSION")), "{log}");
    }
    lab.kubectl_output(&["delete", "namespace", namespace, "--wait=false"]).unwrap();
}
