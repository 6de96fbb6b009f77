//! Which Secrets an object names, by name only. Pure; the operator never reads one.

use std::collections::BTreeSet;

use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};
use lineside_crds::model::Pipeline;

/// One finding per Secret that a pipeline names and one of these pools does not mount. `pools`
/// are the pools whose agents run it, with what each mounts.
pub fn not_mounted<'a>(
    pipeline: &Pipeline,
    pools: impl IntoIterator<Item = (&'a str, &'a BTreeSet<String>)> + Clone,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (field, secret) in named(pipeline) {
        let missing = pools.clone().into_iter().find(|(_, mounted)| !mounted.contains(&secret));
        if let Some((pool, _)) = missing {
            let message =
                format!("Secret {secret} is not in credentialSecrets of AgentPool {pool}");
            findings.push(Diagnostic::new(Code::SecretNotListed, field, message));
        }
    }
    findings
}

/// Where a pipeline names which Secret.
fn named(pipeline: &Pipeline) -> Vec<(FieldPath, String)> {
    let mut all = Vec::new();
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let at = FieldPath::spec().key("sinks").index(index).key(sink.kind.type_name());
        if let Some(credentials) = sink.kind.credentials() {
            all.push((at.key("credentialsRef").key("secret"), credentials.username.secret.clone()));
        }
        let Some(tls) = sink.kind.tls() else { continue };
        let at = at.key("tls");
        if let Some(ca) = &tls.ca {
            all.push((at.key("caRef").key("secret"), ca.secret.clone()));
        }
        if let Some(client) = &tls.client {
            all.push((at.key("certRef").key("secret"), client.cert.secret.clone()));
            all.push((at.key("keyRef").key("secret"), client.key.secret.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use lineside_crds::api::pipeline::PipelineSpec;
    use lineside_crds::model::ObjectKey;
    use lineside_crds::validate::{Meta, validate_pipeline};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_that_one_pool_does_not_mount_is_found_with_its_field() {
        let spec: PipelineSpec = serde_json::from_value(json!({
            "sources": [{"name": "a", "devices": {}}],
            "store": {"durability": "Memory"},
            "sinks": [{"name": "b", "mqtt": {
                "url": "mqtts://broker", "topic": "{device}",
                "credentialsRef": {"secret": "login"},
                "tls": {"caRef": {"secret": "tls", "key": "ca.crt"}},
            }}],
        }))
        .unwrap();
        let model = validate_pipeline(&Meta::new(ObjectKey::new("ns", "p")), &spec).unwrap();
        let all = BTreeSet::from(["login".to_owned(), "tls".to_owned()]);
        let some = BTreeSet::from(["login".to_owned()]);
        assert!(not_mounted(&model, [("full", &all)]).is_empty());
        let findings = not_mounted(&model, [("full", &all), ("lean", &some)]);
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(finding.code, Code::SecretNotListed);
        assert_eq!(finding.field.to_string(), "spec.sinks[0].mqtt.tls.caRef.secret");
        assert!(finding.message.contains("lean"), "{}", finding.message);
    }
}
