//! What an agent needs of the API server.

use std::path::Path;

use lineside_crds::diagnostics::Code;

use super::Finding;
use crate::cluster::client::{Client, ClientError, Server};
use crate::cluster::identity::Pod;
use crate::cluster::{UpwardError, chain, try_out};

/// Whether the API server can be reached from this pod. Who asks is not known here.
pub async fn api_server(server: &Server) -> Finding {
    let subject = format!("API server {server}");
    match server.dial().await {
        Ok(()) => Finding::well(subject, "accepts connections"),
        Err(error) => Finding::ill(subject, Code::ApiServerUnreachable, chain(&error)),
    }
}

/// Whether the API server answers, knows who the agent is, and lets it do what it must. Everything
/// is asked as a dry run.
pub async fn cluster(pod: &Pod, server: &Server, account: &Path) -> Vec<Finding> {
    let mut client = Client::new(server.clone(), account);
    let asked = try_out(pod, &mut client).await;
    let findings = asked.into_iter().map(|(what, done)| {
        let subject = format!("API server {server}: {}/{} may {what}", pod.namespace, pod.agent);
        match done {
            Ok(()) => Finding::well(subject, "yes"),
            Err(error) => {
                let refuses = matches!(
                    &error,
                    UpwardError::Client(ClientError::Refused(_)) | UpwardError::NotOurs(_)
                );
                let code = match refuses {
                    true => Code::ApiServerRefuses,
                    false => Code::ApiServerUnreachable,
                };
                Finding::ill(subject, code, chain(&error))
            }
        }
    });
    findings.collect()
}
