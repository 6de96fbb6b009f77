//! What is written: the same tablets for all.

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
    /// Tablets of each device in one round.
    cycles: u32,
}

/// All of them.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "small", devices: 1, points: 10, rows: 100, quality: false, cycles: 5000 },
    Shape { name: "large", devices: 1, points: 100, rows: 1000, quality: false, cycles: 100 },
    Shape { name: "fleet", devices: 100, points: 10, rows: 1, quality: true, cycles: 1000 },
];

impl Shape {
    /// Values of a round.
    pub fn values(&self) -> u64 {
        let columns = u64::from(self.points) * if self.quality { 2 } else { 1 };
        let rows = u64::from(self.devices) * u64::from(self.rows) * u64::from(self.cycles);
        rows * columns
    }

    /// Milliseconds from the first row of a round to that of the next one.
    pub fn span(&self) -> i64 {
        i64::from(self.rows) * i64::from(self.cycles)
    }

    /// The request that makes the tablets of a round.
    pub fn request(&self, path: &str, first: i64) -> String {
        let Self { devices, points, rows, quality, cycles, .. } = self;
        let quality = u8::from(*quality);
        format!("build {path} {devices} {points} {rows} {quality} {cycles} {first}")
    }
}

#[cfg(test)]
mod tests {
    use super::SHAPES;

    #[test]
    fn a_quality_is_a_value_too() {
        let values: Vec<_> = SHAPES.iter().map(|shape| (shape.name, shape.values())).collect();
        assert_eq!(values, [("small", 5_000_000), ("large", 10_000_000), ("fleet", 2_000_000)]);
    }
}
