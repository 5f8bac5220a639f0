//! What a run leaves in the data directory about its job, for `--resume` and `fetch`: where its
//! outputs go and what they are called. The peer knows neither.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bayan_protocol::id::JobId;
use serde::{Deserialize, Serialize};

use super::sink::Destination;

const DIRECTORY: &str = "runs";
/// Bytes of a note: a million names.
const MAX_NOTE: u64 = 512 << 20;

/// One job's note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Where the outputs go.
    pub(super) destination: Destination,
    /// What they are called, if not by their places.
    pub(super) names: Vec<String>,
}

impl Note {
    /// Writes it down. Without it the job only loses the names.
    pub(super) fn save(&self, data_dir: &Path, job: JobId) {
        let path = path(data_dir, job);
        let write = || -> io::Result<()> {
            let directory = data_dir.join(DIRECTORY);
            fs::create_dir_all(&directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&directory)?;
            serde_json::to_writer(&mut file, self)?;
            file.persist(&path)?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "where the outputs go is not noted");
        }
    }

    /// What was written down of the job.
    pub(super) fn load(data_dir: &Path, job: JobId) -> Option<Self> {
        let path = path(data_dir, job);
        let fits = fs::metadata(&path).ok()?.len() <= MAX_NOTE;
        serde_json::from_slice(&fs::read(&path).ok().filter(|_| fits)?).ok()
    }

    /// Forgets it.
    pub(super) fn remove(data_dir: &Path, job: JobId) {
        // It may never have been there.
        let _ = fs::remove_file(path(data_dir, job));
    }
}

fn path(data_dir: &Path, job: JobId) -> PathBuf {
    data_dir.join(DIRECTORY).join(format!("{job}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_again_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let job = JobId([3; 32]);
        let note =
            Note { destination: Destination::File("/x/y".into()), names: vec!["a.out".into()] };
        assert_eq!(Note::load(directory.path(), job), None);
        note.save(directory.path(), job);
        assert_eq!(Note::load(directory.path(), job), Some(note));
        Note::remove(directory.path(), job);
        assert_eq!(Note::load(directory.path(), job), None);
    }
}
