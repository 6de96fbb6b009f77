//! Results: one JSON line each, and a table with ratios to the floor of the same run.

use std::fmt::Write as _;

use super::lateness::Lateness;

/// What one peer did in one workload.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Workload.
    pub workload: &'static str,
    /// Peer.
    pub peer: &'static str,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Points with a value that the counter received.
    pub points: f64,
    /// Share of those that the device could give, in percent.
    pub percent: f64,
    /// Messages.
    pub msgs: f64,
    /// Payload bytes.
    pub bytes: f64,
    /// CPU seconds of the peer.
    pub cpu: f64,
    /// CPU seconds of the broker.
    pub broker_cpu: f64,
    /// Share of a core that other programs of the machine took, in percent.
    pub others: f64,
    /// Resident memory in MiB: at the start of the window, at its end, highest ever.
    pub rss: [f64; 3],
    /// Requests per polling period, all devices together.
    pub requests_per_cycle: f64,
    /// Lateness of messages.
    pub late: Option<Lateness>,
}

impl Measured {
    /// Points per second.
    pub fn rate(&self) -> f64 {
        self.points / self.seconds
    }

    /// CPU seconds for a million points.
    pub fn cost(&self) -> f64 {
        self.cpu / self.points.max(1.0) * 1e6
    }

    /// Share of a core, in percent.
    pub fn core(&self) -> f64 {
        100.0 * self.cpu / self.seconds
    }

    /// One JSON object in one line.
    pub fn json(&self) -> String {
        let Self { workload, peer, seconds, points, percent, msgs, bytes, cpu, .. } = self;
        let [rss_start, rss_end, rss_peak] = self.rss;
        let late = self.late.map_or("null,\"late_p99_ms\":null".to_owned(), |l| {
            format!("{:.2},\"late_p99_ms\":{:.2}", l.p50, l.p99)
        });
        format!(
            "{{\"workload\":\"{workload}\",\"peer\":\"{peer}\",\"seconds\":{seconds:.3},\
             \"points\":{points},\"points_per_s\":{:.0},\"percent\":{percent:.2},\
             \"messages\":{msgs},\"bytes\":{bytes},\"cpu_s\":{cpu:.4},\"cpu_s_per_million\":{:.3},\
             \"core_percent\":{:.3},\"broker_cpu_s\":{:.4},\"others_core_percent\":{:.0},\
             \"rss_start_mib\":{rss_start:.1},\"rss_end_mib\":{rss_end:.1},\
             \"rss_peak_mib\":{rss_peak:.1},\"requests_per_cycle\":{:.2},\"late_p50_ms\":{late}}}",
            self.rate(),
            self.cost(),
            self.core(),
            self.broker_cpu,
            self.others,
            self.requests_per_cycle,
        )
    }
}

/// A Markdown table; `x floor` is CPU per point against the floor of the same workload.
pub fn table(all: &[Measured]) -> String {
    let mut text = String::from(
        "| workload | peer | points/s | % of good | CPU-s/1M | x floor | % of a core | \
         RSS MiB start, end, peak | requests/cycle | late ms p50, p99 | B/point | others % |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for m in all {
        let floor = all.iter().find(|f| f.workload == m.workload && f.peer == "floor");
        let ratio = floor.map_or("-".to_owned(), |f| format!("{:.2}", m.cost() / f.cost()));
        let late = m.late.map_or("-".to_owned(), |l| format!("{:.1}, {:.1}", l.p50, l.p99));
        let [start, end, peak] = m.rss;
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.1} | {:.2} | {ratio} | {:.2} | {start:.1}, {end:.1}, {peak:.1} \
             | {:.1} | {late} | {:.1} | {:.0} |",
            m.workload,
            m.peer,
            m.rate(),
            m.percent,
            m.cost(),
            m.core(),
            m.requests_per_cycle,
            m.bytes / m.points.max(1.0),
            m.others,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Measured, table};

    #[test]
    fn cost_is_shown_as_a_ratio_to_the_floor_of_the_same_workload() {
        let row = |workload, peer, cpu| Measured {
            workload,
            peer,
            cpu,
            seconds: 10.0,
            points: 1e6,
            ..Measured::default()
        };
        let text = table(&[row("A", "lineside", 0.75), row("A", "floor", 0.5), row("D", "x", 1.0)]);
        let ratios: Vec<_> =
            text.lines().skip(2).filter_map(|l| l.split('|').nth(6)).map(str::trim).collect();
        assert_eq!(ratios, ["1.50", "1.00", "-"]);
    }
}
