//! A containerd of its own for each node.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::process::{Invocation, holder};
use crate::{Layout, Node, images};

/// Where Debian's containernetworking-plugins are.
const CNI_PLUGINS: &str = "/usr/lib/cni";
/// Where Debian's runc is.
const RUNC: &str = "/usr/sbin/runc";

/// Folders that kubelet, CNI and runc know by heart; each node gets empty ones of its own.
const PRIVATE: [&str; 4] = ["/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni"];

/// The program that holds a node's mount namespace: what is mounted in it ends with the last
/// process in it. Mounts of the machine still come and go in it.
pub(crate) fn mounts(node: Node) -> Invocation {
    let mut script = "mount --make-rshared /".to_owned();
    for dir in PRIVATE {
        // Cannot fail: a string takes everything.
        let _ = write!(script, " && mkdir -p {dir} && mount -t tmpfs lineside-lab {dir}");
    }
    script.push_str(" && exec sleep infinity");
    let argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", &script];
    Invocation { argv: argv.map(str::to_owned).to_vec(), node, mounts: false }
}

/// Whether the mount namespace is complete.
pub(crate) fn mounted(layout: &Layout, node: Node) -> Result<bool> {
    let record = crate::process::known(layout, &holder(node))?;
    let running = record.running.filter(|running| running.is_alive());
    let running = running.with_context(|| format!("{} ended", holder(node)))?;
    let name = fs::read_to_string(format!("/proc/{}/comm", running.pid())).unwrap_or_default();
    Ok(name.trim() == "sleep")
}

pub(crate) fn invocation(layout: &Layout, binaries: &Path, node: Node) -> Invocation {
    let program = binaries.join("containerd").display().to_string();
    let config = layout.containerd(node).join("config.toml").display().to_string();
    Invocation { argv: vec![program, "--config".into(), config], node, mounts: true }
}

/// Writes the configurations of containerd and of the pods' network.
pub(crate) fn create(layout: &Layout, node: Node) -> Result<()> {
    let dir = layout.containerd(node);
    fs::create_dir_all(dir.join("cdi"))?;
    fs::create_dir_all(dir.join("cni"))?;
    fs::write(dir.join("cni/10-lab.conflist"), serde_json::to_vec_pretty(&cni(layout, node))?)?;
    fs::write(dir.join("config.toml"), config(&dir))?;
    Ok(())
}

fn cni(layout: &Layout, node: Node) -> serde_json::Value {
    let addresses = layout.containerd(node).join("addresses");
    json!({
        "cniVersion": "1.0.0",
        "name": format!("lineside-{}", layout.run()),
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.bridge(node),
                "isGateway": true,
                // Peers see the pods' own addresses.
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": addresses.display().to_string(),
                    "ranges": [[{"subnet": node.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// `restrict_oom_score_adj`: root in a container lacks CAP_SYS_RESOURCE, and without it no pause
/// container would start.
fn config(dir: &Path) -> String {
    let at = |name: &str| format!("{:?}", dir.join(name).display().to_string());
    format!(
        r#"version = 3
root = {root}
state = {state}
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri"]

[grpc]
address = {socket}

[ttrpc]
address = {ttrpc}

[plugins."io.containerd.internal.v1.opt"]
path = {opt}

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
enable_cdi = true
cdi_spec_dirs = [{cdi}]
tolerate_missing_hugetlb_controller = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = {cni}

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{RUNC}"
Root = {runc}
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "127.0.0.1"
stream_server_port = "0"
disable_tcp_service = true
"#,
        root = at("root"),
        state = at("state"),
        socket = at("containerd.sock"),
        ttrpc = at("containerd.sock.ttrpc"),
        opt = at("opt"),
        pause = images::PAUSE,
        cdi = at("cdi"),
        cni = at("cni"),
        runc = at("runc"),
    )
}
