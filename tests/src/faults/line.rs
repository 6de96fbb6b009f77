//! Devices, agent, proxy, broker and consumer, to which a [schedule](super::schedule) happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::device::Device;
use super::evidence::{self, Account, Evidence, Gap, Message};
use super::lag::{Lag, Ledger};
use super::lives::{Around, Lives};
use super::schedule::{Act, Outage, Step};
use crate::broker::{Broker, Options};
use crate::dir::TestDir;
use crate::proxy::Proxy;
use crate::subscriber::Subscriber;
use crate::wait;

/// The pipeline.
pub const PIPELINE: &str = "default/all";
/// Its sink.
pub const SINK: &str = "broker";

/// Longest commit window of a Durable pipeline (contracts 5).
const COMMIT_WINDOW: Duration = Duration::from_millis(100);
/// Request timeout of every device.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of a device that is to be left alone.
const NEVER: Duration = Duration::from_secs(3600);
/// A device that was not asked for so long is not asked any more.
const SILENCE: Duration = Duration::from_secs(2);
/// Longest time until something that works is seen to work.
const SOON: Duration = Duration::from_secs(30);
/// Longest time to deliver what waits.
const DRAIN: Duration = Duration::from_secs(120);
/// Time that a question to the agent may take: none is begun so shortly before a step.
const QUESTION: Duration = Duration::from_millis(300);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A device with the time between two polls.
#[derive(Debug)]
pub struct Polled {
    /// The device.
    pub device: Device,
    /// The time.
    pub interval: Duration,
}

impl Polled {
    /// A device that is polled each `often` in one request, and one a tenth as often in three.
    ///
    /// # Errors
    /// A device does not start.
    pub fn fast_and_slow(dir: &TestDir, often: Duration) -> Result<Vec<Self>> {
        let slow: Vec<u16> =
            [0, 200, 1000].iter().flat_map(|from| [*from, from + 2, from + 4]).collect();
        let fast = Device::start(dir, "fast", 0, &[0, 2, 4, 6])?;
        let slow = Device::start(dir, "slow", 1, &slow)?;
        Ok(vec![
            Self { device: fast, interval: often },
            Self { device: slow, interval: often * 10 },
        ])
    }
}

/// The whole line.
#[derive(Debug)]
pub struct Line {
    /// The devices.
    pub devices: Vec<Polled>,
    /// The agent.
    pub agent: Lives,
    /// Between agent and broker.
    pub proxy: Proxy,
    /// The sink.
    pub broker: Broker,
    /// An independent consumer with a session that the broker keeps.
    pub consumer: Subscriber,
    /// Longest time to deliver what waits, and to be sure of it.
    pub drain: Duration,
    dir: TestDir,
    gaps: BTreeSet<Gap>,
    /// By sink.
    accounts: BTreeMap<String, Vec<Account>>,
    /// The start of the agent that was asked last.
    asked: Option<usize>,
}

/// How the agent is run.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// `Durable`, `Relaxed` or `Memory`.
    pub durability: &'a str,
    /// Further members of the pipeline's store, as `maxSize: 16Mi`.
    pub store: &'a [&'a str],
    /// More sinks of the pipeline, each as one line of YAML.
    pub more_sinks: &'a [String],
    /// Its state directory.
    pub state: &'a Path,
    /// Words in front of the program.
    pub around: Around,
}

impl Line {
    /// Starts everything and waits until samples flow.
    ///
    /// # Errors
    /// A part does not start, or nothing flows.
    pub fn start(dir: &TestDir, devices: Vec<Polled>, setup: &Setup<'_>) -> Result<Self> {
        let broker = Broker::start(dir, "broker", Options::default())?;
        let proxy = Proxy::start(broker.port)?;
        let consumer = Subscriber::start(dir, "consumer", &broker, "lineside/default/+")?;
        for Polled { device, interval } in &devices {
            let yaml = device.yaml(*interval, REQUEST_TIMEOUT);
            configure(dir, &device.name, &yaml)?;
        }
        let names: Vec<&str> = devices.iter().map(|d| d.device.name.as_str()).collect();
        configure(dir, "all", &pipeline(&names, proxy.port(), setup))?;
        let agent = Lives::start(dir, setup.state, &setup.around)?;
        let mut line = Self {
            devices,
            agent,
            proxy,
            broker,
            consumer,
            drain: DRAIN,
            dir: dir.clone(),
            gaps: BTreeSet::new(),
            accounts: BTreeMap::new(),
            asked: None,
        };
        line.flow()?;
        Ok(line)
    }

    /// Waits until more samples of every device arrive.
    ///
    /// # Errors
    /// They do not.
    pub fn flow(&mut self) -> Result<()> {
        let seen = self.consumer.messages()?.len();
        let topics: Vec<String> =
            self.devices.iter().map(|d| format!("lineside/default/{}", d.device.name)).collect();
        self.consumer.wait_until("samples of every device", SOON, |messages| {
            let new = messages.get(seen..).unwrap_or_default();
            topics.iter().all(|topic| new.iter().any(|m| m.topic == *topic))
        })?;
        Ok(())
    }

    /// Does the steps at their times; between them each start of the agent is asked once for
    /// its books.
    ///
    /// # Errors
    /// A step cannot be done.
    pub fn run(&mut self, steps: &[Step]) -> Result<()> {
        let begin = Instant::now();
        for step in steps {
            self.watch_until(begin + step.at)?;
            self.act(step.act).with_context(|| format!("{step:?}"))?;
        }
        Ok(())
    }

    /// Lets time pass; a start of the agent that was not asked for its books yet is asked.
    ///
    /// # Errors
    /// The agent does not know the pipeline.
    pub fn watch(&mut self, time: Duration) -> Result<()> {
        self.watch_until(Instant::now() + time)
    }

    fn watch_until(&mut self, time: Instant) -> Result<()> {
        loop {
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // An agent that still starts does not answer, which is no error.
            if left > QUESTION
                && self.asked != Some(self.agent.life())
                && let Ok(lag) = self.agent.lag()
                && lag.ledger(PIPELINE, SINK).is_ok()
            {
                self.note(&lag)?;
            }
            thread::sleep(LOOK.min(time.saturating_duration_since(Instant::now())));
        }
    }

    /// Keeps what the agent says of itself.
    fn note(&mut self, lag: &Lag) -> Result<()> {
        let life = self.agent.life();
        let pipeline = lag.pipeline(PIPELINE)?;
        self.gaps.extend(&pipeline.gaps);
        for sink in &pipeline.sinks {
            let account = Account { life, ledger: sink.ledger.clone() };
            self.accounts.entry(sink.name.clone()).or_default().push(account);
        }
        self.asked = Some(life);
        Ok(())
    }

    /// Does one thing.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Kill => {
                self.agent.kill()?;
                self.agent.start_again()
            }
            Act::Begin(Outage::Ended) => self.broker.term().map(drop),
            Act::End(Outage::Ended) => self.broker.restart(),
            Act::Begin(Outage::Stopped) => self.broker.server.stop(),
            Act::End(Outage::Stopped) => self.broker.server.cont(),
            Act::Begin(Outage::Cut) => {
                self.proxy.cut();
                Ok(())
            }
            Act::End(Outage::Cut) => {
                self.proxy.heal();
                Ok(())
            }
            Act::Begin(Outage::Refused) => {
                self.proxy.refuse()?;
                self.proxy.reset()
            }
            Act::End(Outage::Refused) => self.proxy.accept_again(),
        }
    }

    /// How many starts of the agent were asked for their books.
    pub fn asked(&self) -> usize {
        self.accounts.values().flatten().map(|a| a.life).collect::<BTreeSet<_>>().len()
    }

    /// Lets the devices alone, waits until everything is delivered, and gives what was seen.
    ///
    /// # Errors
    /// The devices are asked on and on, or something stays undelivered.
    pub fn settle(&mut self) -> Result<Evidence> {
        self.flow()?;
        // Another interval is taken over on the open connection, so an answer on its way is
        // still taken: from here on nothing is lost.
        for Polled { device, .. } in &self.devices {
            configure(&self.dir, &device.name, &device.yaml(NEVER, REQUEST_TIMEOUT))?;
        }
        let mut count = self.count();
        let mut since = Instant::now();
        wait::until("devices are left alone", SOON, || {
            let now = self.count();
            if now != count {
                (count, since) = (now, Instant::now());
            }
            since.elapsed() > SILENCE
        })?;
        wait::until_some("everything is delivered", self.drain, || {
            let lag = self.agent.lag().ok()?;
            let sinks = &lag.pipeline(PIPELINE).ok()?.sinks;
            let open = |ledger: &Ledger| ledger.buffered + ledger.unconfirmed > 0;
            (!sinks.iter().any(|sink| open(&sink.ledger))).then_some(())
        })?;
        let lag = self.agent.lag()?;
        self.note(&lag)?;
        // The consumer may lag the acknowledgement by a moment.
        let mut arrived = self.consumer.messages()?.len();
        let mut since = Instant::now();
        wait::until("the consumer has everything", SOON, || {
            let now = self.consumer.messages().map_or(arrived, <[_]>::len);
            if now != arrived {
                (arrived, since) = (now, Instant::now());
            }
            since.elapsed() > SILENCE
        })?;
        self.evidence()
    }

    /// What the agent said of itself, for people: with the device's file `<name>.served` it
    /// shows what lies around a loss.
    fn seen(&self) -> String {
        let mut text = String::new();
        for start in self.agent.starts() {
            text.push_str(&format!("start {start}\n"));
        }
        for gap in &self.gaps {
            text.push_str(&format!("gap {} {}\n", gap.from, gap.to));
        }
        for (sink, accounts) in &self.accounts {
            for Account { life, ledger } in accounts {
                text.push_str(&format!("books of {sink} at start {life}: {ledger:?}\n"));
            }
        }
        text
    }

    fn count(&self) -> usize {
        self.devices.iter().map(|d| d.device.count()).sum()
    }

    /// What was seen so far.
    ///
    /// # Errors
    /// The consumer got something else than JSON v1.
    pub fn evidence(&mut self) -> Result<Evidence> {
        // First what arrived, then what was served: the devices may still be asked.
        let messages = evidence::messages(self.consumer.messages()?)?;
        self.evidence_at(SINK, messages)
    }

    /// The same for a sink whose consumer has these messages.
    ///
    /// # Errors
    /// The books cannot be kept.
    pub fn evidence_at(&self, sink: &str, messages: Vec<Message>) -> Result<Evidence> {
        let cycle = self.devices.iter().map(|d| d.interval).max().unwrap_or_default();
        self.dir.write("seen.txt", &self.seen())?;
        Ok(Evidence {
            served: self.devices.iter().flat_map(|d| d.device.served()).collect(),
            messages,
            starts: self.agent.starts().to_vec(),
            gaps: self.gaps.clone(),
            accounts: self.accounts.get(sink).cloned().unwrap_or_default(),
            allowance: evidence::allowance(COMMIT_WINDOW, cycle, REQUEST_TIMEOUT),
            request_timeout: REQUEST_TIMEOUT,
        })
    }
}

/// Writes a file of the configuration as an editor does: whole, by renaming.
///
/// # Errors
/// It cannot be written.
pub fn configure(dir: &TestDir, name: &str, yaml: &str) -> Result<()> {
    let new = dir.write(&format!("config/.{name}.new"), yaml)?;
    Ok(std::fs::rename(new, dir.join("config").join(format!("{name}.yaml")))?)
}

fn pipeline(devices: &[&str], port: u16, setup: &Setup<'_>) -> String {
    let mut yaml = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: all\nspec:\n  \
         sources:\n  - {{name: all, devices: {{names: [{}]}}}}\n  sinks:\n  - {{name: {SINK}, \
         mqtt: {{url: \"mqtt://127.0.0.1:{port}\"}}}}\n",
        devices.join(", ")
    );
    for sink in setup.more_sinks {
        yaml.push_str(&format!("  - {sink}\n"));
    }
    yaml.push_str(&format!("  store:\n    durability: {}\n", setup.durability));
    for line in setup.store {
        yaml.push_str(&format!("    {line}\n"));
    }
    yaml
}
