//! Who and what the vectors are about: three keys, a program, results.

use bayan_protocol::{
    crypto::Keypair,
    id::{Hash, JobId, LeaseId},
    path::{Errand, Trail},
    result::{Leaf, Opened, Output, output_commit},
    task::{DataFile, Input, Limits, PROFILE_V1, Program, Status},
    wire::{Lease, LeasedTask},
};
use serde_bytes::ByteBuf;

pub(crate) const JOB: JobId = JobId([0xa0; 32]);
pub(crate) const OTHER_JOB: JobId = JobId([0xa1; 32]);
pub(crate) const LEASE: LeaseId = LeaseId([0xb0; 32]);
/// Microseconds of the clock when the worker took its first lease of the job.
pub(crate) const SEQUENCE: u64 = 1_795_000_000_000_000;

pub(crate) fn submitter() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

pub(crate) fn worker() -> Keypair {
    Keypair::from_seed(&[2; 32])
}

pub(crate) fn stranger() -> Keypair {
    Keypair::from_seed(&[3; 32])
}

/// A program with nothing but a module.
pub(crate) fn bare() -> Program {
    Program {
        module: Hash::of(b"module"),
        module_len: 6,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([0x5a; 32]),
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> DataFile {
    DataFile { name: name.into(), hash: Hash::of(content), len: content.len() as u64 }
}

/// A program with something of everything.
pub(crate) fn full() -> Program {
    Program {
        args: vec!["--width".into(), "800".into(), "ö".into()],
        env: vec![("LANG".into(), "C".into()), ("A".into(), String::new())],
        data: vec![file("genome.fa", b">x\nACGT\n"), file("table", b"")],
        limits: Limits { memory: 64 << 20, fuel: 5_000_000, output: 1 << 20, wall_ms: 60_000 },
        ..bare()
    }
}

pub(crate) fn inline(bytes: &[u8]) -> Input {
    Input::Inline(ByteBuf::from(bytes))
}

pub(crate) fn leased(program: &Program, input: Input) -> LeasedTask {
    LeasedTask { task: program.task_id(&input.hash()), input }
}

/// A lease of `inputs` straight from the submitter to the worker.
pub(crate) fn lease(program: Program, inputs: Vec<Input>) -> Lease {
    let tasks: Vec<LeasedTask> = inputs.into_iter().map(|input| leased(&program, input)).collect();
    let errand = Errand { job: JOB, submitter: submitter().peer_id() };
    let ids = tasks.iter().map(|one| one.task);
    let hop = errand.hand(&submitter(), None, LEASE, &worker().peer_id(), ids);
    let path = vec![hop];
    Lease {
        lease: LEASE,
        job: JOB,
        submitter: errand.submitter,
        lasts_ms: 30_000,
        path,
        tasks,
        program,
        share: 0,
    }
}

/// A lease of `inputs` that went through so many relays on its way to the worker.
pub(crate) fn handed_on(program: Program, inputs: Vec<Input>, relays: u8) -> Lease {
    let mut lease = lease(program, inputs);
    let errand = lease.errand();
    let keys: Vec<Keypair> = (0..=relays).map(relay).collect();
    let name = |at: usize| if at == 0 { LEASE } else { LeaseId([0x40 + at as u8; 32]) };
    lease.path.clear();
    for (at, key) in keys.iter().enumerate() {
        let to = keys.get(at + 1).map_or(worker().peer_id(), Keypair::peer_id);
        let parent = at.checked_sub(1).map(name);
        let ids = lease.tasks.iter().map(|one| one.task);
        lease.path.push(errand.hand(key, parent, name(at), &to, ids));
    }
    lease.lease = name(relays.into());
    lease
}

/// The trail of such a lease, as the submitter gets it back: from its first relay on.
pub(crate) fn trail(relays: u8) -> Trail {
    let lease = handed_on(bare(), vec![inline(b"0\n")], relays);
    Trail { parent: None, hops: lease.path }.below(&submitter().peer_id())
}

/// Relay number `at`, from 1; the submitter is number 0.
pub(crate) fn relay(at: u8) -> Keypair {
    if at == 0 { submitter() } else { Keypair::from_seed(&[0x70 + at; 32]) }
}

/// The worker's result number `place`: the square of the input.
pub(crate) fn opened(place: u32) -> Opened {
    let output = Output::Inline(ByteBuf::from(
        format!("{}\n", u64::from(place) * u64::from(place)).into_bytes(),
    ));
    result(place, Status::Exited(0), output)
}

/// A result of any kind for task number `place`.
pub(crate) fn result(place: u32, status: Status, output: Output) -> Opened {
    let nonce = Hash::of(format!("nonce {place}").as_bytes());
    let leaf = Leaf {
        task: bare().task_id(&Hash::of(format!("{place}\n").as_bytes())),
        job: JOB,
        submitter: submitter().peer_id(),
        lease: LEASE,
        worker: worker().peer_id(),
        status,
        output_commit: output_commit(&output.hash(), &nonce.0),
        fuel: 1000 + u64::from(place),
    };
    Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 250 }
}
