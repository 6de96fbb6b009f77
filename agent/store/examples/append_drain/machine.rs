//! What the operating system says of this process and its disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// CPU time of the calling thread.
pub fn cpu_of_thread() -> Duration {
    schedstat(Path::new("/proc/thread-self/schedstat"))
}

/// CPU time of the threads of this process that have this name.
pub fn cpu_of(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let has_name = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    tasks.filter(has_name).map(|task| schedstat(&task.path().join("schedstat"))).sum()
}

fn schedstat(path: &Path) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Bytes that the block device under a directory has written, whoever wanted it: what the file
/// system adds to the bytes of files is among them. `None` when nothing says so.
pub fn written_by_disk(dir: &Path) -> Option<u64> {
    let device = std::fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = std::fs::read_to_string("/proc/diskstats").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        let sectors: u64 = fields.get(9).filter(|_| is_it)?.parse().ok()?;
        Some(sectors * 512)
    })
}

/// Most memory that this process has had, in bytes.
pub fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
