//! A world with a store, caches that lag behind it, an operator that is interrupted, agents that
//! apply and report late, and people and nodes that do what they like. After every single step
//! no device has two readers.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Taint;
use proptest::prelude::*;
use serde_json::json;

use super::super::fit::carries;
use super::super::*;
use super::cases::{device, labels, node, pool};

/// Few of each, so that they meet often.
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const DEVICES: [&str; 2] = ["a", "b"];

/// What an agent is told to run: device, uid and epoch of each document, and a hash over
/// everything that its manifest says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Config {
    hash: String,
    documents: BTreeMap<String, (String, i64)>,
}

/// An Agent and everything that belongs to it.
#[derive(Clone, Debug, Default)]
struct AgentWorld {
    version: u64,
    facts: AgentFacts,
    /// In the ConfigMaps.
    shipped: Option<Config>,
    /// What the process runs.
    applied: Option<Config>,
}

/// An interrupted operator step.
#[derive(Clone, Debug)]
enum Pending {
    Create(String, DesiredAgent),
    Update(String, u64, DesiredAgent),
    Delete(String),
    Ship(String, Config),
}

#[derive(Clone, Debug, Default)]
struct World {
    devices: BTreeMap<String, DeviceFacts>,
    nodes: BTreeMap<String, NodeFacts>,
    agents: BTreeMap<String, AgentWorld>,
    /// What the operator's caches show.
    seen: View,
    seen_versions: BTreeMap<String, u64>,
    pending: Vec<Pending>,
    counter: u64,
    /// Who ever read a device under which epoch: (device uid, epoch) -> incarnation of an agent.
    owners: BTreeMap<(String, i64), String>,
    /// What was ever seen to fit: device uid, node, mark of the wish.
    fitted: BTreeSet<(String, String, String)>,
}

#[derive(Clone, Debug)]
enum Step {
    Want { device: usize, line: usize, valid: bool },
    Forget { device: usize },
    NodeComes { node: usize, line: usize, ready: bool },
    NodeGoes { node: usize },
    NodeOff { node: usize },
    KillAgent { agent: usize },
    SeeDevices,
    SeeNodes,
    SeeAgents,
    Decide,
    Render { agent: usize },
    Write,
    Crash,
    WriteStatus { device: usize },
    Apply { agent: usize },
    Report { agent: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (d, n, a) = (0..DEVICES.len(), 0..NODES.len(), 0..3_usize);
    prop_oneof![
        4 => (d.clone(), 0..3_usize, prop::bool::weighted(0.9))
            .prop_map(|(device, line, valid)| Step::Want { device, line, valid }),
        1 => d.clone().prop_map(|device| Step::Forget { device }),
        3 => (n.clone(), 1..3_usize, prop::bool::weighted(0.9))
            .prop_map(|(node, line, ready)| Step::NodeComes { node, line, ready }),
        1 => n.clone().prop_map(|node| Step::NodeGoes { node }),
        1 => n.prop_map(|node| Step::NodeOff { node }),
        1 => a.clone().prop_map(|agent| Step::KillAgent { agent }),
        6 => Just(Step::SeeDevices),
        3 => Just(Step::SeeNodes),
        8 => Just(Step::SeeAgents),
        9 => Just(Step::Decide),
        9 => a.clone().prop_map(|agent| Step::Render { agent }),
        16 => Just(Step::Write),
        1 => Just(Step::Crash),
        5 => d.prop_map(|device| Step::WriteStatus { device }),
        9 => a.clone().prop_map(|agent| Step::Apply { agent }),
        9 => a.prop_map(|agent| Step::Report { agent }),
    ]
}

impl World {
    fn new() -> Self {
        let pools = BTreeMap::from([("default".to_owned(), pool("default", json!({})))]);
        Self { seen: View { pools, ..View::default() }, ..Self::default() }
    }

    fn tick(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn nth_agent(&self, index: usize) -> Option<String> {
        self.agents.keys().nth(index).cloned()
    }

    fn lives(&self, agent: &AgentWorld) -> bool {
        self.nodes.get(&agent.facts.node).is_some_and(|n| !n.out_of_service())
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Want { device: index, line, valid } => {
                let name = DEVICES[*index];
                let line = line.to_string();
                let selector: &[(&str, &str)] =
                    if line == "0" { &[] } else { &[("line", line.as_str())] };
                let uid = format!("u{}", self.tick());
                let fresh = DeviceFacts { uid, ..device(selector, 1 + *index as u64) };
                let facts = self.devices.entry(name.to_owned()).or_insert(fresh.clone());
                (facts.wish, facts.valid) = (fresh.wish, *valid);
            }
            Step::Forget { device } => {
                self.devices.remove(DEVICES[*device]);
            }
            Step::NodeComes { node: index, line, ready } => {
                let facts = node(&[("line", &line.to_string())]);
                let facts = NodeFacts { ready: *ready, ..facts };
                self.nodes.insert(NODES[*index].to_owned(), facts);
            }
            Step::NodeGoes { node } => {
                self.nodes.remove(NODES[*node]);
                self.node_is_off(NODES[*node]);
            }
            Step::NodeOff { node } => {
                let taint = Taint {
                    key: "node.kubernetes.io/out-of-service".into(),
                    effect: "NoExecute".into(),
                    ..Taint::default()
                };
                if let Some(facts) = self.nodes.get_mut(NODES[*node]) {
                    facts.taints = vec![taint];
                    self.node_is_off(NODES[*node]);
                }
            }
            Step::KillAgent { agent } => {
                let Some(name) = self.nth_agent(*agent) else { return };
                let version = self.tick();
                if let Some(agent) = self.agents.get_mut(&name) {
                    (agent.facts.deleting, agent.version) = (true, version);
                }
            }
            Step::SeeDevices => self.seen.devices = self.devices.clone(),
            Step::SeeNodes => self.seen.nodes = self.nodes.clone(),
            Step::SeeAgents => {
                self.seen.agents =
                    self.agents.iter().map(|(n, a)| (n.clone(), a.facts.clone())).collect();
                self.seen_versions =
                    self.agents.iter().map(|(n, a)| (n.clone(), a.version)).collect();
            }
            Step::Decide => self.decide(),
            Step::Render { agent } => {
                if let Some(name) = self.nth_agent(*agent) {
                    self.render(&name);
                }
            }
            Step::Write => {
                if !self.pending.is_empty() {
                    let pending = self.pending.remove(0);
                    self.write(pending);
                }
            }
            // A new process: what was about to be written is forgotten, caches are fresh.
            Step::Crash => {
                self.pending.clear();
                for step in [Step::SeeNodes, Step::SeeDevices, Step::SeeAgents] {
                    self.step(&step);
                }
            }
            Step::WriteStatus { device } => self.write_status(DEVICES[*device]),
            Step::Apply { agent } => self.apply(*agent),
            Step::Report { agent } => self.report(*agent),
        }
    }

    /// Processes on the node end; what they knew stays on disk, as far as a new one may read it.
    fn node_is_off(&mut self, node: &str) {
        for agent in self.agents.values_mut().filter(|a| a.facts.node == node) {
            agent.applied = None;
        }
    }

    fn decide(&mut self) {
        // One run of a key at a time.
        let busy = |p: &Pending| !matches!(p, Pending::Ship(..));
        if self.pending.iter().any(busy) {
            return;
        }
        self.remember_what_fits();
        let placement = decide(&self.seen);
        for (name, desired) in placement.agents {
            let seen = self.seen.agents.get(&name);
            let version = self.seen_versions.get(&name).copied().unwrap_or(0);
            match desired.fate {
                Fate::Create => self.pending.push(Pending::Create(name, desired)),
                Fate::Empty | Fate::NodeGone => self.pending.push(Pending::Delete(name)),
                Fate::Deleting if seen.is_some_and(|s| s.drained) => {
                    self.pending.push(Pending::Delete(name));
                }
                Fate::Keep | Fate::Deleting => {
                    if seen.is_some_and(|s| s.assignments != desired.assignments) {
                        self.pending.push(Pending::Update(name, version, desired));
                    }
                }
            }
        }
    }

    fn remember_what_fits(&mut self) {
        for device in self.seen.devices.values() {
            let Some(wish) = &device.wish else { continue };
            let fits = |n: &&String| carries(&self.seen.nodes[*n].labels, &wish.node_selector);
            for node in self.seen.nodes.keys().filter(fits) {
                self.fitted.insert((device.uid.clone(), node.clone(), mark(wish)));
            }
        }
    }

    fn render(&mut self, name: &str) {
        if self.pending.iter().any(|p| matches!(p, Pending::Ship(n, _) if n == name)) {
            return;
        }
        let Some(seen) = self.seen.agents.get(name) else { return };
        let placement = decide(&self.seen);
        let active = placement.active(name);
        let documents: BTreeMap<String, (String, i64)> = seen
            .assignments
            .iter()
            .filter(|a| active.contains(a.device.as_str()) && !seen.deleting)
            .map(|a| (a.device.clone(), (a.uid.clone(), a.epoch)))
            .collect();
        let hash = format!("{documents:?} {:?} {}", seen.assignments, seen.deleting);
        let config = Config { hash: hash.clone(), documents };
        let version = self.seen_versions.get(name).copied();
        let next = self.tick();
        let Some(agent) = self.agents.get_mut(name).filter(|a| Some(a.version) == version) else {
            return;
        };
        if agent.facts.wanted_hash.as_ref() != Some(&hash) {
            (agent.facts.wanted_hash, agent.version) = (Some(hash), next);
        }
        if agent.shipped.as_ref() != Some(&config) {
            self.pending.push(Pending::Ship(name.to_owned(), config));
        }
        self.learn(name);
    }

    /// The answer to a write goes into the cache at once: the next decision knows it.
    fn learn(&mut self, name: &str) {
        match self.agents.get(name) {
            Some(agent) => {
                self.seen.agents.insert(name.to_owned(), agent.facts.clone());
                self.seen_versions.insert(name.to_owned(), agent.version);
            }
            None => {
                self.seen.agents.remove(name);
                self.seen_versions.remove(name);
            }
        }
    }

    fn write(&mut self, pending: Pending) {
        let name = match &pending {
            Pending::Create(name, _)
            | Pending::Update(name, ..)
            | Pending::Delete(name)
            | Pending::Ship(name, _) => name.clone(),
        };
        self.send(pending);
        self.learn(&name);
    }

    fn send(&mut self, pending: Pending) {
        let version = self.tick();
        match pending {
            Pending::Create(name, desired) => {
                let facts = AgentFacts {
                    pool: desired.pool,
                    node: desired.node,
                    assignments: desired.assignments,
                    ..AgentFacts::default()
                };
                let fresh = AgentWorld { version, facts, ..AgentWorld::default() };
                self.agents.entry(name).or_insert(fresh);
            }
            Pending::Update(name, seen, desired) => {
                if let Some(agent) = self.agents.get_mut(&name).filter(|a| a.version == seen) {
                    agent.facts.assignments = desired.assignments;
                    agent.version = version;
                }
            }
            Pending::Delete(name) => {
                let Some(agent) = self.agents.get(&name) else { return };
                // The finalizer: released at once when the node is gone, else when drained.
                if !self.lives(agent) || agent.facts.drained {
                    self.agents.remove(&name);
                } else if let Some(agent) = self.agents.get_mut(&name) {
                    (agent.facts.deleting, agent.version) = (true, version);
                }
            }
            Pending::Ship(name, config) => {
                if let Some(agent) = self.agents.get_mut(&name) {
                    agent.shipped = Some(config);
                }
            }
        }
    }

    fn write_status(&mut self, name: &str) {
        let placement = decide(&self.seen);
        let Some(seen) = self.seen.devices.get(name) else { return };
        let Some(device) = self.devices.get_mut(name).filter(|d| d.uid == seen.uid) else {
            return;
        };
        if let Some(Outcome::Assigned { node, epoch, .. } | Outcome::Moving { node, epoch, .. }) =
            placement.devices.get(name)
        {
            (device.last_node, device.last_epoch) = (Some(node.clone()), *epoch);
        }
    }

    fn apply(&mut self, index: usize) {
        let Some(name) = self.nth_agent(index) else { return };
        let agent = &self.agents[&name];
        if !self.lives(agent) || agent.shipped.is_none() {
            return;
        }
        let shipped = agent.shipped.clone();
        if let Some(agent) = self.agents.get_mut(&name) {
            agent.applied = shipped;
        }
    }

    fn report(&mut self, index: usize) {
        let Some(name) = self.nth_agent(index) else { return };
        if !self.lives(&self.agents[&name]) {
            return;
        }
        let version = self.tick();
        let Some(agent) = self.agents.get_mut(&name) else { return };
        let Some(applied) = &agent.applied else { return };
        agent.facts.running_hash = Some(applied.hash.clone());
        agent.facts.running = applied.documents.iter().map(|(d, (_, e))| (d.clone(), *e)).collect();
        agent.facts.drained = applied.hash.ends_with("true");
        agent.version = version;
    }

    fn check(&mut self) {
        let mut readers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, agent) in &self.agents {
            if !self.lives(agent) {
                continue;
            }
            let documents = agent.applied.iter().flat_map(|c| &c.documents);
            for (device, (uid, epoch)) in documents {
                readers.entry(device).or_default().push(name);
                let owner = self.owners.entry((uid.clone(), *epoch)).or_insert(name.clone());
                assert_eq!(owner, name, "epoch {epoch} of {device} was given out twice");
            }
        }
        for (device, readers) in readers {
            assert!(readers.len() < 2, "{device} is read by {readers:?}");
        }
    }

    /// Everything that is due happens, and nothing else.
    fn calm_down(&mut self) {
        for _ in 0..40 {
            for step in [Step::SeeDevices, Step::SeeNodes, Step::SeeAgents, Step::Decide] {
                self.step(&step);
            }
            while !self.pending.is_empty() {
                self.step(&Step::Write);
                self.check();
            }
            self.step(&Step::SeeAgents);
            for device in 0..DEVICES.len() {
                self.step(&Step::WriteStatus { device });
            }
            for agent in 0..self.agents.len() {
                self.step(&Step::Render { agent });
                self.step(&Step::Write);
                self.check();
                self.step(&Step::Apply { agent });
                self.check();
                self.step(&Step::Report { agent });
            }
        }
    }
}

/// The mark of a wish for the pool of this world.
fn mark(wish: &Wish) -> String {
    let pool = pool(&wish.pool, json!({}));
    wish.mark(pool.usable().expect("a usable pool"))
}

fn assert_settled(world: &World) {
    let placement = decide(&world.seen);
    for (name, facts) in &world.devices {
        match placement.devices.get(name) {
            Some(Outcome::Assigned { agent, node, epoch }) => {
                let agent = &world.agents[agent];
                let applied = agent.applied.as_ref().expect("a configuration");
                assert_eq!(applied.documents.get(name), Some(&(facts.uid.clone(), *epoch)));
                assert_eq!(agent.facts.node, *node);
                // It is where what is asked for now was found once, if not any more.
                let mark = mark(facts.wish.as_ref().expect("a wish"));
                let record = agent.facts.assignments.iter().find(|a| a.device == *name);
                assert_eq!(record.and_then(|r| r.wish.as_ref()), Some(&mark));
                let fitted = (facts.uid.clone(), node.clone(), mark);
                assert!(world.fitted.contains(&fitted), "{name} never fitted {node}");
            }
            Some(Outcome::Unplaced(Unplaced::NoNode(search))) => {
                let fits = |n: &&NodeFacts| {
                    n.ready && !n.out_of_service() && carries(&n.labels, &search.selector)
                };
                assert_eq!(world.nodes.values().filter(fits).count(), 0, "{name}: {search:?}");
            }
            Some(Outcome::Unplaced(Unplaced::Refused)) => assert!(!facts.valid),
            other => panic!("{name}: {other:?} in {world:?}"),
        }
    }
    let recorded: BTreeSet<&str> = world
        .agents
        .values()
        .flat_map(|a| &a.facts.assignments)
        .map(|a| a.device.as_str())
        .collect();
    assert!(recorded.iter().all(|d| world.devices.contains_key(*d)), "{recorded:?}");
    assert!(world.agents.values().all(|a| !a.facts.assignments.is_empty()), "{world:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_device_ever_has_two_readers_and_calm_brings_each_to_its_place(
        steps in prop::collection::vec(step(), 1..400)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.calm_down();
        assert_settled(&world);
    }

    #[test]
    fn what_becomes_of_living_nodes_moves_nobody(
        wishes in prop::collection::vec(0..3_usize, DEVICES.len()),
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut world = World::new();
        for (node, line) in [1, 2, 1].into_iter().enumerate() {
            world.step(&Step::NodeComes { node, line, ready: true });
        }
        for (device, line) in wishes.into_iter().enumerate() {
            world.step(&Step::Want { device, line, valid: true });
        }
        world.calm_down();
        let before = decide(&world.seen).devices;
        for step in &steps {
            let done_by_people = matches!(
                step,
                Step::Want { .. }
                    | Step::Forget { .. }
                    | Step::NodeGoes { .. }
                    | Step::NodeOff { .. }
                    | Step::KillAgent { .. }
            );
            if !done_by_people {
                world.step(step);
                world.check();
                prop_assert_eq!(&decide(&world.seen).devices, &before);
            }
        }
    }

    #[test]
    fn one_more_device_moves_nobody(count in 0..12_usize, heavy in 1..100_u64, extra in 0..3_usize) {
        let mut world = World::new();
        for (i, name) in NODES.iter().enumerate() {
            world.nodes.insert((*name).to_owned(), node(&[("line", &i.to_string())]));
        }
        for i in 0..count {
            let facts = DeviceFacts { uid: format!("u{i}"), ..device(&[], 1 + (i as u64 * 7) % 5) };
            world.devices.insert(format!("d{i}"), facts);
        }
        world.calm_down();
        let before = decide(&world.seen);
        let mut one = device(&[], heavy);
        if let Some(wish) = &mut one.wish {
            wish.node_selector = labels(&[("line", &extra.to_string())]);
        }
        world.seen.devices.insert("extra".into(), one);
        let after = decide(&world.seen);
        for (name, outcome) in &before.devices {
            prop_assert_eq!(after.devices.get(name), Some(outcome));
        }
        prop_assert_eq!(after.devices.len(), count + 1);
    }
}
