//! Tests on a real two-node Kubernetes, as root. One program, so that all share one lab
//! ([`shared`]), which ends with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test code, also the functions the tests share"
)]

mod alerts;
mod backlog;
mod bad;
mod chart;
mod cluster;
mod corpus;
mod first;
mod fleet;
mod inside;
mod lab;
mod line;
mod plant;
mod recovery;
mod rest;
mod rights;
mod secrets;
mod shared;
mod sinks;
mod tsdb;
mod uninstall;
