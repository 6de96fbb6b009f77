//! From nothing to a session on one of the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lineside_core::secret::Secrets;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{IotdbModel, IotdbSettings, Node, ObjectKey};
use lineside_net::TlsClient;

use crate::client::{Client, Credentials, accepted};
use crate::name::identifier;
use crate::pack::{Layout, Precision};

/// An open session, and how the pipeline appears in it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) layout: Layout,
    /// Which node it is with.
    pub(super) node: usize,
}

/// How a session is opened.
pub(crate) struct Dial<'a> {
    pub(crate) settings: &'a Arc<IotdbSettings>,
    /// From the name lookup of one node to an open session.
    pub(crate) deadline: Duration,
    /// For the template of a table's name.
    pub(crate) pipeline: &'a ObjectKey,
    pub(crate) secrets: &'a Secrets,
    /// Instead of those that the settings name.
    pub(crate) credentials: Option<&'a Credentials>,
    /// The database of the table model is made if it is not there, and entered.
    pub(crate) to_write: bool,
}

impl Dial<'_> {
    /// Opens a session with the first node that gives one, beginning with the one that served last.
    ///
    /// # Errors
    /// The fault of the last node that was tried. A refusal of who we are, or of what the settings
    /// ask for, holds for all nodes of a cluster, so it ends the search.
    pub(crate) async fn connect(&self, first: &AtomicUsize) -> Result<Connection, Fault> {
        let nodes = &self.settings.nodes;
        let start = first.load(Ordering::Relaxed);
        let mut last = None;
        for index in (0..nodes.len()).map(|i| (start + i) % nodes.len()) {
            let Some(node) = nodes.get(index) else { continue };
            match self.attempt(node).await {
                Ok((client, layout)) => {
                    first.store(index, Ordering::Relaxed);
                    return Ok(Connection { client, layout, node: index });
                }
                Err(fault) if matches!(fault.class, FaultClass::Auth | FaultClass::Config) => {
                    return Err(fault);
                }
                Err(fault) => last = Some(fault),
            }
        }
        let none = || Fault::new(FaultClass::Bug, Code::SinkUnavailable, "no node to connect to");
        Err(last.unwrap_or_else(none))
    }

    async fn attempt(&self, node: &Node) -> Result<(Client, Layout), Fault> {
        let settings = self.settings;
        let (of, secrets, host) = (settings.clone(), self.secrets.clone(), node.host.clone());
        let given = self.credentials.cloned();
        let read = move || read_secrets(&of, given, &host, &secrets);
        let (credentials, tls) = tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| {
            Err(Fault::new(FaultClass::Bug, Code::SinkPanicked, "read secrets").because(e))
        })?;
        let table = matches!(settings.model, IotdbModel::Table { .. });
        let mut client = Client::connect(node, tls, &credentials, table, self.deadline).await?;
        let precision = Precision::of(&client.properties.precision).ok_or_else(|| {
            let said = &client.properties.precision;
            let text = format!("use the times of {node}: its unit {said:?} is none of ms, us, ns");
            Fault::new(FaultClass::Config, Code::SinkProtocol, text)
        })?;
        if let (IotdbModel::Table { database, .. }, true) = (&settings.model, self.to_write) {
            use_database(&mut client, database).await?;
        }
        let version = client.properties.version.clone();
        let layout = Layout::new(settings, self.pipeline, precision, &version);
        Ok((client, layout))
    }
}

/// A session failed on this node: the next one begins with the node behind it.
pub(super) fn avoid(first: &AtomicUsize, node: usize, count: usize) {
    first.store((node + 1) % count.max(1), Ordering::Relaxed);
}

/// Makes the database if it may, and enters it. Whoever may not make one may find it there.
async fn use_database(client: &mut Client, database: &str) -> Result<(), Fault> {
    let name = identifier(database);
    let made = client.try_execute(&format!("CREATE DATABASE IF NOT EXISTS {name}")).await?;
    let made = accepted(&client.endpoint, &format!("make the database {database}"), &made);
    match client.execute(&format!("USE {name}")).await {
        Ok(()) => Ok(()),
        Err(fault) => Err(made.err().unwrap_or(fault)),
    }
}

/// Reads what the settings name; blocks on files.
fn read_secrets(
    settings: &IotdbSettings,
    given: Option<Credentials>,
    host: &str,
    secrets: &Secrets,
) -> Result<(Credentials, Option<TlsClient>), Fault> {
    let credentials = match (given, &settings.credentials) {
        (Some(given), _) => given,
        (None, None) => Credentials::default(),
        (None, Some(at)) => Credentials {
            username: secrets.read_text(&at.username)?.expose().to_owned(),
            password: match &at.password {
                None => String::new(),
                Some(at) => secrets.read_text(at)?.expose().to_owned(),
            },
        },
    };
    let tls = match &settings.tls {
        None => None,
        Some(tls) => Some(lineside_net::client(tls, host, secrets)?),
    };
    Ok((credentials, tls))
}
