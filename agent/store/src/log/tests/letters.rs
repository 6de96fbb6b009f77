//! What is asked for with dead letters.

use std::io;

use super::hooked::{Change, HookedFs};
use super::*;

/// So many letters of one sample; their offsets.
fn letters(bench: &mut Bench, count: usize) -> Vec<u64> {
    for _ in 0..count {
        bench.append(1);
    }
    bench.commit();
    let offsets: Vec<u64> = bench.take_all("a").iter().map(|r| r.id.offset).collect();
    for offset in &offsets {
        bench.log.settle("a", *offset, &refused(&[0], None));
    }
    bench.chores();
    offsets
}

#[test]
fn all_letters_are_done_with_by_asking_until_none_is_left() {
    let mut bench = Bench::with_sinks(settings(), &["a"]);
    letters(&mut bench, 150);
    let mut again = Vec::new();
    loop {
        let done = bench.log.retry_dead_letters("a", None).unwrap();
        again.push((done.letters, done.left));
        if done.letters == 0 {
            break;
        }
        assert_eq!(bench.deliver_all("a").len() as u64, done.letters);
        bench.chores();
    }
    assert_eq!(again, [(64, 86), (64, 22), (22, 0), (0, 0)]);
    letters(&mut bench, 100);
    let first = bench.log.drop_dead_letters("a", None).unwrap();
    assert_eq!((first.letters, first.samples, first.left), (64, 64, 36));
    let early = bench.log.drop_dead_letters("a", None).unwrap();
    assert_eq!((early.letters, early.left), (0, 36));
    bench.chores();
    let rest = bench.log.drop_dead_letters("a", None).unwrap();
    assert_eq!((rest.letters, rest.left), (36, 0));
}

#[test]
fn a_letter_is_sent_again_without_reading_the_others() {
    let fs = HookedFs::default();
    let mut bench = Bench::on(fs.clone(), settings());
    bench.add("a", Drain::InOrder);
    bench.commit();
    let offsets = letters(&mut bench, 3);
    let reads = AtomicU64::new(0);
    fs.hook(move |change, _| {
        let read = change == Change::Read && reads.fetch_add(1, Ordering::SeqCst) > 0;
        if read { Err(io::Error::other("a bad block")) } else { Ok(()) }
    });
    let done = bench.log.retry_dead_letters("a", Some(&[(offsets[1], None)])).unwrap();
    assert_eq!((done.letters, done.left), (1, 0));
    assert_eq!(bench.take("a").unwrap().id.offset, offsets[1]);
}

#[test]
fn a_sink_that_is_made_again_while_letters_are_written_has_none_of_them() {
    let fs = HookedFs::default();
    let mut bench = Bench::on(fs.clone(), settings());
    bench.add("a", Drain::InOrder);
    bench.commit();
    bench.append(1);
    bench.commit();
    let record = bench.take("a").unwrap();
    bench.log.settle("a", record.id.offset, &refused(&[0], None));
    let log = Arc::downgrade(&bench.log);
    fs.hook(move |change, path| {
        let letters = path.extension().is_some_and(|e| e == "dead");
        if let Some(log) = log.upgrade().filter(|_| change == Change::Sync && letters) {
            log.discard_sink("a");
            log.add_sink(&"a".into(), b"{}", Drain::InOrder).unwrap();
        }
        Ok(())
    });
    bench.chores();
    fs.unhook();
    assert!(bench.log.dead_letters("a", None, 9).unwrap().is_empty());
    bench.chores();
    bench.kill(&["a"]);
    assert_eq!(bench.ledger("a"), Ledger::default());
    bench.append(1);
    bench.commit();
    assert_eq!(bench.deliver_all("a"), [1]);
}
