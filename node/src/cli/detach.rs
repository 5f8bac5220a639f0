//! Starting a daemon in the background, for `bayan run --detach`.

use std::{
    env, fs,
    fs::OpenOptions,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    Context,
    peer_args::PeerArgs,
    session::{self, Attached},
};

/// Time for it to serve its API.
const START: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
const LOG: &str = "node.log";
/// Bytes of its log that are shown when it fails.
const SHOWN: usize = 2000;

/// The daemon of the data directory, started if there is none; whether it was.
pub(super) fn daemon(context: &Context, args: &PeerArgs) -> anyhow::Result<(Attached, bool)> {
    if let Some(attached) = session::attach(&context.data_dir)? {
        return Ok((attached, false));
    }
    fs::create_dir_all(&context.data_dir)
        .with_context(|| format!("cannot make the directory {}", context.data_dir.display()))?;
    // Beside the directory's own files only once those are there: a new directory must be empty.
    let is_new = fs::read_dir(&context.data_dir).is_ok_and(|mut entries| entries.next().is_none());
    if is_new {
        bayan_store::Directory::open(&context.data_dir, bayan_store::Options::default())?
            .close()?;
    }
    let mut child = spawn(context, args)?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot watch the peer in the background")? {
            // Another was started at the same time and was faster.
            if let Some(attached) = session::attach(&context.data_dir)? {
                return Ok((attached, false));
            }
            bail!("the peer in the background ended ({status}):\n{}", log_end(context));
        }
        if bayan_store::Directory::peek_holder(&context.data_dir)
            .is_some_and(|holder| holder.api.is_some())
            && let Some(attached) = session::attach(&context.data_dir)?
        {
            return Ok((attached, true));
        }
        if started.elapsed() > START {
            bail!(
                "the peer in the background (process {}) does not answer; its log is {}",
                child.id(),
                context.data_dir.join(LOG).display()
            );
        }
        thread::sleep(LOOK);
    }
}

fn spawn(context: &Context, args: &PeerArgs) -> anyhow::Result<Child> {
    let path = context.data_dir.join(LOG);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let program = env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(&context.data_dir)
        .arg("node")
        .args(args.to_args())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot use the log")?)
        .stderr(log);
    // A group of its own, so that neither Ctrl-C nor the end of the terminal reaches it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("cannot start a peer in the background")
}

fn log_end(context: &Context) -> String {
    let bytes = fs::read(context.data_dir.join(LOG)).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN)..]).into_owned()
}
