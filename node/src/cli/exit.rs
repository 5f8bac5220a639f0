//! How the program ends: its exit codes, and which error means which.

use std::process::ExitCode;

use crate::client::ClientError;

/// For `bayan --help`; what scripts may rely on.
pub(super) const HELP: &str = "\
Exit codes:
    0  done
    1  something failed; standard error says what and what to do
    2  the command line is wrong
    3  the job is done, but some of its tasks failed
    4  the job was cancelled
    5  refused, such as a module with an unknown import, or a file that is no evidence
    6  evidence is refuted: what it calls wrong is right
    7  evidence cannot be decided here
  130  interrupted

Environment:
  BAYAN_DATA_DIR  data directory, unless --data-dir is given
  BAYAN_APPS      a directory of apps to be run by name
  BAYAN_LOG       what is logged on standard error, such as info or bayan=debug
  NO_COLOR        no colours";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// All went well.
    Done,
    /// Something failed.
    Error,
    /// The command line is wrong.
    Misuse,
    /// Some tasks failed.
    TasksFailed,
    /// The job was cancelled.
    Cancelled,
    /// What was asked for is refused.
    Refused,
    /// What evidence calls wrong is right.
    Refuted,
    /// Evidence cannot be decided on this machine.
    Inconclusive,
    /// By the user.
    Interrupted,
    /// What another part of the program says.
    Other(u8),
}

impl From<Code> for u8 {
    fn from(code: Code) -> Self {
        match code {
            Code::Done => 0,
            Code::Error => 1,
            Code::Misuse => 2,
            Code::TasksFailed => 3,
            Code::Cancelled => 4,
            Code::Refused => 5,
            Code::Refuted => 6,
            Code::Inconclusive => 7,
            Code::Interrupted => 130,
            Code::Other(code) => code,
        }
    }
}

impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        u8::from(code).into()
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(u8::from(code))
    }
}

/// Input that is refused for what it is, not for what happened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// A command line that cannot be meant so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(pub(super) String);

/// Whoever read standard output has stopped reading.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct OutputClosed;

/// The exit code of an error; none for those that nobody needs to hear of.
pub(super) fn code_of(error: &anyhow::Error) -> Option<Code> {
    if error.is::<OutputClosed>() {
        return None;
    }
    if error.is::<Misuse>() {
        return Some(Code::Misuse);
    }
    let refused = error.is::<Refusal>()
        || error.downcast_ref::<ClientError>().is_some_and(|error| error.status() == Some(422));
    Some(if refused { Code::Refused } else { Code::Error })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_under_a_context() {
        let refused = Err::<(), _>(Refusal("no".into())).context("cannot run it").unwrap_err();
        assert_eq!(code_of(&refused), Some(Code::Refused));
        let server = ClientError::Refused { status: 422, text: "no".into() };
        assert_eq!(
            code_of(&anyhow::Error::from(server).context("submitting")),
            Some(Code::Refused)
        );
        let missing = ClientError::Refused { status: 404, text: "no".into() };
        assert_eq!(code_of(&missing.into()), Some(Code::Error));
        assert_eq!(code_of(&OutputClosed.into()), None);
        assert_eq!(code_of(&Misuse("no".into()).into()), Some(Code::Misuse));
    }
}
