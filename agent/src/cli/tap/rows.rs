//! Joins the stages of the tap into rows: bytes, sample, delivery of one value side by side.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::shape::Tapped;
use crate::cli::terminal::{Line, Paint, plain, span};

/// How long a row waits for its delivery, when one may come.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a delivered row waits for those of other pipelines.
const GATHERING: Duration = Duration::from_millis(100);
/// Rows and bytes that wait; the oldest give way.
const MOST_WAITING: usize = 8192;
/// Widths of the columns: at least, at most. They grow with what is printed; what is longer
/// than at most is cut.
const WIDTHS: [(usize, usize); 5] = [(15, 15), (24, 48), (11, 35), (10, 32), (7, 32)];
const HEADING: [&str; 5] = ["TIME", "POINT", "RAW", "VALUE", "QUALITY"];

/// One value of one point.
struct Row {
    device: String,
    point: String,
    time: String,
    raw: String,
    value: String,
    quality: String,
    delivered: Vec<String>,
    since: Instant,
}

/// See the module.
pub struct Rows {
    /// Bytes whose sample is not there yet, with their arrival, by device and point.
    raw: HashMap<(String, String), VecDeque<(String, String)>>,
    rows: VecDeque<Row>,
    widths: [usize; 5],
    patience: Duration,
    lost: u64,
}

impl Default for Rows {
    fn default() -> Self {
        let widths = WIDTHS.map(|(least, _)| least);
        Self { raw: HashMap::new(), rows: VecDeque::new(), widths, patience: PATIENCE, lost: 0 }
    }
}

impl Rows {
    /// Takes one line of the tap.
    pub fn take(&mut self, seen: Tapped) {
        let key = |seen: &Tapped| {
            (seen.device.clone().unwrap_or_default(), seen.point.clone().unwrap_or_default())
        };
        match seen.stage.as_str() {
            "lost" => self.lost += seen.events.unwrap_or_default(),
            "raw" => {
                let waiting = self.raw.entry(key(&seen)).or_default();
                if waiting.len() == 64 {
                    waiting.pop_front();
                }
                waiting.push_back((seen.time.unwrap_or_default(), seen.raw.unwrap_or_default()));
                if self.raw.len() > MOST_WAITING {
                    self.raw.clear();
                }
            }
            "decoded" => {
                let raw = self.raw_of(&seen);
                let row = self.row(seen, raw);
                self.rows.push_back(row);
                if self.rows.len() > MOST_WAITING {
                    self.rows.pop_front();
                    self.lost += 1;
                }
            }
            "delivered" => {
                let by = delivered(&seen);
                let (device, point) = key(&seen);
                let mine = |row: &&mut Row| {
                    row.point == point
                        && row.device == device
                        && Some(row.time.as_str()) == seen.time.as_deref()
                };
                // The newest are at the end, and deliveries come soon.
                match self.rows.iter_mut().rev().find(mine) {
                    Some(row) => {
                        if row.delivered.is_empty() {
                            row.since = Instant::now();
                        }
                        row.delivered.push(by);
                    }
                    None => {
                        let mut row = self.row(seen, String::new());
                        row.delivered.push(by);
                        self.rows.push_back(row);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether rows wait for their delivery; without a sink that is connected none will come.
    pub fn await_delivery(&mut self, may_come: bool) {
        self.patience = if may_come { PATIENCE } else { GATHERING };
    }

    /// Events that are missing since it was asked last.
    pub fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The heading, in the widths of the rows so far.
    pub fn heading(&self) -> Line {
        let paint = Paint::Bold;
        let texts = HEADING.map(str::to_owned);
        let last = "DELIVERED".to_owned();
        self.line(Cells { texts, paints: [paint; 5], last, last_paint: paint })
    }

    /// At most so many of the oldest rows, those that are complete or have waited long enough.
    pub fn ready(&mut self, now: Instant, most: usize) -> Vec<Line> {
        let mut ready = Vec::new();
        while ready.len() < most {
            let complete = |row: &mut Row| {
                let patience = if row.delivered.is_empty() { self.patience } else { GATHERING };
                now.saturating_duration_since(row.since) >= patience
            };
            let Some(row) = self.rows.pop_front_if(complete) else { break };
            ready.push(Cells::of(row));
        }
        for (i, width) in self.widths.iter_mut().enumerate() {
            let longest = ready.iter().map(|cells| cells.texts[i].chars().count()).max();
            *width = longest.unwrap_or(0).max(*width);
        }
        ready.into_iter().map(|cells| self.line(cells)).collect()
    }

    fn line(&self, cells: Cells) -> Line {
        let mut line = Line::with_capacity(11);
        for ((text, paint), width) in cells.texts.iter().zip(cells.paints).zip(self.widths) {
            let gap = width.saturating_sub(text.chars().count()) + 2;
            line.extend([span(text, paint), plain(" ".repeat(gap))]);
        }
        line.push(span(cells.last, cells.last_paint));
        line
    }

    /// The bytes of a sample: the first that arrived at its time or later. The bytes are shown
    /// after the answer has its time and before the next one has; older ones are of samples
    /// that were not seen.
    fn raw_of(&mut self, sample: &Tapped) -> String {
        if sample.quality.as_deref() == Some("Bad") && sample.status != Some(BAD_DECODING) {
            return String::new();
        }
        let key =
            (sample.device.clone().unwrap_or_default(), sample.point.clone().unwrap_or_default());
        let Some(waiting) = self.raw.get_mut(&key) else { return String::new() };
        let time = sample.time.as_deref().unwrap_or_default();
        while let Some((arrival, bytes)) = waiting.pop_front() {
            // Texts of one length, so their order is that of the times.
            if arrival.as_str() >= time {
                return bytes;
            }
        }
        String::new()
    }

    fn row(&self, seen: Tapped, raw: String) -> Row {
        let quality = seen.quality.unwrap_or_default();
        let status = lineside_core::StatusCode(seen.status.unwrap_or_default());
        Row {
            device: seen.device.unwrap_or_default(),
            point: seen.point.unwrap_or_default(),
            time: seen.time.unwrap_or_default(),
            raw,
            value: seen.value.map(|v| v.get().to_owned()).unwrap_or_default(),
            quality: if status.is_good() { quality } else { status.to_string() },
            delivered: Vec::new(),
            since: Instant::now(),
        }
    }
}

/// A row as it is printed.
struct Cells {
    texts: [String; 5],
    paints: [Paint; 5],
    last: String,
    last_paint: Paint,
}

impl Cells {
    fn of(row: Row) -> Self {
        // `2026-11-25T11:07:31.684245307Z`: the time of day to the microsecond.
        let clock = row.time.get(11..26).unwrap_or(&row.time).to_owned();
        let name = format!("{}/{}", row.device, row.point);
        let quality = match row.quality.as_str() {
            "Good" => Paint::Green,
            quality if quality.starts_with("Bad") => Paint::Red,
            _ => Paint::Yellow,
        };
        let mut texts = [clock, name, row.raw, row.value, row.quality];
        for (text, (_, most)) in texts.iter_mut().zip(WIDTHS) {
            if text.chars().count() > most {
                *text = text.chars().take(most - 1).chain(['…']).collect();
            }
            if text.is_empty() {
                text.push('-');
            }
        }
        let paints = [Paint::Dim, Paint::Plain, Paint::Dim, Paint::Bold, quality];
        let last = if row.delivered.is_empty() { "-".into() } else { row.delivered.join(", ") };
        Self { texts, paints, last, last_paint: Paint::Plain }
    }
}

/// The one Bad status of a value whose bytes arrived.
const BAD_DECODING: u32 = lineside_core::StatusCode::BAD_DECODING_ERROR.0;

fn delivered(seen: &Tapped) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{} {}", part(&seen.pipeline), part(&seen.sink), part(&seen.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::text;

    fn tapped(stage: &str, nanos: u32) -> Tapped {
        Tapped {
            stage: stage.into(),
            device: Some("default/press".into()),
            point: Some("temp".into()),
            time: Some(format!("2026-11-25T11:07:31.{nanos:09}Z")),
            ..Tapped::default()
        }
    }

    fn raw(nanos: u32, bytes: &str) -> Tapped {
        Tapped { raw: Some(bytes.into()), ..tapped("raw", nanos) }
    }

    fn sample(stage: &str, nanos: u32, value: &str) -> Tapped {
        let value = serde_json::value::RawValue::from_string(value.into()).ok();
        let quality = Some("Good".into());
        Tapped { value, quality, status: Some(0), ..tapped(stage, nanos) }
    }

    fn delivery(nanos: u32, value: &str, id: &str) -> Tapped {
        Tapped {
            pipeline: Some("default/all".into()),
            sink: Some("broker".into()),
            id: Some(id.into()),
            ..sample("delivered", nanos, value)
        }
    }

    fn printed(rows: &mut Rows, now: Instant) -> Vec<String> {
        rows.ready(now, 999).iter().map(|line| text(line, 999, false)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_three_stages_of_a_value_are_one_row() {
        let mut rows = Rows::default();
        rows.take(raw(5, "00 00"));
        rows.take(raw(105, "41 AC"));
        rows.take(sample("decoded", 100, "21.5"));
        assert_eq!(printed(&mut rows, Instant::now()), [""; 0], "its delivery may come");
        rows.take(delivery(100, "21.5", "s/0/7"));
        tokio::time::advance(GATHERING).await;
        let printed = printed(&mut rows, Instant::now());
        let cells: Vec<&str> =
            printed[0].split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(
            cells,
            [
                "11:07:31.000000",
                "default/press/temp",
                "41 AC",
                "21.5",
                "Good",
                "default/all/broker s/0/7"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_delivered_in_time_is_shown_without_and_later_with_it() {
        let mut rows = Rows::default();
        rows.take(sample("decoded", 100, "1"));
        tokio::time::advance(PATIENCE).await;
        let first = printed(&mut rows, Instant::now());
        assert!(first[0].ends_with("Good     -"), "{first:?}");
        rows.take(delivery(100, "1", "s/0/8"));
        tokio::time::advance(GATHERING).await;
        let second = printed(&mut rows, Instant::now());
        assert!(second[0].ends_with("s/0/8"), "{second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_sink_nothing_is_waited_for() {
        let mut rows = Rows::default();
        rows.await_delivery(false);
        rows.take(sample("decoded", 100, "1"));
        tokio::time::advance(GATHERING).await;
        assert_eq!(printed(&mut rows, Instant::now()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_sample_has_no_bytes_and_rows_that_wait_are_bounded() {
        let mut rows = Rows::default();
        rows.take(raw(105, "41 AC"));
        let status = lineside_core::StatusCode::BAD_TIMEOUT;
        let bad = Tapped {
            quality: Some("Bad".into()),
            status: Some(status.0),
            ..tapped("decoded", 100)
        };
        rows.take(bad);
        tokio::time::advance(PATIENCE).await;
        let printed = printed(&mut rows, Instant::now());
        assert!(printed[0].contains("BadTimeout") && !printed[0].contains("41 AC"), "{printed:?}");
        for n in 0..u32::try_from(MOST_WAITING).unwrap() + 5 {
            rows.take(sample("decoded", n, "1"));
        }
        assert_eq!((rows.rows.len(), rows.lost()), (MOST_WAITING, 5));
    }
}
