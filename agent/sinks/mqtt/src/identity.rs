//! Who the sink is towards the broker: client id, the topic of its online state, its payloads.

use bytes::Bytes;
use lineside_core::encode::write_rfc3339;
use lineside_core::sink::SinkIdentity;
use lineside_core::{Clock, UnixNanos};
use sha2::{Digest, Sha256};

const PREFIX: &str = "lineside-";

/// MQTT 3.1.1, 3.1.3.1: a server must accept client ids of 1 to 23 bytes.
const MAX_CLIENT_ID: usize = 23;

/// The client id: `lineside-` and 14 hexadecimal digits of a SHA-256 over agent uid, namespace,
/// pipeline and sink. Two sinks never share one, and a restart keeps it, so that the broker
/// replaces a dead connection at once.
pub fn client_id(identity: &SinkIdentity) -> String {
    let mut hash = Sha256::new();
    let namespace = &identity.pipeline.namespace;
    for part in [&identity.agent_uid, namespace, &identity.pipeline.name, &identity.sink] {
        // The length in front keeps ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = PREFIX.to_owned();
    for byte in hash.finalize().iter().take((MAX_CLIENT_ID - PREFIX.len()) / 2) {
        id.push_str(&format!("{byte:02x}"));
    }
    id
}

/// Where the online state is retained: `lineside/{namespace}/agents/{agent}/{pipeline}/{sink}`.
pub fn state_topic(identity: &SinkIdentity) -> String {
    let SinkIdentity { agent, pipeline, sink, .. } = identity;
    format!("lineside/{}/agents/{agent}/{}/{sink}", pipeline.namespace, pipeline.name)
}

/// The payload of the last will. The broker publishes it, so it cannot carry a time.
pub(crate) const WILL: &[u8] = br#"{"state":"Offline"}"#;

pub(crate) fn online(clock: &dyn Clock) -> Bytes {
    state("Online", clock.now())
}

pub(crate) fn offline(clock: &dyn Clock) -> Bytes {
    state("Offline", clock.now())
}

fn state(state: &str, time: UnixNanos) -> Bytes {
    let mut out = format!("{{\"state\":\"{state}\",\"time\":\"").into_bytes();
    write_rfc3339(time, &mut out);
    out.extend_from_slice(b"\"}");
    out.into()
}

#[cfg(test)]
mod tests {
    use lineside_crds::model::ObjectKey;

    use super::*;

    fn identity(agent_uid: &str, pipeline: (&str, &str), sink: &str) -> SinkIdentity {
        SinkIdentity {
            agent_uid: agent_uid.into(),
            agent: "edge-1".into(),
            pipeline: ObjectKey::new(pipeline.0, pipeline.1),
            sink: sink.into(),
        }
    }

    #[test]
    fn the_client_id_is_short_stable_and_different_for_every_sink() {
        let id = client_id(&identity("u1", ("plant", "all"), "broker"));
        assert_eq!(id, client_id(&identity("u1", ("plant", "all"), "broker")));
        assert_eq!(id.len(), MAX_CLIENT_ID);
        for other in [
            identity("u2", ("plant", "all"), "broker"),
            identity("u1", ("plan", "tall"), "broker"),
            identity("u1", ("plant", "allb"), "roker"),
            identity("u1", ("plant", "all"), "other"),
        ] {
            assert_ne!(id, client_id(&other));
        }
    }

    #[test]
    fn the_online_state_has_one_topic_per_sink() {
        let topic = state_topic(&identity("u1", ("plant", "all"), "broker"));
        assert_eq!(topic, "lineside/plant/agents/edge-1/all/broker");
        assert_eq!(
            &state("Online", 0)[..],
            br#"{"state":"Online","time":"1970-01-01T00:00:00.000000000Z"}"#
        );
    }
}
