//! Who may depend on whom: the crate graph of contracts 8 and design 3, read from
//! `cargo metadata`.
//!
//! ```text
//! crds <- plan <- core <- {store, pipeline, net <- {drivers/*, sinks/*}} <- agent
//! crds, plan <- operator
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};
use lineside_tests::tools::workspace;

/// What a crate is, by its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Crds,
    Plan,
    Core,
    Net,
    Store,
    Pipeline,
    Driver,
    Sink,
    Agent,
    Operator,
    Lab,
    Tests,
    Xtask,
}

impl Layer {
    fn of(folder: &str) -> Option<Self> {
        Some(match folder {
            "crds" => Self::Crds,
            "agent/plan" => Self::Plan,
            "agent/core" => Self::Core,
            "agent/net" => Self::Net,
            "agent/store" => Self::Store,
            "agent/pipeline" => Self::Pipeline,
            "agent" => Self::Agent,
            "operator" => Self::Operator,
            "tests/lab" => Self::Lab,
            "tests" => Self::Tests,
            "xtask" => Self::Xtask,
            _ if folder.starts_with("agent/drivers/") => Self::Driver,
            _ if folder.starts_with("agent/sinks/") => Self::Sink,
            _ => return None,
        })
    }

    /// The layers it may name in its manifest, for any purpose.
    fn may_use(self) -> &'static [Layer] {
        use Layer::{Agent, Core, Crds, Driver, Lab, Net, Pipeline, Plan, Sink, Store, Xtask};
        match self {
            Self::Crds | Self::Lab => &[],
            Self::Plan => &[Crds],
            Self::Core | Self::Operator => &[Crds, Plan],
            Self::Store | Self::Net => &[Crds, Plan, Core],
            Self::Driver | Self::Sink => &[Crds, Plan, Core, Net],
            Self::Pipeline => &[Crds, Plan, Core, Store],
            Self::Agent => &[Crds, Plan, Core, Net, Store, Pipeline, Driver, Sink],
            Self::Xtask => &[Crds, Lab],
            Self::Tests => {
                &[Crds, Plan, Core, Net, Store, Pipeline, Driver, Sink, Agent, Lab, Xtask]
            }
        }
    }
}

/// The edges of `(from, to)` that are not allowed.
fn forbidden(edges: &[(Layer, Layer)]) -> Vec<(Layer, Layer)> {
    edges.iter().filter(|(from, to)| !from.may_use().contains(to)).copied().collect()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.current_dir(workspace()).no_deps();
    command.exec().expect("cargo metadata")
}

/// Every crate of the workspace with its layer.
fn layers(metadata: &Metadata) -> BTreeMap<String, Layer> {
    let mut layers = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
        let folder = folder.strip_prefix(&metadata.workspace_root).expect("in the workspace");
        let layer = Layer::of(folder.as_str())
            .unwrap_or_else(|| panic!("{folder} has no place in the crate graph; give it one"));
        layers.insert(package.name.to_string(), layer);
    }
    layers
}

/// Names of all crates that end up in `package` itself (not in its tests), with all features.
fn closure(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .current_dir(workspace())
        .args(["tree", "--package", package, "--edges", "normal,build", "--all-features"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo tree");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("cargo prints UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn no_crate_names_one_that_its_layer_may_not_use() {
    let metadata = metadata();
    let layers = layers(&metadata);
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let from = layers[package.name.as_str()];
        for dependency in &package.dependencies {
            let Some(to) = layers.get(&dependency.name) else { continue };
            // Its own tests may ask for more of its own features.
            let itself = package.name.as_str() == dependency.name;
            if !itself && !forbidden(&[(from, *to)]).is_empty() {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden edges: {}", wrong.join(", "));
}

#[test]
fn the_rules_refuse_the_edges_that_the_design_names() {
    use Layer::{Agent, Core, Crds, Driver, Operator, Pipeline, Plan, Sink, Store, Tests};
    let edges = [
        (Driver, Driver),
        (Driver, Sink),
        (Driver, Store),
        (Driver, Pipeline),
        (Sink, Driver),
        (Core, Driver),
        (Core, Pipeline),
        (Plan, Core),
        (Crds, Plan),
        (Operator, Core),
        (Operator, Driver),
        (Agent, Operator),
        (Agent, Tests),
    ];
    assert_eq!(forbidden(&edges), edges);
    assert_eq!(forbidden(&[(Operator, Plan), (Driver, Core), (Agent, Driver)]), []);
}

#[test]
fn no_kubernetes_library_gets_into_the_agent() {
    let metadata = metadata();
    for (name, layer) in layers(&metadata) {
        if matches!(layer, Layer::Crds | Layer::Operator | Layer::Xtask | Layer::Tests) {
            continue;
        }
        let inside = closure(&name);
        for library in ["kube", "kube-core", "kube-client", "k8s-openapi"] {
            assert!(!inside.contains(library), "{library} is in {name}");
        }
    }
}

#[test]
fn the_core_knows_no_protocol_and_the_pure_crates_no_runtime() {
    let metadata = metadata();
    for (name, layer) in layers(&metadata) {
        let banned: &[&str] = match layer {
            Layer::Core => &["rumqttc", "rustls", "axum", "hyper"],
            Layer::Plan => &["tokio", "rumqttc", "rustls"],
            Layer::Store => {
                // Its samples are those of the core, whose traits need tokio; of its own it has
                // no runtime and no network.
                let store = metadata.workspace_packages().into_iter().find(|p| *p.name == name);
                let own: Vec<_> = store.unwrap().dependencies.iter().map(|d| &*d.name).collect();
                let runtime = ["tokio", "tokio-util", "futures", "rumqttc", "rustls"];
                assert!(runtime.iter().all(|library| !own.contains(library)), "{own:?}");
                &["rumqttc", "rustls"]
            }
            _ => continue,
        };
        let inside = closure(&name);
        for library in banned {
            assert!(!inside.contains(*library), "{library} is in {name}");
        }
    }
}

#[test]
fn every_driver_and_sink_is_a_feature_of_the_agent() {
    let metadata = metadata();
    let layers = layers(&metadata);
    let packages = metadata.workspace_packages();
    let agent = packages
        .iter()
        .find(|package| layers[package.name.as_str()] == Layer::Agent)
        .expect("there is an agent");
    for (name, layer) in &layers {
        if !matches!(layer, Layer::Driver | Layer::Sink) {
            continue;
        }
        let dependency = agent.dependencies.iter().find(|d| d.name == *name);
        let dependency = dependency.unwrap_or_else(|| panic!("the agent does not know {name}"));
        assert!(dependency.optional, "{name} is not optional in the agent");
        let turned_on = format!("dep:{name}");
        let mut lists = agent.features.values();
        assert!(lists.any(|list| list.contains(&turned_on)), "no feature turns on {name}");
    }
}
