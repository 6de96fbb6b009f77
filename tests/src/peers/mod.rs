//! Servers from other hands: Modbus servers that log what they served, [`pymodbus`] and
//! [`libmodbus`], and the time series database [`iotdb`].

mod log;

pub mod iotdb;
pub mod iotdb_client;
pub mod libmodbus;
pub mod pymodbus;

pub use log::{Outcome, PeerLog, Request};

/// Longest start of a peer.
const START: std::time::Duration = std::time::Duration::from_secs(30);
