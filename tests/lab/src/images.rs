//! The images every lab has: the pause container and a busybox, made on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::oci::{Image, Rootfs};

/// What holds a pod's namespaces.
pub const PAUSE: &str = "lab.local/pause:1";
/// Debian's static busybox with its applets, a `/tmp`, and no users.
pub const BUSYBOX: &str = "lab.local/busybox:1";

/// Debian's busybox-static.
const BUSYBOX_PROGRAM: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];

/// The applets that get a name in `/bin`; the others are `busybox NAME`.
const APPLETS: [&str; 22] = [
    "sh", "ash", "cat", "cp", "date", "df", "env", "false", "grep", "httpd", "id", "ls", "mkdir",
    "mv", "nc", "nslookup", "ping", "rm", "sleep", "touch", "true", "wget",
];

/// Writes both archives into `dir`.
pub(crate) fn write(dir: &Path, binaries: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let mut pause = Rootfs::default();
    pause.copy(&binaries.join("pause"), "/pause", 0o755)?;
    let pause = Image { entrypoint: vec!["/pause".into()], ..Image::new(PAUSE, pause) };
    let archives = [("pause.tar", pause), ("busybox.tar", busybox()?)];
    let mut paths = Vec::new();
    for (name, image) in archives {
        let path = dir.join(name);
        image.write(&path)?;
        paths.push(path);
    }
    Ok(paths)
}

fn busybox() -> Result<Image> {
    let program = BUSYBOX_PROGRAM.map(Path::new).into_iter().find(|path| path.is_file());
    let program = program.context("busybox is not installed; run: cargo xtask setup")?;
    let mut rootfs = Rootfs::default();
    rootfs.copy(program, "/bin/busybox", 0o755)?;
    for applet in APPLETS {
        rootfs.link("busybox", &format!("/bin/{applet}"));
    }
    rootfs.dir("/tmp", 0o1777);
    Ok(Image { command: vec!["sh".into()], ..Image::new(BUSYBOX, rootfs) })
}
