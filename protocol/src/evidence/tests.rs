//! Files that are cut, bent and made up, and what runs say.

use alloc::{format, string::ToString, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    crypto::Keypair,
    id::LeaseId,
    result::{Commit, Leaf, Opened, Output, Reveal, VerifiedBatch, output_commit},
    task::Status,
};

const MODULE: &[u8] = b"module";
const TABLE: &[u8] = b"a table";

fn program() -> Program {
    Program {
        module: Hash::of(MODULE),
        module_len: MODULE.len() as u64,
        args: vec!["--width".into(), "3".into()],
        env: vec![("LANG".into(), "C".into())],
        data: vec![DataFile { name: "table".into(), hash: Hash::of(TABLE), len: 7 }],
        limits: Limits::default(),
        profile: PROFILE_V1.into(),
        salt: Hash([5; 32]),
    }
}

fn input() -> Input {
    Input::Inline(ByteBuf::from(b"3\n"))
}

fn outcome(status: Status, output: &[u8], fuel: u64) -> Outcome {
    Outcome { status, output: Hash::of(output), fuel }
}

fn claim() -> Outcome {
    outcome(Status::Exited(0), b"wrong", 100)
}

/// The middle result of a batch of three.
fn proof(program: &Program, claim: &Outcome) -> Proof {
    let key = Keypair::from_seed(&[2; 32]);
    let (job, submitter) = (JobId([1; 32]), PeerId([3; 32]));
    let opened = |place: u8| {
        let nonce = Hash([place; 32]);
        let leaf = Leaf {
            task: program.task_id(&input().hash()),
            job,
            submitter,
            lease: LeaseId([4; 32]),
            worker: key.peer_id(),
            status: claim.status,
            output_commit: output_commit(&claim.output, &nonce.0),
            fuel: claim.fuel,
        };
        let output = Output::Blob { hash: claim.output, len: 5 };
        Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 0 }
    };
    let opened: Vec<Opened> = (0..3).map(opened).collect();
    let commit = Commit::sign(&key, job, 1, &opened);
    let reveal = Reveal { root: commit.root, opened };
    let batch = VerifiedBatch::check(commit, reveal, &key.peer_id(), &submitter);
    batch.expect("a good batch").proof(1).expect("it has three results")
}

fn content(hash: &Hash, most: usize) -> Option<Vec<u8>> {
    [MODULE, TABLE]
        .into_iter()
        .find(|bytes| Hash::of(bytes) == *hash && bytes.len() <= most)
        .map(<[u8]>::to_vec)
}

fn good() -> Checked {
    BadResult::bundle(proof(&program(), &claim()), &program(), &input(), None, content)
        .expect("it holds")
}

/// Reads and checks, as whoever is sent a file does.
fn accept(bytes: &[u8]) -> Result<Checked, EvidenceError> {
    BadResult::decode(bytes)?.checked()
}

#[test]
fn a_file_says_what_was_put_into_it() {
    let checked = good();
    let bytes = checked.evidence().encode();
    assert_eq!(accept(&bytes).as_ref(), Ok(&checked));
    assert!(bytes.starts_with(b"\x86\x6ebayan evidence\x01"));
    let evidence = checked.evidence();
    assert_eq!(evidence.claim(), claim());
    assert_eq!(evidence.missing(|_| false), []);
    assert_eq!(evidence.carried(), (MODULE.len() + TABLE.len() + 2) as u64);
    assert!(checked.is_gossipable(MAX_EVIDENCE_FUEL));
    // What may be said beside it changes its bytes and not its name.
    let right = Some(outcome(Status::Exited(0), b"right", 100));
    let said = BadResult { right, ..evidence.clone() };
    assert_ne!(said.encode(), bytes);
    assert_eq!(said.id(), evidence.id());
    assert_eq!(said.check(), Ok(()));
}

const MAX_EVIDENCE_FUEL: u64 = crate::limits::MAX_EVIDENCE_FUEL;

#[test]
fn no_part_of_a_file_is_a_file() {
    let bytes = good().evidence().encode();
    for end in 0..bytes.len() {
        let expected = if end == 0 { EvidenceError::NotEvidence } else { EvidenceError::Malformed };
        assert_eq!(BadResult::decode(&bytes[..end]), Err(expected), "cut to {end} bytes");
    }
    for more in [1, 7] {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert_eq!(BadResult::decode(&longer), Err(EvidenceError::Trailing(more as u64)));
    }
}

/// Nothing in a file is left to whoever passes it on but what somebody says is right.
#[test]
fn every_flipped_bit_is_found() {
    let bytes = good().evidence().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << bit;
            let found = accept(&bent);
            assert!(found.is_err(), "bit {bit} of byte {at}: {found:?}");
        }
    }
}

#[test]
fn what_is_said_to_be_right_is_no_more_than_said() {
    let right = outcome(Status::Exited(0), b"right", 100);
    let evidence = BadResult { right: Some(right), ..good().evidence().clone() };
    let bytes = evidence.encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << bit;
            if let Ok(checked) = accept(&bent) {
                let other = checked.evidence();
                assert_ne!(other.right, Some(right), "bit {bit} of byte {at}");
                assert_eq!(BadResult { right: Some(right), ..other.clone() }, evidence);
            }
        }
    }
    for (right, words) in [
        (claim(), "signed"),
        (outcome(Status::WallTime, b"", 0), "no result"),
        (outcome(Status::HostFault, b"", 0), "no result"),
    ] {
        let error = BadResult { right: Some(right), ..evidence.clone() }.check();
        assert!(error.expect_err("it accuses nobody").to_string().contains(words));
    }
}

#[test]
fn lengths_beyond_the_file_are_refused_at_once() {
    let bytes = good().evidence().encode();
    let longest = [0xff; 8];
    // The heads of texts, bytes, arrays and maps, each claiming the most there can be, anywhere.
    for at in 0..bytes.len() {
        for kind in [0x5b, 0x7b, 0x9b, 0xbb] {
            for length in [&longest[..], &[0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff]] {
                let bent = [&bytes[..at], &[kind], length, &bytes[at..]].concat();
                assert!(BadResult::decode(&bent).is_err(), "at {at}");
            }
        }
    }
    let long = vec![0; MAX_EVIDENCE + 1];
    let error = EvidenceError::Oversized(long.len() as u64);
    assert_eq!(BadResult::decode(&long), Err(error));
    let deep = [&bytes[..VERSION_AT + 1], &vec![0x81; 100_000]].concat();
    assert_eq!(BadResult::decode(&deep), Err(EvidenceError::Malformed));
}

#[test]
fn what_does_not_fit_is_left_out_and_can_be_given() {
    let big = vec![7; MAX_EVIDENCE_BLOBS - MODULE.len() - 1];
    let mut program = program();
    program.data.insert(0, DataFile { name: "big".into(), hash: Hash::of(&big), len: 1 });
    let proof = proof(&program, &claim());
    let mut asked = Vec::new();
    let checked = BadResult::bundle(proof, &program, &input(), None, |hash, most| {
        asked.push(most);
        // It does not keep to what it is told.
        if *hash == Hash::of(&big) { Some(big.clone()) } else { content(hash, most) }
    })
    .expect("it holds");
    let room = MAX_EVIDENCE_BLOBS - 2;
    assert_eq!(asked, [room, room - MODULE.len(), room - MODULE.len()]);
    let evidence = checked.evidence();
    let missing = evidence.missing(|_| false);
    assert_eq!(missing, [Part { piece: Piece::Data("big".into()), hash: Hash::of(&big) }]);
    assert_eq!(checked.ready(MAX_EVIDENCE_FUEL, |_| false), Err(Doubt::Missing(missing)));
    assert_eq!(checked.ready(MAX_EVIDENCE_FUEL, |hash| *hash == Hash::of(&big)), Ok(()));
    assert!(!checked.is_gossipable(MAX_EVIDENCE_FUEL));
    assert_eq!(accept(&evidence.encode()).as_ref(), Ok(&checked));
}

#[test]
fn the_largest_task_fits_into_a_file() {
    let mut program = program();
    let name = |at: usize| format!("{at:03}");
    program.args = vec!["x".repeat(80); 256];
    program.env = (0..256).map(|at| (name(at), "y".repeat(80))).collect();
    let content = |at: usize| vec![u8::try_from(at).expect("small"); MAX_EVIDENCE_BLOBS / 257];
    program.data = (0..256)
        .map(|at| DataFile {
            name: format!("{}{}", name(at), "z".repeat(80)),
            hash: Hash::of(&content(at)),
            len: 1,
        })
        .collect();
    assert_eq!(program.check_bounds(), Ok(()));
    let proof = proof(&program, &claim());
    let checked = BadResult::bundle(proof, &program, &input(), None, |hash, _| {
        (0..256).map(content).find(|bytes| Hash::of(bytes) == *hash)
    })
    .expect("it holds");
    let bytes = checked.evidence().encode();
    assert!(bytes.len() <= MAX_EVIDENCE);
    assert_eq!(accept(&bytes).as_ref(), Ok(&checked));
}

#[test]
fn what_can_be_told_without_running_is_told_before() {
    let of = |program: &Program, claim: &Outcome| {
        BadResult::bundle(proof(program, claim), program, &input(), None, |_, _| None)
            .expect("it holds")
    };
    let none = |_: &Hash| false;
    let lost = outcome(Status::MemoryRefused, b"", 0);
    let mut program = program();
    let checked = of(&program, &lost);
    assert_eq!(checked.ready(u64::MAX, none), Err(Doubt::Claim(lost.status)));
    let (limit, bound) = (program.limits.fuel, program.limits.fuel - 1);
    let checked = of(&program, &claim());
    assert_eq!(checked.ready(bound, none), Err(Doubt::TooExpensive { limit, bound }));
    assert!(matches!(checked.ready(limit, none), Err(Doubt::Missing(parts)) if parts.len() == 2));
    assert_eq!(checked.ready(limit, |_| true), Ok(()));
    program.profile = "another".into();
    let checked = of(&program, &claim());
    assert_eq!(checked.ready(0, none), Err(Doubt::Profile("another".into())));
}

#[test]
fn another_tasks_proof_is_not_bundled() {
    let mut other = program();
    other.salt = Hash([6; 32]);
    let found = BadResult::bundle(proof(&other, &claim()), &program(), &input(), None, content);
    assert!(matches!(found, Err(EvidenceError::OtherTask { .. })), "{found:?}");
    other.args = vec!["\0".into()];
    let found = BadResult::bundle(proof(&other, &claim()), &other, &input(), None, content);
    assert_eq!(found, Err(EvidenceError::Task("args")));
}

#[test]
fn nobody_is_convicted_by_one_word() {
    let (wrong, right) = (claim(), outcome(Status::Exited(0), b"right", 99));
    let differs = Differs { status: false, output: true, fuel: true };
    assert_eq!(judge(&wrong, &[right]), Verdict::Proven(differs));
    assert_eq!(differs.names(), ["output", "fuel"]);
    let alone = good();
    assert!(alone.wants_run(&[]) && alone.wants_run(&[right]));
    assert!(!alone.wants_run(&[right, right]) && !alone.wants_run(&[wrong]));
    let said = BadResult { right: Some(right), ..alone.evidence().clone() };
    let said = said.checked().expect("it holds");
    assert!(!said.wants_run(&[right]));
    assert!(said.wants_run(&[outcome(Status::Exited(0), b"right", 98)]));
    assert_eq!(judge(&wrong, &[right, wrong]), Verdict::Inconclusive(Doubt::Unsteady));
    assert_eq!(judge(&wrong, &[]), Verdict::Inconclusive(Doubt::NotRun));
}

fn statuses() -> impl Strategy<Value = Status> {
    prop_oneof![
        (0..3_u32).prop_map(Status::Exited),
        Just(Status::Trapped),
        Just(Status::OutOfFuel),
        Just(Status::OutputLimit),
        Just(Status::WallTime),
        Just(Status::StackOverflow),
        Just(Status::MemoryRefused),
        Just(Status::HostFault),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    (statuses(), 0..2_u8, 0..2_u64).prop_map(|(status, output, fuel)| Outcome {
        status,
        output: Hash([output; 32]),
        fuel,
    })
}

/// How a file is spoilt.
#[derive(Debug, Clone)]
enum Bend {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn bends() -> impl Strategy<Value = Bend> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, to)| Bend::Set(at, to)),
        (at(), at()).prop_map(|(from, to)| Bend::Cut(from, to)),
        (at(), at()).prop_map(|(from, to)| Bend::Repeat(from, to)),
        (at(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, it)| Bend::Insert(at, it)),
    ]
}

fn bend(bytes: &mut Vec<u8>, how: &Bend) {
    if bytes.is_empty() {
        return;
    }
    let two = |one: &prop::sample::Index, other: &prop::sample::Index| {
        let (one, other) = (one.index(bytes.len()), other.index(bytes.len()));
        one.min(other)..one.max(other)
    };
    match how {
        Bend::Set(at, to) => {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        Bend::Cut(from, to) => drop(bytes.drain(two(from, to))),
        Bend::Repeat(from, to) => {
            let part = bytes[two(from, to)].to_vec();
            bytes.extend_from_slice(&part);
        }
        Bend::Insert(at, it) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, it.iter().copied());
        }
    }
}

proptest! {
    /// Whatever is done to a file, it is refused or says the same; and what is read is written alike.
    #[test]
    fn spoilt_files_say_nothing_else(how in prop::collection::vec(bends(), 1..4)) {
        let whole = good();
        let mut bytes = whole.evidence().encode();
        how.iter().for_each(|how| bend(&mut bytes, how));
        if let Ok(read) = BadResult::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
            if let Ok(checked) = read.checked() {
                let evidence = checked.evidence().clone();
                prop_assert_eq!(evidence.proof, whole.evidence().proof.clone());
                prop_assert_eq!(evidence.task, whole.evidence().task.clone());
            }
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300), head: bool) {
        let mut bytes = noise;
        if head {
            bytes.splice(0..0, b"\x86\x6ebayan evidence\x01".iter().copied());
        }
        prop_assert!(BadResult::decode(&bytes).is_err());
    }

    /// A worker is convicted by runs that came to one result which is not its own, and cleared by such
    /// that came to its own; nothing else decides.
    #[test]
    fn verdicts_follow_from_runs(claim in outcomes(), runs in prop::collection::vec(outcomes(), 0..3)) {
        let told = claim.status.is_conclusive()
            && !runs.is_empty()
            && runs.iter().all(|run| run.status.is_conclusive() && *run == runs[0]);
        match judge(&claim, &runs) {
            Verdict::Proven(differs) => {
                prop_assert!(told && runs[0] != claim);
                prop_assert!(!differs.names().is_empty());
            }
            Verdict::Refuted => prop_assert!(told && runs[0] == claim),
            Verdict::Inconclusive(_) => prop_assert!(!told),
        }
    }
}
