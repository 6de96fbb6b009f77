//! Secrets, new devices and edits reach running agents without a restart.

use std::time::Duration;

use lineside_tests::broker;
use lineside_tests::wait;

use crate::line::{Line, PIPELINE, SOON, Use, device_yaml, pipeline_yaml};
use crate::shared;

fn restarts(line: &Line) -> (String, i64) {
    let pod = line.pod().unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let count = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap();
    (uid, count)
}

#[test]
fn a_secret_that_comes_late_is_picked_up_and_is_the_condition_of_its_pipeline_only() {
    let options = broker::Options {
        user: Some(("plant".into(), "first-word".into())),
        ..broker::Options::default()
    };
    let mut line = Line::new("secrets", Use::Beside(shared::lab()), options);
    let open = line.second_broker("open");
    let at = line.device_address();
    let device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, Some("node1")));
    line.apply(&pipeline_yaml("open", &open));
    line.apply(&pipeline_with_login("guarded", &line.broker.endpoint()));
    line.wait_ready("furnace", "open");
    let pod = restarts(&line);
    let accepts = device.log.accepts().unwrap();

    let missing = line.wait_for(PIPELINE, "guarded", "Ready", SOON, |c| {
        c.status == "False" && c.reason == "ReferenceNotFound"
    });
    for part in ["LNS-6001", "lineside-credentials", "Next: "] {
        assert!(missing.message.contains(part), "{part}: {}", missing.message);
    }
    let reconciling = line.condition(PIPELINE, "guarded", "Reconciling");
    assert_eq!(reconciling.unwrap().status, "True", "in progress, not failed");

    line.kubectl(&[
        "create",
        "secret",
        "generic",
        "lineside-credentials",
        "--from-literal=user=plant",
        "--from-literal=password=first-word",
    ])
    .unwrap();
    line.wait_for(PIPELINE, "guarded", "Ready", SOON, |c| c.status == "True");
    wait::until("data behind the password", SOON, || {
        line.arrived().iter().any(|a| a.is_good() && a.point == "temperature")
    })
    .unwrap();

    // A rotated value: the broker lets only the new one in after its restart.
    line.broker.term().unwrap();
    line.broker.set_password(&line.dir, "broker", "second-word").unwrap();
    line.broker.restart().unwrap();
    line.new_consumer("consumer-2");
    line.wait_for(PIPELINE, "guarded", "Ready", SOON, |c| c.status == "False");
    let patch = r#"{"stringData":{"password":"second-word"}}"#;
    line.kubectl(&["patch", "secret", "lineside-credentials", "-p", patch]).unwrap();
    line.wait_for(PIPELINE, "guarded", "Ready", SOON, |c| c.status == "True");

    // Another device, and an edit of it.
    let second = line.device_address();
    let _second = line.device("mixer", second);
    line.apply(&device_yaml("mixer", second, Some("node1")));
    line.wait_for("deviceconnection", "mixer", "Ready", SOON, |c| c.status == "True");
    let edit = r#"{"spec":{"intervalMillis":250}}"#;
    line.kubectl(&["patch", "dconn", "mixer", "--type=merge", "-p", edit]).unwrap();
    wait::until("the edit runs", SOON, || {
        let object = line.get("deviceconnection", "mixer").unwrap();
        object["status"]["observedGeneration"] == 2
            && line.condition("deviceconnection", "mixer", "Programmed").unwrap().status == "True"
    })
    .unwrap();

    assert_eq!(restarts(&line), pod, "no agent pod was restarted");
    assert_eq!(device.log.accepts().unwrap(), accepts, "the first device kept its connection");
    line.tells_nowhere("second-word");
    wait::while_true("the other pipeline goes on", Duration::from_secs(2), || {
        line.condition(PIPELINE, "open", "Ready").unwrap().status == "True"
    })
    .unwrap();
}

fn pipeline_with_login(name: &str, endpoint: &str) -> String {
    format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: {name}\n\
         spec:\n  sources:\n  - {{name: all, devices: {{}}}}\n  sinks:\n  - name: broker\n    mqtt:\n      \
         url: mqtt://{endpoint}\n      credentialsRef: {{secret: lineside-credentials, usernameKey: user, \
         passwordKey: password}}\n  store: {{durability: Memory}}\n"
    )
}
