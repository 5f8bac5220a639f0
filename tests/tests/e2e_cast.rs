//! A cast of cheating peers beside honest ones: the job ends with exact results, nothing wrong is
//! accepted, and the peers that speak against the rules are thrown out.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use bayan::api::types::{InputsRequest, JobRequest, TaskResult};
use bayan_protocol::{
    id::{JobId, PeerId},
    job::Local,
    record::JobState,
};
use bayan_tests::{
    cast::{Cast, Member},
    guests, native, outputs,
    peers::Node,
    program::until,
};
use serde_json::Value;

const NUMBER: &str = "1234567890123456789";
const PACKET: &str = "2000000";
const TASKS: u64 = 400;
const LIMIT: Duration = Duration::from_secs(120);

/// A peer with a job of its own, and honest ones that come to work for it.
struct Network {
    submitter: Node,
    honest: Vec<Node>,
    dir: tempfile::TempDir,
}

impl Network {
    fn start(slots: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let submitter = Node::start(&dir.path().join("submitter"), &["--slots", slots])?;
        Ok(Self { submitter, honest: Vec::new(), dir })
    }

    /// Honest peers come: after the cast has had its part, so that every run has one.
    fn is_joined_by(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let dir = self.dir.path().join(format!("honest-{number}"));
            self.honest.push(Node::join(&dir, &self.submitter, &[])?);
        }
        Ok(())
    }

    fn factor(&self, local: Local) -> anyhow::Result<JobRequest> {
        let module = std::fs::read(native::module("factor"))?;
        Ok(JobRequest {
            args: ["--number", NUMBER, "--packet", PACKET].map(str::to_owned).to_vec(),
            trust: "vote:2".to_owned(),
            local,
            ..JobRequest::new(
                "factor",
                self.submitter.client()?.upload(&module)?.hash,
                InputsRequest::Range { from: 0, to: i64::try_from(TASKS)? },
            )
        })
    }

    /// Waits for a job's end and gives its results, in the order of the inputs.
    fn results(&mut self, job: JobId, tasks: u64) -> anyhow::Result<Vec<TaskResult>> {
        let client = self.submitter.client()?;
        until("the job's end", LIMIT, || {
            Ok((client.job(job)?.state == JobState::Done).then_some(()))
        })?;
        let mut results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
        outputs::check_complete(&results, tasks)?;
        outputs::check_proofs(&results)?;
        results.sort_by_key(|result| result.places.clone());
        ensure!(self.submitter.is_up()?, "the submitter went down");
        for peer in &mut self.honest {
            ensure!(peer.is_up()?, "an honest peer went down");
        }
        Ok(results)
    }

    /// Nothing that a member got wrong stands: whatever was accepted is the word of an honest peer, or
    /// of a member that knew better and was right this once.
    fn judge(&self, results: &[TaskResult], members: &[Member]) -> anyhow::Result<()> {
        let mut honest = BTreeSet::from([self.submitter.id()?]);
        for peer in &self.honest {
            honest.insert(peer.id()?);
        }
        for result in results {
            let agreed: BTreeSet<PeerId> =
                result.by.iter().filter(|vote| vote.agrees).map(|vote| vote.peer).collect();
            let counts = |member: &&Member| member.identities.iter().any(|id| agreed.contains(id));
            let mut vouched = !agreed.is_disjoint(&honest);
            for member in members.iter().filter(counts) {
                let wrong = member.wrong_tasks.contains(&result.task);
                // Of its two statements, only the right one has the right output.
                let twofold = member.role == "equivocate";
                ensure!(!wrong || twofold, "a lie counts: {member:?}");
                vouched |= twofold || !member.unknown_tasks.contains(&result.task);
            }
            ensure!(vouched, "nobody who is right vouches for {:?}", result.places);
        }
        Ok(())
    }
}

fn bytes(results: &[TaskResult]) -> anyhow::Result<Vec<u8>> {
    let inline = |result: &TaskResult| hex::decode(result.inline.as_deref().unwrap_or_default());
    Ok(results.iter().map(inline).collect::<Result<Vec<_>, _>>()?.concat())
}

fn votes(results: &[TaskResult], member: &Member) -> (usize, usize) {
    let votes = member.identities.iter().map(|id| outputs::votes_of(results, id));
    votes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Waits until members of these roles have sent or withheld at least so many results.
fn plays(cast: &mut Cast, roles: &[(&str, u64)]) -> anyhow::Result<()> {
    let mut missing = roles.to_vec();
    let count = |line: &Value, name: &str| line[name].as_u64().unwrap_or(0);
    cast.wait_for(LIMIT, |line| {
        let played = count(line, "results") + count(line, "withheld");
        missing.retain(|(role, wanted)| line["role"] != *role || played < *wanted);
        missing.is_empty().then_some(())
    })
}

#[test]
fn no_wrong_result_of_any_role_is_accepted() -> anyhow::Result<()> {
    let mut network = Network::start("1")?;
    let client = network.submitter.client()?;
    // Whoever reveals nothing soon holds all that it may, and whoever reveals something else is out.
    let roles = [
        ("always", 8),
        ("rate:0.5", 8),
        ("fuel:100", 8),
        ("data", 8),
        ("lazy", 8),
        ("equivocate", 8),
        ("commit-only", 1),
        ("other-reveal", 1),
    ];
    let mut cast = Cast::join(&network.submitter, 1, &roles.map(|(role, _)| role))?;
    // Own slots that compute from the start might be done before the cast has said anything.
    client.pause()?;
    let job = client.submit(&network.factor(Local::Always)?)?;
    plays(&mut cast, &roles)?;
    network.is_joined_by(3)?;
    client.resume()?;
    let results = network.results(job, TASKS)?;
    let members = cast.end()?;
    let expected =
        native::range("factor", &format!("0..{TASKS}"), &["--number", NUMBER, "--packet", PACKET])?;
    ensure!(bytes(&results)? == expected, "the outputs are not those of a sequential run");
    network.judge(&results, &members)?;
    for member in &members {
        match member.role.as_str() {
            "commit-only" => {
                ensure!(member.results == 0 && member.withheld > 0, "{member:?}");
                ensure!(votes(&results, member) == (0, 0), "{member:?}");
            }
            "other-reveal" => {
                let thrown_out = member.lost.contains(&network.submitter.id()?);
                ensure!(thrown_out, "it was not thrown out: {member:?}");
                ensure!(votes(&results, member) == (0, 0), "{member:?}");
            }
            "lazy" => ensure!(member.results > 1, "{member:?}"),
            "always" | "fuel:100" | "data" => {
                ensure!(member.wrong > 0 && member.wrong == member.results, "{member:?}");
                ensure!(votes(&results, member).0 == 0, "{member:?}");
            }
            _ => ensure!(member.wrong > 0 && member.results > 0, "{member:?}"),
        }
    }
    Ok(())
}

/// The file that the guest writes out is another one for the cheating peer.
#[test]
fn results_of_other_data_are_outvoted() -> anyhow::Result<()> {
    const FILE: &[u8] = b"the table that everybody reads";
    let mut network = Network::start("0")?;
    let mut cast = Cast::join(&network.submitter, 2, &["data"])?;
    let client = network.submitter.client()?;
    let job = client.submit(&JobRequest {
        name: "reader".to_owned(),
        module: client.upload(&wat::parse_str(guests::reader())?)?.hash,
        args: Vec::new(),
        data: vec![("table".to_owned(), client.upload(FILE)?.hash)],
        ..network.factor(Local::Never)?
    })?;
    plays(&mut cast, &[("data", 1)])?;
    network.is_joined_by(2)?;
    let results = network.results(job, TASKS)?;
    let members = cast.end()?;
    ensure!(bytes(&results)? == FILE.repeat(TASKS as usize), "wrong outputs");
    network.judge(&results, &members)?;
    ensure!(votes(&results, &members[0]).0 == 0, "{:?}", members[0]);
    ensure!(members[0].results > 0, "it had no part in the job");
    Ok(())
}

/// A peer that comes back under other names is somebody else each time, and wrong each time.
#[test]
fn whoever_comes_back_as_somebody_else_is_no_more_believed() -> anyhow::Result<()> {
    let mut network = Network::start("0")?;
    let mut cast = Cast::join(&network.submitter, 3, &["whitewash:5", "vanish:5"])?;
    let job = network.submitter.client()?.submit(&network.factor(Local::Never)?)?;
    let mut missing = BTreeSet::from(["rejoins", "left"]);
    cast.wait_for(LIMIT, |line| {
        missing.retain(|event| line["event"] != *event);
        missing.is_empty().then_some(())
    })?;
    network.is_joined_by(2)?;
    let results = network.results(job, TASKS)?;
    let members = cast.end()?;
    network.judge(&results, &members)?;
    ensure!(members[0].identities.len() > 1 && members[0].wrong >= 5, "{members:?}");
    ensure!(members[1].identities.len() == 1 && members[1].wrong >= 5, "{members:?}");
    Ok(())
}

/// The judge's own test: two members who agree outvote everybody, and the judge must say so.
#[test]
fn the_judge_notices_when_members_agree() -> anyhow::Result<()> {
    const FEW: u64 = 40;
    let mut network = Network::start("0")?;
    let cast = Cast::join(&network.submitter, 4, &["ring:a", "ring:a"])?;
    let job = JobRequest {
        inputs: InputsRequest::Range { from: 0, to: i64::try_from(FEW)? },
        ..network.factor(Local::Never)?
    };
    let job = network.submitter.client()?.submit(&job)?;
    let results = network.results(job, FEW)?;
    let members = cast.end()?;
    let judged = network.judge(&results, &members).expect_err("every result is a lie");
    ensure!(judged.to_string().contains("a lie counts"), "{judged}");
    Ok(())
}
