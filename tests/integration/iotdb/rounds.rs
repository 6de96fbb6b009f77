//! Issue 7, M2: one pipeline to a broker and to IoTDB. Whoever is killed, stopped or ended when,
//! every value that a device gave out is in both, once, or its loss is declared.

use std::time::{Duration, Instant};

use lineside_tests::dir::TestDir;
use lineside_tests::faults::device::now;
use lineside_tests::faults::dice::{self, Dice};
use lineside_tests::faults::evidence::Message;
use lineside_tests::faults::judge::{Verdict, Violation, judge};
use lineside_tests::faults::line::{Line, Polled, Setup};
use lineside_tests::faults::lives::Around;
use lineside_tests::faults::schedule::{Act, Outage};
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;

use super::rows;

/// Rounds in `cargo xtask test`; `cargo xtask soak iotdb` sets more.
const ROUNDS: usize = 12;
/// One of so many rounds is the database's.
const OF_IOTDB: usize = 3;
const SINK: &str = "tsdb";

/// What happens in one round, for how long.
#[derive(Clone, Copy, Debug)]
struct Round {
    what: What,
    before: Duration,
    during: Duration,
    /// The agent is killed in the middle of it as well.
    and_agent: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    AgentKilled,
    Broker(Outage),
    IotdbKilled,
    IotdbEnded,
    IotdbStopped,
}

fn rounds() -> usize {
    match std::env::var("LINESIDE_ROUNDS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => ROUNDS,
    }
}

/// Every third round is one of the database, and the first of them a kill.
fn draw(dice: &mut Dice, rounds: usize) -> Vec<Round> {
    let ms = Duration::from_millis;
    let round = |index: usize| {
        let what = match (index % OF_IOTDB, index / OF_IOTDB % 4) {
            (1, 0 | 2) => What::IotdbKilled,
            (1, 1) => What::IotdbStopped,
            (1, _) => What::IotdbEnded,
            _ => match dice.below(6) {
                0 => What::Broker(Outage::Ended),
                1 => What::Broker(Outage::Cut),
                2 => What::Broker(Outage::Stopped),
                _ => What::AgentKilled,
            },
        };
        let (before, during) = (dice.time(ms(200), ms(4000)), dice.time(ms(100), ms(3000)));
        Round { what, before, during, and_agent: dice.chance(40) }
    };
    (0..rounds).map(round).collect()
}

/// How the database is set up, and what its sink knows of that.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Lines of the database's configuration.
    server: &'static [&'static str],
    /// Its unit of time in nanoseconds.
    tick: i64,
    /// More members of the sink.
    sink: &'static str,
}

/// It acknowledges what is synced, and no two samples fall on one tick.
const SYNC: Setting = Setting {
    server: &["wal_mode=SYNC", "timestamp_precision=ns"],
    tick: 1,
    sink: ", resendMillis: 0",
};

/// Its own defaults, and ours.
const ASYNC: Setting = Setting { server: &[], tick: 1_000_000, sink: "" };

/// The same in a minute instead of an hour: what bounds the loss is the age at which it flushes.
const ASYNC_FAST: Setting = Setting {
    server: &[
        "wal_mode=ASYNC",
        "seq_memtable_flush_interval_in_ms=4000",
        "unseq_memtable_flush_interval_in_ms=4000",
        "seq_memtable_flush_check_interval_in_ms=1000",
        "unseq_memtable_flush_check_interval_in_ms=1000",
    ],
    tick: 1_000_000,
    sink: ", resendMillis: 12000",
};

/// It trusts a database that acknowledges before it has written anything.
const TRUSTING: Setting = Setting {
    server: &["wal_mode=ASYNC", "timestamp_precision=ns"],
    tick: 1,
    sink: ", resendMillis: 0",
};

/// The line with a database beside the broker.
struct Bench {
    line: Line,
    iotdb: Iotdb,
    client: IotdbClient,
    dir: TestDir,
    /// Its unit of time in nanoseconds.
    tick: i64,
}

impl Bench {
    fn start(test: &str, Setting { server, tick, sink }: Setting) -> Self {
        let dir = TestDir::new(test).unwrap();
        let iotdb = Iotdb::start(&dir, "iotdb", Release::V2, server).unwrap();
        let client = IotdbClient::start(&dir, "client").unwrap();
        let devices = Polled::fast_and_slow(&dir, Duration::from_millis(20)).unwrap();
        let url = format!("iotdb://127.0.0.1:{}", iotdb.port);
        let sink = format!("{{name: {SINK}, iotdb: {{url: \"{url}\"{sink}}}}}");
        let state = dir.folder("agent-state").unwrap();
        let line = Line::start(
            &dir,
            devices,
            &Setup {
                durability: "Durable",
                store: &[],
                more_sinks: &[sink],
                state: &state,
                around: Around::default(),
            },
        )
        .unwrap();
        Self { line, iotdb, client, dir, tick }
    }

    fn play(&mut self, round: Round) {
        self.line.watch(round.before).unwrap();
        match round.what {
            What::AgentKilled => {}
            What::Broker(outage) => self.line.act(Act::Begin(outage)).unwrap(),
            What::IotdbKilled => self.iotdb.kill().unwrap(),
            What::IotdbEnded => self.iotdb.term().unwrap(),
            What::IotdbStopped => self.iotdb.data.stop().unwrap(),
        }
        self.line.watch(round.during / 2).unwrap();
        if round.and_agent || matches!(round.what, What::AgentKilled) {
            self.line.act(Act::Kill).unwrap();
        }
        self.line.watch(round.during / 2).unwrap();
        match round.what {
            What::AgentKilled => {}
            What::Broker(outage) => self.line.act(Act::End(outage)).unwrap(),
            What::IotdbKilled | What::IotdbEnded => self.iotdb.restart().unwrap(),
            What::IotdbStopped => self.iotdb.data.cont().unwrap(),
        }
    }

    /// What the database has of every device.
    fn rows(&mut self) -> Vec<Message> {
        // The sessions of the client that is there may be of a server that was killed.
        self.client = IotdbClient::start(&self.dir, "reader").unwrap();
        rows::read(&mut self.client, self.iotdb.port, "root.lineside", self.tick)
    }

    /// Everything is delivered, and both consumers are compared with what the devices gave out.
    fn settle(&mut self) -> [Verdict; 2] {
        let evidence = self.line.settle().unwrap();
        let rows = self.rows();
        let of_iotdb = self.line.evidence_at(SINK, rows).unwrap();
        [judge(&evidence), judge(&of_iotdb)]
    }
}

fn rounds_with(test: &str, setting: Setting) -> Verdict {
    let (seed, rounds) = (dice::seed().unwrap(), rounds());
    println!("{}={seed} LINESIDE_ROUNDS={rounds} {test}", dice::SEED);
    let mut bench = Bench::start(test, setting);
    if rounds > ROUNDS {
        bench.line.drain = Duration::from_secs(20 * 60);
    }
    let begin = Instant::now();
    for (n, round) in draw(&mut Dice::new(seed), rounds).into_iter().enumerate() {
        println!("{:6.1} s round {n}: {round:?}", begin.elapsed().as_secs_f64());
        bench.play(round);
    }
    let [broker, iotdb] = bench.settle();
    let seconds = begin.elapsed().as_secs_f64();
    println!("{rounds} rounds in {seconds:.0} s\nbroker: {broker}\nIoTDB: {iotdb}");
    assert!(broker.is_clean(), "{}={seed}: broker: {broker}", dice::SEED);
    assert!(iotdb.is_clean(), "{}={seed}: IoTDB: {iotdb}", dice::SEED);
    // The trial was one: samples flowed all the time.
    assert!(iotdb.delivered > rounds * 300, "{iotdb}");
    iotdb
}

#[test]
fn a_database_that_acknowledges_what_is_synced_has_every_value_once() {
    let verdict = rounds_with("iotdb-rounds-sync", SYNC);
    assert_eq!(verdict.declared, 0, "no two samples fall on one tick: {verdict}");
}

#[test]
fn a_database_that_acknowledges_before_it_writes_has_every_value_once() {
    let setting = if rounds() > ROUNDS { ASYNC } else { ASYNC_FAST };
    rounds_with("iotdb-rounds-async", setting);
}

/// The proof that the rounds can find something, and why the time is what it is (ADR 0012): under a
/// steady load the database writes nothing for long, so that a kill takes what it acknowledged
/// seconds ago.
#[test]
fn a_database_that_is_trusted_loses_what_it_acknowledged_and_the_judge_finds_it() {
    let mut bench = Bench::start("iotdb-rounds-trusting", TRUSTING);
    bench.line.watch(Duration::from_secs(6)).unwrap();
    bench.iotdb.kill().unwrap();
    let killed = now().unwrap();
    bench.iotdb.restart().unwrap();
    let [broker, iotdb] = bench.settle();
    println!("broker: {broker}\nIoTDB: {iotdb}");
    assert!(broker.is_clean(), "{broker}");
    let ages = iotdb.violations.iter().filter_map(|violation| match violation {
        Violation::Lost { sent, .. } => Some(killed - sent),
        _ => None,
    });
    let oldest = ages.max().expect("something was lost");
    println!("the oldest of it was {} ms old", oldest / 1_000_000);
    assert!(oldest > 3_000_000_000, "{oldest} ns");
}
