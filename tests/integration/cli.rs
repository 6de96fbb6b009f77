//! The command line against real servers and files: answers and exit codes.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use lineside_tests::agent::lineside;
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::{ports, tools};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn read_shows_the_wire_address_the_bytes_and_the_value_that_the_peer_holds() {
    let dir = TestDir::new("cli_read").unwrap();
    let fixture = json!({"units": {"1": {"entries": [
        {"area": "holding", "address": 99, "type": "FLOAT32", "order": "ABCD", "value": 21.5},
        {"area": "coil", "address": 0, "type": "BITS", "value": [true]}]}}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let url = format!("modbus-tcp://127.0.0.1:{}", peer.port);
    let asked = Instant::now();
    let good = lineside(["read", &url, "-p", "t=holding-register:100:REAL", "-p", "run=coil:1"]);
    let took = asked.elapsed();
    println!("read answered within {took:?}; promised is a second");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let good = good.unwrap();
    let table = text(&good.stdout);
    // IEEE 754: 21.5 is 41 AC 00 00.
    let row = table.lines().find(|l| l.starts_with("t ")).unwrap();
    for part in ["unit 1 FC3 @99 x2", "41 AC 00 00", "f32", "21.5", "Good"] {
        assert!(row.contains(part), "{part:?} is not in {row:?}");
    }
    assert_eq!(code(&good), 0);

    let args = [
        "read",
        &url,
        "-o",
        "json",
        "-p",
        "t=holding-register:100:REAL",
        "-p",
        "none=holding-register:500:INT",
    ];
    let some = lineside(args).unwrap();
    assert_eq!(code(&some), 1);
    let report: Value = serde_json::from_slice(&some.stdout).unwrap();
    assert_eq!(report["points"][0]["value"], json!(21.5));
    assert_eq!(report["points"][1]["quality"], json!("Bad"));
    let (well, ill) = (&report["points"][0], &report["points"][1]);
    assert_eq!(ill["code"], json!("LNS-2011"));
    assert!(ill["next"].as_str().unwrap().contains("manual"), "{ill}");
    assert!(ill["message"].as_str().unwrap().contains("exception 2"), "{ill}");
    assert_eq!((&well["code"], &well["next"]), (&Value::Null, &Value::Null));
}

#[test]
fn read_says_what_is_wrong_with_host_port_unit_and_address() {
    let dir = TestDir::new("cli_read_wrong").unwrap();
    let fixture = json!({"units": {"1": {"entries": [
        {"area": "holding", "address": 0, "type": "UINT16", "order": "ABCD", "value": 1}]}}});
    let peer = Pymodbus::start(&dir, "peer", &fixture).unwrap();
    let free = ports::free().unwrap();
    let cases = [
        (format!("modbus-tcp://127.0.0.1:{free}"), "x=coil:1", 3, "LNS-2001"),
        ("modbus-tcp://no-such-host.invalid".into(), "x=coil:1", 3, "LNS-2003"),
        ("modbus-tp://127.0.0.1".into(), "x=coil:1", 2, "modbus-tcp"),
        (format!("modbus-tcp://127.0.0.1:{}", peer.port), "x=holding-register:1:REALL", 2, "REAL"),
        (
            format!("modbus-tcp://127.0.0.1:{}?default-unit-identifier=9", peer.port),
            "x=holding-register:1:INT",
            1,
            "LNS-2016",
        ),
    ];
    for (url, point, exit, says) in cases {
        let asked = Instant::now();
        let output = lineside(["read", &url, "--point", point]).unwrap();
        let took = asked.elapsed();
        println!("read {url} {point} answered within {took:?}; promised is a second");
        assert!(took < Duration::from_secs(3), "{url} {point}: {took:?}");
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(code(&output), exit, "{url} {point}: {all}");
        assert!(all.contains(says), "{url} {point}: no {says:?} in {all}");
        assert!(all.contains("Next:"), "{url} {point}: no next step in {all}");
        // For programs: one object, with the code and the next step wherever the device was asked.
        let output = lineside(["read", &url, "--point", point, "-o", "json"]).unwrap();
        assert_eq!(code(&output), exit, "{url} {point}");
        if exit != 2 {
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let told = report.get("error").unwrap_or(&report["points"][0]);
            assert_eq!(told["code"], json!(says), "{report:#}");
            assert!(!told["next"].as_str().unwrap().is_empty(), "{report:#}");
        }
    }
}

#[test]
fn validate_tells_every_problem_with_its_line_and_every_example_is_valid() {
    let dir = TestDir::new("cli_validate").unwrap();
    let broken = "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata:\n  name: d\n\
                  spec:\n  ulr: modbus-tcp://h\n  intervalMillis: 5\n  points:\n  - name: a\n    \
                  address: holding-register:0:INT\n";
    let file = dir.write("broken.yaml", broken).unwrap();
    let output = lineside(["validate", "-o", "json", "-f", file.to_str().unwrap()]).unwrap();
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines: Vec<u64> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["line"].as_u64().unwrap())
        .collect();
    for line in [6, 7, 10] {
        assert!(lines.contains(&line), "nothing on line {line}: {report:#}");
    }
    assert!(text(&output.stdout).contains("url"), "did you mean url?");

    let folder = tools::workspace().join("examples");
    let sets = folders(&folder).into_iter().filter(|set| !set.ends_with("kubernetes"));
    for set in sets.chain(folders(&folder.join("kubernetes"))) {
        let mut files = Vec::new();
        examples(&set, &mut files);
        assert!(!files.is_empty(), "{}", set.display());
        let files = files.iter().flat_map(|file| ["-f", file.as_str()]);
        let args = ["validate", "--deny-warnings"].into_iter().chain(files);
        let output = lineside(args).unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(code(&output), 0, "{}: {said}", set.display());
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    inside.filter(|path| path.is_dir()).collect()
}

/// The files of our objects below a folder.
fn examples(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            examples(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml")
            && std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .any(|line| line.starts_with("apiVersion: lineside.dev/"))
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn validate_names_files_that_it_cannot_read_and_judges_the_others() {
    let dir = TestDir::new("cli_unreadable").unwrap();
    let good = std::fs::read_to_string(tools::workspace().join("examples/first/device.yaml"));
    dir.write("plant/good.yaml", &good.unwrap()).unwrap();
    let folder = dir.folder("plant").unwrap();
    // A link into nothing cannot be opened by anyone, root included.
    std::os::unix::fs::symlink("nowhere.yaml", folder.join("gone.yaml")).unwrap();
    // ISO 8859-1, not UTF-8.
    std::fs::write(folder.join("latin.yaml"), b"# Gie\xDFerei\n").unwrap();
    let folder = folder.to_str().unwrap();
    let output = lineside(["validate", "-o", "json", "-f", folder]).unwrap();
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["files"], &report["errors"]), (&json!(3), &json!(2)), "{report:#}");
    assert_ne!(report["objects"], json!(0), "the good file counts: {report:#}");
    for (problem, name) in report["problems"].as_array().unwrap().iter().zip(["gone", "latin"]) {
        assert_eq!(problem["code"], json!("LNS-1020"));
        assert!(problem["file"].as_str().unwrap().ends_with(&format!("/{name}.yaml")));
    }

    let latin = format!("{folder}/latin.yaml");
    let output = lineside(["validate", "-f", &latin]).unwrap();
    assert_eq!(code(&output), 1);
    let shown = text(&output.stdout);
    for part in [latin.as_str(), "LNS-1020", "UTF-8", "lineside explain LNS-1020"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}

#[test]
fn explain_knows_codes_and_reasons_and_says_so_when_it_does_not() {
    let by_code = lineside(["explain", "LNS-2001"]).unwrap();
    let by_reason = lineside(["explain", "Unreachable"]).unwrap();
    assert_eq!(by_code.stdout, by_reason.stdout);
    assert!(text(&by_code.stdout).contains("Next:"));
    let unknown = lineside(["explain", "LNS-9999"]).unwrap();
    assert_eq!(code(&unknown), 2);
    assert!(text(&unknown.stderr).contains("--all"));
}
