//! Where the developer commands keep what they build, shared by `cargo xtask` (which fills the
//! cache) and the integration tests (which use it).

pub mod cache;
pub mod iotdb;
