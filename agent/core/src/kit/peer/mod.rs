//! Peers that misbehave: small TCP listeners with a script, an address that never completes a
//! connection, and a proxy that makes a real peer slow, silent or gone.
//!
//! ```no_run
//! # use lineside_core::kit::peer::{Flow, Peer, Proxy, Script};
//! # async fn example(real_peer: std::net::SocketAddr) -> std::io::Result<()> {
//! let peer = Peer::start(Script::garbage(7, 256).after_request()).await?;
//! // ... run a session against peer.addr() ...
//! assert_eq!(peer.accepts(), 1);
//!
//! let proxy = Proxy::start(real_peer).await?;
//! proxy.set(Flow::Hold);   // half-open from now on
//! proxy.replies_left(3);   // half a frame, then silence
//! proxy.cut();             // every connection is gone
//! # Ok(())
//! # }
//! ```

mod backlog;
mod proxy;
mod script;
mod tcp;

pub use backlog::FullBacklog;
pub use proxy::{Flow, Proxy};
pub use script::{Script, Then, random_bytes};
pub use tcp::Peer;

use tokio::task::JoinHandle;

/// A task that ends with its owner.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
