//! The device and the broker that `examples/first` speaks of, as real servers in the foreground.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Context, process, setup};

/// The port of the device in `examples/first/device.yaml`.
const DEVICE_PORT: &str = "5020";
/// The port of the broker in `examples/first/pipeline.yaml`.
const BROKER_PORT: &str = "1883";
/// How often the servers are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Runs both until one of them or this command ends; they end with it.
pub fn run(context: &Context) -> Result<()> {
    setup::peers(context)?;
    let log = context.target.join("peers.requests");
    std::fs::create_dir_all(&context.target)?;
    let mut device = process::command(context.cache.python()?);
    device
        .arg(context.workspace.join("tests/peers/pymodbus_server.py"))
        .arg("--fixture")
        .arg(context.workspace.join("examples/first/peer.json"))
        .arg("--log")
        .arg(&log)
        .args(["--port", DEVICE_PORT]);
    let mut broker = process::command("mosquitto");
    broker.args(["-p", BROKER_PORT]);
    let mut children = Vec::new();
    for (name, command) in [("the Modbus device", &mut device), ("the broker", &mut broker)] {
        children.push((name, command.spawn().with_context(|| format!("start {name}"))?));
    }
    println!("Modbus device at 127.0.0.1:{DEVICE_PORT}, what it serves is in {}", log.display());
    println!("MQTT broker at 127.0.0.1:{BROKER_PORT}");
    println!("Now: cargo run -- agent --config examples/first/     Ctrl-C ends both servers.");
    loop {
        for (name, child) in &mut children {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended with {status}; is its port in use?");
            }
        }
        std::thread::sleep(LOOK);
    }
}
