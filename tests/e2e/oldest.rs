//! The oldest API server that is supported takes what the newest takes, and means the same by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use lineside_lab::binaries::{KUBERNETES, OLDEST_KUBERNETES, Set};
use lineside_lab::{Lab, Node, OldestApiServer, output};
use lineside_tests::dir::TestDir;
use lineside_tests::process::Server;
use lineside_tests::tools::workspace;
use lineside_tests::wait;
use serde_json::{Value, json};
use xtask::cache::Cache;

use crate::cluster::{self, SYSTEM};
use crate::corpus::{files, objects};
use crate::line::{SOON, device_yaml};
use crate::shared;

/// Longest kubectl.
const TOOL: Duration = Duration::from_secs(60);
/// How long an operator that has made everything is watched for more.
const REST: Duration = Duration::from_secs(15);
/// Kinds of what the operator makes.
const CHILDREN: &str = "agents.lineside.dev,serviceaccounts,rolebindings,leases,\
                        persistentvolumeclaims,configmaps,statefulsets";

/// One check as a row of the report.
fn checked(what: &str, result: &str) {
    println!("compat | {OLDEST_KUBERNETES:<8} | {what:<62} | {result}");
}

/// Both API servers, with the kinds of this checkout on both.
struct Both<'a> {
    lab: &'a Lab,
    oldest: OldestApiServer,
    dir: TestDir,
}

impl<'a> Both<'a> {
    fn start(name: &str, lab: &'a Lab) -> Self {
        cluster::install(lab);
        let cache = Cache::of(workspace()).unwrap();
        let programs = Set::OldestApiServer.find(cache.root());
        let programs = programs.expect("cargo xtask lab build oldest-apiserver");
        let oldest = OldestApiServer::start(lab, &programs).unwrap();
        let both = Self { lab, oldest, dir: TestDir::new(&format!("compat_{name}")).unwrap() };
        let version = both.said(&["version", "-o", "json"]);
        let version: Value = serde_json::from_str(&version).unwrap();
        assert_eq!(version["serverVersion"]["gitVersion"], OLDEST_KUBERNETES);
        let crds = workspace().join("crds").display().to_string();
        let said = both.applied(&["-f", &crds]);
        assert_eq!(said.lines().count(), 5, "five kinds: {said}");
        both.said(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
        both
    }

    fn run(&self, mut kubectl: Command, args: &[&str]) -> (bool, String, String) {
        let out = output(kubectl.args(args), "", TOOL).unwrap();
        (out.status.success(), out.stdout, out.stderr)
    }

    /// What `kubectl ARGS` says at the oldest server, which must not fail.
    fn said(&self, args: &[&str]) -> String {
        let (done, out, error) = self.run(self.oldest.kubectl(), args);
        assert!(done, "kubectl {args:?}: {error}");
        out
    }

    /// Applies with strict validation at the oldest server, which must not warn.
    fn applied(&self, args: &[&str]) -> String {
        let apply = ["apply", "--server-side", "--validate=strict"];
        let (done, out, error) = self.run(self.oldest.kubectl(), &[&apply, args].concat());
        assert!(done, "{error}");
        assert!(!error.to_lowercase().contains("warning"), "{error}");
        out
    }

    /// What a server says to an object; nothing is kept.
    fn verdict(&self, kubectl: Command, object: &Value) -> Result<(), String> {
        let file = self.dir.write("one.json", &object.to_string()).unwrap();
        let file = file.display().to_string();
        let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file];
        match self.run(kubectl, &args) {
            (true, ..) => Ok(()),
            (false, _, error) => Err(error),
        }
    }

    fn list(&self, kinds: &str, namespace: &str) -> Vec<Value> {
        let text = self.said(&["get", kinds, "-n", namespace, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn kinds_chart_and_policy_are_taken_without_a_warning_and_the_policy_holds() {
    let lab = shared::alone();
    let both = Both::start("chart", &lab);
    checked("the five kinds are applied", "no warning");
    for crd in both.list("crd", "default") {
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let wrong = |c: &&Value| c["type"] == "NonStructuralSchema" && c["status"] == "True";
        assert!(!conditions.iter().any(|c| wrong(&c)), "{conditions:#?}");
    }

    both.said(&["create", "namespace", SYSTEM]);
    let chart = cluster::chart("lineside").display().to_string();
    let args = ["template", "lineside", &chart, "-n", SYSTEM, "--no-hooks"];
    let rendered = both.dir.write("chart.yaml", &cluster::helm(&lab, &args).unwrap()).unwrap();
    let said = both.applied(&["-n", SYSTEM, "-f", &rendered.display().to_string()]);
    assert!(said.contains("validatingadmissionpolicy"), "{said}");
    checked("the chart's objects are applied", &format!("{}, no warning", said.lines().count()));

    // An agent and its neighbour, and what the operator would bind the agent to.
    both.said(&["create", "namespace", "agents"]);
    for name in ["lsa-own", "lsa-other"] {
        let agent = json!({
            "apiVersion": "lineside.dev/v1alpha1", "kind": "Agent",
            "metadata": {"name": name, "namespace": "agents"},
            "spec": {"pool": "default", "node": "node1"},
        });
        let file = both.dir.write("agent.json", &agent.to_string()).unwrap();
        both.applied(&["-f", &file.display().to_string()]);
    }
    let stored = both.list("agents.lineside.dev", "agents");
    assert!(stored.iter().all(|a| a["status"]["observedGeneration"] == -1), "{stored:#?}");
    checked("a new object is in progress", "status.observedGeneration is -1");
    // kubectl looks before it patches, which an agent does not.
    let account = "--serviceaccount=agents:lsa-own";
    let looks = ["--verb=get", "--resource=agents.lineside.dev,agents.lineside.dev/status"];
    let create = |what: &str, more: &[&str]| {
        both.said(&[&["-n", "agents", "create", what][..], more].concat());
    };
    create("rolebinding", &["writes", "--clusterrole=lineside-agent", account]);
    create("role", &["looks", looks[0], looks[1]]);
    create("rolebinding", &["looks", "--role=looks", account]);
    let patch = |name: &str| {
        let account = "--as=system:serviceaccount:agents:lsa-own";
        let body = r#"{"status":{"version":"tried"}}"#;
        let words = ["-n", "agents", account, "patch", "agents.lineside.dev", name];
        let more = ["--subresource=status", "--type=merge", "-p", body];
        both.run(both.oldest.kubectl(), &[&words[..], &more].concat())
    };
    let (_, _, refusal) = wait::until_some("the policy refuses", SOON, || {
        Some(patch("lsa-other")).filter(|(done, ..)| !done)
    })
    .unwrap();
    assert!(refusal.contains("may change only the object named as itself"), "{refusal}");
    let (done, _, error) = patch("lsa-own");
    assert!(done, "{error}");
    checked("an agent writes its own status and no other's", "the policy holds");
}

/// The fields that a refusal names.
fn fields(refusal: &str) -> BTreeSet<&str> {
    let path = |word: &&str| word.starts_with("spec") || word.starts_with(".spec");
    refusal.split_whitespace().filter(path).map(|word| word.trim_end_matches(':')).collect()
}

#[test]
fn every_object_of_the_corpus_gets_the_verdict_that_the_newest_gives() {
    let lab = shared::alone();
    let both = Both::start("corpus", &lab);
    let (mut taken, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for folder in ["good", "broken"] {
        for (name, text) in files(folder) {
            for object in objects(&text) {
                let oldest = both.verdict(both.oldest.kubectl(), &object);
                let newest = both.verdict(lab.kubectl(), &object);
                match (oldest, newest) {
                    (Ok(()), Ok(())) => taken += 1,
                    (Err(a), Err(b)) => {
                        refused += 1;
                        assert!(folder == "broken", "good/{name}: {a}");
                        if fields(&a) != fields(&b) {
                            wrong.push(format!("{name} for other fields: {a} {b}"));
                        }
                    }
                    (Ok(()), Err(b)) => wrong.push(format!("{name}: only the newest: {b}")),
                    (Err(a), Ok(())) => wrong.push(format!("{name}: only the oldest: {a}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 30 && taken > 10, "{refused} refused, {taken} taken");
    let result = format!("as {KUBERNETES}: {taken} taken, {refused} refused for the same fields");
    checked("every object of the corpus, strictly", &result);
}

/// Name and version of every object that the operator made.
fn made(both: &Both<'_>, namespace: &str) -> BTreeMap<String, String> {
    let all = both.list(CHILDREN, namespace);
    let ours = all.iter().filter_map(|object| {
        let name = object["metadata"]["name"].as_str()?;
        let version = object["metadata"]["resourceVersion"].as_str()?;
        let key = format!("{} {name}", object["kind"].as_str()?);
        name.starts_with("lsa-").then(|| (key, version.to_owned()))
    });
    ours.collect()
}

#[test]
fn the_operator_makes_everything_there_and_then_writes_nothing_more() {
    let lab = shared::alone();
    let both = Both::start("operator", &lab);
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "edge", "labels": {"kubernetes.io/hostname": "edge"}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Test"}]},
    });
    let file = both.dir.write("node.json", &node.to_string()).unwrap().display().to_string();
    both.said(&["create", "-f", &file]);
    let status = json!({"status": node["status"]}).to_string();
    both.said(&["patch", "node", "edge", "--subresource=status", "--type=merge", "-p", &status]);
    // No controller takes the taint of a node that is not ready away here.
    both.said(&["patch", "node", "edge", "--type=merge", "-p", r#"{"spec":{"taints":null}}"#]);

    both.said(&["create", "namespace", "plant"]);
    let device = device_yaml("furnace", ([172, 30, 0, 11], 502).into(), None);
    let pipeline = fs::read_to_string(workspace().join("examples/kubernetes/first/pipeline.yaml"));
    for yaml in [device, pipeline.unwrap()] {
        let file = both.dir.write("object.yaml", &yaml).unwrap().display().to_string();
        both.applied(&["-n", "plant", "-f", &file]);
    }
    let log = both.dir.join("operator.log");
    let config = both.oldest.kubeconfig().display().to_string();
    let args = ["run", "--agent-image", "lineside/agent:none", "--http", "127.0.0.1:0"];
    let args = [&args[..], &["--leader-elect-namespace", "plant"]].concat();
    lab.enter(Node::One).unwrap();
    let program = cluster::operator_program();
    let env = [("KUBECONFIG", config.as_str())];
    let _operator = Server::start_with("operator", &program, args, &env, &log, &log).unwrap();

    let reason = |kind: &str| {
        let ready = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].reason}"#;
        both.said(&["-n", "plant", "get", kind, "-o", ready])
    };
    wait::until("both kinds have a status", SOON, || {
        ["dconn", "lspipe"].iter().all(|kind| reason(kind).contains("AgentNotRunning"))
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", fs::read_to_string(&log).unwrap_or_default()));
    wait::until("the pod is declared", SOON, || {
        made(&both, "plant").keys().any(|key| key.starts_with("StatefulSet"))
    })
    .unwrap();
    let kinds: BTreeSet<String> =
        made(&both, "plant").keys().filter_map(|k| Some(k.split(' ').next()?.to_owned())).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    checked("the operator makes an agent's objects", &format!("{} kinds", kinds.len()));
    // What an older server drops would be missing again at every look, and written for ever.
    thread::sleep(Duration::from_secs(5));
    let before = made(&both, "plant");
    thread::sleep(REST);
    assert_eq!(made(&both, "plant"), before, "the operator goes on writing");
    checked("at rest it writes nothing", &format!("{} s", REST.as_secs()));
}
