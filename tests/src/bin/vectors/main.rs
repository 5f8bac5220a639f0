//! Writes `specs/vectors` anew: valid and invalid bytes for everything that two peers must agree on.
//!
//! Run with `BAYAN_WRITE_VECTORS=1`; without it nothing is written. What the files must say is fixed
//! by the prose in `specs`, and `tests/conformance.rs` reads every one of them. The guests' vectors
//! are not written here.

mod blobs;
mod cast;
mod delegate;
mod evidence;
mod file;
mod frames;
mod identity;
mod notation;
mod paths;
mod play;
mod refused;
mod results;
mod tasks;
mod verify;

fn main() -> anyhow::Result<()> {
    let files = [
        identity::files(),
        frames::files(),
        refused::files(),
        blobs::files(),
        tasks::files(),
        results::files(),
        evidence::files(),
        paths::files(),
        delegate::files(),
        verify::files(),
    ];
    let writing = std::env::var_os("BAYAN_WRITE_VECTORS").is_some_and(|value| value == "1");
    for file in files.into_iter().flatten() {
        println!("{} ({} cases)", file.path, file.cases());
        if writing {
            file.write()?;
        }
    }
    if !writing {
        println!("nothing was written; set BAYAN_WRITE_VECTORS=1 to write");
    }
    Ok(())
}
