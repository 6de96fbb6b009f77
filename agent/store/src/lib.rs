//! The store-and-forward log: what was captured stays on disk until every sink has it.

mod codec;
mod definition;
mod fields;
mod frame;
pub mod fs;
mod ledger;
mod settled;

pub use ledger::{DropReason, Ledger};
