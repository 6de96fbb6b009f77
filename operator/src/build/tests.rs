//! Golden objects, and the choice of documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use lineside_crds::api::Kind;
use lineside_crds::api::agent::AssignmentSpec;
use lineside_crds::delivery::Document;
use lineside_crds::model::{NamedSink, ObjectKey, Pipeline};
use lineside_crds::validate::{Meta, judge_agent_pool, judge_pipeline, judge_sink};
use lineside_crds::yaml;
use serde_json::Value;

use super::*;
use crate::names;
use crate::pools::{DefaultPool, Pool, resolve};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/build").join(name)
}

fn read(name: &str) -> String {
    let path = testdata(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pool(file: &str) -> Pool {
    let spec = yaml::values(&read(file)).remove(0);
    let meta = Meta::new(ObjectKey::new("plant", "default"));
    let pool = judge_agent_pool(&meta, &spec).object.expect("a valid pool");
    let image = "registry.example/lineside/agent:0.1.0".to_owned();
    let default = DefaultPool {
        pool: pool.clone(),
        image,
        image_pull_policy: Some("IfNotPresent".to_owned()),
    };
    resolve("default", Some(Some(&pool)), &default).usable().expect("a usable pool").clone()
}

/// The objects of the file, by kind and name.
fn objects() -> BTreeMap<(Kind, String), Document> {
    let document = |value: Value| {
        let meta = &value["metadata"];
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let kind = Kind::parse(&text(&value["kind"])).expect("a kind");
        let labels = meta["labels"].as_object().into_iter().flatten();
        let document = Document {
            kind,
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            generation: meta["generation"].as_i64().expect("a generation"),
            labels: labels.map(|(k, v)| (k.clone(), text(v))).collect(),
            discard_backlog: false,
            spec: value["spec"].clone(),
        };
        ((kind, document.name.clone()), document)
    };
    yaml::values(&read("objects.yaml")).into_iter().map(document).collect()
}

fn meta(document: &Document) -> Meta {
    Meta::new(ObjectKey::new("plant", document.name.as_str()))
}

fn assignment(device: &str, uid: &str) -> AssignmentSpec {
    AssignmentSpec { device: device.into(), uid: uid.into(), epoch: 2, wish: None }
}

fn children(pool: &Pool, documents: &[Document], change: impl Fn(&mut AgentBuild<'_>)) -> Children {
    let name = names::agent("default", "edge-1");
    let assignments = [assignment("furnace-1", "11111111-0000-4000-8000-000000000001")];
    let mut build = AgentBuild {
        namespace: "plant",
        name: &name,
        uid: "33333333-0000-4000-8000-000000000001",
        node: "edge-1",
        hostname: "edge-1.plant.example",
        pool,
        assignments: &assignments,
        documents,
        draining: false,
    };
    change(&mut build);
    build.children().expect("children")
}

fn text(children: &Children) -> String {
    let mut text = format!(
        "# config hash {}\n# template hash {}\n",
        children.config_hash, children.template_hash
    );
    let mut add = |value: Result<Value, serde_json::Error>| {
        text.push_str("---\n");
        text.push_str(&yaml::write(&value.expect("JSON")).expect("YAML"));
    };
    add(serde_json::to_value(&children.service_account));
    add(serde_json::to_value(&children.role_binding));
    add(serde_json::to_value(&children.lease));
    if let Some(claim) = &children.claim {
        add(serde_json::to_value(claim));
    }
    for map in &children.config_maps {
        add(serde_json::to_value(map));
    }
    add(serde_json::to_value(&children.stateful_set));
    text
}

/// Compares with the file; with `LINESIDE_GOLDEN=write` in the environment it is written.
fn assert_golden(name: &str, found: &str) {
    if std::env::var_os("LINESIDE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(testdata(name), found).expect("write the golden file");
    }
    let expected = read(name);
    assert_eq!(found, expected, "{name}; LINESIDE_GOLDEN=write takes the new one over");
}

fn shipped() -> Vec<Document> {
    let mut objects = objects();
    ["furnace-1", "melting"]
        .into_iter()
        .filter_map(|name| {
            let key = objects.keys().find(|(_, n)| n == name)?.clone();
            objects.remove(&key)
        })
        .collect()
}

#[test]
fn an_agent_of_a_full_pool_is_exactly_this() {
    assert_golden("agent-full.yaml", &text(&children(&pool("pool-full.yaml"), &shipped(), |_| ())));
}

#[test]
fn an_agent_of_a_plain_pool_is_exactly_this() {
    let found = text(&children(&pool("pool-plain.yaml"), &shipped(), |_| ()));
    assert_golden("agent-plain.yaml", &found);
}

#[test]
fn every_pod_is_admitted_under_the_restricted_standard() {
    // The list of the standard (Pod Security Standards, Restricted) for Linux pods.
    for pool in [pool("pool-full.yaml"), pool("pool-plain.yaml")] {
        let set = children(&pool, &[], |_| ()).stateful_set;
        let pod = set.spec.expect("spec").template.spec.expect("pod");
        let allowed = ["configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"];
        for volume in pod.volumes.clone().unwrap_or_default() {
            let value = serde_json::to_value(&volume).expect("JSON");
            let sources = value.as_object().expect("a map").keys().filter(|k| *k != "name");
            assert!(sources.clone().all(|s| allowed.contains(&s.as_str())), "{value}");
        }
        let context = pod.security_context.expect("a security context");
        assert_eq!(context.run_as_non_root, Some(true));
        assert!(context.run_as_user.is_some_and(|user| user > 0));
        assert_eq!(context.seccomp_profile.expect("a profile").type_, "RuntimeDefault");
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
        for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
            let context = container.security_context.as_ref().expect("a security context");
            assert_eq!(context.allow_privilege_escalation, Some(false));
            let capabilities = context.capabilities.as_ref().expect("capabilities");
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert_eq!(capabilities.add, None);
        }
    }
}

#[test]
fn a_device_more_changes_the_configuration_and_not_the_pod() {
    let pool = pool("pool-full.yaml");
    let all: Vec<Document> = objects().into_values().collect();
    let (few, many) = (children(&pool, &shipped(), |_| ()), children(&pool, &all, |_| ()));
    assert_ne!(few.config_hash, many.config_hash);
    assert_eq!(few.stateful_set, many.stateful_set);
    assert_eq!(children(&pool, &all, |_| ()), many, "the same input, the same bytes");
}

#[test]
fn what_is_about_to_leave_makes_a_configuration_of_its_own() {
    let pool = pool("pool-full.yaml");
    let before = children(&pool, &[], |b| b.assignments = &[]);
    let leaving = children(&pool, &[], |_| ());
    assert_ne!(before.config_hash, leaving.config_hash);
}

#[test]
fn whatever_changes_the_pod_changes_the_template_hash() {
    let base = pool("pool-full.yaml");
    let hash = |pool: &Pool| children(pool, &[], |_| ()).template_hash;
    let mut seen = BTreeSet::from([hash(&base)]);
    let changes: [fn(&mut Pool); 5] = [
        |p| p.image.push('0'),
        |p| p.secrets = BTreeSet::from(["other".to_owned()]),
        |p| p.tolerations.clear(),
        |p| p.resources.limits = None,
        |p| p.image_pull_secrets.clear(),
    ];
    for change in changes {
        let mut pool = base.clone();
        change(&mut pool);
        assert!(seen.insert(hash(&pool)), "{pool:?}");
    }
    let mut patient = base.clone();
    patient.drain_timeout *= 2;
    patient.heartbeat *= 2;
    assert_eq!(hash(&patient), hash(&base), "heartbeats come with the configuration");
}

struct Cluster {
    objects: BTreeMap<(Kind, String), Document>,
    refused: BTreeSet<&'static str>,
    active: BTreeSet<&'static str>,
    draining: bool,
    shipped: Shipped,
}

impl Cluster {
    fn new(active: &[&'static str]) -> Self {
        Self {
            objects: objects(),
            refused: BTreeSet::new(),
            active: active.iter().copied().collect(),
            draining: false,
            shipped: Shipped::default(),
        }
    }

    /// Names and generations of what is shipped.
    fn ships(&self) -> Vec<(String, i64)> {
        let pipelines: BTreeMap<String, Option<Pipeline>> = self
            .objects
            .values()
            .filter(|d| d.kind == Kind::Pipeline)
            .map(|d| (d.name.clone(), self.pipeline(d)))
            .collect();
        let now = |name: &'_ str| match &pipelines[name] {
            None => PipelineNow::Refused,
            Some(pipeline) => PipelineNow::Valid(pipeline),
        };
        let selection = Selection {
            active: self.active.clone(),
            pipelines: pipelines.keys().map(|name| (name.as_str(), now(name))).collect(),
            draining: self.draining,
        };
        let documents = selection.documents(&self.shipped, |kind, name| {
            let document = self.objects.get(&(kind, name.to_owned()))?;
            let unresolved = kind == Kind::Pipeline && pipelines[name].is_none();
            Some(match self.refused.contains(name) || unresolved {
                true => Current::Refused,
                false => Current::Valid(document.clone()),
            })
        });
        documents.into_iter().map(|d| (d.name, d.generation)).collect()
    }

    /// A pipeline that can run.
    fn pipeline(&self, document: &Document) -> Option<Pipeline> {
        if self.refused.contains(document.name.as_str()) {
            return None;
        }
        let open = judge_pipeline(&meta(document), &document.spec).object.expect("a pipeline");
        let sink = |name: &str| match self.objects.get(&(Kind::Sink, name.to_owned())) {
            None => NamedSink::Missing { hint: String::new() },
            Some(_) if self.refused.contains(name) => NamedSink::Refused,
            Some(sink) => {
                let judged = judge_sink(&meta(sink), &sink.spec);
                NamedSink::Valid(judged.object.expect("a Sink").into())
            }
        };
        open.resolve(sink).ok()
    }

    /// The pipeline `melting` names a Sink.
    fn with_a_sink() -> Self {
        let mut cluster = Self::new(&["furnace-1"]);
        let melting = (Kind::Pipeline, "melting".to_owned());
        let melting = cluster.objects.get_mut(&melting).expect("a pipeline");
        melting.spec["sinks"] = serde_json::json!([{"name": "a", "sinkRef": {"name": "tsdb"}}]);
        let melting = melting.clone();
        let spec = serde_json::json!({"iotdb": {"url": "iotdb://h"}});
        for name in ["tsdb", "unused"] {
            let sink = Document {
                kind: Kind::Sink,
                name: name.to_owned(),
                generation: 1,
                spec: spec.clone(),
                ..melting.clone()
            };
            cluster.objects.insert((Kind::Sink, name.to_owned()), sink);
        }
        cluster
    }

    fn edit(&mut self, name: &str) {
        let edited = self.objects.values_mut().find(|d| d.name == name).expect("an object");
        edited.generation += 1;
    }
}

fn named(names: &[(&str, i64)]) -> Vec<(String, i64)> {
    names.iter().map(|(name, generation)| ((*name).to_owned(), *generation)).collect()
}

#[test]
fn an_agent_gets_its_devices_and_the_pipelines_that_select_one_of_them() {
    assert_eq!(Cluster::new(&["furnace-1"]).ships(), named(&[("furnace-1", 3), ("melting", 1)]));
    let both = named(&[("furnace-1", 3), ("furnace-2", 1), ("casting", 1), ("melting", 1)]);
    assert_eq!(Cluster::new(&["furnace-1", "furnace-2"]).ships(), both);
}

#[test]
fn a_refused_edit_ships_the_version_before_it_or_nothing() {
    let mut cluster = Cluster::new(&["furnace-1"]);
    cluster.refused = BTreeSet::from(["furnace-1", "melting"]);
    assert!(cluster.ships().is_empty(), "never shipped");
    cluster.refused.clear();
    cluster.shipped = shipped().into_iter().collect();
    cluster.edit("furnace-1");
    assert_eq!(cluster.ships(), named(&[("furnace-1", 4), ("melting", 1)]));
    cluster.edit("melting");
    cluster.refused = BTreeSet::from(["furnace-1", "melting"]);
    assert_eq!(cluster.ships(), named(&[("furnace-1", 3), ("melting", 1)]));
}

#[test]
fn an_agent_that_ends_keeps_its_pipelines_and_no_device() {
    let mut cluster = Cluster::new(&["furnace-1"]);
    cluster.shipped = shipped().into_iter().collect();
    cluster.draining = true;
    assert_eq!(cluster.ships(), named(&[("melting", 1)]));
    cluster.edit("melting");
    assert_eq!(cluster.ships(), named(&[("melting", 2)]), "a corrected sink arrives");
    cluster.objects.retain(|(_, name), _| name != "melting");
    assert_eq!(cluster.ships(), named(&[("melting", 1)]), "deleted, and still to deliver");
    // The same when its last device has left it.
    (cluster.draining, cluster.active) = (false, BTreeSet::new());
    assert_eq!(cluster.ships(), named(&[("melting", 1)]));
}

#[test]
fn a_sink_is_shipped_with_the_pipelines_that_name_it() {
    let mut cluster = Cluster::with_a_sink();
    let all = |sink| named(&[("furnace-1", 3), ("tsdb", sink), ("melting", 1)]);
    assert_eq!(cluster.ships(), all(1));
    cluster.edit("tsdb");
    assert_eq!(cluster.ships(), all(2));
    // A fresh agent gets no pipeline that names what is not there.
    cluster.objects.remove(&(Kind::Sink, "tsdb".to_owned()));
    assert_eq!(cluster.ships(), named(&[("furnace-1", 3)]));
}

#[test]
fn a_sink_that_goes_or_is_refused_stays_as_it_was_shipped_for_as_long_as_a_pipeline_names_it() {
    let mut cluster = Cluster::with_a_sink();
    let of = |name: &str| cluster.objects.values().find(|d| d.name == name).expect("one").clone();
    cluster.shipped = ["furnace-1", "melting", "tsdb"].map(of).into_iter().collect();
    let all = named(&[("furnace-1", 3), ("tsdb", 1), ("melting", 1)]);
    cluster.edit("tsdb");
    cluster.refused.insert("tsdb");
    assert_eq!(cluster.ships(), all);
    cluster.objects.remove(&(Kind::Sink, "tsdb".to_owned()));
    cluster.edit("melting");
    assert_eq!(cluster.ships(), all, "an edit of the pipeline waits, too");
    cluster.objects.remove(&(Kind::Pipeline, "melting".to_owned()));
    assert_eq!(cluster.ships(), named(&[("furnace-1", 3)]));
    cluster.draining = true;
    assert_eq!(cluster.ships(), named(&[("tsdb", 1), ("melting", 1)]), "still to deliver");
}

#[test]
fn a_pipeline_that_takes_the_metrics_of_agents_goes_to_each_that_does_not_end() {
    let mut cluster = Cluster::new(&["furnace-1"]);
    let told = cluster.objects.values_mut().find(|d| d.name == "casting").expect("an object");
    told.spec["sources"] = serde_json::json!([{"name": "self", "agentMetrics": {}}]);
    let all = named(&[("furnace-1", 3), ("casting", 1), ("melting", 1)]);
    assert_eq!(cluster.ships(), all, "though none of its devices is there");
    cluster.active.clear();
    assert_eq!(cluster.ships(), named(&[("casting", 1)]), "an agent without devices tells, too");
    // One that ends has to become empty.
    cluster.draining = true;
    assert!(cluster.ships().is_empty());
}

fn files(maps: &[ConfigMap]) -> BTreeMap<String, Vec<u8>> {
    let text = maps.iter().flat_map(|m| m.data.iter().flatten());
    let binary = maps.iter().flat_map(|m| m.binary_data.iter().flatten());
    text.map(|(k, v)| (k.clone(), v.clone().into_bytes()))
        .chain(binary.map(|(k, v)| (k.clone(), v.0.clone())))
        .collect()
}

#[test]
fn what_was_shipped_can_be_read_back_from_the_config_maps() {
    let documents = shipped();
    let children = children(&pool("pool-plain.yaml"), &documents, |_| ());
    let mut files = files(&children.config_maps);
    let read = Shipped::read(&files).expect("a complete set");
    assert_eq!(read, documents.into_iter().collect());
    assert_eq!(read.devices().collect::<Vec<_>>(), ["furnace-1"]);
    // Somebody changed it, or a write was interrupted: the documents are still what was shipped.
    files.get_mut("shard-0.yaml").expect("a shard").push(b'\n');
    let mut older = shipped()[0].clone();
    older.generation -= 1;
    let before = self::children(&pool("pool-plain.yaml"), &[older], |_| ());
    let old_shard = self::files(&before.config_maps).remove("shard-0.yaml").expect("a shard");
    files.insert("shard-1.yaml".to_owned(), old_shard);
    assert_eq!(Shipped::read(&files).expect("plain text"), read);
    files.retain(|name, _| !name.ends_with(".yaml"));
    assert!(Shipped::read(&files).is_err(), "nothing is left");
}
