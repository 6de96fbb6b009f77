//! The local API from its other side: what the command line asks a running agent, over the unix
//! socket in the agent's state directory. Every request has a deadline.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt as _};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::SocketPath;
use crate::api::shape::Refusal;

/// Longest wait for a whole answer, and for the beginning of a stream.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer: 512 devices of 1,000 points each stay far below it.
const MOST_BYTES: usize = 64 << 20;
/// Longest line of a stream; one is one sample.
const MOST_LINE_BYTES: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent runs with the state directory {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket is somebody else's.
    #[error("the agent with the state directory {} belongs to another user", .0.display())]
    Forbidden(PathBuf),
    /// It listens and says nothing.
    #[error("the agent does not answer within {DEADLINE:?}")]
    Silent,
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do.
        next: String,
    },
    /// What came is no answer of this API.
    #[error("the agent's answer cannot be read: {0}")]
    Broken(String),
}

impl ClientError {
    /// What to do about it.
    pub fn next(&self) -> String {
        match self {
            Self::NotRunning(_) => "start one with `lineside agent --config DIR` or `lineside \
                demo`, or name its state directory with --state DIR."
                .into(),
            Self::Forbidden(_) => "run the command as the user of the agent.".into(),
            Self::Silent => "look whether the process is stopped or its machine is overloaded; \
                its log says more."
                .into(),
            Self::Refused { next, .. } => next.clone(),
            Self::Broken(_) => "use a `lineside` of the version of the agent.".into(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Client {
    state: PathBuf,
}

impl Client {
    /// A client of the agent with this state directory.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The body of one answer.
    ///
    /// # Errors
    /// There is none, or it is not a success.
    pub async fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        self.whole(Method::GET, path).await
    }

    /// The body of the answer to a change.
    ///
    /// # Errors
    /// There is none, or it is not a success.
    pub async fn post(&self, path: &str) -> Result<Bytes, ClientError> {
        self.whole(Method::POST, path).await
    }

    async fn whole(&self, method: Method, path: &str) -> Result<Bytes, ClientError> {
        let whole = async {
            let (_connection, response) = self.ask(method, path).await?;
            body(response).await
        };
        timeout(DEADLINE, whole).await.map_err(|_| ClientError::Silent)?
    }

    /// An answer that goes on for long, line by line.
    ///
    /// # Errors
    /// It does not begin, or it is not a success.
    pub async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let begun = timeout(DEADLINE, self.ask(Method::GET, path))
            .await
            .map_err(|_| ClientError::Silent)?;
        let (connection, response) = begun?;
        let chunks = Body::new(response.into_body()).into_data_stream();
        Ok(Lines { chunks: Box::pin(chunks), buffer: Vec::new(), _connection: connection })
    }

    /// Sends the request; a refusal is an error. The connection lives as long as the set.
    async fn ask(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(JoinSet<()>, Response<Incoming>), ClientError> {
        let socket = SocketPath::of(&self.state).map_err(|e| self.no_connection(&e))?;
        let stream = UnixStream::connect(socket.path()).await;
        let stream = stream.map_err(|e| self.no_connection(&e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its failure shows at the request or at the body.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .body(String::new());
        let request = request.map_err(|e| broken(&e))?;
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        if response.status().is_success() {
            return Ok((tasks, response));
        }
        let status = response.status();
        let bytes = body(response).await?;
        Err(match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(Refusal { error }) => {
                ClientError::Refused { message: error.message, next: error.next }
            }
            Err(_) => ClientError::Broken(format!("status {status}")),
        })
    }

    fn no_connection(&self, error: &std::io::Error) -> ClientError {
        match error.kind() {
            ErrorKind::PermissionDenied => ClientError::Forbidden(self.state.clone()),
            _ => ClientError::NotRunning(self.state.clone()),
        }
    }
}

/// The lines of a stream.
pub struct Lines {
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>,
    buffer: Vec<u8>,
    _connection: JoinSet<()>,
}

impl Lines {
    /// The next line without its end; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke, or the line is too long or no text.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return String::from_utf8(line).map(Some).map_err(|e| broken(&e));
            }
            if self.buffer.len() > MOST_LINE_BYTES {
                return Err(ClientError::Broken("a line without an end".into()));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(broken(&error)),
                None => return Ok(None),
            }
        }
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Body::new(response.into_body());
    axum::body::to_bytes(body, MOST_BYTES).await.map_err(|e| broken(&e))
}

fn broken(error: &dyn std::error::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_agent_that_is_not_there_is_said_with_the_command_that_starts_one() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(dir.path());
        let absent = client.get("/api/v1/state").await.unwrap_err();
        assert!(matches!(absent, ClientError::NotRunning(_)), "{absent}");
        assert!(absent.next().contains("lineside agent --config"));
        // A socket that a killed agent left behind.
        drop(UnixListener::bind(dir.path().join("agent.sock")).unwrap());
        let dead = client.get("/api/v1/state").await.unwrap_err();
        assert!(matches!(dead, ClientError::NotRunning(_)), "{dead}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_answer_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let _deaf = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let client = Client::new(dir.path());
        assert!(matches!(client.get("/api/v1/state").await, Err(ClientError::Silent)));
        assert!(matches!(client.lines("/api/v1/tap").await, Err(ClientError::Silent)));
    }
}
