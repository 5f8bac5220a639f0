//! The protocol's views as the OpenAPI document describes them.
//!
//! `bayan-protocol` knows nothing of OpenAPI, so its types are mirrored here for the document alone:
//! nothing is ever built of these. A test holds each against what is really sent.
#![expect(dead_code, reason = "only their schemas are used")]

use utoipa::ToSchema;

/// Bounds on one task.
#[derive(ToSchema)]
pub(super) struct Limits {
    /// Bytes of linear memory.
    memory: u64,
    /// Units of work.
    fuel: u64,
    /// Bytes of standard output.
    output: u64,
    /// Milliseconds of wall time.
    wall_ms: u64,
}

/// What the submitter's own slots do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Local {
    /// Compute from the start.
    Always,
    /// Compute what too few peers were there for.
    Reserve,
    /// Nothing.
    Never,
}

/// How a task ended: `{"exit": CODE}`, or a word.
#[derive(ToSchema)]
pub(super) enum Status {
    /// The guest ended with this exit code.
    #[schema(rename = "exit")]
    Exited(u32),
    /// The guest trapped.
    #[schema(rename = "trap")]
    Trapped,
    /// The fuel limit was reached.
    #[schema(rename = "fuel")]
    OutOfFuel,
    /// The output limit was passed.
    #[schema(rename = "output")]
    OutputLimit,
    /// Wall time ran out.
    #[schema(rename = "wall")]
    WallTime,
    /// The engine's stack ran out.
    #[schema(rename = "stack")]
    StackOverflow,
    /// Memory could not be had.
    #[schema(rename = "memory")]
    MemoryRefused,
    /// The host failed.
    #[schema(rename = "host")]
    HostFault,
}

/// Where a job stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum JobState {
    /// Tasks are unfinished.
    Running,
    /// Every task is settled.
    Done,
    /// Ended by its submitter.
    Cancelled,
}

/// How results are accepted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Policy {
    /// The first result of anyone.
    None,
    /// The first outcome that this many peers agree on.
    Vote(u32),
    /// A share is checked; who is caught loses everything.
    Spot {
        /// Parts of a million.
        checked: u32,
    },
    /// By the odds of those who agree.
    Credibility {
        /// Accepted chance of an error, parts of a million.
        error: u32,
        /// Workers assumed faulty, parts of a million.
        faulty: u32,
    },
    /// BOINC's adaptive replication.
    Boinc,
    /// Checks by the worker's record.
    Adaptive {
        /// Share checked of strangers, parts of a million.
        first: u32,
        /// Share that is always checked, parts of a million.
        floor: u32,
        /// Passed checks from which on less is checked.
        k: u32,
    },
}

/// Who may compute a job.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Audience {
    /// Anyone.
    Anyone,
    /// Those that the operator vouches for.
    Trusted,
    /// These peers.
    Named(Vec<String>),
}

/// Why a peer is banned.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum BanReason {
    /// Its results are wrong too often.
    Failures,
    /// It signed two outcomes for one task.
    Equivocation,
    /// It signed a wrong outcome that another identity signed too.
    Collusion,
    /// The operator said so.
    Operator,
}

/// Where a task stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum TaskState {
    /// No outcome is believed.
    Open,
    /// A check of its outcome is under way.
    Checking,
    /// Its outcome is believed on its worker's word.
    Provisional,
    /// Two outcomes differ.
    Disputed,
    /// A check has passed.
    Confirmed,
    /// It stands for good.
    Final,
    /// There will be no outcome.
    GivenUp,
}

/// What the belief in an outcome rests on, the strongest first.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Basis {
    /// The submitter's own execution.
    Own,
    /// A replica by an established worker of another network.
    Established,
    /// Referees.
    Referees,
    /// As many agreeing workers as the policy asks for.
    Quorum,
    /// A replica by a worker of another network.
    Elsewhere,
    /// A replica by any other identity.
    Anyone,
    /// A later check of the same worker.
    LaterCheck,
    /// The worker's word alone.
    Word,
    /// The word of the job's delegate.
    Delegate,
}

/// What checking came to.
#[derive(ToSchema)]
pub(super) struct Tally {
    /// Results that counted, all copies of all tasks.
    results: u64,
    /// First results of which a check was drawn.
    drawn: u64,
    /// First results taken on the worker's word.
    undrawn: u64,
    /// Accepted results that were taken back.
    taken_back: u64,
    /// Tasks on which two results differed.
    disputes: u64,
    /// Checks at the end.
    closing: u64,
}

/// Whose work a peer takes.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Accept {
    /// Its own jobs.
    Own,
    /// Those of the same network as well.
    Lan,
    /// Anybody's.
    All,
}

/// A job's standing.
#[derive(ToSchema)]
pub(super) struct JobView {
    /// The job.
    job: String,
    /// Its name.
    name: String,
    /// Where it stands.
    state: JobState,
    /// How results are accepted.
    policy: Policy,
    /// Whether it is over once every task has a result.
    provisional: bool,
    /// Who may compute it.
    audience: Audience,
    /// Whether module and inputs are given to nobody else.
    confidential: bool,
    /// Inputs that were given.
    inputs: u64,
    /// Distinct tasks among them.
    tasks: u64,
    /// Tasks that stand for good or were given up.
    settled: u64,
    /// Tasks in each state.
    states: std::collections::BTreeMap<String, u64>,
    /// Tasks with an outcome, by what the belief in it rests on.
    bases: std::collections::BTreeMap<String, u64>,
    /// Tasks with an outcome that more than one worker computed.
    replicated: u64,
    /// What checking came to.
    tally: Tally,
    /// Whether the app gives different results on different honest machines.
    quarantined: bool,
    /// If so, whether it is the submitter's own machine that gives what no other gives.
    own_apart: bool,
    /// Settled tasks that failed or were given up.
    failed: u64,
    /// Unsettled tasks with a copy out.
    in_flight: u64,
    /// What it waits for.
    waiting: Option<String>,
    /// Microseconds since the epoch.
    submitted: u64,
    /// Microseconds since the epoch.
    ended: Option<u64>,
    /// Everyone that took part.
    workers: Vec<WorkerView>,
    /// The hops behind relays that results came over.
    tree: Vec<HopView>,
    /// Who carries it on while this peer is away.
    delegate: Option<DelegateView>,
}

/// A job's delegate.
#[derive(ToSchema)]
pub(super) struct DelegateView {
    /// Who.
    peer: String,
    /// Whether it is connected now.
    connected: bool,
    /// Whether it keeps the job.
    accepted: bool,
    /// Why it does not, in words.
    refused: Option<String>,
    /// Results that stand on its word.
    results: u64,
    /// Results for which it vouched differently from what was final here, which stands.
    differs: u64,
    /// Whether nothing is leased until it has said what became final while this peer was away.
    awaited: bool,
}

/// One hop of the tree that a job runs on.
#[derive(ToSchema)]
pub(super) struct HopView {
    /// Who hands tasks over.
    from: String,
    /// To whom.
    to: String,
    /// Results that came back over it, the copies too.
    results: u64,
    /// Results that should have come over it and were brought round it.
    dropped: u64,
    /// Microseconds between its first result and its last.
    micros: u64,
}

/// One worker's part in a job.
#[derive(ToSchema)]
pub(super) struct WorkerView {
    /// Who.
    peer: String,
    /// Whether these are the submitter's own slots.
    own: bool,
    /// Whether it is connected now.
    connected: bool,
    /// Tasks it computes at once.
    slots: u32,
    /// Tasks it holds now.
    held: u64,
    /// Results that it returned.
    returned: u64,
    /// Of these, in accordance with what was accepted.
    agreed: u64,
    /// Of these, against what was accepted.
    outvoted: u64,
    /// Of these, after the task was settled.
    late: u64,
    /// Attempts that could not say.
    inconclusive: u64,
    /// Results that the submitter's own execution proved wrong.
    wrong: u64,
    /// First results of which a check was drawn.
    drawn: u64,
    /// First results that were taken on its word.
    undrawn: u64,
    /// Microseconds of computing, as the worker tells it.
    micros: u64,
    /// Tasks computed at once by it and those below it; 0 if it hands nothing on.
    below: u32,
    /// The relay that its results come through, if they do.
    via: Option<String>,
}

/// A peer's standing.
#[derive(ToSchema)]
pub(super) struct PeerView {
    /// This peer.
    peer: String,
    /// Slots computed on.
    slots: u32,
    /// Of these, free.
    free: u32,
    /// Fuel units a second and slot.
    speed: u64,
    /// Tasks held and not begun.
    queued: u64,
    /// Whether the operator paused it.
    paused: bool,
    /// Attempts ended since the start.
    executed: u64,
    /// Microseconds that slots held a task since the start, all slots together.
    busy_micros: u64,
    /// Whose work it takes.
    accept: Accept,
    /// Who is connected.
    neighbours: Vec<NeighbourView>,
    /// Who was heard of lately, connected or not.
    adverts: Vec<Advert>,
    /// How well others pass on what they are given to, of late.
    hops: Vec<PassedView>,
    /// Jobs that are kept for others, as their delegate.
    kept: Vec<KeptView>,
}

/// A job that is kept for another peer.
#[derive(ToSchema)]
pub(super) struct KeptView {
    /// Whose it is.
    submitter: String,
    /// The job.
    job: String,
    /// Its name; none before its manifest is here.
    name: Option<String>,
    /// Its tasks.
    tasks: u64,
    /// Of these, settled or confirmed at the submitter as far as it has told.
    settled: u64,
    /// Of these, final here and not settled there as far as it has told.
    done: u64,
    /// Whether all that it takes is here.
    whole: bool,
    /// Since when the submitter is away, microseconds since the epoch.
    away: Option<u64>,
    /// This peer's own jobs that carry it on.
    carried: Vec<String>,
}

/// How well another peer passes on what it is given to.
#[derive(ToSchema)]
pub(super) struct PassedView {
    /// Who.
    peer: String,
    /// Batches that it brought to their submitter.
    delivered: u64,
    /// Batches that had to be brought round it.
    dropped: u64,
}

/// A connected peer.
#[derive(ToSchema)]
pub(super) struct NeighbourView {
    /// Who.
    peer: String,
    /// Its program and version; none before its hello.
    agent: Option<String>,
    /// Tasks it computes at once.
    slots: u32,
    /// Whether it is on the same network.
    near: bool,
    /// Tasks it is willing to hold of ours.
    credit: u32,
    /// Why it does not work for us, in words.
    refused: Option<String>,
    /// Its engine profiles, if none is ours.
    foreign_profiles: Vec<String>,
}

/// A capacity statement, gossiped.
#[derive(ToSchema)]
pub(super) struct Advert {
    /// Who states it.
    p: String,
    /// Microseconds since the epoch on its clock.
    t: u64,
    /// Tasks computed at once.
    s: u32,
    /// Of these, free.
    f: u32,
    /// Fuel units a second and slot.
    v: u64,
    /// Guest memory lent to one task, bytes.
    m: u64,
    /// Engine profiles.
    e: Vec<String>,
}
