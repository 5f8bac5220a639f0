//! Long blobs among many peers: they get them from each other, go on where they were killed, and catch
//! who sends wrong bytes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bayan::api::types::{InputsRequest, JobRequest};
use bayan_protocol::{id::JobId, job::Local, record::JobState};
use bayan_tests::{
    guests, outputs,
    peers::Node,
    poisoner::{Poisoner, Spoil},
    program::until,
};

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
        trust: if copies > 1 { format!("vote:{copies}") } else { "none".to_owned() },
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

/// Waits until a peer has got so many bytes of blobs.
fn has_got(peer: &Node, bytes: u64) -> anyhow::Result<u64> {
    let client = peer.client()?;
    until("the transfer to come on", LIMIT, || {
        let got = client.peer()?.blobs.received;
        Ok((got >= bytes).then_some(got))
    })
}

#[test]
fn a_killed_transfer_goes_on_where_it_was() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let input = noise(LEN - 1);
    // At this speed there is a middle to be killed in.
    let limit = (16 * MIB / 1024).to_string();
    let args = ["--slots", "1", "--upload-limit", &limit];
    let submitter = Node::start(&dir.path().join("submitter"), &args)?;
    let mut worker = Node::join(&dir.path().join("worker"), &submitter, &[])?;
    submitter.meets(1)?;
    let begun = Instant::now();
    let job = submit(&submitter, &input, 1)?;
    let got = has_got(&worker, LEN / 2)?;
    worker.kill();
    let worker = worker.restart()?;
    ends(&submitter, job, &input)?;
    let sent = submitter.client()?.peer()?.blobs.sent;
    let after = worker.client()?.peer()?.blobs.received;
    println!(
        "{got} bytes got before, {after} after the restart; {sent} sent in {:?}",
        begun.elapsed()
    );
    // Hash pairs are 1/256 of the content, in each range some of them again.
    ensure!(sent < LEN + LEN / 20, "{} bytes were fetched twice", sent - LEN);
    ensure!(begun.elapsed() > Duration::from_secs(3), "the upload limit was not kept");
    Ok(())
}

#[test]
fn who_sends_wrong_bytes_is_caught_at_once_and_remembered() -> anyhow::Result<()> {
    const GROUP: u64 = 16 << 10;
    let dir = tempfile::tempdir()?;
    let (input, later) = (noise(16 * MIB), noise(4 * MIB));
    // At this speed there is time to be told of the poisoners and to ask them.
    let limit = (6 * MIB / 1024).to_string();
    let args = ["--slots", "1", "--upload-limit", &limit];
    let submitter = Node::start(&dir.path().join("submitter"), &args)?;
    let join = |name: &str| Node::join(&dir.path().join(name), &submitter, &[]);
    let mut workers = vec![join("one")?, join("two")?, join("three")?];
    let noisy = Poisoner::join(&dir.path().join("noisy"), &submitter, Spoil::Noise)?;
    let sly = Poisoner::join(&dir.path().join("sly"), &submitter, Spoil::Content)?;
    for poisoner in [&noisy, &sly] {
        poisoner.offers(submitter.id()?, &input)?;
        poisoner.offers(submitter.id()?, &later)?;
    }
    submitter.meets(workers.len())?;
    let job = submit(&submitter, &input, workers.len())?;
    ends(&submitter, job, &input)?;
    let mut costs = Vec::new();
    for worker in &workers {
        let info = worker.client()?.peer()?;
        // Ten hash pairs lead to a group of this blob.
        ensure!(info.blobs.wasted <= 2 * (GROUP + 10 * 64), "{:?}", info.blobs);
        for (poisoner, most) in [(&noisy, 64), (&sly, GROUP + 10 * 64)] {
            let of = info.connections.iter().find(|one| one.peer == poisoner.peer);
            let cost = of.map_or(0, |one| one.blobs.received);
            ensure!(cost <= most, "it cost {cost} bytes");
            costs.push(cost);
        }
    }
    println!("wrong bytes by worker and poisoner: {costs:?}");
    ensure!(noisy.asked() > 0 && sly.asked() > 0, "nobody was told of a poisoner");
    let caught = noisy.asked() + sly.asked();
    ensure!(caught <= 2 * workers.len() as u64, "asked {caught} times");
    // Those who were caught are remembered over a restart.
    let mut again = Vec::new();
    for mut worker in workers.drain(..) {
        worker.kill();
        again.push(worker.restart()?);
    }
    submitter.meets(again.len())?;
    let job = submit(&submitter, &later, again.len())?;
    ends(&submitter, job, &later)?;
    ensure!(noisy.asked() + sly.asked() <= 2 * again.len() as u64, "asked once more");
    Ok(())
}

#[test]
fn old_inputs_are_kept_until_they_have_to_give_way() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let submitter = Node::start(&dir.path().join("submitter"), &["--slots", "1"])?;
    let worker = Node::join(&dir.path().join("worker"), &submitter, &["--disk", "12"])?;
    submitter.meets(1)?;
    let (one, two) = (noise(8 * MIB), noise(8 * MIB + 1));
    let got = |worker: &Node| Ok::<_, anyhow::Error>(worker.client()?.peer()?.blobs.received);
    let compute = |input: &[u8]| {
        let job = submit(&submitter, input, 1)?;
        ends(&submitter, job, input)?;
        submitter.client()?.forget(job)?;
        got(&worker)
    };
    let first = compute(&one)?;
    ensure!(compute(&one)? == first, "what is kept is not fetched again");
    let second = compute(&two)?;
    ensure!(second > first + 8 * MIB, "the other was fetched");
    ensure!(worker.client()?.peer()?.blob_bytes <= 12 * MIB, "the disk lent is not exceeded");
    ensure!(compute(&two)? == second, "the later one is kept");
    ensure!(compute(&one)? > second + 8 * MIB, "the first one had to go");
    Ok(())
}
