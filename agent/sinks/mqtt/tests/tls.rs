//! TLS: who is trusted, on both sides.

use std::fs;
use std::path::Path;

use lineside_core::secret::Secrets;
use lineside_core::sink::Outcome;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{ClientCertificate, MqttSettings, MqttVersion, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::access::secret;
use crate::broker::Broker;
use crate::pipeline::{origin, record, settings, start_with};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `NAME.pem` and `NAME.key`.
fn leaf(
    dir: &Path,
    ca: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
) {
    let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// `ca`, `other-ca`, a broker certificate for `broker.example` and a client certificate.
fn certificates(dir: &Path) {
    let ca = authority("ca");
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    fs::write(dir.join("other-ca.pem"), authority("other-ca").pem()).unwrap();
    leaf(dir, &ca, "broker", &["broker.example"], ExtendedKeyUsagePurpose::ServerAuth);
    leaf(dir, &ca, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
}

/// A TLS broker, and the secrets of its clients. The certificate is not for the address that
/// the sink dials, so every connection also proves `server_name`.
pub fn broker(more: &str) -> (Broker, TempDir, Secrets) {
    let dir = TempDir::new().unwrap();
    certificates(dir.path());
    let secrets = TempDir::new().unwrap();
    fs::create_dir(secrets.path().join("mqtt")).unwrap();
    for file in ["ca.pem", "other-ca.pem", "client.pem", "client.key"] {
        fs::copy(dir.path().join(file), secrets.path().join("mqtt").join(file)).unwrap();
    }
    fs::write(secrets.path().join("mqtt/not.pem"), "hello").unwrap();
    let conf = format!(
        "allow_anonymous true\ncafile {{dir}}/ca.pem\ncertfile {{dir}}/broker.pem\n\
         keyfile {{dir}}/broker.key\n{more}"
    );
    let given = Secrets::new(Some(secrets.path().to_owned()));
    (Broker::start_in(dir, &conf), secrets, given)
}

pub fn tls_settings(port: u16, version: MqttVersion, ca: &str) -> MqttSettings {
    let mut settings = settings(port, version);
    let server_name = Some("broker.example".to_owned());
    settings.tls = Some(Tls { ca: Some(secret(ca)), client: None, server_name });
    settings
}

async fn delivers(settings: MqttSettings, secrets: &Secrets) {
    let mut running = start_with(settings, Default::default(), secrets.clone());
    // More than one TLS record and more than the outbox holds.
    let origin = origin(1_000);
    for offset in 0..30 {
        running.send(record(&origin, offset));
    }
    for offset in 0..30 {
        assert_eq!(running.settled().await, (offset, Outcome::delivered(1_000)));
    }
    running.cancelled().await;
}

async fn fault(settings: MqttSettings, secrets: &Secrets) -> Fault {
    start_with(settings, Default::default(), secrets.clone()).fault().await
}

#[tokio::test]
async fn a_broker_signed_by_the_named_authority_is_trusted() {
    let (broker, _dir, secrets) = broker("");
    for version in [MqttVersion::V311, MqttVersion::V5] {
        delivers(tls_settings(broker.port, version, "ca.pem"), &secrets).await;
    }
}

#[tokio::test]
async fn a_broker_of_another_authority_or_name_is_a_tls_fault() {
    let (broker, _dir, secrets) = broker("");
    let other_ca = tls_settings(broker.port, MqttVersion::V5, "other-ca.pem");
    let mut other_name = tls_settings(broker.port, MqttVersion::V5, "ca.pem");
    other_name.tls.as_mut().unwrap().server_name = None;
    let mut system = tls_settings(broker.port, MqttVersion::V5, "ca.pem");
    system.tls.as_mut().unwrap().ca = None;
    for settings in [other_ca, other_name, system] {
        let fault = fault(settings, &secrets).await;
        assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::SinkTls));
    }
}

#[tokio::test]
async fn a_client_certificate_opens_a_broker_that_requires_one() {
    let (broker, _dir, secrets) = broker("require_certificate true");
    let without = tls_settings(broker.port, MqttVersion::V5, "ca.pem");
    let refused = fault(without.clone(), &secrets).await;
    assert_eq!(
        (refused.class, refused.code),
        (FaultClass::Auth, Code::SinkAuth),
        "{}",
        refused.chain()
    );
    let mut with = without;
    let (cert, key) = (secret("client.pem"), secret("client.key"));
    with.tls.as_mut().unwrap().client = Some(ClientCertificate { cert, key });
    delivers(with, &secrets).await;
}

#[tokio::test]
async fn what_is_no_certificate_is_named() {
    let (broker, _dir, secrets) = broker("");
    let fault = fault(tls_settings(broker.port, MqttVersion::V5, "not.pem"), &secrets).await;
    assert_eq!((fault.class, fault.code), (FaultClass::Config, Code::SecretInvalid));
    assert!(fault.chain().contains("mqtt/not.pem"), "{}", fault.chain());
}

#[tokio::test]
async fn a_broker_without_tls_ends_the_handshake_with_a_fault() {
    let broker = Broker::start("");
    let (_other, _dir, secrets) = self::broker("");
    let settings = tls_settings(broker.port, MqttVersion::V5, "ca.pem");
    let fault = fault(settings, &secrets).await;
    assert_eq!((fault.class, fault.code), (FaultClass::Unreachable, Code::SinkUnavailable));
    assert!(fault.chain().starts_with("open TLS to"), "{}", fault.chain());
}
