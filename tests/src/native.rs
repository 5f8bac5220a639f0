//! The same jobs without the overlay: what a job's results must equal, byte for byte.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, ensure};

use crate::program::root;

/// A committed guest module.
pub fn module(name: &str) -> PathBuf {
    root().join("apps/modules").join(format!("{name}.wasm"))
}

/// A committed input.
pub fn fixture(name: &str) -> PathBuf {
    root().join("apps/fixtures").join(name)
}

/// Where the native programs are; they are built once if nobody did before.
fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(dir) = std::env::var_os("BAYAN_NATIVE") {
            return dir.into();
        }
        let dir = root().join("target/native");
        let built = Command::new(root().join("apps/build")).arg("--native").arg(&dir).output();
        let built = built.expect("apps/build can be started");
        assert!(
            built.status.success(),
            "apps/build --native: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        dir
    })
}

/// The outputs of all tasks of a range, one after another.
pub fn range(app: &str, range: &str, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(programs().join("bayan-native"));
    command.args([app, "--range", range]).args(args);
    output(command, b"")
}

/// The k-mer counts of one input.
pub fn kmers(input: &[u8], args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(programs().join("kmers"));
    command.args(args);
    output(command, input)
}

/// The k-mer counts of each line, one after another.
pub fn kmers_of_lines(text: &[u8], args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let counts = lines.map(|line| kmers(line, args)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(counts.concat())
}

fn output(mut command: Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let words = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("cannot start {words}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = child.wait_with_output()?;
    let _ = writer.join();
    ensure!(done.status.success(), "{words}: {}", done.status);
    Ok(done.stdout)
}
