//! `cargo xtask compat`: that what the end-to-end tests show on one Kubernetes holds on the oldest
//! one that is supported, and for Flux. Prints a row for each check; never part of `test`, because
//! it builds more of other people's programs.

use anyhow::Result;
use lineside_lab::binaries::Set;

use crate::{Context, long};

/// Runs the checks.
///
/// # Errors
/// One of them fails, or something cannot be built.
pub fn run(context: &Context) -> Result<()> {
    long::run(context, &["oldest::", "flux::"], &[Set::OldestApiServer, Set::Flux], None)
}
