//! Alerts and dashboard of the chart, without a cluster: judged by Prometheus' own tool, and held
//! against the metrics that our programs export and the runbooks that the docs have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use lineside_crds::yaml;
use lineside_tests::dir::TestDir;
use lineside_tests::tools::{program, workspace};
use serde_json::{Value, json};

use crate::chart::{chart, everything, kind, render};

/// Runs promtool; what it says is the failure.
fn promtool(args: &[&str], file: &Path) {
    let output = Command::new(program("promtool").unwrap()).args(args).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
    assert!(output.status.success(), "promtool {args:?}: {}", said.concat());
}

/// The groups of the rules, as they are in the chart.
fn groups() -> Value {
    let text = std::fs::read_to_string(chart("lineside").join("files/alerts.yaml")).unwrap();
    yaml::values(&text).remove(0)["groups"].take()
}

fn rules() -> Vec<Value> {
    let groups = groups();
    let all = groups.as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap());
    all.cloned().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(chart("lineside").join("files/dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Title and expression of every target, with Grafana's variables filled in.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = text(target, "expr").replace("$__rate_interval", "5m");
            all.push((text(panel, "title").to_owned(), query.replace("$namespace", ".*")));
        }
    }
    assert!(all.len() > 10, "{all:?}");
    all
}

/// The words of a query that begin as our metrics do.
fn metrics_of(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lineside_") || word.starts_with("process_")).collect()
}

/// Labels with their values, where those are a closed set.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// What the programs export, by the pages that their own tests write.
fn exported() -> BTreeMap<String, Labels> {
    let mut all: BTreeMap<String, Labels> = BTreeMap::new();
    for page in ["metrics", "operator-metrics"] {
        let path = workspace().join(format!("docs/reference/{page}.md"));
        let page = std::fs::read_to_string(path).unwrap();
        let mut metric = None;
        for line in page.lines() {
            if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ') {
                metric = Some(heading).filter(|heading| heading.starts_with("lineside_"));
                all.extend(metric.map(|name| (name.to_owned(), Labels::new())));
            } else if let (Some(name), Some(list)) = (metric, line.strip_prefix("Labels: ")) {
                all.insert(name.to_owned(), labels(list));
            }
        }
    }
    assert!(all.len() > 50, "{all:?}");
    // Of every client of Prometheus.
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
        all.insert(name.to_owned(), Labels::new());
    }
    all
}

/// The labels of ``Labels: `a`, `b` (`X`, `Y`).``
fn labels(list: &str) -> Labels {
    let (mut found, mut label, mut within) = (Labels::new(), String::new(), false);
    for (i, part) in list.split('`').enumerate() {
        if i % 2 == 0 {
            within = part.contains('(') || (within && !part.contains(')'));
        } else if within {
            found.entry(label.clone()).or_default().insert(part.to_owned());
        } else {
            label = part.to_owned();
            found.entry(label.clone()).or_default();
        }
    }
    found
}

/// What a query selects by: metric, label, operator and value.
fn selected(query: &str) -> Vec<(&str, &str, &str, &str)> {
    let mut all = Vec::new();
    for (at, _) in query.match_indices('{') {
        let metric = query[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        let inside = query[at + 1..].split_once('}').unwrap().0;
        for matcher in inside.split(',') {
            let (name, rest) = matcher.split_at(matcher.find(['=', '!']).unwrap());
            let (operator, value) = rest.split_at(rest.find('"').unwrap());
            all.push((metric.unwrap(), name, operator, value.trim_matches('"')));
        }
    }
    all
}

#[test]
fn prometheus_takes_the_rules_and_every_alert_fires_and_does_not_as_its_tests_say() {
    promtool(&["check", "rules"], &chart("lineside").join("files/alerts.yaml"));
    let tests = chart("lineside").join("testdata/alerts.test.yaml");
    promtool(&["test", "rules"], &tests);
    let tests = yaml::values(&std::fs::read_to_string(tests).unwrap()).remove(0);
    let cases: Vec<&Value> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for rule in rules() {
        let alert = text(&rule, "alert");
        let of = cases.iter().filter(|case| case["alertname"] == json!(alert));
        let fires: BTreeSet<bool> =
            of.map(|case| !case["exp_alerts"].as_array().unwrap().is_empty()).collect();
        assert_eq!(fires.len(), 2, "{alert} is tested to fire and not to: {fires:?}");
    }
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_runbook_that_the_docs_have() {
    let contents = std::fs::read_to_string(workspace().join("docs/SUMMARY.md")).unwrap();
    let mut named = BTreeSet::new();
    for rule in rules() {
        let alert = text(&rule, "alert");
        assert!(named.insert(alert.to_owned()), "{alert} is there twice");
        let severity = text(&rule["labels"], "severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}: {severity}");
        let notes = &rule["annotations"];
        assert!(!text(notes, "summary").is_empty() && !text(notes, "description").is_empty());
        let page = text(notes, "runbook_url").strip_prefix("RUNBOOKS/").unwrap();
        let page = page.strip_suffix(".html").unwrap();
        let runbook =
            std::fs::read_to_string(workspace().join(format!("docs/runbooks/{page}.md"))).unwrap();
        assert!(runbook.starts_with(&format!("# {alert}\n")), "{page} is about another alert");
        for part in ["**Impact.**", "\n## Diagnose\n", "\n## Mend\n"] {
            assert!(runbook.contains(part), "{page} has no {part}");
        }
        assert!(contents.contains(&format!("- [{alert}](runbooks/{page}.md)")), "{alert}");
    }
    let pages = std::fs::read_dir(workspace().join("docs/runbooks")).unwrap().count();
    assert_eq!(pages, named.len(), "a runbook for each alert, and no other");
}

#[test]
fn the_chart_renders_the_rules_as_they_are_with_the_address_of_the_runbooks() {
    let dir = TestDir::new("alerts_chart").unwrap();
    let of = |values: &Value, wanted: &str| -> Vec<Value> {
        render(&dir, values).into_iter().filter(|object| kind(object) == wanted).collect()
    };
    let rule = of(&everything(), "PrometheusRule").remove(0);
    let wanted = groups().to_string().replace("RUNBOOKS/", "https://wiki.example/lineside/");
    assert_eq!(rule["spec"]["groups"], serde_json::from_str::<Value>(&wanted).unwrap());
    assert_eq!(rule["metadata"]["labels"]["release"], json!("monitoring"));
    let file = dir.write("rendered.yaml", &rule["spec"].to_string()).unwrap();
    promtool(&["check", "rules"], &file);
    // Off by default, like the others that need a kind which is not part of Kubernetes.
    for kind in ["PrometheusRule", "PodMonitor"] {
        assert_eq!(of(&json!({}), kind), [] as [Value; 0]);
    }
    let monitors = of(&everything(), "PodMonitor");
    assert_eq!(monitors.len(), 2);
    for monitor in &monitors {
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        assert_eq!((&endpoint["port"], &endpoint["honorLabels"]), (&json!("http"), &json!(true)));
    }
    let agents = &monitors[1]["spec"];
    assert_eq!(agents["namespaceSelector"]["matchNames"], json!(["plant", "line-2"]));
    let own = json!({"metrics": {"podMonitor": {"enabled": true}}});
    let everywhere = of(&own, "PodMonitor").remove(1);
    assert_eq!(everywhere["spec"]["namespaceSelector"], json!({"any": true}));
    assert_eq!(
        everywhere["spec"]["selector"]["matchLabels"],
        json!({"app.kubernetes.io/name": "lineside-agent"})
    );
}

#[test]
fn prometheus_takes_every_query_of_the_dashboard_and_grafana_finds_it() {
    let dir = TestDir::new("alerts_dashboard").unwrap();
    let rules: Vec<Value> = (0..)
        .zip(queries())
        .map(|(n, (_, query))| json!({"record": format!("panel:{n}"), "expr": query}))
        .collect();
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    promtool(&["check", "rules"], &dir.write("dashboard.yaml", &file).unwrap());
    let maps = |values: &Value| -> Vec<Value> {
        let objects = render(&dir, values).into_iter();
        objects.filter(|o| o["metadata"]["labels"]["grafana_dashboard"] == json!("1")).collect()
    };
    assert_eq!(maps(&json!({})), [] as [Value; 0]);
    let map = maps(&everything()).remove(0);
    let rendered: Value = serde_json::from_str(text(&map["data"], "lineside.json")).unwrap();
    assert_eq!(rendered, dashboard());
    for panel in dashboard()["panels"].as_array().unwrap() {
        assert!(text(panel, "description").len() > 10, "{} says too little", panel["title"]);
    }
}

#[test]
fn every_metric_of_alerts_and_dashboard_is_one_that_a_program_exports() {
    let exported = exported();
    let alerts = rules().into_iter();
    let alerts = alerts.map(|r| (text(&r, "alert").to_owned(), text(&r, "expr").to_owned()));
    let (mut wrong, mut checked) = (Vec::new(), BTreeSet::new());
    for (place, query) in alerts.chain(queries()) {
        let metrics = metrics_of(&query);
        assert!(!metrics.is_empty(), "{place}: {query}");
        for metric in metrics {
            checked.insert(metric.to_owned());
            if !exported.contains_key(metric) {
                wrong.push(format!("{place}: {metric}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked.len() > 15, "{checked:?}");
}

#[test]
fn every_label_that_a_query_selects_by_is_one_of_its_metric_and_has_that_value() {
    let exported = exported();
    let alerts = rules().into_iter();
    let alerts = alerts.map(|r| (text(&r, "alert").to_owned(), text(&r, "expr").to_owned()));
    let mut closed = 0;
    for (place, query) in alerts.chain(queries()) {
        for (metric, label, operator, value) in selected(&query) {
            let values = exported[metric].get(label);
            let values = values.unwrap_or_else(|| panic!("{place}: {metric} has no {label}"));
            if !values.is_empty() && ["=", "!="].contains(&operator) {
                assert!(values.contains(value), "{place}: {label} is never {value}: {values:?}");
                closed += 1;
            }
        }
    }
    assert!(closed >= 5, "only {closed} values are of a closed set");
}
