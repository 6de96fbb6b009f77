//! The demo's plant: a simulated furnace line that speaks real Modbus TCP on loopback, an MQTT
//! broker, and the YAML that connects the two. It knows nothing of the agent, which reads all of
//! it as it would read real devices.
//!
//! ```text
//! line (pure: time -> values) -> image (registers) -> server (Modbus TCP) <- agent -> broker
//!                                                         ^                  ^
//!                                    faults (pure: when) -'          files --'
//! ```

pub mod broker;
mod faults;
pub mod files;
mod image;
mod line;
pub mod server;
pub mod show;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use faults::Faults;
use image::Image;
use line::Line;

/// Time between two scans of the simulated controllers; values change only then.
const SCAN: Duration = Duration::from_millis(100);

/// A simulated controller, which listens on a port of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// The gateway with the furnace (unit 1) and the power meter (unit 2).
    Furnace,
    /// The conveyor (unit 1), which drops off the network now and then.
    Conveyor,
}

/// The whole line. What it shows depends on the time since its start and on the seed alone.
#[derive(Debug)]
pub struct Plant {
    started: Instant,
    line: Line,
    faults: Faults,
}

impl Plant {
    /// A line that starts now.
    pub fn start(seed: u64) -> Arc<Self> {
        let (line, faults) = (Line::new(seed), Faults::new(seed));
        Arc::new(Self { started: Instant::now(), line, faults })
    }

    /// What the unit of a station holds at this moment; `None` when there is no such unit.
    fn image(&self, station: Station, unit: u8) -> Option<Image> {
        let elapsed = self.started.elapsed();
        let state = self.line.at(elapsed);
        match (station, unit) {
            (Station::Furnace, 1) => {
                Some(image::furnace(&state, self.faults.sensor_broken(elapsed)))
            }
            (Station::Furnace, 2) => Some(image::power_meter(&state)),
            (Station::Conveyor, 1) => Some(image::conveyor(&state)),
            _ => None,
        }
    }

    /// Whether the station can be reached now, and the time of the next change if there is one.
    fn reachable(&self, station: Station) -> (bool, Option<Instant>) {
        match station {
            Station::Furnace => (true, None),
            Station::Conveyor => {
                let (away, change) = self.faults.conveyor_away(self.started.elapsed());
                (!away, Some(self.started + change))
            }
        }
    }
}
