//! The redb file: every live record, and how much of the journal is in it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use redb::{Builder, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use super::{backend::Approval, change::ChangeRef};
use crate::disk;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const MARK: TableDefinition<&str, u64> = TableDefinition::new("mark");
const SEQUENCE: &str = "sequence";
const GENERATION: &str = "generation";

/// Page cache, bytes. Records are read once, at start-up; afterwards it serves the tree's upper
/// pages and the pages of the last commits.
const CACHE: usize = 16 << 20;

/// How much of the journal the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Sequence number of the last batch in it; 0 for none.
    pub(crate) sequence: u64,
    /// Journal files of lower generations are done with, whatever is in them.
    pub(crate) generation: u64,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    inner: redb::Database,
}

/// A database that has been opened and found whole, and has not been written to.
#[derive(Debug)]
pub(crate) struct Opened {
    database: Database,
    approval: Approval,
    pub(crate) mark: Mark,
}

impl Opened {
    /// Takes the database as it is.
    pub(crate) fn accept(self) -> io::Result<Database> {
        self.approval.accept()?;
        Ok(self.database)
    }
}

/// Why a database was not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The operating system refused.
    Io(io::Error),
    /// The file is not as it was left: how, as the end of a sentence.
    Damaged(String),
}

/// Opening a database that must exist, or making one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Create {
    Yes,
    No,
}

impl Database {
    /// Opens the file at `path`, every page of it checked, and leaves it as it is until it is accepted.
    pub(crate) fn open(path: &Path, create: Create) -> Result<Opened, Refused> {
        if create == Create::Yes && !path.exists() {
            create_file(path).map_err(refused)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Refused::Io)?;
        // redb would begin a new database in it.
        if file.metadata().map_err(Refused::Io)?.len() == 0 {
            return Err(Refused::Damaged("is empty".to_owned()));
        }
        Self::check(file).map_err(refused)
    }

    fn check(file: File) -> Result<Opened, redb::Error> {
        let approval = Approval::new(file)?;
        let database = Self { inner: builder().create_with_backend(approval.clone())? };
        let mark = database.mark()?;
        // A file without this table is none of this program's.
        database.records()?;
        Ok(Opened { database, approval, mark })
    }

    /// Makes a database without records at `path`, where nothing is that matters.
    pub(crate) fn create(path: &Path) -> Result<Self, redb::Error> {
        disk::remove_if_there(path)?;
        let created = Self { inner: builder().create(path)? };
        let mut commit = created.begin()?;
        commit.apply(&[])?;
        commit.finish(Mark::default())?;
        Ok(created)
    }

    pub(crate) fn mark(&self) -> Result<Mark, redb::Error> {
        let table = self.inner.begin_read()?.open_table(MARK)?;
        let read = |name| Ok::<_, redb::Error>(table.get(name)?.map_or(0, |value| value.value()));
        Ok(Mark { sequence: read(SEQUENCE)?, generation: read(GENERATION)? })
    }

    /// Applies changes in one durable transaction, in which they and `mark` become true together.
    pub(crate) fn begin(&self) -> Result<Commit, redb::Error> {
        let mut transaction = self.inner.begin_write()?;
        // Values hold bytes that other peers chose; one sync a second more rules out that those
        // bytes decide what a crash makes of a half-written commit.
        transaction.set_two_phase_commit(true);
        Ok(Commit { transaction })
    }

    /// The records as they are in the database now.
    pub(crate) fn records(
        &self,
    ) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, redb::Error> {
        Ok(self.inner.begin_read()?.open_table(RECORDS)?)
    }
}

/// A transaction being filled; dropped, it leaves no trace.
pub(crate) struct Commit {
    transaction: WriteTransaction,
}

impl Commit {
    pub(crate) fn apply(&mut self, changes: &[ChangeRef<'_>]) -> Result<(), redb::Error> {
        let mut table = self.transaction.open_table(RECORDS)?;
        for change in changes {
            match change.value {
                Some(value) => table.insert(change.key, value)?,
                None => table.remove(change.key)?,
            };
        }
        Ok(())
    }

    pub(crate) fn finish(self, mark: Mark) -> Result<(), redb::Error> {
        {
            let mut table = self.transaction.open_table(MARK)?;
            table.insert(SEQUENCE, mark.sequence)?;
            table.insert(GENERATION, mark.generation)?;
        }
        Ok(self.transaction.commit()?)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    // A file altered by anything but redb is then an error here and not a panic later. It reads the
    // whole file, which loading the records is about to do anyway.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Makes the file under another name first, so that under its own there is never half of one.
fn create_file(path: &Path) -> Result<(), redb::Error> {
    let directory: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let unfinished = directory.join(format!("{}database", disk::TEMPORARY));
    drop(Database::create(&unfinished)?);
    fs::rename(&unfinished, path)?;
    Ok(disk::sync_dir(&directory)?)
}

/// What the kernel says of a sector that cannot be read.
#[cfg(unix)]
const BAD_SECTOR: i32 = 5;

fn refused(error: redb::Error) -> Refused {
    match io_error(error) {
        // Without the system's number, it is redb that complains of what it read.
        Ok(error) => match error.raw_os_error() {
            #[cfg(unix)]
            Some(BAD_SECTOR) => Refused::Damaged("cannot be read from the disk".to_owned()),
            Some(_) => Refused::Io(error),
            None => Refused::Damaged(format!("is not a database: {error}")),
        },
        Err(error @ redb::Error::DatabaseAlreadyOpen) => Refused::Io(io::Error::other(error)),
        Err(error) => Refused::Damaged(format!("cannot be used: {error}")),
    }
}

/// What the operating system said, if that is what `error` is about.
pub(crate) fn io_error(error: redb::Error) -> Result<io::Error, redb::Error> {
    match error {
        redb::Error::Io(error) => Ok(error),
        error => Err(error),
    }
}
