//! Which nodes a new device can go to.

use super::fit::{Hindrance, carries, hindrance};
use super::{DEVICES_MOST, Fate, NodeFacts, Placement, Search, Unplaced, View, Wish};
use crate::names;
use crate::pools::Pool;

/// The nodes whose labels a pool accepts, by name. Worked out once for all devices of a decision.
pub(super) struct Candidates<'a> {
    pool: &'a Pool,
    nodes: usize,
    list: Vec<Candidate<'a>>,
}

/// One node and the agent of the pool that is there or would be made there.
struct Candidate<'a> {
    node: &'a str,
    facts: &'a NodeFacts,
    agent: String,
    state: State,
    /// Devices in the agent's record.
    devices: usize,
    /// Estimated load of the node.
    load: u64,
}

/// Whether the agent there can take a new device.
#[derive(Clone, Copy)]
enum State {
    Open,
    /// Nothing new can start on the node.
    Hindered(Hindrance),
    /// The agent is being deleted.
    Leaving,
}

/// The choice for one device.
pub(super) struct Choice<'a> {
    pub(super) node: &'a str,
    pub(super) agent: String,
}

impl<'a> Candidates<'a> {
    /// The candidates of a pool, `load` being what its nodes bear already.
    pub(super) fn new(
        view: &'a View,
        pool: &'a Pool,
        placement: &Placement,
        load: impl Fn(&str) -> u64,
    ) -> Self {
        let fitting = view.nodes.iter().filter(|(_, n)| carries(&n.labels, &pool.node_selector));
        let candidate = |(node, facts): (&'a String, &'a NodeFacts)| {
            let agent = names::agent(&pool.name, node);
            let known = placement.agents.get(&agent);
            let leaving = known.is_some_and(|a| matches!(a.fate, Fate::Deleting | Fate::NodeGone));
            let state = match hindrance(pool, facts) {
                Some(hindrance) => State::Hindered(hindrance),
                None if leaving => State::Leaving,
                None => State::Open,
            };
            let devices = known.map_or(0, |a| a.assignments.len());
            Candidate { node, facts, agent, state, devices, load: load(node) }
        };
        Self { pool, nodes: view.nodes.len(), list: fitting.map(candidate).collect() }
    }

    /// The node that the device was on before, else the least loaded, else the first by name.
    pub(super) fn choose(&self, wish: &Wish, last: Option<&str>) -> Result<Choice<'a>, Unplaced> {
        let mut search =
            Search { pool: self.pool.name.clone(), nodes: self.nodes, ..Search::default() };
        let mut best: Option<&Candidate<'a>> = None;
        for candidate in self.list.iter().filter(|c| carries(&c.facts.labels, &wish.node_selector))
        {
            search.fitting += 1;
            let was_here = last == Some(candidate.node);
            match candidate.state {
                State::Hindered(Hindrance::OutOfService) => search.out_of_service += 1,
                State::Hindered(Hindrance::Cordoned) => search.cordoned += 1,
                State::Hindered(Hindrance::Tainted) => search.tainted += 1,
                State::Hindered(Hindrance::NotReady) => search.not_ready += 1,
                State::Leaving if was_here => {
                    let (agent, node) = (candidate.agent.clone(), candidate.node.to_owned());
                    return Err(Unplaced::AgentGoes { agent, node });
                }
                State::Leaving => search.leaving += 1,
                State::Open if candidate.devices >= DEVICES_MOST => search.full += 1,
                State::Open => {
                    let rank = |c: &Candidate<'_>| (last != Some(c.node), c.load);
                    // They come by name, so the first of equals stays.
                    if best.is_none_or(|b| rank(candidate) < rank(b)) {
                        best = Some(candidate);
                    }
                }
            }
        }
        match best {
            Some(best) => Ok(Choice { node: best.node, agent: best.agent.clone() }),
            None => {
                search.selector = self.pool.node_selector.clone();
                search.selector.extend(wish.node_selector.clone());
                Err(Unplaced::NoNode(search))
            }
        }
    }

    /// A device was given to `agent` on `node`; another pool's agent there bears it as load too.
    pub(super) fn given(&mut self, node: &str, agent: &str, load: u64) {
        let Ok(index) = self.list.binary_search_by(|c| c.node.cmp(node)) else { return };
        if let Some(candidate) = self.list.get_mut(index) {
            candidate.load = candidate.load.saturating_add(load);
            candidate.devices += usize::from(candidate.agent == agent);
        }
    }
}
