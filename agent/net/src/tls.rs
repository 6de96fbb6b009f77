//! TLS settings towards a remote: rustls with the ring provider, given explicitly, so that the
//! sink needs no process-wide default.

use std::sync::Arc;

use lineside_core::secret::Secrets;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{ClientCertificate, SecretKeyRef, Tls};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// What a TLS connection needs.
pub struct TlsClient {
    /// Trust and our own certificate.
    pub config: Arc<ClientConfig>,
    /// The name that the remote's certificate has to carry.
    pub name: ServerName<'static>,
}

/// Reads the certificates. Blocks on files.
///
/// # Errors
/// Class Config: a Secret is missing or is not what it should be, or the name is no host name.
pub fn client(tls: &Tls, host: &str, secrets: &Secrets) -> Result<TlsClient, Fault> {
    let wanted = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(wanted.to_owned()).map_err(|e| {
        Fault::new(FaultClass::Config, Code::SinkTls, format!("verify server name {wanted}"))
            .because(e)
    })?;
    let roots = match &tls.ca {
        Some(at) => roots_of(at, secrets)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::new(FaultClass::Bug, Code::SinkTls, "choose TLS versions").because(e))?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = identity(client, secrets)?;
            builder.with_client_auth_cert(chain, key).map_err(|e| {
                invalid(format!("use client certificate {}", client.cert)).because(e)
            })?
        }
    };
    Ok(TlsClient { config: Arc::new(config), name })
}

fn roots_of(at: &SecretKeyRef, secrets: &Secrets) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(at, secrets)? {
        roots
            .add(certificate)
            .map_err(|e| invalid(format!("use certificate authority {at}")).because(e))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let text = "find the system's certificate authorities; name one with `tls.caRef`";
    let fault = Fault::new(FaultClass::Config, Code::SinkTls, text);
    Err(match found.errors.into_iter().next() {
        Some(e) => fault.because(e),
        None => fault,
    })
}

fn identity(
    client: &ClientCertificate,
    secrets: &Secrets,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    let chain = certificates(&client.cert, secrets)?;
    let pem = secrets.read(&client.key)?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose())
        .map_err(|e| invalid(format!("read PEM private key {}", client.key)).because(e))?;
    Ok((chain, key))
}

fn certificates(
    at: &SecretKeyRef,
    secrets: &Secrets,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = secrets.read(at)?;
    let found = CertificateDer::pem_slice_iter(pem.expose())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| invalid(format!("read PEM certificate {at}")).because(e))?;
    if found.is_empty() {
        return Err(invalid(format!("find a PEM certificate in {at}")));
    }
    Ok(found)
}

fn invalid(message: String) -> Fault {
    Fault::new(FaultClass::Config, Code::SecretInvalid, message)
}
