//! What a job would cost and what could be promised of it, by what this peer knows of those connected.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::Peer;
use crate::{
    id::PeerId,
    job::{Audience, Local, Manifest},
    plan::{Known, OWN, Plan, Rules, Situation, first_rate_for_tolerance, plan},
    task::PROFILE_V1,
    time::Timestamp,
    verify::{Adaptive, MILLION, Policy},
    wire::Reason,
};

/// Workers that are named one by one.
const NAMED: usize = 8;

/// A job, as far as its plan depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Tasks.
    pub tasks: u64,
    /// How results are accepted, and by which assumptions.
    pub rules: Rules,
    /// Who may compute it.
    pub audience: Audience,
    /// What the own slots do.
    pub local: Local,
    /// Whether it is over once every task has a result, however little it was checked.
    pub provisional: bool,
    /// Who carries it on while its submitter is away.
    pub delegate: Option<PeerId>,
}

/// An intent against those who are there for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// What was asked for.
    pub intent: Intent,
    /// Cost and promise. Its policy is the one to submit: with a tolerance, another than the intent's.
    pub plan: Plan,
    /// Who is connected and may compute it.
    pub workers: Vec<(PeerId, Known)>,
    /// Whether own slots compute too.
    pub own: bool,
    /// Whether checking as the plan's policy says keeps wrong results below the tolerance.
    pub tolerable: bool,
}

impl Intent {
    /// Of a job that is ready to be submitted.
    pub fn of(manifest: &Manifest, rules: Rules) -> Self {
        Self {
            tasks: manifest.inputs.count(),
            rules,
            audience: manifest.audience.clone(),
            local: manifest.local,
            provisional: manifest.provisional,
            delegate: manifest.delegate,
        }
    }
}

impl Peer {
    /// What a job would cost and promise now.
    pub fn forecast(&self, now: Timestamp, intent: Intent) -> Forecast {
        let able = |peer: &PeerId| {
            self.neighbours.get(peer).is_some_and(|neighbour| {
                let hello = neighbour.hello.as_ref();
                let fits = |hello: &crate::wire::Hello| {
                    hello.slots > 0 && hello.profiles.iter().any(|one| one == PROFILE_V1)
                };
                hello.is_some_and(fits) && matches!(neighbour.refused, None | Some(Reason::Busy))
            })
        };
        let workers: Vec<(PeerId, Known)> = self
            .neighbours
            .iter()
            .filter(|(peer, _)| **peer != self.me && able(peer))
            .filter(|(peer, _)| {
                self.is_invited(&intent.audience, peer) && !self.standings.is_banned(now, peer)
            })
            .map(|(peer, neighbour)| {
                let (k, trusted) = (self.standings.k(peer), self.standings.is_trusted(peer));
                (*peer, Known { k, prefix: neighbour.prefix, trusted })
            })
            .collect();
        let own = intent.local != Local::Never && self.config.lending.slots > 0;
        Forecast::of(intent, workers, own)
    }
}

/// What it means to name a delegate.
fn delegated(delegate: &PeerId) -> String {
    format!(
        "while this peer is away, {} carries the job on; what it then says is final is taken on its \
         word alone, so if it lies or is deceived, results are wrong and nothing here notices",
        delegate.short()
    )
}

/// The policy that bears out the tolerance, and whether it does.
fn settle(intent: &Intent, situation: &Situation) -> (Policy, bool) {
    match (intent.rules.policy, intent.rules.tolerance) {
        // Nobody is there to judge by: whoever comes is checked as any stranger.
        (policy, Some(_)) if situation.workers.is_empty() => (policy, true),
        (Policy::Adaptive(adaptive), Some(tolerance)) => {
            let error = f64::from(tolerance) / f64::from(MILLION);
            match first_rate_for_tolerance(error, adaptive, situation) {
                Some(first) => (Policy::Adaptive(Adaptive { first, ..adaptive }), true),
                None => (Policy::Adaptive(Adaptive { first: MILLION, ..adaptive }), false),
            }
        }
        (policy, _) => (policy, true),
    }
}

impl Forecast {
    fn of(intent: Intent, workers: Vec<(PeerId, Known)>, own: bool) -> Self {
        let situation = Situation {
            tasks: intent.tasks,
            workers: workers.iter().map(|(_, known)| *known).collect(),
            own: own.then_some(OWN),
            assumed: intent.rules.assumed,
        };
        let (policy, tolerable) = settle(&intent, &situation);
        Self { plan: plan(policy, &situation), intent, workers, own, tolerable }
    }

    /// All of it in plain words, a line each: cost, promise, what that rests on, who is there.
    pub fn words(&self) -> Vec<String> {
        let mut lines = match self.workers.is_empty() {
            true => Vec::from([self.alone()]),
            false => self.plan.words(),
        };
        lines.extend(self.tolerance());
        if self.intent.provisional {
            lines.push(
                "the run ends when every task has a result, checked or not: what is promised holds \
                 for final results only"
                    .to_string(),
            );
        }
        lines.extend(self.intent.delegate.as_ref().map(delegated));
        lines.extend(self.who());
        lines
    }

    fn alone(&self) -> String {
        let nobody = match &self.intent.audience {
            Audience::Anyone => "no other peer that computes is connected",
            Audience::Trusted => "no peer of the trust list that computes is connected",
            Audience::Named(_) => "none of the named peers is connected and computes",
        };
        match self.own {
            true => format!(
                "{nobody}: this machine computes all of it, and what it computes itself is final; \
                 peers that come later are checked"
            ),
            false => format!("{nobody}, and own slots are not to compute: the job will wait"),
        }
    }

    fn tolerance(&self) -> Option<String> {
        let tolerance = self.intent.rules.tolerance?;
        let most = percent(tolerance);
        let Policy::Adaptive(Adaptive { first, .. }) = self.plan.policy else { return None };
        if self.workers.is_empty() {
            return Some(format!(
                "{most} of results may be wrong, but nobody is there to judge by: strangers are \
                 checked as without a tolerance"
            ));
        }
        Some(match self.tolerable {
            true => format!(
                "{most} of results may be wrong: {} of strangers' results are checked",
                percent(first)
            ),
            false => format!(
                "{most} of results may be wrong, but not even checking all can keep to that here: \
                 all of strangers' results are checked"
            ),
        })
    }

    fn who(&self) -> Option<String> {
        if self.workers.is_empty() {
            return None;
        }
        let one = |(peer, known): &(PeerId, Known)| match known.trusted {
            true => format!("{} trusted", peer.short()),
            false => format!("{} {}", peer.short(), known.k),
        };
        let mut named: Vec<String> = self.workers.iter().take(NAMED).map(one).collect();
        if let Some(more) = self.workers.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named.push(format!("and {more} more"));
        }
        let count = match self.workers.len() {
            1 => "1 peer is".to_string(),
            count => format!("{count} peers are"),
        };
        Some(format!("{count} there, with checks passed here: {}", named.join(", ")))
    }
}

/// "7%", "0.3%".
fn percent(parts: u32) -> String {
    let share = f64::from(parts) * 100.0 / f64::from(MILLION);
    if share < 1.0 { format!("{share}%") } else { format!("{share:.0}%") }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::offer::Prefix;

    fn intent(tasks: u64) -> Intent {
        Intent {
            tasks,
            rules: Rules::parse("adaptive", None, None).unwrap(),
            audience: Audience::Anyone,
            local: Local::Never,
            provisional: false,
            delegate: None,
        }
    }

    fn forecast(intent: Intent, ks: &[u32]) -> Forecast {
        let network = |index: usize| {
            Prefix::of(core::net::IpAddr::from([10, 0, u8::try_from(index).unwrap(), 1]))
        };
        let workers: Vec<(PeerId, Known)> = ks
            .iter()
            .enumerate()
            .map(|(index, k)| {
                let known = Known { k: *k, prefix: network(index), trusted: *k == u32::MAX };
                (PeerId([u8::try_from(index).unwrap(); 32]), known)
            })
            .collect();
        let own = intent.local != Local::Never;
        Forecast::of(intent, workers, own)
    }

    #[test]
    fn a_small_job_among_strangers_is_promised_nothing() {
        let words = forecast(intent(50), &[0; 10]).words();
        assert!(words[0].starts_with("all replicated, about 2x"), "{words:?}");
        assert!(words[1].starts_with("no bound on wrong results: "), "{words:?}");
        let last = words.last().unwrap();
        assert!(last.starts_with("10 peers are there, with checks passed here: 00000000 0, "));
        assert!(last.ends_with("07070707 0, and 2 more"), "{last}");
    }

    #[test]
    fn trusted_peers_are_named_as_such() {
        let words = forecast(intent(50), &[u32::MAX]).words();
        assert_eq!(
            words.last().unwrap(),
            "1 peer is there, with checks passed here: 00000000 trusted"
        );
    }

    #[test]
    fn with_nobody_there_it_is_said_who_computes() {
        let alone = |audience, local| {
            let mut intent = intent(50);
            (intent.audience, intent.local) = (audience, local);
            forecast(intent, &[]).words().remove(0)
        };
        assert!(alone(Audience::Anyone, Local::Always).contains("this machine computes all of it"));
        let waits = alone(Audience::Trusted, Local::Never);
        assert!(waits.contains("no peer of the trust list"), "{waits}");
        assert!(waits.ends_with("the job will wait"), "{waits}");
        let named = alone(Audience::Named(vec![PeerId([1; 32])]), Local::Never);
        assert!(named.contains("none of the named peers"), "{named}");
    }

    #[test]
    fn a_tolerance_lowers_the_share_that_is_checked_as_far_as_it_bears() {
        let with = |tolerance, ks: &[u32]| {
            let mut intent = intent(10_000);
            intent.rules.tolerance = Some(tolerance);
            forecast(intent, ks)
        };
        let lenient = with(100_000, &[0; 10]);
        let Policy::Adaptive(Adaptive { first, .. }) = lenient.plan.policy else { panic!() };
        assert!(first < MILLION, "{first}");
        let said = lenient.words().into_iter().find(|line| line.starts_with("10% of results may"));
        assert!(said.is_some_and(|line| line.ends_with("of strangers' results are checked")));
        let strict = with(1, &[0; 10]);
        assert!(!strict.tolerable);
        assert!(strict.words().iter().any(|line| line.contains("not even checking all")));
        let nobody = with(100_000, &[]);
        assert_eq!(nobody.plan.policy, Policy::default());
    }

    #[test]
    fn an_early_end_is_no_promise() {
        let words = forecast(Intent { provisional: true, ..intent(50) }, &[0, 0]).words();
        assert!(words.iter().any(|line| line.contains("checked or not")), "{words:?}");
    }
}
