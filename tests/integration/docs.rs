//! The docs are true: examples are valid, commands exist, links lead somewhere, what is said to
//! be proven has its test, and the tutorial does what it says.
//!
//! `UPDATE=1 cargo test -p lineside-tests docs::` writes `docs/reference/cli.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::process::Output;

use lineside_crds::diagnostics::Code;
use lineside_crds::yaml::load_text;
use lineside_tests::agent::{Agent, lineside};
use lineside_tests::broker::{Broker, Options};
use lineside_tests::dir::TestDir;
use lineside_tests::peers::pymodbus::Pymodbus;
use lineside_tests::subscriber::Subscriber;
use lineside_tests::tools::workspace;
use serde_json::Value;

use crate::plant::SOON;

/// A page: its path in the checkout and its text.
struct Page {
    path: PathBuf,
    text: String,
}

/// A fenced block of a page.
struct Block {
    language: String,
    text: String,
    /// Where it begins, for people.
    at: String,
}

/// Every `.md` file of a folder of the checkout.
fn pages_below(folder: &str, found: &mut Vec<Page>) {
    let dir = workspace().join(folder);
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        // Build results and the folders of tools are no docs.
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" {
                pages_below(&path, found);
            }
        } else if name.ends_with(".md") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            found.push(Page { path: path.into(), text });
        }
    }
}

/// Every page of the checkout: the docs, and the README files of the crates.
fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    pages_below("", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn page(path: &str) -> Page {
    let text = std::fs::read_to_string(workspace().join(path)).unwrap();
    Page { path: path.into(), text }
}

impl Page {
    /// The fenced blocks, and the text without them.
    fn parts(&self) -> (Vec<Block>, String) {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let at = format!("{}:{}", self.path.display(), number + 1);
                    open = Some(Block { language: language.into(), text: String::new(), at });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => writeln!(block.text, "{line}").unwrap(),
                (None, None) => writeln!(prose, "{line}").unwrap(),
            }
        }
        assert!(open.is_none(), "{} ends inside of a block", self.path.display());
        (blocks, prose)
    }

    fn blocks(&self, language: &str) -> Vec<Block> {
        let (mut blocks, _) = self.parts();
        blocks.retain(|b| b.language == language);
        blocks
    }

    /// The anchors of its headings and of its `<a id>`s.
    fn anchors(&self) -> BTreeSet<String> {
        let (_, prose) = self.parts();
        let headings = prose.lines().filter(|l| l.starts_with('#')).map(|l| {
            let words = l.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        });
        let ids = prose.split("<a id=\"").skip(1).filter_map(|p| p.split('"').next());
        headings.chain(ids.map(str::to_owned)).collect()
    }
}

/// The targets of all links of a text, code left out.
fn links(prose: &str) -> Vec<String> {
    let outside: String = prose.split('`').step_by(2).collect();
    let targets = outside.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// A path without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(clean.pop(), "{} leaves the checkout", path.display()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

#[test]
fn every_object_in_the_docs_is_valid() {
    let mut checked = 0;
    for page in pages() {
        for block in page.blocks("yaml") {
            if !block.text.contains("apiVersion: lineside.dev/") {
                continue;
            }
            for document in load_text(&block.at, &block.text) {
                let problems: Vec<_> = document.problems.iter().map(ToString::to_string).collect();
                assert!(problems.is_empty(), "{}: {problems:#?}", block.at);
                assert!(document.object.is_some(), "{}: no object of ours", block.at);
                checked += 1;
            }
        }
    }
    assert!(checked >= 8, "only {checked} objects found");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for from in pages() {
        let (_, prose) = from.parts();
        for link in links(&prose) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => from.path.clone(),
                file => resolved(&from.path.parent().unwrap().join(file)),
            };
            let full = workspace().join(&target);
            let found = match anchor {
                "" => full.exists(),
                anchor => {
                    full.is_file() && page(target.to_str().unwrap()).anchors().contains(anchor)
                }
            };
            if !found {
                wrong.push(format!("{}: {link}", from.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
    assert!(checked > 40, "only {checked} links found");
}

#[test]
fn the_table_of_contents_has_every_page_of_the_book_once() {
    let contents = links(&page("docs/SUMMARY.md").parts().1);
    let listed: BTreeSet<_> = contents.iter().map(|l| Path::new("docs").join(l)).collect();
    assert_eq!(listed.len(), contents.len(), "a page is listed twice");
    let mut found = Vec::new();
    pages_below("docs", &mut found);
    let found: BTreeSet<_> =
        found.into_iter().map(|p| p.path).filter(|p| !p.ends_with("SUMMARY.md")).collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    let absent: Vec<_> = listed.difference(&found).collect();
    assert!(
        missing.is_empty() && absent.is_empty(),
        "not listed: {missing:?}, no file: {absent:?}"
    );
}

#[test]
fn every_code_in_the_docs_exists() {
    for page in pages() {
        for rest in page.text.split("LNS-").skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if digits.len() == 4 {
                let code = format!("LNS-{digits}");
                assert!(Code::parse(&code).is_some(), "{}: {code}", page.path.display());
            }
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What `lineside ARGS --help` prints; the width does not depend on a terminal.
fn help(args: &[&str]) -> String {
    let output = lineside(args.iter().chain(&["--help"])).unwrap();
    assert!(output.status.success(), "lineside {args:?} --help: {output:?}");
    text(&output)
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|l| !l.starts_with("   ")).filter_map(|l| l.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The words of a command line up to the first pipe, redirection or comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if "|>#".contains(c) && word.is_empty() => break,
            None if c == ' ' => words.extend(Some(std::mem::take(&mut word))),
            None => word.push(c),
        }
    }
    words.push(word);
    words.retain(|w| !w.is_empty());
    words
}

/// What is wrong with the arguments of `lineside`.
fn unknown(args: &[String], helps: &BTreeMap<String, String>) -> Option<String> {
    let command = args.first()?;
    let Some(help) = helps.get(command) else { return Some(format!("no command {command}")) };
    let known: BTreeSet<&str> = help
        .split(|c: char| c.is_whitespace() || ",[]<>()=".contains(c))
        .filter(|w| w.starts_with('-'))
        .collect();
    let flags = args.iter().filter(|a| a.starts_with('-')).map(|a| a.split('=').next().unwrap());
    flags.into_iter().find(|f| !known.contains(f)).map(|f| format!("{command} has no {f}"))
}

/// The help of every command.
fn helps() -> BTreeMap<String, String> {
    let helps: BTreeMap<String, String> =
        commands(&help(&[])).into_iter().map(|c| (c.clone(), help(&[&c]))).collect();
    assert!(helps.len() >= 4, "{:?}", helps.keys());
    helps
}

#[test]
fn every_command_in_the_docs_exists_with_its_flags() {
    let helps = helps();
    let xtask = std::fs::read_to_string(workspace().join("xtask/src/main.rs")).unwrap();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for page in pages() {
        for block in page.blocks("console") {
            for line in block.text.lines().filter_map(|l| l.strip_prefix("$ ")) {
                let words = words(line);
                let own = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["lineside", ..] => &words[1..],
                    ["cargo", "run", "--", ..] => &words[3..],
                    ["cargo", "xtask", command, ..] => {
                        let variant = command[..1].to_uppercase() + &command[1..];
                        if !xtask.contains(&format!("Command::{variant}")) {
                            wrong.push(format!("{}: no cargo xtask {command}", block.at));
                        }
                        continue;
                    }
                    _ => continue,
                };
                checked += 1;
                wrong.extend(unknown(own, &helps).map(|what| format!("{}: {what}", block.at)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 10, "only {checked} commands found");
}

#[test]
fn every_command_within_a_sentence_of_the_docs_or_of_a_next_step_exists_with_its_flags() {
    let helps = helps();
    let mut inline = Vec::new();
    for page in pages() {
        let place = page.path.display().to_string();
        inline.extend(commands_within(&page.parts().1).map(|c| (place.clone(), c)));
    }
    for code in Code::ALL {
        inline.extend(commands_within(code.next()).map(|c| (code.id(), c)));
    }
    let wrong: Vec<_> = inline
        .iter()
        .filter_map(|(place, command)| {
            Some(format!("{place}: {}", unknown(&words(command)[1..], &helps)?))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(inline.len() >= 30, "only {} commands found in sentences", inline.len());
}

/// The `lineside ...` in the sentences of a text.
fn commands_within(text: &str) -> impl Iterator<Item = String> + '_ {
    let code = text.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
    code.filter(|code| code.starts_with("lineside "))
}

#[test]
fn the_page_of_the_command_line_is_what_the_commands_say() {
    let top = help(&[]);
    let mut wanted = format!(
        "# Command line\n\n<!-- Made by tests/integration/docs.rs from the commands themselves; do \
         not edit. -->\n\nExit codes of every command: 0 ok, 1 findings, 2 usage, 3 \
         unreachable.\n\n```text\n{}```\n",
        top
    );
    for command in commands(&top) {
        let _ = write!(wanted, "\n## lineside {command}\n\n```text\n{}```\n", help(&[&command]));
    }
    let path = workspace().join("docs/reference/cli.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == wanted,
        "docs/reference/cli.md is not up to date; run: UPDATE=1 cargo test -p lineside-tests docs::"
    );
}

#[test]
fn the_messages_in_the_docs_are_golden_files() {
    let dir = workspace().join("agent/core/testdata/encode");
    let mut golden = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        golden.extend(text.lines().map(str::to_owned));
    }
    let page = page("docs/reference/message-formats.md");
    let blocks = page.blocks("json");
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        for line in block.text.lines() {
            assert!(golden.contains(line), "{}: no golden line {line}", block.at);
        }
    }
    // The table of payloads: `| `point` | `payload` |`.
    let rows = page.text.split_once("\n## Value\n").unwrap().1.split("\n## ").next().unwrap();
    let cells = rows.lines().filter_map(|l| l.strip_prefix("| `")?.strip_suffix("` |"));
    let mut checked = 0;
    for (point, payload) in cells.filter_map(|l| l.split_once("` | `")) {
        assert!(golden.contains(&format!("{point}\t{payload}")), "no golden {point} {payload}");
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} payloads found");
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = page("docs/explanation/guarantees.md");
    let mut checked = 0;
    for (file, name) in page.text.split('`').filter_map(|code| code.split_once(".rs::")) {
        let path = workspace().join(format!("{file}.rs"));
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(source.contains(&format!("fn {name}(")), "no test {name} in {}", path.display());
        checked += 1;
    }
    assert!(checked >= 15, "only {checked} proofs found");
}

/// The command lines of a page with what they print.
fn sessions(page: &Page) -> Vec<(String, String)> {
    let blocks = page.blocks("console").into_iter();
    let split = blocks.filter_map(|b| {
        let (command, output) = b.text.split_once('\n')?;
        Some((command.trim_start_matches("$ ").to_owned(), output.to_owned()))
    });
    split.collect()
}

#[test]
fn the_tutorial_reads_checks_and_delivers_what_it_says() {
    let page = page("docs/tutorial/own-device.md");
    let dir = TestDir::new("docs_tutorial").unwrap();
    // The device that `cargo xtask peers` starts.
    let fixture = std::fs::read_to_string(workspace().join("examples/first/peer.json")).unwrap();
    let fixture = serde_json::from_str(&fixture).unwrap();
    let peer = Pymodbus::start(&dir, "furnace", &fixture).unwrap();
    let broker = Broker::start(&dir, "broker", Options::default()).unwrap();
    let here = |text: &str| {
        let text = text.replace("127.0.0.1:5020", &format!("127.0.0.1:{}", peer.port));
        text.replace("127.0.0.1:1883", &format!("127.0.0.1:{}", broker.port))
    };

    let sessions = sessions(&page);
    let mut reads = 0;
    for (command, output) in sessions.iter().filter(|(c, _)| c.starts_with("lineside read ")) {
        let args = words(&here(command));
        assert_eq!(text(&lineside(&args[1..]).unwrap()), *output, "{command}");
        reads += 1;
    }
    assert_eq!(reads, 2);

    let [device, pipeline] = &page.blocks("yaml")[..] else { panic!("two files are written") };
    let device = here(&device.text);
    dir.write("plant/pipeline.yaml", &here(&pipeline.text)).unwrap();
    let folder = dir.join("plant");
    let folder = folder.to_str().unwrap();
    let checks: Vec<_> =
        sessions.iter().filter(|(c, _)| c.starts_with("lineside validate ")).collect();
    let mistaken = device.replace("intervalMillis", "intervalMilis");
    for ((_, output), yaml) in checks.iter().zip([&device, &mistaken]) {
        dir.write("plant/furnace.yaml", yaml).unwrap();
        let printed = text(&lineside(["validate", "-f", folder]).unwrap());
        assert_eq!(printed.replace(folder, "plant"), *output);
    }
    assert_eq!(checks.len(), 2);
    dir.write("plant/furnace.yaml", &device).unwrap();

    let agent = Agent::start(&dir, "edge-1", &dir.join("plant"), &[]).unwrap();
    let mut subscriber =
        Subscriber::start(&dir, "subscriber", &broker, "lineside/default/my-furnace").unwrap();
    let (_, shown) = sessions.iter().find(|(c, _)| c.starts_with("mosquitto_sub ")).unwrap();
    let (topic, shown) = shown.lines().nth(1).unwrap().split_once(' ').unwrap();
    let arrived = subscriber.wait_until("a message", SOON, |all| !all.is_empty()).unwrap();
    assert_eq!(arrived[0].topic, topic);
    assert_eq!(without_times(&arrived[0].payload), without_times(shown));
    drop(agent);
}

/// A message without what differs from run to run.
fn without_times(payload: &str) -> Value {
    let mut message: Value = serde_json::from_str(payload).unwrap();
    let fields = message.as_object_mut().unwrap();
    assert!(fields.remove("id").is_some() && fields.remove("time").is_some());
    for point in fields["points"].as_array_mut().unwrap() {
        point.as_object_mut().unwrap().remove("dt");
    }
    message
}
