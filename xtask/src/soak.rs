//! `cargo xtask soak kills|backlog|iotdb`: integration tests with larger numbers than in
//! `cargo xtask test`, where each takes a minute.

use anyhow::{Result, bail};

use crate::Context;
use crate::process::{self, cargo, run as run_command, run_tests};
use crate::results::Tally;

/// Integration tests with a number that makes them long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    tests: &'static [&'static str],
    /// The variable that holds the number.
    variable: &'static str,
    number: u32,
}

impl Trial {
    /// The agent is killed so often, under load and with outages of its sink.
    pub fn kills(number: u32) -> Self {
        Self {
            tests: &["kills::an_agent_that_is_killed_again_and_again_loses_nothing_silently"],
            variable: "LINESIDE_KILLS",
            number,
        }
    }

    /// The agent starts on so many mebibytes that wait for its sink.
    pub fn backlog(mebibytes: u32) -> Self {
        Self {
            tests: &["backlog::a_large_backlog_delays_no_start_and_is_delivered_in_order"],
            variable: "LINESIDE_BACKLOG_MIB",
            number: mebibytes,
        }
    }

    /// Agent, broker and IoTDB are killed, ended and stopped so often, with both modes of its log.
    pub fn iotdb(rounds: u32) -> Self {
        Self {
            tests: &[
                "iotdb::rounds::a_database_that_acknowledges_what_is_synced_has_every_value_once",
                "iotdb::rounds::a_database_that_acknowledges_before_it_writes_has_every_value_once",
            ],
            variable: "LINESIDE_ROUNDS",
            number: rounds,
        }
    }

    /// Builds the agent and runs the tests.
    pub fn run(self, context: &Context) -> Result<()> {
        let host = process::host()?;
        run_command(cargo(context, &host).args(["build", "--quiet", "-p", "lineside"]))?;
        let mut tally = Tally::default();
        let mut test = cargo(context, &host);
        test.args(["test", "-p", "lineside-tests", "--test", "integration", "--"])
            .args(["--exact", "--nocapture"])
            .args(self.tests)
            .env(self.variable, self.number.to_string());
        run_tests(&mut test, &mut tally)?;
        if tally.passed != self.tests.len() as u64 {
            bail!("there is no test {}", self.tests.join(" or "));
        }
        Ok(())
    }
}
