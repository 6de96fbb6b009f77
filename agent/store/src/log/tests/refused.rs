//! A disk that refuses to be read.

use std::io;

use super::hooked::{Change, HookedFs};
use super::*;

#[test]
fn a_file_that_cannot_be_read_is_a_finding_and_the_others_are_looked_at() {
    let fs = HookedFs::default();
    let mut bench = Bench::on(fs.clone(), settings());
    bench.add("a", Drain::InOrder);
    bench.append(7);
    bench.chores();
    bench.append(7);
    bench.commit();
    let dir = bench.dir.path().join("store");
    assert_eq!(crate::verify(&fs, &dir).unwrap(), []);
    flip(&bench, &files::path(bench.log.dir(), 0), 1, HEADER);
    fs.hook(|change, path| {
        let cursor = path.extension().is_some_and(|e| e == "cursor");
        if change == Change::Read && cursor { Err(io::Error::other("a bad block")) } else { Ok(()) }
    });
    let findings = crate::verify(&fs, &dir).unwrap();
    let what: Vec<_> = findings.iter().map(|f| f.what.as_str()).collect();
    assert_eq!(what, ["a record of 7 samples is damaged", "cannot be read: a bad block"]);
}

#[test]
fn a_disk_that_is_well_again_is_waited_for_though_nothing_was_to_be_written() {
    let fs = HookedFs::default();
    let relaxed = Store { durability: Durability::Relaxed, ..settings() };
    let mut bench = Bench::on(fs.clone(), relaxed);
    bench.add("a", Drain::InOrder);
    bench.chores();
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [0]);
    fs.hook(|change, _| match change {
        Change::Sync => Err(io::Error::other("a bad block")),
        _ => Ok(()),
    });
    bench.chores();
    assert!(matches!(bench.volume.state(), crate::VolumeState::Degraded { .. }));
    fs.unhook();
    bench.chores();
    assert_eq!(bench.volume.state(), crate::VolumeState::Full);
    bench.append(1);
    assert!(bench.take("a").is_none(), "it is not on disk");
}
