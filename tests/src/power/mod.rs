//! Proof that a power cut loses nothing silently: the real agent in a virtual machine whose
//! power is cut at random moments, on a disk that forgets what it was not told to keep.
//!
//! ```text
//!   host                                    virtual machine (QEMU without KVM)
//!   device (ours) <-------------------------- agent --> ext4 --> virtio disk
//!   witness  <-- mosquitto <----------------- sink "witness", always there     |
//!   consumer <-- mosquitto <-- proxy <------- sink "broker", mostly away       |
//!   disk: write cache, lost in part <------------------------------------------'
//! ```
//!
//! A cut is SIGKILL of the emulator: the memory of the guest is gone. The [disk](disk) is ours,
//! too: of the writes that were not flushed it keeps a random part, as the write cache of a real
//! one does. What the agent hands to a sink it has committed before, so whatever the witness got
//! before a cut is acknowledged and has to be there afterwards ([`kept`]); for the rest the judge
//! of [`faults`](crate::faults) has the last word.

pub mod clock;
pub mod console;
pub mod cpio;
pub mod disk;
pub mod guest;
pub mod kept;
pub mod machine;
pub mod modules;
mod nbd;
pub mod plan;
pub mod plant;
pub mod volatile;
