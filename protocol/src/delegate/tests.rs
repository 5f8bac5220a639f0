//! The delegate's machine alone: what it keeps, carries on, tells and forgets, and what it refuses.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::time::Duration;

use serde_bytes::ByteBuf;

use super::*;
use crate::{
    batch::Batch,
    cbor,
    job::{Audience, Inputs, Local, Manifest},
    limits::{DELEGATE_AFTER, MAX_ENTRUSTED, MAX_UNTOLD, RETENTION},
    record::{Change, Key, Record},
    task::{self, Limits, PROFILE_V1, Program},
    time::Timestamp,
    verify::Policy,
    wire::{Entrust, Entrusted, Frame, Reason, Settled, Vouch},
};

mod statements;

const ME: u8 = 1;
const THEM: u8 = 2;
const JOB: JobId = JobId([7; 32]);

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn id(number: u8) -> PeerId {
    key(number).peer_id()
}

/// A job of so many tasks, the last of which has a blob as its input.
fn manifest(tasks: u8) -> Manifest {
    let program = Program {
        module: Hash::of(b"module"),
        module_len: 6,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([9; 32]),
    };
    let inline = |number: u8| task::Input::Inline(ByteBuf::from(vec![number]));
    let mut inputs: Vec<task::Input> = (1..tasks).map(inline).collect();
    inputs.push(task::Input::Blob { hash: Hash::of(b"long"), len: 4 });
    Manifest {
        name: "squares".into(),
        program,
        inputs: Inputs::List(inputs),
        policy: Policy::Vote(2),
        local: Local::Never,
        provisional: false,
        audience: Audience::Anyone,
        confidential: false,
        delegate: Some(id(ME)),
    }
}

fn task_id(manifest: &Manifest, place: u64) -> TaskId {
    manifest.program.task_id(&manifest.inputs.get(place).unwrap().hash())
}

struct Bench {
    keeper: Keeper,
    now: Timestamp,
    disk: BTreeMap<Key, Record>,
    effects: Vec<Effect>,
    manifest: Manifest,
}

impl Bench {
    fn new(tasks: u8) -> Self {
        Self {
            keeper: Keeper::new(key(ME), Config::default()),
            now: Timestamp(1_000_000_000),
            disk: BTreeMap::new(),
            effects: Vec::new(),
            manifest: manifest(tasks),
        }
    }

    /// Gives it an input; what it says to do since the last call is left in `effects`.
    fn step(&mut self, input: Input) {
        let Batch { records, effects } = self.keeper.step(self.now, input);
        for change in records {
            match change {
                Change::Put(record) => {
                    assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
                    self.disk.insert(record.key(), record);
                }
                Change::Delete(key) => drop(self.disk.remove(&key)),
            }
        }
        self.effects = effects;
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.step(Input::Tick);
    }

    fn hash(&self) -> Hash {
        Hash::of(&cbor::encode(&self.manifest))
    }

    fn entrust(&mut self, job: JobId, allowed: bool) {
        let bytes = cbor::encode(&self.manifest);
        let (manifest, len) = (Hash::of(&bytes), bytes.len() as u64);
        let entrust = Entrust { job, manifest, len };
        self.step(Input::Entrust { peer: id(THEM), entrust, allowed });
    }

    fn give_manifest(&mut self) {
        let (hash, bytes) = (self.hash(), Some(cbor::encode(&self.manifest)));
        self.step(Input::Blob { hash, here: true });
        assert_eq!(self.effects, [Effect::Read(hash)]);
        self.step(Input::Content { hash, bytes });
    }

    /// A job is handed over and all that it takes is there.
    fn kept(tasks: u8) -> Self {
        let mut bench = Self::new(tasks);
        bench.step(Input::Up { peer: id(THEM) });
        bench.entrust(JOB, true);
        bench.give_manifest();
        for hash in [Hash::of(b"module"), Hash::of(b"long")] {
            bench.step(Input::Blob { hash, here: true });
        }
        assert_eq!(bench.answers(), [Entrusted { job: JOB, reason: None, upto: 0, left: 0 }]);
        bench
    }

    /// The submitter goes, and the delegate submits what is left; the own job has this number.
    fn carry(&mut self, own: u8) -> Manifest {
        self.step(Input::Down { peer: id(THEM) });
        self.begin(own)
    }

    fn begin(&mut self, own: u8) -> Manifest {
        self.pass(DELEGATE_AFTER);
        let kept: Vec<&Effect> =
            self.effects.iter().filter(|one| matches!(one, Effect::Keep { .. })).collect();
        let [Effect::Keep { hash, bytes }] = kept[..] else { panic!("{:?}", self.effects) };
        let (hash, bytes) = (*hash, bytes.clone());
        assert_eq!(Hash::of(&bytes), hash);
        self.step(Input::Blob { hash, here: true });
        let [Effect::Carry { submitter, job, manifest, .. }] = &self.effects[..] else {
            panic!("{:?}", self.effects)
        };
        let (submitter, job, manifest) = (*submitter, *job, (**manifest).clone());
        assert_eq!(cbor::encode(&manifest), bytes);
        assert_eq!(manifest.check_bounds(), Ok(()));
        let own = JobId([own; 32]);
        self.step(Input::Carried { submitter, job, own });
        manifest
    }

    fn back(&mut self) {
        self.step(Input::Up { peer: id(THEM) });
        self.entrust(JOB, true);
    }

    fn settle(&mut self, places: core::ops::Range<u64>, upto: u64) {
        let tasks = places.map(|place| task_id(&self.manifest, place)).collect();
        self.step(Input::Settled { peer: id(THEM), settled: Settled { job: JOB, tasks, upto } });
    }

    fn finals(&mut self, own: u8, places: core::ops::Range<u64>, over: bool) {
        let tasks = places.map(|place| task_id(&self.manifest, place)).collect();
        self.step(Input::Final { own: JobId([own; 32]), tasks, over, ended: false });
    }

    /// Answers what it wants read until it wants nothing more; what it then told.
    fn told(&mut self) -> Vec<Vouch> {
        let mut told = Vec::new();
        while let Some((own, tasks)) = self.effects.iter().find_map(|one| match one {
            Effect::Recall { own, tasks } => Some((*own, tasks.clone())),
            _ => None,
        }) {
            let results = tasks.iter().map(|task| vouched(*task)).collect();
            self.step(Input::Recalled { own, results });
            told.extend(self.effects.iter().filter_map(|one| match one {
                Effect::Send(_, Frame::Vouch(vouch)) => Some(vouch.clone()),
                _ => None,
            }));
        }
        told
    }

    fn answers(&self) -> Vec<Entrusted> {
        let answer = |one: &Effect| match one {
            Effect::Send(peer, Frame::Entrusted(said)) if *peer == id(THEM) => Some(*said),
            _ => None,
        };
        self.effects.iter().filter_map(answer).collect()
    }

    fn violations(&self) -> usize {
        self.effects.iter().filter(|one| matches!(one, Effect::Violation(..))).count()
    }

    fn restart(&mut self) {
        self.keeper = Keeper::new(key(ME), Config::default());
        let manifest = self.manifest.clone();
        let hash = self.hash();
        let records = self.disk.values().cloned().collect();
        self.keeper.restore(self.now, records, |one| (*one == hash).then(|| manifest.clone()));
    }
}

fn vouched(task: TaskId) -> Vouched {
    let output = Output::Inline(ByteBuf::from(task.0.to_vec()));
    Vouched { task, status: Status::Exited(0), fuel: 5, output }
}

#[test]
fn a_job_is_accepted_when_all_that_it_takes_is_there_and_stored() {
    let mut bench = Bench::new(3);
    bench.step(Input::Up { peer: id(THEM) });
    bench.entrust(JOB, true);
    let (hash, len) = (bench.hash(), cbor::encode(&bench.manifest).len() as u64);
    assert_eq!(bench.effects, [Effect::Fetch { hash, len, from: id(THEM) }]);
    bench.give_manifest();
    let wanted: Vec<Hash> = bench
        .effects
        .iter()
        .filter_map(|one| match one {
            Effect::Fetch { hash, from, .. } if *from == id(THEM) => Some(*hash),
            _ => None,
        })
        .collect();
    assert_eq!(wanted.len(), 2, "{:?}", bench.effects);
    bench.step(Input::Blob { hash: wanted[0], here: true });
    assert_eq!((bench.effects.len(), bench.disk.len()), (0, 0), "not all of it is there");
    bench.step(Input::Blob { hash: wanted[1], here: true });
    assert_eq!(bench.answers().len(), 1);
    assert_eq!(bench.disk.len(), 1);
    let needed = bench.keeper.needed();
    assert!(needed.contains(&hash) && wanted.iter().all(|one| needed.contains(one)));
}

#[test]
fn whoever_has_not_been_agreed_on_is_refused_and_nothing_is_fetched() {
    let mut bench = Bench::new(3);
    bench.entrust(JOB, false);
    let refused = Entrusted { job: JOB, reason: Some(Reason::NotAccepted), upto: 0, left: 0 };
    assert_eq!(bench.effects, [Effect::Send(id(THEM), Frame::Entrusted(refused))]);
    assert!(bench.disk.is_empty() && bench.keeper.needed().is_empty());
}

#[test]
fn no_more_jobs_of_one_peer_than_bounds_allow() {
    let mut bench = Bench::new(3);
    for number in 0..MAX_ENTRUSTED as u8 {
        bench.entrust(JobId([number; 32]), true);
        assert_eq!(bench.answers(), []);
    }
    bench.entrust(JobId([99; 32]), true);
    assert_eq!(bench.answers()[0].reason, Some(Reason::Busy));
    bench.entrust(JobId([0; 32]), true);
    assert_eq!(bench.answers(), [], "one that is kept already is no further one");
}

#[test]
fn what_cannot_be_fetched_is_said_and_forgotten() {
    let mut bench = Bench::new(3);
    bench.entrust(JOB, true);
    bench.give_manifest();
    bench.step(Input::Blob { hash: Hash::of(b"long"), here: false });
    assert_eq!(bench.answers()[0].reason, Some(Reason::Blob));
    assert!(bench.keeper.needed().is_empty());
    bench.entrust(JOB, true);
    let hash = bench.hash();
    bench.step(Input::Blob { hash, here: false });
    assert_eq!(bench.answers()[0].reason, Some(Reason::Blob));
}

#[test]
fn manifests_that_name_another_or_are_none_break_the_protocol() {
    let wrong: [fn(&mut Manifest); 4] = [
        |one| one.delegate = None,
        |one| one.delegate = Some(id(THEM)),
        |one| one.inputs = Inputs::Range { from: 0, to: 0 },
        |one| (one.confidential, one.audience) = (true, Audience::Trusted),
    ];
    for bend in wrong {
        let mut bench = Bench::new(3);
        bend(&mut bench.manifest);
        bench.entrust(JOB, true);
        bench.give_manifest();
        assert_eq!(bench.violations(), 1, "{:?}", bench.manifest);
        assert!(bench.keeper.needed().is_empty());
    }
    for noise in [&b""[..], b"\xff", &[0x80; 400]] {
        let mut bench = Bench::new(3);
        bench.entrust(JOB, true);
        let hash = bench.hash();
        bench.step(Input::Blob { hash, here: true });
        bench.step(Input::Content { hash, bytes: Some(noise.to_vec()) });
        assert_eq!(bench.violations(), 1);
    }
}

#[test]
fn a_job_has_one_manifest() {
    let mut bench = Bench::kept(3);
    let before = bench.disk.clone();
    bench.manifest.name = "cubes".into();
    bench.entrust(JOB, true);
    assert_eq!((bench.violations(), bench.effects.len()), (1, 1));
    assert_eq!(bench.disk, before);
}

#[test]
fn tasks_that_the_job_does_not_have_break_the_protocol_and_unknown_jobs_are_ignored() {
    let mut bench = Bench::kept(3);
    let before = bench.disk.clone();
    let tasks = vec![task_id(&bench.manifest, 0), TaskId([5; 32])];
    let settled = Settled { job: JOB, tasks, upto: 9 };
    bench.step(Input::Settled { peer: id(THEM), settled: settled.clone() });
    assert_eq!((bench.violations(), &bench.disk), (1, &before));
    for (peer, job) in [(id(3), JOB), (id(THEM), JobId([8; 32]))] {
        let settled = Settled { job, ..settled.clone() };
        bench.step(Input::Settled { peer, settled });
        assert_eq!((bench.effects.len(), &bench.disk), (0, &before));
        bench.step(Input::Released { peer, job });
        assert_eq!((bench.effects.len(), &bench.disk), (0, &before));
    }
}

#[test]
fn what_is_left_is_carried_on_after_a_while_and_not_before() {
    let mut bench = Bench::kept(5);
    bench.pass(DELEGATE_AFTER * 10);
    assert_eq!(bench.effects, [], "the submitter is there");
    bench.settle(0..2, 7);
    assert_eq!(bench.answers()[0].upto, 7);
    bench.step(Input::Down { peer: id(THEM) });
    bench.pass(DELEGATE_AFTER / 2);
    assert_eq!(bench.effects, []);
    bench.step(Input::Up { peer: id(THEM) });
    bench.step(Input::Down { peer: id(THEM) });
    bench.pass(DELEGATE_AFTER / 2);
    assert_eq!(bench.effects, [], "it was there in between");
    let (wake, _) = bench.keeper.next_wake().unwrap();
    assert_eq!(wake, bench.now + DELEGATE_AFTER / 2);
    let rest = bench.begin(50);
    let expected: Vec<task::Input> =
        (2..5).filter_map(|place| bench.manifest.inputs.get(place)).collect();
    assert_eq!(rest.inputs, Inputs::List(expected));
    assert_eq!((rest.delegate, rest.policy), (None, bench.manifest.policy));
    assert_eq!((rest.local, &rest.program), (Local::Always, &bench.manifest.program));
    bench.pass(DELEGATE_AFTER * 10);
    let begun = |one: &Effect| matches!(one, Effect::Keep { .. } | Effect::Carry { .. });
    assert!(!bench.effects.iter().any(begun), "it is being carried on");
}

#[test]
fn own_slots_compute_what_they_would_have_been_allowed_to() {
    for (named, local) in [(vec![id(ME), id(3)], Local::Always), (vec![id(3)], Local::Never)] {
        let mut bench = Bench::new(3);
        bench.manifest.audience = Audience::Named(named.clone());
        bench.entrust(JOB, true);
        bench.give_manifest();
        for hash in [Hash::of(b"module"), Hash::of(b"long")] {
            bench.step(Input::Blob { hash, here: true });
        }
        let rest = bench.carry(50);
        assert_eq!((rest.local, rest.audience), (local, Audience::Named(named)));
    }
}

#[test]
fn results_are_told_when_the_submitter_is_back_and_forgotten_when_it_has_them() {
    let mut bench = Bench::kept(5);
    bench.settle(0..1, 3);
    bench.carry(50);
    bench.finals(50, 1..4, false);
    assert_eq!(bench.effects, [], "nobody is there to be told");
    bench.step(Input::Up { peer: id(THEM) });
    assert_eq!(bench.answers(), [Entrusted { job: JOB, reason: None, upto: 3, left: 3 }]);
    bench.entrust(JOB, true);
    assert!(bench.effects.contains(&Effect::WindDown(JobId([50; 32]))), "{:?}", bench.effects);
    let told = bench.told();
    assert_eq!((told.len(), told[0].results.len(), told[0].left), (1, 3, 0));
    let terms = Terms { job: JOB, submitter: id(THEM), delegate: id(ME) };
    let Vouch { results, signature, .. } = told[0].clone();
    assert!(Statement::check(terms, results, signature).is_ok());
    bench.finals(50, 4..5, true);
    assert_eq!(bench.told()[0].results.len(), 1);
    bench.settle(1..4, 3);
    let forget = Effect::Forget(JobId([50; 32]));
    assert!(!bench.effects.contains(&forget), "one result is not there yet");
    bench.settle(4..5, 3);
    assert!(bench.effects.contains(&forget), "{:?}", bench.effects);
    assert_eq!(bench.keeper.carried().count(), 0);
}

#[test]
fn no_more_is_told_than_is_answered() {
    let mut bench = Bench::new(3);
    bench.manifest.inputs = Inputs::Range { from: 0, to: 1000 };
    bench.entrust(JOB, true);
    bench.give_manifest();
    bench.step(Input::Blob { hash: Hash::of(b"module"), here: true });
    bench.carry(50);
    bench.finals(50, 0..1000, true);
    bench.back();
    let told: usize = bench.told().iter().map(|one| one.results.len()).sum();
    assert_eq!(told, MAX_UNTOLD);
    bench.settle(0..1000, 3);
    assert!(bench.effects.contains(&Effect::Forget(JobId([50; 32]))));
}

#[test]
fn what_was_told_in_vain_is_told_again_on_the_next_stream() {
    let mut bench = Bench::kept(4);
    bench.carry(50);
    bench.finals(50, 0..4, true);
    bench.back();
    assert_eq!(bench.told()[0].results.len(), 4);
    bench.step(Input::Down { peer: id(THEM) });
    bench.back();
    assert_eq!(bench.told()[0].results.len(), 4);
}

#[test]
fn results_that_cannot_be_read_are_not_told_and_not_waited_for() {
    let mut bench = Bench::kept(3);
    bench.carry(50);
    bench.finals(50, 0..3, true);
    bench.back();
    let own = JobId([50; 32]);
    let results = vec![vouched(task_id(&bench.manifest, 1)), vouched(TaskId([1; 32]))];
    bench.step(Input::Recalled { own, results });
    let told = |one: &Effect| match one {
        Effect::Send(_, Frame::Vouch(vouch)) => Some(vouch.results.len()),
        _ => None,
    };
    assert_eq!(bench.effects.iter().find_map(told), Some(1), "{:?}", bench.effects);
    bench.settle(1..2, 3);
    assert!(bench.effects.contains(&Effect::Forget(own)));
}

#[test]
fn a_restart_forgets_nothing_that_was_promised() {
    let mut bench = Bench::kept(5);
    bench.settle(0..1, 3);
    bench.settle(1..2, 5);
    bench.carry(50);
    bench.restart();
    let own = JobId([50; 32]);
    assert_eq!(bench.keeper.carried().collect::<Vec<_>>(), [own]);
    bench.pass(DELEGATE_AFTER * 2);
    assert_eq!(bench.effects, [], "it is being carried on");
    bench.finals(50, 2..4, true);
    bench.step(Input::Up { peer: id(THEM) });
    assert_eq!(bench.answers(), [Entrusted { job: JOB, reason: None, upto: 5, left: 2 }]);
    bench.step(Input::Down { peer: id(THEM) });
    // What the own job could not settle is left for the next one, after a restart too.
    let rest = bench.begin(51);
    assert_eq!(rest.inputs.count(), 1);
    bench.step(Input::Gone { own });
    assert_eq!(bench.keeper.view()[0].done, 0);
}

#[test]
fn an_absence_in_which_a_restart_falls_is_counted_from_the_restart() {
    let mut bench = Bench::kept(3);
    bench.now = bench.now + DELEGATE_AFTER * 5;
    bench.restart();
    bench.step(Input::Tick);
    assert_eq!(bench.effects, []);
    bench.begin(50);
}

#[test]
fn a_job_that_is_over_is_forgotten_with_all_that_was_done_for_it() {
    let mut bench = Bench::kept(4);
    bench.settle(0..1, 3);
    bench.carry(50);
    bench.finals(50, 1..2, false);
    bench.step(Input::Released { peer: id(THEM), job: JOB });
    assert_eq!(bench.effects, [Effect::Forget(JobId([50; 32]))]);
    assert!(bench.disk.is_empty(), "{:?}", bench.disk);
    assert!(bench.keeper.needed().is_empty());
}

#[test]
fn a_submitter_that_never_comes_back_is_forgotten() {
    let mut bench = Bench::kept(4);
    bench.carry(50);
    bench.finals(50, 0..4, true);
    bench.pass(RETENTION - Duration::from_secs(3600));
    assert!(bench.effects.contains(&Effect::Reach(id(THEM))), "it is looked for");
    assert!(!bench.disk.is_empty());
    bench.pass(Duration::from_secs(7200));
    assert!(bench.disk.is_empty(), "{:?}", bench.disk);
    assert!(bench.effects.contains(&Effect::Forget(JobId([50; 32]))));
}

#[test]
fn what_the_operator_has_ended_is_not_begun_again() {
    let mut bench = Bench::kept(4);
    bench.carry(50);
    let own = JobId([50; 32]);
    let tasks = vec![task_id(&bench.manifest, 0)];
    bench.step(Input::Final { own, tasks, over: true, ended: true });
    for restarts in [false, true] {
        if restarts {
            bench.restart();
        }
        bench.pass(DELEGATE_AFTER * 2);
        assert!(!bench.effects.iter().any(|one| matches!(one, Effect::Keep { .. })));
    }
    bench.finals(50, 0..1, true);
    bench.back();
    assert_eq!(bench.told()[0].results.len(), 1, "what was final is told");
}

#[test]
fn what_cannot_be_stored_is_tried_again_later() {
    let mut bench = Bench::kept(3);
    bench.step(Input::Down { peer: id(THEM) });
    bench.pass(DELEGATE_AFTER);
    let Some(Effect::Keep { hash, .. }) = bench.effects.first().cloned() else { panic!() };
    bench.step(Input::Blob { hash, here: false });
    assert_eq!(bench.effects, []);
    assert!(bench.keeper.next_wake().is_some_and(|(wake, _)| wake > bench.now));
    assert_eq!(bench.begin(50).inputs.count(), 3);
}

#[test]
fn a_submitter_that_is_back_while_its_job_is_being_stored_goes_on_itself() {
    let mut bench = Bench::kept(3);
    bench.step(Input::Down { peer: id(THEM) });
    bench.pass(DELEGATE_AFTER);
    let Some(Effect::Keep { hash, .. }) = bench.effects.first().cloned() else { panic!() };
    bench.back();
    bench.step(Input::Blob { hash, here: true });
    assert_eq!(bench.effects, []);
}
