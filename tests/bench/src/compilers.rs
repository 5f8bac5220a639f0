//! The C compilers of this machine.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

const INSTALL: &str = "install the compilers (as root):
  apt-get install -y --no-install-recommends gcc clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
or gcc and 'pip install ziglang', or gcc and a WASI SDK that WASI_SDK_PATH names";
/// Where Debian's wasi-libc lives.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi/libc.a";

/// A compiler with the options that choose its target.
#[derive(Debug, Clone)]
pub struct Compiler {
    command: Vec<OsString>,
}

/// What kernels are compiled by.
#[derive(Debug, Clone)]
pub struct Compilers {
    /// GCC, for this machine.
    pub gcc: Compiler,
    /// Clang, for this machine.
    pub clang: Compiler,
    /// The same clang, for WebAssembly.
    pub wasm: Compiler,
}

/// Options for this machine: its architecture's baseline, as distributions build programs.
pub const NATIVE_OPTIONS: &[&str] = &["-std=c99", "-O2"];
/// Options for WebAssembly: a library with `run`.
pub const WASM_OPTIONS: &[&str] =
    &["-std=c99", "-O2", "-mexec-model=reactor", "-Wl,--export=run", "-Wl,--strip-all"];

impl Compilers {
    /// The WASI SDK that `WASI_SDK_PATH` names, else Debian's clang with wasi-libc, else PyPI's
    /// ziglang; and GCC.
    pub fn find() -> anyhow::Result<Self> {
        let gcc = Compiler::new(["gcc"]);
        ensure!(gcc.works(), "no gcc here: {INSTALL}");
        let (clang, wasm) = clang().context(INSTALL)?;
        Ok(Self { gcc, clang, wasm })
    }
}

/// Clang for this machine and for WebAssembly.
fn clang() -> anyhow::Result<(Compiler, Compiler)> {
    if let Some(sdk) = env::var_os("WASI_SDK_PATH") {
        let sdk = PathBuf::from(sdk);
        let clang = sdk.join("bin/clang");
        let mut sysroot = std::ffi::OsString::from("--sysroot=");
        sysroot.push(sdk.join("share/wasi-sysroot"));
        let native = Compiler::new([clang.as_os_str()]);
        let target = OsString::from("--target=wasm32-wasip1");
        let wasm = Compiler::new([clang.into(), target, sysroot]);
        ensure!(native.works(), "WASI_SDK_PATH names no WASI SDK");
        return Ok((native, wasm));
    }
    for suffix in (11..=40).rev().map(|version| format!("-{version}")).chain([String::new()]) {
        let clang = format!("clang{suffix}");
        if Path::new(WASI_LIBC).exists() && links_wasm(&clang) {
            let wasm = Compiler::new([clang.as_str(), "--target=wasm32-wasi", "--sysroot=/usr"]);
            return Ok((Compiler::new([clang]), wasm));
        }
    }
    let zig = ["python3", "-m", "ziglang", "cc"];
    let native = Compiler::new(zig.into_iter().chain(["-mcpu=baseline"]));
    if native.works() {
        return Ok((native, Compiler::new(zig.into_iter().chain(["-target", "wasm32-wasi"]))));
    }
    bail!("no clang for WebAssembly here")
}

/// Whether this clang has its runtime library and linker for WASI.
fn links_wasm(clang: &str) -> bool {
    let asked =
        Command::new(clang).args(["--target=wasm32-wasi", "-print-libgcc-file-name"]).output();
    let runtime = asked.is_ok_and(|output| {
        output.status.success()
            && Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists()
    });
    let linker = clang.replacen("clang", "wasm-ld", 1);
    runtime && Compiler::new([linker]).works()
}

impl Compiler {
    fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }

    fn works(&self) -> bool {
        let asked =
            self.command().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// Compiles and links.
    pub fn compile(&self, options: &[&str], sources: &[&Path], out: &Path) -> anyhow::Result<()> {
        let output = self.command().args(options).args(sources).arg("-o").arg(out).output()?;
        ensure!(
            output.status.success(),
            "{} failed: {}",
            self.words(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The command as one would type it.
    pub fn words(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// The first line of what it says of itself.
    pub fn version(&self) -> String {
        let output = self.command().arg("--version").output();
        let told = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        told.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    }
}
