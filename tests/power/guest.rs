//! Runs in the virtual machine of the power cuts: sets its clock to that of the host and prints
//! the time.

use anyhow::{Context as _, Result};
use lineside_tests::power::clock;

fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("usage: lineside-guest-clock ADDRESS")?;
    println!("{}", clock::set(&address)?);
    Ok(())
}
