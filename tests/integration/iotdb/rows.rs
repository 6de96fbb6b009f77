//! What a database has of the two devices of a line, in the words of the judge.

use lineside_tests::faults::evidence::{Message, Sample};
use lineside_tests::peers::iotdb_client::IotdbClient;
use serde_json::Value;

/// Reads everything below a prefix with the official client; `tick` is the server's unit of time
/// in nanoseconds.
pub fn read(client: &mut IotdbClient, port: u16, prefix: &str, tick: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    for (name, points) in [("fast", 4), ("slow", 9)] {
        let columns: Vec<String> = (0..points).map(|p| format!("p{p}, p{p}_q")).collect();
        let sql = format!("select {} from {prefix}.default.{name}", columns.join(", "));
        for row in client.query(port, false, &sql).unwrap() {
            let [Some(time), cells @ ..] = &row[..] else { panic!("no time in {row:?}") };
            messages.push(message(name, time, cells, tick));
        }
    }
    messages
}

/// One row of a device: its cells are those of a point and of its quality by turns.
fn message(device: &str, time: &str, cells: &[Option<String>], tick: i64) -> Message {
    let ticks: i64 = time.parse().unwrap();
    let sample = |(place, pair): (usize, &[Option<String>])| {
        let [value, quality] = pair else { panic!("half a point in {cells:?}") };
        let status: i32 = quality.as_ref()?.parse().unwrap();
        let number = |text: &String| Value::from(text.parse::<u64>().unwrap());
        Some(Sample {
            point: format!("p{place}"),
            value: value.as_ref().map_or(Value::Null, number),
            status: status.cast_unsigned(),
            time: ticks * tick,
        })
    };
    let samples = cells.chunks(2).enumerate().filter_map(sample).collect();
    let id = format!("{device} {time}");
    Message { id, device: format!("default/{device}"), samples, arrived: i64::MAX }
}
