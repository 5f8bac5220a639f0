mod common;
use bayan_sandbox::*; use common::*; use std::time::Instant;
use bayan_protocol::task::Limits;
#[test] fn speed() {
  let e = Engine::new(None).unwrap();
  let _ = (RECURSIVE, ENDLESS, assemble("(module)"));
  for (n, imp, body) in [("yield", r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#, "(loop $l (drop (call $yield)) (br $l))"),
     ("loop","","(local $a i64) (loop $l (local.set $a (i64.add (i64.mul (local.get $a) (i64.const 3)) (i64.const 1))) (br $l))"),
     ("grow0","","(loop $l (drop (memory.grow (i32.const 0))) (br $l))"),
     ("fill0","","(local $n i32) (loop $l (memory.fill (i32.const 0) (i32.const 1) (local.get $n)) (br $l))"),
     ("fill64k","","(local $n i32) (local.set $n (i32.const 65536)) (loop $l (memory.fill (i32.const 0) (i32.const 1) (local.get $n)) (br $l))"),
     ("random64k",r#"(import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))"#,"(loop $l (drop (call $r (i32.const 0) (i32.const 65536))) (br $l))"),
  ] {
    let m = load(&e, &command(imp, body));
    let o = e.run(&m, &task(Limits{fuel: 500_000_000, ..LIMITS}), &Cancel::new());
    println!("{n}: {:?} {} us for 500M fuel -> {:.3} ns/unit", o.status, o.micros, o.micros as f64*1000.0/5e8);
  }
  let m = load(&e, &command("", "")); let t=Instant::now(); for _ in 0..1000 { e.run(&m, &task(LIMITS), &Cancel::new()); } println!("instantiate {} us", t.elapsed().as_micros() as f64/1000.0);
  if let Ok(d) = std::fs::read_dir("/work/main/apps/modules") { for f in d { let p=f.unwrap().path(); if p.extension().is_some_and(|x| x=="wasm") {
     let w=std::fs::read(&p).unwrap(); let t=Instant::now(); match e.load(&w) { Err(x)=>println!("{p:?} {x}"), Ok(m)=>{ println!("{p:?} load {} ms", t.elapsed().as_millis());
       let o=e.run(&m,&task(Limits{memory:256<<20,..LIMITS}),&Cancel::new()); println!("  {:?} fuel {} out {} log {:?} {}us",o.status,o.fuel,o.output.len(),String::from_utf8_lossy(&o.log),o.micros);} } } } }
}
