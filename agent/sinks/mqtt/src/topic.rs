//! Topics from a template. A topic is rendered once per origin (and point) and then looked up.

use std::collections::HashMap;
use std::sync::Arc;

use lineside_core::Origin;
use lineside_crds::model::{ObjectKey, TopicPart, TopicTemplate};

/// Origins kept. There is one per device and configuration; beyond this the cache starts anew,
/// which costs time and never correctness.
const MAX_ORIGINS: usize = 4_096;

/// Rendered topics of one session.
pub(crate) struct Topics {
    template: TopicTemplate,
    pipeline: ObjectKey,
    /// By address of the origin; the entry keeps the origin, so no other takes its address.
    origins: HashMap<usize, Entry>,
}

struct Entry {
    origin: Arc<Origin>,
    device: Option<Arc<str>>,
    points: Vec<Option<Arc<str>>>,
}

impl Topics {
    pub(crate) fn new(template: TopicTemplate, pipeline: ObjectKey) -> Self {
        Self { template, pipeline, origins: HashMap::new() }
    }

    /// The topic for a message of `origin`, or of one of its points.
    pub(crate) fn get(&mut self, origin: &Arc<Origin>, point: Option<u32>) -> Arc<str> {
        let address = Arc::as_ptr(origin) as usize;
        if self.origins.len() >= MAX_ORIGINS && !self.origins.contains_key(&address) {
            self.origins.clear();
        }
        let entry = self.origins.entry(address).or_insert_with(|| Entry {
            origin: origin.clone(),
            device: None,
            points: Vec::new(),
        });
        let slot = match point.map(|index| index as usize) {
            None => &mut entry.device,
            Some(index) => {
                if entry.points.len() <= index {
                    entry.points.resize(index + 1, None);
                }
                match entry.points.get_mut(index) {
                    Some(slot) => slot,
                    None => &mut entry.device,
                }
            }
        };
        let (template, pipeline, origin) = (&self.template, &self.pipeline, &entry.origin);
        slot.get_or_insert_with(|| render(template, pipeline, origin, point).into()).clone()
    }
}

/// The topic text. An empty location leaves no empty level behind.
fn render(
    template: &TopicTemplate,
    pipeline: &ObjectKey,
    origin: &Origin,
    point: Option<u32>,
) -> String {
    let mut topic = String::new();
    let mut after_nothing = false;
    for part in &template.0 {
        if let TopicPart::Literal(text) = part {
            let text = if after_nothing && (topic.is_empty() || topic.ends_with('/')) {
                text.strip_prefix('/').unwrap_or(text)
            } else {
                text
            };
            topic.push_str(text);
            after_nothing = false;
            continue;
        }
        let before = topic.len();
        match part {
            TopicPart::Literal(_) => {}
            TopicPart::Namespace => push_levels(&mut topic, &origin.device.namespace),
            TopicPart::Device => push_levels(&mut topic, origin.device_name()),
            TopicPart::Pipeline => push_levels(&mut topic, &pipeline.name),
            TopicPart::Point => {
                push_levels(&mut topic, point.and_then(|i| origin.point(i)).map_or("", |p| p));
            }
            TopicPart::Location => {
                for (i, level) in origin.location.iter().enumerate() {
                    if i > 0 {
                        topic.push('/');
                    }
                    push_levels(&mut topic, level);
                }
            }
        }
        after_nothing = topic.len() == before;
    }
    if after_nothing && topic.ends_with('/') {
        topic.pop();
    }
    topic
}

/// Names of the configuration hold no wildcard, but those that a listening driver learned come
/// from a peer, and one bad name must not cost the connection (MQTT 5, 3.3.2.1 and 1.5.4).
fn push_levels(topic: &mut String, name: &str) {
    topic.extend(name.chars().map(|c| match c {
        '+' | '#' => '_',
        c if c.is_control() => '_',
        c => c,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(location: &[&str], learned: Option<&str>) -> Arc<Origin> {
        Arc::new(Origin::new(
            ObjectKey::new("plant", "press"),
            learned.map(Into::into),
            vec!["temp".into(), "oil/level".into()].into(),
            location.iter().map(|l| (*l).to_owned()).collect(),
        ))
    }

    fn literal(text: &str) -> TopicPart {
        TopicPart::Literal(text.to_owned())
    }

    fn rendered(parts: Vec<TopicPart>, origin: &Arc<Origin>, point: Option<u32>) -> String {
        let mut topics = Topics::new(TopicTemplate(parts), ObjectKey::new("plant", "all"));
        let topic = topics.get(origin, point);
        assert!(Arc::ptr_eq(&topic, &topics.get(origin, point)), "looked up, not rendered again");
        topic.to_string()
    }

    #[test]
    fn every_placeholder_is_filled() {
        use TopicPart::{Device, Location, Namespace, Pipeline, Point};
        let origin = origin(&["acme", "north"], None);
        let parts = vec![
            Namespace,
            literal("/"),
            Pipeline,
            literal("/"),
            Location,
            literal("/"),
            Device,
            literal("/x/"),
            Point,
        ];
        assert_eq!(rendered(parts, &origin, Some(1)), "plant/all/acme/north/press/x/oil/level");
    }

    #[test]
    fn an_empty_location_leaves_no_empty_level() {
        use TopicPart::{Device, Location};
        let origin = origin(&[], None);
        let middle = vec![literal("a/"), Location, literal("/"), Device];
        let front = vec![Location, literal("/"), Device];
        let back = vec![Device, literal("/"), Location];
        assert_eq!(rendered(middle, &origin, None), "a/press");
        assert_eq!(rendered(front, &origin, None), "press");
        assert_eq!(rendered(back, &origin, None), "press");
    }

    #[test]
    fn a_learned_name_cannot_carry_wildcards_into_a_topic() {
        let origin = origin(&[], Some("a+b#c\0d"));
        assert_eq!(rendered(vec![TopicPart::Device], &origin, None), "press/a_b_c_d");
    }
}
