//! `cargo xtask soak kills|backlog`: integration tests with larger numbers than in
//! `cargo xtask test`, where each takes a minute.

use anyhow::{Result, bail};

use crate::Context;
use crate::process::{self, cargo, run as run_command, run_tests};
use crate::results::Tally;

/// An integration test with a number that makes it long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    test: &'static str,
    /// The variable that holds the number.
    variable: &'static str,
    number: u32,
}

impl Trial {
    /// The agent is killed so often, under load and with outages of its sink.
    pub fn kills(number: u32) -> Self {
        Self {
            test: "kills::an_agent_that_is_killed_again_and_again_loses_nothing_silently",
            variable: "LINESIDE_KILLS",
            number,
        }
    }

    /// The agent starts on so many mebibytes that wait for its sink.
    pub fn backlog(mebibytes: u32) -> Self {
        Self {
            test: "backlog::a_large_backlog_delays_no_start_and_is_delivered_in_order",
            variable: "LINESIDE_BACKLOG_MIB",
            number: mebibytes,
        }
    }

    /// Builds the agent and runs the test.
    pub fn run(self, context: &Context) -> Result<()> {
        let host = process::host()?;
        run_command(cargo(context, &host).args(["build", "--quiet", "-p", "lineside"]))?;
        let mut tally = Tally::default();
        let mut test = cargo(context, &host);
        test.args(["test", "-p", "lineside-tests", "--test", "integration", "--"])
            .args(["--exact", self.test, "--nocapture"])
            .env(self.variable, self.number.to_string());
        run_tests(&mut test, &mut tally)?;
        if tally.passed != 1 {
            bail!("there is no test {}", self.test);
        }
        Ok(())
    }
}
