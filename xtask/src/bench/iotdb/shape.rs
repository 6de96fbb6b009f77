//! What is written: the same tablets for all.

use super::server::Wal;

/// Time of the first row, in milliseconds since 1970.
pub const FIRST: i64 = 1_700_000_000_000;

/// Tablets of one sort.
#[derive(Debug)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    devices: u32,
    points: u32,
    /// Rows of a tablet, a millisecond apart.
    rows: u32,
    /// Each point has a column for its quality.
    quality: bool,
    /// Tablets of each device in one round; fewer where the server syncs each of them.
    cycles: [u32; 2],
}

/// All of them.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "small",
        devices: 1,
        points: 10,
        rows: 100,
        quality: false,
        cycles: [5000, 1000],
    },
    Shape {
        name: "large",
        devices: 1,
        points: 100,
        rows: 1000,
        quality: false,
        cycles: [100, 100],
    },
    Shape { name: "fleet", devices: 100, points: 10, rows: 1, quality: true, cycles: [1000, 20] },
];

impl Shape {
    /// Tablets of each device in one round.
    fn cycles(&self, wal: Wal) -> u32 {
        let [many, few] = self.cycles;
        if wal == Wal::Sync { few } else { many }
    }

    /// Values of a round.
    pub fn values(&self, wal: Wal) -> u64 {
        let columns = u64::from(self.points) * if self.quality { 2 } else { 1 };
        let rows = u64::from(self.devices) * u64::from(self.rows) * u64::from(self.cycles(wal));
        rows * columns
    }

    /// Milliseconds from the first row of a round to that of the next one.
    pub fn span(&self, wal: Wal) -> i64 {
        i64::from(self.rows) * i64::from(self.cycles(wal))
    }

    /// The request that makes the tablets of a round.
    pub fn request(&self, path: &str, first: i64, wal: Wal) -> String {
        let Self { devices, points, rows, quality, .. } = self;
        let (quality, cycles) = (u8::from(*quality), self.cycles(wal));
        format!("build {path} {devices} {points} {rows} {quality} {cycles} {first}")
    }
}

#[cfg(test)]
mod tests {
    use super::{SHAPES, Wal};

    #[test]
    fn a_quality_is_a_value_too() {
        let values: Vec<_> =
            SHAPES.iter().map(|shape| (shape.name, shape.values(Wal::Async))).collect();
        assert_eq!(values, [("small", 5_000_000), ("large", 10_000_000), ("fleet", 2_000_000)]);
    }
}
