//! `kubectl lineside ...`: the same binary under the name of a kubectl plugin. What asks a running
//! agent runs inside that agent's pod, through `kubectl exec`, so that Kubernetes' own rights are
//! the gate; everything else runs here.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// The name under which kubectl finds a plugin.
const NAME: &str = "kubectl-lineside";
/// Commands that ask a running agent.
const REMOTE: [&str; 7] = ["status", "top", "tap", "check", "lag", "dlq", "store"];
/// Of those, the ones that go on until they are stopped.
const LASTING: [&str; 2] = ["top", "tap"];
/// Name of the container in an agent's pod.
const CONTAINER: &str = "agent";
/// Names of agents begin so.
const AGENT: &str = "lsa-";

const HELP: &str = "\
Asks an agent of a cluster, inside its pod.

Usage: kubectl lineside status|top|tap|check|lag|dlq|store [-n NAMESPACE] [--context CONTEXT]
           [--kubeconfig FILE] [AGENT] [OPTIONS OF THE COMMAND]
       kubectl lineside COMMAND ...        as `lineside COMMAND ...`, on this machine

AGENT is the name of an Agent (lsa-...); it may be left out where the namespace has only one.
It needs the rights to get agents.lineside.dev and to create pods/exec in the namespace.

Examples:
  kubectl lineside status -n plant
  kubectl lineside tap -n plant lsa-default-line2-1a2b3c4d 'press-*/temp*'
  kubectl lineside lag -n plant
  kubectl lineside dlq ls -n plant lsa-default-line2-1a2b3c4d plant/to-broker/broker
  kubectl lineside check -n plant -o json
  kubectl lineside check --pre
  kubectl lineside explain LNS-5001";

/// Whether the process was started as the plugin.
pub fn is_plugin(argv0: Option<&OsString>) -> bool {
    argv0.is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == NAME))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// To be explained.
    Help,
    /// A command on this machine.
    Local(Vec<String>),
    /// A command inside an agent's pod.
    Remote(Remote),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Remote {
    /// Options for kubectl.
    kubectl: Vec<String>,
    agent: Option<String>,
    command: String,
    args: Vec<String>,
}

/// Sorts the arguments. `check --pre` is about the cluster and runs here.
fn sort(args: Vec<String>) -> Result<Asked, String> {
    let mut args = args.into_iter();
    let command = match args.next() {
        None => return Ok(Asked::Help),
        Some(first) if first == "--help" || first == "-h" || first == "help" => {
            return Ok(Asked::Help);
        }
        Some(first) => first,
    };
    let rest: Vec<String> = args.collect();
    if !REMOTE.contains(&command.as_str())
        || (command == "check" && rest.iter().any(|a| a == "--pre"))
    {
        return Ok(Asked::Local([vec![command], rest].concat()));
    }
    let mut remote = Remote { command, ..Remote::default() };
    let mut rest = rest.into_iter();
    while let Some(arg) = rest.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (arg.as_str(), None),
        };
        let name = match name {
            "-n" | "--namespace" => "--namespace",
            "--context" | "--kubeconfig" => name,
            "--" => {
                remote.args.extend(rest);
                break;
            }
            _ => {
                let is_agent = remote.agent.is_none() && arg.starts_with(AGENT);
                match is_agent {
                    true => remote.agent = Some(arg),
                    false => remote.args.push(arg),
                }
                continue;
            }
        };
        let Some(value) = value.or_else(|| rest.next()) else {
            return Err(format!("{arg} needs a value"));
        };
        remote.kubectl.push(format!("{name}={value}"));
    }
    if remote.command == "check" {
        remote.args.insert(0, "--cluster".to_owned());
    }
    Ok(Asked::Remote(remote))
}

impl Remote {
    /// The arguments of kubectl that run the command in the agent's pod.
    fn exec(&self, agent: &str, terminal: bool) -> Vec<String> {
        let mut out = vec!["exec".to_owned()];
        out.extend(self.kubectl.iter().cloned());
        if terminal && LASTING.contains(&self.command.as_str()) {
            out.push("-it".to_owned());
        }
        // The only pod of a StatefulSet that has the name of the agent.
        out.push(format!("{agent}-0"));
        out.extend(["-c", CONTAINER, "--", "lineside", &self.command].map(str::to_owned));
        out.extend(self.args.iter().cloned());
        out
    }
}

/// Runs as the plugin: hands a remote command to kubectl and never comes back then. Otherwise
/// gives the arguments of a command that runs here.
///
/// # Errors
/// There is no kubectl, or it is not clear which agent is meant.
pub fn run(args: Vec<String>) -> anyhow::Result<Option<Vec<String>>> {
    let remote = match sort(args) {
        Ok(Asked::Local(args)) => return Ok(Some(args)),
        Ok(Asked::Remote(remote)) => remote,
        Ok(Asked::Help) => {
            println!("{HELP}");
            return Ok(None);
        }
        Err(message) => bail!("{message}; see kubectl lineside --help"),
    };
    let agent = match &remote.agent {
        Some(agent) => agent.clone(),
        None => only_agent(&remote.kubectl)?,
    };
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    // Signals and the terminal are kubectl's from here on; exec returns only when it fails.
    let error = Command::new("kubectl").args(remote.exec(&agent, terminal)).exec();
    Err(error).context("run kubectl")
}

/// The agent of a namespace that has only one.
fn only_agent(options: &[String]) -> anyhow::Result<String> {
    let list = Command::new("kubectl")
        .arg("--request-timeout=10s")
        .args(options)
        .args(["get", "agents.lineside.dev", "-o", "name"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run kubectl")?;
    if !list.status.success() {
        bail!("kubectl cannot list the agents of the namespace");
    }
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    choose(&text).map_err(anyhow::Error::msg)
}

fn choose(names: &str) -> Result<String, String> {
    let names: Vec<_> =
        names.lines().map(|line| line.rsplit('/').next().unwrap_or(line).trim()).collect();
    match names.as_slice() {
        [] => Err("the namespace has no agent; choose another with -n NAMESPACE, or look at why \
             there is none: kubectl get deviceconnections.lineside.dev -n NAMESPACE"
            .to_owned()),
        [one] => Ok((*one).to_owned()),
        many => Err(format!("which agent? name one of: {}", many.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(line: &str) -> Result<Asked, String> {
        sort(line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn remote(line: &str) -> Remote {
        match sorted(line) {
            Ok(Asked::Remote(remote)) => remote,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_asks_an_agent_goes_into_its_pod_with_the_options_of_kubectl() {
        let asked = remote("tap press-*/t -n plant lsa-a-1 --context=c -o json --kubeconfig k");
        let line = asked.exec("lsa-a-1", true).join(" ");
        assert_eq!(
            line,
            "exec --namespace=plant --context=c --kubeconfig=k -it lsa-a-1-0 -c agent -- lineside \
             tap press-*/t -o json"
        );
        assert_eq!(asked.agent.as_deref(), Some("lsa-a-1"));
        let line = remote("status -n plant").exec("lsa-b", true).join(" ");
        assert_eq!(line, "exec --namespace=plant lsa-b-0 -c agent -- lineside status");
        assert_eq!(remote("check").args, ["--cluster"]);
        assert_eq!(remote("tap -- -n 5").args, ["-n", "5"]);
    }

    #[test]
    fn everything_else_runs_here() {
        let here = ["explain LNS-1003", "validate -f x", "check --pre", "--version"];
        for line in here {
            let words = line.split(' ').map(str::to_owned).collect();
            assert_eq!(sorted(line), Ok(Asked::Local(words)));
        }
        for line in ["", "--help", "-h", "help"] {
            assert_eq!(sorted(line), Ok(Asked::Help));
        }
        assert!(sorted("status -n").is_err());
    }

    #[test]
    fn an_agent_is_chosen_only_when_there_is_no_choice() {
        assert_eq!(choose("agent.lineside.dev/lsa-a\n").as_deref(), Ok("lsa-a"));
        assert!(choose("").unwrap_err().contains("no agent"));
        let many = choose("agent.lineside.dev/lsa-a\nagent.lineside.dev/lsa-b\n").unwrap_err();
        assert!(many.ends_with("lsa-a lsa-b"), "{many}");
    }

    #[test]
    fn the_plugin_is_known_by_its_name() {
        let is = |name: &str| is_plugin(Some(&OsString::from(name)));
        assert!(is("kubectl-lineside") && is("/usr/bin/kubectl-lineside"));
        assert!(!is("lineside") && !is("/kubectl-lineside/lineside") && !is_plugin(None));
    }
}
