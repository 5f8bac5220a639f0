//! Options that say whom a job trusts, and how far.

use std::fs;

use anyhow::Context as _;
use bayan_protocol::{
    id::PeerId,
    job::Audience,
    limits::{MAX_NAMED, MAX_REDUNDANCY},
    plan::Rules,
    verify::Policy,
};
use clap::{Args, ValueEnum};

use super::exit::Misuse;

/// Whom the job trusts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(super) struct TrustArgs {
    /// How results are accepted: none, vote:M, spot:Q, credibility:E, boinc or adaptive
    #[arg(long, value_name = "POLICY", default_value_t = Policy::default())]
    trust: Policy,
    /// The same as --trust vote:M (or none, for 1): peers that must agree on a result
    #[arg(long, value_name = "M", conflicts_with = "trust", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REDUNDANCY)))]
    redundancy: Option<u32>,
    /// Share of peers to assume faulty, for what is planned and for --tolerate [default: 0.2]
    #[arg(long, value_name = "F")]
    assume_faulty: Option<String>,
    /// Share of wrong results that the job can bear, such as 0.01 for a picture: fewer checks of
    /// strangers
    #[arg(long, value_name = "E", conflicts_with = "redundancy")]
    tolerate: Option<String>,
    /// Only peers of the trust list compute (see bayan trust)
    #[arg(long, group = "audience")]
    only_trusted: bool,
    /// Only these peers compute: ids separated by commas, @FILE for a file with one a line
    #[arg(long, value_name = "LIST", group = "audience")]
    peers: Option<String>,
    /// Module and inputs are given to nobody but those who may compute; takes --peers or --only-trusted
    #[arg(long, requires = "audience")]
    confidential: bool,
    /// This peer carries the job on while the own one is away, and hands the results back. They are taken on
    /// its word: if it lies or is deceived, results are wrong and nothing here notices. It must have agreed
    /// (see bayan node --delegate-for)
    #[arg(long, value_name = "PEER")]
    delegate: Option<String>,
    /// The run ends when results are this well founded
    #[arg(long, value_enum, value_name = "STATE", default_value_t = AcceptArg::Final)]
    accept: AcceptArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AcceptArg {
    /// Every input has a result, however little it was checked
    Provisional,
    /// Every result is checked as the policy asks for, and stands
    Final,
}

/// What the options come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trust {
    pub(super) policy: String,
    pub(super) tolerance: Option<String>,
    pub(super) assume_faulty: Option<String>,
    pub(super) audience: Audience,
    pub(super) confidential: bool,
    pub(super) provisional: bool,
    pub(super) delegate: Option<PeerId>,
}

impl TrustArgs {
    /// What the options come to, checked before anything is uploaded.
    pub(super) fn read(&self) -> anyhow::Result<Trust> {
        let policy = self.redundancy.and_then(Policy::redundancy).unwrap_or(self.trust).to_string();
        let (tolerance, assume_faulty) = (self.tolerate.clone(), self.assume_faulty.clone());
        Rules::parse(&policy, tolerance.as_deref(), assume_faulty.as_deref())
            .map_err(|error| Misuse(error.to_string()))?;
        let audience = match &self.peers {
            Some(list) => Audience::Named(peers(list)?),
            None if self.only_trusted => Audience::Trusted,
            None => Audience::Anyone,
        };
        let delegate =
            self.delegate.as_deref().map(|id| peer(id.trim(), "--delegate")).transpose()?;
        if let (Some(delegate), true) = (&delegate, self.confidential) {
            may_know(delegate, &audience)?;
        }
        Ok(Trust {
            policy,
            tolerance,
            assume_faulty,
            audience,
            confidential: self.confidential,
            provisional: self.accept == AcceptArg::Provisional,
            delegate,
        })
    }
}

/// Whoever carries a confidential job on has its content and gives it to others.
fn may_know(delegate: &PeerId, audience: &Audience) -> Result<(), Misuse> {
    match audience {
        Audience::Named(peers) if peers.contains(delegate) => Ok(()),
        Audience::Named(_) => Err(Misuse(format!(
            "--delegate: the job is confidential and --peers does not name {}; name it there, too",
            delegate.short()
        ))),
        Audience::Trusted | Audience::Anyone => Err(Misuse(
            "--delegate: a confidential job with a delegate says with --peers who may compute it, and \
             names the delegate there; the delegate's trust list is another than the one here"
                .to_owned(),
        )),
    }
}

/// The peers of a list.
fn peers(list: &str) -> anyhow::Result<Vec<PeerId>> {
    let mut peers = Vec::new();
    for entry in list.split(',').map(str::trim) {
        match entry.strip_prefix('@') {
            Some(file) => {
                let text = fs::read_to_string(file)
                    .with_context(|| format!("--peers: cannot read {file}"))?;
                let line = |line: &str| line.split('#').next().unwrap_or("").trim().to_owned();
                for (number, id) in (1..).zip(text.lines().map(line)) {
                    if !id.is_empty() {
                        peers.push(peer(&id, &format!("{file}, line {number}"))?);
                    }
                }
            }
            None => peers.push(peer(entry, "--peers")?),
        }
    }
    peers.sort_unstable();
    peers.dedup();
    if peers.is_empty() || peers.len() > MAX_NAMED {
        let count = peers.len();
        return Err(Misuse(format!("--peers: name 1 to {MAX_NAMED} peers, not {count}")).into());
    }
    Ok(peers)
}

/// Reads a peer's id, which stands at `place`.
fn peer(text: &str, place: &str) -> Result<PeerId, Misuse> {
    text.parse().map_err(|error| {
        Misuse(format!("{place}: '{text}' is no peer: {error}; `bayan peers --json` shows them"))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_list_has_ids_and_files_of_ids() {
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "# friends\n{two}  # the second\n\n{one}").unwrap();
        let path = file.path().display().to_string();
        let both = vec![PeerId([1; 32]), PeerId([2; 32])];
        assert_eq!(peers(&format!("{one}, {two}")).unwrap(), both);
        assert_eq!(peers(&format!("{one},@{path}")).unwrap(), both);

        let wrong = peers("abc").unwrap_err();
        assert!(wrong.to_string().contains("'abc' is no peer"), "{wrong}");
        assert!(wrong.is::<Misuse>());
        writeln!(file, "xyz").unwrap();
        let wrong = peers(&format!("@{path}")).unwrap_err().to_string();
        assert!(wrong.contains("line 5: 'xyz'"), "{wrong}");
        assert!(peers("@/no/such/file").is_err());
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(peers(&format!("@{}", empty.path().display())).is_err());
    }
}
