//! Reads the Prometheus text format, as far as the agent writes it.

use std::collections::BTreeMap;

/// One scrape: each series with its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Series>);

/// One line of the text format.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Metrics {
    /// Reads a page; comment lines and what is not a series are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(series).collect())
    }

    /// Every series.
    pub fn series(&self) -> &[Series] {
        &self.0
    }

    /// The series of a metric that carry all of these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> {
        self.0.iter().filter(move |series| {
            let carries = |(k, v): &(&str, &str)| series.labels.get(*k).is_some_and(|l| l == v);
            series.name == name && labels.iter().all(carries)
        })
    }

    /// The sum over [`Self::select`]; `None` when there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.select(name, labels).map(|series| series.value).reduce(|a, b| a + b)
    }
}

fn series(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, rest) = head.split_once('{').unwrap_or((head, "}"));
    Some(Series { name: name.to_owned(), labels: labels(rest.strip_suffix('}')?)?, value })
}

fn labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        found.insert(name.trim_start_matches(',').to_owned(), value);
        text = rest.get(end..)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn sums_over_the_series_that_carry_the_labels() {
        let text = "# HELP a x\n# TYPE a counter\na{d=\"x\",r=\"q\\\"1,2}\"} 3\na{d=\"x\",r=\"b\"} 4\nb 1.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.series().len(), 3);
        assert_eq!(metrics.sum("a", &[("d", "x")]), Some(7.0));
        assert_eq!(metrics.sum("a", &[("r", "q\"1,2}")]), Some(3.0));
        assert_eq!(metrics.sum("b", &[]), Some(1.5));
        assert_eq!(metrics.sum("a", &[("d", "y")]), None);
    }
}
