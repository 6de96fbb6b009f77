//! The programs of the lab, built from Go modules into the cache: no downloads but the module
//! proxy's, no cgo, no container engine.
//!
//! `gomods/` holds one Go module for each upstream, because their dependencies would mix, with
//! every version resolved. A set lies in the cache under a key of all that went into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::exec::checked;
use crate::key;

/// What to run when a set is missing.
const SETUP: &str = "cargo xtask setup";
/// Longest answer of `go version` and the like.
const ASK: Duration = Duration::from_secs(60);
/// Longest build of one program on a slow machine beside other work.
const BUILD: Duration = Duration::from_secs(3 * 3600);

/// Kubernetes of the lab.
pub const KUBERNETES: &str = "v1.37.2";
/// containerd of the lab.
const CONTAINERD: &str = "v2.3.7";
/// The oldest API server that is supported.
pub const OLDEST_KUBERNETES: &str = "v1.34.4";

/// Programs that are built and found together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Everything a lab runs: `labk8s` (API server, controller manager, scheduler, kubelet),
    /// `kubectl`, `etcd`, `containerd`, `ctr`, `containerd-shim-runc-v2`, `pause`.
    Core,
    /// `helm`.
    Helm,
    /// `kwok`, which pretends to be any number of nodes.
    Kwok,
    /// `source-controller`, `kustomize-controller`, and their CRDs in `crds/`.
    Flux,
    /// `kube-apiserver` of the oldest release that is supported.
    OldestApiServer,
}

impl FromStr for Set {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|set| set.name() == text).with_context(|| {
            format!("no set {text}; there are: {}", Self::ALL.map(Self::name).join(" "))
        })
    }
}

/// One program: the module in `gomods/`, its name, its package, flags of the build.
struct Recipe {
    module: &'static str,
    program: &'static str,
    package: &'static str,
    tags: &'static str,
    ldflags: String,
}

impl Set {
    /// All sets.
    pub const ALL: [Self; 5] =
        [Self::Core, Self::Helm, Self::Kwok, Self::Flux, Self::OldestApiServer];

    /// Its name, here and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Helm => "helm",
            Self::Kwok => "kwok",
            Self::Flux => "flux",
            Self::OldestApiServer => "oldest-apiserver",
        }
    }

    /// The folder of the set's programs.
    ///
    /// # Errors
    /// It is not built; the text says what to run.
    pub fn find(self, cache: &Path) -> Result<PathBuf> {
        let dir = self.folder(cache)?;
        if !dir.is_dir() {
            bail!("the lab's programs are not in {}; run: {SETUP}", dir.display());
        }
        Ok(dir)
    }

    /// The folder of the set's programs, which are built first if need be: minutes. Says what
    /// it does; only one process builds at a time.
    ///
    /// # Errors
    /// Go is missing or too old, or a build fails.
    pub fn build(self, cache: &Path) -> Result<PathBuf> {
        let dir = self.folder(cache)?;
        if dir.is_dir() {
            return Ok(dir);
        }
        println!("lab: {} will be in {}", self.name(), dir.display());
        fs::create_dir_all(cache)?;
        let lock = File::create(cache.join("lab-programs.lock"))?;
        lock.lock()?;
        if dir.is_dir() {
            return Ok(dir);
        }
        // Whoever left one behind had the lock we have now.
        let work = cache.join("lab-programs-build");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        let built = self.build_in(&work)?;
        fs::rename(&built, &dir).with_context(|| dir.display().to_string())?;
        // Gigabytes that nobody needs again.
        fs::remove_dir_all(&work)?;
        Ok(dir)
    }

    fn folder(self, cache: &Path) -> Result<PathBuf> {
        Ok(cache.join(format!("lab-{}-{}", self.name(), self.key()?)))
    }

    /// Of the modules' files, the flags and the compiler.
    fn key(self) -> Result<String> {
        let mut parts = vec![go_version()?.into_bytes()];
        for recipe in self.recipes() {
            let Recipe { module, program, package, tags, ldflags } = recipe;
            let words = [module, program, package, tags, ldflags.as_str()].join("\n");
            parts.push(words.into_bytes());
            let dir = gomods().join(module);
            for file in files(&dir)? {
                parts.push(file.strip_prefix(&dir)?.as_os_str().as_encoded_bytes().to_vec());
                parts.push(fs::read(&file).with_context(|| file.display().to_string())?);
            }
        }
        Ok(key::of(parts.iter().map(Vec::as_slice)))
    }

    fn build_in(self, work: &Path) -> Result<PathBuf> {
        let bin = work.join("bin");
        fs::create_dir_all(&bin)?;
        let recipes = self.recipes();
        for (number, recipe) in recipes.iter().enumerate() {
            let Recipe { module, program, package, tags, ldflags } = recipe;
            println!("lab: building {program} ({} of {})", number + 1, recipes.len());
            let started = Instant::now();
            let dir = work.join(module);
            if !dir.exists() {
                copy(&gomods().join(module), &dir)?;
            }
            let mut go = go(&dir, &work.join("gocache"));
            go.args(["build", "-trimpath", "-tags", tags, "-ldflags", ldflags, "-o"]);
            go.arg(bin.join(program)).arg(package);
            checked(&mut go, "", BUILD)?;
            println!("lab: {program} took {:.0} s", started.elapsed().as_secs_f64());
        }
        if self == Self::Flux {
            for (module, package) in FLUX {
                let dir = work.join(module);
                let mut list = go(&dir, &work.join("gocache"));
                list.args(["list", "-m", "-f", "{{.Dir}}", package]);
                let source = checked(&mut list, "", ASK)?;
                copy(&Path::new(source.trim()).join("config/crd/bases"), &bin.join("crds"))?;
            }
        }
        Ok(bin)
    }

    fn recipes(self) -> Vec<Recipe> {
        match self {
            Self::Core => {
                let kubernetes = kubernetes_flags(KUBERNETES);
                let containerd = format!(
                    "-s -w -X github.com/containerd/containerd/v2/version.Version={CONTAINERD}"
                );
                let plain = "-s -w".to_owned();
                let no = "";
                vec![
                    recipe("k8s", "labk8s", "./labk8s", no, &kubernetes),
                    recipe("k8s", "kubectl", "k8s.io/kubernetes/cmd/kubectl", no, &kubernetes),
                    recipe("k8s", "etcd", "go.etcd.io/etcd/server/v3", no, &plain),
                    recipe("k8s", "pause", "./pause", no, &plain),
                    recipe("containerd", "containerd", CONTAINERD_PACKAGES[0], DAEMON, &containerd),
                    recipe("containerd", "ctr", CONTAINERD_PACKAGES[1], DAEMON, &containerd),
                    recipe(
                        "containerd",
                        "containerd-shim-runc-v2",
                        CONTAINERD_PACKAGES[2],
                        SHIM,
                        &containerd,
                    ),
                ]
            }
            Self::Helm => vec![recipe("helm", "helm", "helm.sh/helm/v4/cmd/helm", "", "-s -w")],
            Self::Kwok => vec![recipe("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "", "-s -w")],
            Self::Flux => FLUX
                .iter()
                .map(|(module, package)| {
                    let program = package.rsplit('/').next().unwrap_or(package);
                    recipe(module, program, package, "", "-s -w")
                })
                .collect(),
            Self::OldestApiServer => vec![recipe(
                "oldest-apiserver",
                "kube-apiserver",
                "k8s.io/kubernetes/cmd/kube-apiserver",
                "",
                &kubernetes_flags(OLDEST_KUBERNETES),
            )],
        }
    }
}

/// Modules and packages of Flux.
const FLUX: [(&str, &str); 2] = [
    ("flux-source", "github.com/fluxcd/source-controller"),
    ("flux-kustomize", "github.com/fluxcd/kustomize-controller"),
];

/// Packages of containerd: the daemon, its tool, what stays beside each pod.
const CONTAINERD_PACKAGES: [&str; 3] = [
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
];
/// Build tags of containerd and `ctr`: what needs cgo or is not used stays out.
const DAEMON: &str = "urfave_cli_no_docs,no_btrfs,no_zfs,no_devmapper,osusergo,netgo";
/// Build tags of the shim.
const SHIM: &str = "urfave_cli_no_docs,no_grpc";

fn recipe(
    module: &'static str,
    program: &'static str,
    package: &'static str,
    tags: &'static str,
    ldflags: &str,
) -> Recipe {
    Recipe { module, program, package, tags, ldflags: ldflags.to_owned() }
}

/// Stamps the version: clients and admission compare it.
fn kubernetes_flags(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", "lab"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

fn gomods() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gomods")
}

fn go_version() -> Result<String> {
    let mut go = Command::new("go");
    go.arg("version").env("GOTOOLCHAIN", "local");
    let version = checked(&mut go, "", ASK);
    version.context("the lab's programs are built with Go 1.26.8 or later; put it on PATH")
}

fn go(dir: &Path, cache: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(dir)
        .env("CGO_ENABLED", "0")
        // The one that is there, not one that it would download.
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly")
        .env("GOCACHE", cache);
    go
}

/// All files below a folder, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies the files of a folder; the copies can be written, whatever the originals can.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from)?);
        if let Some(dir) = target.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&target, fs::read(&file)?).with_context(|| target.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Set, gomods, kubernetes_flags};

    #[test]
    fn every_program_of_every_set_has_its_module() {
        for set in Set::ALL {
            for recipe in set.recipes() {
                for file in ["go.mod", "go.sum"] {
                    let path = gomods().join(recipe.module).join(file);
                    assert!(path.is_file(), "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn the_versions_are_those_of_the_modules() {
        let module =
            |name: &str| std::fs::read_to_string(gomods().join(name).join("go.mod")).unwrap();
        let kubernetes = format!("k8s.io/kubernetes {}", super::KUBERNETES);
        assert!(module("k8s").contains(&kubernetes));
        let oldest = format!("k8s.io/kubernetes {}", super::OLDEST_KUBERNETES);
        assert!(module("oldest-apiserver").contains(&oldest));
        let containerd = format!("containerd/v2 {}", super::CONTAINERD);
        assert!(module("containerd").contains(&containerd));
        assert!(kubernetes_flags("v1.37.2").contains("version.gitMinor=37"));
    }

    #[test]
    fn a_set_that_is_not_built_names_the_command() {
        let error = Set::Helm.find(std::path::Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.ends_with("run: cargo xtask setup"), "{error}");
    }
}
