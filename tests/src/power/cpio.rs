//! Archives that the kernel unpacks as its first root file system: cpio in the format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel). Pure.

/// Type bits of a mode (`stat(2)`).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// The entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written. Folders come before what is in them; a second archive may
/// follow the first one in the same file and adds to it.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A folder, mode 0755.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// A file with these bytes.
    pub fn file(&mut self, path: &str, executable: bool, bytes: &[u8]) {
        let mode = if executable { 0o755 } else { 0o644 };
        self.entry(path, REGULAR | mode, bytes);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, owner, group, links, time, size, device, special device, name, check.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};

    use super::Archive;
    use crate::dir::TestDir;
    use crate::tools;

    #[test]
    fn an_entry_has_the_header_of_the_format_and_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a", true, b"hello");
        let bytes = archive.finish();
        let header = "070701\
            00000001000081ed00000000000000000000000100000000\
            0000000500000000000000000000000000000000\
            0000000200000000";
        assert_eq!(std::str::from_utf8(&bytes[..110]).unwrap(), header);
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..120], b"hello\0\0\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn another_program_unpacks_what_was_packed() {
        let dir = TestDir::new("power_cpio").unwrap();
        let mut archive = Archive::default();
        archive.folder("/folder");
        archive.file("/folder/run", true, b"#!/bin/sh\n");
        archive.file("/folder/read", false, &[7; 4097]);
        let busybox = tools::program("busybox").unwrap();
        let mut child = Command::new(busybox)
            .args(["cpio", "-i", "-m"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read(dir.join("folder/read")).unwrap(), [7; 4097]);
        let mode = std::fs::metadata(dir.join("folder/run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
