//! From nothing to Ready, as a newcomer does it: apply, see what is missing, switch the device on.

use std::time::Duration;

use lineside_tests::wait;

use crate::line::{Line, PIPELINE, device_yaml, of, pipeline_yaml, unix_ns};

#[test]
fn ready_is_false_until_the_device_is_on_and_true_only_once_a_consumer_has_data() {
    let mut line = Line::beside("first");
    let at = line.device_address();
    line.apply(&device_yaml("furnace", at, Some("node2")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));

    // The agent runs, the device is off.
    let soon = Duration::from_secs(60);
    let off = line.wait_for("deviceconnection", "furnace", "Ready", soon, |c| {
        c.status == "False" && c.reason == "Unreachable"
    });
    assert!(off.message.contains("LNS-"), "{off:?}");
    assert!(off.message.contains("node2"), "the message names the node: {off:?}");
    wait::while_true("nothing is Ready", Duration::from_secs(5), || {
        let device = line.condition("deviceconnection", "furnace", "Ready").unwrap();
        let pipeline = line.condition(PIPELINE, "to-broker", "Ready").unwrap();
        device.status == "False" && pipeline.status != "True"
    })
    .unwrap();
    assert!(line.arrived().iter().all(|a| !a.is_good()));
    let pod = line.pod().unwrap();
    assert_eq!(pod["spec"]["nodeName"], "node2");

    let _device = line.device("furnace", at);
    for object in ["deviceconnection/furnace", "pipelines.lineside.dev/to-broker"] {
        line.kubectl(&["wait", "--for=condition=Ready", object, "--timeout=60s"]).unwrap();
    }
    let first = wait::until_some("a good sample", Duration::from_secs(1), || {
        line.arrived().into_iter().find(|a| a.is_good())
    })
    .unwrap();
    for (kind, name) in [("deviceconnection", "furnace"), (PIPELINE, "to-broker")] {
        let object = line.get(kind, name).unwrap();
        let ready = of(&object, "Ready").unwrap();
        // Conditions have whole seconds.
        let since = unix_ns(&ready.since).unwrap() + 1_000_000_000;
        assert!(
            first.received_ns <= since,
            "{kind} was Ready before a consumer had data: {ready:?} {first:?}"
        );
        assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    }
    let temperature = line.arrived().into_iter().find(|a| a.is_good() && a.point == "temperature");
    assert_eq!(temperature.unwrap().value, 21.5);
    assert_eq!(
        line.pod().unwrap()["metadata"]["uid"],
        pod["metadata"]["uid"],
        "the agent was not replaced"
    );
}

/// A pool whose agents cannot run, and what stands in its devices' Ready.
fn cannot_run(name: &str, pool: &str, placement: &str, said: &[&str]) {
    let line = Line::beside(name);
    let at = line.device_address();
    if !pool.is_empty() {
        line.apply(&format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: default}}\nspec: {pool}\n"
        ));
    }
    let device = device_yaml("furnace", at, None);
    line.apply(&device.replace("  points:", &format!("{placement}  points:")));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    for (kind, name) in [("deviceconnection", "furnace"), (PIPELINE, "to-broker")] {
        let soon = Duration::from_secs(60);
        let ready = line.wait_for(kind, name, "Ready", soon, |c| {
            c.status == "False"
                && c.reason == "AgentNotRunning"
                && said.iter().all(|part| c.message.contains(part))
        });
        assert!(ready.message.contains("Next: "), "{ready:?}");
        assert!(line.condition(kind, name, "Stalled").is_none(), "in progress, not failed");
    }
}

#[test]
fn an_image_that_is_not_there_is_told_in_the_kubelets_words() {
    // `lineside.invalid` resolves nowhere.
    let pool = "{image: 'lineside.invalid/agent:none', stateVolume: {emptyDir: {}}}";
    cannot_run("image", pool, "", &["kubelet: ", "ImagePull", "kubectl describe pod -n t-image"]);
}

#[test]
fn a_volume_without_storage_class_is_told_in_the_schedulers_words() {
    let pool = "{stateVolume: {persistentVolumeClaim: {storageClassName: nowhere}}}";
    let said = ["scheduler: ", "StorageClass nowhere", "kubectl describe pvc -n t-volume"];
    cannot_run("volume", pool, "", &said);
}

#[test]
fn a_device_that_no_node_fits_is_told_with_what_was_looked_for() {
    let placement = "  placement: {nodeSelector: {zone: mars}}\n";
    let said = ["0 of 2 nodes carry zone=mars", "kubectl get nodes --show-labels"];
    cannot_run("nowhere", "", placement, &said);
}
