//! Every role in a world in memory: whatever a member is up to, as long as nobody backs it the job
//! ends, exactly and once.

use bayan_cast::Role;
use bayan_protocol::{job::Local, record::JobState, verify::Policy};
use bayan_world::{MS, World, outcome};

const ROLES: [&str; 20] = [
    "honest",
    "always",
    "rate:0.1",
    "after:10:0.5",
    "ring:a",
    "burner:a",
    "confirmer:a",
    "breaker:a",
    "lazy",
    "lazy:a",
    "whitewash:5",
    "vanish:5",
    "fuel:100",
    "data",
    "engine:arm",
    "commit-only",
    "other-reveal",
    "equivocate",
    "silent",
    "after:1",
];
const TASKS: u64 = 60;
/// Virtual time that a job may take.
const LIMIT: u64 = 1800 * 1000 * MS;

/// Tasks that were settled with something else than what they come to; fails unless the job ended.
fn plays(seed: u64, roles: &[&str]) -> usize {
    let mut world = World::new(seed);
    let submitter = world.add(0, MS, false);
    for _ in 0..3 {
        world.add(1, 20 * MS, false);
    }
    for role in roles {
        let role: Role = role.parse().expect("a role");
        world.add_member(1, 20 * MS, role);
    }
    world.mesh();
    let job = world.submit(submitter, TASKS as i64, Policy::Vote(2), Local::Never);
    let job = job.expect("the submitter is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(submitter, &job)), "{roles:?}: no end");
    let source = world.machine(submitter).and_then(|machine| machine.job(&job)).expect("it is up");
    assert_eq!((source.view().state, source.view().settled), (JobState::Done, TASKS), "{roles:?}");
    let wrong = source.feed(0).filter(|(_, task)| {
        let id = source.task_id(*task).expect("a settled task exists");
        source.acceptance(*task).is_none_or(|acceptance| acceptance.outcome != outcome(&id))
    });
    wrong.count()
}

#[test]
fn a_member_alone_gets_nothing_wrong_accepted() {
    for role in ROLES {
        for seed in 0..5 {
            assert_eq!(plays(seed, &[role]), 0, "{role}, seed {seed}");
        }
    }
}

#[test]
fn members_that_do_not_agree_get_nothing_wrong_accepted() {
    let roles = ["always", "always", "rate:0.5", "fuel:100", "data", "ring:a", "equivocate"];
    for seed in 0..5 {
        assert_eq!(plays(seed, &roles), 0, "seed {seed}");
    }
}

/// Two votes that agree are what the policy asks for: the roles that provide them must be seen to.
#[test]
fn members_that_agree_are_believed_by_voting() {
    for pair in [
        ["ring:a", "ring:a"],
        ["breaker:a", "breaker:a"],
        ["engine:arm", "engine:arm"],
        ["data:old", "data:old"],
        ["fuel:100", "fuel:100"],
        ["burner:a", "confirmer:a"],
    ] {
        assert!(plays(1, &pair) > 0, "{pair:?}");
    }
    assert_eq!(plays(1, &["ring:a", "ring:b"]), 0);
    assert_eq!(plays(1, &["confirmer:a", "confirmer:a"]), 0);
}
