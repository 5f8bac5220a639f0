//! `bayan evidence list` and `export`: the files that this peer keeps.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::{
    api::types::EvidenceView,
    cli::{Context, exit::Code, session::Session, text},
};

/// Copy a file of evidence that this peer keeps
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The evidence's id, or the id of the accused peer; or how it begins
    #[arg(value_name = "ID|PEER")]
    of: String,
    /// Where to; - is standard output
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Write over what is there
    #[arg(long)]
    force: bool,
}

pub(super) fn list(context: &Context) -> anyhow::Result<Code> {
    let session = Session::look(&context.data_dir)?;
    let kept = session.client().evidence();
    session.close()?;
    let kept = kept?;
    if context.json {
        for one in &kept {
            text::json(one)?;
        }
    } else {
        text::put(describe(&kept).as_bytes())?;
    }
    Ok(Code::Done)
}

fn describe(kept: &[EvidenceView]) -> String {
    if kept.is_empty() {
        return "no evidence is kept: this peer has proven nobody's result wrong\n".to_owned();
    }
    let heading = ["evidence", "accused", "job", "size", "note"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(kept.iter().map(|one| {
        vec![
            one.id.to_string(),
            one.accused.short(),
            one.job.short(),
            text::bytes(one.bytes),
            match one.missing.len() {
                0 => "complete".to_owned(),
                missing => {
                    let parts = text::count(missing as u64, "part", "parts");
                    format!("without {parts} of the task")
                }
            },
        ]
    }));
    text::table(&rows)
}

pub(super) fn export(context: &Context, args: &ExportArgs) -> anyhow::Result<Code> {
    let to_stdout = args.out.as_os_str() == "-";
    if !to_stdout && !args.force && args.out.exists() {
        bail!("{} exists already; write over it with --force", args.out.display());
    }
    let session = Session::look(&context.data_dir)?;
    let found = find(&session, &args.of);
    session.close()?;
    let (one, bytes) = found?;
    if to_stdout {
        text::put(&bytes)?;
        return Ok(Code::Done);
    }
    write(&args.out, &bytes)?;
    if context.json {
        text::json(&json!({ "event": "exported", "evidence": one, "out": args.out }))?;
    } else {
        text::line(&format!(
            "evidence {} against {} is in {}; `bayan evidence verify` tries it on any machine",
            one.id.short(),
            one.accused.short(),
            args.out.display()
        ))?;
    }
    Ok(Code::Done)
}

fn find(session: &Session, of: &str) -> anyhow::Result<(EvidenceView, Vec<u8>)> {
    let one = choose(session.client().evidence()?, of)?;
    let bytes = session.client().evidence_file(&one.id)?;
    Ok((one, bytes))
}

/// The evidence whose id begins so, or the most complete one against the peer whose id begins so.
fn choose(kept: Vec<EvidenceView>, of: &str) -> anyhow::Result<EvidenceView> {
    let wanted = of.to_ascii_lowercase();
    let (by_id, others): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|one| one.id.to_string().starts_with(&wanted));
    if by_id.len() > 1 {
        bail!("the ids of {} files of evidence begin with {of}; give more of it", by_id.len());
    }
    if let Some(one) = by_id.into_iter().next() {
        return Ok(one);
    }
    let mut against: Vec<EvidenceView> =
        others.into_iter().filter(|one| one.accused.to_string().starts_with(&wanted)).collect();
    against.sort_by_key(|one| (one.missing.len(), one.id));
    if against.iter().any(|one| one.accused != against[0].accused) {
        bail!("the ids of several accused peers begin with {of}; give more of it");
    }
    against.into_iter().next().with_context(|| {
        format!("no evidence, and no peer that is accused by any, has an id that begins with {of}; `bayan evidence list` shows what is kept")
    })
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use bayan_protocol::id::{Hash, JobId, PeerId, TaskId};

    use super::*;

    fn one(id: u8, accused: u8, missing: usize) -> EvidenceView {
        EvidenceView {
            id: Hash([id; 32]),
            accused: PeerId([accused; 32]),
            job: JobId([1; 32]),
            task: TaskId([1; 32]),
            file: String::new(),
            bytes: 2048,
            missing: vec!["the module".to_owned(); missing],
        }
    }

    #[test]
    fn evidence_is_chosen_by_its_id_or_by_whom_it_accuses() {
        let kept = || vec![one(0x11, 0xaa, 1), one(0x12, 0xaa, 0), one(0x22, 0xbb, 0)];
        assert_eq!(choose(kept(), "11").unwrap().id, Hash([0x11; 32]));
        assert_eq!(choose(kept(), "AA").unwrap().id, Hash([0x12; 32]), "the complete one");
        for (wrong, words) in [("1", "of 2 files"), ("ff", "bayan evidence list")] {
            let error = choose(kept(), wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let two = vec![one(1, 0xa1, 0), one(2, 0xa2, 0)];
        assert!(choose(two, "a").unwrap_err().to_string().contains("several accused"));
    }

    #[test]
    fn a_list_says_what_is_missing() {
        let words = describe(&[one(1, 2, 0), one(3, 4, 2)]);
        assert!(words.contains("complete") && words.contains("without 2 parts"), "{words}");
        assert!(describe(&[]).contains("proven nobody's result wrong"));
    }
}
