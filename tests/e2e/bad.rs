//! The corpus of good and broken objects against the real API server: it refuses what our schema
//! and CEL rules refuse offline; what only code can refuse becomes Stalled, and Ready after the fix.

use std::collections::BTreeSet;
use std::time::Duration;

use lineside_crds::api::Kind;
use lineside_crds::diagnostics::Level;
use lineside_crds::yaml;
use lineside_tests::wait;
use serde_json::{Value, json};

use crate::corpus::{files, objects};
use crate::line::{Line, PIPELINE, SOON, device_yaml, of, pipeline_yaml};

/// Whether the API server takes an object, strictly; what it says otherwise.
fn server(line: &Line, object: &Value) -> Result<(), String> {
    let file = line.dir.write("one.json", &object.to_string()).unwrap();
    let file = file.display().to_string();
    let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file];
    line.kubectl(&args).map(drop).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_api_server_and_the_offline_check_give_the_same_verdict() {
    let line = Line::beside("corpus");
    let mut wrong = Vec::new();
    for (name, text) in files("good") {
        for object in objects(&text) {
            if let Err(error) = server(&line, &object) {
                wrong.push(format!("good/{name} is refused: {error}"));
            }
        }
    }
    let (mut refused, mut taken) = (0, 0);
    for (name, text) in files("broken") {
        let known = ["# beyond-cel: ", "# server-takes: "];
        let beyond = text.lines().any(|l| known.iter().any(|word| l.starts_with(word)));
        for object in objects(&text) {
            let documents = yaml::load_text(&name, &object.to_string());
            let ours = documents.iter().flat_map(|d| &d.problems);
            let refuses = ours.filter(|p| p.code.level() == Level::Error).count() > 0;
            match server(&line, &object) {
                Ok(()) if refuses && !beyond => {
                    wrong.push(format!("broken/{name} is taken by the server: {object}"));
                }
                Ok(()) => taken += 1,
                Err(error) if !refuses => {
                    wrong.push(format!("broken/{name} is refused by the server only: {error}"));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 30 && taken > 10, "{refused} refused, {taken} taken");
    println!("corpus: {refused} objects refused by both, {taken} taken by the server");
}

#[test]
fn what_cel_cannot_refuse_stalls_with_code_and_field_and_is_ready_after_the_fix() {
    let line = Line::beside("stalled");
    let mut stalled = BTreeSet::new();
    for (name, text) in files("broken") {
        if !text.lines().any(|l| l.starts_with("# beyond-cel: ")) {
            continue;
        }
        for mut object in objects(&text) {
            let documents = yaml::load_text(&name, &object.to_string());
            let problems: Vec<_> = documents
                .iter()
                .flat_map(|d| &d.problems)
                .filter(|p| p.code.level() == Level::Error)
                .collect();
            let Some(first) = problems.first() else { continue };
            if first.field.to_string().starts_with("metadata") || object["kind"] == "Agent" {
                continue;
            }
            let kind = object["kind"].as_str().unwrap().to_owned();
            let resource = format!("{}.lineside.dev", Kind::parse(&kind).unwrap().plural());
            let called = format!("x-{}", stalled.len());
            object["metadata"]["name"] = json!(called);
            line.apply(&object.to_string());
            let what = format!("{name} stalls");
            let condition = wait::until_some(&what, SOON, || {
                let object = line.get(&resource, &called)?;
                assert_ne!(of(&object, "Ready").map(|c| c.status).as_deref(), Some("True"));
                of(&object, "Stalled")
            })
            .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
            assert_eq!(condition.status, "True", "{name}");
            for problem in problems.iter().take(3) {
                let place = format!("{} {}", problem.code, problem.field);
                assert!(
                    condition.message.contains(&place),
                    "{name}: {place}: {}",
                    condition.message
                );
            }
            line.kubectl(&["delete", &resource, &called]).unwrap();
            stalled.insert(name.clone());
        }
    }
    assert!(stalled.len() >= 10, "only {stalled:?} reached the operator");

    // One of them, mended.
    let at = line.device_address();
    let _device = line.device("furnace", at);
    let good = device_yaml("furnace", at, None);
    line.apply(&good.replace("holding-register:101:REAL", "holding-registr:101:REAL"));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_for("deviceconnection", "furnace", "Stalled", SOON, |c| c.status == "True");
    line.apply(&good);
    line.wait_ready("furnace", "to-broker");
    assert_eq!(line.condition("deviceconnection", "furnace", "Stalled"), None);

    // A broken edit of what runs: the old version goes on.
    line.apply(&good.replace("holding-register:101:REAL", "holding-registr:101:REAL"));
    let rejected = line.wait_for("deviceconnection", "furnace", "Ready", SOON, |c| {
        c.status == "False" && c.reason == "ConfigRejected"
    });
    assert!(rejected.message.contains("spec.points[0].address"), "{rejected:?}");
    let mut line = line;
    let before = line.arrived().len();
    wait::until("data of the old version", Duration::from_secs(10), || {
        line.arrived().iter().skip(before).any(|a| a.is_good() && a.point == "temperature")
    })
    .unwrap();
}

#[test]
fn in_whichever_order_git_brings_the_objects_nothing_fails_on_the_way() {
    let line = Line::beside("order");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    let failed = |kind: &str, name: &str| {
        line.condition(kind, name, "Stalled").is_some_and(|c| c.status == "True")
    };
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    let waits = line.wait_for(PIPELINE, "to-broker", "Ready", SOON, |c| c.status == "False");
    assert_eq!(waits.reason, "NoDevices");
    wait::while_true("in progress, not failed", Duration::from_secs(3), || {
        !failed(PIPELINE, "to-broker")
    })
    .unwrap();
    line.apply(&device_yaml("furnace", at, None));
    wait::until("Ready without failing once", SOON, || {
        assert!(!failed(PIPELINE, "to-broker"));
        assert!(!failed("deviceconnection", "furnace"));
        let ready = line.condition(PIPELINE, "to-broker", "Ready").unwrap();
        ready.status == "True"
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
}
