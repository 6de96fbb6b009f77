//! Local volumes: a StorageClass and folders of the nodes as PersistentVolumes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{Layout, Node};

/// The name of the StorageClass.
pub(crate) const CLASS: &str = "lab-local";
/// The size that the volumes say they have.
const SIZE: &str = "1Gi";

/// The StorageClass, the cluster's default. Claims bind when a pod that uses them is placed.
pub(crate) fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

/// `count` new folders on each node, and the objects that offer them.
pub(crate) fn volumes(layout: &Layout, count: u16) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for node in Node::ALL {
        let dir = layout.volumes(node);
        fs::create_dir_all(&dir)?;
        let there = fs::read_dir(&dir)?.count();
        for number in there..there + usize::from(count) {
            let folder = dir.join(number.to_string());
            fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
            // The kubelet gives it to the pod's fsGroup; a pod without one may write too.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
            objects.push(volume(node, number, &folder.display().to_string()));
        }
    }
    Ok(objects)
}

fn volume(node: Node, number: usize, path: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("lab-{node}-{number}")},
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name()]},
            ]}]}},
        },
    })
}
