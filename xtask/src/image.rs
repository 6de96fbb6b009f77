//! `cargo xtask image`: the images of agent and operator, without a container engine.
//!
//! An image is the program, the loader and libraries that it names, certificates, a name for its
//! user, and nothing else: no shell, no package manager. What is in it comes from this machine,
//! so two machines with the same packages and toolchain make the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args as Arguments, ValueEnum};
use lineside_lab::oci::{Image, Rootfs};
use serde_json::Value;

use crate::Context;
use crate::process::{cargo, command, host, output, run as run_command};

/// Which images, built how, written where.
#[derive(Arguments)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How the program is compiled: dev is quick to build, dist is what is published.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Where the archives go; otherwise `images` in the target directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write root file systems for images/Containerfile into folders of this one, no archives.
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    rootfs: Option<PathBuf>,
    /// Which ones; none: all.
    #[arg(value_enum)]
    images: Vec<Which>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask image                              both, for the lab
  cargo xtask image --profile dist --out /tmp/images agent
  docker load -i /tmp/images/agent.tar
  cargo xtask image --rootfs /tmp/rootfs
  podman build -f images/Containerfile --target agent /tmp/rootfs";

/// A profile of the root Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Quick to build; symbols are stripped.
    Dev,
    /// Optimized.
    Release,
    /// Optimized as a whole.
    Dist,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }

    /// Cargo's folder for it.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            other => other.name(),
        }
    }
}

/// An image of Lineside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The edge agent, which is also the command line.
    Agent,
    /// The control plane.
    Operator,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Agent => "lineside",
            Self::Operator => "lineside-operator",
        }
    }

    /// Where the program is in the image.
    fn program(self) -> &'static str {
        match self {
            Self::Agent => "/usr/bin/lineside",
            Self::Operator => "/usr/bin/lineside-operator",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Agent => "Lineside agent",
            Self::Operator => "Lineside operator",
        }
    }
}

/// Who runs in the images; no Debian user has this number.
const USER: &str = "65532:65532";

/// The file of names for that number: some libraries look their user up.
const PASSWD: &str = "\
root:x:0:0:root:/:/sbin/nologin
lineside:x:65532:65532:lineside:/var/lib/lineside:/sbin/nologin
";
const GROUP: &str = "root:x:0:\nlineside:x:65532:\n";
/// Names come from files and DNS; glibc has both built in.
const NSSWITCH: &str = "hosts: files dns\npasswd: files\ngroup: files\n";

/// Debian's ca-certificates: the common authorities, without what was added on this machine.
const AUTHORITIES: &str = "/usr/share/ca-certificates/mozilla";
/// Where TLS libraries look for them.
const AUTHORITIES_IN_IMAGE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes what was asked for.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let all = Which::value_variants();
    let chosen = if args.images.is_empty() { all } else { args.images.as_slice() };
    for which in chosen {
        let version = version(context, *which)?;
        let rootfs = rootfs(context, *which, args.profile)?;
        if let Some(dir) = &args.rootfs {
            let dir = dir.join(which.name());
            rootfs.write_into(&dir)?;
            println!("image: root file system of {} in {}", which.name(), dir.display());
            continue;
        }
        let dir = args.out.clone().unwrap_or_else(|| folder(context));
        write(*which, &version, rootfs, &dir)?;
    }
    Ok(())
}

/// Makes both for the lab.
pub fn for_tests(context: &Context) -> Result<()> {
    run(context, &Args { profile: Profile::Dev, out: None, rootfs: None, images: Vec::new() })
}

/// Makes both for a folder of the caller's.
pub fn write_into(context: &Context, profile: Profile, dir: &Path) -> Result<()> {
    let out = Some(dir.to_path_buf());
    run(context, &Args { profile, out, rootfs: None, images: Vec::new() })
}

/// Writes the root file system of the agent's image into a new folder in this one, and gives it.
pub fn agent_into(context: &Context, profile: Profile, dir: &Path) -> Result<PathBuf> {
    let rootfs = Some(dir.to_path_buf());
    run(context, &Args { profile, out: None, rootfs, images: vec![Which::Agent] })?;
    Ok(dir.join(Which::Agent.name()))
}

/// Where archives go unless told otherwise.
fn folder(context: &Context) -> PathBuf {
    context.target.join("images")
}

fn write(which: Which, version: &str, rootfs: Rootfs, dir: &Path) -> Result<()> {
    let image = image(which, version, rootfs);
    fs::create_dir_all(dir)?;
    let archive = dir.join(format!("{}.tar", which.name()));
    let digest = image.write(&archive)?;
    let size = fs::metadata(&archive)?.len() / 1_000_000;
    println!("image: {} in {} ({size} MB) {digest}", image.reference, archive.display());
    Ok(())
}

fn image(which: Which, version: &str, rootfs: Rootfs) -> Image {
    let label =
        |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let labels = [
        label("title", which.title()),
        label("version", version),
        label("licenses", "Apache-2.0"),
        label("url", "https://lineside.dev"),
    ];
    Image {
        entrypoint: vec![which.program().to_owned()],
        user: USER.to_owned(),
        environment: vec![format!("SSL_CERT_FILE={AUTHORITIES_IN_IMAGE}")],
        labels: BTreeMap::from(labels),
        ..Image::new(&reference(which, version), rootfs)
    }
}

/// What containerd calls `lineside/agent:VERSION`.
fn reference(which: Which, version: &str) -> String {
    format!("docker.io/lineside/{}:{version}", which.name())
}

fn rootfs(context: &Context, which: Which, profile: Profile) -> Result<Rootfs> {
    let built = build(context, which, profile)?;
    let mut rootfs = Rootfs::default();
    if profile == Profile::Dev {
        // Line tables would be nine tenths of the image.
        let stripped = built.with_extension("stripped");
        run_command(command("strip").arg("-o").arg(&stripped).arg(&built))?;
        rootfs.copy(&stripped, which.program(), 0o755)?;
        fs::remove_file(stripped)?;
    } else {
        rootfs.copy(&built, which.program(), 0o755)?;
    }
    for library in libraries(&built)? {
        let path = library.to_str().context("a library has a readable path")?;
        rootfs.copy(&library, path, 0o755)?;
    }
    rootfs.file("/etc/passwd", 0o644, PASSWD);
    rootfs.file("/etc/group", 0o644, GROUP);
    rootfs.file("/etc/nsswitch.conf", 0o644, NSSWITCH);
    rootfs.file(AUTHORITIES_IN_IMAGE, 0o644, authorities(Path::new(AUTHORITIES))?);
    rootfs.dir("/tmp", 0o1777);
    if which == Which::Agent {
        // What is mounted here in a pod must have a place where nothing can be made.
        for dir in ["/etc/lineside/config", "/etc/lineside/secrets", "/var/lib/lineside"] {
            rootfs.dir(dir, 0o755);
        }
    }
    Ok(rootfs)
}

fn build(context: &Context, which: Which, profile: Profile) -> Result<PathBuf> {
    println!("image: building {} ({})", which.package(), profile.name());
    let mut cargo = cargo(context, &host()?);
    // A directory of its own: the agent of the image lacks a feature, and the one beside the
    // integration tests must not be replaced by it.
    let target = context.target.join("image");
    cargo.env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--quiet", "--locked", "--profile", profile.name()]);
    cargo.args(["--package", which.package(), "--bin", which.package()]);
    if which == Which::Agent {
        let features = image_features(&package(context, which)?)?;
        cargo.args(["--no-default-features", "--features", &features.join(",")]);
    }
    run_command(&mut cargo)?;
    Ok(target.join(profile.folder()).join(which.package()))
}

/// Every driver and sink; not the demo, which brings a broker.
fn image_features(package: &Value) -> Result<Vec<String>> {
    let features = package["features"].as_object().context("cargo metadata lists features")?;
    let not = ["default", "demo"];
    let features: Vec<_> =
        features.keys().filter(|name| !not.contains(&name.as_str())).cloned().collect();
    if features.is_empty() {
        bail!("the agent has no feature for a driver or sink");
    }
    Ok(features)
}

/// What `cargo metadata` says of the image's package.
fn package(context: &Context, which: Which) -> Result<Value> {
    let mut cargo = cargo(context, &host()?);
    cargo.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&output(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let found = packages.iter().find(|package| package["name"] == which.package());
    Ok(found.with_context(|| format!("no package {}", which.package()))?.clone())
}

fn version(context: &Context, which: Which) -> Result<String> {
    let package = package(context, which)?;
    Ok(package["version"].as_str().context("a package has a version")?.to_owned())
}

/// The loader and the libraries that a program needs, where this machine has them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    parse_ldd(&output(command("ldd").arg(program).env("LC_ALL", "C"))?)
}

/// Reads what `ldd` prints.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or(("", line));
        let path = place.split(' ').next().unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        } else if place.starts_with("not found") {
            bail!("{name}, which the program needs, is not on this machine");
        }
        // What is left is the kernel's own page, which has no file.
    }
    if libraries.is_empty() {
        bail!("ldd names no library: {text}");
    }
    libraries.sort();
    Ok(libraries)
}

/// All certificates of a folder in one file.
fn authorities(dir: &Path) -> Result<Vec<u8>> {
    let entries = fs::read_dir(dir);
    let entries = entries.with_context(|| format!("{}; run: cargo xtask setup", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(&file).with_context(|| file.display().to_string())?);
    }
    if all.is_empty() {
        bail!("{} has no certificates", dir.display());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Rootfs, USER, Which, image, image_features, parse_ldd};
    use clap::ValueEnum as _;
    use serde_json::json;
    use std::path::{Path, PathBuf};

    #[test]
    fn ldd_names_the_loader_and_every_library_and_what_is_missing_is_an_error() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f01)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f03)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse_ldd(text).unwrap(), expected.map(PathBuf::from));
        let missing = parse_ldd("\tlibzstd.so.1 => not found\n").unwrap_err().to_string();
        assert!(missing.contains("libzstd.so.1"), "{missing}");
        assert!(parse_ldd("\tstatically linked\n").is_err());
    }

    #[test]
    fn the_agent_in_the_image_has_every_driver_and_sink_but_no_demo() {
        let package = json!({"features": {"default": [], "demo": [], "modbus": [], "sink-x": []}});
        assert_eq!(image_features(&package).unwrap(), ["modbus", "sink-x"]);
        assert!(image_features(&json!({"features": {"demo": []}})).is_err());
    }

    #[test]
    fn the_containerfile_makes_the_same_images() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/Containerfile");
        let text = std::fs::read_to_string(path).unwrap();
        let stages: Vec<_> = text.split("FROM scratch AS ").skip(1).collect();
        assert_eq!(stages.len(), Which::value_variants().len());
        for (stage, which) in stages.iter().zip(Which::value_variants()) {
            let image = image(*which, "1.2.3", Rootfs::default());
            let name = which.name();
            let mut lines =
                vec![name.to_owned(), format!("COPY {name}/ /"), format!("USER {USER}")];
            lines.extend(image.environment.iter().map(|variable| format!("ENV {variable}")));
            lines.push(format!("ENTRYPOINT {}", serde_json::to_string(&image.entrypoint).unwrap()));
            let found: Vec<_> = stage.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(found, lines);
        }
    }
}
