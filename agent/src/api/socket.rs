//! The path of the unix socket in a state directory, for both of its ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Longest path of a unix socket on Linux without its final NUL (unix(7), `sun_path`).
const MOST_BYTES: usize = 107;

/// A path that the kernel takes for the socket.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// The directory, held open where its own path is too long and `path` goes through it.
    _dir: Option<File>,
}

impl SocketPath {
    /// The socket of the agent with this state directory.
    ///
    /// # Errors
    /// The directory's path is too long for a socket, and the directory cannot be opened.
    pub fn of(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("agent.sock");
        if path.as_os_str().len() <= MOST_BYTES {
            return Ok(Self { path, _dir: None });
        }
        let dir = File::open(state_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/agent.sock", dir.as_raw_fd()));
        Ok(Self { path, _dir: Some(dir) })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_state_directory_with_a_long_path_has_a_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        for state in [dir.path(), &deep] {
            let _listener = UnixListener::bind(SocketPath::of(state).unwrap().path()).unwrap();
            UnixStream::connect(SocketPath::of(state).unwrap().path()).unwrap();
            assert!(state.join("agent.sock").exists());
        }
    }
}
