//! What takes too long for `cargo xtask test`, or needs programs that it does not build, on the
//! same lab as the end-to-end tests. Commands of their own run parts of it: `cargo xtask compat`
//! the checks of [`oldest`] and [`flux`], `cargo xtask soak cluster` those of [`outage`],
//! `cargo xtask bench cluster` the measurements of [`numbers`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test code, also the functions the tests share"
)]
#![allow(dead_code, reason = "the end-to-end tests use the rest of what both share")]

mod cluster;
mod corpus;
mod flux;
mod line;
mod numbers;
mod oldest;
mod outage;
mod plant;
mod shared;
