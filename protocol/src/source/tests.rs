//! One job alone: what counts, what is acknowledged, what is stored, what survives a restart.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use serde_bytes::ByteBuf;

use super::*;
use crate::{
    id::LeaseId,
    job::{Inputs, Local},
    limits::MAX_INCONCLUSIVE,
    result::{Commit, Leaf, Opened, Output, Reveal, output_commit},
    task::{Limits, PROFILE_V1, Program, Status},
    verify::Policy,
};

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn id(number: u8) -> PeerId {
    key(number).peer_id()
}

/// The submitter's number; workers count from 1.
const ME: u8 = 200;
const JOB: JobId = JobId([5; 32]);

fn manifest(tasks: i64, policy: Policy, local: Local) -> Manifest {
    let program = Program {
        module: Hash::of(b"module"),
        module_len: 6,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([1; 32]),
    };
    Manifest {
        name: "test".into(),
        program,
        inputs: Inputs::Range { from: 0, to: tasks },
        policy,
        local,
        provisional: false,
        audience: crate::job::Audience::Anyone,
        confidential: false,
        delegate: None,
    }
}

/// What a worker says of a task.
#[derive(Clone)]
enum Said {
    /// These bytes.
    Bytes(&'static [u8]),
    /// A long output of these bytes' digest.
    Long(&'static [u8]),
    Failed,
}

/// A job with its disk and everything it did.
struct Bench {
    source: Source,
    standings: Standings,
    now: Timestamp,
    disk: BTreeMap<Key, Record>,
    /// How often a settlement was stored, by task.
    settled: BTreeMap<TaskIndex, u32>,
    /// What each worker was leased last, by task.
    leases: BTreeMap<(PeerId, TaskId), LeaseId>,
    /// Leased in this order.
    handed: Vec<(PeerId, TaskId)>,
    acks: Vec<(PeerId, u64)>,
    over: Vec<PeerId>,
    fetches: Vec<(Hash, PeerId)>,
    violations: Vec<(PeerId, &'static str)>,
    sequence: u64,
}

impl Bench {
    fn new(tasks: i64, policy: Policy, local: Local) -> Self {
        let now = Timestamp(1_000_000_000);
        let manifest = manifest(tasks, policy, local);
        let entropy = Entropy::new(&[1; 32]);
        let (source, batch) =
            Source::new(key(ME), JOB, Hash([2; 32]), manifest, Config::default(), now, entropy);
        let mut bench = Self {
            source,
            standings: Standings::default(),
            now,
            disk: BTreeMap::new(),
            settled: BTreeMap::new(),
            leases: BTreeMap::new(),
            handed: Vec::new(),
            acks: Vec::new(),
            over: Vec::new(),
            fetches: Vec::new(),
            violations: Vec::new(),
            sequence: 0,
        };
        bench.carry_out(batch);
        bench
    }

    fn step(&mut self, input: Input) {
        let batch = self.source.step(self.now, input, &mut self.standings);
        self.carry_out(batch);
    }

    fn carry_out(&mut self, batch: Batch<Effect>) {
        for change in batch.records {
            match change {
                Change::Put(record) => {
                    if let Record::Decided { task, decision, .. } = &record
                        && matches!(decision.state, State::Final | State::GivenUp)
                    {
                        *self.settled.entry(*task).or_default() += 1;
                    }
                    self.disk.insert(record.key(), record);
                }
                Change::Delete(key) => drop(self.disk.remove(&key)),
            }
        }
        for effect in batch.effects {
            match effect {
                Effect::Send(peer, Frame::Lease(lease)) => {
                    let stored = Key::leased(&JOB, &lease.lease);
                    assert!(self.disk.contains_key(&stored), "a lease is stored before it is sent");
                    for task in lease.tasks {
                        self.leases.insert((peer, task.task), lease.lease);
                        self.handed.push((peer, task.task));
                    }
                }
                Effect::Send(peer, Frame::Ack(ack)) => {
                    ack.check(&id(ME)).expect("acknowledgements are signed");
                    self.acks.push((peer, ack.highest));
                }
                Effect::Send(peer, Frame::Cancel(cancel)) if cancel.tasks.is_empty() => {
                    self.over.push(peer)
                }
                Effect::Send(..) | Effect::Changed => {}
                Effect::Fetch { hash, from, .. } => self.fetches.push((hash, from)),
                Effect::Violation(peer, what) => self.violations.push((peer, what)),
                Effect::Caught { .. } | Effect::Excluded(_) | Effect::Quarantined(_) => {}
                Effect::Hop { .. } | Effect::Reach(_) => {}
            }
        }
    }

    fn join(&mut self, worker: u8, window: u32) {
        self.step(Input::Join { worker: id(worker), slots: 4, prefix: Prefix::default() });
        self.step(Input::Credit { worker: id(worker), tasks: window, below: 0 });
    }

    fn task(&self, task: TaskIndex) -> TaskId {
        self.source.task_id(task).unwrap()
    }

    /// One batch of a worker: what it says of which tasks, under the leases it has.
    fn batch(&mut self, worker: u8, said: &[(TaskIndex, Said)]) -> VerifiedBatch {
        self.sequence += 1;
        let opened: Vec<Opened> =
            said.iter().map(|(task, said)| self.opened(worker, *task, said)).collect();
        let commit = Commit::sign(&key(worker), JOB, self.sequence, &opened);
        let reveal = Reveal { root: commit.root, opened };
        VerifiedBatch::check(commit, reveal, &id(worker), &id(ME)).expect("well formed")
    }

    fn opened(&self, worker: u8, task: TaskIndex, said: &Said) -> Opened {
        let (status, output) = match said {
            Said::Bytes(bytes) => {
                (Status::Exited(0), Output::Inline(ByteBuf::from(bytes.to_vec())))
            }
            Said::Long(bytes) => {
                (Status::Exited(0), Output::Blob { hash: Hash::of(bytes), len: 20_000 })
            }
            Said::Failed => (Status::MemoryRefused, Output::Inline(ByteBuf::new())),
        };
        let task = self.task(task);
        let nonce = Hash([9; 32]);
        let leaf = Leaf {
            task,
            job: JOB,
            submitter: id(ME),
            lease: self.leases.get(&(id(worker), task)).copied().unwrap_or(LeaseId([0; 32])),
            worker: id(worker),
            status,
            output_commit: output_commit(&output.hash(), &nonce.0),
            fuel: 10,
        };
        Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 5 }
    }

    fn say(&mut self, worker: u8, task: TaskIndex, said: Said) -> VerifiedBatch {
        let batch = self.batch(worker, &[(task, said)]);
        self.step(Input::Results { worker: id(worker), batch: batch.clone() });
        batch
    }

    fn again(&mut self, worker: u8, batch: &VerifiedBatch) {
        self.step(Input::Results { worker: id(worker), batch: batch.clone() });
    }

    /// Kills the job and starts it anew from its disk.
    fn restart(&mut self) {
        let (tasks, policy, local) = (
            self.source.tasks.len() as i64,
            self.source.manifest.policy,
            self.source.manifest.local,
        );
        let records = self.disk.values().cloned().collect();
        let manifest = manifest(tasks, policy, local);
        let (config, entropy) = (Config::default(), Entropy::new(&[77; 32]));
        self.source = Source::restore(
            key(ME),
            JOB,
            Hash([2; 32]),
            manifest,
            config,
            self.now,
            entropy,
            records,
            &mut self.standings,
        );
    }

    fn accepted(&self, task: TaskIndex) -> Option<Acceptance> {
        self.source.acceptance(task).cloned()
    }

    fn stored_vote(&self, worker: u8, task: TaskIndex) -> Option<Hash> {
        match self.disk.get(&Key::vote(&JOB, task, &id(worker)))? {
            Record::Vote { proof, .. } => {
                proof.check().expect("a stored vote is proven");
                Some(proof.output)
            }
            _ => None,
        }
    }
}

#[test]
fn a_job_is_handed_out_voted_on_settled_and_over() {
    let mut bench = Bench::new(2, Policy::Vote(2), Local::Never);
    bench.join(1, 8);
    bench.join(2, 8);
    assert_eq!(bench.handed.len(), 4, "both workers get both tasks");
    bench.say(1, 0, Said::Bytes(b"a"));
    bench.say(2, 0, Said::Bytes(b"a"));
    assert_eq!(bench.source.view().settled, 1);
    bench.say(1, 1, Said::Bytes(b"b"));
    assert_eq!(bench.over, []);
    bench.say(2, 1, Said::Bytes(b"b"));
    let view = bench.source.view();
    assert_eq!((view.state, view.settled, view.failed), (JobState::Done, 2, 0));
    assert_eq!(bench.over.len(), 2, "both are told");
    assert_eq!(bench.acks.iter().map(|(_, highest)| *highest).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(!bench.disk.values().any(|record| matches!(record, Record::Leased { .. })));
}

#[test]
fn a_result_for_what_was_never_leased_is_a_violation_and_counts_nothing() {
    let mut bench = Bench::new(2, Policy::None, Local::Never);
    bench.join(1, 1);
    bench.join(2, 0);
    let stored = bench.disk.len();
    let handed = bench.handed[0].1;
    let task = (0..2).find(|task| bench.task(*task) == handed).unwrap();
    // Another worker, and another task than the lease has.
    bench.leases.insert((id(2), handed), bench.leases[&(id(1), handed)]);
    bench.say(2, task, Said::Bytes(b"a"));
    bench.leases.insert((id(1), bench.task(1 - task)), bench.leases[&(id(1), handed)]);
    bench.say(1, 1 - task, Said::Bytes(b"a"));
    // One bad result spoils its batch.
    let batch = bench.batch(1, &[(task, Said::Bytes(b"a")), (1 - task, Said::Bytes(b"a"))]);
    bench.again(1, &batch);
    let what = "a result for a task that was not leased to it";
    assert_eq!(bench.violations, [(id(2), what), (id(1), what), (id(1), what)]);
    assert_eq!((bench.disk.len(), bench.acks.len(), bench.source.view().settled), (stored, 0, 0));
}

#[test]
fn what_a_worker_says_first_stands_in_the_store_too() {
    let mut bench = Bench::new(1, Policy::Vote(2), Local::Never);
    bench.join(1, 4);
    bench.join(2, 4);
    let first = bench.say(1, 0, Said::Bytes(b"first"));
    bench.again(1, &first);
    bench.say(1, 0, Said::Bytes(b"second"));
    let both = bench.batch(1, &[(0, Said::Bytes(b"third")), (0, Said::Long(b"fourth"))]);
    bench.again(1, &both);
    for _ in 0..core::mem::take(&mut bench.fetches).len() {
        bench.step(Input::Blob { hash: Hash::of(b"fourth"), here: true });
    }
    assert_eq!(bench.stored_vote(1, 0), Some(Hash::of(b"first")));
    let returned = bench.source.view().workers.iter().map(|worker| worker.returned).sum::<u64>();
    assert_eq!(returned, 1);
    bench.say(2, 0, Said::Bytes(b"first"));
    assert_eq!(bench.accepted(0).unwrap().outcome.output, Hash::of(b"first"));
    bench.again(1, &first);
    assert_eq!(bench.settled, BTreeMap::from([(0, 1)]));
    assert_eq!(
        bench.acks[bench.acks.len() - 2..],
        [(id(2), 4), (id(1), 3)],
        "each is told of its own"
    );
}

#[test]
fn a_claim_that_comes_with_its_own_contradiction_keeps_the_one_that_came_first() {
    let mut bench = Bench::new(1, Policy::Vote(2), Local::Never);
    bench.join(1, 4);
    let both = bench.batch(1, &[(0, Said::Long(b"long")), (0, Said::Bytes(b"short"))]);
    bench.again(1, &both);
    assert_eq!(bench.stored_vote(1, 0), Some(Hash::of(b"short")), "the long one is not here yet");
    bench.step(Input::Blob { hash: Hash::of(b"long"), here: true });
    assert_eq!(bench.stored_vote(1, 0), Some(Hash::of(b"short")));
}

#[test]
fn a_task_that_nobody_concludes_is_given_up_once_and_for_all() {
    let mut bench = Bench::new(2, Policy::Vote(3), Local::Never);
    for worker in 1..=8 {
        bench.join(worker, 4);
    }
    bench.say(8, 0, Said::Bytes(b"a"));
    let first = bench.say(1, 0, Said::Failed);
    for _ in 0..10 {
        bench.again(1, &first);
    }
    assert_eq!(bench.settled, BTreeMap::new(), "said again, it counts once");
    for worker in 2..=MAX_INCONCLUSIVE as u8 {
        bench.say(worker, 0, Said::Failed);
    }
    let view = bench.source.view();
    assert_eq!((view.state, view.settled, view.failed), (JobState::Running, 1, 1));
    // Late results change nothing, however many there are.
    for worker in 6..=7 {
        bench.say(worker, 0, Said::Bytes(b"a"));
    }
    assert_eq!((bench.accepted(0), &bench.settled), (None, &BTreeMap::from([(0, 1)])));
    bench.step(Input::Cancel);
    // Nothing is left behind when the job is forgotten, before a restart and after it.
    for _ in 0..2 {
        let mut left = bench.disk.clone();
        for key in bench.source.keys() {
            left.remove(&key);
        }
        assert!(left.values().all(|record| matches!(record, Record::Job { .. })), "{left:?}");
        bench.restart();
    }
    assert_eq!((bench.accepted(0), bench.source.view().failed), (None, 1));
}

#[test]
fn a_settled_task_is_not_given_up_by_outputs_that_never_come() {
    let mut bench = Bench::new(2, Policy::None, Local::Never);
    for worker in 1..=7 {
        bench.join(worker, 4);
    }
    let held: Vec<u8> =
        (1..=7).filter(|worker| bench.leases.contains_key(&(id(*worker), bench.task(0)))).collect();
    assert!(held.len() > MAX_INCONCLUSIVE as usize, "{held:?}");
    let outputs: [&[u8]; 6] = [b"1", b"2", b"3", b"4", b"5", b"6"];
    for (worker, output) in held[1..].iter().zip(outputs) {
        bench.say(*worker, 0, Said::Long(output));
    }
    bench.say(held[0], 0, Said::Bytes(b"right"));
    assert_eq!(bench.accepted(0).unwrap().outcome.output, Hash::of(b"right"));
    for (hash, _) in core::mem::take(&mut bench.fetches) {
        bench.step(Input::Blob { hash, here: false });
    }
    assert_eq!(bench.accepted(0).unwrap().outcome.output, Hash::of(b"right"));
    assert_eq!(bench.settled, BTreeMap::from([(0, 1)]));
}

#[test]
fn one_worker_cannot_have_a_task_given_up() {
    let mut bench = Bench::new(1, Policy::None, Local::Never);
    bench.join(1, 4);
    bench.join(2, 4);
    for output in [b"a", b"b", b"c", b"d", b"e", b"f", b"g"] {
        bench.say(1, 0, Said::Long(output));
        for (hash, _) in core::mem::take(&mut bench.fetches) {
            bench.step(Input::Blob { hash, here: false });
        }
    }
    assert_eq!(bench.source.view().state, JobState::Running);
    bench.say(2, 0, Said::Bytes(b"right"));
    assert_eq!(bench.accepted(0).unwrap().agreed, [id(2)]);
}

#[test]
fn a_long_output_is_fetched_before_it_counts_and_before_the_ack() {
    let mut bench = Bench::new(3, Policy::None, Local::Never);
    bench.join(1, 4);
    let said = [(0, Said::Long(b"long")), (1, Said::Bytes(b"short"))];
    let batch = bench.batch(1, &said);
    bench.again(1, &batch);
    assert_eq!(bench.fetches, [(Hash::of(b"long"), id(1))]);
    assert_eq!((bench.source.view().settled, bench.acks.len()), (1, 0));
    // A later batch is complete, but its acknowledgement would cover the one that is not.
    bench.say(1, 2, Said::Bytes(b"c"));
    assert!(bench.acks.iter().all(|(_, highest)| *highest < 1), "{:?}", bench.acks);
    bench.step(Input::Blob { hash: Hash::of(b"long"), here: true });
    assert_eq!(bench.source.view().settled, 3);
    assert_eq!(bench.acks.last(), Some(&(id(1), 2)));
    let stored = bench.disk.get(&Key::heard(&JOB, &id(1)));
    assert!(matches!(stored, Some(Record::Heard { highest: 2, .. })), "{stored:?}");
}

#[test]
fn a_worker_that_leaves_before_its_output_is_fetched_says_it_again() {
    let mut bench = Bench::new(1, Policy::None, Local::Never);
    bench.join(1, 4);
    let batch = bench.say(1, 0, Said::Long(b"long"));
    bench.step(Input::Leave { worker: id(1) });
    bench.join(1, 4);
    bench.again(1, &batch);
    // The answer to the first question is not held against the second.
    bench.step(Input::Blob { hash: Hash::of(b"long"), here: false });
    assert_eq!(bench.fetches, [(Hash::of(b"long"), id(1)); 2]);
    assert_eq!(bench.acks, []);
    bench.step(Input::Blob { hash: Hash::of(b"long"), here: true });
    assert_eq!((bench.source.view().state, bench.acks.len()), (JobState::Done, 1));
}

#[test]
fn who_claims_an_output_and_does_not_deliver_it_spoils_nobodys_vote() {
    let mut bench = Bench::new(1, Policy::Vote(2), Local::Never);
    (1..=3).for_each(|worker| bench.join(worker, 4));
    for worker in 1..=3 {
        bench.say(worker, 0, Said::Long(b"long"));
    }
    let hash = Hash::of(b"long");
    assert_eq!(core::mem::take(&mut bench.fetches), [(hash, id(1))], "one is asked at a time");
    bench.step(Input::Blob { hash, here: false });
    assert_eq!(bench.acks, [(id(1), 1)], "the first has had its chance");
    assert_eq!(bench.fetches, [(hash, id(2))]);
    bench.step(Input::Blob { hash, here: true });
    assert_eq!(bench.accepted(0).unwrap().agreed, [id(2), id(3)]);
}

#[test]
fn an_output_beyond_the_jobs_limit_is_a_violation() {
    let mut bench = Bench::new(1, Policy::None, Local::Never);
    bench.join(1, 4);
    bench.source.manifest.program.limits.output = 19_999;
    bench.say(1, 0, Said::Long(b"long"));
    assert_eq!(bench.violations, [(id(1), "an output longer than the job allows")]);
    assert_eq!(bench.fetches, []);
}

#[test]
fn outputs_that_wait_are_bounded() {
    let mut bench = Bench::new(1, Policy::None, Local::Never);
    bench.join(1, 4);
    let mut said = 0;
    while bench.violations.is_empty() {
        bench.say(1, 0, Said::Long(b"long"));
        said += 1;
        assert!(said < 2000, "no end to what is kept for one worker");
    }
    assert_eq!(bench.fetches.len(), 1);
    assert_eq!(bench.source.awaited.len(), 1);
}

#[test]
fn accepted_results_and_votes_survive_a_restart_and_so_do_leases() {
    let mut bench = Bench::new(4, Policy::Vote(2), Local::Never);
    bench.join(1, 8);
    bench.join(2, 8);
    bench.say(1, 0, Said::Bytes(b"a"));
    bench.say(2, 0, Said::Bytes(b"a"));
    bench.say(1, 1, Said::Bytes(b"b"));
    let under_way = bench.batch(2, &[(1, Said::Bytes(b"b"))]);
    let accepted = bench.accepted(0);
    bench.restart();
    bench.handed.clear();
    assert_eq!((bench.accepted(0), bench.source.view().settled), (accepted, 1));
    bench.again(2, &under_way);
    assert_eq!(bench.violations, []);
    assert_eq!(bench.accepted(1).unwrap().outcome.output, Hash::of(b"b"));
    bench.join(1, 8);
    bench.join(2, 8);
    let voted = [bench.task(0), bench.task(1)];
    assert!(
        bench.handed.iter().all(|(_, task)| !voted.contains(task)),
        "settled tasks are not leased"
    );
    for (worker, task) in [(1, 2), (2, 2), (1, 3), (2, 3)] {
        bench.say(worker, task, Said::Bytes(b"c"));
    }
    assert_eq!(bench.source.view().state, JobState::Done);
    assert_eq!(bench.settled, (0..4).map(|task| (task, 1)).collect());
    assert_eq!(bench.acks.last(), Some(&(id(2), bench.sequence)));
}

#[test]
fn a_task_whose_settlement_was_lost_with_its_votes_stored_is_settled_at_the_restart() {
    let mut bench = Bench::new(1, Policy::Vote(2), Local::Never);
    bench.join(1, 8);
    bench.join(2, 8);
    bench.say(1, 0, Said::Bytes(b"a"));
    bench.say(2, 0, Said::Bytes(b"a"));
    assert!(bench.disk.remove(&Key::decided(&JOB, 0)).is_some());
    for record in bench.disk.values_mut() {
        if let Record::Job { state, ended, .. } = record {
            (*state, *ended) = (JobState::Running, None);
        }
    }
    bench.restart();
    assert_eq!((bench.source.view().state, bench.source.view().settled), (JobState::Done, 1));
    assert_eq!(bench.accepted(0).unwrap().outcome.output, Hash::of(b"a"));
}

#[test]
fn a_cancelled_job_takes_nothing_more_in_and_leaves_nothing_behind() {
    let mut bench = Bench::new(3, Policy::Vote(2), Local::Never);
    bench.join(1, 4);
    bench.join(2, 4);
    bench.say(1, 0, Said::Bytes(b"a"));
    bench.step(Input::Cancel);
    assert_eq!(bench.over.len(), 2);
    bench.over.clear();
    let stored = bench.disk.len();
    bench.say(2, 0, Said::Bytes(b"a"));
    bench.say(2, 1, Said::Long(b"long"));
    assert_eq!((bench.over.as_slice(), bench.fetches.as_slice()), (&[id(2), id(2)][..], &[][..]));
    assert_eq!(
        (bench.disk.len(), bench.source.view().settled),
        (stored + 1, 0),
        "only that it was heard"
    );
    bench.step(Input::Join { worker: id(3), slots: 1, prefix: Prefix::default() });
    assert_eq!(bench.over.last(), Some(&id(3)));
    for key in bench.source.keys() {
        bench.disk.remove(&key);
    }
    assert_eq!(bench.disk.len(), 1, "only the job itself: {:?}", bench.disk);
}

#[test]
fn reserve_steps_in_after_the_patience_time_and_only_where_peers_are_too_few() {
    let second = Duration::from_secs(1);
    let mut bench = Bench::new(2, Policy::Vote(2), Local::Reserve);
    bench.join(ME, 0);
    bench.join(1, 4);
    assert!(bench.handed.iter().all(|(peer, _)| *peer == id(1)));
    for _ in 0..29 {
        bench.now = bench.now + second;
        bench.step(Input::Tick);
    }
    assert!(!bench.source.works_with(&id(ME)));
    // A second peer is there for a moment: patience begins anew.
    bench.join(2, 4);
    bench.now = bench.now + second;
    bench.step(Input::Tick);
    bench.step(Input::Leave { worker: id(2) });
    let gone = bench.now;
    while !bench.source.works_with(&id(ME)) {
        let (at, _) = bench.source.next_wake().expect("it waits for something");
        assert!(at > bench.now, "a wake that lies behind");
        bench.now = at;
        bench.step(Input::Tick);
        assert!(bench.now < gone + second * 40, "own slots never came");
    }
    assert!(bench.now >= gone + second * 30, "own slots came after {:?}", bench.now.since(gone));
}

#[test]
fn equal_inputs_are_one_task() {
    let mut manifest = manifest(0, Policy::None, Local::Never);
    let input = |byte: u8| crate::task::Input::Inline(ByteBuf::from(vec![byte]));
    manifest.inputs = Inputs::List(vec![input(1), input(2), input(1)]);
    let (config, entropy) = (Config::default(), Entropy::new(&[1; 32]));
    let (source, _) =
        Source::new(key(ME), JOB, Hash([2; 32]), manifest, config, Timestamp(0), entropy);
    let view = source.view();
    assert_eq!((view.inputs, view.tasks), (3, 2));
    assert_eq!([0, 1, 2, 3].map(|place| source.task_at(place)), [Some(0), Some(1), Some(0), None]);
    assert_eq!(source.places_of(0), [0, 2]);
}

/// A large job whose cost for each result must not grow with its size: looking at every task at
/// every result would take minutes here. One of two workers leaves half-way, so that tasks are
/// starved for the rest.
#[test]
fn a_large_job_costs_each_result_the_same() {
    let mut bench = Bench::new(20_000, Policy::Vote(2), Local::Reserve);
    bench.join(ME, 0);
    bench.join(1, 1024);
    bench.join(2, 1024);
    let mut said = 0;
    while let Some((peer, task)) = bench.handed.first().copied() {
        let worker = if peer == id(1) { 1 } else { 2 };
        let mine = bench.handed.iter().filter(|(of, _)| *of == peer).map(|(_, task)| *task);
        let tasks: Vec<TaskId> = mine.take(64).collect();
        assert_eq!(tasks[0], task);
        bench.handed.retain(|(of, task)| *of != peer || !tasks.contains(task));
        let said_of: Vec<(TaskIndex, Said)> =
            tasks.iter().map(|task| (bench.source.by_id[task], Said::Bytes(b"a"))).collect();
        let batch = bench.batch(worker, &said_of);
        bench.now = bench.now + Duration::from_millis(1);
        bench.again(worker, &batch);
        bench.source.next_wake();
        bench.source.view();
        said += tasks.len();
        if worker == 2 && said > 20_000 {
            bench.step(Input::Leave { worker: id(2) });
            bench.handed.retain(|(of, _)| *of == id(1));
        }
    }
    let view = bench.source.view();
    assert!(view.settled > 5_000 && view.waiting.is_some(), "{view:?}");
}
