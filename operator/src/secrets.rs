//! Which Secrets an object names, by name only. Pure; the operator never reads one.

use std::collections::BTreeSet;

use lineside_crds::diagnostics::{Code, Diagnostic, FieldPath};
use lineside_crds::model::{Pipeline, SinkKind, SinkVersion};

/// One finding per Secret that a pipeline names and one of these pools does not mount. `pools`
/// are the pools whose agents run it, with what each mounts.
pub fn not_mounted<'a>(
    pipeline: &Pipeline,
    pools: impl IntoIterator<Item = (&'a str, &'a BTreeSet<String>)> + Clone,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (field, secret, owner) in named(pipeline) {
        let missing = pools.clone().into_iter().find(|(_, mounted)| !mounted.contains(&secret));
        if let Some((pool, _)) = missing {
            let message =
                format!("Secret {secret}{owner} is not in credentialSecrets of AgentPool {pool}");
            findings.push(Diagnostic::new(Code::SecretNotListed, field, message));
        }
    }
    findings
}

/// Where a pipeline names which Secret, and whose word that is if it is not its own.
fn named(pipeline: &Pipeline) -> Vec<(FieldPath, String, String)> {
    let mut all = Vec::new();
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let at = FieldPath::spec().key("sinks").index(index);
        for (path, secret) in of(&sink.kind) {
            all.push(match &sink.shared {
                Some(SinkVersion { name, .. }) => {
                    (at.key("sinkRef").key("name"), secret, format!(" of Sink {name}"))
                }
                None => {
                    let at =
                        path.iter().fold(at.key(sink.kind.type_name()), |at, key| at.key(*key));
                    (at, secret, String::new())
                }
            });
        }
    }
    all
}

/// The Secrets that a destination names, each with the path from there to where it does.
pub fn of(kind: &SinkKind) -> Vec<(&'static [&'static str], String)> {
    let mut all: Vec<(&'static [&'static str], String)> = Vec::new();
    if let Some(credentials) = kind.credentials() {
        all.push((&["credentialsRef", "secret"], credentials.username.secret.clone()));
    }
    let Some(tls) = kind.tls() else { return all };
    if let Some(ca) = &tls.ca {
        all.push((&["tls", "caRef", "secret"], ca.secret.clone()));
    }
    if let Some(client) = &tls.client {
        all.push((&["tls", "certRef", "secret"], client.cert.secret.clone()));
        all.push((&["tls", "keyRef", "secret"], client.key.secret.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lineside_crds::api::pipeline::PipelineSpec;
    use lineside_crds::model::{NamedSink, ObjectKey};
    use lineside_crds::validate::{Meta, validate_pipeline, validate_sink};
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
        let meta = Meta::new(ObjectKey::new("ns", "p"));
        let model = validate_pipeline(&meta, &spec).unwrap().whole().unwrap();
        let all = BTreeSet::from(["login".to_owned(), "tls".to_owned()]);
        let some = BTreeSet::from(["login".to_owned()]);
        assert!(not_mounted(&model, [("full", &all)]).is_empty());
        let findings = not_mounted(&model, [("full", &all), ("lean", &some)]);
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(finding.code, Code::SecretNotListed);
        assert_eq!(finding.field.to_string(), "spec.sinks[0].mqtt.tls.caRef.secret");
        assert!(finding.message.contains("lean"), "{}", finding.message);
    }

    #[test]
    fn a_secret_that_a_sink_names_is_found_where_the_pipeline_names_the_sink() {
        let meta = |name| Meta::new(ObjectKey::new("ns", name));
        let sink = validate_sink(
            &meta("tsdb"),
            &serde_json::from_value(json!({"iotdb": {
                "url": "iotdb://h", "credentialsRef": {"secret": "login"}}}))
            .unwrap(),
        );
        let sink = Arc::new(sink.unwrap());
        let spec: PipelineSpec = serde_json::from_value(json!({
            "sources": [{"name": "a", "devices": {}}],
            "sinks": [{"name": "b", "sinkRef": {"name": "tsdb"}}],
        }))
        .unwrap();
        let open = validate_pipeline(&meta("p"), &spec).unwrap();
        let model = open.resolve(|_| NamedSink::Valid(sink.clone())).unwrap();
        let findings = not_mounted(&model, [("lean", &BTreeSet::new())]);
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(finding.field.to_string(), "spec.sinks[0].sinkRef.name");
        assert!(finding.message.contains("Secret login of Sink tsdb"), "{}", finding.message);
    }
}
