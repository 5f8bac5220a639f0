//! Who takes part in a job, and which of them may check whose results.
//!
//! The ladder of replicas (spec VERIFY-12): an established worker of another network; the submitter's
//! own slots, within a quarter of the job; the best-known worker of another network; anyone else. A
//! rung is used when the ones above it are empty, never out of haste.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{
    Basis, Vote,
    closing::{PATIENCE, RUNGS},
    disputes::Stake,
    task::{State, Task, Wanted},
};
use crate::{
    id::PeerId,
    offer::Prefix,
    pool::{Among, TaskIndex},
    standing::Standings,
    time::Timestamp,
};

/// One in so many tasks may be checked by the submitter's own slots while others could.
const OWN_PART: u64 = 4;
/// Checks that wait for the submitter's own slots at most, for each slot.
const OWN_QUEUE: u32 = 2;
/// Times the patience with silence that those are waited for who say that they are at work.
const MOST_PATIENCE: u32 = 20;

/// What is known of a member before it has done anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The network that its connection comes from.
    pub prefix: Prefix,
    /// Tasks it computes at once.
    pub slots: u32,
    /// Whether these are the submitter's own slots.
    pub own: bool,
    /// Whether it computes only what is wanted of it by name.
    pub reserved: bool,
}

/// Those of whom a result is wanted, and what their agreement would be worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    pub(super) rung: Basis,
    pub(super) among: Among,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    about: Option<About>,
    joined: bool,
    /// The neighbour that it was last heard through, if it is none itself.
    hand: Option<PeerId>,
    excluded: bool,
    /// When it last returned a result.
    heard: Timestamp,
    /// When it last said that it still works on what it holds.
    renewed: Timestamp,
    /// Tasks believed on its word alone, by the vote.
    pub(super) provisional: BTreeMap<u64, TaskIndex>,
    /// Tasks that are not final and that it has a vote in that counts.
    pub(super) open: BTreeSet<TaskIndex>,
    /// Confirmed tasks whose first worker it is, in order, until they are final.
    pub(super) confirmed: VecDeque<TaskIndex>,
    /// First results of which a check was drawn, and of which none was.
    pub(super) drawn: u64,
    pub(super) undrawn: u64,
    /// Its votes on tasks that are being checked or disputed.
    pub(super) undecided: BTreeSet<u64>,
    /// The latest of its votes before which a passed check vouches for its results.
    pub(super) vouched: u64,
    /// Disputes that it lost to referees.
    pub(super) lost: u32,
    /// Results of it in this job that the observer's own execution proved wrong.
    pub(super) proven: u32,
    /// At what stake established workers were asked about it already.
    pub(super) probed: Option<Stake>,
    /// Whether it is accused and nothing has come of that yet.
    suspected: bool,
    /// Consecutive valid results in this job (BOINC's policy).
    pub(super) valid: u32,
    /// Checks passed in this job (credibility).
    pub(super) checks: u32,
}

#[derive(Debug, Default)]
pub(super) struct Members {
    map: BTreeMap<PeerId, Member>,
    /// Checks that wait for the submitter's own slots.
    own_waiting: u32,
    /// Checks that they were asked for.
    own_asked: u64,
    /// Whether they check and referee nothing, for on this machine the app gives what no other gives.
    own_apart: bool,
    /// Those who may check a worker's results, until membership changes.
    circles: BTreeMap<PeerId, From>,
    /// Everyone that may compute for the job, until membership changes.
    everyone: Option<Among>,
}

impl Member {
    fn is_own(&self) -> bool {
        self.about.is_some_and(|about| about.own)
    }

    fn may_compute(&self) -> bool {
        self.joined && !self.excluded
    }
}

impl Members {
    pub(super) fn new(own_apart: bool) -> Self {
        Self { own_apart, ..Self::default() }
    }

    /// The submitter's own slots check and referee nothing any more.
    pub(super) fn set_own_apart(&mut self) {
        self.own_apart = true;
        self.regroup();
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.map.get(peer)
    }

    pub(super) fn entry(&mut self, peer: PeerId) -> &mut Member {
        self.map.entry(peer).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.map.iter()
    }

    pub(super) fn join(&mut self, now: Timestamp, peer: PeerId, about: About) {
        let member = self.entry(peer);
        (member.about, member.joined, member.hand) = (Some(about), true, None);
        member.heard = member.heard.max(now);
        self.regroup();
    }

    /// A vote came: a worker behind a relay is taken to be of the relay's network.
    pub(super) fn behind(&mut self, vote: &Vote) {
        let Some(hand) = vote.via.first() else { return };
        let prefix = self.prefix(hand).unwrap_or_default();
        let member = self.entry(vote.worker);
        let about = About { prefix, slots: 0, own: false, reserved: true };
        if member.joined || (member.hand == Some(*hand) && member.about == Some(about)) {
            return;
        }
        (member.hand, member.about) = (Some(*hand), Some(about));
        self.regroup();
    }

    /// Whether it is there itself, or the relay that it was last heard through.
    pub(super) fn is_reachable(&self, peer: &PeerId) -> bool {
        let hand = self.map.get(peer).filter(|one| !one.excluded).and_then(|one| one.hand);
        self.is_here(peer) || hand.is_some_and(|hand| self.is_here(&hand))
    }

    pub(super) fn leave(&mut self, peer: &PeerId) {
        if let Some(member) = self.map.get_mut(peer) {
            member.joined = false;
            self.regroup();
        }
    }

    pub(super) fn exclude(&mut self, peer: PeerId) {
        self.entry(peer).excluded = true;
        self.regroup();
    }

    /// It is accused: until that is decided nothing more is believed on its word, nor does its word
    /// confirm another's.
    pub(super) fn suspect(&mut self, peer: PeerId) {
        self.entry(peer).suspected = true;
        self.regroup();
    }

    /// An accusation has been decided.
    pub(super) fn clear(&mut self, peer: &PeerId) {
        if let Some(member) = self.map.get_mut(peer) {
            member.suspected = false;
            self.regroup();
        }
    }

    /// No accusation stands.
    pub(super) fn clear_all(&mut self) {
        for member in self.map.values_mut() {
            member.suspected = false;
        }
        self.regroup();
    }

    pub(super) fn is_suspected(&self, peer: &PeerId) -> bool {
        self.map.get(peer).is_some_and(|member| member.suspected)
    }

    pub(super) fn is_excluded(&self, peer: &PeerId) -> bool {
        self.map.get(peer).is_some_and(|member| member.excluded)
    }

    /// Who may check whom has changed.
    pub(super) fn regroup(&mut self) {
        self.circles.clear();
        self.everyone = None;
    }

    pub(super) fn heard(&mut self, peer: &PeerId, now: Timestamp) {
        if let Some(member) = self.map.get_mut(peer) {
            member.heard = now;
        }
    }

    pub(super) fn is_here(&self, peer: &PeerId) -> bool {
        self.map.get(peer).is_some_and(Member::may_compute)
    }

    /// The submitter's own slots, if they may check and referee.
    pub(super) fn own(&self) -> Option<PeerId> {
        if self.own_apart {
            return None;
        }
        let own = |(_, member): &(&PeerId, &Member)| member.is_own() && member.may_compute();
        self.map.iter().find(own).map(|(peer, _)| *peer)
    }

    pub(super) fn own_slots(&self) -> Option<From> {
        let among = Among::from([self.own()?].as_slice());
        Some(From { rung: Basis::Own, among })
    }

    /// Keeps the account of checks that wait for the submitter's own slots.
    pub(super) fn charge_own(&mut self, before: Option<&Wanted>, after: Option<&From>) {
        let was = before.is_some_and(|wanted| wanted.from.rung == Basis::Own);
        let is = after.is_some_and(|from| from.rung == Basis::Own);
        self.own_waiting = self.own_waiting.saturating_sub(u32::from(was)) + u32::from(is);
        self.own_asked += u64::from(is && !was);
    }

    fn own_has_room(&self, tasks: u32) -> bool {
        let Some(own) = self.own().and_then(|own| self.map.get(&own)) else { return false };
        let slots = own.about.map_or(1, |about| about.slots.max(1));
        let room = self.own_waiting < slots.saturating_mul(OWN_QUEUE);
        room && self.own_asked < (u64::from(tasks) / OWN_PART).max(1)
    }

    fn prefix(&self, peer: &PeerId) -> Option<Prefix> {
        self.map.get(peer)?.about.map(|about| about.prefix)
    }

    /// Whether two identities may be one person's for all the network shows. The operator's own list
    /// says otherwise of those on it.
    fn related(&self, one: &PeerId, other: &PeerId, standings: &Standings) -> bool {
        if one == other {
            return true;
        }
        if standings.is_trusted(one) || standings.is_trusted(other) {
            return false;
        }
        match (self.prefix(one), self.prefix(other)) {
            (Some(one), Some(other)) => one == other,
            _ => true, // whose network is not known any more may be anyone's
        }
    }

    /// What it is worth that `other` agrees with `one`.
    pub(super) fn worth(&self, one: &PeerId, other: &PeerId, standings: &Standings) -> Basis {
        if self.map.get(other).is_some_and(Member::is_own) {
            return Basis::Own;
        }
        let known = standings.is_established(other) && !self.is_suspected(other);
        match (self.related(one, other, standings), known) {
            (false, true) => Basis::Established,
            (false, false) => Basis::Elsewhere,
            (true, _) => Basis::Anyone,
        }
    }

    /// Everyone that may compute for the job and is not kept for what is wanted by name.
    pub(super) fn everyone(&mut self) -> From {
        let among = match &self.everyone {
            Some(among) => among.clone(),
            None => {
                let eager = |(_, member): &(&PeerId, &Member)| {
                    member.may_compute() && member.about.is_some_and(|about| !about.reserved)
                };
                let among: Among = self.map.iter().filter(eager).map(|(peer, _)| *peer).collect();
                self.everyone.insert(among).clone()
            }
        };
        From { rung: Basis::Word, among }
    }

    /// Those who are to check a result of `primary`: the first rung of the ladder that has somebody
    /// without a vote on the task. Rungs below `widened` are joined to those above.
    pub(super) fn circle(
        &mut self,
        primary: &PeerId,
        task: &Task,
        tasks: u32,
        widened: u8,
        standings: &Standings,
    ) -> From {
        if widened == 0 {
            if !self.circles.contains_key(primary) {
                let among = self.rung(Basis::Established, primary, standings);
                let from = From { rung: Basis::Established, among: Among::from(among) };
                self.circles.insert(*primary, from);
            }
            if let Some(from) = self.circles.get(primary)
                && has_someone(&from.among, task)
            {
                return from.clone();
            }
        }
        let mut among = Vec::new();
        let mut found = Basis::Anyone;
        let rungs = [Basis::Established, Basis::Own, Basis::Elsewhere, Basis::Anyone];
        for (at, rung) in rungs.into_iter().enumerate() {
            if rung == Basis::Own && !self.own_has_room(tasks) {
                continue;
            }
            let members = self.rung(rung, primary, standings);
            let someone = has_someone(&members, task);
            among.extend(members);
            found = rung;
            if someone && at >= usize::from(widened) {
                break;
            }
        }
        // Where no path leads to anyone else, or to nobody who has answered through all patience (a relay
        // may have nobody below it), the submitter computes it again, however much that is.
        if widened > 0
            && (widened >= RUNGS || !has_someone(&among, task))
            && let Some(own) = self.own_slots().filter(|own| has_someone(&own.among, task))
        {
            return own;
        }
        among.sort_unstable();
        among.dedup();
        From { rung: found, among: Among::from(among) }
    }

    fn rung(&self, rung: Basis, primary: &PeerId, standings: &Standings) -> Vec<PeerId> {
        let here = |(peer, member): &(&PeerId, &Member)| {
            member.may_compute() && (rung == Basis::Own || !member.is_own()) && *peer != primary
        };
        let here = || self.map.iter().filter(here).map(|(peer, _)| *peer);
        let of_worth = |worth: Basis| {
            let list = here().filter(|peer| self.worth(primary, peer, standings) == worth);
            list.collect::<Vec<PeerId>>()
        };
        match rung {
            Basis::Own => self.own().into_iter().collect(),
            Basis::Established => of_worth(Basis::Established),
            Basis::Elsewhere => {
                // The best-known ones: a single one of them would have to check for everybody.
                let list = of_worth(Basis::Elsewhere);
                let best = list.iter().map(|peer| standings.k(peer)).max().unwrap_or(0);
                list.into_iter().filter(|peer| standings.k(peer) >= best / 2).collect()
            }
            _ => here().collect(),
        }
    }

    /// Those who are to settle a dispute that the submitter cannot settle itself: established and
    /// unrelated to everyone who voted, or whoever comes nearest to that; less near the more often the
    /// circle was `widened`.
    pub(super) fn referees(&self, task: &Task, widened: u8, standings: &Standings) -> From {
        let voters = task.workers();
        let free: Vec<PeerId> = self
            .map
            .iter()
            .filter(|(peer, member)| member.may_compute() && !task.has(peer))
            .map(|(peer, _)| *peer)
            .collect();
        let unrelated =
            |peer: &&PeerId| voters.iter().all(|voter| !self.related(voter, peer, standings));
        let established =
            |peer: &&PeerId| standings.is_established(peer) && !self.is_suspected(peer);
        let circles: [Vec<PeerId>; 4] = [
            self.one_a_network(free.iter().filter(unrelated).filter(established), standings),
            free.iter().filter(established).copied().collect(),
            free.iter().filter(unrelated).copied().collect(),
            free,
        ];
        let enough = circles.iter().skip(widened.into()).find(|circle| circle.len() >= 2);
        let among = enough.or(circles.last()).map(|circle| Among::from(circle.as_slice()));
        From { rung: Basis::Referees, among: among.unwrap_or_default() }
    }

    /// The best known of each network, by id.
    fn one_a_network<'a>(
        &self,
        peers: impl Iterator<Item = &'a PeerId>,
        standings: &Standings,
    ) -> Vec<PeerId> {
        let mut best: BTreeMap<Option<Prefix>, PeerId> = BTreeMap::new();
        let mut all = Vec::new();
        for peer in peers {
            if standings.is_trusted(peer) {
                all.push(*peer); // of another network than everyone
                continue;
            }
            let known = best.entry(self.prefix(peer)).or_insert(*peer);
            if standings.k(peer) > standings.k(known) {
                *known = *peer;
            }
        }
        all.extend(best.into_values());
        all.sort_unstable();
        all
    }

    /// Established workers in networks of their own that are not among `accused` and have not voted,
    /// the best known of each network.
    pub(super) fn witnesses(
        &self,
        accused: &[PeerId],
        task: &Task,
        standings: &Standings,
    ) -> Vec<PeerId> {
        let mut by_network: BTreeMap<Prefix, PeerId> = BTreeMap::new();
        for (peer, member) in &self.map {
            let fit = member.may_compute()
                && !member.is_own()
                && standings.is_established(peer)
                && !task.has(peer)
                && accused.iter().all(|one| !self.related(one, peer, standings));
            if let Some(about) = member.about.filter(|_| fit) {
                let best = by_network.entry(about.prefix).or_insert(*peer);
                if standings.k(peer) > standings.k(best) {
                    *best = *peer;
                }
            }
        }
        let mut witnesses: Vec<PeerId> = by_network.into_values().collect();
        witnesses.sort_unstable();
        witnesses
    }

    /// Whether none of those asked has returned anything lately, or said that it is at work.
    pub(super) fn are_silent(&self, wanted: &Wanted, now: Timestamp) -> bool {
        let (quiet, fresh) = (now - PATIENCE, now < wanted.since + PATIENCE * MOST_PATIENCE);
        let alive = |peer: &PeerId| {
            self.map.get(peer).is_some_and(|member| member.heard.max(member.renewed) > quiet)
        };
        // One that says again and again that it is at it is not waited for without end either.
        !(fresh && wanted.from.among.iter().any(alive))
    }

    pub(super) fn renewed(&mut self, peer: &PeerId, now: Timestamp) {
        if let Some(member) = self.map.get_mut(peer) {
            member.renewed = now;
        }
    }

    /// Whether somebody of those asked can answer.
    pub(super) fn can_answer(&self, wanted: &Wanted, task: &Task) -> bool {
        let can = |peer: &PeerId| self.is_here(peer) && !task.has(peer);
        wanted.from.among.iter().any(can)
    }

    /// A task is over: nobody's account holds it any longer.
    pub(super) fn drop_task(&mut self, index: TaskIndex, workers: Vec<PeerId>) {
        for worker in workers {
            if let Some(member) = self.map.get_mut(&worker) {
                member.open.remove(&index);
                member.provisional.retain(|_, task| *task != index);
                member.confirmed.retain(|task| *task != index);
            }
        }
    }

    /// Every task is over.
    pub(super) fn forget_tasks(&mut self) {
        for member in self.map.values_mut() {
            member.open.clear();
            member.provisional.clear();
            member.confirmed.clear();
        }
    }

    /// Whether the votes on a task are decided has perhaps changed.
    pub(super) fn note_undecided(&mut self, task: &Task) {
        let open = matches!(task.state, State::Checking | State::Disputed);
        for ballot in &task.ballots {
            let Some(member) = self.map.get_mut(&ballot.worker) else { continue };
            if open && !ballot.discredited {
                member.undecided.insert(ballot.vote);
            } else {
                member.undecided.remove(&ballot.vote);
            }
        }
    }

    /// Takes a task from before a restart into its workers' accounts.
    pub(super) fn restore(&mut self, index: TaskIndex, task: &Task) {
        if matches!(task.state, State::Final | State::GivenUp) {
            return;
        }
        for ballot in task.valid() {
            self.entry(ballot.worker).open.insert(index);
        }
        self.note_undecided(task);
        let Some((worker, vote)) = task.primary().map(|ballot| (ballot.worker, ballot.vote)) else {
            return;
        };
        match task.state {
            State::Provisional | State::Checking => {
                self.entry(worker).provisional.insert(vote, index);
            }
            State::Confirmed => self.entry(worker).confirmed.push_back(index),
            _ => {}
        }
    }
}

/// Whether one of `among` has had no part in any vote on the task.
fn has_someone(among: &[PeerId], task: &Task) -> bool {
    among.iter().any(|peer| !task.has(peer))
}
