//! What packing does to small modules; whether it does right is for engines to show
//! (`tests/packing`).

use alloc::{format, string::String, vec::Vec};
use wasmparser::{BinaryReader, BranchHintSectionReader, Parser, Payload, Validator};

use crate::{Packed, Refusal, pack, pack_library, pack_library_without_copies, proposals};

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
    let body = "(func (param i32) (block (loop (br_if 1 (i32.eqz (local.get 0)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0))))";
    let packed = pack_library_without_copies(&wat(&format!("(module {body})")), 1000).unwrap();
    valid(&packed);
    // The loop; what leaves it gives the rest back.
    assert_eq!((packed.report.places.charges, packed.report.places.refunds), (1, 1));
}

/// A loop that is copied, whose body has `padding` more instructions.
fn tight(padding: usize) -> String {
    format!(
        "(func (param i32) (loop {}
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        "(nop)".repeat(padding)
    )
}

#[test]
fn tight_loops_are_copied_and_others_are_not() {
    let copied = |body: &str| {
        let plain = pack_library_without_copies(&wat(&format!("(module {body})")), 1000).unwrap();
        library(body).wasm.len() > plain.wasm.len()
    };
    assert!(copied(&tight(0)));
    assert!(copied(&tight(80)));
    assert!(!copied(&tight(200)), "it is too long");
    for other in [
        "(func (param i32) (loop))",
        "(func $f (param i32) (loop (call $f (i32.const 1)) (br_if 0 (local.get 0))))",
        "(func (param i32) (loop (br_table 0 1 (local.get 0))))",
        "(func (param i32) (local.get 0) (loop (param i32) (drop) (br_if 0 (i32.const 1) (i32.const 2)) (drop)))",
        "(memory 1) (func (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)) (br 0)))",
    ] {
        assert!(!copied(other), "{other}");
    }
}

#[test]
fn copies_add_a_bounded_number_of_bytes() {
    for count in [1, 30, 3000] {
        let text = format!("(module {})", tight(20).repeat(count));
        let plain = pack_library_without_copies(&wat(&text), 1000).unwrap();
        let copied = pack_library(&wat(&text), 1000).unwrap();
        let (size, grown) = (wat(&text).len(), copied.wasm.len() - plain.wasm.len());
        // Besides the copies themselves there are hints for them, and one loop beyond the bound.
        assert!(grown < (4096 + size / 8) * 5 / 4 + 512, "{count} loops: {grown} of {size}");
    }
}

#[test]
fn hints_stand_at_branches() {
    let text = "(func (param f64 i32) (result f64) (local f64)
        (loop (local.set 2 (f64.add (local.get 2) (local.get 0)))
            (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))) (local.get 2))
        (func (param i32) (if (local.get 0) (then (loop (call 1 (i32.const 0)) (br 0)))))";
    let packed = library(text);
    let (mut hints, mut bodies) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(&packed.wasm) {
        match payload.unwrap() {
            Payload::CustomSection(section) => {
                assert_eq!(section.name(), "metadata.code.branch_hint");
                let reader = BinaryReader::new(section.data(), 0);
                for function in BranchHintSectionReader::new(reader).unwrap() {
                    let function = function.unwrap();
                    let of = function.hints.into_iter().map(|hint| hint.unwrap().func_offset);
                    hints.push((function.func, of.collect::<Vec<_>>()));
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body.range().start),
            _ => {}
        }
    }
    assert_eq!(hints.len(), 2);
    for (function, offsets) in hints {
        assert!(offsets.is_sorted_by(|a, b| a < b));
        for offset in offsets {
            let opcode = packed.wasm[bodies[function as usize] + offset as usize];
            assert!(opcode == 0x04 || opcode == 0x0d, "{opcode:#x} is neither if nor br_if");
        }
    }
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
