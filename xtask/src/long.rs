//! The tests of `tests/e2e/long.rs`: on the lab of the end-to-end tests, but each for a command of
//! its own.

use std::path::Path;

use anyhow::Result;
use lineside_lab::binaries::Set;

use crate::process::{self, cargo, run_tests};
use crate::results::Tally;
use crate::{Context, image, lab};

/// The variable that names the folder of images for the tests.
const IMAGES: &str = "LINESIDE_TEST_IMAGES";

/// Runs the tests with one of these in their names, one after the other, and shows what they say.
/// `images`: other images than those of the end-to-end tests.
///
/// # Errors
/// Something cannot be built, a test fails, or the lab leaves something behind.
pub fn run(context: &Context, tests: &[&str], sets: &[Set], images: Option<&Path>) -> Result<()> {
    for set in [&[Set::Core, Set::Helm], sets].concat() {
        set.build(context.cache.root())?;
    }
    let mut cargo = cargo(context, &process::host()?);
    cargo.args(["test", "-p", "lineside-tests", "--test", "long", "--"]);
    cargo.args(tests).args(["--nocapture", "--test-threads=1"]);
    match images {
        Some(dir) => drop(cargo.env(IMAGES, dir)),
        None => image::for_tests(context)?,
    }
    let tested = run_tests(&mut cargo, &mut Tally::default());
    // The test program is gone; the guard of its lab may still be at work.
    lab::wait_for_tests(context)?;
    tested
}
