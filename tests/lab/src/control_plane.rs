//! The command lines of etcd, API server, controller manager and scheduler.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::process::Invocation;
use crate::{Component, Layout, Node, Options};

/// Where etcd listens, in node 1's namespace.
pub(crate) fn etcd_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2379))
}

/// Where the API server listens.
pub(crate) fn apiserver_address() -> SocketAddr {
    SocketAddr::from(([172, 30, 0, 1], 6443))
}

/// Where the controller manager tells its health.
pub(crate) fn manager_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10257))
}

/// Where the scheduler tells its health.
pub(crate) fn scheduler_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10259))
}

/// The log of requests to the API server, one JSON object a line.
pub(crate) fn audit_log(logs: &Path) -> PathBuf {
    logs.join("audit.log")
}

fn audit_policy(layout: &Layout) -> PathBuf {
    layout.dir().join("audit-policy.json")
}

/// Every write of everybody, and every read of a service account that is not Kubernetes' own.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    let reads = json!(["get", "list", "watch"]);
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata",
             "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None", "verbs": reads, "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "verbs": reads, "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    });
    fs::write(audit_policy(layout), serde_json::to_vec_pretty(&policy)?).context("audit policy")
}

pub(crate) fn etcd(layout: &Layout, options: &Options) -> Invocation {
    let mut argv = vec![options.binaries.join("etcd").display().to_string()];
    argv.push(format!("--data-dir={}", layout.dir().join("etcd").display()));
    argv.extend(
        [
            "--name=lab",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=lab=http://127.0.0.1:2380",
            // Nothing here is worth a disk's wait.
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
            "--logger=zap",
            "--log-level=warn",
        ]
        .map(str::to_owned),
    );
    argv.extend(options.flags(Component::Etcd));
    Invocation { argv, node: Node::One, mounts: false }
}

pub(crate) fn apiserver(layout: &Layout, options: &Options, logs: &Path) -> Invocation {
    let mut argv = labk8s(&options.binaries, "kube-apiserver");
    let file = |name: &str| layout.pki(name).display().to_string();
    argv.extend([
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", file("service-accounts.key")),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        format!("--audit-policy-file={}", audit_policy(layout).display()),
        format!("--audit-log-path={}", audit_log(logs).display()),
        format!("--advertise-address={}", Node::One.address()),
    ]);
    argv.extend(
        [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            // In the log before the answer leaves: what is missing there was not asked.
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=500",
            "--audit-log-maxbackup=1",
        ]
        .map(str::to_owned),
    );
    argv.extend(options.flags(Component::ApiServer));
    Invocation { argv, node: Node::One, mounts: false }
}

pub(crate) fn manager(layout: &Layout, options: &Options) -> Invocation {
    let mut argv = labk8s(&options.binaries, "kube-controller-manager");
    argv.extend(client(layout, "controller-manager"));
    argv.extend([
        format!("--root-ca-file={}", layout.pki("ca.crt").display()),
        format!(
            "--service-account-private-key-file={}",
            layout.pki("service-accounts.key").display()
        ),
        format!("--node-monitor-grace-period={}s", options.node_grace_seconds),
    ]);
    argv.extend(
        [
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            "--node-monitor-period=1s",
            // Its usual 20 requests/s are half of the lab's start.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        .map(str::to_owned),
    );
    argv.extend(options.flags(Component::ControllerManager));
    Invocation { argv, node: Node::One, mounts: false }
}

pub(crate) fn scheduler(layout: &Layout, options: &Options) -> Invocation {
    let mut argv = labk8s(&options.binaries, "kube-scheduler");
    argv.extend(client(layout, "scheduler"));
    argv.extend(["--kube-api-qps=500", "--kube-api-burst=1000"].map(str::to_owned));
    argv.extend(options.flags(Component::Scheduler));
    Invocation { argv, node: Node::One, mounts: false }
}

/// The one program of the Kubernetes components, told which one to be.
pub(crate) fn labk8s(binaries: &Path, component: &str) -> Vec<String> {
    vec![binaries.join("labk8s").display().to_string(), component.to_owned()]
}

fn client(layout: &Layout, user: &str) -> Vec<String> {
    let config = layout.kubeconfig(user);
    let config = config.display();
    vec![
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}
