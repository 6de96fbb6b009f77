//! What is measured: the shapes of the workloads.

use clap::ValueEnum;

/// Registers of unit 1 that answer exception 2 in workload D.
pub const BAD_ADDRESSES: [u16; 5] = [77, 250, 501, 640, 999];
/// The unit of workload D that never answers.
pub const SILENT_UNIT: u8 = 2;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// 10 devices x 1,000 float32, each second: 10,000 points/s.
    #[value(name = "A")]
    A,
    /// 100 devices x 1,000 float32, each second: 100,000 points/s.
    #[value(name = "B")]
    B,
    /// 1 device, 200 float32 scattered over 4,000 registers, ten times a second: 2,000 points/s.
    #[value(name = "C")]
    C,
    /// A broken device, one connection per unit: unit 1 refuses 5 of 1,000 uint16, unit 2 is
    /// dead, unit 3 is healthy.
    #[value(name = "D")]
    D,
    /// The broken device over one shared connection, 330 uint16 of each unit.
    #[value(name = "D1")]
    D1,
    /// One device with three points, each second: what an agent costs that has little to do.
    #[value(name = "idle")]
    Idle,
}

/// The points of one DeviceConnection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Name of the device.
    pub name: String,
    /// The units and, for each, the wire addresses (from zero) that are read.
    pub units: Vec<(u8, Vec<u16>)>,
}

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::D1 => "D1",
            Self::Idle => "idle",
        }
    }

    /// Number of units.
    pub fn units(self) -> u16 {
        match self {
            Self::A => 10,
            Self::B => 100,
            Self::C | Self::Idle => 1,
            Self::D | Self::D1 => 3,
        }
    }

    /// Polling period in milliseconds.
    pub fn interval_ms(self) -> u32 {
        if self == Self::C { 100 } else { 1000 }
    }

    /// Whether points are uint16; else float32.
    pub fn is_u16(self) -> bool {
        matches!(self, Self::D | Self::D1)
    }

    /// Points of one unit.
    pub fn points(self) -> u16 {
        match self {
            Self::A | Self::B | Self::D => 1000,
            Self::C => 200,
            Self::D1 => 330,
            Self::Idle => 3,
        }
    }

    /// Points that the device can give in one cycle.
    pub fn good_per_cycle(self) -> u32 {
        let points = u32::from(self.points());
        if !self.is_u16() {
            return points * u32::from(self.units());
        }
        // Unit 1 without its bad addresses, unit 2 not at all, unit 3 whole.
        let bad = BAD_ADDRESSES.iter().filter(|a| u32::from(**a) < points).count() as u32;
        2 * points - bad
    }

    /// Seconds before the window: connections, first cycles, and what is learned on the way.
    pub fn warm_up(self) -> u64 {
        match self {
            Self::D | Self::D1 => 15,
            Self::B => 6,
            Self::A | Self::C | Self::Idle => 4,
        }
    }

    /// The connections as Lineside is configured; `sparse` are the addresses of workload C.
    pub fn connections(self, sparse: &[u16]) -> Vec<Connection> {
        let width = if self.is_u16() { 1 } else { 2 };
        let addresses: Vec<u16> = match self {
            Self::C => sparse.to_vec(),
            _ => (0..self.points()).map(|i| width * i).collect(),
        };
        let units = (1..=self.units()).filter_map(|u| u8::try_from(u).ok());
        let of_unit = |unit: u8| (unit, addresses.clone());
        match self {
            Self::D1 => {
                vec![Connection { name: "gateway".to_owned(), units: units.map(of_unit).collect() }]
            }
            _ => units
                .map(|u| Connection { name: format!("d{u:03}"), units: vec![of_unit(u)] })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn the_good_points_are_those_that_the_device_can_give() {
        let good = [Workload::A, Workload::B, Workload::C, Workload::D, Workload::D1]
            .map(Workload::good_per_cycle);
        assert_eq!(good, [10_000, 100_000, 200, 1995, 658]);
    }

    #[test]
    fn a_shared_connection_holds_all_units() {
        let shared = Workload::D1.connections(&[]);
        assert_eq!(shared.len(), 1);
        assert_eq!(shared[0].units.iter().map(|(_, a)| a.len()).sum::<usize>(), 990);
        assert_eq!(Workload::B.connections(&[]).len(), 100);
    }
}
