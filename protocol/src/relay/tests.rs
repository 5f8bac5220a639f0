//! The relay alone: to whom it offers a job, and to whom not.

use super::*;
use crate::{
    crypto::Signature,
    id::{Hash, TaskId},
    limits::MAX_EXCLUDED_AT_ONCE,
    path::{Hop, Trail},
    record::{Change, Key, Record},
    result::{Commit, Leaf, Opened, Output},
    task::{PROFILE_V1, Status},
    wire::Bundle,
};

const JOB: JobId = JobId([5; 32]);

fn peer(number: u8) -> PeerId {
    PeerId([number; 32])
}

/// A relay between a submitter and others, and what it said.
struct Bench {
    relay: Relay,
    now: Timestamp,
    said: Vec<(PeerId, Frame)>,
}

/// Whose the job is.
const TOP: u8 = 1;

impl Bench {
    /// The submitter is there and has offered its job.
    fn new() -> Self {
        let key = Keypair::from_seed(&[9; 32]);
        let relay = Relay::new(key, true, Entropy::new(&[3; 32]));
        let mut bench = Self { relay, now: Timestamp(1_000_000_000), said: Vec::new() };
        bench.step(Input::Up { peer: peer(TOP), slots: 0 });
        bench.is_offered(JOB);
        bench
    }

    fn is_offered(&mut self, job: JobId) {
        let (profile, memory) = (PROFILE_V1.into(), 1 << 20);
        let offer = Offer { job, submitter: peer(TOP), profile, memory, hops: 0 };
        self.step(Input::Offered { peer: peer(TOP), offer });
    }

    fn step(&mut self, input: Input) -> Vec<Change> {
        let Batch { records, effects } = self.relay.step(self.now, input);
        for effect in effects {
            if let Effect::Send(peer, frame) = effect {
                self.said.push((peer, frame));
            }
        }
        records
    }

    /// Somebody comes, asks, and takes what it is offered.
    fn joins(&mut self, number: u8, below: u32) {
        self.step(Input::Up { peer: peer(number), slots: 1 });
        self.step(Input::Asked { peer: peer(number) });
        self.step(Input::Credit { peer: peer(number), tasks: 4, below });
    }

    fn exclude(&mut self, from: u8, workers: impl IntoIterator<Item = u8>) {
        let workers = workers.into_iter().map(peer).collect();
        self.step(Input::Exclude { peer: peer(from), exclude: Exclude { job: JOB, workers } });
    }

    /// What was said to a peer since the last call, by kind.
    fn heard(&mut self, number: u8) -> Vec<Frame> {
        let (hit, rest): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.said).into_iter().partition(|(to, _)| *to == peer(number));
        self.said = rest;
        hit.into_iter().map(|(_, frame)| frame).collect()
    }

    fn was_offered(&mut self, number: u8) -> bool {
        self.heard(number).iter().any(|frame| matches!(frame, Frame::Offer(_)))
    }
}

fn excludes(frames: &[Frame]) -> Vec<PeerId> {
    let named = frames.iter().filter_map(|frame| match frame {
        Frame::Exclude(exclude) => Some(exclude.workers.clone()),
        _ => None,
    });
    named.flatten().collect()
}

#[test]
fn who_is_excluded_is_given_up_and_not_offered_the_job_again() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    bench.joins(3, 0);
    assert!(bench.was_offered(2) && bench.was_offered(3));
    bench.exclude(TOP, [2]);
    let over = Frame::Cancel(Cancel { job: JOB, tasks: Vec::new() });
    assert_eq!(bench.heard(2), [over]);
    assert_eq!(bench.heard(3), []);
    bench.step(Input::Asked { peer: peer(2) });
    bench.step(Input::Asked { peer: peer(3) });
    assert!(!bench.was_offered(2) && bench.was_offered(3));
}

#[test]
fn relays_below_are_told_those_who_come_later_too_and_nobody_twice() {
    let mut bench = Bench::new();
    bench.joins(2, 7);
    bench.joins(3, 0);
    bench.heard(2);
    bench.heard(3);
    bench.exclude(TOP, [40, 41]);
    assert_eq!(excludes(&bench.heard(2)), [peer(40), peer(41)]);
    assert_eq!(bench.heard(3), [], "it hands nothing on");
    bench.exclude(TOP, [41, 42]);
    assert_eq!(excludes(&bench.heard(2)), [peer(42)]);
    bench.joins(4, 3);
    assert_eq!(excludes(&bench.heard(4)), [peer(40), peer(41), peer(42)]);
}

#[test]
fn only_a_source_of_the_job_is_listened_to() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    bench.joins(3, 0);
    bench.heard(2);
    bench.exclude(3, [2]);
    assert_eq!(bench.heard(2), []);
}

#[test]
fn a_list_that_does_not_end_is_cut() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    for first in 0..2 * crate::limits::MAX_EXCLUDED / MAX_EXCLUDED_AT_ONCE {
        let id = |at: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&((first * MAX_EXCLUDED_AT_ONCE + at) as u64).to_be_bytes());
            PeerId(id)
        };
        let workers = (0..MAX_EXCLUDED_AT_ONCE).map(id).collect();
        bench.step(Input::Exclude { peer: peer(TOP), exclude: Exclude { job: JOB, workers } });
    }
    assert_eq!(bench.relay.jobs[&JOB].excluded.len(), crate::limits::MAX_EXCLUDED);
}

#[test]
fn whom_this_peer_has_found_out_itself_it_uses_for_nobody() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    bench.heard(2);
    bench.step(Input::Banned { worker: peer(2) });
    assert_eq!(bench.heard(2), [Frame::Cancel(Cancel { job: JOB, tasks: Vec::new() })]);
}

#[test]
fn what_a_peer_takes_it_takes_of_a_job_that_is_offered_later_as_well() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    let other = JobId([6; 32]);
    bench.is_offered(other);
    assert!(bench.was_offered(2));
    let demand = bench.relay.demands()[&peer(TOP)];
    assert_eq!(demand, Demand { tasks: 2 * 4 * BULK, slots: 1 }, "of both jobs, by one credit");
    // Not of one that it refuses.
    bench.step(Input::Refused { peer: peer(2), job: other });
    assert_eq!(bench.relay.demands()[&peer(TOP)].tasks, 4 * BULK);
}

#[test]
fn who_was_away_at_the_end_of_a_job_hears_of_it_on_coming_back() {
    let lease = LeaseId([8; 32]);
    let handed = Record::Handed {
        job: JOB,
        lease,
        source: peer(TOP),
        path: Vec::new(),
        worker: peer(2),
        tasks: Vec::new(),
    };
    // A relay that starts again on what it handed on, with nothing else of the job left.
    let mut bench = Bench::new();
    let batch = bench.relay.restore(bench.now, Vec::new(), Vec::from([handed]));
    assert_eq!(batch.records, [], "the debt is still to be known after another restart");
    bench.step(Input::Up { peer: peer(3), slots: 1 });
    assert_eq!(bench.heard(3), []);
    let records = bench.step(Input::Up { peer: peer(2), slots: 1 });
    assert_eq!(bench.heard(2), [Frame::Cancel(Cancel { job: JOB, tasks: Vec::new() })]);
    assert_eq!(records, [Change::Delete(Key::handed(&JOB, &lease))]);
    bench.step(Input::Down { peer: peer(2) });
    bench.step(Input::Up { peer: peer(2), slots: 1 });
    assert_eq!(bench.heard(2), [], "once is enough");
}

#[test]
fn a_job_that_ended_here_is_known_to_have_ended_by_its_submitters_word_alone() {
    let mut bench = Bench::new();
    bench.joins(2, 0);
    let over = |job| Cancel { job, tasks: Vec::new() };
    assert!(!bench.relay.has_ended(&JOB, &peer(TOP)), "it runs");
    bench.step(Input::Cancel { peer: peer(TOP), cancel: over(JOB) });
    assert!(bench.relay.has_ended(&JOB, &peer(TOP)));
    assert!(!bench.relay.has_ended(&JOB, &peer(2)), "it is not that one's");
    // Of one that is not known here any more, its submitter's word is noted, and nobody else's counts.
    let forgotten = JobId([7; 32]);
    bench.step(Input::Cancel { peer: peer(3), cancel: over(forgotten) });
    assert!(!bench.relay.has_ended(&forgotten, &peer(TOP)));
    bench.step(Input::Cancel { peer: peer(TOP), cancel: over(forgotten) });
    assert!(bench.relay.has_ended(&forgotten, &peer(TOP)));
    // Who is offered it anew has a running job.
    bench.is_offered(JOB);
    bench.joins(4, 0);
    assert!(!bench.relay.has_ended(&JOB, &peer(TOP)));
}

/// A batch of peer 3, which had its task of this relay: stored, and not yet acknowledged. Between the submitter
/// and this relay stands peer 2; `more` are the givers below this relay.
fn parcel(me: PeerId, more: &[PeerId]) -> Record {
    let worker = peer(3);
    let (root, nonce, output) = (Hash([4; 32]), Hash([5; 32]), Output::Inline(Vec::new().into()));
    let givers = [peer(TOP), peer(2), me].into_iter().chain(more.iter().copied());
    let signature = Signature([0; 64]);
    let hop = |(at, giver): (u8, PeerId)| {
        let lease = LeaseId([at; 32]);
        Hop { giver, lease, root: Hash([6; 32]), signature }
    };
    let hops: Vec<Hop> = (0..).zip(givers).map(hop).collect();
    let leaf = Leaf {
        job: JOB,
        submitter: peer(TOP),
        worker,
        lease: hops.last().expect("there are some").lease,
        task: TaskId([7; 32]),
        status: Status::Exited(0),
        fuel: 1,
        output_commit: Hash([8; 32]),
    };
    let opened = Vec::from([Opened { leaf, nonce, output, log: Vec::new().into(), micros: 1 }]);
    let commit = Commit { job: JOB, sequence: 1, root, count: 1, signature };
    let bundle = Bundle { worker, commit, opened };
    let trails = Vec::from([Trail { parent: None, hops }]);
    Record::Parcel { source: peer(2), from: worker, bundle, trails }
}

/// A relay that has such a batch, and is with peers 2 and 3.
fn with_parcel(below: &[PeerId]) -> Bench {
    let key = Keypair::from_seed(&[9; 32]);
    let me = key.peer_id();
    let relay = Relay::new(key, true, Entropy::new(&[3; 32]));
    let mut bench = Bench { relay, now: Timestamp(1_000_000_000), said: Vec::new() };
    let parcel = parcel(me, below);
    let Record::Parcel { trails, .. } = &parcel else { panic!("it is one") };
    // The lease that its task was handed on under: its source is one of the job.
    let path: Vec<Hop> = trails[0].hops[..3].to_vec();
    let (lease, source, worker) = (path[2].lease, peer(2), peer(3));
    let tasks = Vec::from([TaskId([7; 32])]);
    let handed = Record::Handed { job: JOB, lease, source, path, worker, tasks };
    let _ = bench.relay.restore(bench.now, Vec::new(), Vec::from([parcel, handed]));
    for number in [2, 3] {
        bench.step(Input::Up { peer: peer(number), slots: 1 });
        // Each has the job of the other.
        let (profile, memory) = (PROFILE_V1.into(), 1 << 20);
        let offer = Offer { job: JOB, submitter: peer(TOP), profile, memory, hops: 1 };
        bench.step(Input::Offered { peer: peer(number), offer });
    }
    bench.step(Input::Up { peer: me, slots: 1 });
    bench
}

/// To whom results are brought within five times the patience with a hop.
fn brought(bench: &mut Bench) -> Vec<PeerId> {
    let mut brought = Vec::new();
    for _ in 0..100 {
        bench.now = bench.now + PATIENCE / 20;
        bench.step(Input::Tick);
        let said = core::mem::take(&mut bench.said).into_iter();
        brought.extend(said.filter(|(_, frame)| matches!(frame, Frame::Relayed(_))));
    }
    brought.into_iter().map(|(to, _)| to).collect()
}

#[test]
fn results_are_brought_to_the_submitter_that_is_here_though_the_hop_has_no_way_to_it() {
    let mut bench = with_parcel(&[]);
    let route = Route { job: JOB, away_ms: Some(0) };
    bench.step(Input::Route { peer: peer(2), route });
    assert_eq!(brought(&mut bench), [peer(2)], "it is waited for");
    bench.step(Input::Up { peer: peer(TOP), slots: 0 });
    let to = brought(&mut bench);
    assert!(!to.is_empty() && to.iter().all(|one| *one == peer(TOP)), "{to:?}");
}

#[test]
fn results_are_brought_round_a_hop_to_nobody_below_whom_they_came_from() {
    // Computed by the slots of a relay below, which stands on the way itself; and by a peer below.
    for below in [&[peer(3)][..], &[]] {
        let to = brought(&mut with_parcel(below));
        assert_eq!(to, [peer(2)], "nobody else is nearer to the submitter");
    }
}
