//! The demo's YAML: the files of `examples/demo/` with the ports that are free here.

use std::io;
use std::path::Path;

/// Name and text of each file.
const FILES: [(&str, &str); 4] = [
    ("furnace.yaml", include_str!("../../../examples/demo/furnace.yaml")),
    ("power-meter.yaml", include_str!("../../../examples/demo/power-meter.yaml")),
    ("conveyor.yaml", include_str!("../../../examples/demo/conveyor.yaml")),
    ("pipeline.yaml", include_str!("../../../examples/demo/pipeline.yaml")),
];

/// The ports of one run.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Modbus TCP: the gateway of furnace and power meter.
    pub furnace: u16,
    /// Modbus TCP: the conveyor.
    pub conveyor: u16,
    /// MQTT.
    pub broker: u16,
}

/// The files' names, in the order they are best read.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Writes the files into `dir`.
///
/// # Errors
/// The directory cannot be written.
pub fn write(dir: &Path, ports: Ports) -> io::Result<()> {
    for (name, text) in FILES {
        std::fs::write(dir.join(name), fill_in(text, ports))?;
    }
    Ok(())
}

/// The text with the ports of this run in place of the example's.
fn fill_in(text: &str, ports: Ports) -> String {
    let places = [
        ("modbus-tcp://127.0.0.1:5020", ports.furnace),
        ("modbus-tcp://127.0.0.1:5021", ports.conveyor),
        ("mqtt://127.0.0.1:1883", ports.broker),
    ];
    places.into_iter().fold(text.to_owned(), |text, (place, port)| {
        let kept = place.trim_end_matches(|c: char| c.is_ascii_digit());
        text.replace(place, &format!("{kept}{port}"))
    })
}

#[cfg(test)]
mod tests {
    use lineside_crds::yaml;

    use super::*;

    #[test]
    fn every_url_gets_its_port_and_every_file_is_valid() {
        let ports = Ports { furnace: 40_001, conveyor: 40_002, broker: 40_003 };
        let mut urls = Vec::new();
        let mut loaded = Vec::new();
        for (name, text) in FILES {
            let text = fill_in(text, ports);
            let found = text.lines().filter_map(|l| l.split_once("//127.0.0.1:"));
            urls.extend(found.map(|(_, rest)| rest.chars().take(5).collect::<String>()));
            loaded.extend(yaml::load_text(name, &text));
        }
        assert_eq!(urls, ["40001", "40001", "40002", "40003"]);
        assert!(loaded.iter().all(|d| d.object.is_some() && d.problems.is_empty()), "{loaded:?}");
        assert!(yaml::check_set(&loaded.iter().collect::<Vec<_>>()).is_empty());
    }
}
