//! Peers that break the rules: the network side of a real peer, with a test in place of the machines.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bayan_net::{Config, DownReason, Event, Handle};
use bayan_protocol::{
    cbor,
    crypto::Keypair,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    result::{Commit, Leaf, Opened, Output, Reveal, output_commit},
    task::{PROFILE_V1, Status},
    wire::{Credit, Frame, Hello, Lease, VERSION},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
    sync::mpsc,
};

use crate::peers::{Node, address};

/// What a peer does in answer to a frame it does within this time.
const ANSWERS: Duration = Duration::from_secs(20);

static NEXT: AtomicU8 = AtomicU8::new(1);

/// A peer that says what the test tells it to.
pub struct Hostile {
    runtime: Runtime,
    net: Handle,
    events: mpsc::Receiver<Event>,
    /// Its key.
    pub key: Keypair,
    /// Who it is.
    pub peer: PeerId,
    victim: PeerId,
}

/// A frame, or the end of the stream.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(Box<Frame>),
    /// The stream is gone.
    Down(DownReason),
}

impl Hostile {
    /// Connects to a peer and says nothing yet.
    pub fn connect(victim: &Node) -> anyhow::Result<Self> {
        let secret = [NEXT.fetch_add(1, Ordering::Relaxed); 32];
        let key = Keypair::from_seed(&secret);
        let mut config = Config::new(secret);
        config.listen = vec![format!("/ip4/{}/tcp/0", address())];
        config.bootstrap = vec![victim.dial.clone()];
        config.quic = false;
        // It is after its victim alone.
        config.target_outgoing = 0;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (net, events) = runtime.block_on(bayan_net::start(config))?;
        let mut hostile =
            Self { runtime, net, events, peer: key.peer_id(), key, victim: victim.id()? };
        hostile.awaits_up()?;
        Ok(hostile)
    }

    /// Connects and behaves, up to the hellos.
    pub fn greeted(victim: &Node, slots: u32) -> anyhow::Result<Self> {
        let mut hostile = Self::connect(victim)?;
        hostile.send(&Frame::Hello(hello(slots)))?;
        hostile
            .until("the victim's hello", |frame| matches!(frame, Frame::Hello(_)).then_some(()))?;
        Ok(hostile)
    }

    fn awaits_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + ANSWERS;
        while let Some(event) = self.event(deadline) {
            if matches!(event, Event::Up { peer, .. } if peer == self.victim) {
                return Ok(());
            }
        }
        bail!("no work stream with the victim opened")
    }

    fn event(&mut self, deadline: Instant) -> Option<Event> {
        let events = &mut self.events;
        self.runtime.block_on(async {
            tokio::time::timeout_at(deadline.into(), events.recv()).await.ok().flatten()
        })
    }

    /// Says a frame.
    pub fn send(&self, frame: &Frame) -> anyhow::Result<()> {
        self.send_bytes(frame.encode())
    }

    /// Says anything at all.
    pub fn send_bytes(&self, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.net.send(self.victim, bytes).context("the work stream is not open")
    }

    /// What the victim does next; none if it does nothing within `limit`.
    pub fn hear(&mut self, limit: Duration) -> Option<Heard> {
        let deadline = Instant::now() + limit;
        loop {
            match self.event(deadline)? {
                Event::Frame { peer, bytes } if peer == self.victim => {
                    let frame = Frame::decode(&bytes).expect("an honest peer's frames can be read");
                    return Some(Heard::Frame(Box::new(frame)));
                }
                Event::Down { peer, reason } if peer == self.victim => {
                    return Some(Heard::Down(reason));
                }
                _ => {}
            }
        }
    }

    /// Listens until `wanted` finds something in a frame of the victim.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Frame) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + ANSWERS;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Some(Heard::Frame(frame)) => {
                    if let Some(found) = wanted(&frame) {
                        return Ok(found);
                    }
                }
                Some(Heard::Down(reason)) => {
                    bail!("the stream is gone ({reason}) before {what} came")
                }
                None => bail!("waited {ANSWERS:?} in vain for {what}"),
            }
        }
    }

    /// Listens until the victim has closed the connection; the frames heard meanwhile.
    pub fn is_thrown_out(&mut self) -> anyhow::Result<Vec<Frame>> {
        let deadline = Instant::now() + ANSWERS;
        let mut frames = Vec::new();
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now())) {
                Some(Heard::Frame(frame)) => frames.push(*frame),
                Some(Heard::Down(_)) => return Ok(frames),
                None => bail!("the victim has not closed the connection; it said {frames:?}"),
            }
        }
    }

    /// Offers to hold `tasks` tasks and waits for the first lease.
    pub fn leases(&mut self, tasks: u32) -> anyhow::Result<Lease> {
        self.until("an offer", |frame| matches!(frame, Frame::Offer(_)).then_some(()))?;
        self.send(&Frame::Credit(Credit { tasks, below: 0 }))?;
        let lease = self.until("a lease", |frame| match frame {
            Frame::Lease(lease) => Some(lease.clone()),
            _ => None,
        })?;
        ensure!(!lease.tasks.is_empty(), "a lease of nothing");
        Ok(lease)
    }

    /// A result for a task, as its worker.
    pub fn result(&self, lease: &Lease, task: TaskId, status: Status, output: Output) -> Opened {
        opened(self.peer, (lease.job, lease.submitter, lease.lease), task, status, output)
    }

    /// Asks the victim for the first byte of a blob; its length if that is granted.
    pub fn asks_for(&self, hash: Hash) -> anyhow::Result<Option<u64>> {
        let (net, victim) = (self.net.clone(), self.victim);
        let exchange = async move {
            let mut stream = net.open_blob(victim).await?;
            let request = cbor::encode(&BlobRequest { hash, from: 0, to: 1 });
            stream.write_u32(u32::try_from(request.len())?).await?;
            stream.write_all(&request).await?;
            stream.flush().await?;
            let mut answer = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut answer).await?;
            cbor::decode(&answer).map_err(|_| anyhow::anyhow!("an answer that cannot be read"))
        };
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(ANSWERS, exchange).await.context("no answer to a blob request")?
        })?;
        Ok(match answer {
            BlobAnswer::Ok(len) => Some(len),
            BlobAnswer::Refuse(_) => None,
        })
    }

    /// Commits to results as a worker does, and reveals them.
    pub fn deliver(&self, job: JobId, sequence: u64, opened: Vec<Opened>) -> anyhow::Result<()> {
        let commit = Commit::sign(&self.key, job, sequence, &opened);
        self.deliver_as(commit, opened)
    }

    /// Reveals results under a given commit.
    pub fn deliver_as(&self, commit: Commit, opened: Vec<Opened>) -> anyhow::Result<()> {
        let root = commit.root;
        self.send(&Frame::Commit(commit))?;
        self.send(&Frame::Reveal(Reveal { root, opened }))
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let net = self.net.clone();
        self.runtime.block_on(net.shutdown());
    }
}

#[derive(Serialize)]
struct BlobRequest {
    hash: Hash,
    from: u64,
    to: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BlobAnswer {
    Ok(u64),
    Refuse(#[expect(dead_code, reason = "why is for people")] String),
}

/// What an honest peer says first.
pub fn hello(slots: u32) -> Hello {
    Hello {
        relays: 0,
        versions: vec![VERSION],
        agent: "hostile/1".to_owned(),
        profiles: vec![PROFILE_V1.to_owned()],
        slots,
        memory: 1 << 30,
    }
}

/// A short output.
pub fn inline(bytes: &[u8]) -> Output {
    Output::Inline(ByteBuf::from(bytes))
}

/// A well-formed result of `worker`.
pub fn opened(
    worker: PeerId,
    (job, submitter, lease): (JobId, PeerId, LeaseId),
    task: TaskId,
    status: Status,
    output: Output,
) -> Opened {
    let nonce = Hash([7; 32]);
    let output_commit = output_commit(&output.hash(), &nonce.0);
    let leaf = Leaf { task, job, submitter, lease, worker, status, output_commit, fuel: 1234 };
    Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 10 }
}
