//! What an agent was shipped last, read back from its ConfigMaps: the only place where the last
//! valid version of an object is kept.

use std::collections::BTreeMap;

use lineside_crds::api::Kind;
use lineside_crds::delivery::{Document, UnpackError, unpack};
use lineside_crds::validate::is_discarded;
use lineside_crds::yaml;
use serde_json::Value;

/// Documents by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shipped {
    documents: BTreeMap<(Kind, String), Document>,
}

impl Shipped {
    /// Reads the keys of an agent's ConfigMaps and their bytes.
    ///
    /// A set that is not complete (a write was interrupted between two ConfigMaps, or somebody
    /// changed one) is read as far as it is plain text: each document in it is one that was shipped,
    /// and of two versions of an object the later one counts.
    ///
    /// # Errors
    /// When nothing can be read. The last valid versions are then unknown here; the agent has them
    /// on its state volume.
    pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, UnpackError> {
        match unpack(files) {
            Ok(unpacked) => Ok(Self::of_texts(unpacked.texts.iter().map(String::as_str))),
            Err(error) => {
                let plain = files.iter().filter(|(name, _)| name.ends_with(".yaml"));
                let texts = plain.filter_map(|(_, bytes)| std::str::from_utf8(bytes).ok());
                let rest = Self::of_texts(texts);
                if rest.documents.is_empty() { Err(error) } else { Ok(rest) }
            }
        }
    }

    fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut documents: BTreeMap<(Kind, String), Document> = BTreeMap::new();
        for found in texts.flat_map(yaml::values).filter_map(document) {
            let key = (found.kind, found.name.clone());
            // The annotation changes no generation; who gave up a backlog once meant it.
            let age = |d: &Document| (d.generation, d.discard_backlog);
            if documents.get(&key).is_none_or(|known| age(known) < age(&found)) {
                documents.insert(key, found);
            }
        }
        Self { documents }
    }

    /// The document of an object.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Document> {
        self.documents.get(&(kind, name.to_owned()))
    }

    /// All documents of a kind, by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(move |((k, _), _)| *k == kind).map(|(_, document)| document)
    }

    /// Names of the devices.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.of(Kind::DeviceConnection).map(|document| document.name.as_str())
    }
}

impl FromIterator<Document> for Shipped {
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        let keyed = documents.into_iter().map(|d| ((d.kind, d.name.clone()), d));
        Self { documents: keyed.collect() }
    }
}

/// One document as it was packed; `None` for one that no operator of this version writes.
fn document(value: Value) -> Option<Document> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let texts = |pointer: &str| -> BTreeMap<String, String> {
        let map = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
    };
    Some(Document {
        kind: Kind::parse(&text("/kind")?)?,
        namespace: text("/metadata/namespace")?,
        name: text("/metadata/name")?,
        uid: text("/metadata/uid")?,
        generation: value.pointer("/metadata/generation").and_then(Value::as_i64)?,
        labels: texts("/metadata/labels"),
        discard_backlog: is_discarded(&texts("/metadata/annotations")),
        spec: value.pointer("/spec")?.clone(),
    })
}
