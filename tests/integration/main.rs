//! Tests against real servers. One program, so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test code, also the functions the tests share"
)]

mod argocd;
mod backlog;
mod cli;
mod demo;
mod disk;
mod docs;
mod faults;
mod fleet;
mod graph;
mod iotdb;
mod kills;
mod letters;
mod local;
mod outage;
mod overload;
mod page;
mod plant;
mod reload;
mod resolver;
mod sinks;
mod supports;
mod values;
