//! Where the local API is served: the unix socket in the state directory, for the command line,
//! and the page listener, for browsers on this machine.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware;
use tokio::net::{TcpListener, UnixListener};

use super::serve::{Bounds, serve};
use super::{SocketPath, host};

/// Where the page is when nobody says where.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);

/// Where the page shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageAt {
    /// At 127.0.0.1:9465, or at a free port when that one is taken.
    #[default]
    Usual,
    /// There and nowhere else; port 0 takes a free one.
    Exactly(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for PageAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address: SocketAddr = text.parse().map_err(
            |_| "expected ADDRESS:PORT, e.g. 127.0.0.1:9465 (port 0 takes a free one), or off",
        )?;
        if !address.ip().is_loopback() {
            let port = if address.port() == 0 { USUAL.port() } else { address.port() };
            return Err(format!(
                "the page has no log-in and is served on this machine only, so {} is refused; \
                 give a loopback address such as 127.0.0.1:{port}, and to see the page from \
                 elsewhere forward the port: ssh -L {port}:127.0.0.1:{port} HOST",
                address.ip(),
            ));
        }
        Ok(Self::Exactly(address))
    }
}

/// Listens for browsers; `None` when nobody wants the page.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind_page(at: PageAt) -> anyhow::Result<Option<TcpListener>> {
    let listener = match at {
        PageAt::Off => return Ok(None),
        PageAt::Exactly(address) => TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} (choose another with --page ADDRESS)"))?,
        PageAt::Usual => match TcpListener::bind(USUAL).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let listener = listener.context("listen on a free port for the page")?;
                let page = listener.local_addr().context("listen for the page")?;
                tracing::info!(usual = %USUAL, %page, "Page port is taken, using a free one");
                listener
            }
            bound => bound.with_context(|| format!("listen on {USUAL} for the page"))?,
        },
    };
    Ok(Some(listener))
}

/// What browsers and command lines may take: all streams, and as many questions beside them. A
/// looker that is slow for half a minute has gone for coffee.
const BOUNDS: Bounds = Bounds {
    connections: 2 * super::MOST_STREAMS,
    request: Duration::from_secs(10),
    answer: Duration::from_secs(30),
};

/// Serves the page and the API to browsers of this machine until dropped.
pub async fn serve_page(listener: TcpListener, routes: Router) {
    let routes = routes
        .layer(middleware::from_fn(host::local_only))
        .layer(middleware::from_fn(super::headers));
    serve(listener, routes, BOUNDS).await;
}

/// Serves the API to the command line until dropped.
pub async fn serve_socket(listener: UnixListener, routes: Router) {
    serve(listener, routes, BOUNDS).await;
}

/// The file of the unix socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// Listens in the state directory, whose lock the caller holds: a socket that is there already
/// is that of an agent that died.
///
/// # Errors
/// The directory cannot be written.
pub fn bind_socket(state_dir: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
    let file = state_dir.join("agent.sock");
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("remove the old {}", file.display()));
        }
        _ => {}
    }
    let bind = || -> std::io::Result<UnixListener> {
        let path = SocketPath::of(state_dir)?;
        let listener = UnixListener::bind(path.path())?;
        std::fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = bind().with_context(|| format!("listen on {}", file.display()))?;
    Ok((listener, SocketFile(file)))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = std::fs::remove_file(&self.0);
    }
}
