//! The promise about what was acknowledged: whatever one sink had got before a cut had been
//! committed before, so every other sink gets it, too, under the same identity. Pure.

use std::collections::HashMap;
use std::fmt;

use crate::faults::evidence::Message;

/// Records that are printed; the rest is counted.
const PRINTED: usize = 10;

/// What became of the records that the witness had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Different records that the witness had.
    pub acknowledged: usize,
    /// Samples in them.
    pub samples: usize,
    /// Identities of those that the other sink never got.
    pub gone: Vec<String>,
    /// Identities of those that the other sink got with another content.
    pub changed: Vec<String>,
}

impl Kept {
    /// Compares what the witness had with everything that the other sink got.
    pub fn compare(witness: &[Message], delivered: &[Message]) -> Self {
        let mut contents: HashMap<&str, Vec<&Message>> = HashMap::new();
        for message in delivered {
            contents.entry(&message.id).or_default().push(message);
        }
        let mut kept = Self::default();
        let mut known: HashMap<&str, &Message> = HashMap::new();
        for message in witness {
            let same = |other: &Message| {
                (&other.device, &other.samples) == (&message.device, &message.samples)
            };
            match known.insert(&message.id, message) {
                // The witness itself got two contents.
                Some(first) if !same(first) => kept.changed.push(message.id.clone()),
                Some(_) => {}
                None => {
                    kept.acknowledged += 1;
                    kept.samples += message.samples.len();
                    match contents.get(message.id.as_str()) {
                        None => kept.gone.push(message.id.clone()),
                        Some(all) if !all.iter().all(|other| same(other)) => {
                            kept.changed.push(message.id.clone());
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        kept
    }

    /// Whether the promise was kept.
    pub fn is_clean(&self) -> bool {
        self.gone.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, samples, gone, changed } = self;
        write!(
            f,
            "acknowledged {acknowledged} records with {samples} samples, gone {}, changed {}",
            gone.len(),
            changed.len()
        )?;
        for (what, ids) in [("gone", gone), ("changed", changed)] {
            for id in ids.iter().take(PRINTED) {
                write!(f, "\n  {what}: {id}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::faults::evidence::{Message, Sample};

    fn message(offset: u32, value: u32) -> Message {
        let time = i64::from(value);
        let sample = Sample { point: "p".into(), value: value.into(), status: 0, time };
        let device = "default/d".into();
        Message { id: format!("s/1/{offset}"), device, samples: vec![sample], arrived: time }
    }

    fn messages() -> Vec<Message> {
        (0..10).map(|n| message(n, n + 100)).collect()
    }

    #[test]
    fn what_the_other_sink_has_too_is_kept_whenever_and_however_often_it_came() {
        let mut delivered = messages();
        delivered.reverse();
        delivered.extend(messages());
        for message in &mut delivered {
            message.arrived += 7;
        }
        let kept = Kept::compare(&messages()[2..], &delivered);
        assert!(kept.is_clean(), "{kept}");
        assert_eq!((kept.acknowledged, kept.samples), (8, 8));
    }

    #[test]
    fn a_record_that_only_the_witness_had_is_gone() {
        let mut delivered = messages();
        delivered.remove(9);
        let kept = Kept::compare(&messages(), &delivered);
        assert_eq!(kept.gone, ["s/1/9"]);
        assert!(!kept.is_clean());
        assert!(kept.to_string().ends_with("gone: s/1/9"), "{kept}");
    }

    #[test]
    fn an_identity_that_was_given_again_is_found_on_either_side() {
        let mut delivered = messages();
        delivered[4] = message(4, 9);
        assert_eq!(Kept::compare(&messages(), &delivered).changed, ["s/1/4"]);
        let mut witness = messages();
        witness.push(message(6, 9));
        assert_eq!(Kept::compare(&witness, &messages()).changed, ["s/1/6"]);
    }
}
