//! What runs in the virtual machine: a kernel of the distribution, and a root file system in
//! memory with the agent's image, busybox and a script.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use super::modules::Table;
use crate::tools;

/// The variable with the folder that has the root file system of the agent's image.
pub const IMAGE: &str = "LINESIDE_POWER_IMAGE";
/// The variable with the folder into which the kernel's package was unpacked.
pub const KERNEL: &str = "LINESIDE_POWER_KERNEL";
/// What to run when they are not set.
const COMMAND: &str = "run: cargo xtask soak power";

/// Disk and network on PCI, and the file system with its checksums.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4"];
/// Where the library is that makes every sync do nothing (Debian's libeatmydata1).
const SYNCLESS: &str = "/usr/lib/x86_64-linux-gnu/libeatmydata.so";
const INIT: &str = include_str!("init.sh");

/// Folder in the guest.
const CONFIG: &str = "/etc/lineside/config";

/// Kernel and root file system.
#[derive(Debug)]
pub struct Guest {
    /// The kernel.
    pub kernel: PathBuf,
    archive: Vec<u8>,
}

/// Whether the agent's syncs do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// As they are.
    Kept,
    /// They do nothing: the proof that the trial finds a store without them.
    Ignored,
}

impl Syncs {
    /// What the agent is started with.
    pub fn preload(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Ignored => SYNCLESS,
        }
    }
}

impl Guest {
    /// Packs everything that `cargo xtask soak power` has prepared, and the program that sets
    /// the clock.
    ///
    /// # Errors
    /// Something is not there.
    pub fn pack(clock: &Path) -> Result<Self> {
        let kernel = KernelFiles::find(&folder(KERNEL)?)?;
        let mut tree = Tree::default();
        tree.copy_folder(&folder(IMAGE)?, Path::new("/"))?;
        tree.copy(&tools::program("busybox")?, "/usr/bin/busybox", true)?;
        tree.copy(clock, "/usr/bin/lineside-guest-clock", true)?;
        let syncless = Path::new(SYNCLESS);
        if !syncless.exists() {
            bail!("{SYNCLESS} is not there; {COMMAND}");
        }
        tree.copy(syncless, SYNCLESS, true)?;
        let mut list = String::new();
        for module in kernel.modules()? {
            let place = format!("/lib/modules/{module}");
            tree.copy(&kernel.folder.join(&module), &place, false)?;
            list.push_str(&place);
            list.push('\n');
        }
        tree.file("/modules", false, list.as_bytes());
        tree.file("/init", true, INIT.as_bytes());
        tree.folder(CONFIG);
        Ok(Self { kernel: kernel.image, archive: tree.archive.finish() })
    }

    /// Writes the file that the kernel unpacks, with this configuration: names and YAML.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, to: &Path, config: &[(String, String)]) -> Result<()> {
        let mut archive = Archive::default();
        for (name, yaml) in config {
            archive.file(&format!("{CONFIG}/{name}.yaml"), false, yaml.as_bytes());
        }
        let whole = [self.archive.as_slice(), &archive.finish()].concat();
        fs::write(to, whole).with_context(|| to.display().to_string())
    }
}

fn folder(variable: &str) -> Result<PathBuf> {
    let value = std::env::var_os(variable);
    Ok(value.with_context(|| format!("{variable} is not set; {COMMAND}"))?.into())
}

/// An archive with the folders above its files.
#[derive(Debug, Default)]
struct Tree {
    archive: Archive,
    folders: BTreeSet<PathBuf>,
}

impl Tree {
    fn folder(&mut self, path: &str) {
        let mut above: Vec<&Path> = Path::new(path).ancestors().collect();
        above.reverse();
        for folder in above.iter().skip(1) {
            if let Some(text) = folder.to_str()
                && self.folders.insert(folder.to_path_buf())
            {
                self.archive.folder(text);
            }
        }
    }

    fn file(&mut self, path: &str, executable: bool, bytes: &[u8]) {
        if let Some(above) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(above);
        }
        self.archive.file(path, executable, bytes);
    }

    fn copy(&mut self, from: &Path, path: &str, executable: bool) -> Result<()> {
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.file(path, executable, &bytes);
        Ok(())
    }

    fn copy_folder(&mut self, from: &Path, to: &Path) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            let place = to.to_str().with_context(|| format!("{} is not UTF-8", to.display()))?;
            // The image has no links.
            if path.is_dir() {
                self.folder(place);
                self.copy_folder(&path, &to)?;
            } else {
                let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
                self.copy(&path, place, executable)?;
            }
        }
        Ok(())
    }
}

/// The unpacked package of a kernel.
struct KernelFiles {
    image: PathBuf,
    /// The folder of its modules.
    folder: PathBuf,
}

impl KernelFiles {
    fn find(package: &Path) -> Result<Self> {
        let image = only(&package.join("boot"), "vmlinuz-")?;
        // Some releases have `/lib`, others `/usr/lib`.
        let lib = ["lib/modules", "usr/lib/modules"].map(|lib| package.join(lib));
        let lib = lib.iter().find(|lib| lib.is_dir()).context("the kernel has no modules")?;
        Ok(Self { image, folder: only(lib, "")? })
    }

    fn modules(&self) -> Result<Vec<String>> {
        let read = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("{}; {COMMAND}", path.display()))
        };
        let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
        let order = Table::parse(&dep, &builtin)?.order(&MODULES)?;
        Ok(order.into_iter().map(str::to_owned).collect())
    }
}

/// The only entry of a folder with such a name.
fn only(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let named = |path: &&PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(start))
    };
    match paths.iter().filter(named).collect::<Vec<_>>().as_slice() {
        [path] => Ok((*path).clone()),
        found => bail!("{} files {start}* in {}", found.len(), folder.display()),
    }
}
