//! Applies the configuration that a cluster mounts, with the same care as a directory of files.

use lineside_crds::yaml::Problem;
use lineside_pipeline::Engine;

use super::Shown;
use super::watch::Watch;
use crate::cluster::since_boot;
use crate::cluster::source::{Source, Step, narrow};
use crate::config::book::Verdict;

/// Looks at the mounted configuration and applies a new set.
pub(super) async fn look(
    source: &mut Source,
    watch: &mut Watch<'_>,
    engine: &mut Engine,
    shown: &Shown,
) {
    match source.look(since_boot()).await {
        Some(Step::Run(accepted)) => {
            let (manifest, linger) =
                (accepted.running.manifest.clone(), accepted.running.drain_timeout());
            let finish = |verdict: &mut Verdict| {
                narrow(verdict, &manifest);
                verdict.desired.linger = Some(linger);
            };
            watch.take(&accepted.files, finish, engine, shown).await;
            source.applied(accepted.running);
        }
        Some(Step::Show(trouble)) => {
            let problem = Problem {
                code: trouble.code,
                file: shown.config.display().to_string(),
                line: 1,
                column: 1,
                field: String::new(),
                message: trouble.message,
                object: None,
            };
            watch.add(problem, shown);
        }
        None => {}
    }
}
