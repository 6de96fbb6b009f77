//! The store-and-forward log: what was captured stays on disk until every sink has it.
//!
//! ```text
//! Volume (a directory, one per agent) --+-- Log (one per pipeline) --+-- cursor of a sink
//!    one commit over all logs           +-- Log                      +-- cursor of a sink
//! ```
//!
//! Nothing here needs a runtime: appending, taking and settling never wait for a disk; what does
//! (a commit, a reading) is called where waiting is allowed. The format on disk is described in
//! `docs/specs/store.md`.

mod codec;
mod cursor;
mod definition;
mod entry;
mod error;
mod fields;
mod frame;
pub mod fs;
mod inspect;
mod ledger;
mod letter;
mod log;
mod meta;
mod rate;
mod replace;
mod scan;
mod sealed;
mod settled;
mod volume;

pub use cursor::{MAX_CONFIGURATION, MAX_NAME};
pub use entry::Receipt;
pub use error::{StoreError, Trouble};
pub use inspect::{Dump, Dumped, Finding, Payload, dump, verify};
pub use ledger::{DropReason, Ledger};
pub use log::{
    Appended, Checkpoint, DeadLetter, Handled, Log, Now, Reading, SinkInfo, Stamp, Take, Usage,
};
pub use meta::Gap;
pub use volume::{Committed, Committer, LogInfo, Options, Report, Volume, VolumeState, spawn};
