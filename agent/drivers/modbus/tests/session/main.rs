//! The driver against a peer that misbehaves: what a session emits and why it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "that is how tests fail"
)]

mod harness;
mod peer;

mod contract;
mod faults;
mod gateway;
mod memory;
mod once;
mod polling;
mod raw;
mod slowness;
mod updates;
