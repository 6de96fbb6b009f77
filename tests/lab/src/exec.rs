//! Runs a program to its end, within a bound.

use std::io::{Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What a program that ended said.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` with `input`; killed at the bound.
///
/// # Errors
/// It cannot be started or has not ended within the bound.
pub fn output(command: &mut Command, input: &str, bound: Duration) -> Result<Output> {
    let shown = shown(command);
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let Some(mut stdin) = stdin {
            // A program that ends before it has read all says why itself.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        }
        let stdout = scope.spawn(move || text(stdout));
        let stderr = scope.spawn(move || text(stderr));
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() >= bound {
                child.kill()?;
                child.wait()?;
                bail!("killed after {} s: {shown}", bound.as_secs());
            }
            thread::sleep(LOOK);
        };
        let join = |text: thread::ScopedJoinHandle<'_, String>| text.join().unwrap_or_default();
        Ok(Output { status, stdout: join(stdout), stderr: join(stderr) })
    })
}

/// Standard output of a program that succeeds.
///
/// # Errors
/// As [`output`], and when it does not succeed: the text has its standard error.
pub fn checked(command: &mut Command, input: &str, bound: Duration) -> Result<String> {
    let out = output(command, input, bound)?;
    if !out.status.success() {
        let said = if out.stderr.is_empty() { &out.stdout } else { &out.stderr };
        bail!("{} ended with {}: {}", shown(command), out.status, said.trim());
    }
    Ok(out.stdout)
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{checked, output};
    use std::process::Command;
    use std::time::{Duration, Instant};

    const BOUND: Duration = Duration::from_secs(20);

    #[test]
    fn input_and_both_outputs_pass_even_when_they_are_larger_than_a_pipe() {
        let large = "x".repeat(1 << 20);
        let mut both = Command::new("sh");
        let out = output(both.args(["-c", "tee /dev/stderr"]), &large, BOUND).unwrap();
        assert!(out.status.success());
        assert_eq!((out.stdout, out.stderr), (large.clone(), large));
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_the_bound() {
        let started = Instant::now();
        let error = output(Command::new("sleep").arg("60"), "", Duration::from_millis(50));
        assert!(error.unwrap_err().to_string().contains("sleep 60"));
        assert!(started.elapsed() < BOUND);
    }

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let mut failing = Command::new("sh");
        let error = checked(failing.args(["-c", "echo no room >&2; exit 3"]), "", BOUND);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("no room") && text.contains('3'), "{text}");
    }
}
