//! The store-and-forward log: what was captured stays on disk until every sink has it.

pub mod fs;
