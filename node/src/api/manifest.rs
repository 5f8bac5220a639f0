//! From a request to a job: reads what was uploaded, judges the module, cuts the inputs, and checks
//! every bound in words that say what to change. Blocks.

use bayan_protocol::{
    cbor,
    id::Hash,
    job::{Inputs, Local, Manifest},
    limits::{MAX_BLOB, MAX_INLINE, MAX_JOB_TASKS, MAX_MODULE, MAX_NAMED, MAX_TEXT},
    plan::Rules,
    task::{DataFile, Input, Limits, PROFILE_V1, Program},
    wire::WireError,
};
use bayan_store::Blobs;
use serde_bytes::ByteBuf;

use super::{
    Failure, Shared,
    types::{InputsRequest, JobRequest},
};
use crate::blobs::room;

/// Bytes of inputs that a manifest carries itself. What is above it travels by digest, one by one.
const MAX_CARRIED: u64 = 256 << 20;
const MIB: u64 = 1 << 20;

/// What a request says of trust.
pub(super) fn rules(
    trust: &str,
    tolerance: Option<&str>,
    assume_faulty: Option<&str>,
) -> Result<Rules, Failure> {
    Rules::parse(trust, tolerance, assume_faulty)
        .map_err(|error| Failure::refused(error.to_string()))
}

/// The manifest. With a tolerance its policy is still to be set.
pub(super) fn build(
    shared: &Shared,
    rules: &Rules,
    request: JobRequest,
) -> Result<Manifest, Failure> {
    let JobRequest { name, module, args, env, data, inputs, limits, .. } = request;
    let JobRequest { provisional, audience, confidential, local, delegate, .. } = request;
    if delegate == Some(shared.peer) {
        return Err(Failure::refused(
            "the job's delegate is this peer itself (--delegate); name another, which goes on while this one is away",
        ));
    }
    if name.len() > MAX_TEXT {
        return Err(Failure::refused(format!("a job's name has at most {MAX_TEXT} bytes")));
    }
    let policy = rules.policy;
    let module_len = check_module(shared, &module, &limits)?;
    check_limits(shared, &limits, local)?;
    let program = Program {
        module,
        module_len,
        args,
        env,
        data: data_files(&shared.blobs, data)?,
        limits,
        profile: PROFILE_V1.to_owned(),
        salt: salt()?,
    };
    let inputs = cut(&shared.blobs, inputs)?;
    let manifest = Manifest {
        name,
        program,
        inputs,
        policy,
        local,
        provisional,
        audience,
        confidential,
        delegate,
    };
    manifest.check_bounds().map_err(|error| Failure::refused(in_words(&error, &manifest)))?;
    Ok(manifest)
}

/// Stores the manifest; the digest it is stored under.
pub(super) fn store(shared: &Shared, manifest: &Manifest) -> Result<Hash, Failure> {
    let bytes = cbor::encode(manifest);
    Ok(room::store(&shared.commands, &shared.blobs, |blobs| blobs.put(&bytes))?)
}

fn salt() -> Result<Hash, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::internal("the system gives no random numbers", error))?;
    Ok(Hash(bytes))
}

/// Judges the module as every peer will, and compiles it here once; its length.
fn check_module(shared: &Shared, module: &Hash, limits: &Limits) -> Result<u64, Failure> {
    let len = length(&shared.blobs, module, "the module")?;
    if len > MAX_MODULE {
        let text = format!("the module has {len} bytes; at most {MAX_MODULE} are allowed");
        return Err(Failure::refused(text));
    }
    let wasm = shared.blobs.get(module)?;
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::refused(format!("the module is refused: it {error}"))
    };
    let (report, problems) = bayan_packing::inspect(&wasm).map_err(|error| refuse(&error))?;
    if !problems.is_empty() {
        let shown = problems.into_iter().take(8).collect();
        return Err(refuse(&bayan_packing::Refusal::Several(shown)));
    }
    if report.memory_bytes() > limits.memory {
        return Err(Failure::refused(format!(
            "the module starts with {} MiB of memory, but a task may have {} MiB; allow it more (--memory)",
            report.memory_bytes().div_ceil(MIB),
            limits.memory / MIB,
        )));
    }
    (shared.prepare)(&wasm)
        .map_err(|error| Failure::refused(format!("the module is refused: {error}")))?;
    Ok(len)
}

fn check_limits(shared: &Shared, limits: &Limits, local: Local) -> Result<(), Failure> {
    if limits.fuel == 0 || limits.wall_ms == 0 {
        return Err(Failure::refused(
            "a task without fuel or time can do nothing; allow it some (--fuel, --wall)",
        ));
    }
    if limits.output > MAX_BLOB {
        return Err(Failure::refused(format!(
            "an output has at most {MAX_BLOB} bytes (--output-limit)"
        )));
    }
    if local == Local::Always && limits.memory > shared.lending_memory {
        return Err(Failure::refused(format!(
            "a task may have {} MiB of memory, but this peer lends {} MiB to one: allow tasks less (run --memory), \
             lend more (node --memory), or leave the work to others (--local never)",
            limits.memory / MIB,
            shared.lending_memory / MIB,
        )));
    }
    Ok(())
}

fn length(blobs: &Blobs, hash: &Hash, what: &str) -> Result<u64, Failure> {
    blobs
        .len(hash)
        .ok_or_else(|| Failure::refused(format!("{what} ({hash}) is not here; upload it first")))
}

fn data_files(blobs: &Blobs, data: Vec<(String, Hash)>) -> Result<Vec<DataFile>, Failure> {
    let file = |(name, hash): (String, Hash)| {
        let len = length(blobs, &hash, &format!("the data file {name}"))?;
        Ok(DataFile { name, hash, len })
    };
    let mut files = data.into_iter().map(file).collect::<Result<Vec<_>, Failure>>()?;
    files.sort();
    match files.windows(2).find(|two| two[0].name == two[1].name) {
        Some(two) => Err(Failure::refused(format!("two data files have the name {}", two[0].name))),
        None => Ok(files),
    }
}

fn cut(blobs: &Blobs, inputs: InputsRequest) -> Result<Inputs, Failure> {
    match inputs {
        InputsRequest::Range { from, to } => Ok(Inputs::Range { from, to }),
        InputsRequest::Lines(hash) => {
            let len = length(blobs, &hash, "the file of lines")?;
            if len > MAX_CARRIED {
                return Err(Failure::refused(format!(
                    "lines are passed on up to {} MiB altogether, these have {} MiB; give them as files (--files) or split the job",
                    MAX_CARRIED / MIB,
                    len.div_ceil(MIB),
                )));
            }
            lines(blobs, &blobs.get(&hash)?).map(Inputs::List)
        }
        InputsRequest::Blobs(hashes) => {
            let mut carried = 0;
            let input = |hash: &Hash| {
                let len = length(blobs, hash, "an input")?;
                if len > MAX_INLINE as u64 || carried + len > MAX_CARRIED {
                    return Ok(Input::Blob { hash: *hash, len });
                }
                carried += len;
                Ok(Input::Inline(ByteBuf::from(blobs.get(hash)?)))
            };
            count(hashes.len() as u64)?;
            hashes.iter().map(input).collect::<Result<_, Failure>>().map(Inputs::List)
        }
    }
}

/// One input per line, each with its newline; a last line without one is given it.
fn lines(blobs: &Blobs, text: &[u8]) -> Result<Vec<Input>, Failure> {
    count(text.iter().filter(|byte| **byte == b'\n').count() as u64)?;
    let mut inputs = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let mut line = line.to_vec();
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        inputs.push(if line.len() <= MAX_INLINE {
            Input::Inline(ByteBuf::from(line))
        } else {
            Input::Blob { len: line.len() as u64, hash: blobs.put(&line)? }
        });
    }
    Ok(inputs)
}

/// Refuses before anything large is built.
fn count(inputs: u64) -> Result<(), Failure> {
    if inputs <= MAX_JOB_TASKS { Ok(()) } else { Err(Failure::refused(too_many(inputs))) }
}

fn too_many(inputs: u64) -> String {
    format!("a job has 1 to {MAX_JOB_TASKS} inputs, this one {inputs}")
}

/// What a broken bound means to the submitter.
fn in_words(error: &WireError, manifest: &Manifest) -> String {
    let WireError::Bounds(what) = error else { return error.to_string() };
    match *what {
        "the number of tasks" => too_many(manifest.inputs.count()),
        "module" => "the module is empty or too long".to_owned(),
        "args" => "there are more than 256 arguments, or one has a NUL in it".to_owned(),
        "env" => "there are more than 256 environment variables, or one has no name or a NUL in it"
            .to_owned(),
        "data" => "there are more than 256 data files, or one has no plain file name".to_owned(),
        "program" => {
            "arguments, environment and file names have more than 64 KiB together".to_owned()
        }
        "the number of named peers" => {
            format!("a job names 1 to {MAX_NAMED} peers that may compute it")
        }
        "a confidential job's audience" => {
            "a confidential job says who may compute it: the trust list, or peers by name"
                .to_owned()
        }
        "a confidential job's delegate" => {
            "a confidential job names its delegate among the peers that may compute it".to_owned()
        }
        "an input" => format!("an input has more than {MAX_BLOB} bytes"),
        other => format!("{other} is outside its bounds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &[u8]) -> Input {
        Input::Inline(ByteBuf::from(text))
    }

    #[test]
    fn lines_keep_their_newline_and_the_last_is_given_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = bayan_store::Directory::open(directory.path(), bayan_store::Options::default())
            .unwrap();
        let blobs = store.blobs();
        assert_eq!(lines(&blobs, b"").unwrap(), []);
        assert_eq!(
            lines(&blobs, b"a\n\nb").unwrap(),
            [inline(b"a\n"), inline(b"\n"), inline(b"b\n")]
        );
        assert_eq!(lines(&blobs, b"a\r\n").unwrap(), [inline(b"a\r\n")]);

        let long = vec![b'x'; MAX_INLINE];
        let with_newline = [&long[..], b"\n"].concat();
        let expected =
            Input::Blob { hash: Hash::of(&with_newline), len: with_newline.len() as u64 };
        assert_eq!(lines(&blobs, &long).unwrap(), [expected]);
        assert_eq!(blobs.get(&Hash::of(&with_newline)).unwrap(), with_newline);
    }
}
