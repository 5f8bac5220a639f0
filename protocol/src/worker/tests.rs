//! The worker alone: when it computes, when it speaks, what it keeps over a crash.

mod restart;

use alloc::{collections::BTreeMap, vec, vec::Vec};

use serde_bytes::ByteBuf;

use super::*;
use crate::{
    crypto::Signature,
    id::LeaseId,
    limits::{
        BATCH_CLOSE, GATHER, MAX_FOREIGN_JOBS, MAX_JOB_TASKS, MAX_LEASE_TASKS, MAX_UNACKED_BATCHES,
        SLOW_ACK,
    },
    path::Hop,
    record::{Change, Key},
    result::{Commit, Ended, Output, Reveal, VerifiedBatch},
    task::{Input as TaskInput, Limits, PROFILE_V1, Status},
    wire::{LeasedTask, Reason},
};

const MS: Duration = Duration::from_millis(1);

fn source(number: u8) -> PeerId {
    PeerId([number; 32])
}

fn job(number: u8) -> JobId {
    JobId([number; 32])
}

fn program(salt: u8) -> Program {
    Program {
        module: Hash::of(b"module"),
        module_len: 6,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([salt; 32]),
    }
}

fn leased(program: &Program, input: TaskInput) -> LeasedTask {
    LeasedTask { task: program.task_id(&input.hash()), input }
}

fn number_input(number: u16) -> TaskInput {
    TaskInput::Inline(ByteBuf::from(number.to_le_bytes().to_vec()))
}

/// A lease of source `from`, its own job of that number, and tasks of consecutive numbers.
fn lease(from: u8, of: u8, name: u16, tasks: core::ops::Range<u16>) -> Lease {
    let program = program(of);
    let mut id = [0; 32];
    id[..2].copy_from_slice(&name.to_le_bytes());
    Lease {
        lease: LeaseId(id),
        job: job(of),
        submitter: source(from),
        tasks: tasks.map(|number| leased(&program, number_input(number))).collect(),
        program,
        lasts_ms: 30_000,
        path: vec![hop(from, LeaseId(id))],
        share: 0,
    }
}

/// A hop as it is handed to the machine, which does not look at signatures.
fn hop(giver: u8, lease: LeaseId) -> Hop {
    Hop { giver: source(giver), lease, root: Hash([0; 32]), signature: Signature([0; 64]) }
}

/// A source's word, as it is handed to the machine, which does not look at signatures.
fn ack(peer: PeerId, job: JobId, highest: u64) -> Input {
    let (root, signature) = (Hash([0; 32]), Signature([0; 64]));
    Input::Ack { peer, ack: Ack { job, root, highest, signature } }
}

/// A worker with its disk and everything it did.
struct Bench {
    worker: Worker,
    slots: u32,
    now: Timestamp,
    disk: BTreeMap<Key, Record>,
    /// Attempts under way, oldest first.
    running: Vec<(u64, TaskId)>,
    runs: Vec<TaskId>,
    sent: Vec<(PeerId, Frame)>,
    violations: Vec<&'static str>,
    fetches: Vec<(Hash, PeerId)>,
}

impl Bench {
    fn new(slots: u32) -> Self {
        Self {
            worker: Self::worker(slots, 1),
            slots,
            now: Timestamp(1_000_000_000),
            disk: BTreeMap::new(),
            running: Vec::new(),
            runs: Vec::new(),
            sent: Vec::new(),
            violations: Vec::new(),
            fetches: Vec::new(),
        }
    }

    fn worker(slots: u32, seed: u8) -> Worker {
        let lending = Lending {
            relays: false,
            slots,
            memory: 1 << 30,
            accept: offer::Accept::All,
            profiles: vec![PROFILE_V1.into()],
        };
        Worker::new(Keypair::from_seed(&[100; 32]), lending, Entropy::new(&[seed; 32]))
    }

    /// A worker to which `sources` have offered a job each, with the module at hand.
    fn ready(slots: u32, sources: u8) -> Self {
        let mut bench = Self::new(slots);
        for number in 1..=sources {
            bench.up(number);
        }
        bench
    }

    fn up(&mut self, number: u8) {
        self.step(Input::Up { peer: source(number), proximity: offer::Proximity::Lan });
        self.is_offered(number, job(number));
    }

    fn is_offered(&mut self, number: u8, job: JobId) {
        let offer = Offer {
            job,
            submitter: source(number),
            profile: PROFILE_V1.into(),
            memory: 1,
            hops: 0,
        };
        self.step(Input::Offer { peer: source(number), offer });
    }

    fn step(&mut self, input: Input) {
        let batch = self.worker.step(self.now, input);
        self.carry_out(batch);
    }

    fn carry_out(&mut self, batch: Batch<Effect>) {
        for change in batch.records {
            match change {
                Change::Put(record) => drop(self.disk.insert(record.key(), record)),
                Change::Delete(key) => drop(self.disk.remove(&key)),
            }
        }
        for effect in batch.effects {
            match effect {
                Effect::Send(peer, frame) => self.sent.push((peer, frame)),
                Effect::Fetch { hash, from, .. } => self.fetches.push((hash, from)),
                Effect::Run { attempt, task, .. } => {
                    assert!(!self.worker.paused, "a paused worker starts nothing");
                    self.running.push((attempt, task));
                    self.runs.push(task);
                }
                Effect::Kill(attempt) => self.running.retain(|(running, _)| *running != attempt),
                Effect::Violation(_, what) => self.violations.push(what),
                Effect::HandOn(..) | Effect::Parted(..) | Effect::Reach(_) | Effect::Hop { .. } => {
                }
            }
        }
        assert!(self.running.len() <= self.slots as usize);
    }

    /// Everything that was asked for is here.
    fn fetch(&mut self) {
        for (hash, _) in core::mem::take(&mut self.fetches) {
            self.step(Input::Blob { hash, here: true });
        }
    }

    fn lease(&mut self, lease: Lease) {
        let peer = lease.path.last().unwrap().giver;
        self.step(Input::Lease { peer, lease, hand_on: false });
        self.fetch();
    }

    /// The attempt begun first ends.
    fn execute(&mut self) {
        let (attempt, task) = self.running.remove(0);
        self.executed(attempt, &task);
    }

    fn executed(&mut self, attempt: u64, task: &TaskId) {
        self.step(Input::Executed(Ended {
            attempt,
            status: Status::Exited(0),
            output: Output::Inline(ByteBuf::from(task.0.to_vec())),
            fuel: 10,
            log: Vec::new(),
            micros: 1000,
        }));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(Input::Tick);
    }

    /// The batches sent since the last call, in order, each checked as a submitter checks it.
    fn batches(&mut self) -> Vec<VerifiedBatch> {
        let mut batches = Vec::new();
        let mut commits: Vec<(PeerId, Commit)> = Vec::new();
        for (peer, frame) in core::mem::take(&mut self.sent) {
            match frame {
                Frame::Commit(commit) => commits.push((peer, commit)),
                Frame::Reveal(reveal) => {
                    let at =
                        commits.iter().position(|(to, one)| *to == peer && one.root == reveal.root);
                    let (_, commit) = commits.remove(at.expect("a reveal follows its commit"));
                    batches.push(Self::check(commit, reveal, &peer));
                }
                _ => {}
            }
        }
        assert_eq!(commits, [], "a commit without a reveal");
        batches
    }

    fn check(commit: Commit, reveal: Reveal, peer: &PeerId) -> VerifiedBatch {
        let worker = Keypair::from_seed(&[100; 32]).peer_id();
        VerifiedBatch::check(commit, reveal, &worker, peer).expect("an honest batch")
    }

    fn credit(&self, number: u8) -> Option<u32> {
        let mut credits = self.sent.iter().rev().filter_map(|(peer, frame)| match frame {
            Frame::Credit(credit) if *peer == source(number) => Some(credit.tasks),
            _ => None,
        });
        credits.next()
    }
}

fn sizes(batches: &[VerifiedBatch]) -> Vec<usize> {
    batches.iter().map(|batch| batch.opened().len()).collect()
}

#[test]
fn a_batch_closes_when_it_is_full() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..200));
    for _ in 0..63 {
        bench.execute();
    }
    assert_eq!(sizes(&bench.batches()), []);
    bench.execute();
    assert_eq!(sizes(&bench.batches()), [64]);
}

#[test]
fn a_batch_closes_at_its_age() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..200));
    bench.pass(MS); // renews, so that only the batch is left to wake for
    let begun = bench.now;
    bench.execute();
    assert_eq!(bench.worker.next_wake(), Some((begun + BATCH_CLOSE, "batch close")));
    bench.pass(BATCH_CLOSE - MS);
    bench.execute();
    assert_eq!(sizes(&bench.batches()), []);
    bench.pass(MS);
    assert_eq!(sizes(&bench.batches()), [2]);
}

/// Over a slow link results share a signature and a path instead of following each other alone.
#[test]
fn where_acknowledgements_are_slow_a_batch_waits_while_another_is_on_its_way() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..200));
    let one = |bench: &mut Bench| {
        bench.execute();
        bench.pass(BATCH_CLOSE);
        let batches = bench.batches();
        assert_eq!(sizes(&batches), [1]);
        ack(source(1), job(1), batches[0].commit().sequence)
    };
    let first = one(&mut bench);
    bench.pass(SLOW_ACK / 2);
    bench.step(first);
    let (second, third) = (one(&mut bench), one(&mut bench));
    bench.pass(SLOW_ACK);
    bench.step(second);
    for _ in 0..4 {
        bench.execute();
        bench.pass(BATCH_CLOSE * 2);
    }
    assert_eq!(sizes(&bench.batches()), [], "the third is not acknowledged");
    bench.step(third);
    assert_eq!(sizes(&bench.batches()), [4]);
    bench.execute();
    bench.pass(GATHER);
    assert_eq!(sizes(&bench.batches()), [1], "no longer than that");
}

#[test]
fn a_batch_closes_when_a_slot_would_be_idle() {
    let mut bench = Bench::ready(2, 1);
    bench.lease(lease(1, 1, 1, 0..3));
    bench.execute();
    assert_eq!(sizes(&bench.batches()), [], "both slots are busy");
    bench.execute();
    assert_eq!(sizes(&bench.batches()), [2], "one slot is empty");
    bench.execute();
    assert_eq!(sizes(&bench.batches()), [1]);
}

#[test]
fn a_pause_kills_and_gives_credit_back_and_the_killed_begin_anew() {
    let mut bench = Bench::ready(2, 1);
    bench.lease(lease(1, 1, 1, 0..5));
    let killed = bench.running.clone();
    bench.execute();
    bench.step(Input::Pause);
    assert_eq!(bench.running, []);
    assert_eq!(bench.credit(1), Some(0));
    assert_eq!(sizes(&bench.batches()), [1], "what is done is said at once");
    bench.executed(killed[1].0, &killed[1].1);
    bench.lease(lease(1, 1, 2, 5..9));
    bench.pass(MS);
    assert_eq!(sizes(&bench.batches()), [], "a killed attempt says nothing");
    let begun = bench.runs.len();
    bench.step(Input::Resume);
    assert!(bench.credit(1).is_some_and(|tasks| tasks > 0));
    while !bench.running.is_empty() {
        bench.execute();
    }
    let again: Vec<TaskId> = bench.runs[begun..].to_vec();
    assert_eq!(again[0], killed[1].1, "the killed one first");
    assert_eq!(again.len(), 8);
    assert_eq!(sizes(&bench.batches()).iter().sum::<usize>(), 8);
}

#[test]
fn what_is_not_acknowledged_is_said_again_in_order() {
    let mut bench = Bench::ready(1, 1);
    for number in 0..4 {
        bench.lease(lease(1, 1, number, number..number + 1));
        bench.execute();
    }
    let said = bench.batches();
    assert_eq!(sizes(&said), [1, 1, 1, 1]);
    let sequences: Vec<u64> = said.iter().map(|batch| batch.commit().sequence).collect();
    assert!(sequences.is_sorted());
    assert_eq!(bench.disk.len(), 4, "four batches, no lease: {:?}", bench.disk.keys());
    bench.step(ack(source(1), job(1), sequences[1]));
    assert_eq!(bench.disk.len(), 2);
    // Nobody else's word counts.
    bench.step(ack(source(2), job(1), u64::MAX));
    assert_eq!(bench.disk.len(), 2);
    bench.step(Input::Down { peer: source(1) });
    bench.up(1);
    assert_eq!(bench.batches(), said[2..]);
    bench.step(ack(source(1), job(1), u64::MAX));
    assert!(bench.disk.is_empty());
}

#[test]
fn results_for_a_source_that_is_away_are_kept_and_no_more_than_bounds_allow() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..512));
    bench.step(Input::Down { peer: source(1) });
    while !bench.running.is_empty() {
        bench.pass(BATCH_CLOSE);
        bench.execute();
    }
    assert_eq!(bench.batches(), []);
    let kept = bench.disk.values().filter(|record| matches!(record, Record::Batch { .. })).count();
    assert!((MAX_UNACKED_BATCHES..MAX_UNACKED_BATCHES + 2).contains(&kept), "{kept}");
    bench.up(1);
    assert_eq!(bench.batches().len(), kept);
}

#[test]
fn a_lease_that_breaks_a_rule_is_a_violation() {
    let good = || lease(1, 1, 1, 0..3);
    let giver = Keypair::from_seed(&[100; 32]).peer_id();
    let (mut renamed, mut foreign, mut looped) = (good(), good(), good());
    renamed.tasks[1].task = TaskId([7; 32]);
    foreign.submitter = source(2);
    let mine = Hop { giver, ..hop(1, looped.lease) };
    looped.path = vec![hop(1, looped.lease), mine, hop(1, looped.lease)];
    let (mut twice, mut detour, mut other) = (good(), good(), good());
    twice.tasks.push(twice.tasks[0].clone());
    detour.path = vec![hop(1, detour.lease), hop(2, detour.lease)];
    other.program.args.push("x".into());
    let refused = [
        (renamed, "a lease whose task ids are not its tasks'"),
        (foreign, "a lease with an impossible path"),
        (looped, "a lease with an impossible path"),
        (detour, "a lease with an impossible path"),
        (twice, "a lease or task that is given twice"),
    ];
    let mut bench = Bench::ready(1, 1);
    for (lease, what) in refused {
        bench.step(Input::Lease { peer: source(1), lease, hand_on: false });
        assert_eq!(core::mem::take(&mut bench.violations), [what]);
    }
    assert!(
        bench.disk.is_empty() && bench.fetches.is_empty(),
        "nothing is done for a lease like that"
    );
    bench.lease(good());
    bench.lease(good());
    assert_eq!(core::mem::take(&mut bench.violations), ["a lease or task that is given twice"]);
    other.lease = LeaseId([9; 32]);
    other.path[0].lease = other.lease;
    for task in &mut other.tasks {
        task.task = other.program.task_id(&task.input.hash());
    }
    bench.lease(other);
    assert_eq!(core::mem::take(&mut bench.violations), ["a lease whose program is not its job's"]);
}

#[test]
fn more_than_credit_allows_is_a_violation() {
    let mut bench = Bench::ready(1, 1);
    for number in 0..4 {
        bench.lease(lease(1, 1, number, number * 512..(number + 1) * 512));
    }
    assert_eq!(bench.violations, [""; 0]);
    bench.lease(lease(1, 1, 9, 5000..5512));
    assert_eq!(bench.violations, ["more tasks than credit was given for"]);
}

#[test]
fn a_source_that_comes_and_goes_is_never_blamed_for_what_it_gave_before() {
    let mut bench = Bench::ready(1, 1);
    for round in 0..10_u16 {
        for half in 0..2 {
            let first = round * 1024 + half * 512;
            bench.lease(lease(1, 1, round * 2 + half, first..first + 512));
        }
        bench.step(Input::Down { peer: source(1) });
        bench.up(1);
        assert!(bench.worker.load().queued <= 2 * u64::from(MAX_CREDIT));
    }
    assert_eq!(bench.violations, [""; 0]);
}

#[test]
fn a_cancelled_task_is_dropped_and_a_cancelled_job_forgotten() {
    let mut bench = Bench::ready(1, 2);
    bench.lease(lease(1, 1, 1, 0..4));
    bench.lease(lease(2, 2, 2, 0..1));
    bench.execute();
    let tasks: Vec<TaskId> = lease(1, 1, 1, 0..4).tasks.iter().map(|task| task.task).collect();
    let some = Cancel { job: job(1), tasks: vec![tasks[1], tasks[2]] };
    // Another source's cancel reaches nothing.
    bench.step(Input::Cancel { peer: source(2), cancel: some.clone() });
    assert_eq!(bench.worker.load().queued, 3);
    bench.step(Input::Cancel { peer: source(1), cancel: some });
    bench
        .step(Input::Cancel { peer: source(1), cancel: Cancel { job: job(1), tasks: Vec::new() } });
    let left: Vec<&Record> = bench.disk.values().collect();
    assert!(matches!(left[..], [Record::Held { source: of, .. }] if *of == source(2)), "{left:?}");
    while !bench.running.is_empty() {
        bench.execute();
    }
    for cancelled in &tasks[1..] {
        let begun = bench.runs.iter().filter(|task| *task == cancelled).count();
        assert!(begun <= 1, "a dropped task was begun again");
    }
    assert_eq!(bench.credit(1), Some(0), "no offer of that source stands");
}

#[test]
fn sources_take_turns_and_so_do_the_jobs_of_one() {
    let mut bench = Bench::ready(1, 2);
    bench.is_offered(1, job(3));
    bench.lease(lease(1, 1, 1, 0..20));
    bench.lease(lease(1, 3, 2, 0..20));
    bench.lease(lease(2, 2, 3, 0..20));
    let of = |of: u8| -> Vec<TaskId> {
        lease(1, of, 1, 0..20).tasks.iter().map(|task| task.task).collect()
    };
    let jobs = [of(1), of(2), of(3)];
    for _ in 0..40 {
        bench.execute();
    }
    // The first ran alone before the second source came; after it each turn alternates.
    let turns: Vec<usize> = bench.runs[1..41]
        .iter()
        .map(|task| jobs.iter().position(|job| job.contains(task)).unwrap())
        .collect();
    let count = |job: usize| turns.iter().filter(|turn| **turn == job).count();
    assert_eq!((count(0) + count(2), count(1)), (20, 20), "{turns:?}");
    assert!(count(0).abs_diff(count(2)) <= 1, "{turns:?}");
}

#[test]
fn a_source_that_does_not_deliver_a_blob_spoils_its_own_tasks_only() {
    let mut bench = Bench::ready(1, 2);
    bench.step(Input::Lease { peer: source(1), lease: lease(1, 1, 1, 0..2), hand_on: false });
    bench.step(Input::Lease { peer: source(2), lease: lease(2, 2, 2, 0..2), hand_on: false });
    let module = Hash::of(b"module");
    assert_eq!(core::mem::take(&mut bench.fetches), [(module, source(1))], "asked for once");
    bench.step(Input::Blob { hash: module, here: false });
    let failed = bench.batches();
    assert_eq!(sizes(&failed), [2]);
    assert!(failed[0].opened().iter().all(|one| one.leaf.status == Status::HostFault));
    assert_eq!(core::mem::take(&mut bench.fetches), [(module, source(2))]);
    bench.step(Input::Blob { hash: module, here: true });
    assert_eq!(bench.running.len(), 1);
    // A blob that nobody asked for changes nothing.
    bench.step(Input::Blob { hash: module, here: false });
    bench.step(Input::Blob { hash: Hash([3; 32]), here: true });
    while !bench.running.is_empty() {
        bench.execute();
    }
    assert!(bench.batches().iter().all(|batch| batch.opened()[0].leaf.status == Status::Exited(0)));
    assert_eq!(bench.worker.here.len(), 1);
    for number in 1..=2 {
        let cancel = Cancel { job: job(number), tasks: Vec::new() };
        bench.step(Input::Cancel { peer: source(number), cancel });
    }
    assert_eq!(bench.worker.here.len(), 0, "no job needs any blob");
}

#[test]
fn jobs_that_are_over_make_room_for_new_ones() {
    let mut bench = Bench::ready(1, 2);
    for number in 0..u16::try_from(MAX_FOREIGN_JOBS).unwrap() + 40 {
        let from = 1 + u8::from(number % 2 == 0);
        let mut one = lease(from, 1, number, 0..1);
        one.job.0[..2].copy_from_slice(&number.to_le_bytes());
        let of = one.job;
        bench.is_offered(from, of);
        bench.lease(one);
        bench.execute();
        bench.step(ack(source(from), of, u64::MAX));
    }
    assert!(!bench.sent.iter().any(|(_, frame)| matches!(frame, Frame::Refuse(_))));
    assert!(bench.worker.jobs.len() <= MAX_FOREIGN_JOBS);
    bench.step(Input::Down { peer: source(1) });
    bench.step(Input::Down { peer: source(2) });
    assert_eq!(bench.worker.jobs.len(), 0, "nothing is owed to a source that is gone");
}

#[test]
fn leases_are_renewed_until_their_tasks_are_delivered() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..2));
    bench.pass(MS);
    let renewed = |bench: &Bench| {
        bench.sent.iter().filter(|(_, frame)| matches!(frame, Frame::Renew(_))).count()
    };
    assert_eq!(renewed(&bench), 1);
    bench.pass(RENEW - MS);
    assert_eq!(renewed(&bench), 1);
    bench.pass(MS);
    assert_eq!(renewed(&bench), 2);
    bench.execute();
    bench.execute();
    bench.pass(RENEW);
    assert_eq!(renewed(&bench), 2, "nothing is held any more");
}

#[test]
fn an_offer_that_the_operator_does_not_take_is_refused_by_reason() {
    let mut bench = Bench::ready(1, 1);
    let offer = |profile: &str, memory| Offer {
        job: job(5),
        submitter: source(1),
        profile: profile.into(),
        memory,
        hops: 0,
    };
    bench.sent.clear();
    for (offer, reason) in
        [(offer("other", 1), Reason::Profile), (offer(PROFILE_V1, 1 << 40), Reason::Memory)]
    {
        bench.step(Input::Offer { peer: source(1), offer });
        let (_, frame) = bench.sent.pop().unwrap();
        assert!(
            matches!(frame, Frame::Refuse(refuse) if refuse.reason == reason && refuse.job == Some(job(5)))
        );
    }
    let mut dear = lease(1, 1, 1, 0..1);
    dear.program.limits.memory = 1 << 40;
    bench.lease(dear);
    assert!(bench.running.is_empty() && bench.disk.is_empty());
}

#[test]
fn a_lease_of_the_largest_size_is_taken_whole() {
    let mut bench = Bench::ready(2, 1);
    bench.lease(lease(1, 1, 1, 0..u16::try_from(MAX_LEASE_TASKS).unwrap()));
    assert_eq!(bench.worker.load().queued, MAX_LEASE_TASKS as u64 - 2);
}

#[test]
fn results_outlast_the_work_of_a_source_that_is_away() {
    let mut bench = Bench::ready(1, 1);
    bench.lease(lease(1, 1, 1, 0..20));
    bench.execute();
    bench.execute();
    bench.step(Input::Down { peer: source(1) });
    bench.pass(Duration::from_secs(3700));
    let stored = |bench: &Bench| {
        let batches = bench.disk.values().filter(|one| matches!(one, Record::Batch { .. })).count();
        let held = bench.disk.values().filter(|one| matches!(one, Record::Held { .. })).count();
        (batches, held)
    };
    while !bench.running.is_empty() {
        bench.execute();
    }
    bench.pass(Duration::from_secs(60));
    let (batches, held) = stored(&bench);
    assert!(batches > 0 && held == 0, "{batches} batches, {held} leases");
    assert!(bench.runs.len() < 6, "nothing more is begun for it: {}", bench.runs.len());
    bench.pass(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(stored(&bench), (batches, 0));
    bench.pass(Duration::from_secs(24 * 3600));
    assert_eq!(stored(&bench), (0, 0));
}

#[test]
fn a_source_that_acknowledges_nothing_gets_no_more_than_the_bound_and_others_are_served() {
    let mut bench = Bench::ready(1, 2);
    bench.lease(lease(1, 1, 1, 0..512));
    bench.lease(lease(2, 2, 2, 0..20));
    let mut rounds = 0;
    while !bench.running.is_empty() {
        bench.pass(BATCH_CLOSE);
        bench.execute();
        rounds += 1;
        assert!(rounds <= 600, "the worker goes on for a source that gives nothing back");
    }
    let of = |number: u8| {
        let submitter = source(number);
        let kept = bench.disk.values().filter(
            |record| matches!(record, Record::Batch { source, .. } if *source == submitter),
        );
        kept.count()
    };
    assert!((MAX_UNACKED_BATCHES..MAX_UNACKED_BATCHES + 2).contains(&of(1)), "{}", of(1));
    assert_eq!(bench.runs.len() - of(1), 20, "the other source's tasks are all computed");
}

#[test]
fn only_what_a_lease_lets_it_share_is_shared_and_only_while_the_job_goes_on() {
    let module = Hash::of(b"module");
    let input = |name: u8| TaskInput::Blob { hash: Hash([name; 32]), len: 1 << 20 };
    let with = |of: u8, name: u16, share: u8, inputs: &[u8]| {
        let program = program(of);
        let tasks = inputs.iter().map(|input_of| leased(&program, input(*input_of))).collect();
        Lease { tasks, share, ..lease(of, of, name, 0..0) }
    };
    let mut bench = Bench::ready(1, 2);
    bench.step(Input::Lease { peer: source(1), lease: with(1, 1, 0, &[50]), hand_on: false });
    assert!(!bench.worker.shares(&module) && !bench.worker.shares(&Hash([50; 32])));
    bench.step(Input::Lease { peer: source(1), lease: with(1, 2, 1, &[51]), hand_on: false });
    assert!(!bench.worker.shares(&Hash([51; 32])), "a job that said no has said no");
    bench.step(Input::Lease { peer: source(2), lease: with(2, 3, 1, &[60]), hand_on: false });
    assert!(bench.worker.shares(&module) && bench.worker.shares(&Hash([60; 32])));
    bench.fetch();
    while !bench.running.is_empty() {
        bench.execute();
    }
    assert!(bench.worker.shares(&Hash([60; 32])), "others are later with theirs");
    let over = Cancel { job: job(2), tasks: Vec::new() };
    bench.step(Input::Cancel { peer: source(2), cancel: over });
    assert!(!bench.worker.shares(&module) && !bench.worker.shares(&Hash([60; 32])));
}

#[test]
fn what_is_held_running_or_owed_is_needed() {
    let program = program(1);
    let blob = |name: u8| TaskInput::Blob { hash: Hash([name; 32]), len: 1 << 20 };
    let tasks = vec![leased(&program, blob(50)), leased(&program, blob(51))];
    let mut bench = Bench::ready(1, 1);
    bench.lease(Lease { tasks, ..lease(1, 1, 1, 0..0) });
    let needed = |bench: &Bench| bench.worker.needed().collect::<BTreeSet<Hash>>();
    let all = BTreeSet::from([program.module, Hash([50; 32]), Hash([51; 32])]);
    assert_eq!(needed(&bench), all, "one runs, one waits");
    let (attempt, _) = bench.running.remove(0);
    let output = Output::Blob { hash: Hash([70; 32]), len: 1 << 20 };
    let (status, log) = (Status::Exited(0), Vec::new());
    bench.step(Input::Executed(Ended { attempt, status, output, fuel: 1, log, micros: 1 }));
    assert!(needed(&bench).contains(&Hash([70; 32])), "an output is owed");
    bench
        .step(Input::Cancel { peer: source(1), cancel: Cancel { job: job(1), tasks: Vec::new() } });
    assert_eq!(needed(&bench), BTreeSet::new());
}

#[test]
fn those_below_may_say_any_number() {
    let mut bench = Bench::ready(2, 1);
    for slots in [0, u32::MAX, 1, u32::MAX / 2] {
        let demand = Demand { tasks: u32::MAX, slots };
        let batch = bench.worker.set_demands(BTreeMap::from([(source(1), demand)]));
        bench.carry_out(batch);
    }
    let told = bench.sent.iter().rev().find_map(|(_, frame)| match frame {
        Frame::Credit(credit) => Some((credit.tasks, credit.below)),
        _ => None,
    });
    assert_eq!(told, Some((MAX_JOB_TASKS as u32, u32::MAX / 2 + 2)));
}
