//! `lineside query` prints what the sink wrote: every type, nulls, quoted names, bad quality.

use std::process::Output;

use lineside_core::Value;
use lineside_crds::model::IotdbSettings;
use lineside_tests::agent::lineside;
use lineside_tests::dir::TestDir;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::ports;
use serde_json::{Value as Json, json};

use super::sink::{Run, batch, origin, settings, table_settings};

/// Names of the points, one with every sort of letter that has to be quoted.
const POINTS: [&str; 9] = ["b", "i", "l", "f", "d", "t", "y", "a/1.x-y", "never"];

/// A server with samples of the device `plant/press-1`.
struct Written {
    _dir: TestDir,
    _server: Iotdb,
    source: Vec<String>,
}

impl Written {
    fn start(test: &str, release: Release, table: bool) -> Self {
        let dir = TestDir::new(test).unwrap();
        let server = Iotdb::start(&dir, "iotdb", release, &[]).unwrap();
        let of = |port| if table { table_settings(port) } else { settings(port) };
        write(of(server.port));
        let url = format!("iotdb://127.0.0.1:{}", server.port);
        let model = if table { "table" } else { "tree" };
        let source = ["--url", &url, "--model", model].map(str::to_owned).to_vec();
        Self { _dir: dir, _server: server, source }
    }

    fn ask(&self, words: &[&str]) -> Output {
        let words = words.iter().map(|word| (*word).to_owned());
        lineside(["query".to_owned()].into_iter().chain(words).chain(self.source.clone())).unwrap()
    }

    fn json(&self, words: &[&str]) -> Json {
        let asked = self.ask(&[words, &["-o", "json"]].concat());
        assert!(asked.status.success(), "{}", text(&asked.stderr));
        serde_json::from_slice(&asked.stdout).unwrap()
    }
}

/// Three cycles: at 1 s and 2 s all is well, at 3 s only text, and one point is Bad, as it is always.
fn write(settings: IotdbSettings) {
    let device = origin("press-1", &POINTS);
    let run = Run::start(settings);
    let cycle = |time: i64, number: i8| {
        let values = [
            Value::Bool(number > 1),
            Value::I8(-number),
            Value::I64(i64::MAX - i64::from(number)),
            Value::F32(f32::from(number) / 2.0),
            Value::F64(f64::from(number) / 4.0),
            Value::String("Größe, \"温度\"".into()),
            Value::Bytes([0, 255, number.unsigned_abs()].as_slice().into()),
            Value::F64(f64::NAN),
        ];
        let mut samples: Vec<_> =
            (0..).zip(values).map(|(point, value)| (point, Some(value), time)).collect();
        samples.push((8, None, time));
        batch(&device, &samples)
    };
    let last = [(3, None, 3000), (5, Some(Value::String(String::new().into())), 3000)];
    run.delivered([cycle(1000, 1), cycle(2000, 2), batch(&device, &last)]);
    run.end();
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Values of the samples of a point, with times in seconds and qualities.
fn of(answer: &Json, point: &str) -> Vec<(String, Json, String)> {
    let samples = answer["samples"].as_array().unwrap().iter();
    let shown = |sample: &Json| {
        let time = sample["time"].as_str().unwrap();
        let time = time.strip_prefix("1970-01-01T00:00:0").unwrap().to_owned();
        let quality = sample["quality"].as_str().unwrap().to_owned();
        (time, sample["value"].clone(), quality)
    };
    samples.filter(|sample| sample["point"] == *point).map(shown).collect()
}

fn at(second: u8, value: Json, quality: &str) -> (String, Json, String) {
    (format!("{second}.000000000Z"), value, quality.to_owned())
}

const SPAN: [&str; 4] = ["--from", "1970-01-01T00:00:00Z", "--to", "1970-01-01T00:01:00Z"];

fn what_was_written_is_printed(written: &Written, blobs: bool) {
    let raw = written.json(&[&["raw", "plant/press-1"], &SPAN[..]].concat());
    let text = "Größe, \"温度\"";
    let bytes = |number: u8| match (number, blobs) {
        (1, _) => json!("AP8B"),
        _ => json!("AP8C"),
    };
    let two = |first: Json, second: Json| vec![at(1, first, "Good"), at(2, second, "Good")];
    assert_eq!(of(&raw, "b"), two(json!(false), json!(true)));
    assert_eq!(of(&raw, "i"), two(json!(-1), json!(-2)));
    assert_eq!(of(&raw, "l"), two(json!(i64::MAX - 1), json!(i64::MAX - 2)));
    let bad = at(3, Json::Null, "Bad");
    assert_eq!(of(&raw, "f"), [two(json!(0.5), json!(1.0)), vec![bad]].concat());
    assert_eq!(of(&raw, "d"), two(json!(0.25), json!(0.5)));
    let texts = [two(json!(text), json!(text)), vec![at(3, json!(""), "Good")]].concat();
    assert_eq!(of(&raw, "t"), texts);
    assert_eq!(of(&raw, "y"), two(bytes(1), bytes(2)));
    assert_eq!(of(&raw, "a/1.x-y"), two(json!("NaN"), json!("NaN")));
    let never: Vec<_> =
        of(&raw, "never").into_iter().map(|(_, value, quality)| (value, quality)).collect();
    assert_eq!(never, vec![(Json::Null, "Bad".to_owned()); 2]);
    assert_eq!(raw["moreFrom"], Json::Null);

    let last = written.json(&["last", "plant/press-1"]);
    assert_eq!(of(&last, "b"), [at(2, json!(true), "Good")]);
    assert_eq!(of(&last, "t"), [at(3, json!(""), "Good")]);
    assert_eq!(of(&last, "f"), [at(2, json!(1.0), "Good"), at(3, Json::Null, "Bad")]);
    assert_eq!(of(&last, "never"), [at(2, Json::Null, "Bad")]);

    let asked = [&["window", "plant/press-1", "-p", "f", "-p", "b", "--every", "2s"], &SPAN[..]];
    let windows = written.json(&asked.concat());
    let shown: Vec<_> = windows["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| {
            let words = ["point", "count", "samples", "average", "least", "greatest", "last"];
            let mut cells: Vec<_> = words.iter().map(|word| w[*word].clone()).collect();
            cells.push(w["quality"].clone());
            Json::Array(cells)
        })
        .collect();
    assert_eq!(
        shown,
        [
            json!(["b", 1, 1, null, null, null, false, "Good"]),
            json!(["f", 1, 1, 0.5, 0.5, 0.5, 0.5, "Good"]),
            json!(["b", 1, 1, null, null, null, true, "Good"]),
            json!(["f", 1, 2, 1.0, 1.0, 1.0, 1.0, "Bad"]),
        ]
    );
}

fn a_long_answer_is_cut_and_goes_on(written: &Written) {
    let mut from = "1970-01-01T00:00:00Z".to_owned();
    let mut found = Vec::new();
    for round in 0..10 {
        assert!(round < 9, "it does not end");
        let words = ["raw", "plant/press-1", "-p", "t", "--limit", "1", "--from", &from];
        let answer = written.json(&[&words[..], &SPAN[2..]].concat());
        found.extend(of(&answer, "t").into_iter().map(|(time, ..)| time));
        match answer["moreFrom"].as_str() {
            Some(more) => from = more.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, [1, 2, 3].map(|second| format!("{second}.000000000Z")));
    // Rows that have nothing of a point count too: a table gives them.
    let words = ["raw", "plant/press-1", "-p", "never", "--limit", "2"];
    let answer = written.json(&[&words[..], &SPAN[..]].concat());
    assert_eq!(of(&answer, "never").len(), 2);
    let words = ["raw", "plant/press-1", "-p", "t", "--limit", "1"];
    let cut = written.ask(&[&words[..], &SPAN[..]].concat());
    let note = "cut at 1; go on with --from 1970-01-01T00:00:02.000000000Z, or raise --limit";
    assert!(text(&cut.stderr).contains(note), "{}", text(&cut.stderr));
}

fn what_is_not_there_is_said(written: &Written) {
    let nothing = written.ask(&["last", "plant/press-2"]);
    assert_eq!(code(&nothing), Some(1), "{}", text(&nothing.stderr));
    assert!(
        text(&nothing.stderr).contains("nothing of plant/press-2"),
        "{}",
        text(&nothing.stderr)
    );
    let unknown = written.ask(&["last", "plant/press-1", "-p", "b", "-p", "nope"]);
    assert_eq!(code(&unknown), Some(1));
    assert!(text(&unknown.stderr).contains("no point nope"), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stdout).contains("true"), "{}", text(&unknown.stdout));
}

#[test]
fn query_prints_what_the_sink_wrote_into_a_tree() {
    let written = Written::start("query-tree", Release::V2, false);
    what_was_written_is_printed(&written, true);
    a_long_answer_is_cut_and_goes_on(&written);
    what_is_not_there_is_said(&written);
    let csv = written.ask(&[&["raw", "plant/press-1", "-p", "t", "-o", "csv"], &SPAN[..]].concat());
    let csv = text(&csv.stdout).to_owned();
    let row = "1970-01-01T00:00:01.000000000Z,t,\"Größe, \"\"温度\"\"\",Good\r\n";
    assert!(csv.starts_with("time,point,value,quality\r\n") && csv.contains(row), "{csv}");
}

#[test]
fn query_prints_what_the_sink_wrote_into_a_table() {
    let written = Written::start("query-table", Release::V2, true);
    what_was_written_is_printed(&written, true);
    a_long_answer_is_cut_and_goes_on(&written);
    what_is_not_there_is_said(&written);
}

#[test]
fn query_prints_what_the_sink_wrote_into_the_release_before() {
    let written = Written::start("query-v1", Release::V1, false);
    what_was_written_is_printed(&written, false);
    a_long_answer_is_cut_and_goes_on(&written);
    what_is_not_there_is_said(&written);
}

#[test]
fn query_finds_the_server_in_the_pipeline_and_its_password_in_the_secrets() {
    let dir = TestDir::new("query-yaml").unwrap();
    let server = Iotdb::start(&dir, "iotdb", Release::V2, &[]).unwrap();
    write(settings(server.port));
    let pipeline = |port: u16| {
        format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: to-tsdb}}\nspec:\n  \
             sources:\n  - name: all\n    devices: {{}}\n  sinks:\n  - name: tsdb\n    iotdb:\n      \
             url: iotdb://127.0.0.1:{port}\n      credentialsRef: {{secret: login}}\n"
        )
    };
    let file = dir.write("plant/pipeline.yaml", &pipeline(server.port)).unwrap();
    dir.write("secrets/login/username", "root").unwrap();
    dir.write("secrets/login/password", "root").unwrap();
    let (file, secrets) = (file.display().to_string(), dir.join("secrets").display().to_string());
    let ask = |more: &[&str]| {
        lineside([&["query", "last", "plant/press-1", "-p", "i", "-f", &file], more].concat())
            .unwrap()
    };
    let found = ask(&["--secrets", &secrets]);
    assert_eq!(code(&found), Some(0), "{}", text(&found.stderr));
    assert!(text(&found.stdout).contains("-2"), "{}", text(&found.stdout));
    // A person's own password stands for the agent's.
    let wrong = dir.write("wrong", "no-such-password\n").unwrap().display().to_string();
    let refused = ask(&["--user", "root", "--password-file", &wrong]);
    assert_eq!(code(&refused), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("LNS-3003") && !said.contains("no-such-password"), "{said}");
    dir.write("plant/pipeline.yaml", &pipeline(ports::free().unwrap())).unwrap();
    let down = ask(&["--secrets", &secrets]);
    assert_eq!(code(&down), Some(3), "{}", text(&down.stderr));
    assert!(text(&down.stderr).contains("Next: "), "{}", text(&down.stderr));
}
