//! `cargo xtask setup`: the servers and tools of the tests. Does only what is missing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lineside_lab::binaries::Set;
use xtask::cache::{CC_FLAGS, completed};
use xtask::iotdb::{ARTIFACTS, Artifact};

use crate::Context;
use crate::process::{command, output, run as run_command};

/// A Debian package and a file that shows it is there: an absolute path, or a program name.
const PEERS: [(&str, &str); 10] = [
    ("mosquitto", "mosquitto"),
    ("mosquitto-clients", "mosquitto_sub"),
    ("libmodbus-dev", "/usr/include/modbus/modbus.h"),
    ("gcc", "cc"),
    ("libc6-dev", "/usr/include/stdio.h"),
    ("g++", "c++"),
    ("python3", "python3"),
    // Apache IoTDB.
    ("openjdk-17-jre-headless", "/usr/share/doc/openjdk-17-jre-headless"),
    ("maven", "mvn"),
    ("unzip", "unzip"),
];

/// The plugin that copies a file out of Maven's repository. Later versions also want the parents of
/// what they copy, which are not there for every release of IoTDB.
const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy";

/// What the tests need besides.
const TESTS: [(&str, &str); 10] = [
    ("chromium", "chromium"),
    ("chromium-driver", "chromedriver"),
    // The language of Argo CD's health checks.
    ("lua5.1", "lua5.1"),
    ("curl", "curl"),
    // Small volumes that fill up, break and are mounted read-only.
    ("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    ("mount", "losetup"),
    ("util-linux", "unshare"),
    // The repository that Flux reads.
    ("git", "git"),
    // Judges the alerts of the chart.
    ("prometheus", "promtool"),
    // The key store of an IoTDB with TLS.
    ("openssl", "openssl"),
];

/// What the lab and the images need.
const LAB: [(&str, &str); 8] = [
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("dnsmasq-base", "dnsmasq"),
    ("busybox-static", "/usr/share/doc/busybox-static"),
    ("binutils", "strip"),
    ("ca-certificates", "/usr/share/ca-certificates/mozilla"),
];

/// Debian's hook that says whether a package may start its service on installation.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// The release of cargo-deny that deny.toml is written for.
const CARGO_DENY: &str = "0.20.2";

/// Everything the tests need.
pub fn run(context: &Context) -> Result<()> {
    let started = Instant::now();
    let _alone = alone(context)?;
    debian_packages(&[PEERS.as_slice(), &TESTS, &LAB].concat())?;
    servers(context)?;
    for set in [Set::Core, Set::Helm] {
        set.build(context.cache.root())?;
    }
    done(context, started);
    Ok(())
}

/// The servers that are no part of a cluster.
pub fn peers(context: &Context) -> Result<()> {
    let started = Instant::now();
    let _alone = alone(context)?;
    debian_packages(&PEERS)?;
    servers(context)?;
    done(context, started);
    Ok(())
}

/// Clones share the cache: one at a time.
fn alone(context: &Context) -> Result<File> {
    fs::create_dir_all(context.cache.root())?;
    let lock = File::create(context.cache.root().join("setup.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn servers(context: &Context) -> Result<()> {
    python(context)?;
    c_peers(context)?;
    ARTIFACTS.into_iter().try_for_each(|artifact| iotdb(context, artifact))
}

fn done(context: &Context, started: Instant) {
    let cache = context.cache.root().display();
    println!("setup: ready in {:.1} s ({cache})", started.elapsed().as_secs_f64());
}

/// cargo-deny, built once into the cache.
pub fn cargo_deny(context: &Context) -> Result<PathBuf> {
    let root = context.cache.root().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        println!("setup: building cargo-deny {CARGO_DENY} (once, minutes)");
        let build = context.cache.root().join("cargo-deny-build");
        let mut cargo = command("cargo");
        cargo
            .args(["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY])
            .arg("--root")
            .arg(&root)
            .current_dir(&context.workspace)
            .env("CARGO_TARGET_DIR", &build);
        run_command(&mut cargo)?;
        fs::remove_dir_all(build)?;
    }
    Ok(program)
}

fn present(mark: &str) -> bool {
    if mark.starts_with('/') {
        return Path::new(mark).exists();
    }
    program(mark).is_some()
}

/// Where a program is.
pub fn program(name: &str) -> Option<PathBuf> {
    // Debian keeps daemons in sbin, which is not on everyone's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
}

/// Installs those of the packages that are missing; each with a file that shows it is there.
pub fn debian_packages(packages: &[(&'static str, &str)]) -> Result<()> {
    let missing: Vec<_> =
        packages.iter().filter(|(_, mark)| !present(mark)).map(|(name, _)| *name).collect();
    install(&missing)
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !present("apt-get") {
        bail!(
            "install these Debian packages, or what they are called here: {}",
            packages.join(" ")
        );
    }
    if output(command("id").arg("-u"))?.trim() != "0" {
        bail!("missing packages; run: sudo {by_hand}");
    }
    println!("setup: {by_hand}");
    let _policy = NoServices::new()?;
    let apt = || {
        let mut apt = command("apt-get");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null());
        apt
    };
    run_command(apt().arg("update"))?;
    run_command(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// While it lives, packages do not start their services: a broker that nobody asked for would
/// stay behind on port 1883. An existing policy of the machine is left alone.
struct NoServices(bool);

impl NoServices {
    fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;

        let ours = !Path::new(SERVICE_POLICY).exists();
        if ours {
            fs::write(SERVICE_POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(SERVICE_POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self(ours))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = fs::remove_file(SERVICE_POLICY)
        {
            eprintln!("setup: {SERVICE_POLICY} is left behind: {error}");
        }
    }
}

fn python(context: &Context) -> Result<()> {
    let venv = context.cache.venv()?;
    if completed(&venv).exists() {
        return Ok(());
    }
    println!("setup: Python environment {}", venv.display());
    let create = |python: &str| {
        let mut python = command(python);
        python.args(["-m", "venv", "--clear"]).arg(&venv);
        python
    };
    // Debian's python3 comes without ensurepip, which venv needs.
    let whole = command("python3")
        .args(["-c", "import ensurepip"])
        .stderr(std::process::Stdio::null())
        .status()?;
    if whole.success() {
        run_command(&mut create("python3"))?;
    } else {
        install(&["python3-venv"])?;
        run_command(&mut create("/usr/bin/python3"))?;
    }
    let mut pip = command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
        .arg(context.cache.requirements());
    run_command(&mut pip)?;
    File::create(completed(&venv)).context("cannot mark the environment as complete")?;
    Ok(())
}

fn c_peers(context: &Context) -> Result<()> {
    let dir = context.cache.c_peers()?;
    if completed(&dir).exists() {
        return Ok(());
    }
    println!("setup: C peers {}", dir.display());
    fs::create_dir_all(&dir)?;
    for source in context.cache.c_sources()? {
        let name = source.file_stem().context("a C source has a name")?;
        let mut cc = command("cc");
        cc.args(CC_FLAGS).arg("-o").arg(dir.join(name)).arg(&source).arg("-lmodbus");
        run_command(&mut cc)?;
    }
    File::create(completed(&dir))?;
    Ok(())
}

/// The jars of one artifact of Apache IoTDB.
fn iotdb(context: &Context, artifact: Artifact) -> Result<()> {
    let dir = artifact.folder(&context.cache);
    if completed(&dir).exists() {
        return Ok(());
    }
    println!("setup: Apache IoTDB {} (once, 100 MB)", dir.display());
    fs::create_dir_all(&dir)?;
    let mut maven = command("mvn");
    maven.args(["-B", "-q", "-Dstyle.color=never", MAVEN_COPY]);
    maven.arg(format!("-Dartifact={}", artifact.coordinate()));
    run_command(maven.arg(format!("-DoutputDirectory={}", dir.display())))?;
    let zip = dir.join(format!("{}-{}.zip", artifact.name, artifact.version));
    let mut unzip = command("unzip");
    run_command(unzip.args(["-q", "-o"]).arg(&zip).arg("lib/*").arg("-d").arg(&dir))?;
    fs::remove_file(zip)?;
    File::create(completed(&dir))?;
    Ok(())
}
