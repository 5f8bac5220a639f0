//! Finding an app: a path, or the name of a module that is installed.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use bayan_packing::{Refusal as Problem, Report};

use super::{Context, exit::Refusal, text};

/// Directories of apps, in the order they are searched.
fn directories(context: &Context) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Some(paths) = env::var_os("BAYAN_APPS") {
        all.extend(env::split_paths(&paths));
    }
    all.push(context.data_dir.join("apps"));
    all.push(PathBuf::from("apps/modules"));
    all
}

/// The installed apps by name; the first directory that has a name wins.
pub(super) fn installed(context: &Context) -> BTreeMap<String, PathBuf> {
    let mut apps = BTreeMap::new();
    for directory in directories(context) {
        // A directory that is not there has no apps.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_module =
                path.extension().is_some_and(|extension| extension == "wasm") && path.is_file();
            if let (true, Some(name)) = (is_module, path.file_stem()) {
                apps.entry(name.to_string_lossy().into_owned()).or_insert(path);
            }
        }
    }
    apps
}

/// An app read from disk.
pub(super) struct App {
    /// For people.
    pub(super) name: String,
    /// Its module.
    pub(super) wasm: Vec<u8>,
    /// What the module is made of, and what packing does to it.
    pub(super) report: Report,
    /// Why it may not run; empty if it may.
    pub(super) problems: Vec<Problem>,
}

/// Reads `app`, and refuses what no peer would run.
pub(super) fn load(context: &Context, app: &str) -> anyhow::Result<App> {
    let loaded = read(context, app)?;
    match loaded.problems.as_slice() {
        [] => Ok(loaded),
        problems => {
            Err(Refusal(format!("{} cannot run: it {}", loaded.name, reasons(problems))).into())
        }
    }
}

/// Reads `app` and describes it, whatever is wrong with it.
pub(super) fn read(context: &Context, app: &str) -> anyhow::Result<App> {
    let path = find(context, app)?;
    let wasm = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match bayan_packing::inspect(&wasm) {
        Ok((report, problems)) => Ok(App { name, wasm, report, problems }),
        Err(error) => Err(Refusal(format!("{} cannot run: {error}", path.display())).into()),
    }
}

/// What is wrong, as the end of a sentence.
pub(super) fn reasons(problems: &[Problem]) -> String {
    let words = problems.iter().map(|problem| text::printable(&problem.to_string(), 300));
    words.collect::<Vec<_>>().join("; it ")
}

fn find(context: &Context, app: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(app);
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let apps = installed(context);
    if let Some(path) = apps.get(app) {
        return Ok(path.clone());
    }
    if app.contains(std::path::is_separator)
        || path.extension().is_some_and(|extension| extension == "wasm")
    {
        bail!("there is no module at {app}");
    }
    let known: Vec<&str> = apps.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bail!(
        "there is no app {app} (installed: {known}); give the path of a .wasm file, or see `bayan app list --help`"
    )
}
