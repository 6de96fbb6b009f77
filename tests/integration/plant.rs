//! YAML of a small plant, for the tests of the whole path.

use std::time::Duration;

use anyhow::Result;
use lineside_tests::broker::Broker;
use lineside_tests::dir::TestDir;
use lineside_tests::samples::{self, Arrived};
use lineside_tests::subscriber::Subscriber;

/// Longest time until something that works is seen to work.
pub const SOON: Duration = Duration::from_secs(20);

/// A DeviceConnection; `points` are `(name, address)`, `more` further lines of the spec.
pub fn device(name: &str, port: u16, points: &[(&str, &str)], more: &[&str]) -> String {
    let mut yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata:\n  name: {name}\n\
         spec:\n  url: modbus-tcp://127.0.0.1:{port}?default-unit-identifier=1\n"
    );
    for line in more {
        yaml.push_str(&format!("  {line}\n"));
    }
    yaml.push_str("  points:\n");
    for (point, address) in points {
        yaml.push_str(&format!("  - name: {point}\n    address: \"{address}\"\n"));
    }
    yaml
}

/// A Pipeline of all devices to one MQTT broker; `store` are further lines of the store.
pub fn pipeline(port: u16, store: &[&str]) -> String {
    Line { store, ..Line::to(port) }.yaml()
}

/// A Pipeline to one MQTT broker.
pub struct Line<'a> {
    /// Its name.
    pub name: &'a str,
    /// The devices; none: all.
    pub devices: &'a [&'a str],
    /// The topic; none: the default.
    pub topic: Option<&'a str>,
    /// Port of the broker.
    pub port: u16,
    /// Further lines of the store.
    pub store: &'a [&'a str],
}

impl Line<'_> {
    /// All devices to the broker at `port`.
    pub fn to(port: u16) -> Self {
        Self { name: "all", devices: &[], topic: None, port, store: &[] }
    }

    /// The object.
    pub fn yaml(&self) -> String {
        let names = match self.devices {
            [] => String::new(),
            names => format!("names: [{}]", names.join(", ")),
        };
        let mut yaml = format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: {}\nspec:\n  \
             sources:\n  - name: all\n    devices: {{{names}}}\n  sinks:\n  - name: broker\n    \
             mqtt:\n      url: mqtt://127.0.0.1:{}\n",
            self.name, self.port
        );
        if let Some(topic) = self.topic {
            yaml.push_str(&format!("      topic: \"{topic}\"\n"));
        }
        yaml.push_str("  store:\n    durability: Memory\n");
        for line in self.store {
            yaml.push_str(&format!("    {line}\n"));
        }
        yaml
    }
}

/// Writes a file of the configuration as an editor does: whole, by renaming.
pub fn write(dir: &TestDir, name: &str, yaml: &str) {
    let new = dir.write(&format!("config/.{name}.new"), yaml).unwrap();
    std::fs::rename(new, dir.join("config").join(format!("{name}.yaml"))).unwrap();
}

/// A subscriber to every device's samples.
pub fn consumer(dir: &TestDir, broker: &Broker) -> Result<Subscriber> {
    Subscriber::start(dir, "consumer", broker, "lineside/default/+")
}

/// Every sample so far.
pub fn arrived(subscriber: &mut Subscriber) -> Vec<Arrived> {
    samples::of(subscriber.messages().unwrap()).unwrap()
}

/// The samples of one point so far.
pub fn of_point(subscriber: &mut Subscriber, device: &str, point: &str) -> Vec<Arrived> {
    let device = format!("default/{device}");
    let mut all = arrived(subscriber);
    all.retain(|a| a.device == device && a.point == point);
    all
}
