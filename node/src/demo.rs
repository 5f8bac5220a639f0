//! `bayan demo`.

use std::path::PathBuf;

/// What the demo is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the picture goes.
    pub out: PathBuf,
    /// Peers to start, 3 to 16.
    pub peers: u32,
    /// Iterations of the Mandelbrot set.
    pub depth: u16,
    /// Width and height of the picture.
    pub size: u32,
    /// Whether to speak JSON.
    pub json: bool,
}

/// Runs the demo and gives the exit code.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    let _ = options;
    anyhow::bail!("to be written")
}
