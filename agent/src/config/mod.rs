//! Configuration of a standalone agent: a directory of YAML, read again whenever it changes.
//! [`scan`] reads, [`book`] decides what is applied.

pub mod book;
pub mod scan;
