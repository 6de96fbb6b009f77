//! The byte stream to the remote, and what its errors mean.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use rustls::{AlertDescription, Error as TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::TlsClient;

/// A connection, plain or encrypted.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Send buffer asked of the system, which gives up to twice as much. What it holds is hidden from
/// the sink, so it has to leave within the longest silence also over a slow line (10 KB/s: 13 s);
/// left alone it would grow to megabytes. A fast line is not slowed down by it: with 1 ms to the
/// remote it is full at 100 MB/s.
const SEND_BUFFER: u32 = 64 * 1024;

/// Opens a connection. The caller bounds the whole by `deadline`; each address gets its share of
/// it, so that a dead first address does not use up the time of a living second one.
///
/// # Errors
/// `HostNotFound`, `SinkUnavailable`, `SinkTls` or `SinkAuth`.
pub async fn open(
    host: &str,
    port: u16,
    tls: Option<TlsClient>,
    deadline: Duration,
) -> Result<Box<dyn Stream>, Fault> {
    let tcp = dial(host, port, deadline).await?;
    let Some(tls) = tls else {
        return Ok(Box::new(tcp));
    };
    let connector = TlsConnector::from(tls.config);
    let stream = connector
        .connect(tls.name, tcp)
        .await
        .map_err(|e| broken(&format!("open TLS to {host}:{port}"), e))?;
    Ok(Box::new(stream))
}

async fn dial(host: &str, port: u16, deadline: Duration) -> Result<TcpStream, Fault> {
    let not_found =
        || Fault::new(FaultClass::Unreachable, Code::HostNotFound, format!("look up host {host}"));
    let found = lookup_host((host, port)).await.map_err(|e| not_found().because(e))?;
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = None;
    for address in addresses {
        last = Some(match timeout(share, connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(e)) => unreachable(host, port).because(e),
            Err(_) => {
                let text = format!("connect to {address}: no answer within {share:?}");
                Fault::new(FaultClass::Timeout, Code::SinkTimeout, text)
            }
        });
    }
    Err(last.unwrap_or_else(not_found))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // Acknowledgements gate the next messages, so small packets must not wait.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

fn unreachable(host: &str, port: u16) -> Fault {
    let text = format!("connect to {host}:{port}");
    Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, text)
}

/// What an error of the stream means. With TLS 1.3 a remote's verdict on the client certificate
/// arrives only after the handshake, so this is asked at every read.
pub fn broken(what: &str, error: io::Error) -> Fault {
    let (class, code) = match error.get_ref().and_then(|e| e.downcast_ref::<TlsError>()) {
        None => (FaultClass::Unreachable, Code::SinkUnavailable),
        Some(TlsError::AlertReceived(alert)) if is_about_us(*alert) => {
            (FaultClass::Auth, Code::SinkAuth)
        }
        Some(TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented) => {
            (FaultClass::Config, Code::SinkTls)
        }
        Some(_) => (FaultClass::Peer, Code::SinkTls),
    };
    Fault::new(class, code, what.to_owned()).because(error)
}

/// Alerts by which a server refuses the client's certificate (RFC 8446, 6.2).
fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired
            | A::HandshakeFailure
    )
}
