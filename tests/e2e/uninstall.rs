//! What is left when Lineside goes, and what the API server says to our CRDs.

use std::time::{Duration, Instant};

use lineside_tests::tools::workspace;
use lineside_tests::wait;

use crate::cluster::{self, SYSTEM};
use crate::line::{Line, PIPELINE, SOON, device_yaml, pipeline_yaml};
use crate::shared;

#[test]
fn the_api_server_takes_the_crds_without_a_warning() {
    let lab = shared::lab();
    let crds = workspace().join("crds").display().to_string();
    let mut kubectl = lab.kubectl();
    kubectl.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &crds]);
    let output = kubectl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.to_lowercase().contains("warning"), "{said}");
    let done = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(done, 5, "five kinds");
}

#[test]
fn a_namespace_with_everything_in_it_is_gone_within_a_minute_of_its_deletion() {
    let mut line = Line::beside("doomed");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, None));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    assert!(!line.arrived().is_empty());
    let started = Instant::now();
    line.lab.kubectl_output(&["delete", "namespace", &line.namespace, "--wait=false"]).unwrap();
    wait::until("the namespace is gone", Duration::from_secs(60), || {
        let args = ["get", "namespace", &line.namespace, "--ignore-not-found", "-o", "name"];
        line.lab.kubectl_output(&args).unwrap().trim().is_empty()
    })
    .unwrap_or_else(|e| panic!("{e}\n{}", line.describe()));
    println!("namespace gone after {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn uninstalling_keeps_the_objects_and_the_agents_and_both_can_be_deleted_afterwards() {
    let mut line = Line::alone("uninstall");
    let at = line.device_address();
    let _device = line.device("furnace", at);
    line.apply(&device_yaml("furnace", at, None));
    line.apply(&pipeline_yaml("to-broker", &line.broker));
    line.wait_ready("furnace", "to-broker");
    cluster::helm(
        &line.lab,
        &["uninstall", "lineside", "-n", SYSTEM, "--wait", "--timeout", "90s"],
    )
    .unwrap();
    for (kind, name) in [("deviceconnection", "furnace"), (PIPELINE, "to-broker")] {
        assert!(line.get(kind, name).is_some(), "{kind} {name} is gone");
    }
    let before = line.arrived().len();
    wait::until("the agent goes on", SOON, || line.arrived().len() > before + 4).unwrap();
    line.kubectl(&["delete", "dconn,lspipe,lsagent", "--all", "--timeout=30s"]).unwrap();
    wait::until("no pod is left", SOON, || line.pods().is_empty()).unwrap();
    let started = Instant::now();
    cluster::install_operator(&line.lab).unwrap();
    println!("operator installed again in {:.1} s", started.elapsed().as_secs_f64());
}
