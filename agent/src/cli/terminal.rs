//! Text for people: painted words, tables, and lines that fit a screen. Plain ANSI (ECMA-48),
//! colours only where somebody sees them.

use std::io::{IsTerminal, stdout};

/// What a text is painted as (ECMA-48, 8.3.117).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// All is well.
    Green,
    /// Some of it is not.
    Yellow,
    /// None of it is.
    Red,
    /// Of little interest.
    Dim,
}

impl Paint {
    /// The paint of a health.
    pub fn health(health: &str) -> Self {
        match health {
            "Healthy" => Self::Green,
            "Degraded" => Self::Yellow,
            "Unavailable" => Self::Red,
            _ => Self::Dim,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
        }
    }
}

/// Whether standard output is painted: it is a terminal, and nobody said `NO_COLOR`.
pub fn colours() -> bool {
    let said = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stdout().is_terminal() && !said("NO_COLOR") && !dumb
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    paint: Paint,
}

/// A piece of text. Control characters, which a device may have put into a name or a message,
/// are shown and not obeyed.
pub fn span(text: impl AsRef<str>, paint: Paint) -> Span {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    Span { text: text.as_ref().chars().map(shown).collect(), paint }
}

/// Unpainted text.
pub fn plain(text: impl AsRef<str>) -> Span {
    span(text, Paint::Plain)
}

/// A line of pieces.
pub type Line = Vec<Span>;

/// The line as text, cut to `width` characters.
pub fn text(line: &[Span], width: usize, colours: bool) -> String {
    let mut out = String::new();
    let mut left = width;
    for span in line {
        let cut: String = span.text.chars().take(left).collect();
        left -= cut.chars().count();
        if colours && span.paint != Paint::Plain && !cut.trim().is_empty() {
            out.push_str(&format!("\x1b[{}m{cut}\x1b[0m", span.paint.code()));
        } else {
            out.push_str(&cut);
        }
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out
}

/// A table: columns as wide as their widest cell, two spaces between them.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Span>>,
}

impl Table {
    /// A table with this heading.
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|h| span(h, Paint::Bold)).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Span>) {
        self.rows.push(cells);
    }

    /// Its lines.
    pub fn lines(self) -> Vec<Line> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(c));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: Vec<Span>| {
            let cells = row.into_iter().zip(&widths);
            let padded = cells.flat_map(|(cell, width)| {
                let gap = width + 2 - cell.text.chars().count();
                [cell, plain(" ".repeat(gap))]
            });
            padded.collect()
        };
        self.rows.into_iter().map(line).collect()
    }
}

/// A duration for people: two digits are enough.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_is_painted() {
        let mut table = Table::new(&["NAME", "HEALTH", "N"]);
        table.row(vec![plain("a-long-name"), span("Healthy", Paint::Green), plain("1")]);
        table.row(vec![plain("b"), span("Unavailable", Paint::Red), plain("2")]);
        let lines: Vec<String> =
            table.lines().iter().map(|line| text(line, usize::MAX, false)).collect();
        assert_eq!(lines[0], "NAME         HEALTH       N");
        assert_eq!(lines[1], "a-long-name  Healthy      1");
        assert_eq!(lines[2], "b            Unavailable  2");
    }

    #[test]
    fn control_characters_of_a_device_do_not_reach_the_terminal() {
        let line = vec![span("a\x1b[2Jb\u{9b}c\nd", Paint::Red)];
        assert_eq!(text(&line, 80, false), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(text(&line, 80, true).matches('\x1b').count(), 2);
        assert_eq!(text(&line, 3, false), "a\u{fffd}[");
    }

    #[test]
    fn durations_are_short() {
        let cases = [(0.04, "0.0 s"), (9.9, "9.9 s"), (59.6, "60 s"), (600.0, "10 min")];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        assert_eq!((duration(7_300.0), duration(1e6)), ("2 h".into(), "12 d".into()));
    }
}
