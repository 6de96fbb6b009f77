//! API types of group `lineside.dev`, version `v1alpha1`, and everything that can be decided
//! about them without touching the world: defaults, bounds, CEL rules, address and URL
//! parsers, diagnostics, and `validate()`, which turns a spec into the [`model`] that every
//! later step takes.
//!
//! ```text
//! YAML text --yaml--> document --schema--> typed spec (api) --validate--> model
//!      |                  |                                      |
//!      +---- line:col ----+----------- Diagnostic (code, path) --+
//! ```
//!
//! The agent, the operator and the command line use the same code, so the same YAML gives the
//! same verdict everywhere.

pub mod api;
pub mod civil;
#[cfg(feature = "kube")]
pub mod crd;
pub mod delivery;
pub mod diagnostics;
pub mod expression;
mod labels;
pub mod modbus;
pub mod model;
mod names;
pub mod plc4x;
pub mod schema;
pub mod suggest;
pub mod validate;
pub mod yaml;
