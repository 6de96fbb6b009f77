//! `cargo xtask gen`: the files that are made from the code of `crds`.

use anyhow::Result;

use crate::Context;

/// Runs xtask again with what generating needs (see the feature `gen`).
#[cfg(not(feature = "gen"))]
pub fn run(context: &Context, check: bool) -> Result<()> {
    use crate::process;

    let mut cargo = process::cargo(context, &process::host()?);
    cargo.args(["run", "--quiet", "--package", "xtask", "--features", "gen", "--", "gen"]);
    if check {
        cargo.arg("--check");
    }
    process::run(&mut cargo)
}

/// Writes every generated file, or with `check` compares.
#[cfg(feature = "gen")]
pub fn run(context: &Context, check: bool) -> Result<()> {
    use std::fs;

    use anyhow::{Context as _, bail};

    let mut different = Vec::new();
    for (path, text) in files()? {
        let full = context.workspace.join(&path);
        if fs::read_to_string(&full).is_ok_and(|found| found == text) {
            continue;
        }
        if !check {
            if let Some(dir) = full.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::write(&full, text).with_context(|| format!("cannot write {path}"))?;
            println!("wrote {path}");
        }
        different.push(path);
    }
    for path in left_over(context)? {
        if !check {
            fs::remove_file(context.workspace.join(&path))?;
            println!("removed {path}");
        }
        different.push(path);
    }
    if check && !different.is_empty() {
        bail!("not up to date: {}\nrun: cargo xtask gen", different.join(", "));
    }
    if different.is_empty() {
        println!("generated files are up to date");
    }
    Ok(())
}

/// Path in the checkout and text of every generated file.
#[cfg(feature = "gen")]
fn files() -> Result<Vec<(String, String)>> {
    let mut files: Vec<_> = lineside_crds::crd::manifests()?
        .into_iter()
        .map(|(name, yaml)| (format!("crds/{name}"), yaml))
        .collect();
    files.push(("docs/reference/diagnostics.md".into(), lineside_crds::diagnostics::markdown()));
    for kind in lineside_crds::api::Kind::ALL {
        let page = format!("docs/reference/{}.md", kind.name().to_lowercase());
        files.push((page, lineside_crds::schema::reference::markdown(*kind)));
    }
    Ok(files)
}

/// Manifests of kinds that exist no more.
#[cfg(feature = "gen")]
fn left_over(context: &Context) -> Result<Vec<String>> {
    let wanted: Vec<_> = files()?.into_iter().map(|(path, _)| path).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(context.workspace.join("crds"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let path = format!("crds/{name}");
        if name.ends_with(".yaml") && !wanted.contains(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
