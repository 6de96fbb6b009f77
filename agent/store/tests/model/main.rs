//! The store against a simulated disk: random schedules of appends, deliveries, crashes and
//! faults, judged by a small model in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "that is how tests fail"
)]

mod batches;
mod dice;
mod disk;
mod plan;
mod reference;
mod rot;
mod schedules;
mod world;
