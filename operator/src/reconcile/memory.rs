//! What a term remembers between runs. Everything in here can be lost: a fresh process starts
//! without it and comes to the same objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::build::Shipped;
use crate::cache::Id;
use crate::poke::Poking;

/// A configuration that this process wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its hash.
    pub hash: String,
    /// When.
    pub at: Instant,
}

/// The memory of one term.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What was shipped to an agent, by the digests of its ConfigMaps.
    shipped: BTreeMap<Id, (Vec<String>, Arc<Shipped>)>,
    /// Agents whose configuration does not fit, and why.
    unfit: BTreeMap<Id, String>,
    pokes: BTreeMap<Id, Poking>,
    written: BTreeMap<Id, Written>,
    /// Namespaces and nodes whose end was told.
    told: BTreeSet<String>,
}

impl Memory {
    /// What was shipped, if the ConfigMaps still are what they were then.
    pub fn shipped(&self, namespace: &str, name: &str, digests: &[String]) -> Option<Arc<Shipped>> {
        let inner = self.lock();
        let (of, shipped) = inner.shipped.get(&id(namespace, name))?;
        (of == digests).then(|| shipped.clone())
    }

    /// Remembers what was shipped.
    pub fn remember_shipped(
        &self,
        namespace: &str,
        name: &str,
        digests: Vec<String>,
        shipped: Arc<Shipped>,
    ) {
        self.lock().shipped.insert(id(namespace, name), (digests, shipped));
    }

    /// The configuration does not fit. True when that is news.
    pub fn not_packed(&self, namespace: &str, name: &str, why: String) -> bool {
        self.lock().unfit.insert(id(namespace, name), why.clone()) != Some(why)
    }

    /// The configuration fits.
    pub fn packed(&self, namespace: &str, name: &str) {
        self.lock().unfit.remove(&id(namespace, name));
    }

    /// How often the pod was poked so far.
    pub fn poking(&self, namespace: &str, name: &str) -> Option<Poking> {
        self.lock().pokes.get(&id(namespace, name)).cloned()
    }

    /// The pod was poked.
    pub fn poked(&self, namespace: &str, name: &str, poking: Poking) {
        self.lock().pokes.insert(id(namespace, name), poking);
    }

    /// A configuration is being written.
    pub fn wrote_config(&self, namespace: &str, name: &str, written: Written) {
        self.lock().written.insert(id(namespace, name), written);
    }

    /// The agent runs this configuration; how long that took, told once and only for what this
    /// process wrote.
    pub fn acknowledged(
        &self,
        namespace: &str,
        name: &str,
        hash: &str,
        now: Instant,
    ) -> Option<Duration> {
        let mut inner = self.lock();
        let id = id(namespace, name);
        inner.pokes.remove(&id);
        let written = inner.written.remove(&id)?;
        (written.hash == hash).then(|| now.saturating_duration_since(written.at))
    }

    /// The end of a namespace or node is told. True when it was not yet.
    pub fn tell_once(&self, what: String) -> bool {
        self.lock().told.insert(what)
    }

    /// The agent is gone.
    pub fn forget_agent(&self, namespace: &str, name: &str) {
        let mut inner = self.lock();
        let id = id(namespace, name);
        inner.shipped.remove(&id);
        inner.unfit.remove(&id);
        inner.pokes.remove(&id);
        inner.written.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Single inserts and removes; a panic elsewhere does not spoil the maps.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(namespace: &str, name: &str) -> Id {
    (namespace.to_owned(), name.to_owned())
}
