//! From nothing to CONNACK.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lineside_core::secret::Secrets;
use lineside_core::sink::SinkIdentity;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{MqttSettings, Qos};
use lineside_net::{Stream, TlsClient, broken};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::Deadlines;
use crate::identity::{WILL, client_id, state_topic};
use crate::wire::{Hello, Incoming, Limits, Wire, wire};

/// First byte of CONNACK.
const CONNACK: u8 = 0x20;

/// A connection that the broker has accepted.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    pub(super) wire: &'static dyn Wire,
    /// Bytes that came after CONNACK.
    pub(super) inbox: BytesMut,
    pub(super) limits: Limits,
    /// Topic of the online state.
    pub(super) state_topic: String,
}

/// Connects within the deadline.
///
/// # Errors
/// The class and code of the first thing that went wrong.
pub(super) async fn connect(
    settings: &Arc<MqttSettings>,
    deadlines: Deadlines,
    identity: &SinkIdentity,
    secrets: &Secrets,
) -> Result<Connection, Fault> {
    let endpoint = endpoint(settings);
    match timeout(deadlines.connect, attempt(settings, deadlines, identity, secrets)).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("connect to {endpoint}: no CONNACK within {:?}", deadlines.connect);
            Err(Fault::new(FaultClass::Timeout, Code::SinkTimeout, text))
        }
    }
}

/// `host:port` for people, with brackets around an IPv6 address.
pub(super) fn endpoint(settings: &MqttSettings) -> String {
    let MqttSettings { host, port, .. } = settings;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn attempt(
    settings: &Arc<MqttSettings>,
    deadlines: Deadlines,
    identity: &SinkIdentity,
    secrets: &Secrets,
) -> Result<Connection, Fault> {
    let (login, tls) = read_secrets(settings.clone(), secrets.clone()).await?;
    let state_topic = state_topic(identity);
    let hello = Hello {
        client_id: client_id(identity),
        keep_alive: keep_alive_seconds(deadlines.keep_alive),
        login,
        will_topic: state_topic.clone(),
        will: Bytes::from_static(WILL),
    };
    let wire = wire(settings.version);
    let mut out = BytesMut::new();
    wire.connect(&hello, &mut out).map_err(|e| {
        Fault::new(FaultClass::Config, Code::SecretInvalid, "make CONNECT").because(e)
    })?;

    let endpoint = endpoint(settings);
    let mut stream =
        lineside_net::open(&settings.host, settings.port, tls, deadlines.connect).await?;
    let hello_failed = |e| broken(&format!("send CONNECT to {endpoint}"), e);
    stream.write_all(&out).await.map_err(hello_failed)?;
    stream.flush().await.map_err(hello_failed)?;

    let mut inbox = BytesMut::new();
    let answer = read_connack(&mut *stream, wire, &mut inbox, &endpoint).await?;
    let limits = match answer {
        Incoming::Accepted(limits) => limits,
        Incoming::Refused(refusal) => {
            let text = format!("connect to {endpoint}");
            return Err(Fault::new(refusal.class, refusal.code, text).because(refusal.message));
        }
        other => {
            let text = format!("connect to {endpoint}: expected CONNACK, got {other:?}");
            return Err(Fault::new(FaultClass::Peer, Code::SinkProtocol, text));
        }
    };
    if settings.qos == Qos::AtLeastOnce && limits.max_qos == 0 {
        let text = format!("connect to {endpoint}: the broker has no QoS 1; set `qos: 0`");
        return Err(Fault::new(FaultClass::Config, Code::SinkProtocol, text));
    }
    Ok(Connection { stream, wire, inbox, limits, state_topic })
}

async fn read_connack(
    stream: &mut dyn Stream,
    wire: &dyn Wire,
    inbox: &mut BytesMut,
    endpoint: &str,
) -> Result<Incoming, Fault> {
    let no_connack = || {
        let text = format!("connect to {endpoint}: what answers does not speak MQTT");
        Fault::new(FaultClass::Peer, Code::SinkProtocol, text)
    };
    loop {
        // Known by its first byte: the bytes of another protocol may announce a long packet that
        // never comes (MQTT 5, 3.2.1; MQTT 3.1.1, 3.2.1).
        if inbox.first().is_some_and(|byte| *byte != CONNACK) {
            return Err(no_connack());
        }
        match wire.decode(inbox) {
            Ok(Some(packet)) => return Ok(packet),
            Ok(None) => {}
            Err(e) => return Err(no_connack().because(e)),
        }
        let what = || format!("wait for CONNACK of {endpoint}");
        if stream.read_buf(inbox).await.map_err(|e| broken(&what(), e))? == 0 {
            let text = format!("{}: the broker closed the connection", what());
            return Err(Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, text));
        }
    }
}

type Login = Option<(String, String)>;

/// Reads what the settings name, on a thread where blocking is allowed.
async fn read_secrets(
    settings: Arc<MqttSettings>,
    secrets: Secrets,
) -> Result<(Login, Option<TlsClient>), Fault> {
    let read = move || {
        let login = match &settings.credentials {
            None => None,
            Some(credentials) => {
                let user = secrets.read_text(&credentials.username)?;
                if user.expose().is_empty() {
                    // MQTT 3.1.1 has no password without a user name (3.1.2.9).
                    let text = format!("find a user name in {}", credentials.username);
                    return Err(Fault::new(FaultClass::Config, Code::SecretInvalid, text));
                }
                let password = match &credentials.password {
                    None => String::new(),
                    Some(at) => secrets.read_text(at)?.expose().to_owned(),
                };
                Some((user.expose().to_owned(), password))
            }
        };
        let tls = match &settings.tls {
            None => None,
            Some(tls) => Some(lineside_net::client(tls, &settings.host, &secrets)?),
        };
        Ok((login, tls))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| {
        Err(Fault::new(FaultClass::Bug, Code::SinkPanicked, "read secrets").because(e))
    })
}

fn keep_alive_seconds(keep_alive: Duration) -> u16 {
    // Zero would switch it off, and with it the last will of a half-open connection.
    u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX).max(1)
}
