//! YAML files: any text gives documents; one with an error gives no object, one without gives
//! a reason for having none, and each problem stands at a place of the text.

use lineside_crds::diagnostics::Level;
use lineside_crds::yaml;

/// One input: a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let documents = yaml::load_text("fuzz.yaml", text);
    // YAML 1.2.2, 5.4: CR LF, CR and LF each end a line. A problem at the end of a text that
    // ends its last line is on the line after it.
    let lines = text.replace("\r\n", "\n").split(['\r', '\n']).count() + 1;
    for document in &documents {
        let wrong = document.problems.iter().any(|p| p.code.level() == Level::Error);
        assert!(!(wrong && document.object.is_some()), "an object in spite of an error");
        for problem in &document.problems {
            assert!((1..=lines).contains(&problem.line), "{problem}: of {lines} lines");
            assert!(problem.column >= 1, "{problem}");
            assert!(!problem.message.contains('\n'), "{problem}: more than one line");
        }
    }
    // Rules over several documents take whatever the documents became.
    yaml::check_set(&documents);
}
