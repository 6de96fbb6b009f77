//! What agents and operator may do: an agent's token writes its own status and Lease and nothing
//! else, and the operator uses every right that it has.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use lineside_crds::yaml;
use lineside_lab::Node;
use lineside_tests::wait;
use serde_json::Value;

use crate::cluster::{self, SYSTEM};
use crate::line::{Line, SINK, SOON, device_yaml, pipeline_yaml, sink_yaml};

const SERVER: &str = "https://172.30.0.1:6443";

/// Requests with a token, without kubectl, which would ask for more.
struct Client<'a> {
    line: &'a Line,
    token: String,
}

impl Client<'_> {
    /// The status of a request.
    fn code(&self, method: &str, path: &str, body: &str) -> u16 {
        let ca = self.line.lab.layout().dir().join("pki/ca.crt");
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut curl = self.line.lab.command(Node::One, Path::new("/usr/bin/curl"));
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--cacert"]);
        curl.arg(ca).args(["-X", method, "-H", &format!("Authorization: Bearer {}", self.token)]);
        curl.args(["-H", &format!("Content-Type: {kind}")]);
        if !body.is_empty() {
            curl.args(["-d", body]);
        }
        let Output { stdout, stderr, .. } = curl.arg(format!("{SERVER}{path}")).output().unwrap();
        let text = String::from_utf8_lossy(&stdout).into_owned();
        text.trim().parse().unwrap_or_else(|_| {
            panic!("{method} {path}: {text} {}", String::from_utf8_lossy(&stderr))
        })
    }
}

#[test]
fn an_agents_token_writes_its_own_status_and_lease_and_nothing_else() {
    let line = Line::beside("token");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    let other = line.device_address();
    let _other = line.device("mixer", other);
    line.apply(&device_yaml("furnace", at, Some("node1")));
    line.apply(&device_yaml("mixer", other, Some("node2")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    let agents: Vec<String> = line
        .list("agents.lineside.dev")
        .iter()
        .map(|a| a["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let [own, foreign] = agents.as_slice() else { panic!("{agents:?}") };
    let token = line.kubectl(&["create", "token", own]).unwrap().trim().to_owned();
    let client = Client { line: &line, token };

    let ns = &line.namespace;
    let agent = |name: &str| format!("/apis/lineside.dev/v1alpha1/namespaces/{ns}/agents/{name}");
    let lease = |name: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/{name}");
    let core = |rest: &str| format!("/api/v1/namespaces/{ns}/{rest}");
    let status = r#"{"status":{"version":"tried"}}"#;
    let renew = r#"{"spec":{"holderIdentity":"tried"}}"#;
    let pod = line.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();

    assert_eq!(client.code("PATCH", &format!("{}/status", agent(own)), status), 200);
    assert_eq!(client.code("PATCH", &lease(own), renew), 200);
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#;
    let denied = [
        ("PATCH", format!("{}/status", agent(foreign)), status),
        ("PATCH", lease(foreign), renew),
        ("PATCH", agent(own), r#"{"metadata":{"finalizers":null}}"#),
        ("PATCH", agent(own), r#"{"spec":{"pool":"x"}}"#),
        ("DELETE", agent(own), ""),
        ("GET", agent(own), ""),
        ("DELETE", lease(own), ""),
        ("GET", core("secrets"), ""),
        ("GET", core("secrets/lineside-credentials"), ""),
        ("POST", core("secrets"), secret),
        ("GET", core("configmaps"), ""),
        ("GET", core("pods"), ""),
        ("PATCH", core(&format!("pods/{pod}")), r#"{"metadata":{"labels":{"x":"y"}}}"#),
        ("DELETE", core(&format!("pods/{pod}")), ""),
        ("POST", core(&format!("serviceaccounts/{own}/token")), "{}"),
        ("GET", "/api/v1/nodes".to_owned(), ""),
        (
            "PATCH",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1".to_owned(),
            renew,
        ),
    ];
    let allowed: Vec<_> = denied
        .iter()
        .filter(|(method, path, body)| client.code(method, path, body) != 403)
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert!(allowed.is_empty(), "allowed: {allowed:#?}");
}

/// (group, resource with subresource, verb).
type Right = (String, String, String);

/// What the audit log says an account has done.
fn used(log: &str, user: &str) -> BTreeSet<Right> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == user && event["responseStatus"]["code"] != 403)
        .flat_map(|event| {
            let right = right_of(&event);
            // A server-side apply that creates is a patch in the log and needs both rights.
            let made = event["verb"] == "patch" && event["responseStatus"]["code"] == 201;
            let create = right.clone().filter(|_| made);
            let create = create.map(|(group, resource, _)| (group, resource, "create".to_owned()));
            [right, create].into_iter().flatten()
        })
        .collect()
}

fn right_of(event: &Value) -> Option<Right> {
    let object = event.get("objectRef")?;
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let sub = text("subresource");
    let resource = match sub.as_str() {
        "" => text("resource"),
        _ => format!("{}/{sub}", text("resource")),
    };
    Some((text("apiGroup"), resource, event["verb"].as_str()?.to_owned()))
}

/// What the roles of a chart grant, by the name of the role's kind and name.
fn granted(objects: &[Value], wanted: impl Fn(&str) -> bool) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    let is_role = |o: &&Value| o["kind"] == "ClusterRole" || o["kind"] == "Role";
    for role in objects.iter().filter(is_role) {
        if !wanted(role["metadata"]["name"].as_str().unwrap_or_default()) {
            continue;
        }
        let list = |rule: &Value, key: &str| -> Vec<String> {
            let all = rule[key].as_array().cloned().unwrap_or_default();
            all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        for rule in role["rules"].as_array().unwrap() {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for verb in list(rule, "verbs") {
                        all.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    all
}

#[test]
fn operator_and_agents_use_every_right_they_have_and_try_no_other() {
    let mut line = Line::alone("rights");
    // Refusals before are those of an API server that has just started and knows no roles yet.
    let since = std::fs::metadata(line.lab.audit_log()).unwrap().len();
    everything_that_happens_in_a_life(&mut line);
    let chart = cluster::chart("lineside").display().to_string();
    let rendered =
        cluster::helm(&line.lab, &["template", "lineside", &chart, "-n", SYSTEM]).unwrap();
    let roles = yaml::values(&rendered);
    let log = std::fs::read_to_string(line.lab.audit_log()).unwrap();

    let account = format!("system:serviceaccount:{SYSTEM}:lineside-operator");
    let done = used(&log, &account);
    let mut may = granted(&roles, |role| role != "lineside-agent");
    // Checked by the API server when a RoleBinding is written; no request of its own.
    may.retain(|(_, _, verb)| verb != "bind");
    let unused: Vec<_> = may.difference(&done).collect();
    let beyond: Vec<_> = done.difference(&may).collect();
    assert!(beyond.is_empty(), "not granted by the chart: {beyond:#?}");
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    let denied: Vec<&str> = log
        .get(usize::try_from(since).unwrap()..)
        .unwrap_or_default()
        .lines()
        .filter(|l| l.contains(&format!("\"{account}\"")) && l.contains("\"code\":403"))
        // The API server's answer to whoever creates something in a namespace that ends.
        .filter(|l| !l.contains("because it is being terminated"))
        .collect();
    assert!(denied.is_empty(), "the operator was refused: {denied:#?}");

    let agent = line.list("serviceaccounts").iter().find_map(|a| {
        a["metadata"]["name"].as_str().filter(|n| n.starts_with("lsa-")).map(str::to_owned)
    });
    let agent = format!("system:serviceaccount:{}:{}", line.namespace, agent.unwrap());
    let done = used(&log, &agent);
    let may = granted(&roles, |role| role == "lineside-agent");
    assert_eq!(done, may, "rights of an agent, used and granted");
    assert!(!rendered.contains("secrets\""), "no right on Secrets");
}

/// Makes the operator do everything it can do.
fn everything_that_happens_in_a_life(line: &mut Line) {
    let at = line.device_address();
    let device = line.device("furnace", at);
    line.apply(
        "apiVersion: lineside.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: default}\nspec: {}\n",
    );
    line.apply(&device_yaml("furnace", at, Some("node1")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.apply(&sink_yaml("shared", &line.broker));
    line.wait_ready("furnace", "to-broker");
    line.wait_for(SINK, "shared", "Ready", SOON, |c| c.status == "True");
    line.wait_for("agentpool", "default", "Ready", SOON, |c| c.status == "True");
    // A new template: pods are deleted one after the other.
    let pool = r#"{"spec":{"heartbeatSeconds":7}}"#;
    let before = line.pod().unwrap()["metadata"]["uid"].clone();
    line.kubectl(&["patch", "agentpool", "default", "--type=merge", "-p", pool]).unwrap();
    let image = r#"{"spec":{"resources":{"requests":{"cpu":"11m"}}}}"#;
    line.kubectl(&["patch", "agentpool", "default", "--type=merge", "-p", image]).unwrap();
    wait::until("the pod was replaced", SOON, || {
        line.pod().is_ok_and(|pod| pod["metadata"]["uid"] != before)
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    line.wait_ready("furnace", "to-broker");
    // A part of the configuration that is no longer needed.
    let agent =
        line.list("agents.lineside.dev")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let spare = format!("{agent}-5");
    line.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {spare}\n  labels:\n    \
         app.kubernetes.io/managed-by: lineside-operator\n    lineside.dev/agent: {agent}\n"
    ));
    wait::until("the spare ConfigMap is gone", SOON, || line.get("configmap", &spare).is_none())
        .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    // A move: the agent that is left ends, with its children.
    line.apply(&device_yaml("furnace", at, Some("node2")));
    wait::until("one agent, on node2", SOON, || {
        let agents = line.list("agents.lineside.dev");
        agents.len() == 1 && agents[0]["spec"]["node"] == "node2"
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    line.wait_ready("furnace", "to-broker");
    std::thread::sleep(Duration::from_secs(2));
    drop(device);
}
