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

#[test]
fn tables_do_not_grow_without_end() {
    let engine = Engine::new().unwrap();
    let tables = "(table 0 funcref)".repeat(16);
    let grow: String = (0..16)
        .map(|table| format!("(drop (table.grow {table} (ref.null func) (i32.const 65536)))"))
        .collect();
    let wasm = wat::parse_str(format!(
        r#"(module {tables} (memory (export "memory") 1)
            (func (export "_start") (loop $turn {grow} (br $turn))))"#
    ))
    .unwrap();
    // Enough for all 16 to reach their bound, and to be refused some hundred times more.
    let outcome =
        attempt(&engine, &load(&engine, &wasm), &task(Limits { fuel: 1 << 27, ..LIMITS }));
    assert_eq!((outcome.status, outcome.fuel), (Status::OutOfFuel, 1 << 27));
}

/// A loop of `turns` turns, each through `branches` conditional branches that lead where code goes
/// on anyway, or out of the loop in the last turn.
fn branching(turns: u32, branches: usize, leaves: bool) -> bayan_sandbox::Outcome {
    let branch = if leaves {
        "(br_if $out (i32.eqz (local.get $left)))"
    } else {
        "(block (br_if 0 (i32.and (local.get $left) (i32.const 1))))"
    };
    run(&format!(
        "(local $left i32) (local.set $left (i32.const {turns}))
        (block $out (loop $turn
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          {}
          (br_if $turn (local.get $left))))",
        branch.repeat(branches)
    ))
}

#[test]
fn busy_branches_pay_for_what_they_enter() {
    // The page, the first assignment; then four to count, each branch, two to go on.
    for turns in [1, 2, 3, 4, 5, 1000, 4001] {
        for branches in [0, 1, 2, 7, 40, 300] {
            let each = 4 * branches as u64;
            let outcome = branching(turns, branches, false);
            assert_eq!(outcome.status, Status::Exited(0));
            assert_eq!(outcome.fuel, 258 + u64::from(turns) * (6 + each), "{turns} x {branches}");
            // The first branch of the last turn leaves: the others of that turn are not paid for.
            let each = 3 * branches as u64;
            let last = if branches > 0 { 4 + 3 } else { 6 };
            let outcome = branching(turns, branches, true);
            assert_eq!(outcome.status, Status::Exited(0));
            let due = 258 + u64::from(turns - 1) * (6 + each) + last;
            assert_eq!(outcome.fuel, due, "{turns} x {branches}, leaving");
        }
    }
}

#[test]
fn a_trap_is_charged_little_that_was_not_executed() {
    for turns in (1..4000_u32).step_by(97) {
        let outcome = run(&format!(
            "(local $left i32) (local.set $left (i32.const {turns}))
            (loop $turn
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (drop (i32.rem_u (i32.const 1) (local.get $left)))
              (br $turn))"
        ));
        assert_eq!(outcome.status, Status::Trapped);
        let executed = 258 + u64::from(turns) * (4 + 10) + u64::from(turns - 1);
        let over = outcome.fuel.checked_sub(executed).expect("what was executed is paid for");
        assert!(over <= 14_000, "{over} units too many after {turns} turns");
    }
}
