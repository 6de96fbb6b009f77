//! `cargo xtask soak power`: power cuts in a virtual machine, by the tests of `tests/power`.
//!
//! The machine runs a kernel of Debian, which is unpacked into the cache and not installed, and
//! the agent as it is in the image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xtask::cache::completed;

use crate::image::{self, Profile};
use crate::process::{self, cargo, command, output, run as run_command, run_tests};
use crate::results::Tally;
use crate::{Context, setup};

/// Debian packages, each with a file that shows it is there.
const PACKAGES: [(&str, &str); 7] = [
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("busybox-static", "/usr/share/doc/busybox-static"),
    ("kmod", "depmod"),
    ("e2fsprogs", "mkfs.ext4"),
    // Makes syncs do nothing: the proof that the trial finds a store without them.
    ("libeatmydata1", "/usr/share/doc/libeatmydata1"),
    ("mosquitto", "mosquitto"),
    ("mosquitto-clients", "mosquitto_sub"),
];

/// The package that names the present kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Tests of the program `power`.
const TESTS: u64 = 3;

/// Prepares what the tests need and runs them.
pub fn run(context: &Context, cycles: u32, profile: Profile) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("soak power knows the kernel of one architecture, x86_64");
    }
    setup::debian_packages(&PACKAGES)?;
    let kernel = kernel(context)?;
    let dir = context.target.join("power");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let image = image::agent_into(context, profile, &dir)?;
    let mut tally = Tally::default();
    let mut test = cargo(context, &process::host()?);
    // One virtual machine at a time.
    test.args(["test", "-p", "lineside-tests", "--test", "power", "--"])
        .args(["--nocapture", "--test-threads=1"])
        .env("LINESIDE_POWER_IMAGE", image)
        .env("LINESIDE_POWER_KERNEL", kernel)
        .env("LINESIDE_POWER_CYCLES", cycles.to_string());
    run_tests(&mut test, &mut tally)?;
    if tally.passed != TESTS {
        bail!("{} tests ran, not {TESTS}", tally.passed);
    }
    Ok(())
}

/// The folder into which the present kernel was unpacked, with the table of its modules.
fn kernel(context: &Context) -> Result<PathBuf> {
    let package = kernel_package(&output(command("apt-cache").args(["depends", KERNEL]))?)?;
    let dir = context.cache.root().join(&package);
    if completed(&dir).exists() {
        return Ok(dir);
    }
    println!("soak: unpacking {package} into {}", dir.display());
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let work = dir.join("package");
    fs::create_dir_all(&work)?;
    let mut download = command("apt-get");
    // apt's own user may not write here.
    download.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &package]);
    run_command(download.current_dir(&work))?;
    let archive = only(&work)?;
    run_command(command("dpkg-deb").arg("-x").arg(archive).arg(&dir))?;
    fs::remove_dir_all(&work)?;
    let version = package.trim_start_matches("linux-image-");
    // Installing the package would do this.
    let depmod = setup::program("depmod").context("kmod has depmod")?;
    run_command(command(depmod).arg("-b").arg(&dir).arg(version))?;
    File::create(completed(&dir)).context("cannot mark the kernel as complete")?;
    Ok(dir)
}

/// The package of a release that `apt-cache depends` names.
fn kernel_package(depends: &str) -> Result<String> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.map(str::trim).find(|name| name.starts_with("linux-image-"));
    Ok(found.with_context(|| format!("{KERNEL} names no kernel: {depends}"))?.to_owned())
}

fn only(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir)?;
    let first = entries.next().with_context(|| format!("nothing in {}", dir.display()))??;
    Ok(first.path())
}

#[cfg(test)]
mod tests {
    use super::kernel_package;

    #[test]
    fn the_kernel_is_the_one_that_the_package_depends_on() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(kernel_package(text).unwrap(), "linux-image-6.1.0-56-cloud-amd64");
        assert!(kernel_package("linux-image-cloud-amd64\n").is_err());
    }
}
