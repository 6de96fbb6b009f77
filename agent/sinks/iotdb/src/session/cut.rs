//! Cuts what the server refused in parts, so that one value costs itself alone. Pure.

use std::collections::BTreeSet;
use std::mem::Discriminant;

use lineside_core::Value;

use crate::pack::Share;
use crate::verdict::Reach;

/// What to do with refused samples of one record.
pub(super) enum Cut {
    /// Send each half alone.
    Halves([Share; 2]),
    /// All of them are refused.
    Whole,
}

/// First by points, then by types, then by rows if the refusal may be about single ones.
pub(super) fn cut(share: &Share, reach: Reach) -> Cut {
    let batch = &share.record.batch;
    let samples = share.indexes();
    let point = |index: u32| batch.get(index as usize).map(|s| s.point);
    let points: BTreeSet<_> = samples.iter().map(|index| point(*index)).collect();
    if let Some(middle) = points.iter().nth(points.len() / 2)
        && points.len() > 1
    {
        return halves(share, &samples, |index| point(index) < *middle);
    }
    let of = |index: u32| batch.get(index as usize).map(|s| kind(s.value));
    let first = samples.first().and_then(|index| of(*index));
    if samples.iter().any(|index| of(*index) != first) {
        return halves(share, &samples, |index| of(index) == first);
    }
    match (reach, samples.get(samples.len() / 2)) {
        (Reach::Row, Some(middle)) if samples.len() > 1 => {
            halves(share, &samples, |index| index < *middle)
        }
        _ => Cut::Whole,
    }
}

fn kind(value: &Value) -> Discriminant<Value> {
    std::mem::discriminant(value)
}

fn halves(share: &Share, samples: &[u32], is_first: impl Fn(u32) -> bool) -> Cut {
    let (first, second) = samples.iter().copied().partition(|index| is_first(*index));
    let half = |samples: Vec<u32>| Share { record: share.record.clone(), samples: Some(samples) };
    Cut::Halves([half(first), half(second)])
}
