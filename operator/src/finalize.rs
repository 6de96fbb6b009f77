//! When an Agent that is being deleted is let go. Pure.
//!
//! Its finalizer keeps it until it has delivered what it holds. That must never keep a namespace
//! or an uninstallation for ever, so there are several other ends.

use std::fmt;
use std::time::Duration;

/// How long to wait before looking again at what tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is known of an Agent that is being deleted.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// It says that everything is delivered.
    pub drained: bool,
    /// Somebody asked to give up what is not delivered.
    pub discard: bool,
    /// Its node is gone or marked out of service.
    pub node_gone: bool,
    /// Its namespace is being deleted.
    pub namespace_terminating: bool,
    /// It never reported a start and no process of it runs, so it holds nothing.
    pub never_ran: bool,
    /// How long it has been being deleted.
    pub deleting_for: Duration,
    /// How long it may.
    pub drain_timeout: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it go.
    Release(Release),
    /// Look again after this time, or when something is heard of it.
    Wait(Duration),
}

/// Why an Agent is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Everything is delivered.
    Drained,
    /// It never held anything.
    NeverRan,
    /// Its namespace is being deleted, and its pod with it.
    NamespaceTerminating,
    /// Its node is gone or out of service.
    NodeGone,
    /// Somebody asked for it.
    Discarded,
    /// It took too long.
    TimedOut,
}

impl Release {
    /// Whether samples may be given up by it.
    pub fn gives_up(self) -> bool {
        !matches!(self, Self::Drained | Self::NeverRan)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "everything is delivered",
            Self::NeverRan => "it never ran",
            Self::NamespaceTerminating => "its namespace is being deleted",
            Self::NodeGone => "its node is gone or out of service",
            Self::Discarded => "the annotation lineside.dev/discard-backlog asks for it",
            Self::TimedOut => "it did not deliver everything within drainTimeoutSeconds",
        })
    }
}

/// Decides. The good ends come first, so that what was delivered is not called given up.
pub fn decide(facts: &Facts) -> Decision {
    let ends = [
        (facts.drained, Release::Drained),
        (facts.never_ran, Release::NeverRan),
        (facts.namespace_terminating, Release::NamespaceTerminating),
        (facts.node_gone, Release::NodeGone),
        (facts.discard, Release::Discarded),
        (facts.deleting_for >= facts.drain_timeout, Release::TimedOut),
    ];
    match ends.into_iter().find(|(holds, _)| *holds) {
        Some((_, release)) => Decision::Release(release),
        None => Decision::Wait((facts.drain_timeout - facts.deleting_for).min(LOOK_AGAIN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            drained: false,
            discard: false,
            node_gone: false,
            namespace_terminating: false,
            never_ran: false,
            deleting_for: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(3600),
        }
    }

    #[test]
    fn an_agent_that_holds_something_is_kept_until_its_time_is_over() {
        assert_eq!(decide(&facts()), Decision::Wait(LOOK_AGAIN));
        let nearly = Facts { deleting_for: Duration::from_secs(3597), ..facts() };
        assert_eq!(decide(&nearly), Decision::Wait(Duration::from_secs(3)));
        let over = Facts { deleting_for: Duration::from_secs(3600), ..facts() };
        assert_eq!(decide(&over), Decision::Release(Release::TimedOut));
    }

    #[test]
    fn each_end_lets_it_go_and_a_delivered_backlog_is_never_called_given_up() {
        for (facts, release) in [
            (Facts { drained: true, discard: true, ..facts() }, Release::Drained),
            (Facts { never_ran: true, node_gone: true, ..facts() }, Release::NeverRan),
            (Facts { namespace_terminating: true, ..facts() }, Release::NamespaceTerminating),
            (Facts { node_gone: true, ..facts() }, Release::NodeGone),
            (Facts { discard: true, ..facts() }, Release::Discarded),
            (Facts { drain_timeout: Duration::ZERO, ..facts() }, Release::TimedOut),
        ] {
            assert_eq!(decide(&facts), Decision::Release(release));
        }
        assert!(!Release::Drained.gives_up() && Release::TimedOut.gives_up());
    }
}
