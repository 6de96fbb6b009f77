//! What people and Kubernetes do with a pod that runs: `helm test`, `kubectl lineside`, and a new
//! token in the place of the old one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lineside_lab::{Component, Node, Output, output};
use lineside_tests::dir::target_dir;
use lineside_tests::wait;
use serde_json::Value;

use crate::cluster::{self, SYSTEM};
use crate::line::{Line, SOON, device_yaml, pipeline_yaml};
use crate::plant::Plant;
use crate::shared;

#[test]
fn helm_test_runs_the_agents_image_and_says_that_all_is_well() {
    let lab = shared::lab();
    cluster::install(&lab);
    let args = ["test", "lineside", "-n", SYSTEM, "--logs", "--timeout", "60s"];
    let said = cluster::helm(&lab, &args).unwrap();
    for part in ["Succeeded", "ok    lineside ", "ok    API server", "0 of "] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// `kubectl lineside ARGS` as a person has it installed: the program of the image, on the PATH
/// beside kubectl under the plugin's name.
fn plugin(line: &Line, args: &[&str]) -> Output {
    let folder = line.dir.folder("plugin").unwrap();
    let program = folder.join("kubectl-lineside");
    let built = target_dir().unwrap().parent().unwrap().join("image/debug/lineside");
    if !program.exists() {
        std::os::unix::fs::symlink(&built, &program).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [folder, line.lab.binaries().to_path_buf()];
    let path = std::env::join_paths(dirs.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut kubectl: Command = line.lab.command(Node::One, &line.lab.binaries().join("kubectl"));
    kubectl.env("PATH", path).env("KUBECONFIG", line.lab.kubeconfig());
    kubectl.arg("lineside").args(args);
    output(&mut kubectl, "", SOON).unwrap()
}

#[test]
fn the_plugin_of_kubectl_asks_the_agent_in_its_pod() {
    let line = Line::beside("plugin");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, Some("node2")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    let said = |args: &[&str]| {
        let Output { status, stdout, stderr } = plugin(&line, args);
        assert!(status.success(), "kubectl lineside {args:?}: {stdout}{stderr}");
        stdout
    };
    let ns = line.namespace.as_str();

    let status = said(&["status", "-n", ns]);
    assert!(status.contains("furnace") && status.contains("to-broker"), "{status}");
    let rows = said(&["tap", "-n", ns, "furnace/temperature", "--limit", "1", "--for", "20"]);
    assert!(rows.contains("21.5"), "{rows}");
    let check = said(&["check", "-n", ns]);
    assert!(check.contains("0 of ") && !check.contains("FAIL"), "{check}");
    let lag = said(&["lag", "-n", ns]);
    assert!(lag.contains("to-broker") && lag.contains("broker"), "{lag}");
    let sink = format!("{ns}/to-broker/broker");
    assert!(said(&["dlq", "ls", "-n", ns, &sink]).contains("No dead letters"));
    let pre = plugin(&line, &["check", "--pre"]);
    assert!(pre.stdout.contains("new enough"), "{}{}", pre.stdout, pre.stderr);
    assert!(said(&["explain", "LNS-5001"]).contains("LNS-5001"));

    // Whoever may not execute in pods gets nothing.
    let mut refused = line.lab.kubectl();
    refused.args(["--as=nobody", "auth", "can-i", "create", "pods/exec", "-n", ns]);
    assert!(!output(&mut refused, "", SOON).unwrap().status.success());
}

/// The token that the agent reads, and its number.
fn token(plant: &Plant) -> (String, String) {
    let pid = agent_process(plant);
    let file = format!("/proc/{pid}/root/var/run/secrets/lineside.dev/token");
    let token = fs::read_to_string(file).unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let number = format!("JTI={}", claims["jti"].as_str().unwrap());
    (token, number)
}

/// The one agent of this plant's lab.
fn agent_process(plant: &Plant) -> String {
    let uid = plant.pod()["metadata"]["uid"].as_str().unwrap().to_owned();
    let is_ours = |dir: &PathBuf| {
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        read("comm") == "lineside\n" && read("cgroup").contains(&uid)
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = all.filter(is_ours).collect();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    one.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The requests of an account after a place in the audit log: status, verb, number of the token.
fn requests(log: &Path, since: usize, account: &str) -> Vec<(i64, String, String)> {
    let bytes = fs::read(log).unwrap();
    String::from_utf8_lossy(&bytes[since..])
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == account)
        .map(|event| {
            let number = &event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let code = event["responseStatus"]["code"].as_i64().unwrap_or_default();
            (code, text(&event["verb"]), text(number))
        })
        .collect()
}

#[test]
fn a_new_token_is_used_from_the_next_request_on_without_a_refusal() {
    let mut plant = Plant::new("rotation");
    let before = token(&plant);
    let log = plant.line.lab.audit_log();
    let since = fs::metadata(&log).unwrap().len() as usize;
    // A kubelet that starts asks for new tokens for the pods that it finds, and puts them into
    // place as it does when an old one comes of age.
    let kubelet = Component::Kubelet(Node::Two);
    plant.line.lab.stop(kubelet).unwrap();
    plant.line.lab.start(kubelet).unwrap();
    wait::until("a new token in its place", SOON, || token(&plant).0 != before.0).unwrap();
    let (_, number) = token(&plant);
    let agent = plant.pod()["metadata"]["labels"]["lineside.dev/agent"].clone();
    let account =
        format!("system:serviceaccount:{}:{}", plant.line.namespace, agent.as_str().unwrap());
    wait::until("two requests with the new token", SOON, || {
        let all = requests(&log, since, &account);
        all.iter().filter(|(_, _, with)| *with == number).count() >= 2
    })
    .unwrap_or_else(|e| panic!("{e}: {:?}", requests(&log, since, &account)));
    let all = requests(&log, since, &account);
    let first = all.iter().position(|(_, _, with)| *with == number).unwrap();
    assert!(all[first..].iter().all(|(_, _, with)| *with == number), "back to the old: {all:?}");
    assert!(all.iter().all(|(code, ..)| *code < 400), "{all:?}");
    let lines = fs::read_to_string(&log).unwrap();
    assert!(!lines[since..].contains("\"code\":401"), "somebody was not known");
    plant.recovers();
}

#[test]
fn an_agent_whose_service_account_was_made_again_is_heard_again() {
    let mut plant = Plant::new("account");
    let before = plant.pod();
    let agent = before["metadata"]["labels"]["lineside.dev/agent"].as_str().unwrap().to_owned();
    let account = |plant: &Plant| plant.line.get("serviceaccount", &agent).unwrap_or_default();
    let renewed =
        |plant: &Plant| plant.line.get("lease", &agent).unwrap()["spec"]["renewTime"].clone();
    let old = account(&plant)["metadata"]["uid"].clone();
    plant.line.kubectl(&["delete", "serviceaccount", &agent, "--wait=false"]).unwrap();
    wait::until("another account", SOON, || {
        let now = account(&plant)["metadata"]["uid"].clone();
        now.is_string() && now != old
    })
    .unwrap();
    // So long the API server may take an old token that it has seen before.
    thread::sleep(Duration::from_secs(20));
    let started = Instant::now();
    let last = renewed(&plant);
    wait::until("the agent is heard", SOON, || renewed(&plant) != last)
        .unwrap_or_else(|e| panic!("{e}\n{}", plant.line.describe()));
    println!("heard again after {:.1} s", started.elapsed().as_secs_f64());
    plant.recovers();
}
