//! The conditions of all kinds, and every word that may stand in their `reason`.
//!
//! A reason is the name of a [`Code`] when something is to be explained, and a [`Word`] when
//! nothing is wrong. The docs page of conditions is made from the tables here.

use std::fmt::Write as _;

use self::Reason::{Explained, Good};
use super::Code;
use crate::api::Kind::{self, DeviceConnection, Pipeline, Sink};

/// A type of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The spec is valid and everything that it names is there.
    Accepted,
    /// The agent runs this generation.
    Programmed,
    /// The agent has a connection to the device.
    Connected,
    /// It does what it is for.
    Ready,
    /// Somebody is at work on it, or waits for something that may come by itself.
    Reconciling,
    /// Nothing will change until a person acts.
    Stalled,
    /// The agent runs the configuration that is mounted.
    ConfigApplied,
    /// The agent runs the copy on its state volume.
    LastGood,
    /// An agent that is to end has delivered everything.
    Drained,
}

impl ConditionType {
    /// Every type, in the order in which people read them.
    pub const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::Programmed,
        Self::Connected,
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::ConfigApplied,
        Self::LastGood,
        Self::Drained,
    ];

    /// The value of `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::Connected => "Connected",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::ConfigApplied => "ConfigApplied",
            Self::LastGood => "LastGood",
            Self::Drained => "Drained",
        }
    }

    /// The kinds that have it.
    pub fn kinds(self) -> &'static [Kind] {
        use Kind::{Agent, AgentPool};
        match self {
            Self::Accepted | Self::Reconciling | Self::Stalled => {
                &[DeviceConnection, Pipeline, Sink, AgentPool]
            }
            Self::Programmed => &[DeviceConnection, Pipeline],
            Self::Connected => &[DeviceConnection],
            Self::Ready => &[DeviceConnection, Pipeline, Sink, AgentPool, Agent],
            Self::ConfigApplied | Self::LastGood | Self::Drained => &[Agent],
        }
    }

    /// Whether it is there only while it is true.
    pub fn only_while_true(self) -> bool {
        matches!(self, Self::Reconciling | Self::Stalled | Self::LastGood)
    }

    /// What it says, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Accepted => {
                "The spec is valid, and everything that it names is there: pool, Sinks, Secrets."
            }
            Self::Programmed => {
                "The agent runs this generation of the object. False while it still runs an \
                 earlier one, or none."
            }
            Self::Connected => "The agent has a connection to the device.",
            Self::Ready => {
                "It does what it is for: good values arrive from the device, samples arrive at \
                 every sink, the agents of the pool run, pipelines deliver through the Sink."
            }
            Self::Reconciling => {
                "Work is going on, or something is awaited that may come by itself. Tools show \
                 the object as in progress."
            }
            Self::Stalled => {
                "Nothing will change until somebody edits something. Tools show the object as \
                 failed."
            }
            Self::ConfigApplied => "The agent runs the configuration that is mounted into it.",
            Self::LastGood => {
                "The agent runs the copy on its state volume, since the mounted configuration \
                 cannot be used."
            }
            Self::Drained => {
                "The agent was told to end, has stopped its devices, and holds nothing \
                 undelivered. Only on an agent that was told to end."
            }
        }
    }
}

macro_rules! words {
    ($($word:ident: $text:literal;)+) => {
        /// A reason that explains nothing bad, and so has no code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Word {
            $(#[doc = $text] $word,)+
        }

        impl Word {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$word,)+];

            /// The value of `reason`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)+ }
            }

            /// What it means, for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$word => $text,)+ }
            }
        }
    };
}

words! {
    Pending: "Nobody has said anything about it yet.";
    Valid: "The spec is valid, and everything that it names is there.";
    Applied: "The agent runs this generation.";
    Connecting: "The first connection is being made; nothing has failed so far.";
    Connected: "There is a connection.";
    Receiving: "Good values arrive from the device.";
    Delivering: "Every sink takes the samples.";
    Unused: "No pipeline names it.";
    Suspended: "`mode: Suspended`: it is kept and does nothing.";
    Running: "The agents run.";
    RunningLastGood: "The agent runs the copy on its state volume.";
    Delivered: "Nothing undelivered is held any more.";
}

/// What a reason is to the reader of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is wrong.
    Good(Word),
    /// The code explains it.
    Explained(Code),
}

impl Reason {
    /// The value of `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good(word) => word.name(),
            Self::Explained(code) => code.reason(),
        }
    }
}

/// What Ready, health and kstatus show in one situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The situation, for people.
    pub when: &'static str,
    /// The kinds that can be in it.
    pub kinds: &'static [Kind],
    /// Status of Ready.
    pub ready: &'static str,
    /// Reason of Ready.
    pub reason: Reason,
    /// The value of `status.health`.
    pub health: &'static str,
    /// Beside Ready: `Reconciling`, `Stalled`, or nothing.
    pub beside: &'static str,
    /// What kstatus makes of it.
    pub kstatus: &'static str,
}

const BOTH: &[Kind] = &[DeviceConnection, Pipeline];
const EACH: &[Kind] = &[DeviceConnection, Pipeline, Sink];
const SINK: &[Kind] = &[Sink];
const DEVICE: &[Kind] = &[DeviceConnection];
const PIPELINE: &[Kind] = &[Pipeline];

macro_rules! situations {
    ($(($when:literal, $kinds:expr, $ready:literal, $reason:expr, $health:literal, $beside:literal,
        $kstatus:literal);)+) => {
        /// Every situation of a DeviceConnection, a Pipeline and a Sink.
        pub const SITUATIONS: &[Situation] = &[$(Situation {
            when: $when, kinds: $kinds, ready: $ready, reason: $reason, health: $health,
            beside: $beside, kstatus: $kstatus,
        },)+];
    };
}

situations! {
    ("good values arrive", DEVICE, "True", Good(Word::Receiving), "Healthy", "", "Current");
    ("every sink takes samples", PIPELINE, "True", Good(Word::Delivering), "Healthy", "",
        "Current");
    ("some points are bad", DEVICE, "True", Explained(Code::SomePointsBad), "Degraded", "",
        "Current");
    ("every point is bad", DEVICE, "False", Explained(Code::AllPointsBad), "Degraded", "",
        "InProgress");
    ("the device is out of reach", DEVICE, "False", Explained(Code::Unreachable), "Unavailable",
        "", "InProgress");
    ("the device is connected and silent", DEVICE, "False", Explained(Code::NoData),
        "Unavailable", "", "InProgress");
    ("the device is off and may be", DEVICE, "True", Explained(Code::DeviceOff), "Unavailable",
        "", "Current");
    ("its state changes all the time", BOTH, "as it is", Explained(Code::Flapping), "Degraded",
        "", "as Ready");
    ("no sink takes samples", PIPELINE, "False", Explained(Code::SinkUnavailable), "Unavailable",
        "", "InProgress");
    ("one sink takes samples, another does not", PIPELINE, "False",
        Explained(Code::SinkUnavailable), "Degraded", "", "InProgress");
    ("every pipeline that runs delivers through it", SINK, "True", Good(Word::Delivering),
        "Healthy", "", "Current");
    ("no pipeline delivers through it: the reason is that of the worst", SINK, "False",
        Explained(Code::SinkUnavailable), "Unavailable", "", "InProgress");
    ("one pipeline delivers through it, another does not", SINK, "False",
        Explained(Code::SinkUnavailable), "Degraded", "", "InProgress");
    ("no pipeline names it", SINK, "True", Good(Word::Unused), "Unknown", "", "Current");
    ("no device is selected", PIPELINE, "False", Explained(Code::NoDevices), "Unknown", "",
        "InProgress");
    ("all its devices are silent", PIPELINE, "False", Explained(Code::DevicesSilent),
        "Unavailable", "", "InProgress");
    ("suspended", EACH, "True", Good(Word::Suspended), "Unknown", "", "Current");
    ("a Secret, a key or another object is not there yet", BOTH, "False",
        Explained(Code::ReferenceNotFound), "Unavailable", "Reconciling", "InProgress");
    ("the pool is not there yet", DEVICE, "False", Explained(Code::AgentPoolNotFound),
        "Unavailable", "Reconciling", "InProgress");
    ("a Sink that it names is gone, the former version still runs", PIPELINE, "False",
        Explained(Code::ReferenceNotFound), "Degraded", "Reconciling", "InProgress");
    ("the Sink that it names is refused", PIPELINE, "False", Explained(Code::ReferenceInvalid),
        "Unavailable", "Stalled", "Failed");
    ("a Secret is not in the pool's list", BOTH, "False", Explained(Code::SecretNotListed),
        "Unavailable", "Stalled", "Failed");
    ("the spec is invalid: the reason is the first finding's", EACH, "False",
        Explained(Code::ConfigRejected), "Unavailable", "Stalled", "Failed");
    ("a new spec is invalid, the former one still runs", EACH, "False",
        Explained(Code::ConfigRejected), "Degraded", "Stalled", "Failed");
    ("the object cannot be read", EACH, "False", Explained(Code::Undecodable), "Unavailable",
        "Stalled", "Failed");
    ("no node fits (`code` is that of NoFittingNode)", BOTH, "False",
        Explained(Code::AgentNotRunning), "Unavailable", "", "InProgress");
    ("every fitting agent is full (`code` is that of CapacityExceeded)", BOTH, "False",
        Explained(Code::AgentNotRunning), "Unavailable", "", "InProgress");
    ("the agent does not have this generation yet", EACH, "False", Explained(Code::ConfigPending),
        "Unknown", "Reconciling", "InProgress");
    ("the agent's pod does not run", EACH, "False", Explained(Code::AgentNotRunning),
        "Unavailable", "", "InProgress");
    ("the agent's heartbeat is late", EACH, "Unknown", Explained(Code::AgentSilent), "Unknown",
        "", "InProgress");
}

/// Codes of the cluster that are reasons; those above are what `lineside check` finds.
const CLUSTER: std::ops::Range<u16> = 5000..5040;

/// The docs page of all conditions and reasons.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Conditions\n\n<!-- Generated by `cargo xtask gen` from the tables in crds/; do not \
         edit. -->\n\nWhat operator and agents say of an object stands in its `status.conditions`: \
         `kubectl describe` shows them, `kubectl wait --for=condition=Ready` waits for one. \
         `reason` is one word of this page; where something is to be explained, the message \
         carries its code (`LNS-nnnn`), what was found, and what to do next. `status.health` \
         says in one word how well the object works, `status.code` repeats the code.\n\n\
         A condition that is there only while it is true is marked with *.\n\n\
         ## Types\n\n| type | of | meaning |\n|---|---|---|\n",
    );
    for kind in ConditionType::ALL {
        let star = if kind.only_while_true() { "*" } else { "" };
        let _ = writeln!(
            out,
            "| `{}`{star} | {} | {} |",
            kind.name(),
            names(kind.kinds()),
            kind.text()
        );
    }
    out.push_str(
        "\n## Situations\n\nWhat `Ready` and `health` say, which condition stands beside them, \
         and what tools make of it that follow the [status conventions of \
         Kubernetes](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus) (Helm, \
         Flux, `kustomize`).\n\n| situation | of | Ready | reason | health | beside | shown as \
         |\n|---|---|---|---|---|---|---|\n",
    );
    for s in SITUATIONS {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            s.when,
            names(s.kinds),
            s.ready,
            link(s.reason),
            s.health,
            s.beside,
            s.kstatus
        );
    }
    out.push_str("\n## Reasons without a code\n\n| reason | meaning |\n|---|---|\n");
    for word in Word::ALL {
        let _ = writeln!(out, "| `{}` | {} |", word.name(), word.text());
    }
    out.push_str(
        "\n## Reasons with a code\n\nA reason that is not on this list is the one of the \
         [diagnostics](diagnostics.md) whose code the message carries: the fault of the device, \
         the sink or the field in question.\n\n| reason | code | meaning | next |\n\
         |---|---|---|---|\n",
    );
    let mut codes: Vec<Code> = SITUATIONS
        .iter()
        .filter_map(|s| match s.reason {
            Explained(code) => Some(code),
            Good(_) => None,
        })
        .chain(Code::ALL.iter().copied().filter(|c| CLUSTER.contains(&c.number())))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        let _ = writeln!(
            out,
            "| `{}` | [{code}](diagnostics.md#{}) | {} | {} |",
            code.reason(),
            code.anchor(),
            code.text().replace('|', "\\|"),
            code.next().replace('|', "\\|")
        );
    }
    out
}

fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|k| k.name()).collect::<Vec<_>>().join(", ")
}

fn link(reason: Reason) -> String {
    match reason {
        Good(word) => word.name().to_owned(),
        Explained(code) => format!("[{}](diagnostics.md#{})", code.reason(), code.anchor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_no_reason_of_a_code() {
        for word in Word::ALL {
            assert_eq!(Code::parse(word.name()), None, "{}", word.name());
        }
    }

    #[test]
    fn the_page_has_every_type_every_word_and_every_code_of_the_cluster() {
        let page = markdown();
        for kind in ConditionType::ALL {
            assert!(page.contains(&format!("\n| `{}`", kind.name())), "{}", kind.name());
        }
        for word in Word::ALL {
            assert!(page.contains(&format!("\n| `{}` |", word.name())), "{}", word.name());
        }
        for code in Code::ALL.iter().filter(|c| CLUSTER.contains(&c.number())) {
            assert!(page.contains(&format!("| `{}` | [{code}]", code.reason())), "{code}");
        }
    }

    #[test]
    fn failed_and_stalled_are_the_same_situations() {
        for s in SITUATIONS {
            assert_eq!(s.kstatus == "Failed", s.beside == "Stalled", "{}", s.when);
            assert!(s.kstatus != "Current" || s.ready == "True", "{}", s.when);
            assert!(s.beside.is_empty() || s.kstatus != "Current", "{}", s.when);
        }
    }
}
