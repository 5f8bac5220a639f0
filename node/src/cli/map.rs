//! `bayan map`: the one-liner for the shell.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    Context, apps,
    exit::Code,
    job_args::{ProgramArgs, RuleArgs},
    peer_args::PeerArgs,
    run,
};

/// Map lines of standard input to standard output, one task per line
///
/// COMMAND is an app, with its arguments if need be. Each line of standard input becomes the standard
/// input of one task; the outputs are written to standard output in the order of the lines, as soon as
/// all before them are there. A task that fails writes nothing, is named on standard error, and makes
/// the exit code 3. Equal lines are computed once.
///
///     seq 0 111 | bayan map 'factor --number 1234567890123456789'
///     seq 0 111 | bayan map factor -- --number 1234567890123456789
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct MapArgs {
    /// Path of a module or name of an installed app; in quotes with arguments
    #[arg(value_name = "COMMAND")]
    command: String,
    /// Show nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    peer: PeerArgs,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &MapArgs) -> anyhow::Result<Code> {
    let (app, mut guest) = split(&args.command)?;
    guest.extend(args.program.args()?);
    run::map(
        context,
        apps::load(context, &app)?,
        guest,
        &args.program,
        &args.rules,
        &args.peer,
        args.quiet,
    )
}

/// The app and the arguments given with it.
fn split(command: &str) -> anyhow::Result<(String, Vec<String>)> {
    // A path may have spaces in it.
    if Path::new(command).is_file() {
        return Ok((command.to_owned(), Vec::new()));
    }
    let mut words =
        shlex::split(command).with_context(|| format!("{command}: a quote is not closed"))?;
    if words.is_empty() {
        bail!("name an app");
    }
    let app = words.remove(0);
    Ok((app, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_app_and_its_arguments() {
        let (app, args) = split("factor --name 'a b' -x").unwrap();
        assert_eq!(
            (app.as_str(), args),
            ("factor", vec!["--name".into(), "a b".into(), "-x".into()])
        );
        assert_eq!(split("factor").unwrap(), ("factor".into(), Vec::new()));
        assert!(split("  ").is_err());
        assert!(split("a 'b").is_err());
    }
}
