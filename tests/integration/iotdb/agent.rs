//! Issue 7, M3, with a whole agent: what goes wrong with a database is told by its code, disturbs
//! neither another sink nor a poll, and costs nothing but what is dead-lettered with a reason.
//!
//! ```text
//!   fast, slow <-- agent --> mosquitto --> consumer     never disturbed
//!                    |-----> A   quota                  quota used up, then killed
//!                    '-----> B   tsdb, password, type   wrong login, another type, then read-only,
//!                                                       then a full disk
//! ```
//!
//! More than three changes of health in a minute are told as Flapping (contracts 2), so one sink
//! can show two faults in that time: that is why there are four.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use lineside_tests::dir::TestDir;
use lineside_tests::faults::device::now;
use lineside_tests::faults::evidence::{Evidence, Message, Nanos, Sample};
use lineside_tests::faults::judge::judge;
use lineside_tests::faults::lag::Ledger;
use lineside_tests::faults::line::{Line, PIPELINE, Polled, Setup};
use lineside_tests::faults::lives::Around;
use lineside_tests::faults::volume::Volume;
use lineside_tests::peers::iotdb::{Iotdb, Release};
use lineside_tests::peers::iotdb_client::IotdbClient;
use lineside_tests::wait;
use serde_json::Value;

use super::rows;

/// Time between two polls of the fast device.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time without a poll of it or without a message of it.
const UNDISTURBED: Duration = Duration::from_secs(1);
/// How long a fault lasts after it is seen: several attempts of the sink to connect again.
const LASTS: Duration = Duration::from_secs(4);
/// Longest time until a fault is seen, or is over: a database looks at its quota and at its disk
/// now and then.
const NOTICE: Duration = Duration::from_secs(60);
/// The sinks with their prefixes; the first one's database is A, that of the others B.
const SINKS: [(&str, &str); 4] = [
    ("quota", "root.quota"),
    ("tsdb", "root.tsdb"),
    ("password", "root.login"),
    ("type", "root.types"),
];
/// What A and B have in common: they acknowledge what is synced, and no two samples fall on one
/// tick, which is a nanosecond.
const SERVER: [&str; 2] = ["wal_mode=SYNC", "timestamp_precision=ns"];
/// Room for the series of a sink, which are 26, but not beside those of somebody else.
const QUOTA: [&str; 4] = [
    SERVER[0],
    SERVER[1],
    "cluster_schema_limit_level=timeseries",
    "cluster_timeseries_limit_threshold=60",
];

/// The line with two databases.
struct Bench {
    line: Line,
    a: Iotdb,
    b: Iotdb,
    /// The disk of B.
    volume: Volume,
    client: IotdbClient,
    dir: TestDir,
    begin: Instant,
}

/// What one sink says of itself.
#[derive(Debug)]
struct Told {
    health: String,
    code: Option<String>,
    ledger: Ledger,
}

impl Bench {
    /// Quota, login and type are wrong from the beginning.
    fn start() -> Self {
        let begin = Instant::now();
        let dir = TestDir::new("iotdb-agent").unwrap();
        let volume = Volume::mount(&dir, "volume", &dir.join("b/dn"), 256).unwrap();
        let words = volume.around().unwrap().agent;
        let a = Iotdb::start(&dir, "a", Release::V2, &QUOTA).unwrap();
        let b = Iotdb::start_within(&dir, "b", Release::V2, &SERVER, &words).unwrap();
        let mut client = IotdbClient::start(&dir, "client").unwrap();
        use_up_quota(&mut client, a.port);
        // A user of its own: the server may lock one whose password is wrong too often.
        let user = ["create user press 'pressed-1234'", "grant all on root.** to user press"];
        client.run(b.port, false, &user).unwrap();
        login(&dir, "wrong");
        let column = "create aligned timeseries root.types.default.fast(p0 BOOLEAN)";
        client.run(b.port, false, &[column]).unwrap();

        let sinks = SINKS.map(|(name, prefix)| {
            let port = if name == "quota" { a.port } else { b.port };
            let login = match name {
                "password" => ", credentialsRef: {secret: iotdb}",
                _ => "",
            };
            format!(
                "{{name: {name}, iotdb: {{url: \"iotdb://127.0.0.1:{port}\", prefix: {prefix}, \
                 resendMillis: 0{login}}}}}"
            )
        });
        let devices = Polled::fast_and_slow(&dir, INTERVAL).unwrap();
        let setup = Setup {
            durability: "Durable",
            store: &[],
            more_sinks: &sinks,
            state: &dir.folder("agent-state").unwrap(),
            around: Around::default(),
        };
        let line = Line::start(&dir, devices, &setup).unwrap();
        let bench = Self { line, a, b, volume, client, dir, begin };
        bench.say("everything runs");
        bench
    }

    fn say(&self, what: &str) {
        println!("{:6.1} s {what}", self.begin.elapsed().as_secs_f64());
    }

    fn sql(&mut self, port: u16, sql: &str) {
        self.client.run(port, false, &[sql]).unwrap();
    }

    /// What `lineside status` and `lineside lag` say of a sink.
    fn told(&self, sink: &str) -> Told {
        let status = self.line.agent.status().unwrap();
        let named = |list: &Value, name: &str| {
            let found = list.as_array().unwrap().iter().find(|one| one["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
        };
        let sink_of = named(&named(&status["pipelines"], "all")["sinks"], sink);
        let text = |member: &str| sink_of[member].as_str().map(str::to_owned);
        let ledger = self.line.agent.lag().unwrap().ledger(PIPELINE, sink).unwrap().clone();
        Told { health: text("health").unwrap(), code: text("code"), ledger }
    }

    /// Waits until a sink says that it is not well for one of these reasons.
    fn until_ill(&self, sink: &str, codes: &[&str]) -> Told {
        let mut last = None;
        let found = wait::until_some(&format!("{sink}: {codes:?}"), NOTICE, || {
            let told = self.told(sink);
            let ill = is_ill(&told, codes);
            last = Some(format!("{told:?}"));
            ill.then_some(told)
        });
        let told = found.unwrap_or_else(|error| panic!("{error}: {last:?}"));
        self.say(&format!("{sink}: {} {:?}", told.health, told.code));
        told
    }

    /// Waits until nothing waits for a sink any more but what just came.
    fn until_delivered(&self, sink: &str) {
        let mut last = None;
        let few = 200;
        wait::until(&format!("{sink} delivers what waited"), NOTICE, || {
            let told = self.told(sink);
            let done = told.ledger.buffered < few && told.code.is_none();
            last = Some(told);
            done
        })
        .unwrap_or_else(|error| panic!("{error}: {last:?}"));
        self.say(&format!("{sink} has what waited"));
    }

    /// The fault of a sink goes on for a while: what comes is kept, and the code stays.
    fn lasts(&self, faults: &[(&str, &[&str])]) {
        let before: Vec<Told> = faults.iter().map(|(sink, _)| self.told(sink)).collect();
        wait::while_true("the fault lasts", LASTS, || {
            thread::sleep(INTERVAL);
            faults.iter().all(|(sink, codes)| {
                let told = self.told(sink);
                let ill = is_ill(&told, codes);
                if !ill {
                    println!("{sink} says {told:?}, not {codes:?}");
                }
                ill
            })
        })
        .unwrap();
        for ((sink, _), before) in faults.iter().zip(before) {
            let Told { ledger, .. } = self.told(sink);
            let kept = ledger.buffered - before.ledger.buffered;
            self.say(&format!("{sink}: {} kept, {kept} of them meanwhile", ledger.buffered));
            // Half of what four points each 100 ms are.
            assert!(kept > 80, "{sink}: {ledger:?}, before {before:?}");
            assert_eq!(ledger.delivered, before.ledger.delivered, "{sink}");
        }
    }
}

fn is_ill(told: &Told, codes: &[&str]) -> bool {
    let coded = told.code.as_deref().is_some_and(|code| codes.contains(&code));
    told.health != "Healthy" && coded
}

/// The login that the sink `password` uses.
fn login(dir: &TestDir, password: &str) {
    dir.write("secrets/iotdb/username", "press").unwrap();
    dir.write("secrets/iotdb/password", password).unwrap();
}

/// Somebody else has as many series as there may be.
fn use_up_quota(client: &mut IotdbClient, port: u16) {
    let mut series = 0;
    wait::until("the quota is used up", NOTICE, || {
        series += 1;
        let create = format!("create timeseries root.other.d.p{series} FLOAT");
        let refused = client.run(port, false, &[&create]).err();
        refused.is_some_and(|error| error.to_string().contains("comply with the quota"))
    })
    .unwrap();
}

/// The longest time between two of these, of those before `end`.
fn longest(times: impl Iterator<Item = Nanos>, end: Nanos) -> Duration {
    let times: Vec<Nanos> = times.filter(|time| *time < end).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    Duration::from_nanos(u64::try_from(longest).unwrap())
}

/// Values that were served and are not there, by device and point.
fn missing(evidence: &Evidence) -> Vec<(String, String)> {
    let arrived = evidence
        .messages
        .iter()
        .flat_map(|message| message.samples.iter().filter_map(|sample| sample.counter()));
    // No value is given out twice, by whichever point.
    let arrived: HashSet<u32> = arrived.collect();
    let lost = evidence.served.iter().filter(|served| !arrived.contains(&served.value));
    lost.map(|served| (served.device.clone(), served.point.clone())).collect()
}

/// Of a request with a column of another type IoTDB takes all other columns, also the quality of
/// what it does not take. Until the sink knows the column, such rows have a quality of nothing.
fn drop_halves(read: &mut [Message]) {
    for message in read {
        let fast = message.device == "default/fast";
        let half = |s: &Sample| fast && s.point == "p0" && s.value.is_null() && s.status == 0;
        message.samples.retain(|sample| !half(sample));
    }
}

#[test]
fn what_goes_wrong_with_a_database_is_told_by_its_code_and_disturbs_nothing_else() {
    let mut bench = Bench::start();

    // Quota, login and type.
    bench.until_ill("quota", &["LNS-3015"]);
    bench.until_ill("password", &["LNS-3003"]);
    let typed = bench.until_ill("type", &["LNS-3010"]);
    bench.lasts(&[("quota", &["LNS-3015"]), ("password", &["LNS-3003"])]);
    let after = bench.told("type");
    assert_eq!((&*after.health, after.code.as_deref()), ("Degraded", Some("LNS-3010")));
    assert!(after.ledger.dead_lettered > typed.ledger.dead_lettered + 20, "{after:?}, {typed:?}");
    // Three of four points are taken.
    assert!(after.ledger.delivered > typed.ledger.delivered + 60, "{after:?}, {typed:?}");
    let tsdb = bench.told("tsdb");
    assert_eq!((&*tsdb.health, tsdb.code), ("Healthy", None));
    bench.sql(bench.a.port, "delete timeseries root.other.**");
    login(&bench.dir, "pressed-1234");
    bench.sql(bench.b.port, "delete timeseries root.types.default.fast.p0");
    bench.until_delivered("quota");
    bench.until_delivered("password");

    // A read-only database and one that is down.
    bench.sql(bench.b.port, "set system to readonly");
    bench.a.kill().unwrap();
    let faults: [(&str, &[&str]); 2] = [("tsdb", &["LNS-3013"]), ("quota", &["LNS-3001"])];
    for (sink, codes) in faults {
        bench.until_ill(sink, codes);
    }
    bench.lasts(&faults);
    bench.sql(bench.b.port, "set system to running");
    bench.a.restart().unwrap();
    bench.say("A is up again");
    bench.until_delivered("tsdb");

    // A full disk: the database says so, or that it is read-only because of that.
    bench.volume.fill().unwrap();
    let full: &[&str] = &["LNS-3013", "LNS-3014"];
    bench.until_ill("tsdb", full);
    bench.lasts(&[("tsdb", full)]);
    bench.volume.free().unwrap();
    let port = bench.b.port;
    wait::until("B can be made to run", NOTICE, || {
        bench.client.run(port, false, &["set system to running"]).is_ok()
    })
    .unwrap();
    bench.say("B has space again");

    // The consumer and the device were undisturbed.
    bench.line.flow().unwrap();
    let end = now().unwrap();
    let fast = &bench.line.devices[0].device;
    let polls = longest(fast.answers().iter().map(|answer| answer.received), end);
    let messages = bench.line.consumer.messages().unwrap();
    let messages = messages.iter().filter(|m| m.topic == "lineside/default/fast");
    let messages = longest(messages.map(|message| message.time_ns), end);
    bench.say(&format!("longest time without a poll {polls:?}, without a message {messages:?}"));
    assert!(polls < UNDISTURBED && messages < UNDISTURBED, "{polls:?}, {messages:?}");

    // Everything is everywhere.
    let broker = judge(&bench.line.settle().unwrap());
    bench.say(&format!("broker: {broker}"));
    assert!(broker.is_clean(), "{broker}");
    // The sessions of the client that is there are of a server that was killed.
    bench.client = IotdbClient::start(&bench.dir, "reader").unwrap();
    for (sink, prefix) in SINKS {
        let port = if sink == "quota" { bench.a.port } else { bench.b.port };
        let mut read = rows::read(&mut bench.client, port, prefix, 1);
        if sink == "type" {
            drop_halves(&mut read);
        }
        let evidence = bench.line.evidence_at(sink, read).unwrap();
        let (verdict, missing) = (judge(&evidence), missing(&evidence));
        bench.say(&format!("{sink}: {verdict}"));
        assert!(verdict.is_clean(), "{sink}: {verdict}");
        let Told { ledger, .. } = bench.told(sink);
        assert_eq!(ledger.dropped(), 0, "{sink}: {ledger:?}");
        assert_eq!(missing.len() as u64, ledger.dead_lettered, "{sink}: {ledger:?}");
        let refused =
            |(device, point): &(String, String)| (&**device, &**point) == ("default/fast", "p0");
        assert!(missing.iter().all(refused), "{sink}");
        assert_eq!(missing.is_empty(), sink != "type", "{sink}");
        // The column goes on with the right type.
        assert!(missing.len() < bench.line.devices[0].device.count() * 3 / 4, "{sink}");
    }
}
