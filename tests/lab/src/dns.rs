//! Names for pods and kubelets: dnsmasq on node 1 serves the lab's hosts file and nothing else.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};

use crate::process::Invocation;
use crate::{Layout, Node};

/// The names every lab starts with, of the servers that `cargo xtask peers` knows.
pub(crate) const NAMES: [(&str, &str); 3] = [
    ("mosquitto.lab", "172.30.0.10"),
    ("pymodbus.lab", "172.30.0.11"),
    ("libmodbus.lab", "172.30.0.12"),
];

/// Where it listens.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([172, 30, 0, 1], 53))
}

pub(crate) fn invocation(layout: &Layout) -> Invocation {
    let mut argv: Vec<String> = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        // Every other name does not exist, at once: pods try each name with all search domains.
        "--local=/#/",
        "--cache-size=0",
    ]
    .map(str::to_owned)
    .to_vec();
    argv.push(format!("--listen-address={}", Node::One.address()));
    argv.push(format!("--addn-hosts={}", layout.hosts().display()));
    Invocation { argv, node: Node::One, mounts: false }
}

/// Writes the first hosts file.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    let lines: Vec<_> = NAMES.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    fs::write(layout.hosts(), lines.concat()).context("hosts of the lab")?;
    fs::write(resolv_conf(layout), format!("nameserver {}\n", Node::One.address()))?;
    Ok(())
}

/// What kubelets take as the node's resolver.
pub(crate) fn resolv_conf(layout: &Layout) -> std::path::PathBuf {
    layout.dir().join("resolv.conf")
}

/// Gives `name` this address, or takes it away.
pub(crate) fn set(layout: &Layout, name: &str, address: Option<IpAddr>) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(allowed) {
        bail!("{name:?} is no name for a host");
    }
    let hosts = fs::read_to_string(layout.hosts())?;
    fs::write(layout.hosts(), changed(&hosts, name, address))?;
    Ok(())
}

fn changed(hosts: &str, name: &str, address: Option<IpAddr>) -> String {
    let other = |line: &&str| line.split_whitespace().nth(1) != Some(name);
    let mut text: String = hosts.lines().filter(other).map(|line| format!("{line}\n")).collect();
    if let Some(address) = address {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn a_name_is_moved_added_and_removed() {
        let hosts = "172.30.0.10 mosquitto.lab\n172.30.0.11 pymodbus.lab\n";
        let moved = changed(hosts, "mosquitto.lab", Some([172, 30, 0, 19].into()));
        assert_eq!(moved, "172.30.0.11 pymodbus.lab\n172.30.0.19 mosquitto.lab\n");
        assert_eq!(changed(&moved, "pymodbus.lab", None), "172.30.0.19 mosquitto.lab\n");
    }
}
