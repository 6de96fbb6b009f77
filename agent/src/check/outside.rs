//! The world outside: devices, the servers of sinks, and the secrets that are needed towards them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use lineside_core::secret::Secrets;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, ObjectKey, Protocol, SecretKeyRef, Sink, SinkKind, Tls};
use lineside_crds::yaml::Object;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Finding;

/// Ways that are tried at one time.
const AT_ONCE: usize = 16;
/// Longest wait for a server; that of the sink itself.
const SINK_DEADLINE: Duration = Duration::from_secs(10);

/// The codes that say what is wrong with a way.
#[derive(Clone, Copy)]
struct Codes {
    refused: Code,
    silent: Code,
}

const TO_DEVICE: Codes = Codes { refused: Code::Unreachable, silent: Code::ConnectTimeout };
const TO_SINK: Codes = Codes { refused: Code::SinkUnavailable, silent: Code::SinkTimeout };

/// Dials every device and every server of a sink of the configuration, and looks for the secrets
/// that its sinks name.
pub async fn outside(objects: &[Object], secrets: &Secrets) -> Vec<Finding> {
    let ways = stream::iter(objects).map(|object| async move {
        match object {
            Object::Device(device) => vec![to_device(device).await],
            Object::Pipeline(pipeline) => to_sinks(&pipeline.key, &pipeline.sinks, secrets).await,
            // What it names is looked at once, as an object of its own.
            Object::OpenPipeline(open) => to_sinks(open.key(), open.own_sinks(), secrets).await,
            Object::Sink(sink) => to_sink(&format!("Sink {}", sink.key), &sink.kind, secrets).await,
            Object::AgentPool(_) | Object::Agent(_) => Vec::new(),
        }
    });
    let findings: Vec<Vec<Finding>> = ways.buffered(AT_ONCE).collect().await;
    findings.concat()
}

async fn to_device(device: &Device) -> Finding {
    let subject = format!("device {} at {}", device.key, device.protocol.endpoint());
    let dialled = match &device.protocol {
        Protocol::ModbusTcp(settings) => {
            dial(&settings.host, settings.port, device.timeouts.connect, TO_DEVICE).await
        }
        #[allow(unreachable_patterns, reason = "more protocols follow")]
        _ => return Finding::well(subject, "not dialled: its protocol has no connection"),
    };
    match dialled {
        Ok(_) => Finding::well(subject, "accepts connections"),
        Err((code, message)) => Finding::ill(subject, code, message),
    }
}

async fn to_sinks(
    pipeline: &ObjectKey,
    sinks: impl IntoIterator<Item = &Sink>,
    secrets: &Secrets,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for sink in sinks {
        let subject = format!("sink {pipeline}/{}", sink.name);
        findings.extend(to_sink(&subject, &sink.kind, secrets).await);
    }
    findings
}

async fn to_sink(subject: &str, kind: &SinkKind, secrets: &Secrets) -> Vec<Finding> {
    let mut findings: Vec<Finding> = secrets_of(kind)
        .iter()
        .filter_map(|at| {
            let fault = secrets.read(at).err()?;
            Some(Finding::ill(format!("secret {at}"), fault.code, fault.chain()))
        })
        .collect();
    let complete = findings.is_empty();
    for (host, port) in servers(kind) {
        let subject = format!("{subject} at {}", at(host, port));
        findings.push(to_server(subject, host, port, kind.tls(), secrets, complete).await);
    }
    findings
}

/// Hosts and ports that a sink may connect to.
fn servers(kind: &SinkKind) -> Vec<(&str, u16)> {
    match kind {
        SinkKind::Mqtt(settings) => vec![(&*settings.host, settings.port)],
        SinkKind::Iotdb(settings) => {
            settings.nodes.iter().map(|node| (&*node.host, node.port)).collect()
        }
        #[allow(unreachable_patterns, reason = "more sinks follow")]
        _ => Vec::new(),
    }
}

fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn secrets_of(kind: &SinkKind) -> Vec<&SecretKeyRef> {
    let mut named = Vec::new();
    if let Some(credentials) = kind.credentials() {
        named.push(&credentials.username);
        named.extend(&credentials.password);
    }
    if let Some(tls) = kind.tls() {
        named.extend(&tls.ca);
        if let Some(client) = &tls.client {
            named.extend([&client.cert, &client.key]);
        }
    }
    named
}

async fn to_server(
    subject: String,
    host: &str,
    port: u16,
    tls: Option<&Tls>,
    secrets: &Secrets,
    complete: bool,
) -> Finding {
    let tcp = match dial(host, port, SINK_DEADLINE, TO_SINK).await {
        Ok(tcp) => tcp,
        Err((code, message)) => return Finding::ill(subject, code, message),
    };
    match tls {
        None => Finding::well(subject, "accepts connections"),
        Some(_) if !complete => {
            Finding::well(subject, "accepts connections; TLS waits for the missing secret")
        }
        Some(tls) => match timeout(SINK_DEADLINE, handshake(tls, host, secrets, tcp)).await {
            Ok(Ok(())) => Finding::well(subject, "accepts connections with a valid certificate"),
            Ok(Err((code, message))) => Finding::ill(subject, code, message),
            Err(_) => {
                let text = format!("no end of the TLS handshake within {SINK_DEADLINE:?}");
                Finding::ill(subject, Code::SinkTimeout, text)
            }
        },
    }
}

/// Connects, as the agent does: one name, all its addresses, one deadline.
async fn dial(
    host: &str,
    port: u16,
    deadline: Duration,
    codes: Codes,
) -> Result<TcpStream, (Code, String)> {
    let connect = async {
        let found = lookup_host((host, port)).await;
        let addresses: Vec<_> =
            found.map_err(|e| (Code::HostNotFound, format!("look up {host}: {e}")))?.collect();
        let tcp = TcpStream::connect(&*addresses).await;
        tcp.map_err(|e| (codes.refused, format!("connect to {host}:{port}: {e}")))
    };
    let late = (codes.silent, format!("no connection to {host}:{port} within {deadline:?}"));
    timeout(deadline, connect).await.unwrap_or(Err(late))
}

/// Whether the server can prove who it is. No certificate of ours is shown: what the server
/// thinks of that is known only after a session has begun.
async fn handshake(
    tls: &Tls,
    host: &str,
    secrets: &Secrets,
    tcp: TcpStream,
) -> Result<(), (Code, String)> {
    let roots = roots(tls, secrets)?;
    let wanted = tls.server_name.as_deref().unwrap_or(host);
    let broken = |e: &dyn std::fmt::Display| (Code::SinkTls, format!("open TLS: {e}"));
    let name = ServerName::try_from(wanted.to_owned()).map_err(|e| broken(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    connected.map(drop).map_err(|e: io::Error| broken(&e))
}

fn roots(tls: &Tls, secrets: &Secrets) -> Result<RootCertStore, (Code, String)> {
    let mut roots = RootCertStore::empty();
    let found = match &tls.ca {
        None => rustls_native_certs::load_native_certs().certs,
        Some(at) => {
            let pem = secrets.read(at).map_err(|fault| (fault.code, fault.chain()))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose()).collect();
            let none = || (Code::SecretInvalid, format!("secret {at} holds no PEM certificate"));
            found.ok().filter(|found| !found.is_empty()).ok_or_else(none)?
        }
    };
    roots.add_parsable_certificates(found);
    match roots.is_empty() {
        true => Err((Code::SinkTls, "there is no certificate authority to trust".to_owned())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use lineside_crds::yaml::load_text;
    use tokio::net::TcpListener;

    use super::*;

    fn objects(device: u16, broker: &str) -> Vec<Object> {
        let text = format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata: {{name: d}}\n\
             spec: {{url: 'modbus-tcp://127.0.0.1:{device}', points: [{{name: p, address: 'coil:1'}}]}}\n\
             ---\napiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n\
             \x20 sources: [{{name: s, devices: {{}}}}]\n  sinks: [{{name: b, mqtt: {{{broker}}}}}]\n\
             \x20 store: {{durability: Memory}}\n"
        );
        let documents = load_text("f", &text);
        let objects: Vec<_> = documents.iter().filter_map(|d| d.object.clone()).collect();
        assert_eq!(objects.len(), 2, "{documents:#?}");
        objects
    }

    fn codes(findings: &[Finding]) -> Vec<Option<Code>> {
        findings.iter().map(|f| f.verdict.as_ref().err().map(|(code, _)| *code)).collect()
    }

    #[tokio::test]
    async fn what_listens_is_well_and_what_does_not_is_named_with_its_code() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let up = listener.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let down = closed.local_addr().unwrap().port();
        drop(closed);
        let broker = format!("url: 'mqtt://127.0.0.1:{up}'");
        let found = outside(&objects(up, &broker), &Secrets::default()).await;
        assert_eq!(codes(&found), [None, None], "{found:?}");
        let broker = format!("url: 'mqtt://127.0.0.1:{down}'");
        let found = outside(&objects(down, &broker), &Secrets::default()).await;
        assert_eq!(codes(&found), [Some(Code::Unreachable), Some(Code::SinkUnavailable)]);
    }

    #[tokio::test]
    async fn a_missing_secret_and_a_broker_without_tls_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(Some(dir.path().to_owned()));
        let broker = format!(
            "url: 'mqtts://127.0.0.1:{port}', credentialsRef: {{secret: s, usernameKey: u, \
             passwordKey: w}}, tls: {{caRef: {{secret: s, key: ca}}}}"
        );
        let objects = objects(port, &broker);
        let found = outside(&objects, &secrets).await;
        let missing = Some(Code::SecretNotFound);
        assert_eq!(codes(&found), [None, missing, missing, missing, None], "{found:?}");
        std::fs::create_dir(dir.path().join("s")).unwrap();
        for (key, text) in [("u", "user"), ("w", "word"), ("ca", "no certificate")] {
            std::fs::write(dir.path().join("s").join(key), text).unwrap();
        }
        let found = outside(&objects, &secrets).await;
        assert_eq!(codes(&found), [None, Some(Code::SecretInvalid)], "{found:?}");
        // A certificate authority, and a peer that hangs up.
        let ca = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem();
        std::fs::write(dir.path().join("s/ca"), ca).unwrap();
        let found = tokio::select! {
            found = outside(&objects, &secrets) => found,
            () = async { loop { drop(listener.accept().await) } } => unreachable!(),
        };
        assert_eq!(codes(&found), [None, Some(Code::SinkTls)], "{found:?}");
    }
}
