//! What the guest says on its console: lines that begin with `@`, between those of its kernel and
//! of the agent. Pure.

use std::collections::BTreeMap;

use crate::faults::evidence::Nanos;

/// The last thing that the guest does before it mounts its disk.
pub const MOUNTING: &str = "@mounting";
/// The disk is mounted after its journal was played back.
pub const RECOVERED: &str = "@recovered";
/// The clock is set to this time, and the agent starts.
pub const START: &str = "@start";
/// So many lines were written to a file, and not synced.
pub const WROTE: &str = "@wrote";
/// So many lines are left of the file of that boot.
pub const LEFT: &str = "@left";
/// The agent has ended with this status, which it never does by itself.
pub const ENDED: &str = "@ended";

/// A console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// See [`MOUNTING`].
    pub mounting: bool,
    /// See [`RECOVERED`].
    pub recovered: bool,
    /// See [`START`].
    pub start: Option<Nanos>,
    /// The highest number of [`WROTE`].
    pub wrote: u64,
    /// By boot, see [`LEFT`].
    pub left: BTreeMap<usize, u64>,
    /// See [`ENDED`].
    pub ended: Option<String>,
}

impl Console {
    /// Reads it; a last line that has no end may be half a line and is left out.
    pub fn parse(text: &str) -> Self {
        let mut console = Self::default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [word] if *word == MOUNTING => console.mounting = true,
                [word] if *word == RECOVERED => console.recovered = true,
                [word, time] if *word == START => console.start = time.parse().ok(),
                [word, lines] if *word == WROTE => {
                    console.wrote = console.wrote.max(lines.parse().unwrap_or(0));
                }
                [word, boot, lines] if *word == LEFT => {
                    if let (Ok(boot), Ok(lines)) = (boot.parse(), lines.parse()) {
                        console.left.insert(boot, lines);
                    }
                }
                [word, status] if *word == ENDED => console.ended = Some((*status).to_owned()),
                _ => {}
            }
        }
        console
    }
}

#[cfg(test)]
mod tests {
    use super::Console;

    #[test]
    fn whole_lines_of_the_guest_are_read_between_others() {
        let text = "[    0.1] Linux version 6\r\n@mounting\r\n@recovered\r\n@left 0 0\r\n\
            @left 1 12\r\n{\"level\":\"INFO\"}\r\n@start 1700000000000000005\r\n@wrote 10\r\n\
            @wrote 20\r\n@wrote 3";
        let read = Console::parse(text);
        assert!(read.mounting && read.recovered);
        assert_eq!(read.start, Some(1_700_000_000_000_000_005));
        assert_eq!((read.wrote, read.ended), (20, None));
        assert_eq!(read.left, [(0, 0), (1, 12)].into());
        assert_eq!(Console::parse("@ended 1\n").ended.unwrap(), "1");
        assert_eq!(Console::parse("@mounting"), Console::default());
    }
}
