//! What packing does to small modules; whether it does right is for engines to show
//! (`tests/packing`).

use alloc::{format, string::String, vec::Vec};
use wasmparser::Validator;

use crate::{Packed, Refusal, pack, pack_library, proposals};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn valid(packed: &Packed) {
    Validator::new_with_features(proposals::FEATURES).validate_all(&packed.wasm).unwrap();
}

fn library(body: &str) -> Packed {
    let packed = pack_library(&wat(&format!("(module {body})")), 1000).unwrap();
    valid(&packed);
    packed
}

/// A command around `body`.
fn command(body: &str) -> String {
    format!(r#"(module {body} (memory (export "memory") 1) (func (export "_start")))"#)
}

#[test]
fn a_loop_is_charged_once_a_turn() {
    let packed = library(
        "(func (param i32) (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0))))",
    );
    // The loop; what leaves it gives the rest back.
    assert_eq!((packed.report.places.charges, packed.report.places.refunds), (1, 1));
}

#[test]
fn everything_packs_to_something_valid() {
    for body in [
        "(func)",
        "(func (result i32) (if (result i32) (i32.const 1) (then (return (i32.const 2))) (else (i32.const 3))))",
        "(func (param f64) (result f64) (local f64) (loop (local.set 1 (f64.add (local.get 0) (local.get 1))) (br_if 0 (f64.lt (local.get 1) (f64.const 9)))) (local.get 1))",
        "(func (param i32) (result i32 i64) (block (result i32 i64) (i32.const 1) (i64.const 2) (br_if 0 (local.get 0)) (drop) (drop) (i32.const 3) (i64.const 4)))",
        "(memory 1) (func (result i32) (memory.grow (i32.const 3)))",
        "(table 1 funcref) (func (result i32) (table.grow 0 (ref.null func) (i32.const 3)))",
        "(memory 1) (func (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))",
        "(func $f (param i32) (result i32) (return_call $f (local.get 0)))",
        "(func (param i32) (block (block (block (br_table 0 1 2 (local.get 0))) (nop)) (nop)))",
        "(memory 1) (func (param v128) (v128.store (i32.const 0) (f32x4.add (local.get 0) (local.get 0))))",
        "(func (unreachable) (drop) (block (br 0)) (i32.add) (drop))",
    ] {
        library(body);
        let text = command(body.split("(memory 1)").last().unwrap());
        if !body.contains("(memory 1)") || body.contains("grow") {
            valid(&pack(&wat(&text)).unwrap());
        }
    }
}

#[test]
fn refusals_have_names() {
    let proposal = |body: &str| match pack(&wat(&command(body))) {
        Err(Refusal::Proposal(name)) => name,
        other => panic!("{body}: {other:?}"),
    };
    assert_eq!(proposal("(func (param externref))"), "externref");
    assert!(
        proposal("(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0))))")
            .starts_with("relaxed SIMD")
    );
    assert!(proposal("(tag) (func (throw 0))").starts_with("exceptions"));
    assert!(proposal("(memory 1)").starts_with("several memories"));
}

#[test]
fn segments_that_do_not_fit_are_refused() {
    let refused = |body: &str| pack(&wat(&command(body))).unwrap_err();
    assert!(matches!(
        refused(r#"(data (i32.const 65534) "abc")"#),
        Refusal::Segment { kind: "data", index: 0 }
    ));
    assert!(matches!(
        refused("(table 1 funcref) (func $f) (elem (i32.const 1) $f)"),
        Refusal::Segment { kind: "element", index: 0 }
    ));
}
