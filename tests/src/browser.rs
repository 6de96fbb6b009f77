//! Headless Chromium, driven over WebDriver (W3C) by Debian's ChromeDriver. Both are children
//! of the test; the browser resolves no name and so reaches this machine only.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::dir::TestDir;
use crate::process::Server;
use crate::{ports, tools};

/// Longest start of the browser; a cold one reads some 300 MB.
const START: Duration = Duration::from_secs(60);

/// Longest answer of one command.
const COMMAND: Duration = Duration::from_secs(60);

/// No first-run page, no service of its vendor.
const QUIET: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A running browser with one empty page.
#[derive(Debug)]
pub struct Browser {
    session: String,
    port: u16,
    // Dropped in this order: the driver lets go of the browser first.
    _driver: Server,
    _chromium: Server,
}

impl Browser {
    /// Starts one with a profile of its own in the test's folder.
    ///
    /// # Errors
    /// Chromium or ChromeDriver is not installed or does not start.
    pub fn start(dir: &TestDir, name: &str) -> Result<Self> {
        let debugger = ports::free()?;
        let profile = dir.folder(&format!("{name}-profile"))?;
        let mut args: Vec<_> = QUIET.map(str::to_owned).into();
        args.push(format!("--remote-debugging-port={debugger}"));
        args.push(format!("--user-data-dir={}", profile.display()));
        args.push("about:blank".to_owned());
        let mut chromium = Server::start(dir, name, &tools::program("chromium")?, &args)?;
        chromium.wait_port(debugger, START)?;
        let port = ports::free()?;
        let driver_name = format!("{name}-driver");
        let program = tools::program("chromedriver")?;
        let mut driver = Server::start(dir, &driver_name, &program, [format!("--port={port}")])?;
        driver.wait_port(port, START)?;
        let mut browser =
            Self { session: String::new(), port, _driver: driver, _chromium: chromium };
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
            "goog:chromeOptions": {"debuggerAddress": format!("127.0.0.1:{debugger}")},
        }}});
        let answer = browser.send("POST", "/session", &capabilities)?;
        let id = answer["sessionId"].as_str().context("no session id")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Goes to an address and waits until it is loaded.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.command("/url", &json!({"url": url})).map(drop)
    }

    /// Runs the body of a function in the page; `arguments` are what it finds under that name.
    ///
    /// # Errors
    /// It throws.
    pub fn run(&self, body: &str, arguments: Value) -> Result<Value> {
        self.command("/execute/sync", &json!({"script": body, "args": arguments}))
    }

    /// The text of the first element that fits, when a person would see it.
    ///
    /// # Errors
    /// The selector is wrong, or the browser is gone.
    pub fn text(&self, selector: &str) -> Result<Option<String>> {
        let body = "const node = document.querySelector(arguments[0]);
            return node?.checkVisibility() ? node.textContent : null;";
        Ok(self.run(body, json!([selector]))?.as_str().map(str::to_owned))
    }

    /// How many elements fit.
    ///
    /// # Errors
    /// The selector is wrong, or the browser is gone.
    pub fn count(&self, selector: &str) -> Result<u64> {
        let count =
            self.run("return document.querySelectorAll(arguments[0]).length", json!([selector]))?;
        count.as_u64().context("a number")
    }

    /// Clicks the first element that fits.
    ///
    /// # Errors
    /// There is none.
    pub fn click(&self, selector: &str) -> Result<()> {
        self.run("document.querySelector(arguments[0]).click()", json!([selector])).map(drop)
    }

    /// Presses keys one after the other where the focus is, e.g. `\u{E004}` for Tab.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn press(&self, keys: &str) -> Result<()> {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        });
        let strokes: Vec<_> = strokes.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.command("/actions", &actions).map(drop)
    }

    /// A command of the DevTools protocol.
    ///
    /// # Errors
    /// It is refused.
    pub fn devtools(&self, method: &str, parameters: &Value) -> Result<Value> {
        self.command("/goog/cdp/execute", &json!({"cmd": method, "params": parameters}))
    }

    /// Addresses of all requests that the page has made since the last question.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn requests(&self) -> Result<Vec<String>> {
        let entries = self.log("performance")?;
        let urls = entries.iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            let ours = message["method"] == "Network.requestWillBeSent";
            ours.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        Ok(urls.collect())
    }

    /// What the page has complained about in the console since the last question.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.log("browser")?;
        Ok(entries.iter().map(|e| format!("{} {}", e["level"], e["message"])).collect())
    }

    /// Writes what is in the window as a PNG file.
    ///
    /// # Errors
    /// The browser is gone or the file cannot be written.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        use base64::Engine as _;

        let png = self.send("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        let png = png.as_str().context("a string")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(png)?;
        std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    fn log(&self, kind: &str) -> Result<Vec<Value>> {
        let entries = self.command("/se/log", &json!({"type": kind}))?;
        Ok(entries.as_array().context("a list")?.clone())
    }

    fn command(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", &format!("{}{path}", self.session), body)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(COMMAND))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let answer: Value = serde_json::from_slice(&answer(&mut stream)?)?;
        let value = &answer["value"];
        match value["error"].as_str() {
            Some(error) => bail!("{method} {path}: {error}: {}", value["message"]),
            None => Ok(value.clone()),
        }
    }
}

/// The body of an HTTP answer that tells its length.
fn answer(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("no length")?.trim().parse()?;
            if bytes.len() >= end + length {
                return Ok(bytes[end..end + length].to_vec());
            }
        }
        match stream.read(&mut part)? {
            0 => bail!("the answer ends early"),
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
}
