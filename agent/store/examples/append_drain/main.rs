//! What the store costs beside the disk itself, as the agent runs it: devices append in one
//! thread, the committer syncs in another, and a sink takes and settles in a third.
//!
//! `cargo run --release -p lineside-store --example append_drain -- [DIR] [PART...]`
//!
//! | part | what it tells |
//! |---|---|
//! | `throughput` | append and drain against plain writes of as many bytes with as many syncs |
//! | `backlog` | the start with a backlog of 1 GB, and live latency while it drains |
//! | `wear` | what is written at 1,000 and 10,000 samples/s, and what that does to flash |
//!
//! Without a part all run. The numbers in the documentation are its output.

mod backlog;
mod counted;
mod machine;
mod plain;
mod store;
mod throughput;
mod wear;

use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A name and what it runs in a directory.
type Part = (&'static str, fn(&Path) -> Result);

const PARTS: [Part; 3] =
    [("throughput", throughput::run), ("backlog", backlog::run), ("wear", wear::run)];

fn main() -> Result {
    let mut words = std::env::args_os().skip(1);
    let dir = words.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let wanted: Vec<_> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    if let Some(unknown) = wanted.iter().find(|w| PARTS.iter().all(|(name, _)| name != w)) {
        return Err(format!("there is no part {unknown}").into());
    }
    let dir = dir.join(format!("append-drain-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let mut chosen =
        PARTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    let result = chosen.try_for_each(|(_, run)| run(&dir));
    std::fs::remove_dir_all(&dir)?;
    result
}
