//! Configuration on its way from the operator to an agent: what is packed is unpacked, and
//! nothing that is not whole is taken for whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use lineside_crds::api::Kind;
use lineside_crds::delivery::{
    Agent, AgentFacts, Assignment, Document, MANIFEST, PLAIN_BYTES_MOST, PackError, Packed,
    SHARD_BYTES_MOST, SHARDS_MOST, TEXT_BYTES_MOST, TOTAL_BYTES_MOST, UnpackError, pack, unpack,
};
use lineside_crds::yaml::{self, Object};
use proptest::prelude::*;
use serde_json::{Value, json};

fn facts() -> AgentFacts {
    AgentFacts {
        agent: Agent {
            name: "lsa-default-n1-0a1b2c3d".into(),
            namespace: "plant-1".into(),
            uid: "7d5f0d3c-0000-4000-8000-000000000001".into(),
            pool: "default".into(),
            node: "n1".into(),
        },
        heartbeat_seconds: 10,
        drain_timeout_seconds: 3600,
        draining: false,
        assignments: vec![
            Assignment { device: "furnace-2".into(), uid: "u2".into(), epoch: 1 },
            Assignment { device: "furnace-1".into(), uid: "u1".into(), epoch: 3 },
        ],
    }
}

fn document(kind: Kind, name: &str, spec: Value) -> Document {
    Document {
        kind,
        namespace: "plant-1".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        generation: 7,
        labels: BTreeMap::from([("line".to_owned(), "melting".to_owned())]),
        discard_backlog: false,
        spec,
    }
}

fn plant() -> Vec<Document> {
    let device = json!({
        "url": "modbus-tcp://10.20.0.11",
        "points": [{"name": "temperature", "address": "holding-register:1:REAL"}],
    });
    let pipeline = json!({
        "sources": [{"name": "all", "devices": {}}],
        "sinks": [{"name": "broker", "mqtt": {"url": "mqtt://10.0.0.2"}}],
        "store": {"durability": "Memory"},
    });
    vec![
        document(Kind::Pipeline, "all", pipeline),
        document(Kind::DeviceConnection, "furnace-2", device.clone()),
        document(Kind::DeviceConnection, "furnace-1", device),
    ]
}

/// The directory into which a kubelet mounts the ConfigMaps.
fn mount(packed: &Packed) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (name, content) in packed.shards.iter().flat_map(|s| &s.files) {
        let earlier = files.insert(name.clone(), content.bytes().to_vec());
        assert!(earlier.is_none(), "{name} is in two ConfigMaps");
    }
    files
}

/// Text that does not compress: what decides how many shards there are.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        // PCG's multiplier; the upper bits are even enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";
        char::from(digits[usize::try_from(state >> 58).unwrap()])
    };
    (0..bytes).map(|_| next()).collect()
}

fn noisy(count: usize, bytes: usize) -> Vec<Document> {
    (0..count)
        .map(|i| {
            let spec = json!({"url": noise(u64::try_from(i).unwrap(), bytes)});
            document(Kind::DeviceConnection, &format!("d{i:04}"), spec)
        })
        .collect()
}

#[test]
fn what_is_delivered_loads_as_the_objects_that_were_packed() {
    let packed = pack(&facts(), &plant()).unwrap();
    let unpacked = unpack(&mount(&packed)).unwrap();
    assert_eq!(unpacked.manifest.hash, packed.hash);
    let documents: Vec<_> =
        unpacked.texts.iter().flat_map(|text| yaml::load_text("f", text)).collect();
    assert!(documents.iter().all(|d| d.problems.is_empty()), "{documents:#?}");
    let names: Vec<_> =
        documents.iter().map(|d| d.identity.as_ref().unwrap().to_string()).collect();
    assert_eq!(
        names,
        [
            "DeviceConnection plant-1/furnace-1",
            "DeviceConnection plant-1/furnace-2",
            "Pipeline plant-1/all"
        ]
    );
    let Some(Object::Device(device)) = &documents[0].object else { panic!("no device") };
    assert_eq!(device.uid.as_deref(), Some("uid-furnace-1"));
    assert_eq!(device.generation, Some(7));
    assert_eq!(device.labels["line"], "melting");
    let owned: Vec<_> = unpacked.manifest.assignments.iter().map(|a| a.device.as_str()).collect();
    assert_eq!(owned, ["furnace-1", "furnace-2"]);
}

#[test]
fn an_agent_without_documents_gets_a_complete_set_too() {
    let packed = pack(&facts(), &[]).unwrap();
    assert_eq!(packed.shards.len(), 1);
    let unpacked = unpack(&mount(&packed)).unwrap();
    assert_eq!(unpacked.texts, [""]);
}

/// The form that other releases read and wrote: a change of these files is a change of
/// `CONFIG_VERSION`.
#[test]
fn version_1_is_written_and_read_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/delivery/v1");
    let mut stored = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        stored.insert(name, std::fs::read(path).unwrap());
    }
    let mounted = mount(&pack(&facts(), &plant()).unwrap());
    let text = |files: &BTreeMap<String, Vec<u8>>| {
        files.iter().map(|(n, b)| format!("{n}: {}\n", String::from_utf8_lossy(b))).collect()
    };
    let (mounted_text, stored_text): (String, String) = (text(&mounted), text(&stored));
    assert_eq!(mounted_text, stored_text);
    assert_eq!(unpack(&stored).unwrap().manifest.shards.len(), 1);
}

#[test]
fn each_changed_byte_of_each_file_is_found() {
    let files = mount(&pack(&facts(), &plant()).unwrap());
    let whole = unpack(&files).unwrap();
    for (name, bytes) in &files {
        for i in 0..bytes.len() {
            for bit in [1, 32] {
                let mut changed = files.clone();
                changed.get_mut(name).unwrap()[i] ^= bit;
                // Nothing but the spelling of the same JSON may pass, and it changes nothing.
                if let Ok(read) = unpack(&changed) {
                    assert_eq!((name.as_str(), &read), (MANIFEST, &whole), "byte {i}");
                }
            }
        }
        let mut cut = files.clone();
        cut.get_mut(name).unwrap().pop();
        assert!(unpack(&cut).is_err(), "{name} without its last byte");
    }
}

#[test]
fn each_changed_byte_of_a_compressed_file_is_found() {
    let packed = pack(&facts(), &noisy(30, 60_000)).unwrap();
    let files = mount(&packed);
    assert!(files.len() > 2);
    for (name, bytes) in files.iter().filter(|(name, _)| *name != MANIFEST) {
        for i in (0..bytes.len()).step_by(bytes.len() / 50) {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap()[i] ^= 4;
            assert_eq!(unpack(&changed), Err(UnpackError::HashMismatch(name.clone())));
        }
    }
}

#[test]
fn a_file_that_is_not_there_yet_is_named() {
    let files = mount(&pack(&facts(), &noisy(30, 60_000)).unwrap());
    for name in files.keys() {
        let mut part = files.clone();
        part.remove(name);
        assert_eq!(unpack(&part), Err(UnpackError::Missing(name.clone())));
    }
    assert_eq!(unpack(&BTreeMap::new()), Err(UnpackError::Missing(MANIFEST.into())));
}

#[test]
fn a_mixture_of_two_sets_is_no_set() {
    let old = mount(&pack(&facts(), &noisy(30, 60_000)).unwrap());
    let mut documents = noisy(30, 60_000);
    for document in &mut documents {
        document.generation += 1;
    }
    let new = mount(&pack(&facts(), &documents).unwrap());
    assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
    for name in old.keys() {
        let mut mixed = old.clone();
        mixed.insert(name.clone(), new[name].clone());
        assert!(matches!(unpack(&mixed), Err(UnpackError::HashMismatch(_))), "{name}");
    }
}

#[test]
fn what_is_left_of_a_larger_set_is_passed_over() {
    let large = mount(&pack(&facts(), &noisy(30, 60_000)).unwrap());
    let small = mount(&pack(&facts(), &plant()).unwrap());
    let mut files = large;
    files.extend(small.clone());
    assert_eq!(unpack(&files), unpack(&small));
}

#[test]
fn each_fact_changes_the_hash() {
    let before = pack(&facts(), &plant()).unwrap().hash;
    let changes: [fn(&mut AgentFacts); 10] = [
        |f| f.agent.name.push('x'),
        |f| f.agent.namespace.push('x'),
        |f| f.agent.uid.push('x'),
        |f| f.agent.pool.push('x'),
        |f| f.agent.node.push('x'),
        |f| f.heartbeat_seconds += 1,
        |f| f.drain_timeout_seconds += 1,
        |f| f.draining = true,
        |f| f.assignments[0].epoch += 1,
        |f| drop(f.assignments.pop()),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut changed = facts();
        change(&mut changed);
        assert_ne!(pack(&changed, &plant()).unwrap().hash, before, "change {i}");
    }
    let mut documents = plant();
    documents[2].labels.clear();
    assert_ne!(pack(&facts(), &documents).unwrap().hash, before);
}

#[test]
fn more_than_512_kib_of_text_is_compressed() {
    let of = |bytes: usize| {
        let spec = json!({"url": "x".repeat(bytes)});
        pack(&facts(), &[document(Kind::DeviceConnection, "d", spec)]).unwrap()
    };
    let around = unpack(&mount(&of(0))).unwrap().texts[0].len() - "''".len();
    let last = PLAIN_BYTES_MOST - around;
    assert_eq!(unpack(&mount(&of(last))).unwrap().texts[0].len(), PLAIN_BYTES_MOST);
    assert!(mount(&of(last)).contains_key("shard-0.yaml"));
    assert!(mount(&of(last + 1)).contains_key("shard-0.yaml.zst"));
}

#[test]
fn no_config_map_exceeds_its_bound_up_to_the_total_bound() {
    // Names of the greatest length make a manifest of 150 KB, which must find its room as well.
    let assignments = (0..512)
        .map(|i| Assignment {
            device: format!("{i:0>253}"),
            uid: "7d5f0d3c-0000-4000-8000-000000000001".into(),
            epoch: 1,
        })
        .collect();
    let facts = AgentFacts { assignments, ..facts() };
    let mut counts = Vec::new();
    let mut largest = 0;
    for size in [1_000, 9_000, 18_000, 18_200, 20_000] {
        let documents = noisy(512, size);
        match pack(&facts, &documents) {
            Ok(packed) => {
                let sizes: Vec<usize> = packed
                    .shards
                    .iter()
                    .map(|s| s.files.iter().map(|(k, c)| k.len() + c.bytes().len()).sum())
                    .collect();
                assert!(sizes.iter().all(|s| *s <= SHARD_BYTES_MOST), "{size}: {sizes:?}");
                let total: usize = sizes.iter().sum();
                assert!(total <= TOTAL_BYTES_MOST);
                largest = largest.max(total);
                counts.push(sizes.len());
                let read = unpack(&mount(&packed)).unwrap();
                let documents: usize = read.manifest.shards.iter().map(|s| s.documents).sum();
                assert_eq!(documents, 512);
            }
            Err(error) => {
                assert!(matches!(error, PackError::TooLarge { .. }), "{error}");
                counts.push(0);
            }
        }
    }
    assert!(counts.contains(&1) && counts.contains(&SHARDS_MOST), "{counts:?}");
    assert_eq!(counts.last(), Some(&0), "20 KB of noise for each device is too much");
    assert!(counts.iter().skip_while(|c| **c > 0).all(|c| *c == 0), "{counts:?}");
    // The bound is reached, not just approached from far below.
    assert!(largest > TOTAL_BYTES_MOST * 9 / 10, "{largest}");
}

#[test]
fn text_beyond_every_bound_is_refused_before_it_is_compressed() {
    let spec = json!({"url": "x".repeat(TEXT_BYTES_MOST)});
    let error = pack(&facts(), &[document(Kind::DeviceConnection, "d", spec)]).unwrap_err();
    assert!(matches!(error, PackError::TooLarge { what: "plain text", .. }), "{error}");
}

#[test]
fn one_object_twice_is_refused() {
    let mut documents = plant();
    documents.push(documents[0].clone());
    let error = pack(&facts(), &documents).unwrap_err();
    assert!(matches!(error, PackError::Duplicate { .. }), "{error}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        Just("\n---\n".to_owned()),
        Just("---".to_owned()),
        Just("yes".to_owned()),
        Just("0x10".to_owned()),
        Just("\u{85}\u{2028}\r\n".to_owned()),
    ];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_packed_is_unpacked_unchanged(
        specs in prop::collection::vec(any_value(), 0..8),
        labels in prop::collection::btree_map("[a-z]{1,4}", "[a-z0-9]{0,4}", 0..3),
    ) {
        let documents: Vec<_> = specs
            .into_iter()
            .enumerate()
            .map(|(i, spec)| Document {
                labels: labels.clone(),
                discard_backlog: false,
                ..document(Kind::DeviceConnection, &format!("d{i}"), spec)
            })
            .collect();
        let packed = pack(&facts(), &documents).unwrap();
        let read = unpack(&mount(&packed)).unwrap();
        let values: Vec<Value> = read.texts.iter().flat_map(|t| yaml::values(t)).collect();
        prop_assert_eq!(values.len(), documents.len());
        for (value, document) in values.iter().zip(&documents) {
            prop_assert_eq!(&value["spec"], &document.spec);
            prop_assert_eq!(&value["metadata"]["labels"], &json!(document.labels));
        }
    }

    #[test]
    fn any_files_are_a_set_or_an_error(
        manifest in any::<Vec<u8>>(),
        shard in any::<Vec<u8>>(),
    ) {
        let files = BTreeMap::from([
            (MANIFEST.to_owned(), manifest),
            ("shard-0.yaml.zst".to_owned(), shard),
        ]);
        prop_assert!(unpack(&files).is_err());
    }
}

proptest! {
    // Each case compresses more than 512 KiB.
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_order_of_the_input_changes_no_byte(
        documents in Just(noisy(12, 50_000)).prop_shuffle(),
        assignments in Just(facts().assignments).prop_shuffle(),
    ) {
        let wanted = pack(&facts(), &noisy(12, 50_000)).unwrap();
        let shuffled = AgentFacts { assignments, ..facts() };
        prop_assert_eq!(pack(&shuffled, &documents).unwrap(), wanted);
    }
}
