//! Relays in league with workers: what comes through one of them counts as one voice, and what one tells to
//! those that should check costs nobody honest anything.

use bayan_cast::{Passing, Role};
use bayan_protocol::{
    id::JobId,
    job::Local,
    source::Source,
    verify::{Adaptive, Policy},
};
use bayan_world::{MS, Number, World, host::Plan, outcome, seeds};

/// Seeds of the fixed set; `BAYAN_TEST_SEEDS` runs more.
const SEEDS: u64 = 12;
const TASKS: u64 = 150;
/// Virtual time that a job may take.
const LIMIT: u64 = 3600 * 1000 * MS;

/// A submitter, number 0, three honest workers beside it, and a relay with members behind it.
struct Play {
    world: World,
    relay: Number,
    honest: Vec<Number>,
    behind: Vec<Number>,
    job: JobId,
}

fn role(text: &str) -> Role {
    text.parse().expect("a role of the cast")
}

/// Plays a job to its end. `beside` are members that the submitter meets itself.
fn play(
    seed: u64,
    passing: Passing,
    (behind, beside): (&[&str], &[&str]),
    (policy, own): (Policy, u32),
) -> Play {
    let mut world = World::new(seed);
    world.add(own, 20 * MS, false);
    let mut honest: Vec<Number> = (0..3).map(|_| world.add(1, 20 * MS, false)).collect();
    let relay = world.add_relay(0, MS, passing);
    for host in honest.iter().copied().chain([relay]) {
        world.connect(0, host);
    }
    for text in beside {
        let member = world.add_member(1, 20 * MS, role(text));
        world.connect(0, member);
    }
    let mut members = Vec::new();
    for text in behind {
        let plan = Plan { pace: 10 * MS, role: role(text), ..Plan::default() };
        let member = world.join(plan);
        world.connect(member, relay);
        match role(text) {
            Role::Honest => honest.push(member),
            _ => members.push(member),
        }
    }
    let local = if own > 0 { Local::Reserve } else { Local::Never };
    let job = world.submit(0, TASKS as i64, policy, local).expect("it is up");
    let until = world.after(LIMIT);
    let ended = world.run_until(until, |world| world.is_over(0, &job));
    let play = Play { world, relay, honest, behind: members, job };
    assert!(ended, "seed {seed}: {:?}", play.source().view());
    play
}

impl Play {
    fn source(&self) -> &Source {
        self.world.job(0, &self.job).expect("the submitter is up")
    }

    /// Tasks whose final result is not what they come to.
    fn wrong(&self) -> usize {
        let source = self.source();
        let is_wrong = |task: &u32| {
            let id = source.task_id(*task).expect("it is one of the job's");
            source.acceptance(*task).is_none_or(|one| one.outcome != outcome(&id))
        };
        (0..TASKS as u32).filter(is_wrong).count()
    }

    /// Results that members behind the relay had counted.
    fn of_members(&self) -> u64 {
        let ids: Vec<_> = self.behind.iter().map(|host| self.world.id(*host)).collect();
        let view = self.source().view();
        view.workers.iter().filter(|one| ids.contains(&one.peer)).map(|one| one.returned).sum()
    }

    fn nobody_honest_is_banned(&self, seed: u64) {
        for host in self.honest.iter().chain([&0]) {
            let id = self.world.id(*host);
            let by = (0..self.world.len()).find(|by| self.world.host(*by).banned.contains(&id));
            assert_eq!(by, None, "seed {seed}: host {host} is banned");
        }
    }
}

#[test]
fn all_that_comes_through_a_colluding_relay_is_one_voice() {
    let mut seen = 0;
    for seed in 0..seeds(SEEDS) {
        let passing = Passing::Colludes("a".to_owned());
        let behind = ["ring:a", "ring:a", "honest"];
        let play = play(seed, passing, (&behind, &[]), (Policy::Vote(2), 0));
        assert_eq!(play.wrong(), 0, "seed {seed}: two liars behind one relay were believed");
        play.nobody_honest_is_banned(seed);
        seen += play.of_members();
        // It keeps the work from whoever is not of the ring.
        let outsider = play.honest.last().expect("somebody is");
        let executed = play.world.machine(*outsider).map_or(0, |one| one.view().executed);
        assert_eq!(executed, 0, "seed {seed}: the relay does not collude");
    }
    assert!(seen > 0, "the ring had no part in it");
}

/// The same two liars with nobody in between: where two voices are enough, they are.
#[test]
fn the_judge_notices_liars_that_do_not_stand_behind_one_relay() {
    let wrong = (0..seeds(SEEDS)).map(|seed| {
        let beside = ["ring:a", "ring:a"];
        play(seed, Passing::Honest, (&["honest"], &beside), (Policy::Vote(2), 0)).wrong()
    });
    assert!(wrong.sum::<usize>() > 0);
}

/// With own slots as the referee, a ring and its relay are found out by the default policy.
#[test]
fn a_ring_behind_its_relay_is_found_out() {
    for seed in 0..seeds(SEEDS) {
        let passing = Passing::Colludes("a".to_owned());
        let policy = Policy::Adaptive(Adaptive::default());
        let play = play(seed, passing, (&["ring:a", "ring:a:0.3"], &["ring:a"]), (policy, 2));
        assert_eq!(play.wrong(), 0, "seed {seed}");
        play.nobody_honest_is_banned(seed);
        let banned = &play.world.host(0).banned;
        assert!(!banned.contains(&play.world.id(play.relay)), "seed {seed}: it has signed nothing");
    }
}

/// Results leak to a member that repeats them instead of computing. Those of an honest worker are right,
/// whoever repeats them.
#[test]
fn what_leaks_of_honest_results_is_right_in_every_mouth() {
    let mut results = 0;
    for seed in 0..seeds(SEEDS) {
        let passing = Passing::Leaks("a".to_owned());
        let play = play(seed, passing, (&["honest"], &["lazy:a"]), (Policy::Vote(2), 0));
        assert_eq!(play.wrong(), 0, "seed {seed}");
        play.nobody_honest_is_banned(seed);
        let lazy = play.relay + 1;
        let view = play.source().view();
        let of_lazy = view.workers.iter().find(|one| one.peer == play.world.id(lazy));
        results += of_lazy.map_or(0, |one| one.returned);
    }
    assert!(results > 0, "the lazy one had no part in it");
}

/// Leaked lies that somebody repeats look like agreement: two votes believe it, and the default policy, with
/// own slots as the referee, does not.
#[test]
fn leaked_lies_are_believed_by_two_votes_and_not_by_the_default_policy() {
    let cast: (&[&str], &[&str]) = (&["rate:0.5"], &["lazy:a"]);
    let leaks = || Passing::Leaks("a".to_owned());
    let believed =
        (0..seeds(SEEDS)).map(|seed| play(seed, leaks(), cast, (Policy::Vote(2), 0)).wrong());
    assert!(believed.sum::<usize>() > 0, "nothing leaked");
    for seed in 0..seeds(SEEDS) {
        let policy = Policy::Adaptive(Adaptive::default());
        let play = play(seed, leaks(), cast, (policy, 2));
        assert_eq!(play.wrong(), 0, "seed {seed}");
        play.nobody_honest_is_banned(seed);
    }
}
