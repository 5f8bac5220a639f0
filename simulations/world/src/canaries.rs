//! For each kind of fault a world that has it: a judge that finds nothing here would find nothing anywhere.

use bayan_cast::Word;
use bayan_protocol::{
    batch::Batch,
    crypto::{BadSignature, Signature},
    delegate::{Terms, Vouched},
    id::{JobId, TaskId},
    job::Local,
    peer::Input,
    record::{Change, Key, Record},
    result::{BatchError, Commit, Output},
    task::Status,
    verify::{Policy, State},
    wire::{Cancel, Frame, Settled, Vouch},
};

use crate::{
    MS, SECOND, Scheme, World, chaos,
    judge::{self, Bill, Fault, Kind},
    model::Model,
};

/// A submitter and workers that have done a job, or are about to.
fn played(liars: usize, for_seconds: u64) -> (World, JobId) {
    played_in(World::new(1), liars, for_seconds)
}

fn played_in(mut world: World, liars: usize, for_seconds: u64) -> (World, JobId) {
    world.model = Some(Model::default());
    world.add(0, MS, false);
    for number in 0..3 {
        world.add(1, 200 * MS, number < liars);
    }
    world.mesh();
    let job = world.submit(0, 20, Policy::Vote(2), Local::Never).expect("it is up");
    world.pass(for_seconds * SECOND);
    (world, job)
}

fn kinds(faults: &[Fault]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn blamed(world: &World) -> Vec<Kind> {
    kinds(world.model.as_ref().expect("there is a model").faults())
}

#[test]
fn a_job_that_went_well_has_no_fault() {
    let (world, job) = played(0, 60);
    assert_eq!(judge::ended(&world, 0, &job), None);
    let all = [judge::job(&world, 0, &job, true), judge::once(&world), judge::honour(&world)];
    assert_eq!(kinds(&all.concat()), []);
    assert_eq!(blamed(&world), []);
    assert_eq!(judge::left(&world), []);
}

#[test]
fn something_wrong() {
    let (world, job) = played(2, 60);
    assert_eq!(kinds(&judge::job(&world, 0, &job, true)), [Kind::Wrong]);
    assert_eq!(judge::job(&world, 0, &job, false), [], "where nothing is promised");
}

#[test]
fn something_lost() {
    let (mut world, job) = played(0, 60);
    world.hosts[0].blobs.clear();
    assert_eq!(kinds(&judge::job(&world, 0, &job, true)), [Kind::Lost]);
    let (mut world, job) = played(0, 60);
    world.crash(0);
    world.hosts[0].disk.wipe();
    world.start(0);
    assert_eq!(blamed(&world), [Kind::Lost]);
    assert_eq!(kinds(&judge::job(&world, 0, &job, true)), [Kind::Lost]);
}

/// Stores a decision about a task anew, changed.
fn store_again(world: &mut World, change: impl Fn(&mut bayan_protocol::verify::Decision)) {
    let decided = world.records(0).find(|one| matches!(one, Record::Decided { .. })).cloned();
    let Some(Record::Decided { job, task, mut decision }) = decided else { panic!("no decision") };
    change(&mut decision);
    let records = Vec::from([Change::Put(Record::Decided { job, task, decision })]);
    world.carry_out(0, Batch { records, effects: Vec::new() });
}

#[test]
fn something_twice() {
    let (mut world, _) = played(0, 60);
    store_again(&mut world, |decision| decision.place += 1000);
    assert_eq!(kinds(&judge::once(&world)), [Kind::Twice]);
    let (mut world, _) = played(0, 60);
    store_again(&mut world, |decision| decision.state = State::Open);
    assert_eq!(kinds(&judge::once(&world)), [Kind::Twice]);
    assert_eq!(blamed(&world), [Kind::Twice]);
}

#[test]
fn something_that_nobody_stands_for() {
    let (mut world, _) = played(0, 60);
    store_again(&mut world, |decision| {
        if let Some(acceptance) = &mut decision.acceptance {
            acceptance.agreed.truncate(1);
        }
    });
    assert_eq!(blamed(&world), [Kind::Unsupported]);
    let (mut world, _) = played(0, 60);
    let stranger = world.add(1, MS, false);
    let stranger = world.id(stranger);
    store_again(&mut world, |decision| {
        if let Some(acceptance) = &mut decision.acceptance {
            acceptance.agreed.push(stranger);
        }
    });
    assert_eq!(blamed(&world), [Kind::Unsupported]);
}

#[test]
fn something_overdue() {
    let (mut world, _) = played(0, 1);
    // A model that has seen no lease.
    world.model = Some(Model::default());
    world.pass(SECOND);
    assert!(blamed(&world).contains(&Kind::Overdue));
}

#[test]
fn somebody_accused() {
    let (mut world, _) = played(0, 60);
    let peer = world.id(1);
    world.step(0, Input::Frame { peer, frame: Frame::decode(b"garbage") });
    assert_eq!(kinds(&judge::honour(&world)), [Kind::Accused]);
}

#[test]
fn something_stuck_and_left() {
    let (world, job) = played(0, 1);
    assert_eq!(judge::ended(&world, 0, &job).map(|fault| fault.kind), Some(Kind::Stuck));
    assert_eq!(kinds(&judge::left(&world)), [Kind::Left]);
}

/// A submitter that was away for long enough, and its delegate, which has done a part of the rest: the
/// delegate's own job as well.
fn carried() -> (World, JobId, JobId) {
    let mut world = World::new(1);
    world.model = Some(Model::default());
    world.add(0, MS, false);
    world.add(1, 100 * MS, false);
    let peer = world.id(0);
    world.step(1, Input::Trust { peer, trusted: true });
    world.mesh();
    let delegate = Some(world.id(1));
    let job = world.submit_with(0, 400, Policy::None, Local::Never, delegate).expect("it is up");
    world.pass(5 * SECOND);
    world.crash(0);
    world.pass(80 * SECOND);
    let own = world.machine(1).and_then(|one| one.jobs().next()).map(|job| job.id());
    let own = own.expect("it carries the job on");
    assert_eq!(blamed(&world), []);
    (world, job, own)
}

/// The submitter is back, and the job is over.
fn back(world: &mut World, job: &JobId) {
    world.start(0);
    world.mesh();
    world.pass(100 * SECOND);
    assert_eq!(judge::ended(world, 0, job), None);
}

/// A task that nobody has computed, at the submitter that is back.
fn untouched(world: &World, job: &JobId) -> TaskId {
    let done = |number, id: &TaskId| {
        let mut jobs = world.machine(number).expect("it is up").jobs();
        jobs.any(|job| job.index_of(id).is_some_and(|task| job.acceptance(task).is_some()))
    };
    let source = world.job(0, job).expect("it is back");
    let mut tasks = (0..400).filter_map(|task| source.task_id(task));
    tasks.find(|id| !done(0, id) && !done(1, id)).expect("it is not all done")
}

/// What the delegate would say of it.
fn made_up(world: &World, job: JobId) -> Frame {
    let output = Output::Inline(b"made up".to_vec().into());
    let task = untouched(world, &job);
    let results = vec![Vouched { task, status: Status::Exited(0), fuel: 1, output }];
    let terms = Terms { job, submitter: world.id(0), delegate: world.id(1) };
    let signature = world.scheme.within(|| terms.sign(&world.hosts[1].key, &results));
    let signature = signature.expect("there is a result");
    Frame::Vouch(Vouch { job, signature, results, left: 0 })
}

#[test]
fn a_job_that_a_delegate_carried_on_well_has_no_fault() {
    let (mut world, job, _) = carried();
    back(&mut world, &job);
    let all = [judge::job(&world, 0, &job, true), judge::once(&world), judge::honour(&world)];
    assert_eq!(kinds(&all.concat()), []);
    assert_eq!(blamed(&world), []);
    assert_eq!([judge::left(&world), judge::kept(&world)].concat(), []);
    assert!(world.records(0).any(|one| matches!(one, Record::Vouched { .. })));
}

#[test]
fn a_delegate_that_lies() {
    let (mut world, job, _) = carried();
    world.hosts[1].plan.word = Word::Lies;
    back(&mut world, &job);
    assert_eq!(judge::job(&world, 0, &job, true), [], "of a liar nobody could tell");
    world.hosts[1].plan.word = Word::Honest;
    assert_eq!(kinds(&judge::job(&world, 0, &job, true)), [Kind::Wrong]);
}

#[test]
fn a_delegate_that_vouches_for_what_is_not_final() {
    let (mut world, job, _) = carried();
    world.start(0);
    world.connect(0, 1);
    let (to, frame) = (world.id(0), made_up(&world, job));
    world.deliver(1, &to, &frame);
    assert_eq!(blamed(&world), [Kind::Unsupported]);
}

#[test]
fn a_word_that_nobody_gave() {
    let (mut world, job, _) = carried();
    world.start(0);
    world.connect(0, 1);
    world.pass(SECOND);
    let (peer, frame) = (world.id(1), made_up(&world, job));
    world.step(0, Input::Frame { peer, frame: Ok(frame) });
    assert_eq!(blamed(&world), [Kind::Unsupported]);
}

#[test]
fn a_delegate_that_forgets_what_it_has_not_told() {
    let (mut world, _, own) = carried();
    let records = Vec::from([Change::Delete(Key::job(&own))]);
    world.carry_out(1, Batch { records, effects: Vec::new() });
    assert_eq!(blamed(&world), [Kind::Lost]);
    assert_eq!(kinds(&judge::kept(&world)), [Kind::Left], "votes of a job that is forgotten");
}

#[test]
fn a_submitter_that_forgets_its_job() {
    let (mut world, job) = played(0, 60);
    let records = Vec::from([Change::Delete(Key::job(&job))]);
    world.carry_out(0, Batch { records, effects: Vec::new() });
    assert_eq!(blamed(&world), [Kind::Lost]);
}

#[test]
fn a_delegate_that_keeps_what_is_over() {
    let (world, _, _) = carried();
    assert_eq!(kinds(&judge::kept(&world)), [Kind::Left]);
    assert_eq!(kinds(&judge::left(&world)), [Kind::Left]);
}

#[test]
fn a_submitter_that_tells_its_delegate_what_is_not_so() {
    let (mut world, job, _) = carried();
    world.start(0);
    world.connect(0, 1);
    let (to, tasks) = (world.id(1), vec![untouched(&world, &job)]);
    world.deliver(0, &to, &Frame::Settled(Settled { job, tasks, upto: 1 }));
    assert_eq!(blamed(&world), [Kind::Unsupported]);
    world.model = Some(Model::default());
    world.deliver(0, &to, &Frame::Cancel(Cancel { job, tasks: Vec::new() }));
    assert_eq!(blamed(&world), [Kind::Lost]);
}

#[test]
fn something_costly() {
    let fine = Bill { attempts: 10, allowed: 10, ticks: 500, hosts: 1, seconds: 0 };
    assert_eq!(judge::cost(&fine), []);
    assert_eq!(kinds(&judge::cost(&Bill { attempts: 11, ..fine })), [Kind::Costly]);
    assert_eq!(kinds(&judge::cost(&Bill { ticks: 501, ..fine })), [Kind::Costly]);
}

#[test]
fn somebody_who_panics() {
    let fault = chaos::caught(|| panic!("at {}", "once")).expect_err("it panics");
    assert_eq!((fault.kind, fault.text.as_str()), (Kind::Panicked, "at once"));
}

/// The latest batch of a worker by each scheme, from worlds that are alike otherwise.
fn batches() -> [(World, Commit, Frame); 2] {
    [Scheme::Keyed, Scheme::Ed25519].map(|scheme| {
        let (world, _) = played_in(World::signed(1, scheme), 0, 60);
        let Some((_, [Frame::Commit(commit), reveal])) = world.hosts[1].batches.front().cloned()
        else {
            panic!("it has sent something")
        };
        (world, commit, reveal)
    })
}

#[test]
fn signatures_that_are_made_of_something_else() {
    let [(one, keyed, revealed), (other, real, same)] = batches();
    assert_ne!(Frame::Commit(keyed.clone()).encode(), Frame::Commit(real.clone()).encode());
    assert_eq!(keyed, Commit { signature: keyed.signature, ..real });
    assert_eq!((revealed, one.counts), (same, other.counts));
}

#[test]
fn signatures_that_are_forged() {
    let [(keyed, by_hash, reveal), (real, by_key, _)] = batches();
    for (mut world, own, foreign) in [(keyed, &by_hash, &by_key), (real, &by_key, &by_hash)] {
        let peer = world.id(1);
        let mut refused = |signature: Signature| {
            // They have met, and told each other who they are.
            world.connect(0, 1);
            world.pass(SECOND);
            let before = world.host(0).reasons.len();
            let commit = Frame::Commit(Commit { signature, ..own.clone() });
            for frame in [commit, reveal.clone()] {
                world.step(0, Input::Frame { peer, frame: Ok(frame) });
            }
            world.host(0).reasons[before..].to_vec()
        };
        let mut flipped = own.signature;
        flipped.0[0] ^= 1;
        let why = BatchError::from(BadSignature).to_string();
        assert_eq!(refused(own.signature), [""; 0], "what it said once it may say again");
        assert_eq!(refused(flipped), [why.as_str()]);
        assert_eq!(refused(foreign.signature), [why.as_str()], "what the other scheme has made");
        assert_eq!(refused(own.signature), [""; 0], "it was for the signature");
    }
}
