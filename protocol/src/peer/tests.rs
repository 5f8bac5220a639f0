//! The whole machine against one stream at a time: greetings, broken rules, forged and replayed
//! results, and what becomes of jobs then.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::time::Duration;

use serde_bytes::ByteBuf;

use super::{
    frames::{MAX_COMMITS, MAX_UNKNOWN},
    *,
};
use crate::{
    id::LeaseId,
    job::{Inputs, Local},
    limits::MAX_INLINE,
    offer::Accept,
    record::{Change, JobState},
    result::{Ack, Ended, Leaf, Opened, Output, Reveal, output_commit},
    task::{Limits, PROFILE_V1, Status},
    verify::Policy,
    wire::{Credit, Lease, Renew},
};

mod delegated;
mod holes;
mod trust;

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn id(number: u8) -> PeerId {
    key(number).peer_id()
}

const ME: u8 = 200;

fn hello() -> Hello {
    Hello {
        versions: vec![1],
        agent: "test".into(),
        profiles: vec![PROFILE_V1.into()],
        slots: 2,
        memory: 1 << 30,
        relays: 0,
    }
}

fn manifest(tasks: i64, policy: Policy, local: Local, salt: u8) -> Manifest {
    let program = Program {
        module: Hash::of(b"module"),
        module_len: 6,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([salt; 32]),
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

/// A peer with its disk and all that it did, and others that say whatever a test likes.
struct Bench {
    peer: Peer,
    slots: u32,
    now: Timestamp,
    disk: BTreeMap<Key, Record>,
    manifests: BTreeMap<Hash, Manifest>,
    sent: Vec<(PeerId, Frame)>,
    closed: Vec<PeerId>,
    running: Vec<(u64, TaskId)>,
    fetches: Vec<Hash>,
    jobs: Vec<JobId>,
    sequence: u64,
}

impl Bench {
    fn new(slots: u32) -> Self {
        let now = Timestamp(1_000_000_000);
        Self {
            peer: Self::peer(slots, 1, now),
            slots,
            now,
            disk: BTreeMap::new(),
            manifests: BTreeMap::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            running: Vec::new(),
            fetches: Vec::new(),
            jobs: Vec::new(),
            sequence: 0,
        }
    }

    fn peer(slots: u32, seed: u8, now: Timestamp) -> Peer {
        let lending = Lending {
            relays: false,
            slots,
            memory: 1 << 30,
            accept: Accept::All,
            profiles: vec![PROFILE_V1.into()],
        };
        let (source, delegate) = (source::Config::default(), delegate::Config::default());
        let config = Config { lending, agent: "me".into(), source, delegate };
        Peer::new(key(ME), config, &[seed; 32], now)
    }

    fn step(&mut self, input: Input) {
        let batch = self.peer.step(self.now, input);
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
                Effect::Send(peer, frame) => {
                    let bytes = frame.encode();
                    assert_eq!(
                        Frame::decode(&bytes),
                        Ok(frame.clone()),
                        "it says only what can be read"
                    );
                    self.sent.push((peer, frame));
                }
                Effect::Close(peer, _) => self.closed.push(peer),
                Effect::Run { attempt, task, .. } => self.running.push((attempt, task)),
                Effect::Kill(attempt) => self.running.retain(|(running, _)| *running != attempt),
                Effect::Fetch { hash, .. } => self.fetches.push(hash),
                Effect::Submitted(job) => self.jobs.push(job),
                Effect::Read(_) | Effect::Keep { .. } | Effect::Recall { .. } => {}
                Effect::Advertise(_)
                | Effect::Changed(_)
                | Effect::Caught { .. }
                | Effect::Reach(_) => {}
            }
        }
    }

    fn up(&mut self, number: u8) {
        self.step(Input::Up {
            peer: id(number),
            proximity: Proximity::Lan,
            prefix: Prefix::default(),
        });
    }

    fn frame(&mut self, number: u8, frame: Frame) {
        let frame = Frame::decode(&frame.encode());
        self.step(Input::Frame { peer: id(number), frame });
    }

    /// A worker that greets and is willing to hold so many tasks.
    fn worker(&mut self, number: u8, window: u32) {
        self.up(number);
        self.frame(number, Frame::Hello(hello()));
        self.frame(number, Frame::Credit(Credit { tasks: window, below: 0 }));
    }

    fn submit(&mut self, tasks: i64, policy: Policy, local: Local) -> JobId {
        let manifest = manifest(tasks, policy, local, self.jobs.len() as u8);
        let manifest_hash = Hash::of(&crate::cbor::encode(&manifest));
        self.manifests.insert(manifest_hash, manifest.clone());
        self.step(Input::Submit { manifest_hash, manifest });
        *self.jobs.last().unwrap()
    }

    fn leases(&self, number: u8) -> Vec<Lease> {
        let of = |(peer, frame): &(PeerId, Frame)| match frame {
            Frame::Lease(lease) if *peer == id(number) => Some(lease.clone()),
            _ => None,
        };
        self.sent.iter().filter_map(of).collect()
    }

    fn offers(&self, number: u8) -> usize {
        self.sent
            .iter()
            .filter(|(peer, frame)| *peer == id(number) && matches!(frame, Frame::Offer(_)))
            .count()
    }

    fn refusals(&self, number: u8) -> Vec<Reason> {
        let of = |(peer, frame): &(PeerId, Frame)| match frame {
            Frame::Refuse(refuse) if *peer == id(number) => Some(refuse.reason),
            _ => None,
        };
        self.sent.iter().filter_map(of).collect()
    }

    fn acks(&self, number: u8) -> usize {
        self.sent
            .iter()
            .filter(|(peer, frame)| *peer == id(number) && matches!(frame, Frame::Ack(_)))
            .count()
    }

    /// Results of a worker for all tasks of a lease, made out in other names if a test likes.
    fn results(&mut self, signer: u8, lease: &Lease, bend: impl Fn(&mut Leaf)) -> (Commit, Reveal) {
        let opened: Vec<Opened> = lease
            .tasks
            .iter()
            .map(|task| {
                let output = Output::Inline(ByteBuf::from(task.task.0.to_vec()));
                let nonce = Hash([4; 32]);
                let mut leaf = Leaf {
                    task: task.task,
                    job: lease.job,
                    submitter: lease.submitter,
                    lease: lease.lease,
                    worker: id(signer),
                    status: Status::Exited(0),
                    output_commit: output_commit(&output.hash(), &nonce.0),
                    fuel: 10,
                };
                bend(&mut leaf);
                Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 1000 }
            })
            .collect();
        self.sequence += 1;
        let commit = Commit::sign(&key(signer), lease.job, self.sequence, &opened);
        let root = commit.root;
        (commit, Reveal { root, opened })
    }

    fn say(&mut self, number: u8, (commit, reveal): (Commit, Reveal)) {
        self.frame(number, Frame::Commit(commit));
        self.frame(number, Frame::Reveal(reveal));
    }

    /// A worker does all it was leased since the last call.
    fn work(&mut self, number: u8) {
        for lease in self.leases(number) {
            let results = self.results(number, &lease, |_| {});
            self.say(number, results);
        }
        self.sent.retain(|(peer, frame)| *peer != id(number) || !matches!(frame, Frame::Lease(_)));
    }

    fn execute(&mut self) {
        for hash in core::mem::take(&mut self.fetches) {
            self.step(Input::Blob { hash, here: true });
        }
        while let Some((attempt, task)) = (!self.running.is_empty()).then(|| self.running.remove(0))
        {
            self.step(Input::Executed(Ended {
                attempt,
                status: Status::Exited(0),
                output: Output::Inline(ByteBuf::from(task.0.to_vec())),
                fuel: 10,
                log: Vec::new(),
                micros: 1000,
            }));
        }
    }

    fn settled(&self, job: &JobId) -> u64 {
        self.peer.job(job).map_or(0, |job| job.view().settled)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(Input::Tick);
    }

    /// What becomes of a peer that breaks a rule.
    fn assert_closed(&mut self, number: u8, why: Reason) {
        assert_eq!(self.closed, [id(number)]);
        assert_eq!(self.refusals(number).last(), Some(&why));
        // What is still under way from it reaches nothing.
        let sent = self.sent.len();
        self.frame(number, Frame::Ask);
        self.step(Input::Frame { peer: id(number), frame: Err(WireError::Malformed) });
        self.step(Input::Down { peer: id(number) });
        assert_eq!((self.closed.len(), self.sent.len()), (1, sent));
    }
}

#[test]
fn a_hello_without_our_version_is_refused_and_closed() {
    let mut bench = Bench::new(1);
    bench.up(1);
    assert!(matches!(&bench.sent[..], [(_, Frame::Hello(mine))] if mine.versions == [1]));
    bench.frame(1, Frame::Hello(Hello { versions: vec![2, 3], ..hello() }));
    bench.assert_closed(1, Reason::Version);
}

#[test]
fn the_first_frame_is_a_hello_and_the_only_one() {
    let mut bench = Bench::new(1);
    bench.up(1);
    bench.frame(1, Frame::Ask);
    bench.assert_closed(1, Reason::Protocol);
    // A kind that only a later version knows is passed over, before the hello too.
    let mut bench = Bench::new(1);
    bench.up(1);
    bench.step(Input::Frame { peer: id(1), frame: Err(WireError::UnknownKind) });
    assert_eq!((bench.closed.len(), bench.refusals(1)), (0, vec![Reason::UnknownFrame]));
    bench.frame(1, Frame::Hello(hello()));
    bench.frame(1, Frame::Hello(hello()));
    bench.assert_closed(1, Reason::Protocol);
}

#[test]
fn garbage_closes_and_an_unknown_kind_does_not_until_there_are_too_many() {
    let mut bench = Bench::new(1);
    bench.worker(1, 4);
    for _ in 0..MAX_UNKNOWN {
        bench.step(Input::Frame {
            peer: id(1),
            frame: Frame::decode(&crate::cbor::encode(&"later")),
        });
    }
    assert_eq!(bench.closed, []);
    assert_eq!(bench.refusals(1), vec![Reason::UnknownFrame; MAX_UNKNOWN as usize]);
    bench.step(Input::Frame { peer: id(1), frame: Err(WireError::UnknownKind) });
    bench.assert_closed(1, Reason::Protocol);
    let mut bench = Bench::new(1);
    bench.worker(1, 4);
    bench.step(Input::Frame { peer: id(1), frame: Frame::decode(&[0xff; 9]) });
    bench.assert_closed(1, Reason::Protocol);
}

#[test]
fn frames_of_a_peer_that_is_not_there_are_ignored() {
    let mut bench = Bench::new(1);
    bench.frame(1, Frame::Hello(hello()));
    bench.step(Input::Down { peer: id(1) });
    assert_eq!((bench.sent.len(), bench.closed.len()), (0, 0));
}

#[test]
fn a_peer_of_another_profile_gets_no_offer_and_the_job_ends_through_others() {
    let mut bench = Bench::new(0);
    bench.up(1);
    bench.frame(1, Frame::Hello(Hello { profiles: vec!["other".into()], ..hello() }));
    bench.frame(1, Frame::Credit(Credit { tasks: 9, below: 0 }));
    bench.up(2);
    bench.frame(2, Frame::Hello(Hello { slots: 0, ..hello() }));
    bench.worker(3, 9);
    let job = bench.submit(3, Policy::None, Local::Never);
    bench.frame(1, Frame::Ask);
    assert_eq!([1, 2, 3].map(|number| bench.offers(number)), [0, 0, 1]);
    for _ in 0..3 {
        bench.work(3);
    }
    assert_eq!(bench.peer.job(&job).unwrap().state(), JobState::Done);
    assert!(bench.leases(1).is_empty() && bench.leases(2).is_empty());
    assert_eq!(
        bench.peer.view().neighbours.iter().filter(|n| !n.foreign_profiles.is_empty()).count(),
        1
    );
}

#[test]
fn a_result_for_a_task_that_was_never_leased_closes_and_does_not_count() {
    let mut bench = Bench::new(0);
    bench.worker(1, 9);
    bench.worker(2, 0);
    let job = bench.submit(2, Policy::None, Local::Never);
    let lease = bench.leases(1).remove(0);
    let stolen = bench.results(2, &lease, |_| {});
    let stored = bench.disk.len();
    bench.say(2, stolen);
    bench.assert_closed(2, Reason::Protocol);
    assert_eq!((bench.settled(&job), bench.disk.len()), (0, stored));
    bench.work(1);
    assert_eq!(bench.settled(&job), 2);
}

/// What a test does to an honest batch before it is sent.
type Bend = fn(&mut Bench, (Commit, Reveal), &Lease) -> (Commit, Reveal);

#[test]
fn forged_and_replayed_batches_are_refused() {
    let bends: [(&str, Bend); 9] = [
        ("signed by another key", |bench, _, lease| {
            bench.results(2, lease, |leaf| leaf.worker = id(1))
        }),
        ("made out to another worker", |bench, _, lease| {
            bench.results(1, lease, |leaf| leaf.worker = id(2))
        }),
        ("of another job", |bench, _, lease| {
            bench.results(1, lease, |leaf| leaf.job = JobId([3; 32]))
        }),
        ("for another submitter", |bench, _, lease| {
            bench.results(1, lease, |leaf| leaf.submitter = id(2))
        }),
        ("under another lease", |bench, _, lease| {
            bench.results(1, lease, |leaf| leaf.lease = LeaseId([3; 32]))
        }),
        ("a job it is not about", |_, (mut commit, reveal), _| {
            commit.job = JobId([3; 32]);
            (commit, reveal)
        }),
        ("an output that was not committed to", |_, (commit, mut reveal), _| {
            reveal.opened[0].output = Output::Inline(ByteBuf::from(vec![0]));
            (commit, reveal)
        }),
        ("a leaf that was not committed to", |_, (commit, mut reveal), _| {
            reveal.opened[0].leaf.fuel += 1;
            (commit, reveal)
        }),
        ("an inline output that is too long", |bench, (_, mut reveal), lease| {
            let long = Output::Inline(ByteBuf::from(vec![0; MAX_INLINE + 1]));
            let one = &mut reveal.opened[0];
            one.leaf.output_commit = output_commit(&long.hash(), &one.nonce.0);
            one.output = long;
            bench.sequence += 1;
            let commit = Commit::sign(&key(1), lease.job, bench.sequence, &reveal.opened);
            reveal.root = commit.root;
            (commit, reveal)
        }),
    ];
    for (what, bend) in bends {
        let mut bench = Bench::new(0);
        bench.worker(1, 9);
        let job = bench.submit(2, Policy::None, Local::Never);
        let lease = bench.leases(1).remove(0);
        let honest = bench.results(1, &lease, |_| {});
        let bent = bend(&mut bench, honest, &lease);
        bench.say(1, bent);
        assert_eq!((bench.closed.len(), bench.settled(&job), bench.acks(1)), (1, 0, 0), "{what}");
        bench.assert_closed(1, Reason::Protocol);
    }
}

#[test]
fn a_batch_of_one_peer_is_worth_nothing_from_another() {
    let mut bench = Bench::new(0);
    bench.worker(1, 9);
    bench.worker(2, 9);
    let job = bench.submit(1, Policy::Vote(2), Local::Never);
    let lease = bench.leases(1).remove(0);
    let honest = bench.results(1, &lease, |_| {});
    bench.say(1, honest.clone());
    bench.say(1, honest.clone());
    assert_eq!(
        (bench.settled(&job), bench.closed.len(), bench.acks(1)),
        (0, 0, 2),
        "twice is once"
    );
    bench.say(2, honest);
    bench.assert_closed(2, Reason::Protocol);
    assert_eq!(bench.settled(&job), 0);
}

#[test]
fn commits_and_reveals_come_in_pairs() {
    let mut bench = Bench::new(0);
    bench.worker(1, 9);
    bench.submit(1, Policy::None, Local::Never);
    let lease = bench.leases(1).remove(0);
    let (commit, reveal) = bench.results(1, &lease, |_| {});
    bench.frame(1, Frame::Reveal(reveal));
    bench.assert_closed(1, Reason::Protocol);
    bench.closed.clear();
    bench.worker(1, 9);
    for _ in 0..=MAX_COMMITS {
        assert_eq!(bench.closed, []);
        bench.frame(1, Frame::Commit(commit.clone()));
    }
    bench.assert_closed(1, Reason::Protocol);
}

#[test]
fn a_worker_believes_only_its_sources_own_acknowledgement() {
    let mut bench = Bench::new(1);
    bench.worker(1, 0);
    let lease = lease_of_one(|_| {});
    let (profile, memory) = (lease.program.profile.clone(), lease.program.limits.memory);
    let offer = crate::wire::Offer { job: lease.job, submitter: id(1), profile, memory, hops: 0 };
    // A lease of a job that was not offered is worth nothing.
    bench.frame(1, Frame::Lease(lease.clone()));
    assert_eq!(bench.refusals(1), [Reason::Elsewhere]);
    bench.frame(1, Frame::Offer(offer));
    bench.frame(1, Frame::Lease(lease));
    // Of a job that is not known here it means nothing, whoever signed it.
    let foreign = Ack::sign(&key(2), JobId([8; 32]), Hash([0; 32]), u64::MAX);
    bench.frame(1, Frame::Ack(foreign));
    assert_eq!(bench.closed, []);
    let ack = Ack::sign(&key(2), JobId([7; 32]), Hash([0; 32]), u64::MAX);
    bench.frame(1, Frame::Ack(ack));
    bench.assert_closed(1, Reason::Protocol);
}

/// A lease of peer 1's own job with one task, bent before its hop is signed.
fn lease_of_one(bend: impl FnOnce(&mut Lease)) -> Lease {
    let program = manifest(1, Policy::None, Local::Never, 9).program;
    let input = task::Input::Inline(ByteBuf::from(vec![1]));
    let task = program.task_id(&input.hash());
    let mut lease = Lease {
        lease: LeaseId([1; 32]),
        job: JobId([7; 32]),
        submitter: id(1),
        tasks: vec![crate::wire::LeasedTask { task, input }],
        program,
        lasts_ms: 1,
        path: Vec::new(),
        share: 0,
    };
    bend(&mut lease);
    let ids = lease.tasks.iter().map(|one| one.task);
    lease.path = vec![lease.errand().hand(&key(1), None, lease.lease, &id(ME), ids)];
    lease
}

#[test]
fn an_impossible_lease_closes() {
    let renamed = lease_of_one(|lease| lease.tasks[0].task = TaskId([0; 32]));
    let mut readdressed = lease_of_one(|_| {});
    readdressed.path = vec![readdressed.errand().hand(
        &key(1),
        None,
        readdressed.lease,
        &id(2),
        readdressed.tasks.iter().map(|one| one.task),
    )];
    let mut elsewhere = lease_of_one(|_| {});
    elsewhere.path[0].signature.0[5] ^= 1;
    for lease in [renamed, readdressed, elsewhere] {
        let mut bench = Bench::new(1);
        bench.worker(1, 0);
        bench.frame(1, Frame::Lease(lease));
        bench.assert_closed(1, Reason::Protocol);
        assert!(bench.disk.is_empty() && bench.running.is_empty());
    }
}

#[test]
fn a_stream_that_replaces_another_gets_its_tasks_anew() {
    let mut bench = Bench::new(0);
    bench.worker(1, 9);
    let job = bench.submit(2, Policy::None, Local::Never);
    let lost = bench.leases(1).remove(0);
    bench.sent.clear();
    bench.worker(1, 9);
    assert_eq!(bench.leases(1).iter().map(|lease| lease.tasks.len()).sum::<usize>(), 2);
    // What was done under the lease of the lost stream counts all the same.
    let results = bench.results(1, &lost, |_| {});
    bench.say(1, results);
    assert!(bench.settled(&job) > 0);
    assert_eq!(bench.closed, []);
}

#[test]
fn nobody_else_is_this_peer() {
    let mut bench = Bench::new(1);
    bench.up(ME);
    bench.step(Input::Down { peer: id(ME) });
    let job = bench.submit(3, Policy::None, Local::Always);
    bench.execute();
    assert_eq!(bench.peer.job(&job).unwrap().state(), JobState::Done);
    assert!(bench.sent.is_empty() && bench.closed.is_empty());
}

#[test]
fn a_submitter_alone_computes_its_job_and_remembers_it() {
    let mut bench = Bench::new(2);
    let job = bench.submit(20, Policy::Vote(3), Local::Always);
    bench.execute();
    let view = bench.peer.job(&job).unwrap().view();
    assert_eq!((view.state, view.settled, view.failed), (JobState::Done, 20, 0));
    let own = |record: &Record| {
        matches!(record, Record::Held { .. } | Record::Batch { .. } | Record::Leased { .. })
    };
    assert!(!bench.disk.values().any(own), "nothing is left to do");
    // Over a restart, and forgotten.
    bench.peer = Bench::peer(2, 9, bench.now);
    let records = bench.disk.values().cloned().collect();
    let manifests = bench.manifests.clone();
    let batch = bench.peer.restore(bench.now, records, |hash| manifests.get(hash).cloned());
    bench.carry_out(batch);
    assert_eq!(bench.settled(&job), 20);
    assert_eq!(bench.peer.ended_jobs().collect::<Vec<_>>(), [(job, JobState::Done)]);
    bench.step(Input::Forget(job));
    assert!(bench.disk.is_empty(), "{:?}", bench.disk.keys());
}

#[test]
fn a_submitter_killed_at_any_moment_of_its_own_work_goes_on() {
    // How many attempts end before the kill; the records of a step are stored, its effects lost.
    for ended in 0..12 {
        let mut bench = Bench::new(2);
        let job = bench.submit(10, Policy::None, Local::Always);
        for hash in core::mem::take(&mut bench.fetches) {
            bench.step(Input::Blob { hash, here: true });
        }
        for _ in 0..ended {
            if let Some((attempt, task)) =
                (!bench.running.is_empty()).then(|| bench.running.remove(0))
            {
                let output = Output::Inline(ByteBuf::from(task.0.to_vec()));
                let (status, fuel, log, micros) = (Status::Exited(0), 10, Vec::new(), 1000);
                bench.step(Input::Executed(Ended { attempt, status, output, fuel, log, micros }));
            }
        }
        bench.running.clear();
        bench.peer = Bench::peer(bench.slots, 9, bench.now);
        let records = bench.disk.values().cloned().collect();
        let manifests = bench.manifests.clone();
        let batch = bench.peer.restore(bench.now, records, |hash| manifests.get(hash).cloned());
        bench.carry_out(batch);
        bench.execute();
        assert_eq!(bench.settled(&job), 10, "killed after {ended}");
        assert!(bench.now < Timestamp(2_000_000_000), "without waiting for any lease to lapse");
    }
}

#[test]
fn a_workers_own_unacknowledged_batch_is_delivered_after_a_restart() {
    let mut bench = Bench::new(1);
    let job = bench.submit(1, Policy::None, Local::Always);
    for hash in core::mem::take(&mut bench.fetches) {
        bench.step(Input::Blob { hash, here: true });
    }
    // The worker's half of the last step reached the disk, the submitter's half did not.
    let lease = bench.disk.values().find_map(|record| match record {
        Record::Held { lease, .. } => Some(lease.clone()),
        _ => None,
    });
    let (commit, reveal) = bench.results(ME, &lease.unwrap(), |_| {});
    let record =
        Record::Batch { source: id(ME), commit, opened: reveal.opened, trails: Vec::new() };
    bench.disk.insert(record.key(), record);
    bench.disk.retain(|_, record| !matches!(record, Record::Held { .. }));
    bench.running.clear();
    bench.peer = Bench::peer(1, 9, bench.now);
    let records = bench.disk.values().cloned().collect();
    let manifests = bench.manifests.clone();
    let batch = bench.peer.restore(bench.now, records, |hash| manifests.get(hash).cloned());
    bench.carry_out(batch);
    assert_eq!((bench.settled(&job), bench.running.len()), (1, 0));
}

#[test]
fn a_window_is_divided_among_jobs_and_given_back_when_one_ends() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    let one = bench.submit(100, Policy::None, Local::Never);
    assert_eq!(bench.peer.job(&one).unwrap().window_of(&id(1)), Some((8, 0)));
    let other = bench.submit(100, Policy::None, Local::Never);
    let windows =
        |bench: &Bench| [one, other].map(|job| bench.peer.job(&job).unwrap().window_of(&id(1)));
    assert_eq!(windows(&bench), [Some((4, 0)), Some((4, 0))]);
    bench.step(Input::Cancel(one));
    assert_eq!(bench.peer.job(&other).unwrap().window_of(&id(1)), Some((8, 0)));
}

#[test]
fn own_slots_in_reserve_that_work_already_take_a_second_job_too() {
    let mut bench = Bench::new(1);
    let long = bench.submit(100, Policy::None, Local::Always);
    let other = bench.submit(2, Policy::None, Local::Reserve);
    for _ in 0..40 {
        bench.pass(Duration::from_secs(1));
    }
    assert!(bench.peer.job(&other).unwrap().window_of(&id(ME)).is_some_and(|(tasks, _)| tasks > 0));
    assert!(bench.peer.job(&long).unwrap().is_running());
    bench.execute();
    assert_eq!(bench.peer.job(&other).unwrap().state(), JobState::Done);
}

#[test]
fn a_job_that_is_forgotten_is_forgotten_by_its_workers_too() {
    let mut bench = Bench::new(0);
    bench.worker(1, 8);
    let job = bench.submit(2, Policy::None, Local::Never);
    let lease = bench.leases(1).remove(0);
    bench.step(Input::Down { peer: id(1) });
    bench.step(Input::Cancel(job));
    bench.step(Input::Forget(job));
    assert!(bench.disk.is_empty());
    bench.worker(1, 8);
    let results = bench.results(1, &lease, |_| {});
    bench.sent.clear();
    bench.say(1, results);
    let over = crate::wire::Cancel { job, tasks: Vec::new() };
    assert_eq!(bench.sent, [(id(1), Frame::Cancel(over))]);
    assert_eq!(bench.closed, []);
}

#[test]
fn renewals_keep_a_lease_and_silence_loses_it() {
    let mut bench = Bench::new(0);
    bench.worker(1, 1);
    bench.submit(1, Policy::None, Local::Never);
    let lease = bench.leases(1).remove(0);
    bench.sent.clear();
    for _ in 0..6 {
        bench.pass(Duration::from_secs(10));
        bench.frame(1, Frame::Renew(Renew { leases: vec![lease.lease] }));
    }
    assert_eq!(bench.leases(1), []);
    bench.pass(Duration::from_secs(31));
    assert_eq!(bench.leases(1).len(), 1, "it is asked again, under a new lease");
}

#[test]
fn no_more_peers_than_bounds_allow() {
    let mut bench = Bench::new(0);
    for number in 0..MAX_NEIGHBOURS as u8 {
        bench.up(number);
    }
    assert_eq!(bench.closed.len(), 1, "one place is the peer's own");
}
