//! The agent's own account of itself, `lineside lag -o json`: the ledger of every sink and the
//! gaps of every pipeline.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::evidence::Gap;

/// One answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Lag {
    /// Every pipeline that the agent runs.
    pub pipelines: Vec<Pipeline>,
}

/// One pipeline of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pipeline {
    /// `namespace/name`.
    pub pipeline: String,
    /// Where its samples are kept.
    pub store: Store,
    /// The newest gaps.
    pub gaps: Vec<Gap>,
    /// Its sinks.
    pub sinks: Vec<Sink>,
}

/// The store of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Store {
    /// The random id that begins the identity of its records.
    pub id: String,
    /// `Durable`, `Relaxed` or `Memory`.
    pub durability: String,
    /// `Full`: what is captured is safe; else `Degraded`.
    pub state: String,
    /// The diagnostics code while it is `Degraded`.
    pub code: Option<String>,
    /// Bytes in use.
    pub bytes: u64,
    /// Most bytes.
    pub limit: u64,
}

/// A sink of a pipeline.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// What became of the samples.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Age of the oldest sample that waits.
    pub lag_seconds: f64,
}

/// What became of the samples of one sink, in samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Taken over from the devices since the sink was added.
    pub captured: u64,
    /// Acknowledged by the sink.
    pub delivered: u64,
    /// Acknowledged by the sink, which may still lose it.
    pub unconfirmed: u64,
    /// Waiting.
    pub buffered: u64,
    /// Refused by the sink and kept aside.
    pub dead_lettered: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Ledger {
    /// Given up for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Acknowledged by the sink.
    pub fn accepted(&self) -> u64 {
        self.delivered + self.unconfirmed
    }

    /// Whether everything that was captured is accounted for.
    pub fn balances(&self) -> bool {
        let known = [self.accepted(), self.buffered, self.dead_lettered, self.dropped()];
        known.iter().sum::<u64>() == self.captured
    }
}

impl Lag {
    /// Reads what the command printed.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(printed: &str) -> Result<Self> {
        serde_json::from_str(printed).with_context(|| format!("not the answer of lag: {printed}"))
    }

    /// One pipeline.
    ///
    /// # Errors
    /// It is not there.
    pub fn pipeline(&self, name: &str) -> Result<&Pipeline> {
        let found = self.pipelines.iter().find(|p| p.pipeline == name);
        found.with_context(|| format!("lag has no pipeline {name}"))
    }

    /// The ledger of one sink.
    ///
    /// # Errors
    /// It is not there.
    pub fn ledger(&self, pipeline: &str, sink: &str) -> Result<&Ledger> {
        let found = self.pipeline(pipeline)?.sinks.iter().find(|s| s.name == sink);
        Ok(&found.with_context(|| format!("lag of {pipeline} has no sink {sink}"))?.ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, Lag};

    const PRINTED: &str = r#"{"pipelines":[{"pipeline":"default/all",
        "store":{"id":"0f","durability":"Durable","state":"Full","code":null,"bytes":4096,"limit":1073741824},
        "gaps":[{"from":5,"to":9}],
        "sinks":[{"name":"broker","captured":10,"delivered":3,"unconfirmed":1,"buffered":2,"deadLettered":1,
                  "dropped":{"StoreFull":2,"Corrupt":1},"lagSeconds":0.5}]}]}"#;

    #[test]
    fn the_ledger_of_a_sink_and_the_gaps_of_its_pipeline_are_read() {
        let lag = Lag::parse(PRINTED).unwrap();
        let pipeline = lag.pipeline("default/all").unwrap();
        assert_eq!(pipeline.store.state, "Full");
        assert_eq!(pipeline.gaps, [Gap { from: 5, to: 9 }]);
        let ledger = lag.ledger("default/all", "broker").unwrap();
        assert_eq!((ledger.captured, ledger.dead_lettered, ledger.dropped()), (10, 1, 3));
        assert!(ledger.balances());
        assert!(lag.pipeline("default/other").is_err());
        assert!(lag.ledger("default/all", "other").is_err());
    }

    #[test]
    fn a_ledger_with_one_sample_too_many_does_not_balance() {
        let off = PRINTED.replace("\"buffered\":2", "\"buffered\":3");
        assert!(!Lag::parse(&off).unwrap().ledger("default/all", "broker").unwrap().balances());
    }

    #[test]
    fn what_is_no_answer_of_lag_is_shown() {
        assert!(Lag::parse("lineside: no agent").unwrap_err().to_string().contains("no agent"));
    }
}
