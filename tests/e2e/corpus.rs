//! The corpus of good and broken objects, as a person would apply them to a cluster.

use std::path::Path;

use lineside_crds::api::{API_VERSION, Kind};
use lineside_crds::yaml;
use lineside_tests::tools::workspace;
use serde_json::Value;

/// The files of a folder of `crds/testdata`, sorted: name without `.yaml`, and text.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let folder = workspace().join("crds/testdata").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path: std::path::PathBuf| (stem(&path), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 1, "{} is empty", folder.display());
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The objects of a file that a cluster would take for ours, as a person would apply them.
pub fn objects(text: &str) -> Vec<Value> {
    let ours = |value: &Value| {
        value["apiVersion"] == API_VERSION
            && value["kind"].as_str().is_some_and(|kind| Kind::parse(kind).is_some())
    };
    let mut all: Vec<Value> = yaml::values(text).into_iter().filter(ours).collect();
    for value in &mut all {
        let Some(metadata) = value["metadata"].as_object_mut() else { continue };
        for key in [
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "creationTimestamp",
            "namespace",
        ] {
            metadata.remove(key);
        }
    }
    all
}
