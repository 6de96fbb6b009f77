//! The sink against a real Mosquitto; `mosquitto_sub` is the independent consumer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

mod access;
mod broker;
mod consumer;
mod contract;
mod delivery;
mod hostile;
mod limits;
mod pipeline;
mod proxy;
mod silence;
mod state;
mod tls;
