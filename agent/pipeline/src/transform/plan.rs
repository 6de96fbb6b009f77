//! Which transform touches which points of an origin, and what the points are called at the end:
//! decided once for each origin, so that a sample needs no name.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lineside_core::Origin;
use lineside_crds::model::{NamePattern, Transform, TransformKind};

use super::door::{Door, Limits};
use super::step::{Results, Step, Work};
use super::window::Window;

/// Most points that one device may have behind its transforms. Windows multiply points, so a
/// few lines of YAML could ask for more than a machine has.
const MOST_TRACKS: usize = 16_384;
/// Most problems that are told of one device.
const MOST_PROBLEMS: usize = 16;
/// Longest name of a point.
const NAME_BYTES: usize = 128;

/// The transforms of a pipeline, laid out for one origin.
pub(super) struct Plan {
    /// Transforms that have something to do at run time.
    pub steps: Vec<Step>,
    /// What goes out says that it comes from here; the source itself where no name differs.
    pub output: Arc<Origin>,
    /// What was left as it is, for people.
    pub problems: Vec<String>,
}

pub(super) fn plan(transforms: &[Transform], source: &Arc<Origin>) -> Plan {
    let mut draft = Draft {
        names: source.points.to_vec(),
        alive: vec![true; source.points.len()],
        taken: source.points.iter().cloned().collect(),
        problems: Vec::new(),
    };
    let steps: Vec<Step> = transforms.iter().filter_map(|t| draft.add(t)).collect();
    let output = match *draft.names == *source.points {
        true => source.clone(),
        false => Arc::new(Origin::new(
            source.device.clone(),
            source.learned.clone(),
            draft.names.into(),
            source.location.clone(),
        )),
    };
    Plan { steps, output, problems: draft.problems }
}

struct Draft {
    /// By track, as they are at this step.
    names: Vec<Arc<str>>,
    /// Whether samples of the track come as far as this step.
    alive: Vec<bool>,
    taken: HashSet<Arc<str>>,
    problems: Vec<String>,
}

impl Draft {
    /// The step of a transform; `None` if it has nothing to do at run time.
    fn add(&mut self, transform: &Transform) -> Option<Step> {
        let mut touched: Box<[bool]> = self
            .names
            .iter()
            .zip(&self.alive)
            .map(|(name, alive)| *alive && transform.touches(name))
            .collect();
        let tracks = touched.len();
        let names = || self.names.clone().into();
        let work = match &transform.kind {
            TransformKind::Rename { from, to } => {
                self.rename(transform, &touched, from, to);
                return None;
            }
            TransformKind::Scale { factor, offset } => {
                Work::Scale { factor: *factor, offset: *offset }
            }
            TransformKind::Deadband { band } => {
                Work::Deadband { band: *band, last: vec![None; tracks] }
            }
            TransformKind::OnChange { heartbeat } => {
                Work::OnChange { heartbeat: *heartbeat, last: vec![None; tracks] }
            }
            TransformKind::SwingingDoor { deviation, max_interval } => {
                let limits = Limits { deviation: *deviation, max_interval: nanos(*max_interval) };
                Work::SwingingDoor { limits, doors: vec![Door::default(); tracks] }
            }
            TransformKind::Window { every, functions } => {
                let results = (0..tracks).map(|track| match touched.get(track) {
                    Some(true) => functions
                        .iter()
                        .map(|f| {
                            let name = format!("{}.{}", self.names[track], f.name());
                            self.derive(transform, name.into())
                        })
                        .collect(),
                    _ => Box::default(),
                });
                let tracks_of_results = results.collect();
                // The samples end here, so their names are free for later transforms.
                for track in touched.iter().enumerate().filter(|(_, t)| **t).map(|(i, _)| i) {
                    self.alive[track] = false;
                    self.taken.remove(&self.names[track]);
                }
                Work::Window {
                    every: nanos(*every),
                    results: Results { functions: functions.clone(), tracks: tracks_of_results },
                    windows: vec![Window::default(); tracks],
                }
            }
            TransformKind::Filter(expression) => {
                Work::Filter { expression: expression.clone(), names: names() }
            }
            TransformKind::Map { expression, as_point } => {
                let names = names();
                let derived = as_point.as_ref().map(|pattern| {
                    let mut to = vec![0; tracks];
                    for track in 0..tracks {
                        let name = pattern.fill(&self.names[track]).into();
                        match touched[track].then(|| self.derive(transform, name)) {
                            Some(Some(new)) => to[track] = new,
                            Some(None) => touched[track] = false,
                            None => {}
                        }
                    }
                    to.into()
                });
                Work::Map { expression: expression.clone(), names, derived }
            }
            // A kind that this build does not know was refused before.
            _ => return None,
        };
        touched.contains(&true).then_some(Step { touched, work })
    }

    fn rename(&mut self, t: &Transform, touched: &[bool], from: &NamePattern, to: &NamePattern) {
        for track in (0..touched.len()).filter(|track| touched[*track]) {
            let old = self.names[track].clone();
            let Some(captured) = from.capture(&old) else { continue };
            let new: Arc<str> = to.fill(captured).into();
            if new == old {
                continue;
            }
            if let Err(why) = self.may_be_called(&new, Some(&old)) {
                self.tell(|| format!("{}: {old} does not become {new}: {why}", t.name));
                continue;
            }
            self.taken.remove(&old);
            self.taken.insert(new.clone());
            self.names[track] = new;
        }
    }

    /// The track of a point that a transform makes.
    fn derive(&mut self, transform: &Transform, name: Arc<str>) -> Option<u32> {
        if let Err(why) = self.may_be_called(&name, None) {
            self.tell(|| format!("{}: {name} is not made: {why}", transform.name));
            return None;
        }
        let track = u32::try_from(self.names.len()).ok()?;
        self.taken.insert(name.clone());
        self.names.push(name);
        self.alive.push(true);
        Some(track)
    }

    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem());
        }
    }

    /// `instead_of`: the name that would become free.
    fn may_be_called(&self, name: &str, instead_of: Option<&str>) -> Result<(), &'static str> {
        let taken = |other: &str| Some(other) != instead_of && self.taken.contains(other);
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !begins_well || name.len() > NAME_BYTES {
            return Err("this is no name of a point");
        }
        if taken(name) {
            return Err("the device has a point of this name");
        }
        // The rule of points of a device (LNS-1062): databases keep the quality there.
        if taken(&format!("{name}_q")) || name.strip_suffix("_q").is_some_and(taken) {
            return Err("this name and the same with _q cannot both be points");
        }
        if instead_of.is_none() && self.names.len() >= MOST_TRACKS {
            return Err("the device would have too many points");
        }
        Ok(())
    }
}

/// Of a duration that the schema bounds to a day.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
