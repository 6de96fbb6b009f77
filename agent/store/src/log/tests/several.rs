//! Several logs of one volume.

use std::io;

use super::hooked::{Change, HookedFs};
use super::*;

/// Two logs on a disk with a hook.
struct Two {
    _dir: TempDir,
    fs: HookedFs,
    volume: Arc<Volume>,
    logs: [Arc<Log>; 2],
    now: UnixNanos,
}

impl Two {
    fn new(settings: Store) -> Self {
        let (dir, fs) = (tempfile::tempdir().unwrap(), HookedFs::default());
        let options = Options::default();
        let path = dir.path().join("store");
        let (volume, _) = Volume::open(Arc::new(fs.clone()), &path, options).unwrap();
        let logs = ["first", "second"].map(|name| {
            let log = volume.open_log(&ObjectKey::new("plant", name), settings).unwrap();
            log.add_sink(&"a".into(), b"{}", Drain::InOrder).unwrap();
            log.start_session("a");
            log
        });
        let two = Self { _dir: dir, fs, volume, logs, now: 1_764_000_000 * SECOND };
        two.volume.commit(two.now());
        two
    }

    fn now(&self) -> Now {
        Now { unix: self.now }
    }

    fn commit_later(&mut self, millis: i64) {
        self.now += millis * 1_000_000;
        self.volume.commit(self.now());
    }

    /// Appends to a log; what it answered, and whether its receipt says later that it stays.
    fn append(&self, log: usize, samples: u64) -> (Appended, Arc<AtomicU64>) {
        let done = Arc::new(AtomicU64::new(0));
        let counter = done.clone();
        let receipt: crate::Receipt = Box::new(move |stays| {
            counter.store(if stays { 1 } else { 2 }, Ordering::SeqCst);
        });
        let stamp = Stamp { captured_at: self.now, gap_from: None };
        let appended = self.logs[log].append(batch(0, samples, self.now), stamp, Some(receipt));
        (appended, done)
    }
}

/// Lets everything fail in the directory of this log.
fn fail_in(log: &Log) -> impl Fn(Change, &Path) -> io::Result<()> + Send + Sync + 'static {
    let dir = log.dir().to_owned();
    move |_, path| {
        let inside = path.starts_with(&dir);
        if inside { Err(io::Error::other("a bad file")) } else { Ok(()) }
    }
}

#[test]
fn a_log_that_cannot_be_written_does_not_hold_the_others() {
    let mut two = Two::new(settings());
    two.fs.hook(fail_in(&two.logs[0]));
    let (_, bad) = two.append(0, 3);
    two.commit_later(1);
    let state = |two: &Two| matches!(two.volume.state(), crate::VolumeState::Full);
    assert!(!state(&two));
    for _ in 0..5 {
        // Long before the first log is tried again.
        let (_, good) = two.append(1, 3);
        two.commit_later(1);
        assert_eq!(good.load(Ordering::SeqCst), 1);
    }
    assert_eq!((bad.load(Ordering::SeqCst), state(&two)), (0, false));
    two.fs.unhook();
    two.commit_later(1);
    assert_eq!(bad.load(Ordering::SeqCst), 0, "it waits for its time");
    two.commit_later(200);
    assert_eq!((bad.load(Ordering::SeqCst), state(&two)), (1, true));
}

#[test]
fn logs_that_refuse_what_is_new_leave_a_tenth_of_the_volume() {
    for overflow in [Overflow::DropNewest, Overflow::Backpressure] {
        let mut two = Two::new(Store { max_bytes: 4 << 20, overflow, ..settings() });
        two.fs.set_total(1_000_000);
        two.commit_later(1);
        let mut refused = 0;
        for _ in 0..500 {
            for log in 0..2 {
                let (appended, _) = two.append(log, 300);
                refused += u64::from(!matches!(appended, Appended::Taken(_)));
            }
            two.commit_later(1);
            let bytes: u64 = two.logs.iter().map(|log| log.usage().bytes).sum();
            // Each may begin a segment of 64 KiB in the same commit.
            assert!(bytes <= 900_000 + (64 << 10), "{bytes} bytes with {overflow:?}");
        }
        assert!(refused > 100, "{refused} with {overflow:?}");
    }
}

#[test]
fn a_log_that_is_removed_during_a_commit_leaves_nothing() {
    let two = Two::new(settings());
    let limit = two.logs[1].shared.share(two.logs[1].stream());
    let dir = two.logs[0].dir().to_owned();
    let (volume, key) = (two.volume.clone(), two.logs[0].key().clone());
    let removing = Arc::new(std::sync::Mutex::new(None));
    let started = removing.clone();
    let receipt: crate::Receipt = Box::new(move |_| {
        let (done, is_done) = std::sync::mpsc::channel();
        let remove = move || {
            let removed = volume.remove_log(&key).map(|_| ());
            let _ = done.send(());
            removed
        };
        *started.lock().unwrap() = Some(std::thread::spawn(remove));
        // It may end only when the commit has; when it does not wait for that, it ends soon.
        let _ = is_done.recv_timeout(Duration::from_millis(200));
    });
    let stamp = Stamp { captured_at: two.now, gap_from: None };
    two.logs[0].append(batch(0, 3, two.now), stamp, Some(receipt));
    two.volume.commit(Now { unix: two.now + 2 * SECOND });
    let thread = removing.lock().unwrap().take().unwrap();
    thread.join().unwrap().unwrap();
    assert!(!dir.exists());
    assert_eq!(two.volume.state(), crate::VolumeState::Full);
    let others = two.logs[1].shared.share(two.logs[1].stream());
    assert!(others >= limit, "{others} of {limit} bytes: the log that is gone counts");
}

#[test]
fn a_commit_that_panics_leaves_the_volume_degraded_and_what_was_committed() {
    let mut two = Two::new(settings());
    let (_, before) = two.append(0, 3);
    two.commit_later(1);
    assert_eq!(before.load(Ordering::SeqCst), 1);
    two.fs.hook(|change, path| {
        let segment = path.extension().is_some_and(|e| e == "seg");
        assert!(change != Change::Sync || !segment, "this is the bug");
        Ok(())
    });
    let committer = crate::spawn(two.volume.clone()).unwrap();
    let (_, after) = two.append(0, 4);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let message = loop {
        if let crate::VolumeState::Degraded { message, .. } = two.volume.state() {
            break message;
        }
        assert!(std::time::Instant::now() < deadline, "the thread ends in silence");
        std::thread::yield_now();
    };
    assert!(message.contains("panicked"), "{message}");
    two.fs.unhook();
    drop(committer);
    two.volume.commit(two.now());
    assert_eq!(after.load(Ordering::SeqCst), 0, "nobody knows whether it is on disk");
    let Two { _dir: dir, fs, volume, logs, .. } = two;
    let key = logs[0].key().clone();
    drop((volume, logs));
    let options = Options::default();
    let (volume, _) = Volume::open(Arc::new(fs), &dir.path().join("store"), options).unwrap();
    let log = volume.open_log(&key, settings()).unwrap();
    assert!(log.ledgers()[0].1.buffered >= 3);
}
