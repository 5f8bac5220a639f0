//! Long blobs among many peers: they get them from each other, go on where they were killed, and catch
//! who sends wrong bytes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bayan::api::types::{InputsRequest, JobRequest};
use bayan_protocol::{id::JobId, job::Local, record::JobState};
use bayan_tests::{guests, outputs, peers::Node, program::until};

const MIB: u64 = 1 << 20;
const LEN: u64 = 64 * MIB;
const WORKERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes that nothing compresses and no other test has.
fn noise(len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).expect("fits memory")];
    blake3::Hasher::new_derive_key("bayan tests noise")
        .update(&std::process::id().to_le_bytes())
        .update(&len.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A job of one task, which as many peers as it says have to compute.
fn submit(at: &Node, input: &[u8], copies: usize) -> anyhow::Result<JobId> {
    let client = at.client()?;
    let module = client.upload(&wat::parse_str(guests::checksum())?)?.hash;
    let input = client.upload(input)?;
    let request = JobRequest {
        trust: format!("vote:{copies}"),
        local: Local::Never,
        ..JobRequest::new("checksum", module, InputsRequest::Blobs(vec![input.hash]))
    };
    Ok(client.submit(&request)?)
}

fn ends(at: &Node, job: JobId, input: &[u8]) -> anyhow::Result<()> {
    let client = at.client()?;
    until("the job's end", LIMIT, || Ok((client.job(job)?.state == JobState::Done).then_some(())))?;
    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    let output = hex::decode(results[0].inline.as_deref().context("a short output")?)?;
    ensure!(output == guests::checksum_of(input), "the result is wrong: {:?}", results[0]);
    outputs::check_proofs(&results)
}

#[test]
fn eight_peers_get_a_long_input_from_each_other() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let input = noise(LEN);
    let submitter = Node::start(&dir.path().join("submitter"), &["--slots", "1"])?;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(Node::join(&dir.path().join(format!("worker-{number}")), &submitter, &[])?);
    }
    submitter.meets(WORKERS)?;
    let begun = Instant::now();
    let job = submit(&submitter, &input, WORKERS)?;
    ends(&submitter, job, &input)?;
    let sent = submitter.client()?.peer()?.blobs.sent;
    println!("{} MiB sent by the submitter in {:?}", sent / MIB, begun.elapsed());
    for worker in &workers {
        let blobs = worker.client()?.peer()?.blobs;
        println!("{}: {:?}", worker.dir.display(), blobs);
        ensure!(blobs.received >= LEN, "a worker did without the input: {blobs:?}");
        ensure!(blobs.received < LEN + LEN / 20, "a worker got much of it twice: {blobs:?}");
    }
    ensure!(sent < 2 * LEN, "the submitter sent {} MiB", sent / MIB);
    Ok(())
}
