//! The virtual machine: one emulator after the other on one disk.
//!
//! Without KVM, so that it runs wherever the tests do. The guest takes its time from a timer that
//! the emulator drives by the host's clock, for the processor's own counter is guessed at boot.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::clock::Clock;
use super::console::Console;
use super::disk::Disk;
use super::guest::{Guest, Syncs};
use super::volatile::Loss;
use crate::dir::TestDir;
use crate::faults::dice::Dice;
use crate::faults::lag::Lag;
use crate::process::Server;
use crate::{tools, wait};

/// Longest time from the start of the emulator to that of the agent, on a machine with other work.
const BOOT: Duration = Duration::from_secs(180);
const MEMORY_MIB: &str = "512";

/// A machine with a disk; each boot has a console and books of its own.
#[derive(Debug)]
pub struct Machine {
    /// Its disk.
    pub disk: Disk,
    /// Whether the agent's syncs do anything, from the next boot on.
    pub syncs: Syncs,
    guest: Guest,
    clock: Clock,
    dir: TestDir,
    boots: usize,
    emulator: Option<Server>,
}

impl Machine {
    /// A machine that is off.
    ///
    /// # Errors
    /// The emulator is not installed, or the disk cannot be made.
    pub fn new(dir: &TestDir, guest: Guest, disk_mib: u64) -> Result<Self> {
        tools::program("qemu-system-x86_64")?;
        let disk = Disk::start(formatted(dir, disk_mib)?)?;
        let (dir, clock) = (dir.clone(), Clock::start()?);
        Ok(Self { disk, syncs: Syncs::Kept, guest, clock, dir, boots: 0, emulator: None })
    }

    /// How often it was switched on.
    pub fn boots(&self) -> usize {
        self.boots
    }

    /// Switches it on, with this configuration of the agent.
    ///
    /// # Errors
    /// It is on, or the emulator cannot be started.
    pub fn switch_on(&mut self, config: &[(String, String)]) -> Result<()> {
        if self.emulator.is_some() {
            bail!("the machine is on");
        }
        let boot = self.boots;
        let memory_file = self.dir.join("initrd");
        self.guest.write(&memory_file, config)?;
        let append = format!(
            "console=ttyS0,115200 loglevel=4 panic=-1 clocksource=hpet tsc=unstable \
             lineside_boot={boot} lineside_clock={} lineside_preload={}",
            self.clock.port,
            self.syncs.preload()
        );
        let file = |path: PathBuf| -> Result<String> {
            Ok(format!("file:{}", path.to_str().context("a path in UTF-8")?))
        };
        // Flushes of the guest reach the disk; nothing else flushes.
        let disk = format!(
            "driver=nbd,node-name=disk,server.type=inet,server.host=127.0.0.1,server.port={}",
            self.disk.port
        );
        let mut args: Vec<String> = ["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEMORY_MIB]
            .into_iter()
            .chain(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .chain(["-nic", "user,model=virtio-net-pci,ipv6=off"])
            .chain(["-device", "virtio-blk-pci,drive=disk,write-cache=on"])
            .map(str::to_owned)
            .collect();
        args.extend(["-blockdev".into(), disk]);
        args.extend(["-serial".into(), file(self.console_path(boot))?]);
        args.extend(["-serial".into(), file(self.books_path(boot))?]);
        let kernel = self.guest.kernel.to_str().context("a path in UTF-8")?.to_owned();
        args.extend(["-kernel".into(), kernel, "-append".into(), append]);
        args.extend(["-initrd".into(), memory_file.to_str().context("UTF-8")?.to_owned()]);
        let program = tools::program("qemu-system-x86_64")?;
        self.emulator = Some(Server::start(&self.dir, "emulator", &program, args)?);
        self.boots += 1;
        Ok(())
    }

    /// The power is gone, at once.
    ///
    /// # Errors
    /// It is off, or the emulator has ended by itself.
    pub fn cut(&mut self, dice: &mut Dice) -> Result<Loss> {
        let Some(mut emulator) = self.emulator.take() else { bail!("the machine is off") };
        if !emulator.is_running()? {
            bail!("the machine went off by itself; {}", self.console_end());
        }
        emulator.kill()?;
        self.disk.cut(dice)
    }

    /// What the guest of a boot has said so far.
    pub fn console(&self, boot: usize) -> Console {
        // Not there before the emulator is.
        let bytes = fs::read(self.console_path(boot)).unwrap_or_default();
        Console::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Waits until the guest of this boot has said something.
    ///
    /// # Errors
    /// It does not within the time of a boot, or the machine or the agent has ended.
    pub fn wait_for<T>(&mut self, what: &str, look: impl Fn(&Console) -> Option<T>) -> Result<T> {
        let found = wait::until_some(what, BOOT, || {
            let console = self.console(self.boots - 1);
            match look(&console) {
                Some(found) => Some(Ok(found)),
                None => self.is_well(&console).err().map(Err),
            }
        });
        found.and_then(|inner| inner).with_context(|| self.console_end())
    }

    /// Whether machine and agent run.
    ///
    /// # Errors
    /// One of them has ended.
    pub fn check(&mut self) -> Result<()> {
        let console = self.console(self.boots - 1);
        self.is_well(&console).with_context(|| self.console_end())
    }

    fn is_well(&mut self, console: &Console) -> Result<()> {
        if let Some(status) = &console.ended {
            bail!("the agent has ended with {status}");
        }
        let runs = self.emulator.as_mut().map(Server::is_running).transpose()?;
        if runs != Some(true) {
            bail!("the machine is off");
        }
        Ok(())
    }

    /// What the agent of a boot has said of itself so far, the oldest answer first.
    pub fn books(&self, boot: usize) -> Vec<Lag> {
        let bytes = fs::read(self.books_path(boot)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // The cut may have left half a line.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|line| Lag::parse(line.trim()).ok()).collect()
    }

    fn console_path(&self, boot: usize) -> PathBuf {
        self.dir.join(&format!("console-{boot}"))
    }

    fn books_path(&self, boot: usize) -> PathBuf {
        self.dir.join(&format!("books-{boot}"))
    }

    fn console_end(&self) -> String {
        let path = self.console_path(self.boots.saturating_sub(1));
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        let end: Vec<&str> = lines.into_iter().rev().collect();
        format!("end of {}:\n{}", path.display(), end.join("\n"))
    }
}

/// An empty file system, ext4 as `mkfs` makes it, with nothing left to do in the background.
fn formatted(dir: &TestDir, mebibytes: u64) -> Result<Vec<u8>> {
    let image = dir.join("disk.img");
    fs::File::create(&image)?.set_len(mebibytes << 20)?;
    let mut mkfs = std::process::Command::new(tools::program("mkfs.ext4")?);
    mkfs.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    let output = mkfs.arg(&image).output()?;
    if !output.status.success() {
        bail!("mkfs.ext4: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let bytes = fs::read(&image)?;
    fs::remove_file(image)?;
    Ok(bytes)
}
