//! Guest code beside native code: each kernel is compiled from the same C by gcc and clang for this
//! machine and by the same clang for WebAssembly, and run in turns: natively, by wasmtime as it is,
//! packed, and with wasmtime's own meter and canonical NaNs.
//!
//! Times are processor time. "best" is of the quickest turn of each side, which a busy machine
//! disturbs least; the figure that counts is the median of the turns' ratios.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use bayan_bench::{
    compilers::{Compilers, NATIVE_OPTIONS, WASM_OPTIONS},
    kernel::{HEADER, KERNELS, Kernel, NATIVE},
    turns::{Ratio, Turns},
    variant::{Mode, Variant},
};
use clap::Parser;
use serde_json::{Value, json};

/// Turns that count; one more goes before them.
const TURNS: u32 = 11;

/// Compares packed guest code with native code.
#[derive(Parser)]
struct Options {
    /// Kernels to run; all if none is named.
    kernels: Vec<String>,
    /// Turns of every variant.
    #[arg(long, default_value_t = TURNS, value_parser = clap::value_parser!(u32).range(9..))]
    turns: u32,
    /// Processor time of one call, natively.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(20..=1000))]
    millis: u32,
    /// Prints JSON, with every single time.
    #[arg(long)]
    json: bool,
    /// Leaves programs, modules and machine code in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// The ways to run a kernel, in the order of turns.
const VARIANTS: [&str; 5] = ["gcc", "clang", "unpacked", "packed", "switches"];
const GCC: usize = 0;
const CLANG: usize = 1;
const UNPACKED: usize = 2;
const PACKED: usize = 3;
const SWITCHES: usize = 4;

/// What was measured of one kernel.
struct Measured {
    kernel: &'static Kernel,
    turns: [Turns; 5],
    /// Which of the two native ones is faster.
    native: usize,
    packed_over_native: Ratio,
    unpacked_over_native: Ratio,
    tax: Ratio,
    switches_over_unpacked: Ratio,
    /// Fuel of one call.
    fuel: Option<i64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let kernels = chosen(&options.kernels)?;
    let compilers = Compilers::find()?;
    let scratch = tempfile::tempdir()?;
    let dir = options.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&dir)?;
    if !options.json {
        for (compiler, flags) in [
            (&compilers.gcc, NATIVE_OPTIONS),
            (&compilers.clang, NATIVE_OPTIONS),
            (&compilers.wasm, WASM_OPTIONS),
        ] {
            println!("{}: {} {}", compiler.version(), compiler.words(), flags.join(" "));
        }
        println!("{} turns of about {} ms, medians (min..max)", options.turns, options.millis);
        header();
    }
    let mut all = Vec::new();
    for kernel in kernels {
        let measured = measure(kernel, &compilers, &dir, &options)
            .with_context(|| format!("kernel {}", kernel.name))?;
        if !options.json {
            line(&measured);
        }
        all.push(measured);
    }
    if options.json {
        let all: Vec<_> = all.iter().map(as_json).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        footer(&all);
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let known = || KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", ");
        let kernel = KERNELS.iter().find(|kernel| kernel.name == name);
        kernel.with_context(|| format!("no kernel {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

fn measure(
    kernel: &'static Kernel,
    compilers: &Compilers,
    dir: &Path,
    options: &Options,
) -> anyhow::Result<Measured> {
    let mut variants = variants(kernel, compilers, dir)?;
    let n = calibrate(&mut variants[GCC], u64::from(options.millis) * 1_000_000)?;
    let expected = variants[GCC].run(n)?.sum;
    let mut turns: [Turns; 5] = Default::default();
    let mut fuel = None;
    for turn in 0..=options.turns {
        for (index, variant) in variants.iter_mut().enumerate() {
            let before = variant.fuel();
            let run = variant.run(n)?;
            ensure!(
                run.sum == expected,
                "{} computes {}, gcc {expected}",
                VARIANTS[index],
                run.sum
            );
            if turn > 0 {
                turns[index].0.push(run.nanos as f64);
            }
            if let (Some(before), Some(after)) = (before, variant.fuel()) {
                let used = after - before;
                ensure!(fuel.is_none_or(|fuel| fuel == used), "fuel differs between calls");
                fuel = Some(used);
            }
        }
    }
    for (name, turns) in VARIANTS.iter().zip(&turns) {
        let least = turns.min();
        ensure!(least > 5e6, "{name} took {least} ns, too little to be measured");
    }
    let native = if turns[GCC].median() <= turns[CLANG].median() { GCC } else { CLANG };
    let ratio = |index: usize, base: usize| {
        let ratio = turns[index].over(&turns[base]);
        ratio.with_context(|| format!("{} was not measured", VARIANTS[index]))
    };
    Ok(Measured {
        kernel,
        native,
        packed_over_native: ratio(PACKED, native)?,
        unpacked_over_native: ratio(UNPACKED, native)?,
        tax: ratio(PACKED, UNPACKED)?,
        switches_over_unpacked: ratio(SWITCHES, UNPACKED)?,
        turns,
        fuel,
    })
}

fn variants(kernel: &Kernel, compilers: &Compilers, dir: &Path) -> anyhow::Result<[Variant; 5]> {
    let name = kernel.name;
    let (source, native) = (dir.join(format!("{name}.c")), dir.join("native.c"));
    fs::write(dir.join("kernel.h"), HEADER)?;
    fs::write(&native, NATIVE)?;
    fs::write(&source, kernel.source)?;
    let [gcc, clang] = [GCC, CLANG].map(|index| dir.join(format!("{name}-{}", VARIANTS[index])));
    // Kernel and caller are separate units, as they are for WebAssembly.
    compilers.gcc.compile(NATIVE_OPTIONS, &[&source, &native], &gcc)?;
    compilers.clang.compile(NATIVE_OPTIONS, &[&source, &native], &clang)?;
    let guest = dir.join(format!("{name}.wasm"));
    compilers.wasm.compile(WASM_OPTIONS, &[&source], &guest)?;
    let guest = fs::read(guest)?;
    let wasm = |index: usize, mode| {
        Variant::wasm(&guest, mode, dir, &format!("{name}-{}", VARIANTS[index]))
    };
    Ok([
        Variant::native(&gcc)?,
        Variant::native(&clang)?,
        wasm(UNPACKED, Mode::Unpacked)?,
        wasm(PACKED, Mode::Packed)?,
        wasm(SWITCHES, Mode::Switches)?,
    ])
}

/// How much work takes about `nanos`.
fn calibrate(variant: &mut Variant, nanos: u64) -> anyhow::Result<u32> {
    let mut n = 1_u32;
    loop {
        let took = variant.run(n)?.nanos.max(1);
        if took >= nanos / 8 {
            let scaled = u64::from(n).saturating_mul(nanos) / took;
            return Ok(u32::try_from(scaled)?.max(1));
        }
        n = n.checked_mul(2).context("the kernel takes no time")?;
    }
}

/// Expectations with what came of them: name, bound, median.
fn judged(measured: &Measured) -> impl Iterator<Item = (&'static str, f64, f64)> {
    let kernel = measured.kernel;
    let native = kernel.native.map(|bound| ("native", bound, measured.packed_over_native.median));
    let tax = kernel.tax.map(|bound| ("tax", bound, measured.tax.median));
    native.into_iter().chain(tax)
}

fn header() {
    println!(
        "\n{:<11} {:<6} {:>27} {:>27} {:>27} {:>13}  target",
        "kernel",
        "native",
        "packed/native      best",
        "packed/unpacked    best",
        "unpacked/native    best",
        "fuel+nan/unp."
    );
}

fn line(measured: &Measured) {
    let cell = |ratio: &Ratio| {
        let Ratio { median, min, max, best } = ratio;
        format!("{median:.3} ({min:.2}..{max:.2}) {best:.3}")
    };
    let verdicts: Vec<_> = judged(measured)
        .map(|(name, bound, median)| {
            let verdict = if median <= bound { "met" } else { "NOT MET" };
            format!("{name} <= {bound:.2} {verdict}")
        })
        .collect();
    println!(
        "{:<11} {:<6} {:>27} {:>27} {:>27} {:>13.3}  {}",
        measured.kernel.name,
        VARIANTS[measured.native],
        cell(&measured.packed_over_native),
        cell(&measured.tax),
        cell(&measured.unpacked_over_native),
        measured.switches_over_unpacked.median,
        verdicts.join(", ")
    );
}

fn footer(all: &[Measured]) {
    let judged: Vec<_> = all.iter().flat_map(judged).collect();
    let met = judged.iter().filter(|(_, bound, median)| median <= bound).count();
    println!("\n{met} of {} targets met", judged.len());
}

fn as_json(measured: &Measured) -> Value {
    let ratio = |ratio: &Ratio| json!({"median": ratio.median, "min": ratio.min, "max": ratio.max, "best": ratio.best});
    let nanos: serde_json::Map<_, _> = VARIANTS
        .iter()
        .zip(&measured.turns)
        .map(|(name, turns)| ((*name).to_owned(), json!(turns.0)))
        .collect();
    let targets: Vec<_> = judged(measured)
        .map(|(name, bound, median)| json!({"of": name, "bound": bound, "met": median <= bound}))
        .collect();
    json!({
        "kernel": measured.kernel.name,
        "native": VARIANTS[measured.native],
        "packed_over_native": ratio(&measured.packed_over_native),
        "packed_over_unpacked": ratio(&measured.tax),
        "unpacked_over_native": ratio(&measured.unpacked_over_native),
        "switches_over_unpacked": ratio(&measured.switches_over_unpacked),
        "fuel": measured.fuel,
        "nanos": nanos,
        "targets": targets,
    })
}
