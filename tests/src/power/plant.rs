//! Devices, virtual machine, proxy, broker and two consumers, and what happens to them.

use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guest::{Guest, Syncs};
use super::kept::Kept;
use super::machine::Machine;
use super::plan::{Boot, Cut, Sink};
use super::volatile::Loss;
use crate::broker::{Broker, Options};
use crate::dir::TestDir;
use crate::faults::device::now;
use crate::faults::dice::Dice;
use crate::faults::evidence::{self, Account, Evidence, Gap, Nanos};
use crate::faults::lag::Lag;
use crate::faults::line::{PIPELINE, Polled, SINK};
use crate::proxy::Proxy;
use crate::subscriber::Subscriber;
use crate::wait;

/// The sink that is always there.
pub const WITNESS: &str = "witness";
/// This machine, as the guest sees it.
const HOST: &str = "10.0.2.2";
/// Longest commit window of a Durable pipeline (contracts 5).
const COMMIT_WINDOW: Duration = Duration::from_millis(100);
/// Request timeout of every device: emulated processors are slow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval of a device that is to be left alone.
const NEVER: Duration = Duration::from_secs(3600);
/// Longest time until something that works is seen to work.
const SOON: Duration = Duration::from_secs(60);
/// Longest time to deliver what waits.
const DRAIN: Duration = Duration::from_secs(300);
/// Something that did not change for so long does not change any more.
const SILENCE: Duration = Duration::from_secs(2);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for something in the cache of the disk.
const WRITES: Duration = Duration::from_secs(2);
const DISK_MIB: u64 = 128;

/// The whole plant.
#[derive(Debug)]
pub struct Plant {
    devices: Vec<Polled>,
    machine: Machine,
    proxy: Proxy,
    broker: Broker,
    consumer: Subscriber,
    witness: Subscriber,
    durability: &'static str,
    starts: Vec<Nanos>,
    gaps: BTreeSet<Gap>,
    accounts: Vec<Account>,
}

/// What one boot came to.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// Which it was, counted from 0.
    pub number: usize,
    /// What was to be done.
    pub plan: Boot,
    /// From the start of the emulator to that of the agent; none: it was cut before.
    pub boot: Option<Duration>,
    /// Until the cut.
    pub took: Duration,
    /// Whether the guest had to play back the journal of its file system.
    pub recovered: bool,
    /// Answers of the devices.
    pub answers: usize,
    /// Messages that the witness got.
    pub witnessed: usize,
    /// From the last one to the cut.
    pub last_witnessed: Option<Duration>,
    /// Samples that waited for the sink when the agent was last asked.
    pub waiting: Option<u64>,
    /// What was in the cache of the disk.
    pub loss: Loss,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            |time: Option<Duration>| time.map_or("-".into(), |t| format!("{:.1}", t.as_secs_f64()));
        let last = self.last_witnessed.map_or("-".into(), |t| t.as_millis().to_string());
        let Loss { writes, lost, torn } = self.loss;
        write!(
            f,
            "boot {}, {:?}, {:?}: agent after {} s, cut after {:.1} s, journal played back {}, answers {}, \
             witnessed {} (last {last} ms before the cut), waiting {}, disk writes not flushed \
             {writes} (lost {lost}, torn {torn})",
            self.number,
            self.plan.cut,
            self.plan.sink,
            seconds(self.boot),
            self.took.as_secs_f64(),
            self.recovered,
            self.answers,
            self.witnessed,
            self.waiting.map_or("-".into(), |waiting| waiting.to_string()),
        )
    }
}

/// What was seen in all boots.
#[derive(Debug)]
pub struct Seen {
    /// About the sink that was mostly away.
    pub evidence: Evidence,
    /// About what the witness had before the last cut.
    pub kept: Kept,
    /// By boot: lines of a file that was never synced, as the guest wrote them and as they were
    /// found after the cut.
    pub unsynced: Vec<(u64, u64)>,
    /// From the last start of the emulator until the sink had everything.
    pub drained: Duration,
    /// Flushes of the disk.
    pub flushes: u64,
}

impl Plant {
    /// Starts everything but the machine.
    ///
    /// # Errors
    /// A part does not start.
    pub fn start(
        dir: &TestDir,
        devices: Vec<Polled>,
        guest: Guest,
        durability: &'static str,
    ) -> Result<Self> {
        let broker = Broker::start(dir, "broker", Options::default())?;
        let proxy = Proxy::start(broker.port)?;
        let consumer = Subscriber::start(dir, "consumer", &broker, "lineside/default/+")?;
        let witness = Subscriber::start(dir, "witness", &broker, "witness/default/+")?;
        let machine = Machine::new(dir, guest, DISK_MIB)?;
        Ok(Self {
            devices,
            machine,
            proxy,
            broker,
            consumer,
            witness,
            durability,
            starts: Vec::new(),
            gaps: BTreeSet::new(),
            accounts: Vec::new(),
        })
    }

    /// From the next boot on the syncs of the agent do nothing.
    pub fn ignore_syncs(&mut self) {
        self.machine.syncs = Syncs::Ignored;
    }

    /// Switches the machine on, does what is planned, and cuts the power.
    ///
    /// # Errors
    /// The machine does not boot, or nothing flows.
    pub fn cycle(&mut self, plan: Boot, dice: &mut Dice) -> Result<Cycle> {
        let begin = Instant::now();
        let (answers, witnessed) = (self.answers(), self.witness.messages()?.len());
        match plan.sink {
            Sink::First(_) => self.proxy.heal(),
            Sink::Away | Sink::Last(_) => self.proxy.cut(),
        }
        let config = self.config(None);
        self.machine.switch_on(&config)?;
        let boot = self.machine.boots() - 1;
        let mut started = None;
        match plan.cut {
            Cut::Mounting(time) => {
                self.machine.wait_for("the disk is mounted", |c| c.mounting.then_some(()))?;
                thread::sleep(time);
            }
            Cut::Starting(time) => {
                self.machine.wait_for("the agent starts", |console| console.start)?;
                started = Some(begin.elapsed());
                thread::sleep(time);
            }
            Cut::Running(time) => {
                self.machine.wait_for("the agent starts", |console| console.start)?;
                started = Some(begin.elapsed());
                self.flow()?;
                self.run(plan.sink, time)?;
            }
        }
        if plan.writing {
            self.machine.disk.wait_for_writes(WRITES);
        }
        let cut = now()?;
        let loss = self.machine.cut(dice)?;
        let took = begin.elapsed();
        self.note(boot)?;
        let new = self.witness.messages()?.get(witnessed..).unwrap_or_default();
        let (witnessed, last) = (new.len(), new.last().map(|message| cut - message.time_ns));
        let console = self.machine.console(boot);
        let waiting = match self.machine.books(boot).last() {
            Some(lag) => Some(lag.ledger(PIPELINE, SINK)?.buffered),
            None => None,
        };
        Ok(Cycle {
            number: boot,
            plan,
            boot: started,
            took,
            recovered: console.recovered,
            answers: self.answers() - answers,
            witnessed,
            last_witnessed: last.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0))),
            waiting,
            loss,
        })
    }

    /// Waits until samples of every device reach the witness.
    fn flow(&mut self) -> Result<()> {
        let seen = self.witness.messages()?.len();
        let topics: Vec<String> =
            self.devices.iter().map(|d| format!("witness/default/{}", d.device.name)).collect();
        let (witness, machine) = (&mut self.witness, &mut self.machine);
        wait::until_some("samples of every device", SOON, || {
            if let Err(error) = machine.check() {
                return Some(Err(error));
            }
            match witness.messages() {
                Ok(messages) => {
                    let new = messages.get(seen..).unwrap_or_default();
                    let flows = topics.iter().all(|topic| new.iter().any(|m| m.topic == *topic));
                    flows.then_some(Ok(()))
                }
                Err(error) => Some(Err(error)),
            }
        })?
    }

    /// For so long samples flow, and the sink comes or goes.
    fn run(&mut self, sink: Sink, time: Duration) -> Result<()> {
        let begin = Instant::now();
        let change = match sink {
            Sink::Away => None,
            Sink::First(there) => Some(there),
            Sink::Last(there) => Some(time.saturating_sub(there)),
        };
        let mut changed = false;
        while begin.elapsed() < time {
            if !changed && change.is_some_and(|at| begin.elapsed() >= at) {
                changed = true;
                match sink {
                    Sink::Last(_) => self.proxy.heal(),
                    Sink::Away | Sink::First(_) => self.proxy.cut(),
                }
            }
            thread::sleep(LOOK);
        }
        self.machine.check()
    }

    /// The last boot: the sink stays, and the devices are asked once and never again. Gives what
    /// was seen since the first boot.
    ///
    /// # Errors
    /// The machine does not boot, or something stays undelivered.
    pub fn finish(&mut self) -> Result<Seen> {
        let witnessed = evidence::messages(self.witness.messages()?)?;
        let begin = Instant::now();
        let before: Vec<usize> = self.devices.iter().map(|d| d.device.count()).collect();
        self.proxy.heal();
        let config = self.config(Some(NEVER));
        self.machine.switch_on(&config)?;
        let boot = self.machine.boots() - 1;
        self.machine.wait_for("the agent starts", |console| console.start)?;
        let devices = &self.devices;
        wait::until("every device is asked", SOON, || {
            devices.iter().zip(&before).all(|(d, count)| d.device.count() > *count)
        })?;
        self.quiet("the devices are left alone", |plant| Ok(plant.answers()))?;
        // The next answer of the agent may have been on its way before.
        let old = self.machine.books(boot).len() + 1;
        let machine = &mut self.machine;
        wait::until_some("everything is delivered", DRAIN, || {
            if let Err(error) = machine.check() {
                return Some(Err(error));
            }
            let books = machine.books(boot);
            let last = books.last().filter(|_| books.len() > old)?;
            has_nothing_waiting(last).ok()?.then_some(Ok(()))
        })??;
        let drained = begin.elapsed();
        self.quiet("the consumer has everything", |plant| Ok(plant.consumer.messages()?.len()))?;
        self.note(boot)?;
        let evidence = self.evidence()?;
        let kept = Kept::compare(&witnessed, &evidence.messages);
        let left = self.machine.console(boot).left;
        let unsynced = (0..boot)
            .map(|b| (self.machine.console(b).wrote, left.get(&b).copied().unwrap_or(0)))
            .collect();
        let flushes = self.machine.disk.flushes();
        Ok(Seen { evidence, kept, unsynced, drained, flushes })
    }

    /// Waits until a number stays the same.
    fn quiet(&mut self, what: &str, number: impl Fn(&mut Self) -> Result<usize>) -> Result<()> {
        let mut before = number(self)?;
        let mut since = Instant::now();
        let deadline = Instant::now() + SOON;
        while since.elapsed() < SILENCE {
            let now = number(self)?;
            if now != before {
                (before, since) = (now, Instant::now());
            }
            if Instant::now() > deadline {
                bail!("not within {SOON:?}: {what}");
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Keeps when the agent of a boot was started and what it said of itself.
    fn note(&mut self, boot: usize) -> Result<()> {
        let Some(start) = self.machine.console(boot).start else { return Ok(()) };
        self.starts.push(start);
        let life = self.starts.len() - 1;
        for lag in self.machine.books(boot) {
            // An agent that still reads its configuration has no pipeline.
            let Ok(pipeline) = lag.pipeline(PIPELINE) else { continue };
            self.gaps.extend(&pipeline.gaps);
            let ledger = lag.ledger(PIPELINE, SINK)?.clone();
            self.accounts.push(Account { life, ledger });
        }
        Ok(())
    }

    fn evidence(&mut self) -> Result<Evidence> {
        let cycle = self.devices.iter().map(|d| d.interval).max().unwrap_or_default();
        Ok(Evidence {
            served: self.devices.iter().flat_map(|d| d.device.served()).collect(),
            messages: evidence::messages(self.consumer.messages()?)?,
            starts: self.starts.clone(),
            gaps: self.gaps.clone(),
            accounts: self.accounts.clone(),
            allowance: evidence::allowance(COMMIT_WINDOW, cycle, REQUEST_TIMEOUT),
            request_timeout: REQUEST_TIMEOUT,
        })
    }

    fn answers(&self) -> usize {
        self.devices.iter().map(|d| d.device.count()).sum()
    }

    /// The agent's configuration: names and YAML.
    fn config(&self, interval: Option<Duration>) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = self
            .devices
            .iter()
            .map(|Polled { device, interval: own }| {
                let interval = interval.unwrap_or(*own);
                (device.name.clone(), device.yaml_at(HOST, interval, REQUEST_TIMEOUT))
            })
            .collect();
        let names: Vec<&str> = self.devices.iter().map(|d| d.device.name.as_str()).collect();
        let pipeline = format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: all\nspec:\n  \
             sources:\n  - {{name: all, devices: {{names: [{}]}}}}\n  sinks:\n  - {{name: {SINK}, \
             mqtt: {{url: \"mqtt://{HOST}:{}\"}}}}\n  - {{name: {WITNESS}, mqtt: {{url: \
             \"mqtt://{HOST}:{}\", topic: \"witness/{{namespace}}/{{device}}\"}}}}\n  \
             store: {{durability: {}, maxSize: 32Mi}}\n",
            names.join(", "),
            self.proxy.port(),
            self.broker.port,
            self.durability,
        );
        files.push(("all".to_owned(), pipeline));
        files
    }
}

fn has_nothing_waiting(lag: &Lag) -> Result<bool> {
    let waits = |sink| Ok::<_, anyhow::Error>(lag.ledger(PIPELINE, sink)?.buffered > 0);
    Ok(!waits(SINK).context("the sink")? && !waits(WITNESS).context("the witness")?)
}
