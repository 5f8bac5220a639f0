//! Guests whose shape is the attack: wide tables, deep nests, branches that are never taken.

use bayan_protocol::task::{Limits, Status};
use bayan_sandbox::Engine;

use crate::guests::{LIMITS, attempt, command, load, task};

fn run(body: &str) -> bayan_sandbox::Outcome {
    let engine = Engine::new().unwrap();
    let limits = Limits { fuel: 1 << 24, ..LIMITS };
    attempt(&engine, &load(&engine, &command("", body)), &task(limits))
}

#[test]
fn a_table_of_many_branches_costs_what_a_small_one_costs() {
    let of = |count: usize| {
        run(&format!("(block $out (br_table {}(i32.const 7)))", "$out ".repeat(count)))
    };
    assert_eq!(of(50_000).status, Status::Exited(0));
    assert_eq!(of(50_000).fuel, of(2).fuel);
}

#[test]
fn a_deep_nest_of_blocks_runs() {
    let (open, close) = ("(block ".repeat(2_000), ")".repeat(2_000));
    assert_eq!(run(&format!("{open}{close}")).status, Status::Exited(0));
    let (open, close) = ("(if (i32.const 1) (then ".repeat(500), "))".repeat(500));
    assert_eq!(run(&format!("{open}(nop){close}")).status, Status::Exited(0));
}

#[test]
fn what_is_never_executed_is_never_paid_for() {
    let idle = "(drop (i32.div_u (i32.const 1) (i32.const 1)))".repeat(5_000);
    let turns = |body: &str| {
        run(&format!(
            "(local $left i32) (local.set $left (i32.const 1000))
            (loop $turn {body}
              (br_if $turn (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
        ))
    };
    let bare = turns("(if (i32.eqz (local.get $left)) (then (nop)))");
    let inflated = turns(&format!("(if (i32.eqz (local.get $left)) (then {idle}))"));
    assert_eq!(inflated.status, Status::Exited(0));
    assert_eq!(inflated.fuel, bare.fuel);
    let skipped = turns(&format!("(block (br_if 0 (local.get $left)) {idle})"));
    assert_eq!(skipped.status, Status::Exited(0));
    assert!(skipped.fuel < bare.fuel + 2_000, "{} against {}", skipped.fuel, bare.fuel);
}
