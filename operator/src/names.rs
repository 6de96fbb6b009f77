//! The names of what the operator makes (contracts, section 3).

use sha2::{Digest, Sha256};

/// Longest name of an agent. A StatefulSet's pods carry a label with its name, a dash and ten
/// characters more, and a label value has at most 63.
pub const MAX: usize = 52;

/// Characters of the digest.
const HASH: usize = 8;
/// What is left for pool and node in `lsa-<pool>-<node>-<hash8>`.
const PARTS: usize = MAX - "lsa---".len() - HASH;

/// The one name of an Agent and of everything that belongs to it: StatefulSet, ServiceAccount,
/// RoleBinding, Lease and claim.
///
/// It is `lsa-<pool>-<node>-<hash8>`: readable, a DNS label of at most 52 characters, and, by a
/// digest over the uncut names, different for every pair.
pub fn agent(pool: &str, node: &str) -> String {
    let (pool_part, node_part) = (dashed(pool), dashed(node));
    let half = PARTS / 2;
    // The longer part gives way, each keeps at least half.
    let for_pool = pool_part.len().min(PARTS.saturating_sub(node_part.len()).max(half));
    let for_node = PARTS - for_pool;
    let (pool_part, node_part) = (cut(&pool_part, for_pool), cut(&node_part, for_node));
    format!("lsa-{pool_part}-{node_part}-{}", hash8(&["pool", pool, node]))
}

/// The name of ConfigMap `shard` of an agent.
pub fn config_map(agent: &str, shard: usize) -> String {
    lineside_crds::delivery::config_map_name(agent, shard)
}

/// The name of the one pod of an agent.
pub fn pod(agent: &str) -> String {
    format!("{agent}-0")
}

/// A name with everything but small letters and digits as dashes, as dots cannot be in a label.
fn dashed(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    name.to_ascii_lowercase().chars().map(letter).collect()
}

/// At most `most` characters, without dashes at the end.
fn cut(part: &str, most: usize) -> &str {
    part.get(..most).unwrap_or(part).trim_end_matches('-')
}

/// Eight hex digits over all parts; a part cannot borrow from its neighbour.
fn hash8(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn is_dns_label(name: &str) -> bool {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !name.is_empty()
            && name.len() <= 63
            && name.chars().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-')
    }

    #[test]
    fn a_name_says_pool_and_node_and_never_changes() {
        // Written down: a changed name would orphan every agent of every cluster.
        assert_eq!(agent("default", "edge-1"), "lsa-default-edge-1-8f213196");
        assert_eq!(
            agent("default", "edge-1.plant.example"),
            "lsa-default-edge-1-plant-example-be35685d"
        );
        assert_eq!(pod("lsa-a-b-0"), "lsa-a-b-0-0");
        assert_eq!(config_map("lsa-a-b-0", 7), "lsa-a-b-0-7");
    }

    #[test]
    fn the_longer_part_gives_way() {
        let long = agent("default", &"n".repeat(253));
        assert_eq!(long.len(), MAX);
        assert!(long.starts_with("lsa-default-nnnn"), "{long}");
        let both = agent(&"p".repeat(63), &"n".repeat(253));
        assert_eq!(both.len(), MAX);
        assert!(both.starts_with(&format!("lsa-{}-{}-", "p".repeat(19), "n".repeat(19))), "{both}");
    }

    #[test]
    fn parts_cannot_be_confused() {
        assert_ne!(agent("a-b", "c"), agent("a", "b-c"));
        assert_ne!(agent("a", "b.c"), agent("a", "b-c"));
    }

    fn object_name() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9.-]{0,100}[a-z0-9])?"
    }

    proptest! {
        #[test]
        fn every_name_is_a_dns_label_of_at_most_52(pool in object_name(), node in object_name()) {
            let name = agent(&pool, &node);
            prop_assert!(is_dns_label(&name) && name.len() <= MAX, "{name}");
            prop_assert!(is_dns_label(&pod(&name)) && is_dns_label(&config_map(&name, 7)));
            prop_assert_eq!(agent(&pool, &node), name);
        }

        #[test]
        fn different_pairs_have_different_names(
            pairs in prop::collection::btree_set((object_name(), object_name()), 2..50)
        ) {
            let mut seen = BTreeMap::new();
            for (pool, node) in pairs {
                let other = seen.insert(agent(&pool, &node), (pool.clone(), node.clone()));
                prop_assert_eq!(other, None);
            }
        }
    }
}
