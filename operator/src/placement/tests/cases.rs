//! Single cases, said in a line each.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Taint;
use lineside_crds::api::agent::AssignmentSpec;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::ObjectKey;
use lineside_crds::validate::{Meta, judge_agent_pool};
use serde_json::{Value, json};

use super::super::*;
use crate::names;
use crate::pools::{DefaultPool, PoolState, resolve};

pub(super) fn pool(name: &str, spec: Value) -> PoolState {
    let meta = Meta::new(ObjectKey::new("ns", name));
    let pool = judge_agent_pool(&meta, &spec).object.expect("a valid pool");
    let default = DefaultPool { pool: pool.clone(), image: "i".into(), image_pull_policy: None };
    resolve(name, Some(Some(&pool)), &default)
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub(super) fn device(selector: &[(&str, &str)], milli_requests: u64) -> DeviceFacts {
    DeviceFacts {
        uid: "u1".into(),
        wish: Some(Wish { pool: "default".into(), node_selector: labels(selector) }),
        valid: true,
        milli_requests,
        last_node: None,
        last_epoch: 0,
    }
}

pub(super) fn node(pairs: &[(&str, &str)]) -> NodeFacts {
    NodeFacts { labels: labels(pairs), ready: true, ..NodeFacts::default() }
}

fn view(devices: &[(&str, DeviceFacts)], nodes: &[(&str, NodeFacts)]) -> View {
    View {
        devices: devices.iter().map(|(n, d)| ((*n).to_owned(), d.clone())).collect(),
        pools: BTreeMap::from([("default".to_owned(), pool("default", json!({})))]),
        nodes: nodes.iter().map(|(n, d)| ((*n).to_owned(), d.clone())).collect(),
        agents: BTreeMap::new(),
    }
}

/// Does what a placement says, and lets every agent acknowledge at once.
fn obey(view: &mut View, placement: &Placement) {
    for (name, desired) in &placement.agents {
        if matches!(desired.fate, Fate::Empty | Fate::NodeGone) {
            view.agents.remove(name);
            continue;
        }
        let active = placement.active(name);
        let facts = view.agents.entry(name.clone()).or_default();
        facts.pool.clone_from(&desired.pool);
        facts.node.clone_from(&desired.node);
        facts.assignments.clone_from(&desired.assignments);
        let hash = format!("{active:?} {:?}", desired.assignments);
        (facts.wanted_hash, facts.running_hash) = (Some(hash.clone()), Some(hash));
        let running = desired.assignments.iter().filter(|a| active.contains(a.device.as_str()));
        facts.running = running.map(|a| (a.device.clone(), a.epoch)).collect();
    }
    for (name, outcome) in &placement.devices {
        if let Outcome::Assigned { node, epoch, .. } | Outcome::Moving { node, epoch, .. } = outcome
            && let Some(device) = view.devices.get_mut(name)
        {
            (device.last_node, device.last_epoch) = (Some(node.clone()), *epoch);
        }
    }
}

fn settle(view: &mut View) -> Placement {
    for _ in 0..10 {
        let placement = decide(view);
        let before = view.clone();
        obey(view, &placement);
        if *view == before {
            return placement;
        }
    }
    panic!("it does not settle: {view:?}");
}

fn place_of<'a>(placement: &'a Placement, device: &str) -> (&'a str, i64) {
    match placement.devices.get(device) {
        Some(Outcome::Assigned { node, epoch, .. }) => (node, *epoch),
        other => panic!("{device}: {other:?}"),
    }
}

fn why(placement: &Placement, device: &str) -> (Code, String) {
    match placement.devices.get(device) {
        Some(Outcome::Unplaced(why)) => (why.code(), why.to_string()),
        other => panic!("{device}: {other:?}"),
    }
}

#[test]
fn new_devices_go_to_the_least_loaded_node_heaviest_first() {
    let nodes = [("n1", node(&[])), ("n2", node(&[]))];
    let devices = [("a", device(&[], 10)), ("b", device(&[], 10)), ("c", device(&[], 20))];
    let placement = settle(&mut view(&devices, &nodes));
    assert_eq!(place_of(&placement, "c"), ("n1", 1));
    assert_eq!(place_of(&placement, "a"), ("n2", 1));
    assert_eq!(place_of(&placement, "b"), ("n2", 1));
    let agent = placement.agents.get(&names::agent("default", "n2")).expect("an agent");
    let names: Vec<_> = agent.assignments.iter().map(|a| a.device.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_device_stays_when_its_node_is_not_ready_cordoned_or_tainted() {
    let nodes = [("n1", node(&[])), ("n2", node(&[]))];
    let mut view = view(&[("a", device(&[], 1))], &nodes);
    settle(&mut view);
    let n1 = view.nodes.get_mut("n1").expect("n1");
    (n1.ready, n1.cordoned) = (false, true);
    n1.taints = vec![Taint { key: "x".into(), effect: "NoExecute".into(), ..Taint::default() }];
    assert_eq!(place_of(&decide(&view), "a"), ("n1", 1));
}

/// `a` asks for line 1 and is on `n1`; `n2` is of line 1 as well, `n3` of line 2.
fn on_line_1() -> View {
    let nodes = [
        ("n1", node(&[("line", "1")])),
        ("n2", node(&[("line", "1")])),
        ("n3", node(&[("line", "2")])),
    ];
    let mut view = view(&[("a", device(&[("line", "1")], 1))], &nodes);
    assert_eq!(place_of(&settle(&mut view), "a"), ("n1", 1));
    view
}

fn wish_of<'a>(view: &'a mut View, device: &str) -> &'a mut Wish {
    view.devices.get_mut(device).and_then(|d| d.wish.as_mut()).expect("a wish")
}

#[test]
fn a_node_that_loses_the_labels_asked_for_keeps_its_devices_until_their_placement_is_edited() {
    let mut view = on_line_1();
    view.nodes.insert("n1".into(), node(&[]));
    assert_eq!(place_of(&settle(&mut view), "a"), ("n1", 1));
    // Not what the node carries, and not what it was placed under.
    wish_of(&mut view, "a").node_selector = labels(&[("line", "2")]);
    assert_eq!(place_of(&settle(&mut view), "a"), ("n3", 2));
}

#[test]
fn an_edit_that_the_node_fits_moves_nothing_and_is_what_is_kept_to_from_then_on() {
    let mut view = on_line_1();
    wish_of(&mut view, "a").node_selector = BTreeMap::new();
    assert_eq!(place_of(&settle(&mut view), "a"), ("n1", 1));
    view.nodes.insert("n1".into(), node(&[]));
    wish_of(&mut view, "a").node_selector = labels(&[("line", "1")]);
    assert_eq!(place_of(&settle(&mut view), "a"), ("n2", 2), "an edit, back to what was before");
}

#[test]
fn the_nodes_of_a_pool_count_as_asked_for_by_its_devices() {
    let mut view = on_line_1();
    wish_of(&mut view, "a").node_selector = BTreeMap::new();
    view.pools.insert("default".into(), pool("default", json!({"nodeSelector": {"line": "1"}})));
    assert_eq!(place_of(&settle(&mut view), "a"), ("n1", 1));
    view.nodes.insert("n1".into(), node(&[]));
    assert_eq!(place_of(&settle(&mut view), "a"), ("n1", 1), "a label that is lost");
    view.pools.insert("default".into(), pool("default", json!({"nodeSelector": {"line": "2"}})));
    assert_eq!(place_of(&settle(&mut view), "a"), ("n3", 2), "an edit of the pool");
}

#[test]
fn a_record_without_a_wish_is_kept_to_what_fits_and_gets_one() {
    let mut view = on_line_1();
    let name = names::agent("default", "n1");
    let forget = |view: &mut View| {
        let agent = view.agents.get_mut(&name).expect("an agent");
        agent.assignments.iter_mut().for_each(|a| a.wish = None);
    };
    forget(&mut view);
    assert!(settle(&mut view).agents[&name].assignments[0].wish.is_some());
    forget(&mut view);
    view.nodes.insert("n1".into(), node(&[]));
    assert_eq!(place_of(&settle(&mut view), "a"), ("n2", 2));
}

#[test]
fn a_device_that_is_made_again_is_not_kept_to_the_wish_of_the_former() {
    let mut view = on_line_1();
    view.nodes.insert("n1".into(), node(&[]));
    view.devices.get_mut("a").expect("a").uid = "u2".into();
    assert_eq!(place_of(&settle(&mut view), "a").0, "n2");
}

#[test]
fn an_edited_placement_moves_the_device_once_the_old_agent_has_let_go() {
    let nodes = [("n1", node(&[("line", "1")])), ("n2", node(&[("line", "2")]))];
    let mut view = view(&[("a", device(&[("line", "1")], 1))], &nodes);
    settle(&mut view);
    let device = view.devices.get_mut("a").expect("a");
    device.wish.as_mut().expect("a wish").node_selector = labels(&[("line", "2")]);
    let (from, to) = (names::agent("default", "n1"), names::agent("default", "n2"));

    let leaving = decide(&view);
    let moving = Outcome::Moving { agent: from.clone(), node: "n1".into(), epoch: 1 };
    assert_eq!(leaving.devices.get("a"), Some(&moving));
    assert!(leaving.active(&from).is_empty(), "its document is no longer shipped");
    assert_eq!(leaving.agents[&from].assignments.len(), 1, "but it may still be read there");
    assert!(!leaving.agents.contains_key(&to));

    // Told, and not yet acknowledged: nothing changes.
    view.agents.get_mut(&from).expect("from").wanted_hash = Some("without".into());
    assert_eq!(decide(&view), leaving);

    let placement = settle(&mut view);
    assert_eq!(place_of(&placement, "a"), ("n2", 2));
    assert!(!view.agents.contains_key(&from), "nothing is left on the old one");
}

#[test]
fn an_acknowledged_hash_is_no_release_while_the_device_is_still_reported() {
    let nodes = [("n1", node(&[("line", "1")])), ("n2", node(&[("line", "2")]))];
    let mut view = view(&[("a", device(&[("line", "1")], 1))], &nodes);
    settle(&mut view);
    let wish = Wish { pool: "default".into(), node_selector: labels(&[("line", "2")]) };
    view.devices.get_mut("a").expect("a").wish = Some(wish);
    // Hashes agree, because the new one is not written yet.
    assert!(matches!(decide(&view).devices.get("a"), Some(Outcome::Moving { .. })));
    assert_eq!(decide(&view).agents[&names::agent("default", "n1")].assignments.len(), 1);
}

#[test]
fn a_node_that_is_gone_or_out_of_service_is_not_asked() {
    let gone = |view: &mut View| {
        view.nodes.remove("n1");
    };
    let off = |view: &mut View| {
        let taint = Taint {
            key: "node.kubernetes.io/out-of-service".into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        };
        view.nodes.get_mut("n1").expect("n1").taints.push(taint);
    };
    for happens in [&gone as &dyn Fn(&mut View), &off] {
        let mut view = view(&[("a", device(&[], 1))], &[("n1", node(&[])), ("n2", node(&[]))]);
        settle(&mut view);
        let old = names::agent("default", "n1");
        // It will never acknowledge this.
        view.agents.get_mut(&old).expect("old").wanted_hash = Some("never".into());
        happens(&mut view);
        assert_eq!(decide(&view).agents[&old].fate, Fate::NodeGone);
        assert_eq!(place_of(&settle(&mut view), "a"), ("n2", 2));
    }
}

#[test]
fn an_agent_that_never_ran_lets_go_at_once() {
    let nodes = [("n1", node(&[("line", "1")])), ("n2", node(&[("line", "2")]))];
    let mut view = view(&[("a", device(&[("line", "1")], 1))], &nodes);
    let placement = decide(&view);
    obey(&mut view, &placement);
    let agent = view.agents.get_mut(&names::agent("default", "n1")).expect("an agent");
    (agent.running_hash, agent.running) = (None, BTreeMap::new());
    agent.halted = Some(BTreeSet::from(["a".to_owned()]));
    let wish = Wish { pool: "default".into(), node_selector: labels(&[("line", "2")]) };
    view.devices.get_mut("a").expect("a").wish = Some(wish);
    let agents = decide(&view).agents;
    let assignments =
        |a: &BTreeMap<String, DesiredAgent>| a[&names::agent("default", "n1")].assignments.len();
    assert_eq!(assignments(&agents), 1, "a process that starts now would read it");
    let agent = view.agents.get_mut(&names::agent("default", "n1")).expect("an agent");
    agent.halted = Some(BTreeSet::new());
    assert_eq!(assignments(&decide(&view).agents), 0);
}

#[test]
fn a_device_returns_to_its_node_when_its_agent_was_deleted_by_hand() {
    let nodes = [("n1", node(&[])), ("n2", node(&[])), ("n3", node(&[]))];
    let mut view = view(&[("a", device(&[], 1)), ("b", device(&[], 1))], &nodes);
    settle(&mut view);
    let name = names::agent("default", "n2");
    let agent = view.agents.get_mut(&name).expect("the agent of b");
    agent.deleting = true;
    assert!(matches!(decide(&view).devices.get("b"), Some(Outcome::Moving { .. })));
    // It has let go, and still delivers.
    let agent = view.agents.get_mut(&name).expect("the agent of b");
    (agent.running, agent.assignments) = (BTreeMap::new(), Vec::new());
    let (code, text) = why(&decide(&view), "b");
    assert_eq!(code, Code::AgentDraining);
    assert!(text.contains("n2"), "{text}");
    view.agents.remove(&name);
    assert_eq!(place_of(&settle(&mut view), "b"), ("n2", 2));
}

#[test]
fn a_deleted_device_is_recorded_until_its_agent_has_let_go() {
    let mut view = view(&[("a", device(&[], 1)), ("b", device(&[], 1))], &[("n1", node(&[]))]);
    settle(&mut view);
    view.devices.remove("a");
    let agent = names::agent("default", "n1");
    let placement = decide(&view);
    assert_eq!(placement.agents[&agent].assignments.len(), 2);
    assert_eq!(placement.active(&agent), BTreeSet::from(["b"]));
    assert_eq!(settle(&mut view).agents[&agent].assignments.len(), 1);
}

#[test]
fn a_device_that_is_made_again_is_another_one_on_the_same_node() {
    let mut view = view(&[("a", device(&[], 1))], &[("n1", node(&[])), ("n2", node(&[]))]);
    settle(&mut view);
    let mut again = device(&[], 1);
    again.uid = "u2".into();
    view.devices.insert("a".into(), again);
    let placement = settle(&mut view);
    assert_eq!(place_of(&placement, "a"), ("n1", 2));
    let assigned = &placement.agents[&names::agent("default", "n1")].assignments;
    let [AssignmentSpec { uid, epoch, .. }] = assigned.as_slice() else { panic!("{assigned:?}") };
    assert_eq!((uid.as_str(), *epoch), ("u2", 2));
}

#[test]
fn a_refused_edit_moves_nothing_and_a_refused_new_device_is_not_placed() {
    let mut broken = device(&[], 1);
    broken.valid = false;
    let mut view = view(&[("a", device(&[], 1)), ("b", broken)], &[("n1", node(&[]))]);
    let placement = settle(&mut view);
    assert_eq!(why(&placement, "b").0, Code::ConfigRejected);
    let a = view.devices.get_mut("a").expect("a");
    (a.valid, a.wish) = (false, None);
    assert_eq!(place_of(&decide(&view), "a"), ("n1", 1));
    // A pool that is refused moves nobody either; one that is gone does.
    view.pools.insert("default".into(), PoolState::Invalid);
    assert_eq!(place_of(&decide(&view), "a"), ("n1", 1));
    view.pools.clear();
    assert!(matches!(decide(&view).devices.get("a"), Some(Outcome::Moving { .. })));
}

#[test]
fn a_device_that_fits_nowhere_is_told_what_was_looked_for_and_what_was_found() {
    let mut slow = node(&[("line", "1")]);
    slow.ready = false;
    let mut closed = node(&[("line", "1")]);
    closed.cordoned = true;
    let nodes = [("n1", slow), ("n2", closed), ("n3", node(&[]))];
    let devices = [("a", device(&[("line", "9")], 1)), ("b", device(&[("line", "1")], 1))];
    let placement = settle(&mut view(&devices, &nodes));
    let (code, text) = why(&placement, "a");
    assert_eq!(
        (code, text.as_str()),
        (Code::NoFittingNode, "0 of 3 nodes carry line=9 (pool default)")
    );
    let (_, text) = why(&placement, "b");
    let expected = "2 of 3 nodes carry line=1 (pool default), of these 1 cordoned, 1 not ready";
    assert_eq!(text, expected);
}

#[test]
fn a_pool_that_is_not_there_and_a_taint_that_it_does_not_tolerate_are_named() {
    let mut lost = device(&[], 1);
    lost.wish = Some(Wish { pool: "other".into(), node_selector: BTreeMap::new() });
    let mut tainted = node(&[]);
    tainted.taints =
        vec![Taint { key: "x".into(), effect: "NoSchedule".into(), ..Taint::default() }];
    let mut view = view(&[("a", lost), ("b", device(&[], 1))], &[("n1", tainted)]);
    let placement = decide(&view);
    assert_eq!(why(&placement, "a").0, Code::AgentPoolNotFound);
    assert!(why(&placement, "b").1.contains("1 with a taint"), "{placement:?}");
    let tolerant = json!({"tolerations": [{"key": "x", "operator": "Exists"}]});
    view.pools.insert("default".into(), pool("default", tolerant));
    assert_eq!(place_of(&decide(&view), "b"), ("n1", 1));
}

#[test]
fn an_agent_takes_512_devices_and_not_one_more() {
    let devices: Vec<(String, DeviceFacts)> =
        (0..513).map(|i| (format!("d{i:03}"), device(&[], 1))).collect();
    let mut view = view(&[], &[("n1", node(&[]))]);
    view.devices.extend(devices);
    let placement = settle(&mut view);
    let (code, text) = why(&placement, "d512");
    assert_eq!(code, Code::CapacityExceeded);
    assert!(text.contains("512 devices"), "{text}");
    assert_eq!(placement.agents[&names::agent("default", "n1")].assignments.len(), DEVICES_MOST);
}

#[test]
fn a_record_stays_until_the_status_of_the_device_has_its_epoch() {
    let nodes = [("n1", node(&[("line", "1")])), ("n2", node(&[("line", "2")]))];
    let mut view = view(&[("a", device(&[("line", "1")], 1))], &nodes);
    settle(&mut view);
    let device = view.devices.get_mut("a").expect("a");
    device.wish.as_mut().expect("a wish").node_selector = labels(&[("line", "2")]);
    device.last_epoch = 0;
    let agent = view.agents.values_mut().next().expect("an agent");
    agent.running.clear();
    let recorded =
        |view: &View| decide(view).agents[&names::agent("default", "n1")].assignments.len();
    assert_eq!(recorded(&view), 1, "else epoch 1 would be given out again");
    view.devices.get_mut("a").expect("a").last_epoch = 1;
    assert_eq!(recorded(&view), 0);
}

#[test]
fn two_pools_on_one_node_share_its_load() {
    let mut other = device(&[], 30);
    other.wish = Some(Wish { pool: "other".into(), node_selector: BTreeMap::new() });
    let devices = [("a", other), ("b", device(&[], 20)), ("c", device(&[], 5))];
    let mut view = view(&devices, &[("n1", node(&[])), ("n2", node(&[]))]);
    view.pools.insert("other".into(), pool("other", json!({})));
    let placement = settle(&mut view);
    let nodes: Vec<_> = ["a", "b", "c"].map(|d| place_of(&placement, d).0).to_vec();
    assert_eq!(nodes, ["n1", "n2", "n2"]);
}
