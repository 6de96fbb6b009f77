//! Which devices and points a person wants to see, and whether there are any.

use lineside_crds::model::Glob;
use lineside_crds::suggest::did_you_mean;

use crate::api::query;
use crate::api::shape::{Device, State};

/// Names that a refusal lists at most.
const MOST_NAMES: usize = 20;

/// See the module.
#[derive(Debug)]
pub struct Wanted {
    /// Glob of `namespace/name` when it has a slash, else of the name alone, as the API has it.
    device: Glob,
    point: Option<Glob>,
}

impl Wanted {
    /// What `DEVICE[/POINT]` asks for, within the namespaces of a glob.
    pub fn new(what: Option<&str>, namespace: Option<&str>) -> Self {
        let what = what.unwrap_or("*");
        let (device, point) = match what.split_once('/') {
            Some((device, point)) => (device, Some(Glob(point.to_owned()))),
            None => (what, None),
        };
        let device = match namespace {
            Some(namespace) => format!("{namespace}/{device}"),
            None => device.to_owned(),
        };
        Self { device: Glob(device), point }
    }

    /// The path of the API that shows it; `limit` in lines.
    pub fn path(&self, limit: Option<u64>) -> String {
        let mut path = format!("/api/v1/tap?device={}", query::encode(&self.device.0));
        if let Some(point) = &self.point {
            path.push_str(&format!("&point={}", query::encode(&point.0)));
        }
        if let Some(limit) = limit {
            path.push_str(&format!("&limit={limit}"));
        }
        path
    }

    /// Whether a device is wanted.
    pub fn device(&self, device: &Device) -> bool {
        match self.device.0.contains('/') {
            true => self.device.matches(&format!("{}/{}", device.namespace, device.name)),
            false => self.device.matches(&device.name),
        }
    }

    /// Whether a point of a wanted device is wanted.
    pub fn point(&self, name: &str) -> bool {
        self.point.as_ref().is_none_or(|glob| glob.matches(name))
    }

    /// Whether only some points are wanted.
    pub fn has_point(&self) -> bool {
        self.point.is_some()
    }

    /// Says that no device is wanted, which would be waited for in vain.
    pub fn no_device(&self, state: &State) -> String {
        let names: Vec<&str> = state.devices.iter().map(|d| d.name.as_str()).collect();
        let asked = self.device.0.rsplit('/').next().unwrap_or_default();
        format!("no device is {:?}{}", self.device.0, others(asked, &names))
    }

    /// The same of points; `names` are those of the wanted devices.
    pub fn no_point(&self, names: &[&str]) -> String {
        let asked = self.point.as_ref().map_or("", |glob| &glob.0);
        let device = &self.device.0;
        format!("no point of {device:?} is {asked:?}{}", others(asked, names))
    }
}

fn others(asked: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return "; there are: none".into();
    }
    let more = match names.len().saturating_sub(MOST_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let guess = did_you_mean(asked, names.iter().copied());
    let listed = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    format!("{guess}; there are: {listed}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_refused_with_what_is() {
        let wanted = Wanted::new(Some("press/temprature"), None);
        let names = ["pressure", "temperature"];
        let said = wanted.no_point(&names);
        for part in ["\"press\"", "did you mean temperature?", "there are: pressure, temperature"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(wanted.no_point(&[]).contains("none"));
        let many: Vec<String> = (0..25).map(|i| format!("p{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(wanted.no_point(&many).ends_with("p19 and 5 more"));
    }

    #[test]
    fn a_namespace_makes_the_glob_one_of_the_whole_path() {
        let plain = Wanted::new(Some("press-*/t*"), None);
        assert_eq!(plain.path(Some(3)), "/api/v1/tap?device=press-%2A&point=t%2A&limit=3");
        let within = Wanted::new(None, Some("plant"));
        assert_eq!(within.path(None), "/api/v1/tap?device=plant%2F%2A");
        assert!(plain.point("temp") && !plain.point("level") && within.point("level"));
    }
}
