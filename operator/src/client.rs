//! The client of the API server: deadlines, retries, counting, and the fence.
//!
//! ```text
//! Api -> count (metrics) -> retry (429, 503, 504) -> buffer -> fence (may I still write?) -> HTTP
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::{Method, Request, Response};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::{BoxError, Layer, Service};

use crate::leader::Fence;
use crate::metrics::Metrics;

/// Longest silence of an answer. Watches are silent for minutes; their client has none.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Retries of one request that the API server turns away for now; what fails then is tried
/// again by the queue.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
const RETRIES: u32 = 5;

/// Requests that may wait for a place in the client; more wait in the queue of keys.
const BUFFER: usize = 1024;

/// Exit status of a process that ended because of [`Stop`].
pub const STOPPED: i32 = 86;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account.
    #[error("find the cluster (in a pod by its service account, else by KUBECONFIG)")]
    NoCluster(#[source] kube::config::InferConfigError),
    /// The cluster's data cannot be used.
    #[error("make a client for the cluster")]
    Client(#[source] kube::Error),
    /// A retry policy out of range.
    #[error("make a client for the cluster")]
    Retry(#[source] kube::client::retry::InvalidBackoff),
    /// Another TLS provider is in the process.
    #[error("TLS is set up twice")]
    Tls,
}

/// The clients of one operator.
#[derive(Clone)]
pub struct Clients {
    /// For reading and writing objects: writes only while the fence is open.
    pub fenced: Client,
    /// For lists and watches. A watch ends by its own time; the watcher notices one that does
    /// not.
    pub watch: Client,
    /// For the election.
    pub election: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// Installs the TLS provider; once per process.
///
/// # Errors
/// When another one is installed.
pub fn install_tls() -> Result<(), ClientError> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| ClientError::Tls)
}

/// Where the cluster is, from the environment.
///
/// # Errors
/// When there is no cluster.
pub async fn config() -> Result<Config, ClientError> {
    let mut config = Config::infer().await.map_err(ClientError::NoCluster)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // A server that is still taking the request in is not silent.
    config.reset_reader_on_write = true;
    // Its own policy is for minutes.
    config.default_retry = false;
    // Who it is in the API server's log.
    let agent = HeaderValue::from_static(concat!("lineside-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    Ok(config)
}

/// Clients for this cluster.
///
/// # Errors
/// When its certificates or credentials cannot be used.
pub fn clients(
    config: Config,
    fence: Fence,
    metrics: &Metrics,
    stop: Option<Stop>,
) -> Result<Clients, ClientError> {
    let retry = RetryPolicy::new(RETRY_FIRST, RETRY_LONGEST, RETRIES, true);
    let retry = retry.map_err(ClientError::Retry)?;
    let plain = |config: Config| -> Result<Client, ClientError> {
        Ok(ClientBuilder::try_from(config)
            .map_err(ClientError::Client)?
            .with_layer(&Count { metrics: metrics.clone(), stop: None })
            .build())
    };
    let election = plain(config.clone())?;
    let mut patient = config.clone();
    patient.read_timeout = None;
    let watch = plain(patient)?;
    let fenced = ClientBuilder::try_from(config)
        .map_err(ClientError::Client)?
        .with_layer(&Guard { fence })
        .with_layer(&BufferLayer::new(BUFFER))
        .with_layer(&RetryLayer::new(retry))
        .with_layer(&Count { metrics: metrics.clone(), stop })
        .build();
    Ok(Clients { fenced, watch, election })
}

/// Ends the process after a number of writes: a crash at a known point, for tests.
#[derive(Clone, Debug)]
pub struct Stop {
    left: Arc<AtomicU64>,
}

impl Stop {
    /// After `writes` answered writes.
    pub fn after(writes: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(writes)) }
    }

    fn wrote(&self) {
        // No destructor, no release of the Lease: as if the process had been killed.
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
            std::process::exit(STOPPED);
        }
    }
}

/// The refusal of the fence.
#[derive(Debug, thiserror::Error)]
#[error("this process does not lead, so it writes nothing")]
pub struct NotLeading;

fn writes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

type Answer<R> = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;

/// Refuses writes while the fence is closed.
#[derive(Clone, Debug)]
struct Guard {
    fence: Fence,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, fence: self.fence.clone() }
    }
}

#[derive(Clone, Debug)]
struct Guarded<S> {
    inner: S,
    fence: Fence,
}

impl<S, R> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = R, Error = BoxError>,
    S::Future: Send + 'static,
    R: 'static,
{
    type Response = R;
    type Error = BoxError;
    type Future = Answer<R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let now = tokio::time::Instant::now().into_std();
        if writes(request.method()) && !self.fence.is_open(now) {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        Box::pin(self.inner.call(request))
    }
}

/// Counts requests and answers.
#[derive(Clone, Debug)]
struct Count {
    metrics: Metrics,
    stop: Option<Stop>,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, count: self.clone() }
    }
}

#[derive(Clone, Debug)]
struct Counted<S> {
    inner: S,
    count: Count,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Answer<Response<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        let Count { metrics, stop } = self.count.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let status = answer.as_ref().ok().map(|answer| answer.status());
            metrics.requested(method.as_str(), status.map(|status| status.as_u16()));
            if let Some(stop) = stop
                && writes(&method)
                && status.is_some_and(|status| status.is_success())
            {
                stop.wrote();
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tower::ServiceExt;

    use super::*;

    async fn send(fence: &Fence, method: Method) -> Result<(), BoxError> {
        let server = tower::service_fn(async |_: Request<Body>| Ok::<_, BoxError>(()));
        let request = Request::builder().method(method).body(Body::empty()).unwrap();
        Guard { fence: fence.clone() }.layer(server).oneshot(request).await
    }

    #[tokio::test]
    async fn writes_pass_while_the_fence_is_open_and_reads_always() {
        let fence = Fence::default();
        assert!(send(&fence, Method::GET).await.is_ok());
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = send(&fence, method.clone()).await.unwrap_err();
            assert!(refused.is::<NotLeading>(), "{method}");
        }
        fence.open_until(Instant::now() + Duration::from_secs(60));
        assert!(send(&fence, Method::PATCH).await.is_ok());
        fence.open_until(Instant::now());
        assert!(send(&fence, Method::PATCH).await.is_err(), "a right that has run out is none");
        fence.open_until(Instant::now() + Duration::from_secs(60));
        fence.close();
        assert!(send(&fence, Method::PATCH).await.is_err());
    }
}
