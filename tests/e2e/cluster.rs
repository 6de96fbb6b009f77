//! The suite's cluster: the lab with our images and both charts, installed as the docs say.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lineside_lab::binaries::Set;
use lineside_lab::{Lab, Node};
use lineside_tests::dir::target_dir;
use lineside_tests::tools::workspace;
use xtask::cache::Cache;

use crate::shared;

/// The operator's namespace.
pub const SYSTEM: &str = "lineside-system";
/// Selects the operator's pods.
pub const OPERATOR: &str = "app.kubernetes.io/name=lineside-operator";

/// Installs Lineside, once in this program, and says how long the charts took: images were loaded
/// before.
pub fn install(lab: &Lab) -> Duration {
    static DONE: OnceLock<Result<Duration, String>> = OnceLock::new();
    let done = DONE.get_or_init(|| try_install(lab).map_err(|error| format!("{error:#}")));
    match done {
        Ok(took) => *took,
        Err(error) => panic!("cannot install Lineside: {error}\n{}", operator_log(lab)),
    }
}

/// `helm` in the lab's network as the cluster's administrator.
///
/// # Errors
/// Helm is not built, or fails.
pub fn helm(lab: &Lab, args: &[&str]) -> Result<String> {
    let cache = Cache::of(workspace())?;
    let program = Set::Helm.find(cache.root())?.join("helm");
    let home = lab.log("helm").with_extension("home");
    let mut command = lab.command(Node::One, &program);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &home);
    }
    command.env("KUBECONFIG", lab.kubeconfig()).args(args);
    let output = command.output().with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "helm {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// A chart of this checkout.
pub fn chart(name: &str) -> PathBuf {
    workspace().join("charts").join(name)
}

fn try_install(lab: &Lab) -> Result<Duration> {
    for image in ["agent", "operator"] {
        let (archive, _) = shared::image(image)?;
        lab.load(&archive)?;
    }
    let start = Instant::now();
    install_chart(lab, "lineside-crds")?;
    install_operator(lab)?;
    let took = start.elapsed();
    println!("e2e: charts installed in {:.1} s", took.as_secs_f64());
    Ok(took)
}

/// Installs the operator's chart.
///
/// # Errors
/// Helm fails, or the operator is not ready in time.
pub fn install_operator(lab: &Lab) -> Result<()> {
    install_chart(lab, "lineside")
}

fn install_chart(lab: &Lab, name: &str) -> Result<()> {
    let chart = chart(name).display().to_string();
    let args = ["install", name, &chart, "-n", SYSTEM, "--create-namespace"];
    helm(lab, &[&args[..], &["--wait", "--timeout", "90s"]].concat())?;
    Ok(())
}

/// The operator of the image that the lab runs, as a program of this machine.
pub fn operator_program() -> PathBuf {
    let built = target_dir().unwrap().parent().unwrap().join("image/debug/lineside-operator");
    assert!(
        built.is_file(),
        "{} is missing; run: cargo xtask image --profile dev",
        built.display()
    );
    built
}

/// The end of the operator's log.
pub fn operator_log(lab: &Lab) -> String {
    let logs = lab.kubectl_output(&["-n", SYSTEM, "logs", "-l", OPERATOR, "--tail", "60"]);
    let pods = lab.kubectl_output(&["-n", SYSTEM, "get", "pods,events", "-o", "wide"]);
    [pods, logs].map(|text| text.unwrap_or_else(|error| format!("{error:#}"))).join("\n")
}
