//! The objects of one kind as last seen, for reading without a request.
//!
//! Unlike a plain mirror of the watch it also takes in what the operator itself has just
//! written ([`Table::written`]), so that the next decision never works on the state before its
//! own last write. Both ways meet at the resourceVersion: the newer one wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::runtime::watcher::Event;

/// Namespace (empty for what has none) and name.
pub type Id = (String, String);

/// What one watch covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The whole cluster.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    fn covers(&self, id: &Id) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespace(namespace) => id.0 == *namespace,
        }
    }
}

/// One object before and after; one of them is absent when it came or went.
#[derive(Debug)]
pub struct Change<K> {
    /// As it was known before.
    pub old: Option<Arc<K>>,
    /// As it is now.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest form of the object.
    pub fn latest(&self) -> Option<&K> {
        self.new.as_deref().or(self.old.as_deref())
    }
}

/// Ends of objects that are remembered. An answer to a write is late by seconds at most, and in
/// that time no more objects of a kind end.
const GRAVES_MOST: usize = 4096;

/// All objects of a kind.
#[derive(Debug)]
pub struct Table<K> {
    state: RwLock<State<K>>,
    scopes: BTreeSet<Scope>,
}

#[derive(Debug)]
struct State<K> {
    objects: BTreeMap<Id, Entry<K>>,
    /// Lists under way: what came so far, and what was written meanwhile.
    loading: BTreeMap<Scope, Loading<K>>,
    loaded: BTreeSet<Scope>,
    graves: Graves,
}

/// The versions at which objects ended, so that the answer to a write that comes after the news
/// of the end does not bring the object back.
#[derive(Debug, Default)]
struct Graves {
    by_id: BTreeMap<Id, u64>,
    by_version: BTreeSet<(u64, Id)>,
}

impl Graves {
    fn dig(&mut self, id: Id, version: Option<u64>) {
        let Some(version) = version else { return };
        self.fill(&id);
        self.by_version.insert((version, id.clone()));
        self.by_id.insert(id, version);
        while self.by_id.len() > GRAVES_MOST
            && let Some((_, oldest)) = self.by_version.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }

    fn fill(&mut self, id: &Id) {
        if let Some(version) = self.by_id.remove(id) {
            self.by_version.remove(&(version, id.clone()));
        }
    }

    /// Whether this version of the object is from before its end.
    fn covers(&self, id: &Id, version: Option<u64>) -> bool {
        matches!((self.by_id.get(id), version), (Some(end), Some(version)) if version <= *end)
    }
}

#[derive(Debug)]
struct Entry<K> {
    object: Arc<K>,
    version: Option<u64>,
}

#[derive(Debug)]
struct Loading<K> {
    objects: BTreeMap<Id, Entry<K>>,
    written: BTreeSet<Id>,
}

impl<K: Resource> Table<K> {
    /// An empty table that is complete once each of these watches has listed its objects.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            loading: BTreeMap::new(),
            loaded: BTreeSet::new(),
            graves: Graves::default(),
        };
        Self { state: RwLock::new(state), scopes: scopes.into_iter().collect() }
    }

    /// Whether everything was listed at least once.
    pub fn is_complete(&self) -> bool {
        self.read().loaded.is_superset(&self.scopes)
    }

    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let id = (namespace.to_owned(), name.to_owned());
        self.read().objects.get(&id).map(|entry| entry.object.clone())
    }

    /// All objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = (namespace.to_owned(), String::new());
        let state = self.read();
        let here = state.objects.range(first..).take_while(|(id, _)| id.0 == namespace);
        here.map(|(_, entry)| entry.object.clone()).collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().map(|entry| entry.object.clone()).collect()
    }

    /// Namespaces and names of all objects.
    pub fn ids(&self) -> Vec<Id> {
        self.read().objects.keys().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// How many of them are like this.
    pub fn count(&self, like: impl Fn(&K) -> bool) -> usize {
        self.read().objects.values().filter(|entry| like(&entry.object)).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in an event of the watch of this scope and says what it changed.
    pub fn handle(&self, scope: &Scope, event: Event<K>) -> Vec<Change<K>> {
        let mut state = self.write();
        match event {
            Event::Apply(object) => state.put(object).into_iter().collect(),
            Event::Delete(object) => state.remove(&object).into_iter().collect(),
            Event::Init => {
                let loading = Loading { objects: BTreeMap::new(), written: BTreeSet::new() };
                state.loading.insert(scope.clone(), loading);
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(loading) = state.loading.get_mut(scope) {
                    loading.objects.insert(id_of(&object), Entry::new(object));
                }
                Vec::new()
            }
            Event::InitDone => state.replace(scope),
        }
    }

    /// Takes in what the API server answered to a write.
    pub fn written(&self, object: K) -> Option<Change<K>> {
        let mut state = self.write();
        let meta = object.meta();
        if meta.deletion_timestamp.is_some()
            && meta.finalizers.as_deref().unwrap_or_default().is_empty()
        {
            // The write took away the last thing that held it.
            return state.remove(&object);
        }
        let id = id_of(&object);
        for (scope, loading) in &mut state.loading {
            if scope.covers(&id) {
                loading.written.insert(id.clone());
            }
        }
        state.put(object)
    }

    /// Drops an object that the API server does not know.
    pub fn forget(&self, namespace: &str, name: &str) -> Option<Change<K>> {
        let old = self.write().objects.remove(&(namespace.to_owned(), name.to_owned()))?;
        Some(Change { old: Some(old.object), new: None })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State<K>> {
        // Every change of the state is one total step; a panic elsewhere does not spoil it.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource> State<K> {
    fn put(&mut self, object: K) -> Option<Change<K>> {
        let id = id_of(&object);
        let entry = Entry::new(object);
        let old = self.objects.get(&id);
        if old.is_some_and(|old| !entry.is_newer_than(old))
            || self.graves.covers(&id, entry.version)
        {
            return None;
        }
        let old = old.map(|old| old.object.clone());
        let new = Some(entry.object.clone());
        self.graves.fill(&id);
        self.objects.insert(id, entry);
        Some(Change { old, new })
    }

    fn remove(&mut self, object: &K) -> Option<Change<K>> {
        let id = id_of(object);
        let version = version_of(object);
        let Some(known) = self.objects.get(&id) else {
            self.graves.dig(id, version);
            return None;
        };
        // The end of an earlier object of this name, after a new one was written.
        if known.version > version && known.object.meta().uid != object.meta().uid {
            return None;
        }
        let old = self.objects.remove(&id).map(|entry| entry.object);
        self.graves.dig(id, version);
        Some(Change { old, new: None })
    }

    /// A list is complete: what it does not name is gone, unless it was written meanwhile.
    fn replace(&mut self, scope: &Scope) -> Vec<Change<K>> {
        let Some(loading) = self.loading.remove(scope) else { return Vec::new() };
        self.loaded.insert(scope.clone());
        let mut changes = Vec::new();
        let gone: Vec<Id> = self
            .objects
            .keys()
            .filter(|id| scope.covers(id))
            .filter(|id| !loading.objects.contains_key(*id) && !loading.written.contains(*id))
            .cloned()
            .collect();
        for id in gone {
            let old = self.objects.remove(&id).map(|entry| entry.object);
            changes.push(Change { old, new: None });
        }
        for (id, entry) in loading.objects {
            let old = self.objects.get(&id);
            if old.is_some_and(|old| !entry.is_newer_than(old)) {
                continue;
            }
            let old = old.map(|old| old.object.clone());
            let new = Some(entry.object.clone());
            self.objects.insert(id, entry);
            changes.push(Change { old, new });
        }
        changes
    }
}

impl<K: Resource> Entry<K> {
    fn new(object: K) -> Self {
        Self { version: version_of(&object), object: Arc::new(object) }
    }

    /// A version that is not a number says nothing about order, so the later arrival wins.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.version, other.version) {
            (Some(mine), Some(theirs)) => mine > theirs,
            _ => true,
        }
    }
}

fn id_of<K: Resource>(object: &K) -> Id {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// resourceVersions of one cluster are comparable numbers since Kubernetes 1.35, and were so
/// in every release before.
fn version_of<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, version: u64) -> ConfigMap {
        with_uid(namespace, name, version, "one")
    }

    fn with_uid(namespace: &str, name: &str, version: u64, uid: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {
            "namespace": namespace, "name": name, "resourceVersion": version.to_string(), "uid": uid,
        }}))
        .unwrap()
    }

    fn version(table: &Table<ConfigMap>, name: &str) -> Option<String> {
        table.get("ns", name).and_then(|o| o.metadata.resource_version.clone())
    }

    fn table() -> Table<ConfigMap> {
        Table::new([Scope::Cluster])
    }

    #[test]
    fn the_own_write_is_seen_at_once_and_its_echo_is_no_change() {
        let table = table();
        table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 5)));
        assert!(table.written(object("ns", "a", 9)).is_some());
        let late = table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 7)));
        assert!(late.is_empty(), "an event from before the write changes nothing");
        let echo = table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 9)));
        assert!(echo.is_empty());
        assert_eq!(version(&table, "a").as_deref(), Some("9"));
        let foreign = table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 10)));
        assert_eq!(foreign.len(), 1);
    }

    #[test]
    fn a_list_removes_what_it_does_not_name_but_not_what_was_written_meanwhile() {
        let table = table();
        for name in ["kept", "gone", "older"] {
            table.handle(&Scope::Cluster, Event::Apply(object("ns", name, 5)));
        }
        assert!(!table.is_complete());
        table.handle(&Scope::Cluster, Event::Init);
        table.written(object("ns", "new", 20));
        table.written(object("ns", "older", 21));
        table.handle(&Scope::Cluster, Event::InitApply(object("ns", "kept", 5)));
        table.handle(&Scope::Cluster, Event::InitApply(object("ns", "older", 5)));
        let changes = table.handle(&Scope::Cluster, Event::InitDone);
        let names: Vec<_> =
            changes.iter().filter_map(|c| c.latest()?.metadata.name.clone()).collect();
        assert_eq!(names, ["gone"]);
        assert_eq!(version(&table, "older").as_deref(), Some("21"));
        assert_eq!(version(&table, "new").as_deref(), Some("20"));
        assert!(table.is_complete());
    }

    #[test]
    fn the_end_of_an_earlier_object_does_not_remove_the_new_one_of_that_name() {
        let table = table();
        table.handle(&Scope::Cluster, Event::Apply(with_uid("ns", "a", 5, "first")));
        table.written(with_uid("ns", "a", 12, "second"));
        assert!(
            table
                .handle(&Scope::Cluster, Event::Delete(with_uid("ns", "a", 8, "first")))
                .is_empty()
        );
        assert_eq!(version(&table, "a").as_deref(), Some("12"));
        let end = table.handle(&Scope::Cluster, Event::Delete(with_uid("ns", "a", 13, "second")));
        assert_eq!(end.len(), 1);
        assert!(table.is_empty());
    }

    #[test]
    fn an_answer_that_comes_after_the_news_of_the_end_does_not_bring_the_object_back() {
        let table = table();
        table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 5)));
        table.handle(&Scope::Cluster, Event::Delete(object("ns", "a", 8)));
        assert!(table.written(object("ns", "a", 7)).is_none());
        assert!(table.is_empty());
        assert!(table.written(with_uid("ns", "a", 9, "another")).is_some(), "a new one does");
        assert_eq!(table.len(), 1);
        // One that was never seen: made and ended between two events of the watch.
        table.handle(&Scope::Cluster, Event::Delete(object("ns", "b", 12)));
        assert!(table.written(object("ns", "b", 11)).is_none());
    }

    #[test]
    fn the_write_that_takes_the_last_finalizer_away_is_the_end() {
        let table = table();
        table.handle(&Scope::Cluster, Event::Apply(object("ns", "a", 5)));
        let mut released = object("ns", "a", 7);
        released.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(table.written(released).is_some_and(|change| change.new.is_none()));
        assert!(table.is_empty());
    }

    #[test]
    fn ends_are_remembered_up_to_a_bound() {
        let table = table();
        for version in 0..10_000 {
            table.handle(
                &Scope::Cluster,
                Event::Delete(object("ns", &format!("o{version}"), version)),
            );
        }
        assert!(table.written(object("ns", "o9999", 9999)).is_none());
        assert!(table.written(object("ns", "o1", 1)).is_some());
        let graves = &table.read().graves;
        assert_eq!((graves.by_id.len(), graves.by_version.len()), (GRAVES_MOST, GRAVES_MOST));
    }

    #[test]
    fn watches_of_single_namespaces_leave_each_other_alone() {
        let (one, two) = (Scope::Namespace("one".into()), Scope::Namespace("two".into()));
        let table: Table<ConfigMap> = Table::new([one.clone(), two.clone()]);
        for (scope, namespace) in [(&one, "one"), (&two, "two")] {
            assert!(!table.is_complete());
            table.handle(scope, Event::Init);
            table.handle(scope, Event::InitApply(object(namespace, "a", 1)));
            table.handle(scope, Event::InitDone);
        }
        assert!(table.is_complete());
        table.handle(&one, Event::Init);
        assert_eq!(table.handle(&one, Event::InitDone).len(), 1);
        assert_eq!(table.ids(), [("two".to_owned(), "a".to_owned())]);
        assert_eq!(table.in_namespace("two").len(), 1);
        assert!(table.in_namespace("one").is_empty());
    }

    #[test]
    fn a_namespace_is_not_confused_with_one_that_starts_alike() {
        let table = table();
        for (namespace, name) in [("a", "x"), ("a-b", "x"), ("ab", "x"), ("a", "y")] {
            table.handle(&Scope::Cluster, Event::Apply(object(namespace, name, 1)));
        }
        assert_eq!(table.in_namespace("a").len(), 2);
        assert_eq!(table.all().len(), 4);
    }
}
