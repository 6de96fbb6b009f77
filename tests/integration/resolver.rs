//! A name server that never answers: a command that waits for it still ends in time.
//!
//! The system's `getaddrinfo` is replaced, for the started process alone, by one that hangs, as
//! the real one does for up to half a minute; nothing else on the machine notices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lineside_tests::agent::binary;
use lineside_tests::dir::TestDir;
use lineside_tests::process::Server;
use lineside_tests::{tools, wait};

use crate::plant::{self, SOON};

/// Each hanging call says so once.
const HANGS: &str = "\
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const void *hints, void **found) {
    static const char text[] = \"resolver hangs\\n\";
    (void)node, (void)service, (void)hints, (void)found;
    if (write(2, text, sizeof text - 1) < 0) return -1;
    for (;;) pause();
}
";

/// Longest end: a second for stuck threads, and a machine that is busy.
const END: Duration = Duration::from_secs(5);

fn library(dir: &TestDir) -> PathBuf {
    let source = dir.write("hangs.c", HANGS).unwrap();
    let library = dir.join("hangs.so");
    let mut cc = Command::new(tools::program("cc").unwrap());
    let cc = cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    assert!(cc.status().unwrap().success());
    library
}

fn start(dir: &TestDir, library: &Path, args: &[&str]) -> Server {
    let preload = [("LD_PRELOAD", library.to_str().unwrap())];
    let log = dir.join("lineside.log");
    let server =
        Server::start_with("lineside", &binary().unwrap(), args, &preload, &log, &log).unwrap();
    wait::until("the resolver hangs", SOON, || server.log().unwrap().contains("resolver hangs"))
        .unwrap();
    server
}

#[test]
fn read_gives_up_on_a_name_that_is_not_resolved_in_time() {
    let dir = TestDir::new("resolver_read").unwrap();
    let library = library(&dir);
    let url = "modbus-tcp://plc.example";
    let args = ["read", url, "-p", "x=coil:1", "--timeout-millis", "500"];
    let mut read = start(&dir, &library, &args);
    let since = Instant::now();
    let status = read.wait_end(SOON).unwrap();
    let log = read.log().unwrap();
    assert!(since.elapsed() < END, "{:?}: {log}", since.elapsed());
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("plc.example") && log.contains("Next:"), "{log}");
}

#[test]
fn the_agent_ends_on_sigterm_while_a_name_is_being_resolved() {
    let dir = TestDir::new("resolver_agent").unwrap();
    let library = library(&dir);
    let device = plant::device("d", 502, &[("x", "coil:1")], &[]);
    plant::write(&dir, "d", &device.replace("127.0.0.1", "plc.example"));
    plant::write(&dir, "pipeline", &plant::pipeline(1, &[]));
    let (config, state) = (dir.join("config"), dir.folder("state").unwrap());
    let [config, state] = [config.to_str().unwrap(), state.to_str().unwrap()];
    let args = ["agent", "--config", config, "--state", state, "--http", "127.0.0.1:0"];
    let mut agent = start(&dir, &library, &args);
    let status = agent.term(END);
    assert_eq!(status.unwrap().code(), Some(0), "{}", agent.log().unwrap());
}
