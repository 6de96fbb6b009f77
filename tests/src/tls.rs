//! A certificate authority with a server and a client certificate, made anew for each test.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::dir::TestDir;

/// PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Server certificate for `localhost` and `127.0.0.1`.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// Client certificate, common name `test-client`.
    pub client_cert: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes them in the folder `name` of the test.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(dir: &TestDir, name: &str) -> Result<Self> {
        let folder = dir.folder(name)?;
        let ca = authority(name)?;
        let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = signed(&ca, "localhost", hosts, ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = signed(&ca, "test-client", vec![], ExtendedKeyUsagePurpose::ClientAuth)?;
        let files = Self {
            ca: folder.join("ca.pem"),
            server_cert: folder.join("server.pem"),
            server_key: folder.join("server.key"),
            client_cert: folder.join("client.pem"),
            client_key: folder.join("client.key"),
        };
        fs::write(&files.ca, ca.pem())?;
        fs::write(&files.server_cert, server.0)?;
        fs::write(&files.server_key, server.1)?;
        fs::write(&files.client_cert, client.0)?;
        fs::write(&files.client_key, client.1)?;
        Ok(files)
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// PEM of the certificate and of its key.
fn signed(
    ca: &CertifiedIssuer<'_, KeyPair>,
    common_name: &str,
    hosts: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String)> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, ca)?.pem(), key.serialize_pem()))
}
