//! The lab's own certificate authority, certificates and kubeconfigs; as short-lived as the lab.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::{Layout, Node};

/// Where every part of the lab finds the API server.
pub(crate) const SERVER: &str = "https://172.30.0.1:6443";

/// What the API server is called by.
const SERVER_NAMES: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
    "172.30.0.1",
];

/// A client of the API server: file name, common name, organisation.
const CLIENTS: [(&str, &str, Option<&str>); 6] = [
    ("admin", "lab-admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("kubelet-client", "lab-apiserver-kubelet-client", Some("system:masters")),
    ("node1", "system:node:node1", Some("system:nodes")),
    ("node2", "system:node:node2", Some("system:nodes")),
];

/// Writes everything into the lab's folder.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.pki(""))?;
    let authority = authority(layout)?;
    fs::write(layout.pki("ca.crt"), authority.pem())?;
    let tokens = KeyPair::generate()?;
    fs::write(layout.pki("service-accounts.key"), tokens.serialize_pem())?;
    fs::write(layout.pki("service-accounts.pub"), tokens.public_key_pem())?;
    let names = SERVER_NAMES.map(str::to_owned).to_vec();
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    sign(layout, &authority, "apiserver", ("kube-apiserver", None), names, usage)?;
    for (file, name, organisation) in CLIENTS {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        sign(layout, &authority, file, (name, organisation), vec![], usage)?;
        write_kubeconfig(layout, file)?;
    }
    Ok(())
}

fn authority(layout: &Layout) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("lab {}", layout.run()));
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn sign(
    layout: &Layout,
    authority: &CertifiedIssuer<'_, KeyPair>,
    file: &str,
    (common_name, organisation): (&str, Option<&str>),
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<()> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        params.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    fs::write(layout.pki(&format!("{file}.crt")), params.signed_by(&key, authority)?.pem())?;
    fs::write(layout.pki(&format!("{file}.key")), key.serialize_pem())?;
    Ok(())
}

/// The file names the certificates, it does not hold them.
fn write_kubeconfig(layout: &Layout, user: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {
            "server": SERVER,
            "certificate-authority": shown(&layout.pki("ca.crt")),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": shown(&layout.pki(&format!("{user}.crt"))),
            "client-key": shown(&layout.pki(&format!("{user}.key"))),
        }}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    });
    let path = layout.kubeconfig(user);
    fs::write(&path, serde_json::to_vec_pretty(&config)?)
        .with_context(|| path.display().to_string())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The user of a node's kubelet, which is also its file.
pub(crate) fn kubelet(node: Node) -> &'static str {
    node.name()
}
