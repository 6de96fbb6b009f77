//! An API server of the oldest supported release beside the lab's own, with an etcd of its own:
//! for questions that the API server alone answers. It has no controllers and no nodes, so
//! nothing becomes of what is applied to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::lab::{Guarded, Lab};
use crate::{Node, wait};

/// Longest start of both.
const START: Duration = Duration::from_secs(60);
/// Where it listens, in node 1's namespace; the lab's own has the usual ports.
const SERVER: &str = "https://127.0.0.1:16443";
/// Where its etcd listens.
const ETCD: &str = "http://127.0.0.1:12379";
/// Where its etcd would hear of others like it.
const ETCD_PEERS: &str = "http://127.0.0.1:12380";

/// A running API server of [`crate::binaries::OLDEST_KUBERNETES`]; ends with this.
#[derive(Debug)]
pub struct OldestApiServer {
    lab: Lab,
    kubeconfig: PathBuf,
    // In this order, so that the API server ends before its store does.
    _apiserver: Guarded,
    _etcd: Guarded,
}

impl OldestApiServer {
    /// Starts it with the lab's certificates and waits until it answers; seconds. `programs` is
    /// the folder of [`crate::binaries::Set::OldestApiServer`].
    ///
    /// # Errors
    /// There is one in this lab already, or it does not start; the text has the end of its log.
    pub fn start(lab: &Lab, programs: &Path) -> Result<Self> {
        let dir = lab.layout().dir().join("oldest");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        fs::create_dir_all(&dir)?;
        let kubeconfig = dir.join("admin.kubeconfig");
        fs::write(&kubeconfig, administrator(&fs::read(lab.kubeconfig())?)?)?;
        let etcd = lab.spawn("oldest-etcd", Node::One, &lab.binaries().join("etcd"), etcd(&dir))?;
        let etcd = etcd.guarded();
        let program = programs.join("kube-apiserver");
        let apiserver = lab.spawn("oldest-apiserver", Node::One, &program, apiserver(lab))?;
        let apiserver = apiserver.guarded();
        let server = Self { lab: lab.clone(), kubeconfig, _apiserver: apiserver, _etcd: etcd };
        let answers = || {
            let ready = server.kubectl().args(["get", "--raw", "/readyz"]).output()?;
            Ok(ready.status.success())
        };
        let waited = wait::until("the oldest API server answers", START, answers);
        wait::with_log(waited, &lab.log("oldest-apiserver"))?;
        Ok(server)
    }

    /// `kubectl` as its administrator; add arguments.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = self.lab.command(Node::One, &self.lab.binaries().join("kubectl"));
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig);
        kubectl.arg("--cache-dir").arg(self.kubeconfig.with_extension("cache"));
        kubectl
    }

    /// The kubeconfig of its administrator, for use inside the lab's network.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

/// The administrator of the lab, at this server.
fn administrator(of_the_lab: &[u8]) -> Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(of_the_lab).context("kubeconfig of the lab")?;
    let server = config.pointer_mut("/clusters/0/cluster/server");
    *server.context("the kubeconfig of the lab names a server")? = SERVER.into();
    Ok(serde_json::to_vec_pretty(&config)?)
}

fn etcd(dir: &Path) -> Vec<String> {
    vec![
        "--name=oldest".to_owned(),
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=oldest={ETCD_PEERS}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn apiserver(lab: &Lab) -> Vec<String> {
    let file = |name: &str| lab.layout().pki(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers={ETCD}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", file("service-accounts.key")),
        format!("--advertise-address={}", Node::One.address()),
    ];
    flags.extend(
        [
            "--bind-address=127.0.0.1",
            "--secure-port=16443",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--endpoint-reconciler-type=none",
        ]
        .map(str::to_owned),
    );
    flags
}

#[cfg(test)]
mod tests {
    use super::{SERVER, administrator};
    use serde_json::{Value, json};

    #[test]
    fn the_administrator_is_the_same_and_the_server_is_not() {
        let lab = json!({
            "clusters": [{"name": "lab", "cluster": {"server": "https://a", "ca": "b"}}],
            "users": [{"name": "admin"}],
        });
        let text = administrator(lab.to_string().as_bytes()).unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(config["clusters"][0]["cluster"], json!({"server": SERVER, "ca": "b"}));
        assert_eq!(config["users"], lab["users"]);
        assert!(administrator(b"{}").is_err());
    }
}
