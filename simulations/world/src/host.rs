//! One peer with its disk, its line, its engine, and what it is up to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bayan_cast::{Claim, Conduct, Forger, Passing, Role, Word};
use bayan_protocol::{
    crypto::Keypair,
    delegate::{self, Accept},
    id::{Hash, PeerId},
    peer::Peer,
    record::Record,
    result::Commit,
    standing::Standing,
    time::Timestamp,
    wire::Frame,
};

use crate::{MS, disk::Disk, network::Line};

/// Batches of a host that can be sent again.
pub(crate) const KEPT: usize = 32;

/// What a host is when it joins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Tasks computed at once.
    pub slots: u32,
    /// Virtual microseconds a task, on average.
    pub pace: u64,
    /// What it is up to.
    pub role: Role,
    /// Whether it hands work on.
    pub relays: bool,
    /// How it does so.
    pub passing: Passing,
    /// Its way into the network.
    pub line: Line,
    /// Attempts in a million that its engine cannot finish.
    pub fails: u64,
    /// What it sends is counted under this.
    pub group: u32,
    /// Whose delegate it is.
    pub delegate_for: Accept,
    /// How long a submitter is away before it carries its jobs on.
    pub carries_after: Duration,
    /// What its word as a delegate is worth.
    pub word: Word,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            slots: 1,
            pace: 20 * MS,
            role: Role::Honest,
            relays: false,
            passing: Passing::Honest,
            line: Line::default(),
            fails: 0,
            group: 0,
            delegate_for: Accept::default(),
            carries_after: delegate::Config::default().after,
            word: Word::Honest,
        }
    }
}

/// One peer.
pub struct Host {
    pub(crate) key: Keypair,
    pub(crate) machine: Option<Peer>,
    /// How often it has started: what belongs to an earlier life does not reach this one.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) blobs: BTreeMap<Hash, Arc<[u8]>>,
    pub(crate) plan: Plan,
    /// Whether it still runs but nothing goes in or out.
    pub(crate) frozen: bool,
    /// Until when it sleeps.
    pub(crate) asleep: Option<Timestamp>,
    pub(crate) conduct: Conduct,
    pub(crate) forger: Forger,
    /// Attempts under way and since when, with the answers of those that nothing is computed for.
    pub(crate) running: BTreeMap<u64, (Timestamp, Option<Claim>)>,
    /// Its latest commits, and its latest batches with whom they were sent to.
    commits: VecDeque<Commit>,
    pub(crate) batches: VecDeque<(PeerId, [Frame; 2])>,
    /// What it knew of others when it last crashed.
    pub(crate) knew: Vec<(PeerId, Standing)>,
    /// Blobs on their way here, and those that wait for their turn: which, of what length, from whom.
    pub(crate) fetching: usize,
    pub(crate) to_fetch: VecDeque<(Hash, u64, PeerId)>,
    /// The tick that is scheduled.
    pub(crate) wake: Option<Timestamp>,
    /// Ticks in a row after which something was still due.
    pub(crate) restless: u32,
    /// Peers that it closed the connection with for breaking the protocol.
    pub closed: Vec<PeerId>,
    /// What they did.
    pub reasons: Vec<String>,
    /// Peers that it ever stored a ban of.
    pub banned: BTreeSet<PeerId>,
    /// How often it knew something else of others after a restart than before.
    pub forgot: u32,
    /// When it first began to compute something.
    pub begun: Option<Timestamp>,
    /// Frames that it sent, and their bytes.
    pub sent: (u64, u64),
    /// Attempts of its that ended.
    pub ended: u64,
    /// How often it lost records that it had written.
    pub powerless: u32,
}

impl Host {
    pub(crate) fn new(plan: Plan, secret: [u8; 32]) -> Self {
        Self {
            key: Keypair::from_seed(&secret),
            machine: None,
            life: 0,
            disk: Disk::default(),
            blobs: BTreeMap::new(),
            frozen: false,
            asleep: None,
            conduct: Conduct::new(plan.role.clone(), secret),
            forger: Forger::new(&plan.role, &secret),
            plan,
            running: BTreeMap::new(),
            commits: VecDeque::new(),
            batches: VecDeque::new(),
            knew: Vec::new(),
            fetching: 0,
            to_fetch: VecDeque::new(),
            wake: None,
            restless: 0,
            closed: Vec::new(),
            reasons: Vec::new(),
            banned: BTreeSet::new(),
            forgot: 0,
            powerless: 0,
            begun: None,
            sent: (0, 0),
            ended: 0,
        }
    }

    /// Comes back as somebody else, who knows nothing.
    pub(crate) fn become_another(&mut self, secret: [u8; 32]) {
        self.key = Keypair::from_seed(&secret);
        self.forger = Forger::new(&self.plan.role, &secret);
        self.conduct = Conduct::new(self.plan.role.clone(), secret);
        self.disk.wipe();
        self.knew.clear();
        self.commits.clear();
        self.batches.clear();
    }

    /// Remembers a batch, to be sent again.
    pub(crate) fn keep(&mut self, to: &PeerId, frame: &Frame) {
        match frame {
            Frame::Commit(commit) => self.commits.push_front(commit.clone()),
            Frame::Reveal(reveal) => {
                let commit = self.commits.iter().find(|commit| commit.root == reveal.root);
                if let Some(commit) = commit.cloned() {
                    self.batches.push_front((*to, [Frame::Commit(commit), frame.clone()]));
                }
            }
            _ => {}
        }
        self.commits.truncate(KEPT);
        self.batches.truncate(KEPT);
    }

    /// Ends what runs, as `kill -9` does; the disk stays.
    pub(crate) fn stop(&mut self) {
        if let Some(machine) = self.machine.take() {
            self.knew = known(&machine);
        }
        self.running.clear();
        self.fetching = 0;
        self.to_fetch.clear();
        self.wake = None;
        self.asleep = None;
    }

    /// What it knew of others when it stopped is what its disk says.
    pub(crate) fn know_what_is_stored(&mut self) {
        let standing = |record: &Record| match record {
            Record::Standing { peer, standing } => Some((*peer, standing.clone())),
            _ => None,
        };
        self.knew = self.disk.records().filter_map(standing).collect();
    }

    /// What it is up to.
    pub fn role(&self) -> &Role {
        &self.plan.role
    }

    /// What it is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its records.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

/// What a machine knows of others.
pub(crate) fn known(machine: &Peer) -> Vec<(PeerId, Standing)> {
    machine.standings().iter().map(|(peer, standing)| (*peer, standing.clone())).collect()
}
