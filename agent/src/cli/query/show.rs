//! Answers as text, JSON and CSV.

use std::io::{Result, Write};

use lineside_core::{StatusCode, UnixNanos, Value, encode};
use lineside_sink_iotdb::query::{Answer, Found, Sample, Window};
use serde_json::value::RawValue;

use crate::cli::terminal::{self, Paint, Table, plain, span};

const SAMPLE: [&str; 4] = ["time", "point", "value", "quality"];
const WINDOW: [&str; 9] =
    ["time", "point", "count", "samples", "average", "least", "greatest", "last", "quality"];

/// A time for people and programs.
pub fn rfc3339(time: UnixNanos) -> String {
    let mut text = Vec::new();
    encode::write_rfc3339(time, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A table.
pub fn text(out: &mut impl Write, answer: &Answer) -> Result<()> {
    let heading: Vec<_> = heading(answer).iter().map(|word| word.to_uppercase()).collect();
    let heading: Vec<_> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(&heading);
    for (cells, status) in rows(answer, written) {
        let paint = match status {
            Some(status) if status.is_bad() => Paint::Red,
            Some(status) if status.is_uncertain() => Paint::Yellow,
            _ => Paint::Plain,
        };
        let last = cells.len().saturating_sub(1);
        let paint = |i: usize| if i == last { paint } else { Paint::Plain };
        let shown = |(i, cell): (usize, String)| match cell.is_empty() {
            true => plain("-"),
            false => span(cell, paint(i)),
        };
        table.row(cells.into_iter().enumerate().map(shown).collect());
    }
    let colours = terminal::colours();
    for line in table.lines() {
        writeln!(out, "{}", terminal::text(&line, usize::MAX, colours))?;
    }
    Ok(())
}

/// Comma-separated values (RFC 4180).
pub fn csv(out: &mut impl Write, answer: &Answer) -> Result<()> {
    write!(out, "{}\r\n", heading(answer).join(","))?;
    for (cells, _) in rows(answer, bare) {
        let cells: Vec<_> = cells.into_iter().map(quoted).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn quoted(cell: String) -> String {
    match cell.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

fn heading(answer: &Answer) -> &'static [&'static str] {
    match &answer.found {
        Found::Samples(_) => &SAMPLE,
        Found::Windows(_) => &WINDOW,
    }
}

/// Cells of each row, with its quality.
fn rows<'a>(
    answer: &'a Answer,
    value: impl Fn(&Value) -> String + Copy + 'a,
) -> Box<dyn Iterator<Item = (Vec<String>, Option<StatusCode>)> + 'a> {
    match &answer.found {
        Found::Samples(samples) => Box::new(samples.iter().map(move |sample| {
            let Sample { time, point, value: found, status } = sample;
            let cells = [rfc3339(*time), point.to_string(), value(found), quality(*status)];
            (cells.to_vec(), *status)
        })),
        Found::Windows(windows) => Box::new(windows.iter().map(move |window| {
            let Window { time, point, count, samples, average, least, greatest, last, worst } =
                window;
            let cells = [
                rfc3339(*time),
                point.to_string(),
                count.to_string(),
                samples.map(|samples| samples.to_string()).unwrap_or_default(),
                average.map(|average| value(&Value::F64(average))).unwrap_or_default(),
                value(least),
                value(greatest),
                value(last),
                quality(*worst),
            ];
            (cells.to_vec(), *worst)
        })),
    }
}

fn quality(status: Option<StatusCode>) -> String {
    match status {
        None => String::new(),
        Some(status) if status.is_good() => "Good".to_owned(),
        Some(status) => status.to_string(),
    }
}

/// As JSON v1 has it; nothing for no value.
fn written(value: &Value) -> String {
    let mut text = Vec::new();
    if *value != Value::Null {
        encode::value_text(value, false, &mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The same without the quotes of JSON.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        value => written(value).trim_matches('"').to_owned(),
    }
}

/// One object. Values are those of JSON v1, whose 64-bit integers keep all their digits.
pub fn json(out: &mut impl Write, endpoint: &str, device: &str, answer: &Answer) -> Result<()> {
    let raw = |value: &Value| {
        let text = if *value == Value::Null { "null".to_owned() } else { written(value) };
        RawValue::from_string(text).map_err(std::io::Error::other)
    };
    let mut found = Vec::new();
    let name = match &answer.found {
        Found::Samples(samples) => {
            for Sample { time, point, value, status } in samples {
                found.push(object(&[
                    ("time", text_of(&rfc3339(*time))?),
                    ("point", text_of(point)?),
                    ("value", raw(value)?),
                    ("quality", to_raw(&status.map(StatusCode::severity))?),
                    ("status", to_raw(&status.map(|status| status.0))?),
                ])?);
            }
            "samples"
        }
        Found::Windows(windows) => {
            for window in windows {
                let average = window.average.map_or(Value::Null, Value::F64);
                found.push(object(&[
                    ("time", text_of(&rfc3339(window.time))?),
                    ("point", text_of(&window.point)?),
                    ("count", to_raw(&window.count)?),
                    ("samples", to_raw(&window.samples)?),
                    ("average", raw(&average)?),
                    ("least", raw(&window.least)?),
                    ("greatest", raw(&window.greatest)?),
                    ("last", raw(&window.last)?),
                    ("quality", to_raw(&window.worst.map(StatusCode::severity))?),
                    ("status", to_raw(&window.worst.map(|status| status.0))?),
                ])?);
            }
            "windows"
        }
    };
    let report = object(&[
        ("endpoint", text_of(endpoint)?),
        ("device", text_of(device)?),
        (name, to_raw(&found)?),
        ("unknownPoints", to_raw(&answer.unknown)?),
        ("moreFrom", to_raw(&answer.more_from.map(rfc3339))?),
    ])?;
    writeln!(out, "{report}")
}

fn to_raw(value: &impl serde::Serialize) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(std::io::Error::other)
}

fn text_of(text: &str) -> Result<Box<RawValue>> {
    to_raw(&text)
}

/// Fields in their order.
fn object(fields: &[(&str, Box<RawValue>)]) -> Result<Box<RawValue>> {
    let field = |(name, value): &(&str, Box<RawValue>)| format!("\"{name}\":{value}");
    let fields: Vec<_> = fields.iter().map(field).collect();
    RawValue::from_string(format!("{{{}}}", fields.join(","))).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[Value]) -> Answer {
        let sample = |value: &Value| Sample {
            time: 1_500_000_000,
            point: "a,b".into(),
            value: value.clone(),
            status: Some(if *value == Value::Null {
                StatusCode::BAD_TIMEOUT
            } else {
                StatusCode::GOOD
            }),
        };
        let found = Found::Samples(values.iter().map(sample).collect());
        Answer { found, unknown: Vec::new(), more_from: Some(0) }
    }

    #[test]
    fn csv_quotes_what_has_to_be() {
        let mut out = Vec::new();
        let values = [Value::F32(1.5), Value::String("say \"a\"\n".into()), Value::Null];
        csv(&mut out, &answer(&values)).unwrap();
        let time = "1970-01-01T00:00:01.500000000Z";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "time,point,value,quality\r\n{time},\"a,b\",1.5,Good\r\n\
                 {time},\"a,b\",\"say \"\"a\"\"\n\",Good\r\n{time},\"a,b\",,BadTimeout\r\n"
            )
        );
    }

    #[test]
    fn json_keeps_every_digit_of_a_64_bit_integer() {
        let mut out = Vec::new();
        json(&mut out, "h:1", "plant/d", &answer(&[Value::I64(i64::MAX), Value::Null])).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"value\":9223372036854775807,\"quality\":\"Good\""), "{text}");
        assert!(text.contains("\"value\":null,\"quality\":\"Bad\""), "{text}");
        assert!(text.contains("\"moreFrom\":\"1970-01-01T00:00:00.000000000Z\""), "{text}");
    }
}
