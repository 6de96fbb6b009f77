//! Two network namespaces, a link between them, and addresses for peers outside the cluster.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::exec::checked;
use crate::{Layout, Node};

/// Last bytes of the addresses for peers, 172.30.0.10 to 19, all on node 1.
const PEERS: std::ops::RangeInclusive<u8> = 10..=19;
/// The address that pods know the API server by.
const SERVICE: &str = "10.96.0.1";
/// Longest run of one of the tools.
const BOUND: Duration = Duration::from_secs(20);
/// Longest wait for a connection or an answer inside a namespace.
const ANSWER: Duration = Duration::from_secs(2);

/// Makes both namespaces and what is in them.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    for node in Node::ALL {
        ip(&["netns", "add", &layout.namespace(node)])?;
    }
    let (one, two) = (layout.link(Node::One), layout.link(Node::Two));
    let (at_one, at_two) = (layout.namespace(Node::One), layout.namespace(Node::Two));
    ip(&[
        "link", "add", &one, "netns", &at_one, "type", "veth", "peer", "name", &two, "netns",
        &at_two,
    ])?;
    for node in Node::ALL {
        let link = layout.link(node);
        let mut lines = vec!["link set lo up".to_owned()];
        lines.push(format!("addr add {}/24 dev {link}", node.address()));
        lines.push(format!("link set {link} up"));
        if node == Node::One {
            lines.extend(PEERS.map(|last| format!("addr add 172.30.0.{last}/24 dev {link}")));
        }
        lines.extend(routes(node));
        batch(layout, node, &lines)?;
        inside(layout, node, "sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], "")?;
        inside(layout, node, "nft", &["-f", "-"], &service())?;
    }
    Ok(())
}

/// Takes the link between the nodes away. It is node 2's end that goes down: an interface that
/// is down has no addresses, and those of the peers are at the other end.
pub(crate) fn cut(layout: &Layout) -> Result<()> {
    batch(layout, Node::Two, &[format!("link set {} down", layout.link(Node::Two))])
}

/// Gives the link back, with the routes that went with it.
pub(crate) fn heal(layout: &Layout) -> Result<()> {
    let mut lines = vec![format!("link set {} up", layout.link(Node::Two))];
    lines.extend(routes(Node::Two));
    batch(layout, Node::Two, &lines)
}

/// Removes the namespaces that are there.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    for node in Node::ALL {
        if layout.namespace_file(node).exists() {
            ip(&["netns", "del", &layout.namespace(node)])?;
        }
    }
    Ok(())
}

/// Ways out of a node: to the other's pods, and from node 2 to everything else.
fn routes(node: Node) -> Vec<String> {
    let other = node.other();
    let mut lines = vec![format!("route replace {} via {}", other.pods(), other.address())];
    if node == Node::Two {
        lines.push(format!("route replace default via {}", other.address()));
    }
    lines
}

/// There is no kube-proxy: one rule for the one Service that pods need.
fn service() -> String {
    let rule = format!("ip daddr {SERVICE} tcp dport 443 dnat to {}:6443;", Node::One.address());
    format!(
        "table ip lineside {{\n\
         chain from-pods {{ type nat hook prerouting priority -100; {rule} }}\n\
         chain from-here {{ type nat hook output priority -100; {rule} }}\n}}\n"
    )
}

fn ip(arguments: &[&str]) -> Result<()> {
    checked(Command::new("ip").args(arguments), "", BOUND).map(drop)
}

fn batch(layout: &Layout, node: Node, lines: &[String]) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-n", &layout.namespace(node), "-batch", "-"]);
    checked(&mut ip, &(lines.join("\n") + "\n"), BOUND).map(drop)
}

fn inside(layout: &Layout, node: Node, program: &str, args: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new("nsenter");
    let namespace = layout.namespace_file(node);
    command.arg(format!("--net={}", namespace.display())).arg("--").arg(program).args(args);
    checked(&mut command, input, BOUND).map(drop)
}

/// Moves the calling thread into a network namespace, for good.
pub(crate) fn enter(namespace: &Path) -> Result<()> {
    let file = File::open(namespace).with_context(|| namespace.display().to_string())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", namespace.display()))
}

/// Whether a port in a node's namespace takes connections.
pub(crate) fn accepts(layout: &Layout, node: Node, address: SocketAddr) -> Result<bool> {
    within(layout, node, || TcpStream::connect_timeout(&address, ANSWER).is_ok())
}

/// Whether an HTTP server in a node's namespace answers 200.
pub(crate) fn answers(
    layout: &Layout,
    node: Node,
    address: SocketAddr,
    path: &str,
) -> Result<bool> {
    within(layout, node, || get(address, path).is_ok_and(|head| head.starts_with("HTTP/1.1 200")))
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Runs `look` on a thread of its own in a node's network.
fn within<T: Send>(layout: &Layout, node: Node, look: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = layout.namespace_file(node);
    thread::scope(|scope| {
        let looking = scope.spawn(|| enter(&namespace).map(|()| look()));
        looking.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a look into {node} panicked")))
    })
}
