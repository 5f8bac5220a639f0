//! `bayan peers --tree JOB`: the tree that a job runs on, drawn.

use std::collections::{BTreeMap, BTreeSet};

use bayan_protocol::{
    id::PeerId,
    source::{HopView, JobView, WorkerView},
};

use super::{jobs, text};

/// Levels that are drawn: a path has at most eight hops.
const DEEPEST: usize = 9;

/// The tree as lines.
pub(super) fn draw(me: PeerId, view: &JobView) -> String {
    let mut children: BTreeMap<PeerId, Vec<HopView>> = BTreeMap::new();
    for hop in &view.tree {
        children.entry(hop.from).or_default().push(hop.clone());
    }
    // Neighbours whose own results came, and those that have taken work of which nothing has come yet.
    let through: BTreeSet<PeerId> =
        children.get(&me).into_iter().flatten().map(|hop| hop.to).collect();
    for worker in
        view.workers.iter().filter(|one| one.via.is_none() && !through.contains(&one.peer))
    {
        let (from, to, results) = (me, worker.peer, worker.returned);
        children.entry(me).or_default().push(HopView { from, to, results, dropped: 0, micros: 0 });
    }
    let workers: BTreeMap<PeerId, &WorkerView> =
        view.workers.iter().map(|worker| (worker.peer, worker)).collect();
    let mut lines = vec![format!("this peer {} ({})", me.short(), jobs::state(view))];
    let sketch = Sketch { children, workers };
    sketch.below(&me, "", 1, &mut lines);
    if lines.len() == 1 {
        lines.push("nobody has taken work of it yet".to_owned());
    }
    lines.join("\n") + "\n"
}

struct Sketch<'a> {
    children: BTreeMap<PeerId, Vec<HopView>>,
    workers: BTreeMap<PeerId, &'a WorkerView>,
}

impl Sketch<'_> {
    fn below(&self, peer: &PeerId, margin: &str, level: usize, lines: &mut Vec<String>) {
        let Some(hops) = self.children.get(peer).filter(|_| level < DEEPEST) else { return };
        let mut hops: Vec<&HopView> = hops.iter().filter(|hop| hop.to != hop.from).collect();
        hops.sort_by_key(|hop| (std::cmp::Reverse(hop.results), hop.to));
        for (at, hop) in hops.iter().enumerate() {
            let last = at + 1 == hops.len();
            let (branch, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            lines.push(format!("{margin}{branch}{}", self.words(hop)));
            self.below(&hop.to, &format!("{margin}{rest}"), level + 1, lines);
        }
    }

    fn words(&self, hop: &HopView) -> String {
        let worker = self.workers.get(&hop.to);
        let mut parts = vec![hop.to.short()];
        match worker {
            Some(worker) if worker.own => parts.push("own slots".to_owned()),
            Some(worker) if worker.below > 0 => {
                parts.push(format!(
                    "hands on to {}",
                    text::count(worker.below.into(), "slot", "slots")
                ));
            }
            _ if self.children.contains_key(&hop.to) => parts.push("hands on".to_owned()),
            _ => {}
        }
        parts.push(text::count(hop.results, "result", "results"));
        if hop.micros > 0 && hop.results > 1 {
            let rate = (hop.results - 1) as f64 * 1e6 / hop.micros as f64;
            parts.push(format!("{rate:.1} a second"));
        }
        if hop.dropped > 0 {
            parts.push(format!("{} brought round it", hop.dropped));
        }
        if worker.is_some_and(|worker| !worker.connected && worker.via.is_none() && !worker.own) {
            parts.push("gone".to_owned());
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    fn hop(from: u8, to: u8, results: u64, dropped: u64) -> HopView {
        HopView { from: id(from), to: id(to), results, dropped, micros: 2_000_000 }
    }

    #[test]
    fn a_tree_is_drawn_with_rates_and_losses() {
        let children = BTreeMap::from([
            (id(1), vec![hop(1, 2, 11, 0), hop(1, 5, 1, 0)]),
            (id(2), vec![hop(2, 3, 5, 2), hop(2, 4, 6, 0), hop(2, 2, 1, 0)]),
        ]);
        let sketch = Sketch { children, workers: BTreeMap::new() };
        let mut lines = Vec::new();
        sketch.below(&id(1), "", 1, &mut lines);
        let [two, three, four, five] = [2, 3, 4, 5].map(|number| id(number).short());
        assert_eq!(
            lines,
            [
                format!("├─ {two}, hands on, 11 results, 5.0 a second"),
                format!("│  ├─ {four}, 6 results, 2.5 a second"),
                format!("│  └─ {three}, 5 results, 2.0 a second, 2 brought round it"),
                format!("└─ {five}, 1 result"),
            ]
        );
    }

    #[test]
    fn a_ring_of_hops_ends() {
        let children =
            BTreeMap::from([(id(1), vec![hop(1, 2, 1, 0)]), (id(2), vec![hop(2, 1, 1, 0)])]);
        let sketch = Sketch { children, workers: BTreeMap::new() };
        let mut lines = Vec::new();
        sketch.below(&id(1), "", 1, &mut lines);
        assert_eq!(lines.len(), DEEPEST - 1);
    }
}
