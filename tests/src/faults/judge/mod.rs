//! The judge: pure, from [`Evidence`] to a [`Verdict`].
//!
//! Every rule stands alone and has a test that it fails. A repetition (the same identity with
//! the same content) is allowed everywhere: delivery is at least once.

mod violation;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use super::evidence::{Evidence, Gap, Message, Nanos, Served};
pub use violation::{Value, Violation};

/// How far apart the clock of the agent and that of the device may be: they are one clock,
/// which may be slewed while the agent counts on the monotonic one.
const CLOCKS: Duration = Duration::from_millis(50);

/// Violations that are printed; the rest is counted.
const PRINTED: usize = 20;

/// What the judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was broken, rule by rule.
    pub violations: Vec<Violation>,
    /// Values that devices gave out.
    pub served: usize,
    /// Values of those that were delivered.
    pub delivered: usize,
    /// Values that were lost where a gap says so.
    pub excused: usize,
    /// Values that were lost where the books say so.
    pub declared: usize,
    /// Messages that came more than once.
    pub repeated: usize,
    /// Declared gaps.
    pub gaps: usize,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violations, served, delivered, excused, declared, repeated, gaps } = self;
        write!(
            f,
            "served {served}, delivered {delivered}, lost in {gaps} gaps {excused}, lost as \
             declared {declared}, messages repeated {repeated}, violations {}",
            violations.len()
        )?;
        for violation in violations.iter().take(PRINTED) {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// The messages without repetitions, in the order of their first arrival.
struct Distinct<'a> {
    messages: Vec<&'a Message>,
    repeated: usize,
    changed: Vec<Violation>,
}

/// Which point of which device.
type Place<'a> = (&'a str, &'a str);

/// Judges everything that was seen.
pub fn judge(evidence: &Evidence) -> Verdict {
    let distinct = distinct(&evidence.messages);
    let served = by_value(&evidence.served);
    let delivered = delivered(&distinct);
    let mut violations = distinct.changed.clone();
    violations.extend(unfounded(evidence));
    violations.extend(traced(evidence, &distinct, &served));
    violations.extend(in_order(&distinct));
    violations.extend(booked(evidence, &distinct));
    let lost = lost(evidence, &delivered);
    let missing = lost.late.len() + lost.unexcused.len();
    let declared = evidence
        .accounts
        .last()
        .map_or(0, |last| last.ledger.dropped() + last.ledger.dead_lettered);
    if declared == 0 {
        violations.extend(lost.late);
        violations.extend(lost.unexcused);
    } else if missing as u64 > declared {
        // Which of them were dropped nobody knows, only how many.
        violations.push(Violation::Undeclared { lost: missing as u64, declared });
    }
    Verdict {
        violations,
        served: evidence.served.len(),
        delivered: evidence.served.len() - missing - lost.excused,
        excused: lost.excused,
        declared: if declared == 0 { 0 } else { missing },
        repeated: distinct.repeated,
        gaps: evidence.gaps.len(),
    }
}

/// One content for each identity.
fn distinct(all: &[Message]) -> Distinct<'_> {
    let mut known: HashMap<&str, &Message> = HashMap::new();
    let mut distinct = Distinct { messages: Vec::new(), repeated: 0, changed: Vec::new() };
    for message in all {
        match known.insert(&message.id, message) {
            None => distinct.messages.push(message),
            Some(first) => {
                distinct.repeated += 1;
                if (&first.device, &first.samples) != (&message.device, &message.samples) {
                    distinct.changed.push(Violation::Changed { id: message.id.clone() });
                }
            }
        }
    }
    distinct
}

fn by_value(served: &[Served]) -> HashMap<(Place<'_>, u32), &Served> {
    served.iter().map(|s| ((place(s), s.value), s)).collect()
}

fn place(served: &Served) -> Place<'_> {
    (&served.device, &served.point)
}

/// What arrived.
fn delivered<'a>(distinct: &Distinct<'a>) -> BTreeSet<(Place<'a>, u32)> {
    let samples = distinct.messages.iter().flat_map(|m| m.samples.iter().map(move |s| (*m, s)));
    samples
        .filter_map(|(m, s)| Some(((m.device.as_str(), s.point.as_str()), s.counter()?)))
        .collect()
}

fn value(place: Place<'_>, value: u32) -> Value {
    Value { device: place.0.to_owned(), point: place.1.to_owned(), value }
}

/// Values that never arrived.
#[derive(Default)]
struct Lost {
    excused: usize,
    late: Vec<Violation>,
    unexcused: Vec<Violation>,
}

/// Every served value is delivered, or served where a gap says that it may be lost.
fn lost(evidence: &Evidence, delivered: &BTreeSet<(Place<'_>, u32)>) -> Lost {
    let mut lost = Lost::default();
    for served in &evidence.served {
        if delivered.contains(&(place(served), served.value)) {
            continue;
        }
        let inside =
            evidence.gaps.iter().filter(|g| g.from <= served.received && served.sent <= g.to);
        let mut late = None;
        let mut excused = false;
        for gap in inside {
            if explains(evidence, *gap, served.sent) {
                excused = true;
                break;
            }
            late = Some(*gap);
        }
        let value = value(place(served), served.value);
        match (excused, late) {
            (true, _) => lost.excused += 1,
            (false, Some(gap)) => {
                lost.late.push(Violation::LostLate { value, sent: served.sent, gap });
            }
            (false, None) => lost.unexcused.push(Violation::Lost { value, sent: served.sent }),
        }
    }
    lost
}

/// Whether an answer at this time inside the gap may have been with an agent that was killed:
/// one that was uncommitted when the gap began, or one of a start that committed nothing.
fn explains(evidence: &Evidence, gap: Gap, sent: Nanos) -> bool {
    let allowance = nanos(evidence.allowance);
    let inside = |start: &&Nanos| gap.from <= **start && **start <= gap.to;
    std::iter::once(&gap.from)
        .chain(evidence.starts.iter().filter(inside))
        .any(|begin| *begin <= sent && sent <= begin + allowance)
}

/// A gap is a consequence of a start; one without would excuse what nothing explains.
fn unfounded(evidence: &Evidence) -> Vec<Violation> {
    let founded = |gap: &&Gap| evidence.starts.iter().any(|s| gap.from <= *s && *s <= gap.to);
    evidence
        .gaps
        .iter()
        .filter(|gap| !founded(gap))
        .map(|gap| Violation::Unfounded { gap: *gap })
        .collect()
}

/// Every delivered value was served before, is in one record, and has the time of its answer.
fn traced<'a>(
    evidence: &Evidence,
    distinct: &Distinct<'a>,
    served: &HashMap<(Place<'a>, u32), &Served>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut carriers: HashMap<(Place<'_>, u32), &str> = HashMap::new();
    let latest = nanos(evidence.request_timeout + CLOCKS);
    for message in &distinct.messages {
        for sample in &message.samples {
            let Some(counter) = sample.counter() else { continue };
            let at = ((message.device.as_str(), sample.point.as_str()), counter);
            let value = value(at.0, counter);
            let id = message.id.clone();
            if let Some(first) = carriers.insert(at, &message.id) {
                let ids = [first.to_owned(), id.clone()];
                found.push(Violation::Doubled { value: value.clone(), ids });
            }
            match served.get(&at) {
                None => found.push(Violation::Invented { value, id }),
                Some(answer) if message.arrived < answer.sent - nanos(CLOCKS) => {
                    found.push(Violation::Invented { value, id });
                }
                Some(answer) => {
                    let after = sample.time - answer.sent;
                    if after < -nanos(CLOCKS) || after > latest {
                        let (sent, time) = (answer.sent, sample.time);
                        found.push(Violation::Mistimed { value, sent, time });
                    }
                }
            }
        }
    }
    found
}

/// Per point, a later record has a later value.
fn in_order(distinct: &Distinct<'_>) -> Vec<Violation> {
    let mut newest: BTreeMap<Place<'_>, u32> = BTreeMap::new();
    let mut found = Vec::new();
    for message in &distinct.messages {
        for sample in &message.samples {
            let Some(counter) = sample.counter() else { continue };
            let at = (message.device.as_str(), sample.point.as_str());
            let before = newest.entry(at).or_insert(counter);
            if counter < *before {
                let id = message.id.clone();
                let value = value(at, counter);
                found.push(Violation::OutOfOrder { value, after: *before, id });
            }
            *before = counter.max(*before);
        }
    }
    found
}

/// The books balance at each start, never forget, and end with what the consumer has.
fn booked(evidence: &Evidence, distinct: &Distinct<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut before = 0;
    for account in &evidence.accounts {
        let (life, ledger) = (account.life, account.ledger.clone());
        let captured = ledger.captured;
        if !ledger.balances() {
            found.push(Violation::Unbalanced { life, ledger });
        }
        if captured < before {
            found.push(Violation::WentBack { life, captured, before });
        }
        before = captured;
    }
    let arrived = distinct.messages.iter().map(|m| m.samples.len() as u64).sum();
    if let Some(last) = evidence.accounts.last()
        && last.ledger.accepted() != arrived
    {
        found.push(Violation::Miscounted { ledger: last.ledger.clone(), arrived });
    }
    found
}

fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests;
