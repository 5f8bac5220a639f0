//! A submitter and what its delegate, or somebody who says to be, tells it.

use super::*;
use crate::{
    delegate::{Terms, Vouched},
    limits::HANDBACK,
    verify::{Basis, State},
    wire::{Entrust, Entrusted, Settled, Vouch},
};

const DELEGATE: u8 = 5;
const WORKER: u8 = 1;

/// A job of ten tasks that names a delegate.
fn submitted(bench: &mut Bench, policy: Policy) -> JobId {
    let manifest =
        Manifest { delegate: Some(id(DELEGATE)), ..manifest(10, policy, Local::Never, 77) };
    let manifest_hash = Hash::of(&crate::cbor::encode(&manifest));
    bench.manifests.insert(manifest_hash, manifest.clone());
    bench.step(Input::Submit { manifest_hash, manifest });
    *bench.jobs.last().unwrap()
}

fn meet(bench: &mut Bench, number: u8) {
    bench.up(number);
    bench.frame(number, Frame::Hello(Hello { slots: 0, ..hello() }));
}

fn said(job: JobId, left: u64) -> Frame {
    Frame::Entrusted(Entrusted { job, reason: None, upto: 0, left })
}

fn told<T>(bench: &Bench, number: u8, of: impl Fn(&Frame) -> Option<T>) -> Vec<T> {
    let to = |(peer, frame): &(PeerId, Frame)| of(frame).filter(|_| *peer == id(number));
    bench.sent.iter().filter_map(to).collect()
}

fn entrusts(bench: &Bench) -> Vec<Entrust> {
    told(bench, DELEGATE, |frame| match frame {
        Frame::Entrust(entrust) => Some(*entrust),
        _ => None,
    })
}

fn settled_frames(bench: &Bench) -> Vec<Settled> {
    told(bench, DELEGATE, |frame| match frame {
        Frame::Settled(settled) => Some(settled.clone()),
        _ => None,
    })
}

fn task(bench: &Bench, job: &JobId, index: u32) -> TaskId {
    bench.peer.job(job).unwrap().task_id(index).unwrap()
}

fn result(task: TaskId, output: &[u8]) -> Vouched {
    let output = Output::Inline(ByteBuf::from(output.to_vec()));
    Vouched { task, status: Status::Exited(0), fuel: 10, output }
}

/// What an honest worker of these tests gives.
fn truth(task: TaskId) -> Vouched {
    result(task, &task.0)
}

fn vouch(job: JobId, signer: u8, results: Vec<Vouched>, left: u64) -> Frame {
    let terms = Terms { job, submitter: id(ME), delegate: id(DELEGATE) };
    let signature = terms.sign(&key(signer), &results).unwrap();
    Frame::Vouch(Vouch { job, signature, results, left })
}

fn view(bench: &Bench, job: &JobId) -> crate::source::JobView {
    bench.peer.job(job).unwrap().view()
}

fn restart(bench: &mut Bench) {
    bench.sent.clear();
    bench.peer = Bench::peer(bench.slots, 9, bench.now);
    let records = bench.disk.values().cloned().collect();
    let manifests = bench.manifests.clone();
    let batch = bench.peer.restore(bench.now, records, |hash| manifests.get(hash).cloned());
    bench.carry_out(batch);
}

#[test]
fn a_job_is_entrusted_to_its_delegate_alone_with_its_manifest() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    meet(&mut bench, WORKER);
    assert_eq!(entrusts(&bench), []);
    meet(&mut bench, DELEGATE);
    let hash = *bench.manifests.keys().next().unwrap();
    let len = crate::cbor::encode(&bench.manifests[&hash]).len() as u64;
    assert_eq!(entrusts(&bench), [Entrust { job, manifest: hash, len }]);
    assert!(bench.peer.may_fetch(bench.now, &id(DELEGATE), &hash));
    assert!(!bench.peer.may_fetch(bench.now, &id(WORKER), &hash));
    assert!(!bench.peer.shares(&hash));
    bench.frame(DELEGATE, said(job, 0));
    let delegate = view(&bench, &job).delegate.unwrap();
    assert!(delegate.accepted && delegate.connected);
    assert_eq!((delegate.peer, delegate.results), (id(DELEGATE), 0));
}

#[test]
fn a_refusal_is_shown_and_kept() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    meet(&mut bench, DELEGATE);
    let reason = Some(Reason::NotAccepted);
    bench.frame(DELEGATE, Frame::Entrusted(Entrusted { job, reason, upto: 0, left: 0 }));
    restart(&mut bench);
    let delegate = view(&bench, &job).delegate.unwrap();
    assert_eq!((delegate.accepted, delegate.connected), (false, false));
    assert!(delegate.refused.is_some() && !delegate.awaited);
}

#[test]
fn what_is_settled_is_told_in_batches() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    meet(&mut bench, DELEGATE);
    bench.frame(DELEGATE, said(job, 0));
    bench.worker(WORKER, 10);
    let lease = bench.leases(WORKER).remove(0);
    let results = bench.results(WORKER, &lease, |_| {});
    bench.say(WORKER, results);
    bench.pass(Duration::from_secs(2));
    let told = settled_frames(&bench);
    let tasks: usize = told.iter().map(|one| one.tasks.len()).sum();
    assert_eq!(tasks as u64, view(&bench, &job).settled);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_delegates_word_is_stored_final_and_answered() {
    for policy in [Policy::None, Policy::Vote(3), Policy::default()] {
        let mut bench = Bench::new(0);
        let job = submitted(&mut bench, policy);
        meet(&mut bench, DELEGATE);
        bench.frame(DELEGATE, said(job, 10));
        let results = (0..10).map(|index| truth(task(&bench, &job, index)));
        let results: Vec<Vouched> = results.collect();
        bench.frame(DELEGATE, vouch(job, DELEGATE, results[..4].to_vec(), 6));
        assert_eq!(settled_frames(&bench)[0].tasks.len(), 4);
        assert_eq!(view(&bench, &job).bases, BTreeMap::from([(Basis::Delegate, 4)]));
        bench.frame(DELEGATE, vouch(job, DELEGATE, results[..4].to_vec(), 6));
        assert_eq!(view(&bench, &job).settled, 4, "nothing is taken twice");
        restart(&mut bench);
        assert_eq!(view(&bench, &job).settled, 4);
        meet(&mut bench, DELEGATE);
        bench.frame(DELEGATE, vouch(job, DELEGATE, results[4..].to_vec(), 0));
        assert_eq!(bench.peer.job(&job).unwrap().state(), JobState::Done);
        let over = crate::wire::Cancel { job, tasks: Vec::new() };
        assert!(bench.sent.contains(&(id(DELEGATE), Frame::Cancel(over))), "it may forget the job");
        restart(&mut bench);
        let view = view(&bench, &job);
        assert_eq!((view.settled, view.failed, view.state), (10, 0, JobState::Done));
        bench.step(Input::Forget(job));
        assert!(bench.disk.is_empty(), "{:?}", bench.disk.keys());
    }
}

#[test]
fn what_was_final_here_stands_against_the_delegate() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    bench.worker(WORKER, 1);
    let lease = bench.leases(WORKER).remove(0);
    let results = bench.results(WORKER, &lease, |_| {});
    bench.say(WORKER, results);
    let done = lease.tasks[0].task;
    meet(&mut bench, DELEGATE);
    bench.frame(DELEGATE, said(job, 1));
    let index = bench.peer.job(&job).unwrap().index_of(&done).unwrap();
    let before = bench.peer.job(&job).unwrap().acceptance(index).cloned();
    bench.frame(DELEGATE, vouch(job, DELEGATE, vec![result(done, b"else")], 0));
    assert_eq!(bench.peer.job(&job).unwrap().acceptance(index).cloned(), before);
    assert_eq!(view(&bench, &job).delegate.unwrap().differs, 1);
    assert_eq!(settled_frames(&bench).last().unwrap().tasks, [done], "it need not say so again");
    restart(&mut bench);
    assert_eq!(bench.peer.job(&job).unwrap().acceptance(index).cloned(), before);
    assert_eq!(view(&bench, &job).delegate.unwrap().differs, 1);
    assert_eq!(bench.closed, []);
}

#[test]
fn a_result_under_way_is_outvoted_by_the_delegate_and_nobody_is_punished() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::Vote(2));
    bench.worker(WORKER, 1);
    let lease = bench.leases(WORKER).remove(0);
    let results = bench.results(WORKER, &lease, |_| {});
    bench.say(WORKER, results);
    let done = lease.tasks[0].task;
    meet(&mut bench, DELEGATE);
    bench.frame(DELEGATE, vouch(job, DELEGATE, vec![result(done, b"else")], 0));
    let source = bench.peer.job(&job).unwrap();
    let index = source.index_of(&done).unwrap();
    let accepted = source.acceptance(index).unwrap();
    assert_eq!((source.task_state(index), accepted.basis), (State::Final, Basis::Delegate));
    assert_eq!((accepted.agreed.len(), &accepted.outvoted[..]), (0, &[id(WORKER)][..]));
    assert!(!bench.peer.standings().is_banned(bench.now, &id(WORKER)));
    let expected = source.acceptance(index).cloned();
    restart(&mut bench);
    assert_eq!(bench.peer.job(&job).unwrap().acceptance(index).cloned(), expected);
}

#[test]
fn a_word_whose_record_is_lost_is_no_longer_believed() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    meet(&mut bench, DELEGATE);
    let results = vec![truth(task(&bench, &job, 0))];
    bench.frame(DELEGATE, vouch(job, DELEGATE, results, 0));
    assert_eq!(view(&bench, &job).settled, 1);
    bench.disk.retain(|_, record| !matches!(record, Record::Vouched { .. }));
    restart(&mut bench);
    assert_eq!(view(&bench, &job).settled, 0, "its output is gone");
}

#[test]
fn long_outputs_count_when_they_are_here() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    meet(&mut bench, DELEGATE);
    let long = |index: u32| {
        let output = Output::Blob { hash: Hash::of(&index.to_le_bytes()), len: 20_000 };
        Vouched { output, ..truth(task(&bench, &job, index)) }
    };
    let results = vec![long(0), long(1)];
    bench.frame(DELEGATE, vouch(job, DELEGATE, results.clone(), 0));
    assert_eq!((view(&bench, &job).settled, bench.fetches.len()), (0, 2));
    assert_eq!(settled_frames(&bench), []);
    bench.step(Input::Blob { hash: results[0].output.hash(), here: true });
    assert_eq!(settled_frames(&bench)[0].tasks, [results[0].task]);
    bench.step(Input::Blob { hash: results[1].output.hash(), here: false });
    assert_eq!((view(&bench, &job).settled, settled_frames(&bench).len()), (1, 1));
    assert!(bench.peer.needed().contains(&results[0].output.hash()));
    // It may be told again, and is asked for again.
    bench.frame(DELEGATE, vouch(job, DELEGATE, results.clone(), 0));
    bench.step(Input::Blob { hash: results[1].output.hash(), here: true });
    assert_eq!(view(&bench, &job).settled, 2);
}

#[test]
fn statements_that_are_not_the_delegates_or_not_about_the_job_break_the_protocol() {
    type Bend = fn(&Bench, JobId) -> (u8, Frame);
    let bad: [(&str, Bend); 7] = [
        ("of somebody else", |bench, job| {
            (WORKER, vouch(job, WORKER, vec![truth(task(bench, &job, 0))], 0))
        }),
        ("signed by somebody else", |bench, job| {
            (DELEGATE, vouch(job, WORKER, vec![truth(task(bench, &job, 0))], 0))
        }),
        ("about a task that is not the job's", |bench, job| {
            let results = vec![truth(task(bench, &job, 0)), truth(TaskId([3; 32]))];
            (DELEGATE, vouch(job, DELEGATE, results, 0))
        }),
        ("twice about one task", |bench, job| {
            let one = truth(task(bench, &job, 0));
            (DELEGATE, vouch(job, DELEGATE, vec![one.clone(), one], 0))
        }),
        ("about nothing conclusive", |bench, job| {
            let one = Vouched { status: Status::HostFault, ..truth(task(bench, &job, 0)) };
            (DELEGATE, vouch(job, DELEGATE, vec![one], 0))
        }),
        ("of an output longer than allowed", |bench, job| {
            let output = Output::Blob { hash: Hash([1; 32]), len: (16 << 20) + 1 };
            let one = Vouched { output, ..truth(task(bench, &job, 0)) };
            (DELEGATE, vouch(job, DELEGATE, vec![one], 0))
        }),
        ("an answer of somebody else", |_, job| (WORKER, said(job, 0))),
    ];
    for (what, bend) in bad {
        let mut bench = Bench::new(0);
        let job = submitted(&mut bench, Policy::None);
        meet(&mut bench, DELEGATE);
        meet(&mut bench, WORKER);
        let (from, frame) = bend(&bench, job);
        bench.frame(from, frame);
        assert_eq!(bench.closed, [id(from)], "{what}");
        assert_eq!(view(&bench, &job).settled, 0, "{what}");
    }
}

#[test]
fn jobs_that_are_unknown_or_over_are_cancelled_at_the_delegate() {
    let mut bench = Bench::new(0);
    let job = submitted(&mut bench, Policy::None);
    let results = vec![truth(task(&bench, &job, 0))];
    bench.step(Input::Cancel(job));
    meet(&mut bench, DELEGATE);
    let unknown = JobId([42; 32]);
    for (frame, of) in [
        (said(job, 1), job),
        (vouch(job, DELEGATE, results.clone(), 0), job),
        (said(unknown, 1), unknown),
        (vouch(unknown, DELEGATE, results, 0), unknown),
    ] {
        bench.sent.clear();
        bench.frame(DELEGATE, frame);
        let over = crate::wire::Cancel { job: of, tasks: Vec::new() };
        assert_eq!(bench.sent, [(id(DELEGATE), Frame::Cancel(over))]);
    }
    assert_eq!(bench.closed, []);
}

#[test]
fn nothing_is_leased_after_a_restart_before_the_delegate_has_told_or_had_the_time() {
    for waits in [false, true] {
        let mut bench = Bench::new(0);
        let job = submitted(&mut bench, Policy::None);
        meet(&mut bench, DELEGATE);
        bench.frame(DELEGATE, said(job, 0));
        restart(&mut bench);
        bench.worker(WORKER, 4);
        assert_eq!((bench.leases(WORKER).len(), bench.offers(WORKER)), (0, 0));
        assert!(view(&bench, &job).delegate.unwrap().awaited);
        assert!(view(&bench, &job).waiting.is_some());
        if waits {
            bench.pass(HANDBACK);
        } else {
            meet(&mut bench, DELEGATE);
            bench.frame(DELEGATE, said(job, 1));
            assert_eq!(bench.leases(WORKER), []);
            let results = vec![truth(task(&bench, &job, 0))];
            bench.frame(DELEGATE, vouch(job, DELEGATE, results, 0));
        }
        bench.frame(WORKER, Frame::Credit(Credit { tasks: 4, below: 0 }));
        let leased: usize = bench.leases(WORKER).iter().map(|one| one.tasks.len()).sum();
        assert_eq!(leased, 4, "waits: {waits}");
        let first = task(&bench, &job, 0);
        let again = bench.leases(WORKER).iter().any(|one| one.tasks[0].task == first);
        assert_eq!(again, waits);
    }
}

#[test]
fn nobody_is_ones_own_delegate() {
    let mut bench = Bench::new(2);
    let manifest =
        Manifest { delegate: Some(id(ME)), ..manifest(3, Policy::None, Local::Always, 77) };
    let manifest_hash = Hash::of(&crate::cbor::encode(&manifest));
    bench.step(Input::Submit { manifest_hash, manifest });
    let job = *bench.jobs.last().unwrap();
    assert_eq!(view(&bench, &job).delegate, None);
    for hash in core::mem::take(&mut bench.fetches) {
        bench.step(Input::Blob { hash, here: true });
    }
    bench.execute();
    assert_eq!(bench.peer.job(&job).unwrap().state(), JobState::Done);
    assert!(!bench.disk.values().any(|one| matches!(one, Record::Handover { .. })));
}
