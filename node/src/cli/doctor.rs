//! `bayan doctor`: which walls stand around guests on this machine, tried from inside, and which
//! damaged files the peer has set aside.

use std::path::PathBuf;

use anyhow::Context as _;
use bayan_engine::{Engines, Options, Probe, Walls};
use bayan_store::Directory;
use clap::Args;
use serde_json::{Value, json};

use super::{Context, exit::Code, text};

/// File names in the data directory that nobody but the peer may read.
const KEY: &str = "identity";

/// Check what protects this machine from the guests it runs
///
/// Starts an engine process as for a guest, and lets it try what a guest that broke out of its sandbox would
/// try. Ends with 1 if anything of it was possible. Names the damaged files that were set aside in the
/// data directory, if there are any.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {}

/// Runs the command.
pub(super) fn run(context: &Context, _args: &DoctorArgs) -> anyhow::Result<Code> {
    let engines = Engines::start(Options::new(1), |_, _| {}).context("cannot start an engine")?;
    let key = context.data_dir.join(KEY);
    let probe = engines.probe(key.is_file().then_some(key.as_path())).context(
        "the walls around guests could not be tried, so this machine should lend no cores",
    )?;
    let aside = Directory::set_aside(&context.data_dir);
    if context.json {
        text::json(&as_json(&probe, &aside))?;
    } else {
        text::put(in_words(&probe).as_bytes())?;
        for path in aside {
            text::line(&format!(
                "set aside: {} was damaged; the peer goes on without it, and it may be deleted",
                path.display()
            ))?;
        }
    }
    Ok(if probe.is_tight() { Code::Done } else { Code::Error })
}

/// Each wall by name, whether it stands, and what it is for.
fn walls(walls: &Walls) -> [(&'static str, bool, String); 10] {
    let landlock = match walls.landlock {
        0 => "no files; this kernel has no landlock".to_owned(),
        abi => format!("no files (version {abi})"),
    };
    [
        ("landlock", walls.landlock > 0, landlock),
        ("empty root", walls.empty_root, "no files, even by name".to_owned()),
        ("seccomp", walls.seccomp, "no network, no programs, no other processes".to_owned()),
        ("no new privileges", walls.no_new_privileges, "no way to gain rights".to_owned()),
        ("no capabilities", walls.no_capabilities, "no rights to begin with".to_owned()),
        ("undumpable", walls.undumpable, "closed to debuggers".to_owned()),
        ("limits", walls.limits, "memory, descriptors, files, core dumps".to_owned()),
        ("parent death", walls.parent_death_signal, "ends with its peer".to_owned()),
        (
            "priority",
            walls.nice >= 19,
            format!("gives way to everything else (nice {})", walls.nice),
        ),
        ("idle I/O", walls.idle_io, "reads and writes when nobody else does".to_owned()),
    ]
}

fn in_words(probe: &Probe) -> String {
    let mut rows = vec![vec!["wall".to_owned(), "stands".to_owned(), "for".to_owned()]];
    rows.extend(walls(&probe.walls).into_iter().map(|(name, stands, purpose)| {
        vec![name.to_owned(), if stands { "yes" } else { "NO" }.to_owned(), purpose]
    }));
    let mut tried = vec![vec!["tried from inside".to_owned(), "answer".to_owned()]];
    tried.extend(probe.tries.iter().map(|tried| {
        let answer = match tried.refused {
            Some(errno) => {
                format!("refused: {}", std::io::Error::from_raw_os_error(errno))
            }
            None => "ALLOWED".to_owned(),
        };
        vec![tried.what.clone(), answer]
    }));
    let allowed = probe.tries.iter().filter(|tried| tried.refused.is_none()).count();
    let verdict = match (allowed, walls(&probe.walls).iter().all(|(_, stands, _)| *stands)) {
        (0, true) => "every wall stands, and nothing that was tried was possible".to_owned(),
        (0, false) => {
            "nothing that was tried was possible, but not every wall stands on this system"
                .to_owned()
        }
        (allowed, _) => format!(
            "{allowed} of the things tried were possible: a guest that breaks out of the sandbox could do them too; \
             run jobs of people you trust only (--accept own)"
        ),
    };
    format!("{}\n{}\n{verdict}\n", text::table(&rows), text::table(&tried))
}

fn as_json(probe: &Probe, aside: &[PathBuf]) -> Value {
    let walls: Vec<Value> = walls(&probe.walls)
        .into_iter()
        .map(|(name, stands, purpose)| json!({ "name": name, "stands": stands, "for": purpose }))
        .collect();
    let tries: Vec<Value> = probe
        .tries
        .iter()
        .map(|tried| json!({ "tried": tried.what, "errno": tried.refused }))
        .collect();
    json!({ "tight": probe.is_tight(), "walls": walls, "tries": tries, "set_aside": aside })
}
