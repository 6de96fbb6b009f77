//! Modbus servers from other hands, which log what they served: [`pymodbus`] and [`libmodbus`].

mod log;

pub mod libmodbus;
pub mod pymodbus;

pub use log::{Outcome, PeerLog, Request};

/// Longest start of a peer.
const START: std::time::Duration = std::time::Duration::from_secs(30);
