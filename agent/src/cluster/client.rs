//! A small HTTPS client of the API server: one connection, one request at a time, the service
//! account of the pod. Token and certificate authority are read again whenever they are used,
//! so rotation needs nothing. Everything has a deadline and a bound.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::refusal::Refusal;

/// Where the operator mounts token, certificate authority and namespace of the pod.
pub const ACCOUNT_DIR: &str = "/var/run/secrets/lineside.dev";

/// Largest answer: an Agent with 512 devices stays below a tenth of it.
const MOST_BYTES: usize = 8 << 20;
/// Longest wait for a connection that nothing is asked over.
const DIAL: Duration = Duration::from_secs(5);
/// Largest token or certificate bundle.
const MOST_ACCOUNT_BYTES: u64 = 1 << 20;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lineside/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where the API server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// Reads the variables that the kubelet sets in every pod.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let host = get("KUBERNETES_SERVICE_HOST").filter(|host| !host.is_empty())?;
        let port = get("KUBERNETES_SERVICE_PORT")?.parse().ok()?;
        Some(Self { host, port })
    }

    /// Connects and hangs up again.
    ///
    /// # Errors
    /// There is no connection within five seconds.
    pub async fn dial(&self) -> Result<(), ClientError> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        match timeout(DIAL, connect).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ClientError::Unreachable(self.to_string(), error)),
            Err(_) => Err(ClientError::Silent(self.to_string(), DIAL)),
        }
    }
}

impl std::fmt::Display for Server {
    /// As in a URL: an IPv6 address in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The pod's service account cannot be read.
    #[error("read {}", .0.display())]
    Account(PathBuf, #[source] io::Error),
    /// It is there and is not what it should be.
    #[error("{} holds no {what}", .0.display(), what = .1)]
    AccountInvalid(PathBuf, &'static str),
    /// No connection.
    #[error("connect to the API server at {0}")]
    Unreachable(String, #[source] io::Error),
    /// A connection, but not with somebody who can prove to be the API server.
    #[error("open TLS to the API server at {0}")]
    Tls(String, #[source] io::Error),
    /// No answer in time.
    #[error("no answer from the API server at {0} within {1:?}")]
    Silent(String, Duration),
    /// The connection broke.
    #[error("ask the API server at {0}")]
    Broken(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered, and said no.
    #[error("the API server refused: {0}")]
    Refused(Refusal),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path with query.
    pub path: String,
    /// Media type and text of the body, if any.
    pub body: Option<(&'static str, String)>,
}

/// See the module.
pub struct Client {
    server: Server,
    account: PathBuf,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<String>,
    /// The connection's task, which ends with it.
    _task: JoinSet<()>,
}

impl Client {
    /// A client that is not connected yet; `account` is the directory of token and `ca.crt`.
    pub fn new(server: Server, account: &Path) -> Self {
        Self { server, account: account.to_owned(), open: None }
    }

    /// Sends one request and gives the body of a successful answer. After any failure but a
    /// refusal the next request has a new connection.
    ///
    /// # Errors
    /// No answer within `deadline`, or none that is a success.
    pub async fn send(&mut self, ask: &Ask, deadline: Duration) -> Result<Bytes, ClientError> {
        let done = timeout(deadline, self.exchange(ask)).await;
        let done = done.unwrap_or_else(|_| Err(ClientError::Silent(self.name(), deadline)));
        if !matches!(done, Ok(_) | Err(ClientError::Refused(_))) {
            self.open = None;
        }
        done
    }

    fn name(&self) -> String {
        self.server.to_string()
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Bytes, ClientError> {
        let token = self.account_file("token")?;
        let token = String::from_utf8(token).ok().filter(|t| !t.trim().is_empty());
        let invalid = || ClientError::AccountInvalid(self.account.join("token"), "token");
        let bearer = format!("Bearer {}", token.ok_or_else(invalid)?.trim());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| invalid())?;
        bearer.set_sensitive(true);
        // The server closes connections that are idle; the request was not taken then.
        let reused = self.open.as_ref().is_some_and(|open| !open.sender.is_closed());
        let first = self.once(ask, bearer.clone(), reused).await;
        match first {
            Err(ClientError::Broken(..)) if reused => self.once(ask, bearer, false).await,
            done => done,
        }
    }

    async fn once(
        &mut self,
        ask: &Ask,
        bearer: HeaderValue,
        reuse: bool,
    ) -> Result<Bytes, ClientError> {
        let mut open = match self.open.take().filter(|_| reuse) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let broken =
            |e: Box<dyn std::error::Error + Send + Sync>| ClientError::Broken(self.name(), e);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(HOST, self.name())
            .header(AUTHORIZATION, bearer)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, JSON);
        if let Some((media_type, _)) = &ask.body {
            request = request.header(CONTENT_TYPE, *media_type);
        }
        let body = ask.body.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        let request = request.body(body).map_err(|e| broken(e.into()))?;
        open.sender.ready().await.map_err(|e| broken(e.into()))?;
        let response = open.sender.send_request(request).await.map_err(|e| broken(e.into()))?;
        let (status, retry) = (response.status(), retry_after(&response));
        let body = Body::new(response.into_body());
        let body = axum::body::to_bytes(body, MOST_BYTES).await.map_err(|e| broken(e.into()))?;
        self.open = Some(open);
        match status.is_success() {
            true => Ok(body),
            false => Err(ClientError::Refused(Refusal::read(status.as_u16(), retry, &body))),
        }
    }

    async fn connect(&self) -> Result<Open, ClientError> {
        let config = Arc::new(self.tls()?);
        let Server { host, port } = &self.server;
        let unreachable = |e| ClientError::Unreachable(self.name(), e);
        let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|e| ClientError::Tls(self.name(), io::Error::other(e)))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await;
        let tls = tls.map_err(|e| ClientError::Tls(self.name(), e))?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|e| ClientError::Broken(self.name(), e.into()))?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Its failure shows at the request or at the body.
            let _ = connection.await;
        });
        Ok(Open { sender, _task: task })
    }

    fn tls(&self) -> Result<ClientConfig, ClientError> {
        let invalid = || {
            ClientError::AccountInvalid(self.account.join("ca.crt"), "certificate authority in PEM")
        };
        let pem = self.account_file("ca.crt")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|_| invalid())?).map_err(|_| invalid())?;
        }
        if roots.is_empty() {
            return Err(invalid());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ClientError::Tls(self.name(), io::Error::other(e)))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// One file of the service account. Its volume is memory, so reading it does not block.
    fn account_file(&self, name: &str) -> Result<Vec<u8>, ClientError> {
        use std::io::Read as _;
        let path = self.account.join(name);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(MOST_ACCOUNT_BYTES).read_to_end(&mut bytes));
        read.map_err(|e| ClientError::Account(path, e))?;
        Ok(bytes)
    }
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
