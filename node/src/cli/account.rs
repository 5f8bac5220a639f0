//! What became of a job's results, in plain words: what was computed how often, what belief in it rests
//! on and what that does not protect against, who was caught.

use bayan_protocol::{
    id::PeerId,
    source::{JobView, WorkerView},
    verify::{Basis, Policy},
};
use serde_json::{Value, json};

use super::{text, trust};
use crate::{
    api::types::{EvidenceView, StandingView},
    client::Client,
};

/// What a job's view does not know of those who took part.
#[derive(Debug, Default)]
pub(super) struct Facts {
    standings: Vec<StandingView>,
    evidence: Vec<EvidenceView>,
}

impl Facts {
    /// Asks the peer, if somebody is suspect. What it does not answer is left out.
    pub(super) fn gather(client: &Client, view: &JobView) -> Self {
        let wrong = view.workers.iter().any(|worker| worker.wrong > 0);
        if !wrong && view.tally.disputes == 0 && view.tally.taken_back == 0 {
            return Self::default();
        }
        let took_part = |peer: &PeerId| view.workers.iter().any(|worker| worker.peer == *peer);
        let mut standings = client.standings().unwrap_or_default();
        standings.retain(|standing| took_part(&standing.peer));
        let mut evidence = client.evidence().unwrap_or_default();
        evidence.retain(|evidence| evidence.job == view.job);
        Self { standings, evidence }
    }

    fn of(&self, worker: &WorkerView) -> (Option<&StandingView>, Vec<&EvidenceView>) {
        let standing = self.standings.iter().find(|one| one.peer == worker.peer);
        (standing, self.evidence.iter().filter(|one| one.accused == worker.peer).collect())
    }

    /// Those who returned wrong results or are banned, for programs.
    pub(super) fn caught(&self, view: &JobView) -> Value {
        let caught = view.workers.iter().filter_map(|worker| {
            let (standing, evidence) = self.of(worker);
            let ban = standing.and_then(|standing| standing.ban);
            (worker.wrong > 0 || ban.is_some()).then(|| {
                json!({ "peer": worker.peer, "wrong": worker.wrong, "ban": ban, "evidence": evidence })
            })
        });
        caught.collect()
    }
}

/// What became of the job so far, a line each.
pub(super) fn words(view: &JobView, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(work(view));
    lines.extend(grounds(view));
    lines.extend(limits(view));
    lines.extend(corrections(view));
    lines.extend(view.workers.iter().filter_map(|worker| caught(view, worker, facts)));
    if view.quarantined {
        lines.push(differs(view));
    }
    lines
}

/// What an app that differs by machine means for the results.
fn differs(view: &JobView) -> String {
    let whose = if view.own_apart {
        "no other machine gives what this one gives, so that it checks nothing here itself any more: the \
         results are those of the others"
    } else {
        "the results are those of machines like this one, and peers that gave others compute no more of it"
    };
    format!(
        "this app gives different results on different honest machines: nobody is punished over it; {whose}"
    )
}

fn with_outcome(view: &JobView) -> u64 {
    view.bases.values().sum()
}

fn work(view: &JobView) -> Option<String> {
    let tasks = with_outcome(view);
    if tasks == 0 {
        return None;
    }
    let each = view.tally.results as f64 / tasks as f64;
    Some(format!(
        "{} for {}: {each:.2} each, {} computed by more than one peer",
        text::count(view.tally.results, "execution", "executions"),
        text::count(tasks, "result", "results"),
        percent(view.replicated, tasks),
    ))
}

/// What belief in the results rests on.
fn grounds(view: &JobView) -> Option<String> {
    let all = [
        (Basis::Own, "computed here"),
        (Basis::Established, "confirmed by established peers of other networks"),
        (Basis::Referees, "settled by referees"),
        (Basis::Quorum, "agreed on by as many peers as the policy asks for"),
        (Basis::Elsewhere, "confirmed by strangers of other networks"),
        (Basis::Anyone, "confirmed by strangers of the same network"),
        (Basis::SinglePath, "single path: one relay stands before all who could check them"),
        (Basis::LaterCheck, "confirmed by later checks of their peers"),
        (Basis::Word, "on their peer's word alone"),
        (Basis::Delegate, "final at the job's delegate while this peer was away, on its word"),
    ];
    let parts: Vec<String> = all
        .iter()
        .filter_map(|(basis, words)| view.bases.get(basis).map(|count| (count, words)))
        .filter(|(count, _)| **count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    (!parts.is_empty()).then(|| format!("results: {}", parts.join(", ")))
}

/// What the weaker grounds do not protect against.
fn limits(view: &JobView) -> Vec<String> {
    let count = |basis| view.bases.get(&basis).copied().unwrap_or(0);
    let mut lines = Vec::new();
    if count(Basis::Elsewhere) > 0 {
        lines.push(
            "strangers of other networks who agree rule out faults and lone cheats, not one person with \
             machines in several networks",
        );
    }
    if count(Basis::Anyone) > 0 {
        lines.push(
            "strangers of one network who agree rule out faults and lone cheats, not one person under \
             several names",
        );
    }
    if count(Basis::SinglePath) > 0 {
        lines.push("nothing rules out that a relay made up the results that have a single path");
    }
    if count(Basis::Quorum) > 0 {
        lines.push("votes count names: one person under several names has several");
    }
    if count(Basis::Word) > 0 && view.policy != Policy::None {
        lines.push("nothing rules out that a result on its peer's word alone is wrong");
    }
    if count(Basis::Delegate) > 0 {
        lines.push("nothing rules out that the delegate lies, or was deceived: that is what naming it means");
    }
    lines.into_iter().map(str::to_owned).collect()
}

fn corrections(view: &JobView) -> Option<String> {
    let tally = &view.tally;
    let mut parts = Vec::new();
    if tally.disputes > 0 {
        let tasks = text::count(tally.disputes, "task", "tasks");
        parts.push(format!("peers differed on {tasks}"));
    }
    if tally.taken_back > 0 {
        let results = text::count(tally.taken_back, "result was", "results were");
        parts.push(format!("{results} taken back and computed again"));
    }
    if tally.closing > 0 {
        let checks = text::count(tally.closing, "closing check", "closing checks");
        parts.push(format!("{checks} at the end"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn caught(view: &JobView, worker: &WorkerView, facts: &Facts) -> Option<String> {
    let (standing, evidence) = facts.of(worker);
    let ban = standing.and_then(|standing| standing.ban);
    if worker.wrong == 0 && ban.is_none() {
        return None;
    }
    let mut parts = Vec::new();
    if worker.wrong > 0 {
        let results = text::count(worker.wrong, "result", "results");
        parts.push(format!("{results} proven wrong"));
    }
    parts.push(match &ban {
        Some(ban) => trust::ban(ban),
        None => "checked always from now on, not banned yet".to_owned(),
    });
    if let Some((first, others)) = evidence.split_first() {
        let more = match others.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let bare = match view.confidential {
            true => " (without the job's content, which is confidential)",
            false => "",
        };
        parts.push(format!("evidence: {}{more}{bare}", first.file));
    }
    Some(format!("peer {}: {}", worker.peer.short(), parts.join("; ")))
}

/// "7%", rounded; never 0% or 100% unless it is none or all.
fn percent(part: u64, of: u64) -> String {
    match part {
        0 => "none".to_owned(),
        part if part >= of => "all".to_owned(),
        part => {
            let share = (100.0 * part as f64 / of as f64).round();
            format!("{:.0}%", share.clamp(1.0, 99.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bayan_protocol::{
        id::{Hash, JobId, TaskId},
        job::Audience,
        record::JobState,
        standing::{BAN, BanReason},
        time::Timestamp,
        verify::Tally,
    };

    use super::*;
    use crate::{api::types::BanView, core::now};

    fn view(bases: &[(Basis, u64)], results: u64, replicated: u64) -> JobView {
        JobView {
            tree: Vec::new(),
            job: JobId([9; 32]),
            name: "test".to_owned(),
            state: JobState::Done,
            policy: Policy::default(),
            provisional: false,
            audience: Audience::Anyone,
            confidential: false,
            inputs: 10,
            tasks: 10,
            settled: 10,
            states: BTreeMap::new(),
            bases: bases.iter().copied().collect(),
            replicated,
            tally: Tally { results, ..Tally::default() },
            quarantined: false,
            own_apart: false,
            failed: 0,
            in_flight: 0,
            waiting: None,
            delegate: None,
            submitted: Timestamp(1),
            ended: Some(Timestamp(2)),
            workers: Vec::new(),
        }
    }

    fn worker(peer: u8, wrong: u64) -> WorkerView {
        WorkerView {
            below: 0,
            via: None,
            peer: PeerId([peer; 32]),
            own: false,
            connected: true,
            slots: 1,
            held: 0,
            returned: 5,
            agreed: 5 - wrong,
            outvoted: wrong,
            late: 0,
            inconclusive: 0,
            wrong,
            drawn: 0,
            undrawn: 0,
            micros: 1,
        }
    }

    #[test]
    fn it_is_said_how_often_and_on_what_ground() {
        let said = words(
            &view(&[(Basis::Own, 4), (Basis::Elsewhere, 5), (Basis::Anyone, 1)], 16, 6),
            &Facts::default(),
        );
        assert_eq!(
            said[0],
            "16 executions for 10 results: 1.60 each, 60% computed by more than one peer"
        );
        assert_eq!(
            said[1],
            "results: 4 computed here, 5 confirmed by strangers of other networks, 1 confirmed by \
             strangers of the same network"
        );
        assert!(said[2].contains("not one person with machines in several networks"), "{said:?}");
        assert!(said[3].contains("not one person under several names"), "{said:?}");
        assert_eq!(said.len(), 4);
        assert!(words(&view(&[], 0, 0), &Facts::default()).is_empty());
    }

    #[test]
    fn strong_grounds_need_no_warning() {
        let said = words(&view(&[(Basis::Established, 10)], 20, 10), &Facts::default());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].ends_with("all computed by more than one peer"), "{said:?}");
        let word = words(&view(&[(Basis::Word, 10)], 10, 0), &Facts::default());
        assert!(word.last().unwrap().starts_with("nothing rules out"), "{word:?}");
    }

    #[test]
    fn corrections_are_counted() {
        let mut view = view(&[(Basis::Own, 10)], 12, 2);
        view.tally =
            Tally { results: 12, taken_back: 1, disputes: 2, closing: 3, ..Tally::default() };
        let said = words(&view, &Facts::default());
        assert_eq!(
            said[2],
            "peers differed on 2 tasks; 1 result was taken back and computed again; 3 closing checks \
             at the end"
        );
        view.quarantined = true;
        let said = words(&view, &Facts::default());
        assert!(
            said[3].ends_with(
                "machines like this one, and peers that gave others compute no more of it"
            )
        );
        view.own_apart = true;
        assert!(
            words(&view, &Facts::default())[3].ends_with("the results are those of the others")
        );
    }

    #[test]
    fn who_was_caught_is_named_with_the_proof() {
        let mut view = view(&[(Basis::Own, 10)], 12, 2);
        view.workers = vec![worker(1, 0), worker(2, 2), worker(3, 1)];
        let standing = StandingView {
            peer: PeerId([2; 32]),
            trusted: false,
            k: 0,
            passed: 3,
            failed: 2,
            established: false,
            ban: Some(BanView { until: now() + BAN, reason: BanReason::Failures }),
        };
        let evidence = |id| EvidenceView {
            id: Hash([id; 32]),
            accused: PeerId([2; 32]),
            job: JobId([9; 32]),
            task: TaskId([1; 32]),
            file: format!("/data/evidence/{id}.bayan"),
            bytes: 1,
            missing: Vec::new(),
        };
        let facts = Facts { standings: vec![standing], evidence: vec![evidence(5), evidence(6)] };
        let said = words(&view, &facts);
        assert!(
            said[2].starts_with("peer 02020202: 2 results proven wrong; banned for 8"),
            "{said:?}"
        );
        assert!(said[2].ends_with("evidence: /data/evidence/5.bayan and 1 more"), "{said:?}");
        assert_eq!(
            said[3],
            "peer 03030303: 1 result proven wrong; checked always from now on, not banned yet"
        );
        view.confidential = true;
        assert!(words(&view, &facts)[2].ends_with("which is confidential)"));
        assert_eq!(facts.caught(&view).as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn shares_are_never_rounded_to_none_or_all() {
        for (part, said) in [(0, "none"), (1, "1%"), (500, "50%"), (999, "99%"), (1000, "all")] {
            assert_eq!(percent(part, 1000), said);
        }
    }
}
