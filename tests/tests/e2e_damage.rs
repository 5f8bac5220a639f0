//! The file of a stopped peer's records is damaged: it starts, says so, and knows what it knew of
//! other peers.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use bayan_protocol::{id::JobId, record::JobState};
use bayan_store::{Change, Directory, Options};
use bayan_tests::{
    native::module,
    outputs,
    peers::Node,
    program::{run, start, until},
    runs::LIMIT,
};

const SOON: Duration = Duration::from_secs(60);

/// A peer that has had a job computed by another one, both stopped.
struct Past {
    dir: tempfile::TempDir,
    submitter: Node,
    job: JobId,
    standings: String,
}

impl Past {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let submitter = Node::start(&dir.path().join("submitter"), &["--slots", "0"])?;
        let mut worker = Node::join(&dir.path().join("worker"), &submitter, &[])?;
        worker.meets(1)?;
        let app = module("factor").display().to_string();
        let args = ["run", &app, "--detach", "--json", "--local", "never", "--redundancy", "1"];
        let job = ["--range", "0..8", "--args", "--number 1234567890123456789 --packet 100000"];
        let submitted = run(&submitter.dir, &[&args[..], &job].concat(), LIMIT)?.code(0)?;
        let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;
        let client = submitter.client()?;
        client.trust(worker.id()?)?;
        let done = || Ok((client.job(job)?.state == JobState::Done).then_some(()));
        until("the job's end", LIMIT, done)?;
        worker.end()?;
        let standings = standings(&submitter)?;
        ensure!(standings.contains(&worker.peer), "nothing is known of the worker: {standings}");
        Ok(Self { dir, submitter, job, standings })
    }

    /// Stops the peer, does something to its database, and starts it again.
    fn damage(mut self, harm: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Self> {
        self.submitter.end()?;
        let path = self.submitter.dir.join("records.redb");
        let mut bytes = fs::read(&path)?;
        harm(&mut bytes);
        fs::write(&path, bytes)?;
        self.submitter = self.submitter.restart()?;
        Ok(self)
    }

    fn check(&self, aside: usize) -> anyhow::Result<()> {
        let log = self.submitter.log();
        ensure!(log.contains("database damaged and set aside"), "it does not say so: {log}");
        let name = format!("records.redb.damaged-{aside}");
        ensure!(self.submitter.dir.join(&name).is_file(), "{name} is not there");
        let now = standings(&self.submitter)?;
        ensure!(now == self.standings, "{} was known, now {now}", self.standings);
        let state = self.submitter.client()?.job(self.job)?.state;
        ensure!(state == JobState::Done, "the job is {state:?}");
        Ok(())
    }
}

/// In the form in which it is told.
fn standings(node: &Node) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&node.client()?.standings()?)?)
}

/// The first line that `bayan node` says to a person; then it is ended, and that in good order.
fn says(dir: &Path, words: &[&str]) -> anyhow::Result<()> {
    let listen = format!("/ip4/{}/tcp/0", bayan_tests::peers::address());
    let args = ["node", "--no-mdns", "--no-quic", "--slots", "0", "--listen", &listen];
    let mut program = start(dir, &args)?;
    // Lines for people are no JSON.
    program.wait_for(SOON, |line| line.is_null().then_some(()))?;
    let said = program.heard();
    for word in words {
        ensure!(said.contains(word), "it does not say `{word}` but {said}");
    }
    program.signal(libc::SIGTERM)?;
    program.finish(SOON)?.code(0)?;
    Ok(())
}

#[test]
fn a_peer_whose_records_are_damaged_says_so_and_still_knows_others() -> anyhow::Result<()> {
    let past = Past::new()?.damage(|bytes| bytes.truncate(5000))?;
    past.check(1)?;
    let past = past.damage(|bytes| {
        for at in (0..bytes.len()).step_by(997) {
            bytes[at] ^= 1 << (at % 8);
        }
    })?;
    past.check(2)?;
    // Once more, with a person looking; and nothing to say when nothing has happened.
    let Past { dir, mut submitter, .. } = past;
    submitter.end()?;
    let data = submitter.dir.clone();
    drop(submitter);
    fs::write(data.join("records.redb"), "")?;
    says(&data, &["mended", "database is empty", "records.redb.damaged-3", "records were saved"])?;
    says(&data, &["peer "])?;
    let doctor = run(&data, &["doctor"], SOON)?;
    for word in ["set aside:", "damaged-1", "damaged-2", "damaged-3"] {
        ensure!(doctor.stdout.contains(word), "no `{word}` in {}", doctor.stdout);
    }
    drop(dir);
    Ok(())
}

#[test]
fn a_flipped_bit_leaves_a_finished_job_as_it_was_or_is_told() -> anyhow::Result<()> {
    let past = Past::new()?;
    let before =
        outputs::all(|after| Ok(past.submitter.client()?.results(past.job, after, 256)?))?;
    // The byte that says which of two states is the last one, so that the file is whole and wrong.
    let past = past.damage(|bytes| bytes[9] ^= 1)?;
    let after =
        outputs::all(|after| Ok(past.submitter.client()?.results(past.job, after, 256)?))?;
    ensure!(before == after, "results have changed");
    ensure!(standings(&past.submitter)? == past.standings, "standings have changed");
    Ok(())
}

#[test]
fn records_of_an_unknown_form_are_kept_and_counted() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("peer");
    says(&data, &["peer "])?;
    let unknown = |key: u8| Change::Put { key: vec![b'x', key], value: vec![0xff; 9] };
    {
        let directory = Directory::open(&data, Options::default())?;
        directory.records().append(&[unknown(1), unknown(2)])?;
        directory.close()?;
    }
    for _ in 0..2 {
        says(&data, &["2 stored records are of a form"])?;
    }
    let directory = Directory::open(&data, Options::default())?;
    assert_eq!(directory.records().get(&[b'x', 1])?, Some(vec![0xff; 9]));
    Ok(())
}
