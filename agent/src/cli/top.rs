//! `lineside top`: the state, again and again.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::local::Stop;
use super::overview::Rates;
use super::terminal::{Line, Paint, plain, span};
use super::{Exit, Output, local, overview, terminal};
use crate::api::shape::State;
use crate::client::{Client, ClientError};
use crate::runner;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside top
  lineside top --interval 5 --state /var/lib/lineside
  lineside top | cat                    (one look, with rates over one interval)
  lineside top -o json --count 10       (one JSON object a line, the answers of /api/v1/state)

Ends with q or Ctrl-C. While the agent restarts it waits for it.
Exit codes: 0 ended, 2 usage, 3 no agent answers.")]
pub struct Args {
    #[command(flatten)]
    local: local::WhichAgent,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Looks until it ends [default: no end; 1 for text that goes elsewhere than a terminal]
    #[arg(short, long, value_name = "LOOKS", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = args.local.client()?;
    let screen = args.output == Output::Text && stdout().is_terminal();
    let done = local::runtime()?.block_on(async {
        let end = runner::told_to_end()?;
        tokio::pin!(end);
        let look = async {
            match args.output {
                Output::Json => json(args, &client).await,
                Output::Text if screen => full_screen(args, &client).await,
                Output::Text => paper(args, &client).await,
            }
        };
        tokio::select! {
            done = look => done,
            () = end => Ok(Exit::Ok),
        }
    });
    local::end(done)
}

/// A state and when it was asked for.
struct Look {
    state: State,
    at: Instant,
}

async fn look(client: &Client) -> Result<Look, Stop> {
    let body = client.get("/api/v1/state").await?;
    Ok(Look { state: serde_json::from_slice(&body)?, at: Instant::now() })
}

impl Look {
    fn lines(&self, before: Option<&Self>) -> Vec<Line> {
        let rates = before
            .map(|old| Rates::between(&old.state, &self.state, self.at - old.at))
            .unwrap_or_default();
        overview::lines(&self.state, Some(&rates))
    }
}

async fn json(args: &Args, client: &Client) -> Result<Exit, Stop> {
    let mut period = tokio::time::interval(Duration::from_secs(args.interval));
    let mut left = args.count;
    while left != Some(0) {
        period.tick().await;
        let body = client.get("/api/v1/state").await?;
        let mut out = stdout().lock();
        out.write_all(&body)?;
        writeln!(out)?;
        out.flush()?;
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Ok)
}

/// Looks for a file or a pipe: one after the other, the first with rates too.
async fn paper(args: &Args, client: &Client) -> Result<Exit, Stop> {
    let pause = Duration::from_secs(args.interval);
    let mut before = look(client).await?;
    for number in 0..args.count.unwrap_or(1) {
        tokio::time::sleep(pause).await;
        let now = look(client).await?;
        let mut out = stdout().lock();
        if number > 0 {
            writeln!(out)?;
        }
        for line in now.lines(Some(&before)) {
            writeln!(out, "{}", terminal::text(&line, usize::MAX, false))?;
        }
        out.flush()?;
        before = now;
    }
    Ok(Exit::Ok)
}

async fn full_screen(args: &Args, client: &Client) -> Result<Exit, Stop> {
    // Asked first, so that an agent that is not there is said on the usual screen.
    let first = look(client).await?;
    let colours = terminal::colours();
    let screen = Screen::take()?;
    screen.show(&first.lines(None), colours)?;
    let mut before = Some(first);
    let mut keys = Keys::listen();
    let pause = Duration::from_secs(args.interval);
    let mut period = tokio::time::interval_at(Instant::now() + pause, pause);
    let mut left = args.count.map(|count| count - 1);
    while left != Some(0) {
        tokio::select! {
            _ = period.tick() => {}
            key = keys.pressed.recv() => match key {
                Some(b'q' | b'Q') => return Ok(Exit::Ok),
                Some(_) => continue,
                // Standard input is at its end; Ctrl-C still works.
                None => { period.tick().await; }
            },
        }
        match look(client).await {
            Ok(now) => {
                screen.show(&now.lines(before.as_ref()), colours)?;
                before = Some(now);
            }
            Err(Stop::Agent(error)) => screen.show(&absent(&error), colours)?,
            Err(stop) => return Err(stop),
        }
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Ok)
}

fn absent(error: &ClientError) -> Vec<Line> {
    vec![
        vec![span("The agent does not answer; still trying.", Paint::Red)],
        vec![plain(format!("  {error}"))],
        vec![plain(format!("  Next: {}", error.next()))],
    ]
}

/// The alternate screen of the terminal without its cursor (xterm control sequences, DECSET
/// 1049 and 25); given back on drop.
struct Screen;

impl Screen {
    fn take() -> Result<Self, Stop> {
        let screen = Self;
        put("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Shows as many lines as fit, over what was there: no flicker.
    fn show(&self, lines: &[Line], colours: bool) -> Result<(), Stop> {
        let (rows, columns) = match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_row > 1 && size.ws_col > 1 => {
                (usize::from(size.ws_row), usize::from(size.ws_col))
            }
            _ => (24, 80),
        };
        let mut page = String::from("\x1b[H");
        for line in lines.iter().take(rows - 2) {
            page.push_str(&terminal::text(line, columns, colours));
            page.push_str("\x1b[K\r\n");
        }
        let hidden = lines.len().saturating_sub(rows - 2);
        let foot = match hidden {
            0 => "q ends".to_owned(),
            hidden => format!("q ends; {hidden} more lines (lineside status shows all)"),
        };
        page.push_str("\x1b[J");
        page.push_str(&terminal::text(&[span(foot, Paint::Dim)], columns, colours));
        put(&page)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone; there is nobody left to tell.
        let _ = put("\x1b[?25h\x1b[?1049l");
    }
}

fn put(text: &str) -> Result<(), Stop> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Keys as they are pressed, not line by line and not shown; the terminal is given back as it
/// was on drop.
struct Keys {
    pressed: mpsc::Receiver<u8>,
    before: Option<Termios>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Keys {
    /// Keys of standard input; none when it is no terminal.
    fn listen() -> Self {
        // More keys than somebody presses between two looks are not needed.
        let (sender, pressed) = mpsc::channel(16);
        let over = Arc::new(AtomicBool::new(false));
        let before = stdin().is_terminal().then(|| tcgetattr(stdin()).ok()).flatten();
        let reader = before.clone().and_then(|mut mode| {
            mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // A read returns after at most two tenths of a second, with a key or without, so
            // that the reader can end.
            mode.special_codes[SpecialCodeIndex::VMIN] = 0;
            mode.special_codes[SpecialCodeIndex::VTIME] = 2;
            tcsetattr(stdin(), OptionalActions::Now, &mode).ok()?;
            let over = over.clone();
            Some(std::thread::spawn(move || read_keys(&sender, &over)))
        });
        Self { pressed, before, over, reader }
    }
}

fn read_keys(sender: &mpsc::Sender<u8>, over: &AtomicBool) {
    let mut key = [0];
    while !over.load(Ordering::Relaxed) {
        match stdin().lock().read(&mut key) {
            Ok(0) => {}
            Ok(_) => {
                // A key that nobody waits for is not needed.
                let _ = sender.try_send(key[0]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // It ends within its two tenths; a panic in it has nothing left to say.
            let _ = reader.join();
        }
        if let Some(before) = &self.before {
            // The terminal may be gone; there is nobody left to tell.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
