//! A real two-node Kubernetes for the tests: etcd, API server, controller manager, scheduler,
//! two kubelets and two containerds, in network namespaces of this machine.
//!
//! ```text
//!   namespace lineside-RUN-1                        namespace lineside-RUN-2
//!   etcd, API server, manager, scheduler, DNS       containerd-2, kubelet-2
//!   containerd-1, kubelet-1                         pods 10.244.1.0/24
//!   pods 10.244.0.0/24, peers 172.30.0.10-19
//!        172.30.0.1 ---------------- link ---------------- 172.30.0.2
//! ```
//!
//! [`binaries`] builds the programs once into the cache, [`Lab::up`] starts them in seconds,
//! [`Lab::remove`] leaves nothing. Names of namespaces, cgroups, bridges and folders carry the
//! run ([`RunId`]), so labs live side by side. Nothing listens outside the lab's namespaces and
//! nothing in the root namespace is changed.
//!
//! What makes removal certain: every process of a lab, containers included, lies below one
//! cgroup, and every mount of a node lies in a mount namespace that ends with these processes.
//!
//! [`shared`] gives all tests of one program one lab; [`oci`] writes images.

pub mod binaries;
mod cgroup;
mod component;
mod containerd;
mod control_plane;
mod dns;
mod exec;
pub mod images;
pub mod key;
mod kubelet;
mod lab;
mod layout;
mod network;
mod node;
pub mod oci;
mod oldest;
mod options;
mod pki;
mod process;
mod remove;
pub mod shared;
mod storage;
mod wait;

pub use component::Component;
pub use exec::{Output, checked, output};
pub use lab::{Guarded, Lab, Program};
pub use layout::{Layout, RunId, runs};
pub use node::Node;
pub use oldest::OldestApiServer;
pub use options::{Options, Storage};
pub use remove::left_behind;
