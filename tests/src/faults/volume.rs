//! A small real file system, ext4 in a file, for whoever fills it or takes the right to write.
//!
//! It is mounted in a mount namespace of its own, which a child holds open: the kernel unmounts
//! it when the last process in there is gone, also when the test was killed. Wants root.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::lives::Around;
use crate::dir::TestDir;
use crate::process::Server;
use crate::tools;

/// Longest time to make and mount it.
const MOUNT: Duration = Duration::from_secs(20);
/// The file that takes the space.
const FILLER: &str = "filler";

/// A mounted volume.
#[derive(Debug)]
pub struct Volume {
    holder: Server,
    at: PathBuf,
}

impl Volume {
    /// A volume of `mebibytes` at the folder `at`, seen only by programs that are started with
    /// [`Self::around`].
    ///
    /// # Errors
    /// The tools are missing, or this is not root.
    pub fn mount(dir: &TestDir, name: &str, at: &Path, mebibytes: u64) -> Result<Self> {
        let image = dir.join(&format!("{name}.img"));
        File::create(&image)?.set_len(mebibytes << 20)?;
        // No blocks kept back for root, which the agent is here.
        let mkfs = tools::program("mkfs.ext4")?;
        run(Command::new(mkfs).args(["-q", "-F", "-m", "0"]).arg(&image))?;
        fs::create_dir_all(at)?;
        let script = "mount -o loop \"$1\" \"$2\" && exec sleep infinity";
        let (image, at_text) = (text(&image)?, text(at)?);
        let args = ["--mount", "sh", "-c", script, "sh", &image, &at_text];
        let holder = Server::start(dir, name, &tools::program("unshare")?, args)?;
        let mut volume = Self { holder, at: at.to_path_buf() };
        let mounts = format!("/proc/{}/mounts", volume.holder.pid()?);
        volume.holder.wait_ready("mounted", MOUNT, || {
            let mounts = fs::read_to_string(&mounts).ok()?;
            mounts.lines().any(|line| line.split(' ').nth(1) == Some(&at_text)).then_some(())
        })?;
        Ok(volume)
    }

    /// The words in front of programs that are to see it.
    ///
    /// # Errors
    /// It is gone.
    pub fn around(&self) -> Result<Around> {
        let words = self.enter()?;
        Ok(Around { agent: words.clone(), questions: words })
    }

    fn enter(&self) -> Result<Vec<String>> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.pid()?);
        Ok(vec![text(&tools::program("nsenter")?)?, namespace, "--".into()])
    }

    /// Where the test itself finds the file `name` of the volume.
    ///
    /// # Errors
    /// It is gone.
    pub fn inside(&self, name: &str) -> Result<PathBuf> {
        let at = self.at.strip_prefix("/").context("mounted at an absolute path")?;
        Ok(Path::new("/proc").join(self.holder.pid()?.to_string()).join("root").join(at).join(name))
    }

    /// Takes all free space, to the last block.
    ///
    /// # Errors
    /// It cannot be written for another reason than that it is full.
    pub fn fill(&self) -> Result<()> {
        let path = self.inside(FILLER)?;
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for block in [1 << 20, 1 << 12] {
            let bytes = vec![0xa5; block];
            loop {
                match file.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling"),
                }
            }
        }
        // Blocks are given out when data is written back.
        match file.sync_all() {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// It was not filled.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.inside(FILLER)?)?)
    }

    /// Mounts it read-only; nobody may have a file of it open for writing.
    ///
    /// # Errors
    /// Somebody has.
    pub fn read_only(&self) -> Result<()> {
        self.remount("remount,ro")
    }

    /// Mounts it as it was.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read_write(&self) -> Result<()> {
        self.remount("remount,rw")
    }

    /// The kernel finds an error: nothing can be written any more, also by whoever has a file
    /// open, and only a repair ends it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn abort(&self) -> Result<()> {
        self.remount("remount,abort")
    }

    /// Every write below the folder `name` fails, also by whoever has a file open.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn refuse_writes(&self, name: &str) -> Result<()> {
        self.immutable("+i", name)
    }

    /// Ends [`Self::refuse_writes`].
    ///
    /// # Errors
    /// The folder is not there.
    pub fn allow_writes(&self, name: &str) -> Result<()> {
        self.immutable("-i", name)
    }

    fn immutable(&self, how: &str, name: &str) -> Result<()> {
        let chattr = tools::program("chattr")?;
        run(Command::new(chattr).args(["-R", how]).arg(self.inside(name)?))
    }

    fn remount(&self, how: &str) -> Result<()> {
        let words = self.enter()?;
        let (program, args) = words.split_first().context("a program")?;
        run(Command::new(program).args(args).args(["mount", "-o", how]).arg(&self.at))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Write as _};

    use super::Volume;
    use crate::dir::TestDir;

    #[test]
    fn a_volume_is_full_free_and_read_only_when_it_is_told_to() {
        let dir = TestDir::new("fault_volume").unwrap();
        let at = dir.join("mounted");
        let volume = Volume::mount(&dir, "volume", &at, 8).unwrap();
        assert!(fs::read_dir(&at).unwrap().next().is_none(), "seen from outside");
        let path = volume.inside("file").unwrap();
        fs::write(&path, [1; 4096]).unwrap();
        volume.fill().unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(file.write(&[1; 8192]).unwrap_err().kind(), ErrorKind::StorageFull);
        volume.free().unwrap();
        file.write_all(&[1; 8192]).unwrap();
        assert!(volume.read_only().is_err(), "a file is open for writing");
        drop(file);
        volume.read_only().unwrap();
        let refused = fs::write(&path, [2]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        volume.read_write().unwrap();
        fs::write(&path, [2]).unwrap();
    }

    #[test]
    fn whoever_has_a_file_open_cannot_write_when_writes_are_refused_or_the_kernel_found_an_error() {
        let dir = TestDir::new("fault_volume_refuses").unwrap();
        let volume = Volume::mount(&dir, "volume", &dir.join("mounted"), 8).unwrap();
        let folder = volume.inside("folder").unwrap();
        fs::create_dir(&folder).unwrap();
        let mut file = fs::File::create(folder.join("file")).unwrap();
        volume.refuse_writes("folder").unwrap();
        assert!(file.write_all(&[1]).is_err());
        assert!(fs::File::create(folder.join("other")).is_err());
        volume.allow_writes("folder").unwrap();
        file.write_all(&[1]).unwrap();
        volume.abort().unwrap();
        assert_eq!(file.write_all(&[1]).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
}
