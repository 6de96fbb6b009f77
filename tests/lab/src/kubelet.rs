//! A node's kubelet.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::process::Invocation;
use crate::{Component, Layout, Node, Options, control_plane, dns, pki};

/// Where a kubelet tells its health, in its node's namespace.
pub(crate) fn health_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10248))
}

pub(crate) fn invocation(layout: &Layout, options: &Options, node: Node) -> Invocation {
    let dir = layout.kubelet(node);
    let mut argv = control_plane::labk8s(&options.binaries, "kubelet");
    argv.extend([
        format!("--config={}", dir.join("config.json").display()),
        format!("--kubeconfig={}", layout.kubeconfig(pki::kubelet(node)).display()),
        format!("--root-dir={}", dir.join("root").display()),
        format!("--hostname-override={node}"),
        format!("--node-ip={}", node.address()),
        "--v=2".to_owned(),
    ]);
    argv.extend(options.flags(Component::Kubelet(node)));
    Invocation { argv, node, mounts: true }
}

/// Writes its configuration.
pub(crate) fn create(layout: &Layout, node: Node) -> Result<()> {
    let dir = layout.kubelet(node);
    for name in ["root", "pod-logs", "manifests"] {
        fs::create_dir_all(dir.join(name))?;
    }
    let at = |name: &str| dir.join(name).display().to_string();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        // Of its own: two kubelets with one root kill each other's pods as orphans.
        "cgroupRoot": format!("/{}", layout.node_cgroup(node)),
        "enforceNodeAllocatable": ["pods"],
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket(node).display()),
        "podLogsDir": at("pod-logs"),
        "staticPodPath": at("manifests"),
        "resolvConf": dns::resolv_conf(layout).display().to_string(),
        "clusterDNS": [Node::One.address()],
        "clusterDomain": "cluster.local",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt").display().to_string()},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "2%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "2%",
        },
        // Images are loaded by hand and would not come again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": false,
        "makeIPTablesUtilChains": false,
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 4,
    });
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?)
        .context("kubelet's configuration")
}
