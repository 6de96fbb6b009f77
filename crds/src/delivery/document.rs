//! One object as it is delivered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::{API_VERSION, DISCARD_BACKLOG, Kind};
use crate::yaml::{self, WriteError};

/// One object as it is delivered: what the user wrote, and which object of the cluster it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid in the cluster.
    pub uid: String,
    /// The generation of `spec`.
    pub generation: i64,
    /// Its labels; pipelines select devices by them.
    pub labels: BTreeMap<String, String>,
    /// Whether [`crate::api::DISCARD_BACKLOG`] is set on it.
    pub discard_backlog: bool,
    /// Its spec, with the defaults of the cluster filled in or not.
    pub spec: Value,
}

impl Document {
    /// Where the document stands among others.
    pub(super) fn order(&self) -> (Kind, &str, &str) {
        (self.kind, &self.namespace, &self.name)
    }

    /// The document as YAML, beginning with its `---`. The same object gives the same text,
    /// whatever the order of its keys was.
    pub(super) fn text(&self) -> Result<String, WriteError> {
        let mut value = json!({
            "apiVersion": API_VERSION,
            "kind": self.kind.name(),
            "metadata": {
                "generation": self.generation,
                "labels": self.labels,
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid,
            },
            "spec": self.spec,
        });
        if self.discard_backlog {
            value["metadata"]["annotations"] = json!({(DISCARD_BACKLOG): "true"});
        }
        value.sort_all_objects();
        Ok(format!("---\n{}", yaml::write(&value)?))
    }
}
