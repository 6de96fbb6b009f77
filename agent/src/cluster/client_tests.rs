//! The client against a server of its own making that misbehaves as no real one can be made to.
//! What a real API server says to it is tested on the lab.

use std::fs;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

/// What a server does with its nth request, over all connections.
type Play = fn(usize) -> Vec<u8>;

struct Peer {
    account: tempfile::TempDir,
    client: Client,
    /// First bytes of every request, and how many connections there were.
    seen: Arc<Mutex<(Vec<String>, usize)>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    async fn start(play: Play) -> Self {
        let (ca_pem, acceptor) = authority("127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new((Vec::new(), 0)));
        let mut tasks = JoinSet::new();
        let log = seen.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                log.lock().unwrap().1 += 1;
                connections.spawn(serve(acceptor.clone(), tcp, log.clone(), play));
            }
        });
        let account = tempfile::tempdir().unwrap();
        fs::write(account.path().join("ca.crt"), ca_pem).unwrap();
        fs::write(account.path().join("token"), "first\n").unwrap();
        let server = Server { host: "127.0.0.1".into(), port };
        let client = Client::new(server, account.path());
        Self { account, client, seen, _tasks: tasks }
    }

    async fn get(&mut self) -> Result<Bytes, ClientError> {
        let ask = Ask { method: Method::GET, path: "/x".into(), body: None };
        self.client.send(&ask, DEADLINE).await
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().0.clone()
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().1
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    log: Arc<Mutex<(Vec<String>, usize)>>,
    play: Play,
) {
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = tls.read(&mut buffer).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.0.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            log.0.len()
        };
        let answer = play(number);
        if answer.is_empty() {
            return;
        }
        // A peer that went away is what some tests are about.
        let _ = tls.write_all(&answer).await;
        let _ = tls.flush().await;
    }
}

/// A certificate authority and a server with a certificate of it.
fn authority(name: &str) -> (String, TlsAcceptor) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (ca_pem, TlsAcceptor::from(Arc::new(config)))
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_each_has_the_token_of_its_time() {
    let mut peer = Peer::start(|_| answer("200 OK", "{}")).await;
    assert_eq!(peer.get().await.unwrap(), "{}");
    fs::write(peer.account.path().join("token"), "second").unwrap();
    peer.get().await.unwrap();
    assert_eq!(peer.connections(), 1);
    let requests = peer.requests();
    assert!(requests[0].starts_with("GET /x HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("authorization: Bearer first\r\n"), "{}", requests[0]);
    assert!(requests[1].contains("authorization: Bearer second\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_no_request() {
    // Answers the first request of each connection; the second finds it closed.
    let mut peer = Peer::start(|n| if n == 2 { Vec::new() } else { answer("200 OK", "") }).await;
    peer.get().await.unwrap();
    peer.get().await.unwrap();
    assert_eq!((peer.connections(), peer.requests().len()), (2, 3));
}

#[tokio::test]
async fn a_refusal_is_read_and_the_connection_stays() {
    let mut peer = Peer::start(|_| {
        let body = r#"{"kind":"Status","reason":"NotFound","message":"no\nsuch","code":404}"#;
        answer("404 Not Found", body)
    })
    .await;
    for _ in 0..2 {
        let Err(ClientError::Refused(refusal)) = peer.get().await else { panic!("refused") };
        assert_eq!(refusal.to_string(), "404 NotFound: no such");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_not_told_the_token() {
    let mut peer = Peer::start(|_| answer("200 OK", "")).await;
    let (foreign, _) = authority("127.0.0.1");
    fs::write(peer.account.path().join("ca.crt"), foreign).unwrap();
    assert!(matches!(peer.get().await, Err(ClientError::Tls(..))));
    fs::write(peer.account.path().join("ca.crt"), "no certificate").unwrap();
    assert!(matches!(peer.get().await, Err(ClientError::AccountInvalid(..))));
    fs::remove_file(peer.account.path().join("token")).unwrap();
    assert!(matches!(peer.get().await, Err(ClientError::Account(..))));
    assert!(peer.requests().is_empty());
}

#[tokio::test]
async fn an_answer_without_end_and_one_that_is_no_http_are_errors() {
    let mut peer = Peer::start(|_| {
        let mut long = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        long.resize(MOST_BYTES + 1000, b'x');
        long
    })
    .await;
    assert!(matches!(peer.get().await, Err(ClientError::Broken(..))));
    let mut peer = Peer::start(|_| b"220 mail ready\r\n".to_vec()).await;
    assert!(matches!(peer.get().await, Err(ClientError::Broken(..))));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_until_the_deadline_only() {
    // Half an answer, and no more.
    let mut peer =
        Peer::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec()).await;
    let ask = Ask { method: Method::GET, path: "/x".into(), body: None };
    let short = Duration::from_millis(300);
    assert!(matches!(peer.client.send(&ask, short).await, Err(ClientError::Silent(..))));
    // The rest of that answer must not become the next one's.
    assert!(matches!(peer.client.send(&ask, short).await, Err(ClientError::Silent(..))));
    assert_eq!(peer.connections(), 2);
}

#[test]
fn an_address_of_ipv6_stands_in_brackets() {
    let get = |name: &str| match name {
        "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
        _ => Some("443".to_owned()),
    };
    assert_eq!(Server::read(get).unwrap().to_string(), "[fd00::1]:443");
    assert!(Server::read(|_| None).is_none());
}
