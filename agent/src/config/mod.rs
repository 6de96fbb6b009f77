//! Configuration as YAML: a directory that is read again whenever it changes, and what runs of it.
//! [`scan`] reads, [`book`] decides what is applied.

pub mod book;
pub mod scan;
