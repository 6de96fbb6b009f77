//! A running lab: brought up, attached to, and everything a test does to it.

use std::fs;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::exec::checked;
use crate::process::{self, Invocation};
use crate::{
    Component, Layout, Node, Options, RunId, Storage, cgroup, containerd, control_plane, dns,
    images, kubelet, network, pki, remove, storage, wait,
};

/// Longest start of one component.
const START: Duration = Duration::from_secs(60);
/// Longest time from there to two Ready nodes.
const READY: Duration = Duration::from_secs(60);
/// Longest kubectl or ctr that is not asked to wait for something.
const TOOL: Duration = Duration::from_secs(60);
/// How long a component gets to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running lab. It goes on when this is dropped; [`Lab::remove`] ends it.
#[derive(Clone, Debug)]
pub struct Lab {
    layout: Layout,
    settings: Settings,
}

/// What another process must know to use the lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    binaries: PathBuf,
    logs: PathBuf,
}

impl Lab {
    /// Starts a lab and waits until both nodes are Ready; seconds. What was started is removed
    /// again when that fails.
    ///
    /// # Errors
    /// There is a lab of this run already, a tool is missing, or something does not start; the
    /// text has the end of its log.
    pub fn up(options: &Options) -> Result<Self> {
        let layout = Layout::new(&options.root, options.run.clone());
        let run = layout.run();
        let left = remove::left_behind(&layout)?;
        if !left.is_empty() {
            let left = left.join("\n  ");
            bail!("there is a lab {run} already; run: cargo xtask lab down --run {run}\n  {left}");
        }
        fs::create_dir_all(&options.root)?;
        fs::create_dir(layout.dir()).with_context(|| layout.dir().display().to_string())?;
        let logs = options.logs.clone().unwrap_or_else(|| layout.dir().join("log"));
        let settings = Settings { binaries: options.binaries.clone(), logs };
        let lab = Self { layout, settings };
        if let Err(error) = lab.create(options).and_then(|()| lab.start_all(options)) {
            let removed = remove::remove(&lab.layout);
            return Err(match removed {
                Ok(()) => error,
                Err(second) => error.context(format!("and it cannot be removed: {second:#}")),
            });
        }
        Ok(lab)
    }

    /// A lab that another process has started.
    ///
    /// # Errors
    /// There is none of this run in `root`.
    pub fn attach(root: &Path, run: RunId) -> Result<Self> {
        let layout = Layout::new(root, run);
        let settings = fs::read(layout.settings()).with_context(|| {
            format!("no lab {run}; run: cargo xtask lab up --run {run}", run = layout.run())
        })?;
        let settings = serde_json::from_slice(&settings).context("lab.json")?;
        Ok(Self { layout, settings })
    }

    /// Removes a lab and everything of it, whether whole, half or long dead: processes, mounts,
    /// network namespaces, cgroups, folders. Nothing happens when there is none.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(root: &Path, run: RunId) -> Result<()> {
        remove::remove(&Layout::new(root, run))
    }

    /// Removes this lab, see [`Self::remove`].
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn down(self) -> Result<()> {
        remove::remove(&self.layout)
    }

    /// Names and paths.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The folder of the lab's programs.
    pub fn binaries(&self) -> &Path {
        &self.settings.binaries
    }

    /// The log of a component or of a program that was spawned under this name.
    pub fn log(&self, name: &str) -> PathBuf {
        process::log_file(&self.settings.logs, name)
    }

    /// The API server's audit log: a JSON object for every write, and for every read by a
    /// service account outside `kube-system`, in the file before the answer leaves.
    pub fn audit_log(&self) -> PathBuf {
        control_plane::audit_log(&self.settings.logs)
    }

    /// The kubeconfig of the cluster's administrator. Its server is reached from inside the
    /// lab's network only ([`Self::command`], [`Self::enter`]).
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// `kubectl` as the administrator; add arguments.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = self.command(Node::One, &self.settings.binaries.join("kubectl"));
        kubectl.arg("--kubeconfig").arg(self.kubeconfig());
        kubectl.arg("--cache-dir").arg(self.layout.dir().join("kubectl-cache"));
        kubectl
    }

    /// What `kubectl ARGS` prints.
    ///
    /// # Errors
    /// It fails or takes longer than a minute.
    pub fn kubectl_output(&self, args: &[&str]) -> Result<String> {
        checked(self.kubectl().args(args), "", TOOL)
    }

    /// What `kubectl get ARGS -o json` prints.
    ///
    /// # Errors
    /// As [`Self::kubectl_output`].
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let text = checked(self.kubectl().arg("get").args(args).args(["-o", "json"]), "", TOOL)?;
        serde_json::from_str(&text).context("kubectl prints JSON")
    }

    /// Server-side apply of YAML or JSON documents.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, documents: &str) -> Result<String> {
        checked(self.kubectl().args(["apply", "--server-side", "-f", "-"]), documents, TOOL)
    }

    /// Gives both nodes the images of an OCI archive. Use them with `imagePullPolicy` Never or
    /// IfNotPresent.
    ///
    /// # Errors
    /// A containerd does not take it.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let import = |node: Node| {
            let mut ctr = self.ctr(node);
            ctr.args(["images", "import", "--local"]).arg(archive);
            checked(&mut ctr, "", TOOL).map(drop)
        };
        thread::scope(|scope| {
            let second = scope.spawn(|| import(Node::Two));
            import(Node::One)?;
            second.join().unwrap_or_else(|_| bail!("loading {} panicked", archive.display()))
        })
    }

    /// `ctr` of a node's containerd in the namespace of Kubernetes; add arguments.
    pub fn ctr(&self, node: Node) -> Command {
        let mut ctr = Command::new(self.settings.binaries.join("ctr"));
        ctr.arg("-a").arg(self.layout.containerd_socket(node)).args(["-n", "k8s.io"]);
        ctr
    }

    /// A program in a node's network, the caller's child; add arguments.
    pub fn command(&self, node: Node, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = self.layout.namespace_file(node);
        command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
        command
    }

    /// Moves the calling thread into a node's network, for good: sockets it opens from now on
    /// are the lab's. Threads it starts are there too.
    ///
    /// # Errors
    /// Not root, or the lab is gone.
    pub fn enter(&self, node: Node) -> Result<()> {
        network::enter(&self.layout.namespace_file(node))
    }

    /// Starts a program in a node's network under a name of its own. It belongs to the lab: it
    /// goes on without the caller and ends with the lab. Its environment is empty but for PATH
    /// and HOME; both outputs go to [`Self::log`].
    ///
    /// # Errors
    /// The name is taken by one that runs, or it cannot be started.
    pub fn spawn<S: AsRef<str>>(
        &self,
        name: &str,
        node: Node,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Program> {
        if Component::ALL.iter().any(|component| component.name() == name) {
            bail!("{name} is the name of a component");
        }
        let mut argv = vec![program.display().to_string()];
        argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.run(name, Invocation { argv, node, mounts: false })?;
        Ok(Program { lab: self.clone(), name: name.to_owned() })
    }

    /// A program that was spawned under this name, by whomever.
    ///
    /// # Errors
    /// There was none.
    pub fn program(&self, name: &str) -> Result<Program> {
        process::known(&self.layout, name)?;
        Ok(Program { lab: self.clone(), name: name.to_owned() })
    }

    /// Every program that was ever started in this lab, and whether it runs.
    ///
    /// # Errors
    /// The lab's folder cannot be read.
    pub fn programs(&self) -> Result<Vec<(String, bool)>> {
        let mut programs = Vec::new();
        for name in process::names(&self.layout)? {
            let record = process::known(&self.layout, &name)?;
            programs.push((name, record.running.is_some_and(process::Identity::is_alive)));
        }
        Ok(programs)
    }

    /// SIGTERM, and SIGKILL after five seconds. The API server gets SIGKILL at once: it would
    /// wait a minute for its watchers.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(&self, component: Component) -> Result<()> {
        let first = match component {
            Component::ApiServer => Signal::KILL,
            _ => Signal::TERM,
        };
        process::end(&self.layout, component.name(), first, PATIENCE)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(&self, component: Component) -> Result<()> {
        process::end(&self.layout, component.name(), Signal::KILL, PATIENCE)
    }

    /// SIGSTOP: it stays there, with its connections, and does nothing.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn pause(&self, component: Component) -> Result<()> {
        process::signal(&self.layout, component.name(), Signal::STOP)
    }

    /// SIGCONT after [`Self::pause`].
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn resume(&self, component: Component) -> Result<()> {
        process::signal(&self.layout, component.name(), Signal::CONT)
    }

    /// Starts a component again as it was started first, and waits until it answers.
    ///
    /// # Errors
    /// It runs, or does not start; the text has the end of its log.
    pub fn start(&self, component: Component) -> Result<()> {
        let record = process::known(&self.layout, component.name())?;
        self.run(component.name(), record.command)?;
        self.answering(component)
    }

    /// Cuts the link between the nodes, also for what runs in their pods. Peers are on node 1's
    /// side.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn cut_link(&self) -> Result<()> {
        network::cut(&self.layout)
    }

    /// Heals it.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn heal_link(&self) -> Result<()> {
        network::heal(&self.layout)
    }

    /// Makes the lab's DNS answer `name` with this address (no address: no such name), for pods
    /// and nodes, at once.
    ///
    /// # Errors
    /// It is no name, or DNS does not run.
    pub fn dns(&self, name: &str, address: Option<IpAddr>) -> Result<()> {
        dns::set(&self.layout, name, address)?;
        process::signal(&self.layout, Component::Dns.name(), Signal::HUP)
    }

    /// Offers this many new volumes on each node, and takes away those whose claim is gone.
    ///
    /// # Errors
    /// The API server refuses, or the lab has no StorageClass.
    pub fn add_volumes(&self, count: u16) -> Result<()> {
        let volumes = self.get(&["persistentvolumes"])?;
        let released = volumes["items"].as_array().into_iter().flatten();
        let released = released.filter(|v| v["status"]["phase"] == "Released");
        let names: Vec<_> = released.filter_map(|v| v["metadata"]["name"].as_str()).collect();
        if !names.is_empty() {
            self.kubectl_output(&[&["delete", "persistentvolume"], names.as_slice()].concat())?;
        }
        self.create_objects(storage::volumes(&self.layout, count)?)
    }

    fn create_objects(&self, objects: Vec<Value>) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        checked(self.kubectl().args(["create", "-f", "-"]), &list.to_string(), TOOL).map(drop)
    }

    /// Everything that is there before the first program runs.
    fn create(&self, options: &Options) -> Result<()> {
        let Self { layout, settings } = self;
        for dir in [&settings.logs, &layout.processes()] {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        fs::write(layout.settings(), serde_json::to_vec_pretty(settings)?)?;
        cgroup::create(layout)?;
        network::create(layout)?;
        pki::create(layout)?;
        dns::create(layout)?;
        control_plane::create(layout)?;
        for node in Node::ALL {
            containerd::create(layout, node)?;
            kubelet::create(layout, node)?;
        }
        for archive in images::write(&layout.images(), &options.binaries)? {
            // An archive that is cut short would be found out much later.
            fs::metadata(&archive).with_context(|| archive.display().to_string())?;
        }
        Ok(())
    }

    fn start_all(&self, options: &Options) -> Result<()> {
        let Self { layout, settings } = self;
        let run = |component: Component, invocation| self.run(component.name(), invocation);
        run(Component::Etcd, control_plane::etcd(layout, options))?;
        run(Component::Dns, dns::invocation(layout))?;
        for node in Node::ALL {
            self.run(&process::holder(node), containerd::mounts(node))?;
        }
        self.answering(Component::Etcd)?;
        run(Component::ApiServer, control_plane::apiserver(layout, options, &settings.logs))?;
        for node in Node::ALL {
            let name = process::holder(node);
            let look = || containerd::mounted(layout, node);
            wait::with_log(wait::until(&name, START, look), &self.log(&name))?;
            let containerd = containerd::invocation(layout, &settings.binaries, node);
            run(Component::Containerd(node), containerd)?;
        }
        for node in Node::ALL {
            self.answering(Component::Containerd(node))?;
        }
        for archive in ["pause.tar", "busybox.tar"] {
            self.load(&layout.images().join(archive))?;
        }
        self.answering(Component::ApiServer)?;
        run(Component::ControllerManager, control_plane::manager(layout, options))?;
        run(Component::Scheduler, control_plane::scheduler(layout, options))?;
        for node in Node::ALL {
            run(Component::Kubelet(node), kubelet::invocation(layout, options, node))?;
        }
        if let Storage::Local { volumes } = options.storage {
            let mut objects = vec![storage::class()];
            objects.extend(storage::volumes(layout, volumes)?);
            self.create_objects(objects)?;
        }
        for component in Component::ALL {
            self.answering(component)?;
        }
        self.usable()
    }

    /// Waits until pods can be made: nodes Ready, and the account that pods use by default.
    fn usable(&self) -> Result<()> {
        let ready = || {
            let Ok(nodes) = self.get(&["nodes"]) else { return Ok(false) };
            let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
            let ready = nodes.iter().filter(|node| is_ready(node)).count();
            Ok(ready == Node::ALL.len() && self.get(&["serviceaccount", "default"]).is_ok())
        };
        let waited = wait::until("two Ready nodes and a default service account", READY, ready);
        wait::with_log(waited, &self.log(Component::Kubelet(Node::Two).name()))
    }

    fn run(&self, name: &str, invocation: Invocation) -> Result<()> {
        process::start(&self.layout, &self.settings.logs, name, invocation)
    }

    /// Waits until a component that was started answers.
    fn answering(&self, component: Component) -> Result<()> {
        let name = component.name();
        let record = process::known(&self.layout, name)?;
        let waited = wait::until(&format!("{name} answers"), START, || {
            if !record.running.is_some_and(process::Identity::is_alive) {
                bail!("{name} ended");
            }
            self.answers(component)
        });
        wait::with_log(waited, &self.log(name))
    }

    fn answers(&self, component: Component) -> Result<bool> {
        let layout = &self.layout;
        let accepts = |address| network::accepts(layout, Node::One, address);
        match component {
            Component::Etcd => {
                network::answers(layout, Node::One, control_plane::etcd_address(), "/health")
            }
            Component::ApiServer => Ok(accepts(control_plane::apiserver_address())?
                && self.kubectl_output(&["get", "--raw", "/readyz"]).is_ok()),
            Component::ControllerManager => accepts(control_plane::manager_address()),
            Component::Scheduler => accepts(control_plane::scheduler_address()),
            Component::Dns => accepts(dns::address()),
            Component::Containerd(node) => {
                Ok(checked(self.ctr(node).arg("version"), "", TOOL).is_ok())
            }
            Component::Kubelet(node) => {
                network::answers(layout, node, kubelet::health_address(), "/healthz")
            }
        }
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A program that was spawned in a lab ([`Lab::spawn`]).
#[derive(Clone, Debug)]
pub struct Program {
    lab: Lab,
    name: String,
}

impl Program {
    /// The name it was spawned under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has written to both outputs.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.lab.log(&self.name);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// The lab's folder cannot be read.
    pub fn is_running(&self) -> Result<bool> {
        let record = process::known(&self.lab.layout, &self.name)?;
        Ok(record.running.is_some_and(process::Identity::is_alive))
    }

    /// Sends it a signal; nothing happens when it does not run.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::signal(&self.lab.layout, &self.name, signal)
    }

    /// SIGTERM, and SIGKILL after five seconds.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(&self) -> Result<()> {
        process::end(&self.lab.layout, &self.name, Signal::TERM, PATIENCE)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(&self) -> Result<()> {
        process::end(&self.lab.layout, &self.name, Signal::KILL, PATIENCE)
    }

    /// Starts it again as it was spawned, after it has ended.
    ///
    /// # Errors
    /// It runs or cannot be started.
    pub fn start(&self) -> Result<()> {
        let record = process::known(&self.lab.layout, &self.name)?;
        self.lab.run(&self.name, record.command)
    }

    /// The same program, killed when the guard is dropped: for a test in a shared lab.
    pub fn guarded(self) -> Guarded {
        Guarded(self)
    }
}

/// A program of a lab that ends with the scope that holds this.
#[derive(Debug)]
pub struct Guarded(Program);

impl Deref for Guarded {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill() {
            eprintln!("{} goes on in the lab: {error:#}", self.0.name);
        }
    }
}
