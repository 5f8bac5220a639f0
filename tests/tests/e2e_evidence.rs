//! `bayan evidence`: a file says that a peer signed a wrong result, and a machine that met neither side
//! finds out whether that is so. No peer runs here.

#[path = "conformance/vector.rs"]
#[expect(dead_code, reason = "the conformance tests need more of it")]
mod vector;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan_protocol::{
    crypto::Keypair,
    evidence::BadResult,
    id::{Hash, JobId, LeaseId},
    limits::{MAX_EVIDENCE, MAX_EVIDENCE_BLOBS},
    result::{Commit, Leaf, Opened, Outcome, Output, Proof, Reveal, VerifiedBatch, output_commit},
    task::{DataFile, Input, Limits, PROFILE_V1, Program, Status},
};
use bayan_tests::{
    guests, native,
    program::{Finished, run, start},
};
use serde_bytes::ByteBuf;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const PROVEN: i32 = 0;
const REFUSED: i32 = 5;
const REFUTED: i32 = 6;
const INCONCLUSIVE: i32 = 7;
const NUMBER: [&str; 4] = ["--number", "91", "--packet", "10"];

/// What a peer that lies has signed, and where the file about it lies.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    fn bayan(&self, args: &[&str]) -> anyhow::Result<Finished> {
        // A data directory that is not there, and must not be afterwards.
        let data = self.dir.path().join("none");
        let done = run(&data, &[&["evidence"], args].concat(), LIMIT)?;
        ensure!(!data.exists(), "a data directory was made");
        Ok(done)
    }

    fn verify(&self, bytes: &[u8], args: &[&str], code: i32) -> anyhow::Result<Value> {
        let file = self.put("it.evidence", bytes)?;
        let file = file.to_str().context("a plain path")?;
        let done = self.bayan(&[&["verify", "--json", file], args].concat())?.code(code)?;
        done.json()?.pop().context("a line of JSON")
    }

    fn refused(&self, bytes: &[u8], words: &str) -> anyhow::Result<()> {
        let file = self.put("bad.evidence", bytes)?;
        let file = file.to_str().context("a plain path")?;
        self.bayan(&["verify", file])?.code(REFUSED)?.says(&[words])?;
        self.bayan(&["show", file])?.code(REFUSED)?;
        Ok(())
    }
}

fn liar() -> Keypair {
    Keypair::from_seed(&[66; 32])
}

/// The proof of a result that the liar signed, the middle one of a batch of three.
fn signed(program: &Program, input: &Input, claim: &Outcome) -> Proof {
    let (job, submitter) = (JobId([7; 32]), Keypair::from_seed(&[1; 32]).peer_id());
    let opened = |place: u8| {
        let nonce = Hash([place; 32]);
        let leaf = Leaf {
            task: program.task_id(&input.hash()),
            job,
            submitter,
            lease: LeaseId([place; 32]),
            worker: liar().peer_id(),
            status: claim.status,
            output_commit: output_commit(&claim.output, &nonce.0),
            fuel: claim.fuel,
        };
        let output = Output::Blob { hash: claim.output, len: 3 };
        Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 1 }
    };
    let opened: Vec<Opened> = (0..3).map(opened).collect();
    let commit = Commit::sign(&liar(), job, 1, &opened);
    let reveal = Reveal { root: commit.root, opened };
    VerifiedBatch::check(commit, reveal, &liar().peer_id(), &submitter)
        .expect("it is signed as it should be")
        .proof(1)
        .expect("there are three")
}

fn program(module: &[u8], args: &[&str]) -> Program {
    Program {
        module: Hash::of(module),
        module_len: module.len() as u64,
        args: args.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits { fuel: 1_000_000_000, ..Limits::default() },
        profile: PROFILE_V1.to_owned(),
        salt: Hash([9; 32]),
    }
}

fn inline(text: &str) -> Input {
    Input::Inline(ByteBuf::from(text.as_bytes()))
}

/// A task whose right result is known.
struct Known {
    program: Program,
    input: Input,
    module: Vec<u8>,
    right: Outcome,
}

impl Known {
    /// A piece of the work of `factor`; what is right comes from the native program and two re-runs.
    fn factor(place: &Place) -> anyhow::Result<Self> {
        let module = fs::read(native::module("factor"))?;
        let (program, input) = (program(&module, &NUMBER), inline("0\n"));
        let wrong = Outcome { status: Status::Exited(0), output: Hash::of(b"no\n"), fuel: 12 };
        let mut known = Self { program, input, module, right: wrong };
        let value = place.verify(&known.file(&wrong, None), &[], PROVEN)?;
        known.right = serde_json::from_value(value["rerun"].clone())?;
        let bytes = native::range("factor", "0..1", &NUMBER)?;
        ensure!(!bytes.is_empty(), "there is nothing to be wrong about");
        ensure!(known.right.output == Hash::of(&bytes), "the native program says otherwise");
        ensure!(value["runs"] == 2, "nobody else's word, and one run convicts: {value}");
        Ok(known)
    }

    /// The liar claims `claim`, and somebody says `right` is right.
    fn evidence(&self, claim: &Outcome, right: Option<Outcome>) -> BadResult {
        let proof = signed(&self.program, &self.input, claim);
        let module = |hash: &Hash, _| (*hash == self.program.module).then(|| self.module.clone());
        BadResult::bundle(proof, &self.program, &self.input, right, module)
            .expect("it holds")
            .evidence()
            .clone()
    }

    fn file(&self, claim: &Outcome, right: Option<Outcome>) -> Vec<u8> {
        self.evidence(claim, right).encode()
    }
}

fn differs(value: &Value) -> Vec<&str> {
    value["differs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn what_was_signed_is_proven_wrong_or_right() -> anyhow::Result<()> {
    let place = Place::new()?;
    let known = Known::factor(&place)?;
    let right = known.right;
    let output = Outcome { output: Hash::of(b"made up"), ..right };
    let fuel = Outcome { fuel: right.fuel + 1, ..right };
    let status = Outcome { status: Status::Exited(1), ..right };
    let all = Outcome { status: Status::Trapped, output: Hash::of(b""), fuel: right.fuel - 1 };
    for (claim, expected) in [
        (output, &["output"][..]),
        (fuel, &["fuel"]),
        (status, &["status"]),
        (all, &["status", "output", "fuel"]),
    ] {
        let value = place.verify(&known.file(&claim, Some(right)), &[], PROVEN)?;
        assert_eq!(value["verdict"], "proven");
        assert_eq!(differs(&value), expected);
        assert_eq!(value["accused"], liar().peer_id().to_string());
        assert_eq!(value["rerun"], serde_json::to_value(right)?);
        assert_eq!(value["runs"], 1, "the file's word and this machine's are two");
    }
    // The right result, whatever the file says.
    for said in [None, Some(output), Some(fuel)] {
        let value = place.verify(&known.file(&right, said), &[], REFUTED)?;
        assert_eq!(value["verdict"], "refuted");
        assert!(differs(&value).is_empty());
    }
    // That the file is wrong about what is right makes the lie no better.
    let value = place.verify(&known.file(&output, Some(fuel)), &[], PROVEN)?;
    assert_eq!((&value["verdict"], &value["runs"]), (&"proven".into(), &2.into()));
    Ok(())
}

#[test]
fn in_words_it_is_said_who_did_what() -> anyhow::Result<()> {
    let place = Place::new()?;
    let known = Known::factor(&place)?;
    let wrong = Outcome { output: Hash::of(b"made up"), ..known.right };
    let file = place.put("it.evidence", &known.file(&wrong, Some(known.right)))?;
    let file = file.to_str().context("a plain path")?;
    let shown = place.bayan(&["show", file])?.code(0)?;
    for words in [
        liar().peer_id().to_string().as_str(),
        &known.program.task_id(&known.input.hash()).to_string(),
        &JobId([7; 32]).to_string(),
        &known.program.module.to_string(),
        &wrong.output.to_string(),
        &known.right.output.to_string(),
        "yes: the accused signed this, as result 2 of a batch of 3",
        "verify",
        "--number 91",
    ] {
        ensure!(shown.stdout.contains(words), "{words} is not in\n{}", shown.stdout);
    }
    let value = place.bayan(&["show", "--json", file])?.code(0)?.json()?;
    assert_eq!((&value[0]["holds"], value.len()), (&true.into(), 1));
    let done = place.bayan(&["verify", file])?.code(PROVEN)?;
    ensure!(done.stdout.contains("proven: the accused signed a wrong output"), "{}", done.stdout);
    let right = place.put("right.evidence", &known.file(&known.right, None))?;
    let done = place.bayan(&["verify", right.to_str().context("plain")?])?.code(REFUTED)?;
    ensure!(done.stdout.contains("refuted"), "{}", done.stdout);
    Ok(())
}

#[test]
fn what_is_missing_is_named_and_can_be_given() -> anyhow::Result<()> {
    let place = Place::new()?;
    let module = wat::parse_str(guests::reader())?;
    let table = b"0123456789abcdef".repeat(1024);
    let mut program = program(&module, &[]);
    program.data =
        vec![DataFile { name: "table".into(), hash: Hash::of(&table), len: table.len() as u64 }];
    let input = inline("");
    let claim = Outcome { status: Status::Exited(0), output: Hash::of(b"x"), fuel: 5 };
    let proof = signed(&program, &input, &claim);
    let none = BadResult::bundle(proof, &program, &input, None, |_, _| None)?;
    let bytes = none.evidence().encode();
    let value = place.verify(&bytes, &[], INCONCLUSIVE)?;
    let reason = value["reason"].as_str().context("a reason")?;
    for word in ["module", "table", &Hash::of(&module).to_string(), &Hash::of(&table).to_string()] {
        ensure!(reason.contains(word), "{word} is not named: {reason}");
    }
    assert_eq!(value["missing"].as_array().map(Vec::len), Some(2));
    let text = |path: PathBuf| path.display().to_string();
    let table = text(place.put("table", &table)?);
    let wasm = text(place.put("reader.wasm", &module)?);
    let other = text(place.put("other", b"of no use")?);
    let value = place.verify(&bytes, &["--blob", &table], INCONCLUSIVE)?;
    assert_eq!(value["missing"][0]["part"], "module");
    let value = place.verify(&bytes, &["--blob", &wasm, "--blob", &table], PROVEN)?;
    assert_eq!(value["rerun"]["output"], Hash::of(&fs::read(&table)?).to_string());
    let file = text(place.dir.path().join("it.evidence"));
    place.bayan(&["verify", &file, "--blob", &other])?.code(1)?.says(&["no part of", "table"])?;
    place.bayan(&["verify", &file])?.code(INCONCLUSIVE)?;
    place.bayan(&["verify", &file, "--blob", "/no/such"])?.code(1)?.says(&["/no/such"])?;
    Ok(())
}

/// What cannot be decided here convicts nobody and clears nobody.
#[test]
fn doubt_is_no_verdict() -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut known = Known::factor(&place)?;
    let wrong = Outcome { output: Hash::of(b"made up"), ..known.right };
    let say = |value: &Value, words: &str| {
        ensure!(value["verdict"] == "inconclusive", "{value}");
        let reason = value["reason"].as_str().context("a reason")?;
        ensure!(reason.contains(words), "{words} is not in: {reason}");
        Ok(())
    };
    let dear = known.program.limits.fuel - 1;
    let file = known.file(&wrong, None);
    let value = place.verify(&file, &["--max-fuel", &dear.to_string()], INCONCLUSIVE)?;
    say(&value, "1000000000 units of fuel")?;
    place.verify(&file, &["--max-fuel", &(dear + 1).to_string()], PROVEN)?;
    let lost = Outcome { status: Status::HostFault, output: Hash::of(b""), fuel: 0 };
    say(&place.verify(&known.file(&lost, None), &[], INCONCLUSIVE)?, "no result")?;
    known.program.profile = "bayan-pack-99".to_owned();
    say(&place.verify(&known.file(&wrong, None), &[], INCONCLUSIVE)?, "bayan-pack-99")?;
    known.program.profile = PROFILE_V1.to_owned();
    known.program.limits.fuel = 2_000_000_000_000;
    say(&place.verify(&known.file(&wrong, None), &[], INCONCLUSIVE)?, "more than")?;

    // A module that no peer may run, and one that does not end in time.
    let socket = wat::parse_str(guests::socket())?;
    let idle = wat::parse_str(guests::slow_echo(u64::MAX))?;
    for (module, args, words) in
        [(socket, &[][..], "sock_open"), (idle, &["--wall", "1"][..], "out of time")]
    {
        let mut program = program(&module, &[]);
        program.limits.fuel = 900_000_000_000;
        let known = Known { program, input: inline("x"), module, right: wrong };
        say(&place.verify(&known.file(&wrong, None), args, INCONCLUSIVE)?, words)?;
    }
    Ok(())
}

#[test]
fn a_long_run_is_told_of() -> anyhow::Result<()> {
    let place = Place::new()?;
    let module = wat::parse_str(guests::slow_echo(u64::MAX))?;
    let mut program = program(&module, &[]);
    program.limits.fuel = 900_000_000_000;
    let claim = Outcome { status: Status::Exited(0), output: Hash::of(b"x"), fuel: 5 };
    let known = Known { program, input: inline("x"), module, right: claim };
    let file = place.put("it.evidence", &known.file(&claim, None))?;
    let file = file.to_str().context("a plain path")?;
    let mut running =
        start(&place.dir.path().join("none"), &["evidence", "verify", file, "--wall", "60"])?;
    running.complains("running the task again", LIMIT)?;
    running.signal(libc::SIGINT)?;
    ensure!(!running.wait(LIMIT)?.success(), "it cannot be interrupted");
    Ok(())
}

#[test]
fn what_does_not_hold_is_refused() -> anyhow::Result<()> {
    let place = Place::new()?;
    let known = Known::factor(&place)?;
    let wrong = Outcome { output: Hash::of(b"made up"), ..known.right };
    let good = known.evidence(&wrong, Some(known.right));
    let changed = |change: &dyn Fn(&mut BadResult)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.encode()
    };
    let other = signed(&known.program, &known.input, &known.right);
    for (bytes, words) in [
        (changed(&|bad| bad.proof.signature.0[9] ^= 1), "did not sign"),
        (changed(&|bad| bad.proof.signature = other.signature), "did not sign"),
        (changed(&|bad| bad.proof.leaf.worker.0[0] ^= 1), "did not sign"),
        (changed(&|bad| bad.proof.leaf.fuel ^= 1), "did not sign"),
        (changed(&|bad| bad.proof.siblings[0].0[31] ^= 1), "did not sign"),
        (changed(&|bad| bad.proof.siblings.truncate(1)), "another tree"),
        (changed(&|bad| bad.proof.count = 65), "a batch of 65"),
        (changed(&|bad| bad.proof.nonce.0[5] ^= 1), "does not open"),
        (changed(&|bad| bad.proof.output.0[5] ^= 1), "does not open"),
        (changed(&|bad| bad.task.args[1].push('7')), "a result of"),
        (changed(&|bad| bad.task.salt.0[0] ^= 1), "a result of"),
        (changed(&|bad| bad.task.fuel += 1), "a result of"),
        (changed(&|bad| bad.task.data.push(("..".into(), Hash([0; 32])))), "data is outside"),
        (changed(&|bad| bad.right = Some(wrong)), "accuses nobody"),
        (
            changed(&|bad| bad.blobs.get_mut(&Hash::of(&known.module)).expect("it")[99] ^= 1),
            "other bytes",
        ),
        (changed(&|bad| drop(bad.blobs.insert(Hash::of(b"x"), ByteBuf::from(b"x")))), "no part of"),
        (
            changed(&|bad| {
                drop(bad.blobs.insert(Hash([0; 32]), ByteBuf::from(vec![0; MAX_EVIDENCE_BLOBS])))
            }),
            "at most 8388608",
        ),
    ] {
        place.refused(&bytes, words).with_context(|| words.to_owned())?;
    }
    malformed(&place, &good.encode())
}

fn malformed(place: &Place, good: &[u8]) -> anyhow::Result<()> {
    place.refused(&good[..good.len() - 1], "cut short")?;
    place.refused(&good[..40], "cut short")?;
    place.refused(&[good, b"\0\0"].concat(), "2 bytes follow")?;
    place.refused(b"", "no evidence")?;
    place.refused(b"this is text\n", "no evidence")?;
    let mut later = good.to_vec();
    later[16] = 2;
    place.refused(&later, "version 2")?;
    place.refused(&vec![0; MAX_EVIDENCE + 1], "at most")?;
    // Of a file that is far too long not a byte is read.
    let sparse = place.dir.path().join("sparse");
    fs::File::create(&sparse)?.set_len(1 << 40)?;
    place
        .bayan(&["show", &sparse.display().to_string()])?
        .code(REFUSED)?
        .says(&["1099511627776"])?;
    place.bayan(&["show", "/no/such/file"])?.code(1)?.says(&["/no/such/file"])?;
    place.bayan(&["show", &Path::new("/").display().to_string()])?.code(1)?;
    Ok(())
}

/// Every file of the vectors that holds is decided as its vector says, by running it.
#[test]
fn the_vectors_files_are_decided_as_they_say() -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut decided = 0;
    for case in vector::read("evidence/files.json") {
        let bytes = case.bytes("bytes");
        if case.error().is_some() {
            continue;
        }
        let code = match case.text("verdict") {
            "proven" => PROVEN,
            "refuted" => REFUTED,
            _ => INCONCLUSIVE,
        };
        let value = place.verify(&bytes, &[], code).with_context(|| case.name().to_owned())?;
        assert_eq!(value["verdict"], case.text("verdict"), "{}", case.name());
        decided += 1;
    }
    ensure!(decided > 10, "only {decided} files were tried");
    Ok(())
}
