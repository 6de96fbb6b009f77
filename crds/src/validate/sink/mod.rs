//! The rules of destinations.

pub(super) mod iotdb;
pub(super) mod mqtt;

use crate::api::sink::{self as api, TlsSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath};
use crate::model::{ClientCertificate, CredentialsRef, SecretKeyRef, Tls};

fn credentials(
    spec: Option<&api::CredentialsRefSpec>,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<CredentialsRef> {
    let spec = spec?;
    let key = |key: &Option<String>, default: &str| SecretKeyRef {
        secret: spec.secret.clone(),
        key: key.clone().unwrap_or_else(|| default.to_owned()),
    };
    let username = key(&spec.username_key, "username");
    let password = key(&spec.password_key, "password");
    if username == password {
        let message = "usernameKey and passwordKey are the same key";
        let at = at.key("credentialsRef");
        findings.push(Diagnostic::new(Code::CredentialKeysEqual, at, message));
    }
    Some(CredentialsRef { username, password: Some(password) })
}

fn connection_tls(
    spec: Option<&TlsSpec>,
    secure: bool,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<Tls> {
    match spec {
        Some(tls) => Some(tls_settings(tls, &at.key("tls"), findings)),
        None if secure => Some(Tls { ca: None, client: None, server_name: None }),
        None => None,
    }
}

fn tls_settings(spec: &TlsSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Tls {
    let key =
        |r: &api::SecretKeyRefSpec| SecretKeyRef { secret: r.secret.clone(), key: r.key.clone() };
    let client = match (&spec.cert_ref, &spec.key_ref) {
        (Some(cert), Some(private)) => {
            Some(ClientCertificate { cert: key(cert), key: key(private) })
        }
        (None, None) => None,
        (cert, _) => {
            let (there, missing) = match cert {
                Some(_) => ("certRef", "keyRef"),
                None => ("keyRef", "certRef"),
            };
            let message = format!("{there} is given without {missing}");
            findings.push(Diagnostic::new(
                Code::ClientCertificateIncomplete,
                at.key(there),
                message,
            ));
            None
        }
    };
    Tls { ca: spec.ca_ref.as_ref().map(key), client, server_name: spec.server_name.clone() }
}
