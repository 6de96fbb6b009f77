//! Before the charts are installed: is the cluster new enough, may this user install, and is
//! nothing in the way? Asked through kubectl, which knows the user's cluster and credentials.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lineside_crds::api::{GROUP, Kind};
use lineside_crds::diagnostics::Code;
use serde_json::Value;

use super::Finding;

/// The oldest release of Kubernetes.
const FLOOR: (u64, u64) = (1, 34);
/// Longest wait for one answer of kubectl.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often it is looked whether kubectl has ended.
const NAP: Duration = Duration::from_millis(20);

/// What installing the two charts creates; those of a namespace in the second list.
const EVERYWHERE: [&str; 5] = [
    "customresourcedefinitions.apiextensions.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
];
const IN_NAMESPACE: [&str; 6] = [
    "deployments.apps",
    "jobs.batch",
    "serviceaccounts",
    "configmaps",
    // Where Helm keeps what it installed.
    "secrets",
    "roles.rbac.authorization.k8s.io",
];

/// Asks through `kubectl`, with `options` (context, kubeconfig) before each question.
pub fn pre(options: &[String], namespace: &str) -> Vec<Finding> {
    let ask = |args: &[&str]| kubectl(options, args);
    let mut findings = Vec::new();
    match ask(&["version", "-o", "json"]) {
        Ok(text) => findings.push(version(&text)),
        Err(error) => {
            findings.push(Finding::ill("cluster", Code::KubectlFailed, error));
            // Every other question would fail for the same reason.
            return findings;
        }
    }
    for kind in Kind::ALL {
        let name = format!("{}.{GROUP}", kind.plural());
        let found = ask(&["get", "crd", &name, "--ignore-not-found", "-o", "json"]);
        findings.push(match found {
            Ok(text) => definition(&name, &text),
            Err(error) => Finding::ill(format!("definition {name}"), Code::KubectlFailed, error),
        });
    }
    let everywhere = EVERYWHERE.iter().map(|what| (*what, Vec::new()));
    let inside = IN_NAMESPACE.iter().map(|what| (*what, vec!["-n", namespace]));
    for (what, place) in everywhere.chain(inside) {
        let answer = ask(&[&["auth", "can-i", "create", what], place.as_slice()].concat());
        findings.push(right(what, &place, answer));
    }
    findings
}

fn version(text: &str) -> Finding {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let server = &answer["serverVersion"];
    // Some distributions write `34+`.
    let number = |name: &str| {
        let digits = server[name].as_str().unwrap_or_default().trim_end_matches('+');
        digits.parse::<u64>().ok()
    };
    let shown = server["gitVersion"].as_str().unwrap_or("of unknown version");
    let subject = format!("cluster {shown}");
    match (number("major"), number("minor")) {
        (Some(major), Some(minor)) if (major, minor) >= FLOOR => {
            Finding::well(subject, "new enough")
        }
        (Some(_), Some(_)) => {
            let text = format!("needs Kubernetes {}.{} or later", FLOOR.0, FLOOR.1);
            Finding::ill(subject, Code::KubernetesTooOld, text)
        }
        _ => Finding::ill(subject, Code::KubectlFailed, "kubectl names no version of the server"),
    }
}

fn definition(name: &str, text: &str) -> Finding {
    let subject = format!("definition {name}");
    if text.trim().is_empty() {
        return Finding::well(subject, "not there yet");
    }
    let found: Value = serde_json::from_str(text).unwrap_or_default();
    let release = &found["metadata"]["annotations"]["meta.helm.sh/release-name"];
    match release.as_str() {
        Some(release) => Finding::well(subject, format!("belongs to the Helm release {release}")),
        None => {
            let text = "is there, and does not belong to a Helm release";
            Finding::ill(subject, Code::DefinitionsForeign, text)
        }
    }
}

fn right(what: &str, place: &[&str], answer: Result<String, String>) -> Finding {
    let place = place.last().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    let subject = format!("right to create {what}{place}");
    match answer {
        Ok(_) => Finding::well(subject, "yes"),
        // kubectl prints the answer and ends with 1.
        Err(text) if text.trim().is_empty() || text.trim().starts_with("no") => {
            Finding::ill(subject, Code::RightsMissing, "no")
        }
        Err(error) => Finding::ill(subject, Code::KubectlFailed, error),
    }
}

/// Standard output of kubectl; else what it said about its failure.
fn kubectl(options: &[String], args: &[&str]) -> Result<String, String> {
    let child = Command::new("kubectl")
        .args(options)
        .arg("--request-timeout=10s")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "there is no kubectl on the PATH".to_owned(),
        _ => format!("run kubectl: {e}"),
    })?;
    let read = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What is no text is no answer either.
            let _ = stream.map(|mut stream| stream.read_to_string(&mut text));
            text
        })
    };
    let out = read(child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
    let err = read(child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
    let until = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(NAP),
            other => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(match other {
                    Err(e) => format!("wait for kubectl: {e}"),
                    Ok(_) => format!("kubectl does not end within {DEADLINE:?}"),
                });
            }
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    match status.success() {
        true => Ok(out),
        false if err.trim().is_empty() => Err(out.trim().to_owned()),
        false => Err(last_line(&err)),
    }
}

/// kubectl repeats itself; the last line says it all.
fn last_line(text: &str) -> String {
    text.trim().lines().next_back().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(finding: &Finding) -> Option<Code> {
        finding.verdict.as_ref().err().map(|(code, _)| *code)
    }

    #[test]
    fn a_cluster_below_the_floor_is_found_also_with_a_plus_in_its_version() {
        let of = |minor: &str| {
            let server = format!(r#"{{"major":"1","minor":"{minor}","gitVersion":"v"}}"#);
            code(&version(&format!(r#"{{"serverVersion":{server}}}"#)))
        };
        assert_eq!((of("34"), of("37+"), of("40")), (None, None, None));
        assert_eq!(
            (of("33"), of("9+")),
            (Some(Code::KubernetesTooOld), Some(Code::KubernetesTooOld))
        );
        assert_eq!(code(&version("{}")), Some(Code::KubectlFailed));
    }

    #[test]
    fn definitions_are_well_when_absent_or_of_a_release() {
        assert_eq!(code(&definition("x", "")), None);
        let helm = r#"{"metadata":{"annotations":{"meta.helm.sh/release-name":"crds"}}}"#;
        assert_eq!(code(&definition("x", helm)), None);
        assert_eq!(code(&definition("x", r#"{"metadata":{}}"#)), Some(Code::DefinitionsForeign));
    }

    #[test]
    fn a_missing_right_is_told_apart_from_a_question_that_failed() {
        assert_eq!(code(&right("x", &[], Ok("yes\n".into()))), None);
        for no in ["no", "no - something", ""] {
            assert_eq!(code(&right("x", &[], Err(no.into()))), Some(Code::RightsMissing), "{no}");
        }
        let failed = right("x", &["-n", "y"], Err("connection refused".into()));
        assert_eq!(code(&failed), Some(Code::KubectlFailed));
        assert_eq!(failed.subject, "right to create x in y");
    }
}
