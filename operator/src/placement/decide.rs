//! The decision itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use lineside_crds::api::agent::AssignmentSpec;

use super::candidates::{Candidates, Choice};
use super::fit::may_stay;
use super::{AgentFacts, DesiredAgent, DeviceFacts, Fate, Outcome, Placement, Unplaced, View};
use crate::pools::PoolState;

/// Decides where each device of a namespace is read. See the module for what it guarantees.
pub fn decide(view: &View) -> Placement {
    let claims = claims(view);
    let mut desk = Desk::new(view);
    let mut homeless = Vec::new();
    for (name, claims) in &claims {
        desk.settle(name, view.devices.get(*name), claims);
    }
    for (name, device) in &view.devices {
        if !claims.contains_key(name.as_str()) {
            homeless.push((name.as_str(), device));
        }
    }
    // The heaviest first: what is left over then evens out best.
    homeless.sort_by_key(|(name, device)| (Reverse(device.milli_requests), *name));
    for (name, device) in homeless {
        let outcome = desk.place(name, device).unwrap_or_else(Outcome::Unplaced);
        desk.placement.devices.insert(name.to_owned(), outcome);
    }
    desk.finish()
}

/// An agent that has something to do with a device: it has it in its record, or it reports it.
struct Claim<'a> {
    name: &'a str,
    agent: &'a AgentFacts,
    record: Option<&'a AssignmentSpec>,
    /// Nothing runs on its node any more.
    void: bool,
}

impl Claim<'_> {
    /// The ownership of `device`; 0 when it is not known.
    fn epoch(&self, device: &str) -> i64 {
        let reported = self.agent.running.get(device).copied();
        self.record.map(|r| r.epoch).or(reported).unwrap_or(0)
    }

    /// The mark of the wish that this very device was placed under here, if it is known.
    fn placed_under(&self, device: &DeviceFacts) -> Option<&str> {
        let record = self.record.filter(|record| record.uid == device.uid)?;
        record.wish.as_deref()
    }
}

/// Who has to do with each device.
fn claims(view: &View) -> BTreeMap<&str, Vec<Claim<'_>>> {
    let mut claims: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for (name, agent) in &view.agents {
        let void = is_void(view, agent);
        let recorded = agent.assignments.iter().map(|a| (a.device.as_str(), Some(a)));
        let mut devices: BTreeMap<&str, Option<&AssignmentSpec>> =
            agent.running.keys().map(|d| (d.as_str(), None)).collect();
        devices.extend(recorded);
        for (device, record) in devices {
            claims.entry(device).or_default().push(Claim { name, agent, record, void });
        }
    }
    claims
}

/// Whether nothing runs on the node of an agent any more.
fn is_void(view: &View, agent: &AgentFacts) -> bool {
    view.nodes.get(&agent.node).is_none_or(|node| node.out_of_service())
}

/// The epoch after every one that was ever seen.
fn next_epoch(name: &str, device: &DeviceFacts, claims: &[Claim<'_>]) -> i64 {
    let recorded = claims.iter().filter_map(|c| c.record).map(|record| record.epoch);
    let reported = claims.iter().filter_map(|c| c.agent.running.get(name).copied());
    let seen = recorded.chain(reported).max().unwrap_or(0);
    seen.max(device.last_epoch).saturating_add(1)
}

/// The record of the latest owner, among agents that may still run.
fn latest<'c, 'a>(claims: &'c [Claim<'a>]) -> Option<&'c Claim<'a>> {
    let ranked = claims.iter().filter(|c| !c.void).filter_map(|claim| {
        let epoch = claim.record?.epoch;
        Some(((epoch, Reverse(claim.name)), claim))
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, claim)| claim)
}

/// The claim that a device without owner waits for: the latest record, of any agent, or a report.
fn leaving<'c, 'a>(claims: &'c [Claim<'a>]) -> Option<&'c Claim<'a>> {
    claims.iter().reduce(|a, b| {
        let epoch = |c: &Claim<'_>| c.record.map(|r| r.epoch);
        if epoch(b) > epoch(a) { b } else { a }
    })
}

/// Whether the epoch of a record is written down elsewhere, so that it is not given out again
/// when the record goes. A device that is gone counts anew when it comes back, with a new uid;
/// one whose object cannot be read has no status to wait for.
fn is_remembered(device: Option<&DeviceFacts>, record: &AssignmentSpec) -> bool {
    device.is_none_or(|d| d.wish.is_none() || d.uid != record.uid || d.last_epoch >= record.epoch)
}

/// The decision while it is made.
struct Desk<'a> {
    view: &'a View,
    placement: Placement,
    /// Estimated load of each node, over all agents of the namespace.
    load: BTreeMap<&'a str, u64>,
    /// By name of the pool, as far as needed. All records of before are in the placement by then.
    candidates: BTreeMap<&'a str, Candidates<'a>>,
}

impl<'a> Desk<'a> {
    fn new(view: &'a View) -> Self {
        let mut placement = Placement::default();
        let mut load: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, agent) in &view.agents {
            let remembered = |a: &AssignmentSpec| is_remembered(view.devices.get(&a.device), a);
            let (void, fate) = match (is_void(view, agent), agent.deleting) {
                (true, _) if agent.assignments.iter().all(remembered) => (true, Fate::NodeGone),
                (void, true) => (void, Fate::Deleting),
                (void, false) => (void, Fate::Keep),
            };
            let desired = DesiredAgent {
                pool: agent.pool.clone(),
                node: agent.node.clone(),
                // Nobody can take anything from one that is gone; it goes as a whole.
                assignments: if void { agent.assignments.clone() } else { Vec::new() },
                fate,
            };
            placement.agents.insert(name.clone(), desired);
            for assignment in &agent.assignments {
                let cost = view.devices.get(&assignment.device).map_or(1, |d| d.milli_requests);
                let sum = load.entry(agent.node.as_str()).or_default();
                *sum = sum.saturating_add(cost);
            }
        }
        Self { view, placement, load, candidates: BTreeMap::new() }
    }

    /// Leaves a device with the agent that has it, or sees it off.
    fn settle(&mut self, name: &str, device: Option<&DeviceFacts>, claims: &[Claim<'_>]) {
        let owner = device.and_then(|device| self.owner(device, claims));
        for claim in claims.iter().filter(|c| !c.void) {
            let Some(record) = claim.record else { continue };
            let stays = owner.is_some_and(|o| o.name == claim.name);
            let gone = claim.agent.has_let_go(name) && is_remembered(device, record);
            if !stays && !gone {
                self.record(claim.name, record.clone());
            }
        }
        let Some(device) = device else { return };
        let outcome = match (owner, leaving(claims)) {
            (Some(owner), _) => self.keep(name, device, owner, claims),
            (None, Some(claim)) => Outcome::Moving {
                agent: claim.name.to_owned(),
                node: claim.agent.node.clone(),
                epoch: claim.epoch(name),
            },
            (None, None) => return,
        };
        self.placement.devices.insert(name.to_owned(), outcome);
    }

    /// The agent that has the device and may keep it: the latest owner or none. An earlier one
    /// cannot take it back before the latest has let go.
    fn owner<'c, 'b>(
        &self,
        device: &DeviceFacts,
        claims: &'c [Claim<'b>],
    ) -> Option<&'c Claim<'b>> {
        latest(claims).filter(|claim| {
            let node = self.view.nodes.get(&claim.agent.node);
            let pool = &claim.agent.pool;
            let placed_under = claim.placed_under(device);
            !claim.agent.deleting
                && node.is_some_and(|n| may_stay(self.view, device, pool, placed_under, n))
        })
    }

    /// Leaves a device with its owner. One that was deleted and made again under its name is
    /// another device, so its ownership begins anew.
    fn keep(
        &mut self,
        name: &str,
        device: &DeviceFacts,
        owner: &Claim<'_>,
        claims: &[Claim<'_>],
    ) -> Outcome {
        let epoch = match owner.record {
            Some(record) if record.uid == device.uid => record.epoch,
            _ => next_epoch(name, device, claims),
        };
        let wish = match (&device.wish, self.view.pool(&owner.agent.pool)) {
            (Some(wish), PoolState::Usable(pool)) => Some(wish.mark(pool)),
            // Nobody knows what is wished for now, so nobody has changed it.
            _ => owner.placed_under(device).map(str::to_owned),
        };
        self.record(
            owner.name,
            AssignmentSpec { device: name.to_owned(), uid: device.uid.clone(), epoch, wish },
        );
        Outcome::Assigned { agent: owner.name.to_owned(), node: owner.agent.node.clone(), epoch }
    }

    /// Finds a place for a device that no agent has anything to do with.
    fn place(&mut self, name: &str, device: &'a DeviceFacts) -> Result<Outcome, Unplaced> {
        let wish = device.wish.as_ref().filter(|_| device.valid).ok_or(Unplaced::Refused)?;
        let pool = match self.view.pool(&wish.pool) {
            PoolState::Usable(pool) => pool,
            PoolState::Invalid => {
                return Err(Unplaced::PoolRefused { pool: wish.pool.clone() });
            }
            PoolState::NotFound => {
                return Err(Unplaced::PoolNotFound { pool: wish.pool.clone() });
            }
        };
        if !self.candidates.contains_key(wish.pool.as_str()) {
            let load = |node: &str| self.load.get(node).copied().unwrap_or(0);
            let candidates = Candidates::new(self.view, pool, &self.placement, load);
            self.candidates.insert(&wish.pool, candidates);
        }
        let candidates = self.candidates.get(wish.pool.as_str());
        let choice = candidates.map(|c| c.choose(wish, device.last_node.as_deref()));
        let Choice { node, agent } = choice.unwrap_or(Err(Unplaced::Refused))?;
        let epoch = next_epoch(name, device, &[]);
        let assignment = AssignmentSpec {
            device: name.to_owned(),
            uid: device.uid.clone(),
            epoch,
            wish: Some(wish.mark(pool)),
        };
        self.placement.agents.entry(agent.clone()).or_insert_with(|| DesiredAgent {
            pool: pool.name.clone(),
            node: node.to_owned(),
            assignments: Vec::new(),
            fate: Fate::Create,
        });
        self.record(&agent, assignment);
        let sum = self.load.entry(node).or_default();
        *sum = sum.saturating_add(device.milli_requests);
        for candidates in self.candidates.values_mut() {
            candidates.given(node, &agent, device.milli_requests);
        }
        Ok(Outcome::Assigned { agent, node: node.to_owned(), epoch })
    }

    fn record(&mut self, agent: &str, assignment: AssignmentSpec) {
        if let Some(desired) = self.placement.agents.get_mut(agent) {
            desired.assignments.push(assignment);
        }
    }

    fn finish(mut self) -> Placement {
        for agent in self.placement.agents.values_mut() {
            agent.assignments.sort_by(|a, b| a.device.cmp(&b.device));
            if agent.fate == Fate::Keep && agent.assignments.is_empty() {
                agent.fate = Fate::Empty;
            }
        }
        self.placement
    }
}
