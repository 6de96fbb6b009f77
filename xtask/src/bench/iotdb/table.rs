//! Medians of the rounds, and a table.

use std::fmt::Write as _;

/// One round of one peer.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Values that were sent.
    pub values: u64,
    /// Seconds until the last one was acknowledged.
    pub seconds: f64,
    /// CPU seconds of the client.
    pub cpu: f64,
    /// CPU seconds of the server's DataNode.
    pub server_cpu: f64,
    /// Cores that other programs took meanwhile.
    pub others: f64,
}

/// All rounds of one peer.
#[derive(Clone, Debug)]
pub struct Row {
    /// `ASYNC` or `SYNC`.
    pub wal: &'static str,
    /// Shape of the tablets.
    pub shape: &'static str,
    /// Who.
    pub peer: &'static str,
    /// Those that count.
    pub rounds: Vec<Round>,
    /// Values that were sent, in the round that is thrown away too.
    pub sent: u64,
    /// Values that the server has.
    pub found: u64,
}

impl Row {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let upper = values.get(values.len() / 2).copied().unwrap_or_default();
        let lower = values.get((values.len().max(1) - 1) / 2).copied().unwrap_or_default();
        f64::midpoint(lower, upper)
    }

    /// Values per second, the median of the rounds.
    fn rate(&self) -> f64 {
        self.median(Round::rate)
    }
}

impl Round {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn rate(&self) -> f64 {
        self.values as f64 / self.seconds
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn per_million(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.values as f64
    }
}

/// A Markdown table; the ratio is to the best of the other clients with the same log and shape.
pub fn table(all: &[Row]) -> String {
    let mut text = String::from(
        "| WAL | shape | peer | values/s | slowest, fastest round | of the best client | \
         CPU-s/1M | server CPU-s/1M | others % | values sent = counted |\n\
         |---|---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in all {
        let others = |r: &&Row| r.wal == row.wal && r.shape == row.shape && r.peer != "lineside";
        let best = all.iter().filter(others).map(Row::rate).max_by(f64::total_cmp);
        let ratio =
            best.map_or("-".to_owned(), |best| format!("{:.0} %", 100.0 * row.rate() / best));
        let slowest = row.rounds.iter().map(Round::rate).fold(f64::INFINITY, f64::min);
        let fastest = row.rounds.iter().map(Round::rate).fold(0.0, f64::max);
        let equal = if row.sent == row.found { "yes" } else { "NO" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {slowest:.0}, {fastest:.0} | {ratio} | {:.2} | {:.2} | {:.0} | \
             {} {equal} |",
            row.wal,
            row.shape,
            row.peer,
            row.rate(),
            row.median(|round| round.per_million(round.cpu)),
            row.median(|round| round.per_million(round.server_cpu)),
            row.median(|round| 100.0 * round.others),
            row.sent,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Round, Row, table};

    #[test]
    fn the_ratio_is_to_the_best_other_client_and_of_medians() {
        let row = |peer, seconds: &[f64]| {
            let round = |seconds: &f64| Round {
                values: 100,
                seconds: *seconds,
                cpu: 0.1,
                server_cpu: 0.1,
                others: 0.0,
            };
            let rounds = seconds.iter().map(round).collect();
            Row { wal: "SYNC", shape: "small", peer, rounds, sent: 1, found: 1 }
        };
        let text = table(&[
            row("lineside", &[1.0, 2.0, 50.0]),
            row("java", &[4.0, 4.0, 0.1]),
            row("python", &[8.0]),
        ]);
        let ratios: Vec<_> =
            text.lines().skip(2).filter_map(|line| line.split('|').nth(6)).map(str::trim).collect();
        assert_eq!(ratios, ["200 %", "100 %", "50 %"]);
    }
}
