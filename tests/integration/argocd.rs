//! The health script for Argo CD, run by Lua on every situation of the page of conditions. Argo
//! CD's own interpreter speaks Lua 5.1, as the one here does.

use std::path::{Path, PathBuf};
use std::process::Command;

use lineside_tests::dir::TestDir;
use lineside_tests::tools::{program, workspace};
use serde_json::{Map, Value, json};

const FOLDER: &str = "examples/kubernetes/gitops/argocd";

/// A situation of `docs/reference/conditions.md`, whether the agent runs the object then, and
/// what Argo CD shall show.
const SITUATIONS: [(&str, bool, &str); 30] = [
    ("good values arrive", true, "Healthy"),
    ("every sink takes samples", true, "Healthy"),
    ("some points are bad", true, "Degraded"),
    ("every point is bad", true, "Degraded"),
    ("the device is out of reach", true, "Degraded"),
    ("the device is connected and silent", true, "Degraded"),
    ("the device is off and may be", true, "Healthy"),
    ("its state changes all the time", true, "Degraded"),
    ("no sink takes samples", true, "Degraded"),
    ("one sink takes samples, another does not", true, "Degraded"),
    ("every pipeline that runs delivers through it", true, "Healthy"),
    ("no pipeline delivers through it: the reason is that of the worst", true, "Degraded"),
    ("one pipeline delivers through it, another does not", true, "Degraded"),
    ("no pipeline names it", true, "Healthy"),
    ("no device is selected", false, "Progressing"),
    ("all its devices are silent", true, "Degraded"),
    ("suspended", true, "Suspended"),
    ("a Secret, a key or another object is not there yet", true, "Progressing"),
    ("the pool is not there yet", false, "Progressing"),
    ("a Sink that it names is gone, the former version still runs", true, "Progressing"),
    ("the Sink that it names is refused", false, "Degraded"),
    ("a Secret is not in the pool's list", true, "Degraded"),
    ("the spec is invalid: the reason is the first finding's", false, "Degraded"),
    ("a new spec is invalid, the former one still runs", false, "Degraded"),
    ("the object cannot be read", false, "Degraded"),
    ("no node fits (`code` is that of NoFittingNode)", false, "Progressing"),
    ("every fitting agent is full (`code` is that of CapacityExceeded)", false, "Progressing"),
    ("the agent does not have this generation yet", false, "Progressing"),
    ("the agent's pod does not run", false, "Progressing"),
    ("the agent's heartbeat is late", true, "Unknown"),
];

/// A row of the table of situations.
struct Row {
    when: String,
    of: String,
    ready: String,
    reason: String,
    health: String,
    beside: String,
}

fn rows() -> Vec<Row> {
    let page = workspace().join("docs/reference/conditions.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split_once("\n## Situations\n").unwrap().1.split("\n## ").next().unwrap();
    let lines = table.lines().filter(|l| l.starts_with("| ")).skip(1);
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [when, of, ready, reason, health, beside, _] = cells[..] else { panic!("{line}") };
            let reason = reason.trim_start_matches('[').split(']').next().unwrap();
            Row {
                when: when.into(),
                of: of.into(),
                ready: ready.into(),
                reason: reason.into(),
                health: health.into(),
                beside: beside.into(),
            }
        })
        .collect()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// The object as it stands in the cluster in this situation.
fn object(row: &Row, programmed: bool) -> Value {
    let ready = if row.ready == "as it is" { "True" } else { &row.ready };
    let message = format!("LNS-0000 {}", row.when);
    let mut conditions = vec![
        condition("Accepted", "True", "Valid", ""),
        condition("Ready", ready, &row.reason, &message),
    ];
    // No agent runs a Sink.
    if row.of != "Sink" {
        let programmed = if programmed { "True" } else { "False" };
        conditions.push(condition("Programmed", programmed, "Applied", ""));
    }
    if !row.beside.is_empty() {
        conditions.push(condition(&row.beside, "True", &row.reason, &message));
    }
    json!({
        "metadata": {"name": "a", "generation": 2},
        "status": {"observedGeneration": 2, "conditions": conditions, "health": row.health}
    })
}

/// A value as a Lua expression.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Array(list) => {
            format!("{{{}}}", list.iter().map(lua).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let fields = map.iter().map(|(k, v)| format!("[{}] = {}", json!(k), lua(v)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Health and message that the script says of each object.
fn judge(dir: &TestDir, script: &Path, objects: &[Value]) -> Vec<(String, String)> {
    let mut text = String::new();
    for object in objects {
        text += &format!("obj = {}\nlocal health = dofile(arg[1])\n", lua(object));
        text += "print(health.status .. '\\t' .. health.message)\n";
    }
    // One local per object would hit a limit of Lua.
    let text = text.replace("local health", "health");
    dir.write("judge.lua", &text).unwrap();
    let output = Command::new(program("lua5.1").unwrap())
        .arg(dir.join("judge.lua"))
        .arg(script)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(health, message)| (health.to_owned(), message.to_owned()))
        .collect()
}

fn script() -> PathBuf {
    workspace().join(FOLDER).join("health.lua")
}

#[test]
fn argo_cd_shows_every_situation_as_the_docs_say() {
    let dir = TestDir::new("argocd_situations").unwrap();
    let rows = rows();
    let known: Vec<_> = rows.iter().map(|row| row.when.as_str()).collect();
    let judged: Vec<_> = SITUATIONS.iter().map(|(when, _, _)| *when).collect();
    assert_eq!(known, judged, "a situation came or went: decide what Argo CD shall show");
    let objects: Vec<_> =
        rows.iter().zip(&SITUATIONS).map(|(row, (_, runs, _))| object(row, *runs)).collect();
    let said = judge(&dir, &script(), &objects);
    assert_eq!(said.len(), rows.len());
    for ((row, (_, _, wanted)), (health, message)) in rows.iter().zip(&SITUATIONS).zip(&said) {
        assert_eq!(health, wanted, "{}", row.when);
        assert!(message.ends_with(&row.when), "the message of the condition is shown: {message}");
    }
}

#[test]
fn argo_cd_waits_for_the_operator_and_for_the_newest_generation() {
    let dir = TestDir::new("argocd_waits").unwrap();
    let ready = json!([condition("Ready", "True", "Receiving", "")]);
    let with = |status: Value| json!({"metadata": {"generation": 3}, "status": status});
    let objects = [
        json!({"metadata": {"generation": 1}}),
        with(json!({"observedGeneration": -1})),
        with(json!({"observedGeneration": 2, "conditions": ready, "health": "Healthy"})),
        // First sight: everything is Unknown.
        with(json!({"observedGeneration": 3, "health": "Unknown", "conditions": [
            condition("Accepted", "Unknown", "Pending", ""),
            condition("Ready", "Unknown", "Pending", "")
        ]})),
        with(json!({"observedGeneration": 3, "conditions": [], "health": "Unknown"})),
    ];
    for (object, (health, _)) in objects.iter().zip(judge(&dir, &script(), &objects)) {
        assert_eq!(health, "Progressing", "{object}");
    }
    // A pool has no health, and a condition may have no message.
    let pool = with(json!({"observedGeneration": 3, "conditions": ready}));
    let said = judge(&dir, &script(), &[pool]);
    assert_eq!(said, [("Healthy".to_owned(), "Receiving".to_owned())]);
}

#[test]
fn the_patch_for_argo_cd_has_the_script_for_every_kind_that_people_write() {
    let text = std::fs::read_to_string(workspace().join(FOLDER).join("argocd-cm.yaml")).unwrap();
    let patch = &lineside_crds::yaml::values(&text)[0];
    let script = std::fs::read_to_string(script()).unwrap();
    let wanted: Map<String, Value> = ["AgentPool", "DeviceConnection", "Pipeline", "Sink"]
        .map(|kind| (format!("resource.customizations.health.lineside.dev_{kind}"), json!(script)))
        .into_iter()
        .collect();
    assert_eq!(patch["data"], Value::Object(wanted));
}
