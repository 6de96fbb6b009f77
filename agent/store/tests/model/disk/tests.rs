//! The simulated disk is worth what these sentences say.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use lineside_store::fs::{File, Fs, Open};

use super::{End, Kind, Lies, SimFs};

const MIB: u64 = 1024 * 1024;
const SEEDS: u64 = 2000;

fn disk(seed: u64) -> SimFs {
    SimFs::new(seed, MIB, Lies::default())
}

fn create(disk: &SimFs, name: &str) -> Arc<dyn File> {
    disk.open(Path::new(name), Open::CreateNew).unwrap()
}

fn read(disk: &SimFs, name: &str) -> Option<Vec<u8>> {
    disk.open(Path::new(name), Open::Read).ok()?;
    Some(disk.content(Path::new(name)))
}

fn root() -> &'static Path {
    Path::new("/")
}

/// What a file may hold after a power cut that came after `before`, over many seeds.
fn after_power_cut(before: impl Fn(&SimFs)) -> Vec<Option<Vec<u8>>> {
    let mut outcomes: Vec<_> = (0..SEEDS)
        .map(|seed| {
            let disk = disk(seed);
            before(&disk);
            disk.restart(End::Machine);
            read(&disk, "/f")
        })
        .collect();
    outcomes.sort();
    outcomes.dedup();
    outcomes
}

#[test]
fn what_was_synced_with_its_directory_survives_every_power_cut() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.write_at(b"abcd", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
    });
    assert_eq!(outcomes, [Some(b"abcd".to_vec())]);
}

#[test]
fn a_synced_file_may_vanish_while_its_directory_is_not_synced() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.write_at(b"abcd", 0).unwrap();
        file.sync_data().unwrap();
    });
    assert_eq!(outcomes, [None, Some(b"abcd".to_vec())]);
}

#[test]
fn an_unsynced_write_arrives_in_any_part() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.set_len(4).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(b"abcd", 0).unwrap();
    });
    for expected in [b"\0\0\0\0", b"abcd", b"ab\0\0", b"\0\0cd", b"\0b\0\0"] {
        assert!(outcomes.contains(&Some(expected.to_vec())), "{expected:?} never happened");
    }
    assert!(outcomes.iter().flatten().all(|bytes| bytes.len() == 4), "{outcomes:?}");
}

#[test]
fn of_two_unsynced_writes_the_later_may_arrive_alone() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.set_len(2).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(b"a", 0).unwrap();
        file.write_at(b"b", 1).unwrap();
    });
    for expected in [b"\0\0", b"a\0", b"\0b", b"ab"] {
        assert!(outcomes.contains(&Some(expected.to_vec())), "{expected:?} never happened");
    }
}

#[test]
fn an_extending_write_may_leave_zeros_or_a_short_file() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        disk.sync_dir(root()).unwrap();
        file.write_at(b"abcd", 0).unwrap();
    });
    for expected in [b"".as_slice(), b"ab", b"ab\0\0", b"\0\0\0\0"] {
        assert!(outcomes.contains(&Some(expected.to_vec())), "{expected:?} never happened");
    }
}

#[test]
fn an_unsynced_rename_shows_the_old_or_the_new_content_whole() {
    let outcomes = after_power_cut(|disk| {
        for (name, text) in [("/f", b"old"), ("/f.tmp", b"new")] {
            let file = create(disk, name);
            file.write_at(text, 0).unwrap();
            file.sync_data().unwrap();
        }
        disk.sync_dir(root()).unwrap();
        disk.rename(Path::new("/f.tmp"), Path::new("/f")).unwrap();
    });
    assert_eq!(outcomes, [Some(b"new".to_vec()), Some(b"old".to_vec())]);
}

#[test]
fn an_unsynced_removal_may_be_undone() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.write_at(b"a", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        disk.remove(Path::new("/f")).unwrap();
    });
    assert_eq!(outcomes, [None, Some(b"a".to_vec())]);
}

#[test]
fn a_directory_that_was_not_synced_in_its_parent_vanishes_with_all_in_it() {
    let outcomes = after_power_cut(|disk| {
        let dir = Path::new("/d");
        disk.create_dir(dir).unwrap();
        let file = create(disk, "/d/f");
        file.sync_data().unwrap();
        disk.sync_dir(dir).unwrap();
        let (here, there) = (disk.content(Path::new("/d/f")), create(disk, "/f"));
        there.write_at(&here, 0).unwrap();
    });
    assert!(outcomes.contains(&None));
    let gone = (0..SEEDS).any(|seed| {
        let disk = disk(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        create(&disk, "/d/f").sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.restart(End::Machine);
        read(&disk, "/d/f").is_none()
    });
    assert!(gone, "the directory was always there");
}

#[test]
fn kill_9_loses_nothing_but_the_next_power_cut_may() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.set_len(1).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(b"a", 0).unwrap();
        disk.restart(End::Process);
        assert_eq!(read(disk, "/f"), Some(b"a".to_vec()));
        assert!(file.write_at(b"b", 0).is_err(), "a dead process wrote");
    });
    assert_eq!(outcomes, [Some(b"\0".to_vec()), Some(b"a".to_vec())]);
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_the_data_may_be_gone_all_the_same() {
    let outcomes = after_power_cut(|disk| {
        let file = create(disk, "/f");
        file.set_len(1).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(b"a", 0).unwrap();
        disk.fail_nth(Kind::SyncData, 0);
        assert!(file.sync_data().is_err());
        assert_eq!(read(disk, "/f"), Some(b"a".to_vec()), "the page cache still has it");
        file.sync_data().unwrap();
    });
    assert_eq!(outcomes, [Some(b"\0".to_vec()), Some(b"a".to_vec())]);
}

#[test]
fn a_full_disk_refuses_new_blocks_but_takes_what_was_allocated() {
    let disk = SimFs::new(1, 64 * 1024, Lies::default());
    let file = create(&disk, "/f");
    file.allocate(60 * 1024).unwrap();
    assert_eq!(disk.space(root()).unwrap().available, 4096);
    let second = create(&disk, "/g");
    second.write_at(b"x", 4000).unwrap();
    assert_eq!(second.write_at(b"x", 4096).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(64 * 1024).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(disk.open(Path::new("/h"), Open::CreateNew).is_err());
    file.write_at(&[7; 60 * 1024], 0).unwrap();
    disk.remove(Path::new("/f")).unwrap();
    assert!(disk.space(root()).unwrap().available < 60 * 1024, "an open file keeps its blocks");
    drop(file);
    assert_eq!(disk.space(root()).unwrap().available, 60 * 1024);
}

#[test]
fn a_read_only_disk_reads_and_refuses_changes() {
    let disk = disk(1);
    let file = create(&disk, "/f");
    file.write_at(b"a", 0).unwrap();
    disk.set_read_only(true);
    assert_eq!(file.write_at(b"b", 0).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(disk.remove(Path::new("/f")).is_err());
    let mut byte = [0];
    assert_eq!((file.read_at(&mut byte, 0).unwrap(), byte), (1, *b"a"));
    disk.heal();
    file.write_at(b"b", 0).unwrap();
}

#[test]
fn the_nth_operation_of_a_kind_fails_once() {
    let disk = disk(1);
    let file = create(&disk, "/f");
    disk.fail_nth(Kind::Write, 1);
    file.write_at(b"a", 0).unwrap();
    assert_eq!(file.write_at(b"b", 0).unwrap_err().raw_os_error(), Some(5));
    file.write_at(b"c", 0).unwrap();
}

#[test]
fn a_process_that_ends_in_the_middle_does_nothing_more() {
    let disk = disk(1);
    let file = create(&disk, "/f");
    disk.end_after(1);
    file.write_at(b"a", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(disk.has_ended());
    assert!(file.write_at(b"b", 0).is_err() && disk.list(root()).is_err());
    disk.restart(End::Process);
    assert_eq!(read(&disk, "/f"), Some(b"a".to_vec()));
}

#[test]
fn a_lock_is_held_once_and_given_back_by_drop_and_by_the_end_of_the_process() {
    let disk = disk(1);
    let path = Path::new("/lock");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(held);
    let _lost = disk.lock(path).unwrap();
    disk.restart(End::Process);
    let _held = disk.lock(path).unwrap();
    drop(_lost);
    assert!(disk.lock(path).is_err(), "a dead process gave back what is not its own");
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let disk = disk(1);
    let file = create(&disk, "/f");
    file.write_at(&[0, 0], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(root()).unwrap();
    disk.flip(Path::new("/f"), 1, 3);
    assert_eq!(disk.content(Path::new("/f")), [0, 8]);
    disk.restart(End::Machine);
    assert_eq!(disk.content(Path::new("/f")), [0, 8]);
}

#[test]
fn a_lying_disk_loses_what_it_called_synced() {
    let write = |lies| {
        (0..SEEDS).any(|seed| {
            let disk = SimFs::new(seed, MIB, lies);
            let file = create(&disk, "/f");
            file.write_at(b"a", 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(root()).unwrap();
            disk.restart(End::Machine);
            read(&disk, "/f") != Some(b"a".to_vec())
        })
    };
    assert!(!write(Lies::default()));
    assert!(write(Lies { sync_data: true, sync_dir: false }));
    assert!(write(Lies { sync_data: false, sync_dir: true }));
}

#[test]
fn one_seed_gives_one_outcome() {
    let run = |seed| {
        let disk = disk(seed);
        for name in ["/a", "/b", "/c"] {
            create(&disk, name).write_at(&[1; 100], 0).unwrap();
        }
        disk.restart(End::Machine);
        disk.files().into_iter().map(|path| (disk.content(&path), path)).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert!((0..20).any(|seed| run(seed) != run(5)));
}
