//! `bayan demo` as a command; what it does is in [`crate::demo`].

use std::path::PathBuf;

use clap::Args;

use super::{Context, exit::Code};
use crate::demo::{self, Options};

/// Show a whole network at work on this machine
///
/// Starts real peers on loopback addresses, runs a real job on them, and draws a picture of what they
/// computed. Nothing needs to be set up, and nothing stays behind but the picture.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value = "mandelbrot.png")]
    out: PathBuf,
    /// Peers to start
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=16))]
    peers: u32,
    /// Iterations at each point
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u16).range(1..))]
    depth: u16,
    /// Width and height of the picture
    #[arg(long, value_name = "PIXELS", default_value_t = 800, value_parser = clap::value_parser!(u32).range(50..=8000))]
    size: u32,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &DemoArgs) -> anyhow::Result<Code> {
    let DemoArgs { out, peers, depth, size } = args;
    let options =
        Options { out: out.clone(), peers: *peers, depth: *depth, size: *size, json: context.json };
    let code = demo::run(&options)?;
    Ok(Code::Other(u8::try_from(code).unwrap_or(1)))
}
