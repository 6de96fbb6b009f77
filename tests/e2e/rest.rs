//! An operator at rest writes nothing, puts back what somebody changes, and comes to the same
//! objects wherever a first run is cut off.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lineside_lab::Node;
use lineside_tests::wait;
use serde_json::Value;

use crate::cluster::{OPERATOR, SYSTEM, operator_program};
use crate::line::{Line, SINK, SOON, device_yaml, pipeline_by_name_yaml, pipeline_yaml, sink_yaml};

/// The contract: a child that is changed or deleted is back after 5 s; asserted at three times.
const REPAIRED: Duration = Duration::from_secs(15);
/// How long an operator is watched for writes.
const REST: Duration = Duration::from_secs(20);
/// After so long without an end a first run has come to its end.
const QUIET: Duration = Duration::from_secs(6);
/// What an Agent has.
const CHILDREN: [&str; 5] = ["serviceaccount", "rolebinding", "lease", "configmap", "statefulset"];

/// Writes of the operator since a place in the audit log, but for its own leader Lease.
fn writes(line: &Line, since: usize) -> Vec<String> {
    let log = fs::read(line.lab.audit_log()).unwrap();
    let account = format!("system:serviceaccount:{SYSTEM}:lineside-operator");
    String::from_utf8_lossy(&log[since..])
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == account.as_str())
        .filter(|event| {
            let verb = event["verb"].as_str().unwrap_or_default();
            ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
        })
        .filter(|event| {
            let object = &event["objectRef"];
            !(object["resource"] == "leases" && object["namespace"] == SYSTEM)
        })
        .map(|event| format!("{} {}", event["verb"], event["objectRef"]))
        .collect()
}

fn end_of_log(line: &Line) -> usize {
    usize::try_from(fs::metadata(line.lab.audit_log()).unwrap().len()).unwrap()
}

fn operator_pod(line: &Line) -> Value {
    let pods = line.lab.get(&["pods", "-n", SYSTEM, "-l", OPERATOR]).unwrap();
    let mut all = pods["items"].as_array().cloned().unwrap();
    all.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert!(all.len() <= 1, "{} operator pods", all.len());
    all.pop().unwrap_or_default()
}

/// Other tests' namespaces are gone, so nothing is left to do for them.
fn alone_in_the_cluster(line: &Line) {
    wait::until("the namespaces of other tests are gone", SOON, || {
        let all = line.lab.get(&["namespaces"]).unwrap();
        let all = all["items"].as_array().cloned().unwrap();
        all.iter().all(|ns| {
            let name = ns["metadata"]["name"].as_str().unwrap();
            !name.starts_with("t-") || name == line.namespace
        })
    })
    .unwrap();
}

#[test]
fn a_fresh_operator_on_an_unchanged_cluster_writes_nothing_but_its_lease() {
    let line = Line::alone("rest");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, Some("node1")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.apply(&sink_yaml("shared", &line.broker));
    line.apply(&pipeline_by_name_yaml("by-name", "shared"));
    line.apply(&pipeline_by_name_yaml("waits", "not-there"));
    line.apply(
        "apiVersion: lineside.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: spare}\nspec: {}\n",
    );
    line.wait_ready("furnace", "to-broker");
    line.wait_for(SINK, "shared", "Ready", SOON, |c| c.status == "True");
    alone_in_the_cluster(&line);
    thread::sleep(Duration::from_secs(3));
    let old = operator_pod(&line);
    let name = old["metadata"]["name"].as_str().unwrap();
    let since = end_of_log(&line);
    line.lab.kubectl_output(&["-n", SYSTEM, "delete", "pod", name]).unwrap();
    wait::until("a fresh operator", SOON, || {
        let pod = operator_pod(&line);
        let ready = pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
        ready && pod["metadata"]["uid"] != old["metadata"]["uid"]
    })
    .unwrap();
    thread::sleep(REST);
    let writes = writes(&line, since);
    assert!(writes.is_empty(), "{} writes at rest: {writes:#?}", writes.len());
    // It does work: the next edit is applied.
    let edit = r#"{"spec":{"intervalMillis":400}}"#;
    line.kubectl(&["patch", "dconn", "furnace", "--type=merge", "-p", edit]).unwrap();
    wait::until("the fresh operator works", SOON, || !self::writes(&line, since).is_empty())
        .unwrap();
}

#[test]
fn a_child_that_is_deleted_or_edited_is_back() {
    let line = Line::beside("repair");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, None));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    let agents = line.list("agents.lineside.dev");
    let agent = agents[0]["metadata"]["name"].as_str().unwrap().to_owned();
    for kind in CHILDREN {
        let name = if kind == "configmap" { format!("{agent}-0") } else { agent.clone() };
        let before = line.get(kind, &name).unwrap_or_else(|| panic!("no {kind} {name}"));
        let started = Instant::now();
        line.kubectl(&["delete", kind, &name, "--wait=false"]).unwrap();
        wait::until(&format!("{kind} is back"), REPAIRED, || {
            line.get(kind, &name)
                .is_some_and(|now| now["metadata"]["uid"] != before["metadata"]["uid"])
        })
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
        println!("{kind} deleted: back after {:.1} s", started.elapsed().as_secs_f64());
    }
    let edits = [
        (
            "configmap",
            format!("{agent}-0"),
            r#"{"data":{"manifest.json":"{}"}}"#,
            "/data/manifest.json",
        ),
        ("statefulset", agent.clone(), r#"{"spec":{"replicas":3}}"#, "/spec/replicas"),
        (
            "lease",
            agent.clone(),
            r#"{"spec":{"leaseDurationSeconds":9999}}"#,
            "/spec/leaseDurationSeconds",
        ),
        ("rolebinding", agent.clone(), r#"{"subjects":[]}"#, "/subjects"),
    ];
    for (kind, name, patch, field) in edits {
        let before = line.get(kind, &name).unwrap().pointer(field).cloned();
        line.kubectl(&["patch", kind, &name, "--type=merge", "-p", patch]).unwrap();
        wait::until(&format!("{kind} is as before"), REPAIRED, || {
            line.get(kind, &name).unwrap().pointer(field).cloned() == before
        })
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    }
    line.wait_ready("furnace", "to-broker");
}

/// What a first run makes, without what differs from one namespace or moment to another.
fn made(line: &Line, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let kinds = "agents.lineside.dev,serviceaccounts,rolebindings,leases,persistentvolumeclaims,\
                 configmaps,statefulsets";
    let list = line.lab.get(&[kinds, "-n", namespace])?;
    let mut all = BTreeMap::new();
    for mut object in list["items"].as_array().cloned().unwrap_or_default() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if !name.starts_with("lsa-") {
            continue;
        }
        let key = format!("{} {name}", object["kind"].as_str().unwrap_or_default());
        let metadata = &object["metadata"];
        let kept = serde_json::json!({
            "labels": metadata["labels"],
            "finalizers": metadata["finalizers"],
            "owners": metadata["ownerReferences"].as_array().map(Vec::len),
        });
        object["metadata"] = kept;
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        // Uids and the hashes over them are each namespace's own; renewals each moment's.
        if key.starts_with("ConfigMap") {
            let keys: Vec<String> =
                object["data"].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
            object["data"] = serde_json::json!(keys);
        }
        if key.starts_with("Lease") {
            object["spec"] =
                serde_json::json!({"leaseDurationSeconds": object["spec"]["leaseDurationSeconds"]});
        }
        if key.starts_with("Agent") {
            object["spec"]["configHash"] =
                serde_json::json!(object["spec"]["configHash"].is_string());
            object["spec"]["assignments"][0]["uid"] = Value::Null;
        }
        if key.starts_with("StatefulSet") {
            // It is over the uid of the Agent too.
            object["spec"]["template"]["metadata"]["annotations"] = Value::Null;
        }
        if key.starts_with("PersistentVolumeClaim") {
            object["spec"]["volumeName"] = Value::Null;
        }
        let text = object.to_string().replace(namespace, "NAMESPACE");
        let text = uid_pattern(&text);
        all.insert(key, serde_json::from_str(&text)?);
    }
    Ok(all)
}

/// Takes 36-character uids out of a text.
fn uid_pattern(text: &str) -> String {
    let is_uid = |word: &str| {
        word.len() == 36
            && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
            && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
    };
    text.split('"')
        .map(|word| if is_uid(word) { "UID" } else { word })
        .collect::<Vec<_>>()
        .join("\"")
}

#[test]
fn wherever_a_first_run_is_cut_off_the_next_one_comes_to_the_same_objects() {
    let line = Line::alone("crash");
    alone_in_the_cluster(&line);
    let scale = |replicas: &str| {
        let flag = format!("--replicas={replicas}");
        let args = ["-n", SYSTEM, "scale", "deployment", "-l", OPERATOR, &flag];
        line.lab.kubectl_output(&args).unwrap();
    };
    scale("0");
    // Whatever becomes of this test, the next ones have an operator again.
    let _again = OnDrop(|| scale("1"));
    wait::until("no operator runs", SOON, || {
        let pods = line.lab.get(&["pods", "-n", SYSTEM, "-l", OPERATOR]).unwrap();
        pods["items"].as_array().is_some_and(Vec::is_empty)
    })
    .unwrap();
    let whole = run_until_done(&line, "t-crash-0", None).unwrap();
    assert!(whole.len() >= 6, "{:?}", whole.keys());
    let mut cuts = 0;
    for after in 1..=40 {
        let namespace = format!("t-crash-{after}");
        let cut = run_until_done(&line, &namespace, Some(after));
        let _ = line.lab.kubectl_output(&["delete", "namespace", &namespace, "--wait=false"]);
        let Some(objects) = cut else { break };
        assert_eq!(objects, whole, "cut off after write {after}");
        cuts += 1;
    }
    let _ = line.lab.kubectl_output(&["delete", "namespace", "t-crash-0", "--wait=false"]);
    println!("a first run was cut off after each of its first {cuts} writes");
    assert!(cuts >= 6, "only {cuts}");
}

/// Does something when it goes out of scope.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Objects for one device in a fresh namespace; the operator is cut off after so many writes and
/// run again to the end. `None`: it came to its end with fewer writes.
fn run_until_done(
    line: &Line,
    namespace: &str,
    cut: Option<u64>,
) -> Option<BTreeMap<String, Value>> {
    line.lab.kubectl_output(&["create", "namespace", namespace]).unwrap();
    let pool = "apiVersion: lineside.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: default}\n\
                spec: {stateVolume: {emptyDir: {}}}\n";
    let at = line.device_address();
    for yaml in
        [pool, &device_yaml("furnace", at, Some("node1")), &pipeline_yaml("p", &line.broker)]
    {
        let file = line.dir.write("crash.yaml", yaml).unwrap().display().to_string();
        line.lab.kubectl_output(&["-n", namespace, "apply", "--server-side", "-f", &file]).unwrap();
    }
    let run = |name: &str, more: &[&str]| {
        let mut command = line.lab.command(Node::One, &operator_program());
        command.env("KUBECONFIG", line.lab.kubeconfig());
        command.args(["run", "--agent-image", "lineside/agent:none", "--http", "127.0.0.1:0"]);
        command.args(["--watch-namespaces", namespace, "--leader-elect-namespace", namespace]);
        let log = fs::File::create(line.dir.join(&format!("{namespace}-{name}.log"))).unwrap();
        command.args(more).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    };
    let settled = |within: Duration| {
        let status = |kind: &str| {
            let args = [
                "-n",
                namespace,
                "get",
                kind,
                "-o",
                "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].reason}",
            ];
            line.lab.kubectl_output(&args).unwrap()
        };
        wait::until("status of both kinds", within, || {
            status("dconn").contains("AgentNotRunning")
                && status("lspipe").contains("AgentNotRunning")
        })
    };
    if let Some(after) = cut {
        let mut child = run("cut", &["--exit-after-writes", &after.to_string()]);
        let mut since: Option<Instant> = None;
        let ended = wait::until_some("the cut", Duration::from_secs(40), || {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(Some(status));
            }
            // A status may be written before the last of the children.
            if since.is_none() && settled(Duration::ZERO).is_ok() {
                since = Some(Instant::now());
            }
            since.is_some_and(|since| since.elapsed() > QUIET).then_some(None)
        });
        let ended = ended.unwrap();
        if ended.is_none() {
            // Settled with fewer writes; what it may still write is not of a first run.
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        // Whoever crashed keeps its Lease for 15 s; this is not what is tested here.
        let args = ["-n", namespace, "delete", "lease", "lineside-operator", "--ignore-not-found"];
        line.lab.kubectl_output(&args).unwrap();
    }
    let mut child = run("whole", &[]);
    let done = settled(SOON);
    thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    done.unwrap_or_else(|e| panic!("{namespace}: {e}"));
    Some(made(line, namespace).unwrap())
}
