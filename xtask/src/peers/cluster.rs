//! Servers in a lab: outside its cluster, at addresses that its pods reach and by names that
//! its DNS knows.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use lineside_lab::{Lab, Node, RunId};
use xtask::iotdb::{self, Instance, Ports, Release, SMALL_HEAP};

use crate::{Context, lab, setup};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// The MQTT broker.
    Mosquitto,
    /// A Modbus TCP device with the values of examples/first.
    Pymodbus,
    /// Another Modbus TCP device, of another maker.
    Libmodbus,
    /// The time series database Apache IoTDB, newest release.
    #[value(name = "iotdb-2.0")]
    Iotdb2,
    /// The same, newest release of 1.3. Stopped, it begins anew.
    #[value(name = "iotdb-1.3")]
    Iotdb1,
}

/// Those that `up` starts unless others are named: two Java programs are not wanted by everybody.
const SMALL: [Peer; 3] = [Peer::Mosquitto, Peer::Pymodbus, Peer::Libmodbus];
/// Longest start of an IoTDB, on a busy machine.
const IOTDB_START: Duration = Duration::from_secs(120);
/// How often a log is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Pymodbus => "pymodbus",
            Self::Libmodbus => "libmodbus",
            Self::Iotdb2 => "iotdb-2.0",
            Self::Iotdb1 => "iotdb-1.3",
        }
    }

    /// Address and port, the same in every lab. The lab's DNS has it as `NAME.lab`.
    fn endpoint(self) -> (&'static str, u16) {
        match self {
            Self::Mosquitto => ("172.30.0.10", 1883),
            Self::Pymodbus => ("172.30.0.11", 502),
            Self::Libmodbus => ("172.30.0.12", 502),
            Self::Iotdb2 => ("172.30.0.13", 6667),
            Self::Iotdb1 => ("172.30.0.14", 6667),
        }
    }

    fn iotdb(self) -> Option<Release> {
        match self {
            Self::Iotdb2 => Some(Release::V2),
            Self::Iotdb1 => Some(Release::V1),
            Self::Mosquitto | Self::Pymodbus | Self::Libmodbus => None,
        }
    }
}

/// Starts those that do not run.
pub fn up(context: &Context, run: &RunId, names: &[Peer]) -> Result<()> {
    setup::peers(context)?;
    let lab = lab::attach(context, run)?;
    let dir = folder(&lab);
    fs::create_dir_all(&dir)?;
    for peer in if names.is_empty() { &SMALL } else { names } {
        if is_running(&lab, *peer)? {
            continue;
        }
        if let Some(release) = peer.iotdb() {
            start_iotdb(context, &lab, *peer, release, &dir)?;
        } else {
            let (program, args) = invocation(context, *peer, &dir)?;
            lab.spawn(peer.name(), Node::One, &program, args)?;
        }
    }
    status(context, run)
}

/// Stops those that run.
pub fn down(context: &Context, run: &RunId, names: &[Peer]) -> Result<()> {
    let lab = lab::attach(context, run)?;
    for peer in if names.is_empty() { Peer::value_variants() } else { names } {
        if is_running(&lab, *peer)? {
            lab.program(peer.name())?.stop()?;
        }
        if peer.iotdb().is_some() && runs(&lab, &config_node(*peer))? {
            lab.program(&config_node(*peer))?.stop()?;
        }
    }
    status(context, run)
}

/// Says where each is and whether it runs.
pub fn status(context: &Context, run: &RunId) -> Result<()> {
    let lab = lab::attach(context, run)?;
    for peer in Peer::value_variants() {
        let (address, port) = peer.endpoint();
        let state = if is_running(&lab, *peer)? { "runs" } else { "stopped" };
        let name = peer.name();
        let log = lab.log(name);
        println!("{name:<10} {state:<8} {address}:{port:<5} {name}.lab  {}", log.display());
    }
    Ok(())
}

fn is_running(lab: &Lab, peer: Peer) -> Result<bool> {
    runs(lab, peer.name())
}

fn runs(lab: &Lab, program: &str) -> Result<bool> {
    Ok(lab.programs()?.iter().any(|(name, running)| name == program && *running))
}

/// The other one of the two programs of an IoTDB.
fn config_node(peer: Peer) -> String {
    format!("{}-config", peer.name())
}

fn start_iotdb(
    context: &Context,
    lab: &Lab,
    peer: Peer,
    release: Release,
    dir: &Path,
) -> Result<()> {
    let (address, rpc) = peer.endpoint();
    let dir = dir.join(peer.name());
    if release == Release::V1 && dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let (config, data) = ([10710, 10720], [10730, 10740, 10750, 10760]);
    let (address, ports) = (address.parse()?, Ports { rpc, config, data });
    let instance = Instance { release, dir, address, ports, heap: SMALL_HEAP, extra: Vec::new() };
    instance.write()?;
    let java = iotdb::java()?;
    let words = |args: Vec<OsString>| -> Vec<String> {
        args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    };
    let config = config_node(peer);
    if !runs(lab, &config)? {
        lab.spawn(&config, Node::One, &java, words(instance.config_node(&context.cache)))?;
    }
    // The DataNode tries for a while to reach the other one.
    lab.spawn(peer.name(), Node::One, &java, words(instance.data_node(&context.cache)))?;
    wait_for(&lab.log(peer.name()), iotdb::READY)
}

/// Waits until a log has this text.
fn wait_for(log: &Path, text: &str) -> Result<()> {
    let deadline = Instant::now() + IOTDB_START;
    while Instant::now() < deadline {
        if fs::read_to_string(log).is_ok_and(|log| log.contains(text)) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("not ready within {IOTDB_START:?}: see {}", log.display());
}

/// Configurations and what the devices write down about requests.
fn folder(lab: &Lab) -> PathBuf {
    lab.layout().dir().join("peers")
}

fn invocation(context: &Context, peer: Peer, dir: &Path) -> Result<(PathBuf, Vec<String>)> {
    let (address, port) = peer.endpoint();
    let requests = dir.join(format!("{}.requests", peer.name())).display().to_string();
    let port_text = port.to_string();
    Ok(match peer {
        Peer::Mosquitto => {
            let config = dir.join("mosquitto.conf");
            let data = dir.join("mosquitto-data");
            fs::create_dir_all(&data)?;
            fs::write(&config, mosquitto(address, port, &data)).context("mosquitto.conf")?;
            (PathBuf::from("mosquitto"), vec!["-c".into(), config.display().to_string()])
        }
        Peer::Pymodbus => {
            let script = context.workspace.join("tests/peers/pymodbus_server.py");
            // A copy: edit it and send SIGHUP to change the device's faults.
            let fixture = dir.join("pymodbus.json");
            fs::copy(context.workspace.join("examples/first/peer.json"), &fixture)?;
            let (script, fixture) = (script.display().to_string(), fixture.display().to_string());
            let words = [
                &script,
                "--fixture",
                &fixture,
                "--log",
                &requests,
                "--host",
                address,
                "--port",
                &port_text,
            ];
            (context.cache.python()?, words.map(str::to_owned).to_vec())
        }
        Peer::Iotdb2 | Peer::Iotdb1 => bail!("an IoTDB is two programs"),
        Peer::Libmodbus => {
            // 21.5 as words: what its float setters store differs between releases.
            let words = [
                "--log",
                &requests,
                "--host",
                address,
                "--port",
                &port_text,
                "--set",
                "3:0:words:0x41AC,0x0000",
                "--set",
                "3:2:int16:7",
                "--set",
                "1:0:bit:1",
            ];
            let program = context.cache.c_peers()?.join("libmodbus_server");
            (program, words.map(str::to_owned).to_vec())
        }
    })
}

fn mosquitto(address: &str, port: u16, data: &Path) -> String {
    // As root it would otherwise change to a user that cannot write here.
    format!(
        "listener {port} {address}\n\
         allow_anonymous true\n\
         user root\n\
         persistence true\n\
         persistence_location {}/\n\
         max_queued_messages 0\n\
         log_dest stderr\n",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::Peer;
    use clap::ValueEnum as _;

    #[test]
    fn no_two_servers_have_one_address_and_all_are_the_labs() {
        let mut addresses: Vec<_> =
            Peer::value_variants().iter().map(|peer| peer.endpoint().0).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), Peer::value_variants().len());
        for address in addresses {
            let last = address.strip_prefix("172.30.0.").unwrap().parse::<u8>().unwrap();
            assert!((10..=19).contains(&last), "{address}");
        }
    }
}
