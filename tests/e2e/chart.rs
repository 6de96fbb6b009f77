//! The charts as Helm renders them, without a cluster: what every pod is allowed, what the
//! operator may do, that every value has an effect, a bound and a line in the docs.
//!
//! `UPDATE=1 cargo test -p lineside-tests --test e2e chart::` writes the rendered files:
//! `config/default/operator.yaml`, `charts/lineside/testdata/` and the part of
//! `values.schema.json` that is the schema of an AgentPool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lineside_crds::api::Kind;
use lineside_crds::{schema, yaml};
use lineside_lab::binaries::Set;
use lineside_tests::dir::TestDir;
use lineside_tests::tools::workspace;
use serde_json::{Value, json};
use xtask::cache::Cache;

/// Namespace of every rendering.
const NAMESPACE: &str = "lineside-system";

pub fn chart(name: &str) -> PathBuf {
    workspace().join("charts").join(name)
}

/// Helm with its own files in the test's folder, so that nobody's settings count.
fn helm(dir: &TestDir, args: &[&str]) -> Output {
    let cache = Cache::of(workspace()).unwrap();
    let home = dir.folder("helm").unwrap();
    let mut helm = Command::new(Set::Helm.find(cache.root()).unwrap().join("helm"));
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(name, &home);
    }
    helm.env_remove("KUBECONFIG").args(args).output().unwrap()
}

/// What `helm template` says: the text, or what it complains about.
fn template(dir: &TestDir, values: &Value, more: &[&str]) -> Result<String, String> {
    let file = dir.join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let chart = chart("lineside");
    let mut args = vec!["template", "lineside", chart.to_str().unwrap(), "-n", NAMESPACE];
    args.extend(["-f", file.to_str().unwrap()]);
    args.extend(more);
    let output = helm(dir, &args);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The objects of a rendering.
pub fn render(dir: &TestDir, values: &Value) -> Vec<Value> {
    let text = template(dir, values, &[]).unwrap_or_else(|e| panic!("{values}: {e}"));
    let documents = text.split("\n---").filter(|part| part.contains("kind:")).count();
    let objects = yaml::values(&text);
    assert_eq!(objects.len(), documents, "a document is no YAML:\n{text}");
    objects
}

/// Values that set everything to something that is not the default.
pub fn everything() -> Value {
    json!({
        "watchNamespaces": ["plant", "line-2"],
        "imageRegistry": "registry.example:5000/mirror",
        "image": {
            "repository": "control", "tag": "9.9.9", "digest": "", "pullPolicy": "Always"
        },
        "agent": {"image": {
            "repository": "edge", "tag": "", "pullPolicy": "Never",
            "digest": format!("sha256:{}", "0".repeat(64))
        }},
        "imagePullSecrets": [{"name": "registry-login"}],
        "defaultPool": {
            "nodeSelector": {"lineside.dev/edge": "yes"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "stateVolume": {"emptyDir": {}},
            "heartbeatSeconds": 20
        },
        "replicas": 2,
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "logFormat": "text",
        "serviceAccount": {"name": "somebody", "annotations": {"example.com/role": "a"}},
        "commonLabels": {"team": "ot"},
        "podLabels": {"mesh": "off"},
        "podAnnotations": {"example.com/scrape": "true"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway"
        }],
        "priorityClassName": "high",
        "agentClusterRole": {"create": false},
        "metrics": {
            "labels": {"release": "monitoring"},
            "podMonitor": {"enabled": true, "interval": "1m"},
            "prometheusRule": {"enabled": true, "runbooks": "https://wiki.example/lineside"},
            "dashboard": {"enabled": true}
        }
    })
}

/// The sets of values that the promises are checked for.
fn matrix() -> Vec<Value> {
    vec![json!({}), json!({"watchNamespaces": ["plant", "line-2"]}), everything()]
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The spec of every pod, with the name of its object.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let of = |object| match kind(object) {
        "Pod" => Some(&object["spec"]),
        "Deployment" | "Job" => Some(&object["spec"]["template"]["spec"]),
        _ => None,
    };
    objects.iter().filter_map(|object| Some((name(object), of(object)?))).collect()
}

/// The rules of every role, by kind, namespace and name.
fn roles(objects: &[Value]) -> BTreeMap<String, &Value> {
    let roles = objects.iter().filter(|o| matches!(kind(o), "Role" | "ClusterRole"));
    roles
        .map(|role| {
            let namespace = role["metadata"]["namespace"].as_str().unwrap_or("-");
            (format!("{} {namespace} {}", kind(role), name(role)), &role["rules"])
        })
        .collect()
}

/// Compares a file of the checkout, or writes it.
fn golden(path: &str, wanted: &str) {
    let full = workspace().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, wanted).unwrap();
    }
    assert!(
        std::fs::read_to_string(&full).unwrap_or_default() == wanted,
        "{path} is not up to date; run: UPDATE=1 cargo test -p lineside-tests --test e2e chart::"
    );
}

#[test]
fn the_linter_has_nothing_to_say() {
    let dir = TestDir::new("chart_lint").unwrap();
    for name in ["lineside", "lineside-crds"] {
        let output = helm(&dir, &["lint", "--strict", chart(name).to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn every_pod_keeps_pod_security_restricted_and_names_a_fixed_image() {
    let dir = TestDir::new("chart_pods").unwrap();
    for values in matrix() {
        let objects = render(&dir, &values);
        let pods = pods(&objects);
        assert_eq!(pods.len(), 3, "operator, hook and test");
        for (name, pod) in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], json!(true), "{name}");
            assert_eq!(security["seccompProfile"]["type"], json!("RuntimeDefault"), "{name}");
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(pod[forbidden], Value::Null, "{name}: {forbidden}");
            }
            assert!(pod["automountServiceAccountToken"].is_boolean(), "{name} says it");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(
                    security,
                    &json!({
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]}
                    }),
                    "{name}"
                );
                let image = container["image"].as_str().unwrap();
                assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                let empty = Vec::new();
                let env = container["env"].as_array().unwrap_or(&empty);
                let names: BTreeSet<_> = env.iter().map(|e| e["name"].as_str()).collect();
                assert_eq!(names.len(), env.len(), "{name}: Helm 4 refuses a variable twice");
            }
        }
    }
}

#[test]
fn no_role_has_a_wildcard_a_secret_or_a_way_to_more_rights() {
    let dir = TestDir::new("chart_roles").unwrap();
    for values in matrix() {
        let objects = render(&dir, &values);
        let mut bound = 0;
        for (role, rules) in roles(&objects) {
            for rule in rules.as_array().unwrap() {
                let all = |key: &str| -> Vec<String> {
                    let words = rule[key].as_array().into_iter().flatten();
                    words.map(|w| w.as_str().unwrap().to_owned()).collect()
                };
                let (resources, verbs) = (all("resources"), all("verbs"));
                assert!(!verbs.is_empty() && !resources.is_empty(), "{role}: {rule}");
                for word in all("apiGroups").iter().chain(&resources).chain(&verbs) {
                    assert!(!word.contains('*'), "{role}: {rule}");
                }
                for forbidden in ["secrets", "pods/exec", "pods/attach", "serviceaccounts/token"] {
                    assert!(!resources.iter().any(|r| r == forbidden), "{role}: {rule}");
                }
                for forbidden in ["escalate", "impersonate"] {
                    assert!(!verbs.iter().any(|v| v == forbidden), "{role}: {rule}");
                }
                if verbs.iter().any(|v| v == "bind") {
                    assert_eq!(all("resourceNames"), ["lineside-agent"], "{role}");
                    bound += 1;
                }
            }
        }
        let namespaces = values["watchNamespaces"].as_array().map_or(0, Vec::len);
        assert_eq!(bound, namespaces.max(1), "one place, or one per namespace");
    }
}

#[test]
fn with_namespaces_the_cluster_role_has_only_what_no_role_can_give() {
    let dir = TestDir::new("chart_namespaces").unwrap();
    let objects = render(&dir, &json!({"watchNamespaces": ["plant", "line-2"]}));
    let roles = roles(&objects);
    let role = |name: &str| roles.get(name).unwrap_or_else(|| panic!("{name}: {roles:#?}"));
    assert_eq!(
        role("ClusterRole - lineside-operator.lineside-system"),
        &&json!([
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
            // A Role is deleted with its namespace, perhaps before the Agents in it.
            {"apiGroups": ["lineside.dev"], "resources": ["agents"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["plant", "line-2"],
             "verbs": ["get"]},
        ])
    );
    let everywhere = render(&dir, &json!({}));
    let everywhere = self::roles(&everywhere);
    let cluster = everywhere["ClusterRole - lineside-operator.lineside-system"];
    let cluster: Vec<_> = cluster.as_array().unwrap().iter().collect();
    for namespace in ["plant", "line-2"] {
        let rules = role(&format!("Role {namespace} lineside-operator.lineside-system"));
        for rule in rules.as_array().unwrap() {
            assert!(cluster.contains(&rule), "{rule}");
        }
    }
    let policy = objects.iter().find(|o| kind(o) == "ValidatingAdmissionPolicy").unwrap();
    let conditions = policy["spec"]["matchConditions"].to_string();
    assert!(conditions.contains(r#"in [\"plant\",\"line-2\"]"#), "{conditions}");
}

#[test]
fn the_rights_are_those_of_the_golden_file() {
    let dir = TestDir::new("chart_rbac").unwrap();
    let mut text = String::from("# Made by tests/e2e/chart.rs; read changes of it with care.\n");
    for (mode, values) in [
        ("all namespaces", json!({})),
        ("watchNamespaces: [plant]", json!({"watchNamespaces": ["plant"]})),
    ] {
        let objects = render(&dir, &values);
        for (role, rules) in roles(&objects) {
            for rule in rules.as_array().unwrap() {
                let words = |key: &str| {
                    let words = rule[key].as_array().into_iter().flatten();
                    words.map(|w| w.as_str().unwrap()).collect::<Vec<_>>().join(",")
                };
                let (group, names) = (words("apiGroups"), words("resourceNames"));
                let group = if group.is_empty() { "core" } else { &group };
                let names = if names.is_empty() { names } else { format!(" named {names}") };
                let (resources, verbs) = (words("resources"), words("verbs"));
                text += &format!("{mode} | {role} | {group}: {resources}{names} | {verbs}\n");
            }
        }
    }
    golden("charts/lineside/testdata/rights.txt", &text);
}

/// Every leaf of a value with the path to it; an empty list or map is a leaf.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                leaves(inner, &at, found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// The paths of everything in `values.yaml`.
fn documented_paths() -> Vec<String> {
    let text = std::fs::read_to_string(chart("lineside").join("values.yaml")).unwrap();
    let mut found = Vec::new();
    leaves(&yaml::values(&text)[0], "", &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn every_value_changes_what_is_rendered() {
    let dir = TestDir::new("chart_effect").unwrap();
    let all = everything();
    // What only shows beside another value stands with that.
    let beside = |path: &str| match path {
        "agentClusterRole.create" => json!({"watchNamespaces": ["plant"]}),
        "metrics.labels" | "metrics.podMonitor.interval" => {
            json!({"metrics": {"podMonitor": {"enabled": true}}})
        }
        "metrics.prometheusRule.runbooks" => {
            json!({"metrics": {"prometheusRule": {"enabled": true}}})
        }
        _ => json!({}),
    };
    let different = |path: &str| match path {
        "image.digest" => json!(format!("sha256:{}", "1".repeat(64))),
        "agent.image.tag" => json!("8.8.8"),
        path => all.pointer(&format!("/{}", path.replace('.', "/"))).unwrap().clone(),
    };
    for path in documented_paths() {
        // `resources` has leaves of its own; the whole is replaced.
        let path = if path.starts_with("resources.") { "resources".to_owned() } else { path };
        let mut with = beside(&path);
        let before = template(&dir, &with, &[]).unwrap();
        let place = path.split('.').fold(&mut with, |at, key| &mut at[key]);
        *place = different(&path);
        let after = template(&dir, &with, &[]).unwrap();
        assert_ne!(before, after, "{path} has no effect");
    }
}

#[test]
fn every_value_has_a_row_in_the_docs_with_its_default() {
    let page = std::fs::read_to_string(workspace().join("docs/reference/helm.md")).unwrap();
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(path, rest)| (path, rest.split(" | ").next().unwrap()))
        .collect();
    let text = std::fs::read_to_string(chart("lineside").join("values.yaml")).unwrap();
    let values = &yaml::values(&text)[0];
    let paths = documented_paths();
    for path in &paths {
        let default = values.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
        let wanted = match default {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        assert_eq!(rows.get(path.as_str()), Some(&wanted.as_str()), "{path}");
    }
    let known: BTreeSet<_> = paths.iter().map(String::as_str).collect();
    let gone: Vec<_> = rows.keys().filter(|path| !known.contains(*path)).collect();
    assert!(gone.is_empty(), "in the docs, but no value: {gone:?}");
}

#[test]
fn the_schema_refuses_what_is_misspelt_or_out_of_bounds_and_names_it() {
    let dir = TestDir::new("chart_schema").unwrap();
    let digest = json!({"image": {"digest": "sha256:12"}});
    let wrong = [
        (json!({"watchNamespace": ["plant"]}), "watchNamespace"),
        (json!({"watchNamespaces": "plant"}), "watchNamespaces"),
        (json!({"watchNamespaces": ["Plant"]}), "watchNamespaces"),
        (json!({"watchNamespaces": ["a", "a"]}), "watchNamespaces"),
        (json!({"image": {"name": "a"}}), "name"),
        (json!({"image": {"repository": "Upper/case"}}), "repository"),
        (digest, "digest"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (json!({"agent": {"tag": "1"}}), "tag"),
        (json!({"imageRegistry": "https://registry.example"}), "imageRegistry"),
        (json!({"imagePullSecrets": ["registry-login"]}), "imagePullSecrets"),
        (json!({"defaultPool": {"nodeSelectors": {}}}), "nodeSelectors"),
        (json!({"defaultPool": {"heartbeatSeconds": 1}}), "heartbeatSeconds"),
        (json!({"defaultPool": {"stateVolume": {"hostPath": {}}}}), "hostPath"),
        (json!({"replicas": "1"}), "replicas"),
        (json!({"replicas": 50}), "replicas"),
        (json!({"resources": {"request": {}}}), "request"),
        (json!({"resources": {"limits": {"memory": "much"}}}), "memory"),
        (json!({"logFormat": "xml"}), "logFormat"),
        (json!({"serviceAccount": {"create": true}}), "create"),
        (json!({"commonLabels": {"a": "b c"}}), "commonLabels"),
        (json!({"podAnnotations": {"a": 1}}), "podAnnotations"),
        (json!({"tolerations": [{"effects": "NoSchedule"}]}), "effects"),
        (json!({"affinity": {"nodeAffinities": {}}}), "nodeAffinities"),
        (json!({"topologySpreadConstraints": [{"maxSkew": 1}]}), "topologySpreadConstraints"),
        (json!({"metrics": {"serviceMonitor": {}}}), "serviceMonitor"),
        (json!({"metrics": {"podMonitor": {"interval": "often"}}}), "interval"),
        (json!({"metrics": {"prometheusRule": {"runbooks": "wiki"}}}), "runbooks"),
        // Two releases that serve everything would fight.
        (json!({"agentClusterRole": {"create": false}}), "watchNamespaces"),
    ];
    for (values, named) in wrong {
        let complaint = template(&dir, &values, &[]).expect_err(&values.to_string());
        assert!(complaint.contains(named), "{values}: {complaint}");
        assert!(complaint.contains("schema"), "{values}: {complaint}");
    }
}

/// Every object of a schema that lists its properties.
fn objects_of(schema: &Value, at: &str, check: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) && map.contains_key("type") {
                check(at, schema);
            }
            for (key, inner) in map {
                objects_of(inner, &format!("{at}/{key}"), check);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| objects_of(inner, at, check)),
        _ => {}
    }
}

#[test]
fn no_object_of_the_schemas_takes_unknown_keys() {
    for name in ["lineside", "lineside-crds"] {
        let text = std::fs::read_to_string(chart(name).join("values.schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let mut checked = 0;
        objects_of(&schema, "", &mut |at, object| {
            assert_eq!(object["additionalProperties"], json!(false), "{name}: {at}");
            checked += 1;
        });
        assert!(checked > 0);
    }
}

/// A schema of the API as JSON Schema says it: unknown fields are refused by a keyword, and
/// what only Kubernetes knows is left out.
fn as_json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            // A field may have one of these names, too; then its value is a schema.
            let keyword = |key: &str, value: &Value| {
                let word = matches!(key, "format" | "default" | "description");
                key.starts_with("x-kubernetes-") || (word && value.get("type").is_none())
            };
            let mut kept: serde_json::Map<_, _> = map
                .iter()
                .filter(|(key, value)| !keyword(key, value))
                .map(|(key, value)| (key.clone(), as_json_schema(value)))
                .collect();
            let object = map.get("type") == Some(&json!("object"));
            if object && !map.contains_key("additionalProperties") {
                kept.insert("additionalProperties".into(), json!(false));
            }
            Value::Object(kept)
        }
        Value::Array(list) => list.iter().map(as_json_schema).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_default_pool_takes_what_an_agent_pool_takes() {
    const MARK: &str = "    \"pool\": ";
    let path = "charts/lineside/values.schema.json";
    let text = std::fs::read_to_string(workspace().join(path)).unwrap();
    let (before, _) = text.split_once(MARK).unwrap();
    let pool = serde_json::to_string_pretty(&as_json_schema(schema::spec(Kind::AgentPool)));
    let pool = pool.unwrap().replace('\n', "\n    ");
    golden(path, &format!("{before}{MARK}{pool}\n  }}\n}}\n"));
}

#[test]
fn the_kinds_in_the_chart_are_the_generated_ones_and_stay_on_uninstall() {
    let dir = TestDir::new("chart_crds").unwrap();
    let path = chart("lineside-crds");
    let output = helm(&dir, &["template", "crds", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let mut rendered = yaml::values(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(rendered.len(), Kind::ALL.len());
    for crd in &mut rendered {
        let metadata = crd["metadata"].as_object_mut().unwrap();
        let annotations = metadata.remove("annotations").unwrap();
        assert_eq!(annotations, json!({"helm.sh/resource-policy": "keep"}));
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap();
        let file = workspace().join(format!("crds/lineside.dev_{plural}.yaml"));
        let generated = yaml::values(&std::fs::read_to_string(file).unwrap());
        assert_eq!(generated[..], *std::slice::from_ref(crd));
    }
}

/// The chart as plain objects, for `kubectl apply -k`: without what only Helm runs.
fn plain(rendered: &str) -> String {
    let mut text = String::from(
        "# The chart lineside with its default values, rendered by tests/e2e/chart.rs; do not \
         edit.\n",
    );
    for line in rendered.lines().filter(|line| !line.starts_with("# Source: ")) {
        if line == "---" && text.ends_with("\n\n") {
            text.pop();
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[test]
fn the_kustomize_base_is_the_chart_with_its_defaults() {
    let dir = TestDir::new("chart_kustomize").unwrap();
    let more = ["--no-hooks", "--skip-tests"];
    let rendered = template(&dir, &json!({}), &more).unwrap();
    golden("config/default/operator.yaml", &plain(&rendered));
    // And the base as a whole can be built: the kinds, the namespace, the operator.
    let cache = Cache::of(workspace()).unwrap();
    let kubectl = Set::Core.find(cache.root()).unwrap().join("kubectl");
    let built = Command::new(kubectl)
        .args(["kustomize"])
        .arg(workspace().join("config/default"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let objects = yaml::values(&String::from_utf8(built.stdout).unwrap());
    let count = |wanted: &str| objects.iter().filter(|o| kind(o) == wanted).count();
    assert_eq!(count("CustomResourceDefinition"), Kind::ALL.len());
    assert_eq!((count("Namespace"), count("Deployment"), count("Job")), (1, 1, 0));
    assert_eq!(objects.len(), yaml::values(&rendered).len() + Kind::ALL.len() + 1);
}

/// The YAML files below a folder.
fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_object_of_ours_in_the_examples_is_valid() {
    let mut files = Vec::new();
    files_below(&workspace().join("examples/kubernetes"), &mut files);
    let mut checked = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("apiVersion: lineside.dev/v1alpha1\nkind") {
            continue;
        }
        for document in yaml::load_text(file.to_str().unwrap(), &text) {
            let problems: Vec<_> = document.problems.iter().map(ToString::to_string).collect();
            assert!(problems.is_empty() && document.object.is_some(), "{problems:#?}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} objects found");
}

#[test]
fn the_notes_name_the_next_command() {
    let dir = TestDir::new("chart_notes").unwrap();
    let path = chart("lineside");
    for (values, wanted) in [
        ("watchNamespaces=null", "kubectl create namespace plant"),
        ("watchNamespaces={line-2}", "--namespace line-2 \\"),
    ] {
        let args = ["install", "lineside", path.to_str().unwrap(), "-n", NAMESPACE];
        let args = [&args[..], &["--dry-run=client", "--set", values]].concat();
        let output = helm(&dir, &args);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, notes) = text.split_once("\nNOTES:\n").unwrap();
        for wanted in [wanted, "create secret generic lineside-credentials", "helm test lineside"] {
            assert!(notes.contains(wanted), "{wanted}: {notes}");
        }
    }
}
