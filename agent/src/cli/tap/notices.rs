//! What is said beside the rows: of a device that is not well nothing may flow for a minute, and
//! a person who looks at it wants to know why at once.

use std::collections::BTreeMap;

use super::wanted::Wanted;
use crate::api::shape::{Device, Point, Verdict};

/// Devices that are named at one look.
const MOST_DEVICES: usize = 10;
/// Bad points that are named of one device.
const MOST_POINTS: usize = 5;

/// Remembers what was said of which device.
#[derive(Debug, Default)]
pub struct Notices {
    /// Why it is not well, by device.
    said: BTreeMap<String, String>,
}

/// What changed at one look.
#[derive(Debug, Default)]
pub struct News<'a> {
    /// Devices that are not well, or for another reason than before.
    pub ill: Vec<&'a Device>,
    /// Devices of which was said that they are not well, and are.
    pub well: Vec<&'a Device>,
    /// Devices that are not well and too many to be named.
    pub more: usize,
}

impl Notices {
    /// What is new of the wanted devices.
    pub fn news<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) -> News<'a> {
        let mut news = News::default();
        for device in devices {
            let name = path(device);
            match trouble(&device.verdict) {
                Some(why) if self.said.get(&name).is_some_and(|said| said == why) => {}
                Some(why) => {
                    self.said.insert(name, why.to_owned());
                    if news.ill.len() < MOST_DEVICES {
                        news.ill.push(device);
                    } else {
                        news.more += 1;
                    }
                }
                // It connects (again): nothing to say yet.
                None if device.verdict.health != "Healthy" => {}
                None => {
                    if self.said.remove(&name).is_some() {
                        news.well.push(device);
                    }
                }
            }
        }
        news
    }
}

/// Why nothing, or not everything, flows from a device.
fn trouble(verdict: &Verdict) -> Option<&str> {
    match &verdict.code {
        Some(code) => Some(code),
        None if verdict.reason == "Suspended" => Some(&verdict.reason),
        None => None,
    }
}

/// The words for a device that is not well; `points` are all of its points. None when the points
/// that are wanted are none of the bad ones.
pub fn ill(device: &Device, points: &[Point], wanted: &Wanted) -> Vec<String> {
    let Verdict { health, reason, code, message, next } = &device.verdict;
    let name = path(device);
    let Some(code) = code else {
        return vec![
            format!("{name} is {reason}: it is not read"),
            "  Next: set `mode: Running` to have it read.".into(),
        ];
    };
    let is_bad = |p: &&Point| p.quality.as_deref() == Some("Bad") && wanted.point(&p.name);
    let bad: Vec<&Point> = points.iter().filter(is_bad).collect();
    if bad.is_empty() && wanted.has_point() && device.points.good > 0 {
        return Vec::new();
    }
    let message = message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
    let mut lines = vec![format!("{name} is {health}: {code} {reason}{message}")];
    // Of a device that is away, every point says the same.
    let bad = if device.connected { bad } else { Vec::new() };
    for point in bad.iter().take(MOST_POINTS) {
        let status = point.status_name.as_deref().unwrap_or("Bad");
        lines.push(format!("  {}  {}  {}  {status}", point.name, point.address, point.wire));
    }
    if bad.len() > MOST_POINTS {
        lines.push(format!("  and {} more points", bad.len() - MOST_POINTS));
    }
    let next = next.as_deref().unwrap_or_default();
    lines.push(format!("  Next: {next} (lineside explain {code})"));
    if let Some(point) = bad.first() {
        let asked = quoted(&format!("{}={}", point.name, point.address));
        lines.push(format!("  Next: lineside read {} --point {asked}", quoted(&device.url)));
    }
    lines
}

/// The words for a device that is well again.
pub fn well(device: &Device) -> String {
    format!("{} is {} again: {}", path(device), device.verdict.health, device.verdict.reason)
}

fn path(device: &Device) -> String {
    format!("{}/{}", device.namespace, device.name)
}

/// A word of a shell command, in single quotes where the shell would take it for more.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shape::Counts;

    fn device(name: &str, health: &str, reason: &str, code: Option<&str>) -> Device {
        Device {
            namespace: "default".into(),
            name: name.into(),
            protocol: "ModbusTCP".into(),
            endpoint: "127.0.0.1:502".into(),
            url: "modbus-tcp://127.0.0.1:502?default-unit-identifier=1".into(),
            mode: "Running".into(),
            connected: code != Some("LNS-2001"),
            verdict: Verdict {
                health: health.into(),
                reason: reason.into(),
                code: code.map(str::to_owned),
                message: code.map(|_| "what is wrong".into()),
                next: code.map(|_| "Look at it.".into()),
            },
            since_seconds: 1.0,
            points: Counts { total: 2, good: 1, bad: 1, waiting: 0 },
            interval_millis: Some(1000),
            samples: 1,
        }
    }

    fn point(name: &str, quality: &str) -> Point {
        Point {
            name: name.into(),
            address: "holding-register:500:CHAR[4]".into(),
            wire: "unit 1 FC3 @499 x2".into(),
            unit: None,
            value: None,
            quality: Some(quality.into()),
            status: None,
            status_name: Some("BadConfigurationError".into()),
            time: None,
            age_millis: None,
            interval_millis: 1000,
        }
    }

    #[test]
    fn each_change_is_said_once_and_so_is_the_recovery() {
        let dead = device("d", "Unavailable", "Unreachable", Some("LNS-2001"));
        let bad = device("d", "Degraded", "AllPointsBad", Some("LNS-2031"));
        let connecting = device("d", "Unknown", "Connecting", None);
        let well = device("d", "Healthy", "Receiving", None);
        let mut notices = Notices::default();
        let mut said = |device: &Device| {
            let news = notices.news(std::iter::once(device));
            (news.ill.len(), news.well.len())
        };
        assert_eq!(said(&well), (0, 0), "nothing is wrong, nothing is said");
        assert_eq!((said(&dead), said(&dead)), ((1, 0), (0, 0)));
        assert_eq!((said(&bad), said(&connecting)), ((1, 0), (0, 0)));
        assert_eq!((said(&well), said(&well)), ((0, 1), (0, 0)));
        assert_eq!(said(&bad), (1, 0));
    }

    #[test]
    fn many_devices_that_are_not_well_are_counted_instead_of_named() {
        let all: Vec<Device> = (0..25)
            .map(|i| device(&format!("d{i}"), "Unavailable", "Unreachable", Some("LNS-2001")))
            .collect();
        let mut notices = Notices::default();
        let news = notices.news(all.iter());
        assert_eq!((news.ill.len(), news.more), (MOST_DEVICES, 15));
    }

    #[test]
    fn a_device_that_answers_is_said_with_its_bad_points_and_the_command_that_reads_one() {
        let bad = device("d", "Degraded", "SomePointsBad", Some("LNS-2030"));
        let points = [point("good", "Good"), point("none", "Bad")];
        let all = ill(&bad, &points, &Wanted::new(Some("d"), None)).join("\n");
        for part in [
            "default/d is Degraded: LNS-2030 SomePointsBad: what is wrong",
            "none  holding-register:500:CHAR[4]  unit 1 FC3 @499 x2  BadConfigurationError",
            "Next: Look at it. (lineside explain LNS-2030)",
            "Next: lineside read 'modbus-tcp://127.0.0.1:502?default-unit-identifier=1' \
             --point 'none=holding-register:500:CHAR[4]'",
        ] {
            assert!(all.contains(part), "no {part:?} in {all}");
        }
        assert!(!all.contains("good  "), "{all}");
        let other = Wanted::new(Some("d/go*"), None);
        assert!(ill(&bad, &points, &other).is_empty(), "what is looked at is well");
    }

    #[test]
    fn a_device_that_is_away_or_suspended_is_said_without_its_points() {
        let dead = device("d", "Unavailable", "Unreachable", Some("LNS-2001"));
        let lines = ill(&dead, &[point("none", "Bad")], &Wanted::new(None, None));
        assert_eq!(lines.len(), 2, "{lines:?}");
        let idle = device("d", "Unknown", "Suspended", None);
        let lines = ill(&idle, &[], &Wanted::new(None, None));
        assert!(lines[1].contains("mode: Running"), "{lines:?}");
    }

    #[test]
    fn words_that_a_shell_would_split_or_expand_are_quoted() {
        for (word, shown) in
            [("a=b:1", "a=b:1"), ("x[1]", "'x[1]'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word), shown);
        }
    }
}
