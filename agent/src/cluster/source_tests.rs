use std::collections::BTreeMap;

use lineside_crds::delivery::{self, AgentFacts, Assignment, Document, Packed, pack};
use serde_json::json;

use super::*;
use crate::cluster::identity::Volume;
use crate::cluster::mount::tests::swap;
use crate::config::book::Book;

const S: Duration = Duration::from_secs(1);

pub fn pod() -> Pod {
    Pod {
        namespace: "plant".into(),
        agent: "lsa-a".into(),
        uid: "u1".into(),
        node: "n".into(),
        pod: "lsa-a-0".into(),
        volume: Volume::Persistent,
    }
}

pub fn device(name: &str, host: &str) -> Document {
    Document {
        kind: Kind::DeviceConnection,
        namespace: "plant".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        generation: 3,
        labels: BTreeMap::new(),
        discard_backlog: false,
        spec: json!({
            "url": format!("modbus-tcp://{host}"),
            "points": [{"name": "p", "address": "coil:1"}],
        }),
    }
}

pub fn pipeline(name: &str) -> Document {
    Document {
        kind: Kind::Pipeline,
        name: name.into(),
        spec: json!({
            "sources": [{"name": "all", "devices": {}}],
            "sinks": [{"name": "broker", "mqtt": {"url": "mqtt://broker"}}],
            "store": {"durability": "Memory"},
        }),
        ..device(name, "")
    }
}

/// The files of a set in which every device is assigned under epoch 7.
pub fn set(documents: &[Document], change: impl FnOnce(&mut AgentFacts)) -> Files {
    let devices = documents.iter().filter(|d| d.kind == Kind::DeviceConnection);
    let assignments = devices
        .map(|d| Assignment { device: d.name.clone(), uid: d.uid.clone(), epoch: 7 })
        .collect();
    let (uid, pool, node) = ("u1".into(), "default".into(), "n".into());
    let agent =
        delivery::Agent { name: "lsa-a".into(), namespace: "plant".into(), uid, pool, node };
    let mut facts = AgentFacts {
        agent,
        heartbeat_seconds: 20,
        drain_timeout_seconds: 600,
        draining: false,
        assignments,
    };
    change(&mut facts);
    let Packed { shards, .. } = pack(&facts, documents).unwrap();
    let files = shards.into_iter().flat_map(|shard| shard.files);
    files.map(|(name, content)| (name, content.bytes().to_vec())).collect()
}

fn mount(dir: &Path, stamp: &str, files: &Files) {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    swap(dir, stamp, &files);
}

/// A volume and a state directory, and the sources that look at them.
struct Place {
    config: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { config: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    fn source(&self) -> Source {
        Source::new(pod(), self.config.path(), self.state.path())
    }

    fn mount(&self, stamp: &str, files: &Files) {
        mount(self.config.path(), stamp, files);
    }
}

/// One look; what is to run counts as applied. Gives the devices of the documents, or the code.
async fn look(source: &mut Source, now: Duration) -> Option<Result<usize, Code>> {
    match source.look(now).await? {
        Step::Show(trouble) => Some(Err(trouble.code)),
        Step::Run(accepted) => {
            let documents = accepted.files.iter().map(|f| f.loaded.len()).sum();
            source.applied(accepted.running);
            Some(Ok(documents))
        }
    }
}

/// Looks until the set of the last look is kept.
async fn kept(source: &mut Source) {
    while source.keeper.wanted.is_some() {
        assert!(look(source, S).await.is_none());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn origin(source: &Source) -> Option<Origin> {
    source.standing.borrow().running.as_ref().map(|r| r.origin)
}

#[tokio::test]
async fn a_complete_set_runs_and_one_that_is_not_whole_changes_nothing() {
    let place = Place::new();
    let mut source = place.source();
    place.mount("1", &set(&[device("a", "h"), pipeline("p")], |_| ()));
    assert_eq!(look(&mut source, S).await, Some(Ok(2)));
    assert_eq!(look(&mut source, S).await, None);
    let running = source.standing.borrow().running.clone().unwrap();
    assert_eq!((running.epoch("a"), running.epoch("b")), (Some(7), None));
    assert_eq!(source.standing.borrow().heartbeat(), 20 * S);
    // One shard is still that of the former set.
    let mut half = set(&[device("a", "h"), device("b", "h")], |_| ());
    half.insert("shard-0.yaml".into(), b"---\n".to_vec());
    place.mount("2", &half);
    assert_eq!(look(&mut source, 2 * S).await, None, "an update in its middle is no problem");
    assert_eq!(look(&mut source, 11 * S).await, None);
    assert_eq!(look(&mut source, 12 * S).await, Some(Err(Code::ConfigIncomplete)));
    assert_eq!(look(&mut source, 13 * S).await, None, "it is said once");
    let hash = running.manifest.hash.clone();
    let now = source.standing.borrow().clone();
    assert_eq!(now.running.unwrap().manifest.hash, hash);
    assert!(now.trouble.unwrap().message.contains("shard-0.yaml"));
    // Whole again, with what runs already: applied once more, so that the problem is gone.
    place.mount("3", &set(&[device("a", "h"), pipeline("p")], |_| ()));
    assert_eq!(look(&mut source, 14 * S).await, Some(Ok(2)));
    assert_eq!(source.standing.borrow().trouble, None);
}

#[tokio::test]
async fn the_kept_set_runs_when_the_mounted_one_cannot() {
    let place = Place::new();
    let good = set(&[device("a", "h")], |_| ());
    place.mount("1", &good);
    let mut source = place.source();
    assert_eq!(look(&mut source, S).await, Some(Ok(1)));
    kept(&mut source).await;
    let mut damaged = good.clone();
    damaged.get_mut("shard-0.yaml").unwrap().push(b'#');
    for (stamp, files) in [("2", Files::new()), ("3", damaged)] {
        place.mount(stamp, &files);
        let mut source = place.source();
        assert_eq!(look(&mut source, S).await, Some(Ok(1)), "set {stamp}");
        assert_eq!(origin(&source), Some(Origin::LastGood));
        assert_eq!(look(&mut source, 20 * S).await, Some(Err(Code::ConfigIncomplete)));
        assert_eq!(origin(&source), Some(Origin::LastGood));
    }
    // The mount comes: it runs, and nothing speaks of the copy any more.
    let mut source = place.source();
    assert_eq!(look(&mut source, S).await, Some(Ok(1)));
    place.mount("4", &good);
    assert_eq!(look(&mut source, 2 * S).await, None);
    assert_eq!(origin(&source), Some(Origin::Mount));
}

#[tokio::test]
async fn nothing_runs_when_there_is_nothing_whole_and_that_is_said_at_once() {
    let place = Place::new();
    let mut source = place.source();
    assert_eq!(look(&mut source, S).await, Some(Err(Code::ConfigIncomplete)));
    assert!(source.standing.borrow().running.is_none());
    // A volume whose copy was tampered with.
    place.mount("1", &set(&[device("a", "h")], |_| ()));
    assert_eq!(look(&mut source, 2 * S).await, Some(Ok(1)));
    kept(&mut source).await;
    let current = source.last_good.dir().join("current/shard-0.yaml");
    std::fs::write(current, "---\nx: 1\n").unwrap();
    place.mount("2", &Files::new());
    let mut source = place.source();
    assert_eq!(look(&mut source, S).await, Some(Err(Code::ConfigIncomplete)));
    assert!(source.standing.borrow().running.is_none());
}

#[tokio::test]
async fn a_set_of_an_earlier_agent_of_this_name_is_not_run_neither_mounted_nor_kept() {
    let place = Place::new();
    place.mount("1", &set(&[device("a", "h")], |_| ()));
    let mut source = place.source();
    assert_eq!(look(&mut source, S).await, Some(Ok(1)));
    kept(&mut source).await;
    let again = Pod { uid: "u2".into(), ..pod() };
    let mut source = Source::new(again, place.config.path(), place.state.path());
    assert_eq!(look(&mut source, S).await, Some(Err(Code::ConfigIncomplete)));
    assert!(source.standing.borrow().trouble.clone().unwrap().message.contains("u1"));
    assert!(source.standing.borrow().running.is_none());
}

#[tokio::test]
async fn a_form_of_a_newer_operator_is_named_as_such() {
    let place = Place::new();
    let mut files = set(&[device("a", "h")], |_| ());
    files.insert("manifest.json".into(), br#"{"configVersion":2}"#.to_vec());
    place.mount("1", &files);
    assert_eq!(look(&mut place.source(), S).await, Some(Err(Code::ConfigTooNew)));
}

fn narrowed(files: &Files) -> (Verdict, Arc<Manifest>) {
    let accepted = accept(files, &pod(), Origin::Mount).unwrap_or_else(|e| panic!("{e}"));
    let mut verdict = Book::default().turn(&accepted.files);
    narrow(&mut verdict, &accepted.running.manifest);
    (verdict, accepted.running.manifest)
}

#[test]
fn only_devices_that_this_agent_owns_are_run_each_under_its_epoch() {
    let foreign = Document { namespace: "other".into(), ..device("c", "h") };
    let documents = [device("a", "h"), device("b", "h"), foreign, pipeline("p")];
    let files = set(&documents, |facts| facts.assignments.retain(|a| a.device != "b"));
    let (Verdict { desired, problems, .. }, _) = narrowed(&files);
    let names: Vec<_> = desired.devices.iter().map(|d| d.key.to_string()).collect();
    assert_eq!((names, desired.pipelines.len()), (vec!["plant/a".to_owned()], 1));
    assert_eq!(desired.epochs, [(ObjectKey::new("plant", "a"), 7)].into());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].object.as_deref(), Some("DeviceConnection plant/b"));
}

#[test]
fn an_agent_that_is_to_end_keeps_its_pipelines_and_no_device() {
    let files = set(&[device("a", "h"), pipeline("p")], |facts| facts.draining = true);
    let (Verdict { desired, problems, .. }, manifest) = narrowed(&files);
    assert_eq!((desired.devices.len(), desired.pipelines.len()), (0, 1));
    assert!(problems.is_empty(), "{problems:?}");
    let running = Running { manifest, origin: Origin::Mount };
    assert!(Standing { running: Some(running), trouble: None }.draining());
}

#[test]
fn what_is_taken_away_drains_for_as_long_as_the_pool_allows_and_never_longer_than_a_day() {
    for (said, meant) in [(600, 600), (0, 0), (-5, 0), (i64::MAX, 86_400)] {
        let files = set(&[pipeline("p")], |facts| facts.drain_timeout_seconds = said);
        let (_, manifest) = narrowed(&files);
        let running = Running { manifest, origin: Origin::Mount };
        assert_eq!(running.drain_timeout(), Duration::from_secs(meant), "{said}");
    }
}

#[test]
fn a_pipeline_that_names_devices_of_other_agents_is_no_problem_here() {
    let mut elsewhere = pipeline("p");
    elsewhere.spec["sources"] = json!([{"name": "s", "devices": {"names": ["far"]}}]);
    let (Verdict { problems, .. }, _) = narrowed(&set(&[elsewhere], |_| ()));
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn a_shard_is_cut_before_documents_and_nothing_of_it_is_lost() {
    let text = "---\na: 1\n---\nb: 2\n---\nlong: xxxxxxxxxxxxxxxxxxxxxx\n---\nc: 3\n";
    for most in [1, 9, 12, 18, 20, 30, 1000] {
        let pieces = pieces(text, most);
        assert_eq!(pieces.concat(), text, "{most}");
        assert!(pieces.iter().all(|p| p.starts_with("---\n")), "{most}: {pieces:?}");
        for piece in &pieces {
            assert!(piece.len() <= most || piece.matches("---\n").count() == 1, "{most}: {piece}");
        }
    }
    assert_eq!(pieces(text, 18).len(), 3);
    assert_eq!(pieces("", 5), [""]);
}
