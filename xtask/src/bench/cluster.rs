//! `cargo xtask bench cluster`: how long things take on the lab, and what operator and agent cost
//! there. docs/reference/cluster-numbers.md has what it printed.

use anyhow::Result;

use crate::image::{self, Profile};
use crate::{Context, long};

/// Measures optimized images, built before if need be.
///
/// # Errors
/// Something cannot be built, or does not work.
pub fn run(context: &Context, profile: Profile) -> Result<()> {
    let images = context.target.join("images-measured");
    image::write_into(context, profile, &images)?;
    long::run(context, &["numbers::"], &[], Some(&images))
}
