//! What integration tests stand on: real servers as children that never outlive the test, the
//! real agent, an independent consumer, and a fault proxy to put between real parts.
//!
//! Nothing here knows how the product encodes anything. What a device served is in the peer's
//! own log ([`peers`]), what a consumer got is what `mosquitto_sub` printed ([`subscriber`]);
//! tests compare the two.
//!
//! ```text
//!   peer (pymodbus, libmodbus) <-- proxy <-- agent --> proxy --> mosquitto --> mosquitto_sub
//!        |                                                                        |
//!      log: what was served                                       file: what arrived
//! ```
//!
//! A missing server is an error that names `cargo xtask setup`; no test ever skips.

pub mod agent;
pub mod broker;
pub mod browser;
pub mod dir;
pub mod faults;
pub mod metrics;
pub mod peers;
pub mod ports;
pub mod power;
pub mod process;
pub mod proxy;
pub mod samples;
pub mod subscriber;
pub mod terminal;
pub mod tls;
pub mod tools;
pub mod wait;
