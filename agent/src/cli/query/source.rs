//! Which server is asked: the destination that a pipeline's YAML names, or one of the command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use lineside_core::secret::Secrets;
use lineside_crds::model::{IotdbSettings, NamedSink, ObjectKey, Pipeline, SinkKind};
use lineside_crds::validate::{self, Meta};
use lineside_crds::yaml::Object;
use lineside_sink_iotdb::client::Credentials;

use crate::config::scan;

/// The variable with a password.
const PASSWORD: &str = "LINESIDE_PASSWORD";
/// Longest password file, in bytes.
const LONGEST_PASSWORD: usize = 4096;

/// See the module.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// File or directory with the pipeline's YAML; may be repeated
    #[arg(short, long = "file", value_name = "PATH", num_args = 1.., required_unless_present = "url")]
    file: Vec<PathBuf>,
    /// The pipeline: NAMESPACE/NAME, or NAME; needed when several write to IoTDB
    #[arg(long, requires = "file", value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Its sink; needed when several are IoTDB
    #[arg(long, requires = "file", value_name = "NAME")]
    sink: Option<String>,
    /// Directory with the secrets that the pipeline names: DIR/<secret>/<key>
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// The server instead of a pipeline's: iotdb://HOST[:PORT][,HOST...], or iotdbs://
    #[arg(long, conflicts_with = "file")]
    url: Option<String>,
    /// With --url: what the pipeline says in its field model
    #[arg(long, requires = "url", value_enum, default_value_t)]
    model: Model,
    /// With --url and model tree: first nodes of every path [default: root.lineside]
    #[arg(long, requires = "url")]
    prefix: Option<String>,
    /// With --url and model table: the database [default: lineside]
    #[arg(long, requires = "url")]
    database: Option<String>,
    /// With --url and model table: template of the table's name [default: {device}]
    #[arg(long, requires = "url")]
    table: Option<String>,
    /// User instead of the one that the pipeline names
    #[arg(long)]
    user: Option<String>,
    /// File with the user's password; without it, it is in the variable LINESIDE_PASSWORD
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Model {
    #[default]
    Tree,
    Table,
}

/// What a session is opened with.
pub struct Destination {
    /// The server.
    pub settings: IotdbSettings,
    /// Whose destination it is.
    pub pipeline: ObjectKey,
    /// What the settings name.
    pub secrets: Secrets,
    /// Instead of what they name.
    pub credentials: Option<Credentials>,
}

impl Source {
    /// Reads the files.
    ///
    /// # Errors
    /// They name no such destination, or more than one.
    pub fn destination(&self) -> anyhow::Result<Destination> {
        let (pipeline, settings) = match &self.url {
            Some(url) => self.of_url(url)?,
            None => self.of_files()?,
        };
        let secrets = Secrets::new(self.secrets.clone());
        Ok(Destination { settings, pipeline, secrets, credentials: self.credentials()? })
    }

    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        let Some(username) = self.user.clone() else { return Ok(None) };
        let password = match &self.password_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("read {}", file.display()))?;
                if text.len() > LONGEST_PASSWORD {
                    bail!("{} is too long for a password", file.display());
                }
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => std::env::var(PASSWORD)
                .with_context(|| format!("--user needs --password-file, or {PASSWORD}"))?,
        };
        Ok(Some(Credentials { username, password }))
    }

    /// By the rules of the YAML.
    fn of_url(&self, url: &str) -> anyhow::Result<(ObjectKey, IotdbSettings)> {
        let model = if self.model == Model::Table { "Table" } else { "Tree" };
        let mut iotdb = serde_json::json!({"url": url, "model": model});
        let given =
            [("prefix", &self.prefix), ("database", &self.database), ("table", &self.table)];
        for (field, value) in given {
            if let (Some(value), Some(spec)) = (value, iotdb.as_object_mut()) {
                spec.insert(field.to_owned(), value.as_str().into());
            }
        }
        let meta = Meta::new(ObjectKey::new("default", "query"));
        let judged = validate::judge_sink(&meta, &serde_json::json!({"iotdb": iotdb}));
        match judged.object.map(|sink| sink.kind) {
            Some(SinkKind::Iotdb(settings)) => Ok((meta.key, settings)),
            _ => {
                let findings = judged.findings.iter();
                let lines: Vec<_> = findings
                    .map(|d| format!("  {} {}: {}", d.code.id(), d.code.reason(), d.message))
                    .collect();
                bail!("the server cannot be asked as named:\n{}", lines.join("\n"))
            }
        }
    }

    fn of_files(&self) -> anyhow::Result<(ObjectKey, IotdbSettings)> {
        let files = scan::read_paths(&self.file)?;
        let objects = || {
            let documents = files.iter().flat_map(|file| &file.loaded);
            documents.filter_map(|document| document.object.as_ref())
        };
        // What a pipeline names is beside it. One that is not there gives no destination.
        let named = |namespace: &str, name: &str| {
            let mut sinks = objects().filter_map(|object| match object {
                Object::Sink(sink) => Some(sink),
                _ => None,
            });
            let found = sinks.find(|s| *s.key.namespace == *namespace && *s.key.name == *name);
            let missing = NamedSink::Missing { hint: String::new() };
            found.map_or(missing, |sink| NamedSink::Valid(sink.clone()))
        };
        let pipelines: Vec<Pipeline> = objects()
            .filter_map(|object| match object {
                Object::Pipeline(pipeline) => Some(Pipeline::clone(pipeline)),
                Object::OpenPipeline(open) => {
                    open.resolve(|name| named(&open.key().namespace, name)).ok()
                }
                _ => None,
            })
            .collect();
        let is_asked = |p: &&Pipeline| {
            let asked = self.pipeline.as_ref();
            asked.is_none_or(|asked| *asked == *p.key.name || *asked == p.key.to_string())
        };
        let mut found: Vec<_> = pipelines
            .iter()
            .filter(is_asked)
            .flat_map(|p| destinations(p, self.sink.as_deref()).map(|found| (&p.key, found)))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some((key, (_, settings))), true) => Ok((key.clone(), settings)),
            (None, _) => bail!(
                "no valid pipeline there has such an iotdb sink; see `lineside validate -f`, or name \
                 a server with --url"
            ),
            (Some(last), false) => {
                found.push(last);
                let names: Vec<_> =
                    found.iter().map(|(key, (sink, _))| format!("{key} {sink}")).collect();
                let names = names.join(", ");
                bail!("several destinations; choose one with --pipeline and --sink: {names}")
            }
        }
    }
}

/// The IoTDB destinations of a pipeline with the names of the sinks.
fn destinations<'a>(
    pipeline: &'a Pipeline,
    sink: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, IotdbSettings)> {
    let named = move |name: &str| sink.is_none_or(|sink| sink == name);
    pipeline.sinks.iter().filter_map(move |sink| match &sink.kind {
        SinkKind::Iotdb(settings) if named(&sink.name) => Some((&*sink.name, settings.clone())),
        _ => None,
    })
}
